"""Interpolation codes, chosen as in pyhf."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from diffea.errors import SpecError
from diffea.statistics.interpolation import ADDITIVE_CODES, MULTIPLICATIVE_CODES

_KNOWN: dict[str, Collection[str]] = {"normsys": MULTIPLICATIVE_CODES, "histosys": ADDITIVE_CODES}
_WHERE_NONE_ARE_GIVEN = {"normsys": "code4", "histosys": "code4p"}
_WHERE_SOME_ARE_GIVEN = {"normsys": "code1", "histosys": "code0"}


@dataclass(frozen=True)
class Settings:
    """What is chosen besides the numbers: interpolation codes, the parameter of interest, and the channels that are fitted.

    `fitted` is None where all channels are.
    """

    normsys: str
    histosys: str
    poi_name: str | None
    fitted: tuple[str, ...] | None = None


def interpolation_codes(modifier_settings: Mapping[str, Mapping[str, str]] | None) -> dict[str, str]:
    """The codes by type of modifier.

    pyhf takes codes 4 and 4p if no settings are given, and codes 1 and 0 for what given settings leave out.

    Raises:
        SpecError: for a name that is no setting, or a code that there is not.
    """
    if modifier_settings is None:
        return dict(_WHERE_NONE_ARE_GIVEN)
    _refuse_unknown("modifier_settings", modifier_settings, _KNOWN)
    codes = dict(_WHERE_SOME_ARE_GIVEN)
    for kind, given in modifier_settings.items():
        _refuse_unknown(f"modifier_settings[{kind!r}]", given, ("interpcode",))
        codes[kind] = given.get("interpcode", codes[kind])
        if codes[kind] not in _KNOWN[kind]:
            msg = f"modifier_settings[{kind!r}]: expected one of {sorted(_KNOWN[kind])}, got {codes[kind]!r}"
            raise SpecError(msg)
    return codes


def _refuse_unknown(place: str, given: object, known: Collection[str]) -> None:
    if not isinstance(given, Mapping):
        msg = f"{place}: expected a dict with some of {sorted(known)}, got {given!r}"
        raise SpecError(msg)
    if unknown := [name for name in given if name not in known]:
        msg = f"{place}: expected some of {sorted(known)}, got {unknown}"
        raise SpecError(msg)
