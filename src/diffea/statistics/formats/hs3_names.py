"""What both directions of HS3 agree on: names of its parts, and of the interpolation functions.

Code 2 is left out: beyond ±1 pyhf, pyhs3 and HS3's ``parabolic`` are three different functions.
"""

from __future__ import annotations

VERSION = "0.2"
DOMAIN, POINT, LIKELIHOOD = "default_domain", "default_values", "likelihood"
KNOWN_CODES = {"normsys": ("code1", "code4"), "histosys": ("code0", "code4p")}
DEFAULT_CODES = {"normsys": "code4", "histosys": "code4p"}
CODES = {
    "normsys": {"code1": "code1", "exp": "code1", "log": "code1", "code4": "code4"},
    "histosys": {"code0": "code0", "lin": "code0", "code4p": "code4p", "poly6": "code4p"},
}


def parameter_names(name: str, size: int, is_scalar: bool) -> list[str]:
    """The names in HS3 of the parameters of a set: its own, or one a bin."""
    return [name] if is_scalar else [f"gamma_{name}_{i}" for i in range(size)]
