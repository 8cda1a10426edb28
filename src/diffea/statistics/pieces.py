"""Which numbers of a specification make up which field of the yields, and where they come from."""

from __future__ import annotations

from collections.abc import Mapping

from diffea.statistics.spec import Modifier, Source, Spec

FIELDS = ("nominal", "histosys_hi", "histosys_lo", "normsys_hi", "normsys_lo", "shapesys", "staterror")
_FIELD_OF = {
    ("histosys", "hi_data"): "histosys_hi",
    ("histosys", "lo_data"): "histosys_lo",
    ("normsys", "hi"): "normsys_hi",
    ("normsys", "lo"): "normsys_lo",
    ("shapesys", "data"): "shapesys",
    ("staterror", "data"): "staterror",
}

Pieces = Mapping[str, tuple[tuple[Source, int], ...]]  # for each field the sources in order, with their lengths


def field_of(modifier: Modifier | None, name: str) -> str:
    """The field of `Yields` that holds a source of the specification."""
    return "nominal" if modifier is None else _FIELD_OF[modifier.type, name]


def pieces_of(spec: Spec, nbins: Mapping[str, int]) -> Pieces:
    """The sources of every field of `Yields`.

    Args:
        spec: the specification.
        nbins: number of bins of every channel.
    """
    pieces: dict[str, list[tuple[Source, int]]] = {name: [] for name in FIELDS}
    for channel, _, modifier, name, source in spec.sources():
        field = field_of(modifier, name)
        pieces[field].append((source, 1 if field.startswith("normsys") else nbins[channel.name]))
    return {name: tuple(items) for name, items in pieces.items()}


def places(pieces: Pieces, name: str) -> list[str]:
    """The place in the specification of every entry of a field of `Yields`."""
    entries = []
    for source, length in pieces[name]:
        of = f" (template {':'.join(source.key)})" if source.key else ""
        entries += [source.place + (f"[{i}]" if length > 1 or name == "nominal" else "") + of for i in range(length)]
    return entries
