"""The files of an exchange: what is in them, written whole, and read only if every part fits the others."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from diffea.errors import ExchangeError
from diffea.exchange import axes
from diffea.files import whole
from diffea.files.archives import read_npz
from diffea.templates import Key, Layout, TemplateSet
from diffea.types import AnyArray, JSONMapping

TEMPLATES, COTANGENTS = "diffea-templates-1", "diffea-cotangents-1"
PARTS = ("values", "variances")
EDGES = "edges/"
DIGEST = re.compile("[0-9a-f]{64}")


@dataclasses.dataclass(frozen=True)
class Exchanged:
    """The content of a file.

    Attributes:
        templates: the templates; in a file of cotangents, ∂loss/∂(each of their numbers).
        params: digest of the parameters that the templates were made at.
        edges: bin edges of the channels where they are parameters; in a file of cotangents, ∂loss/∂(each edge).
        loss: in a file of cotangents.
    """

    templates: TemplateSet
    params: str
    edges: Mapping[str, AnyArray]
    loss: float | None = None


def write_file(path: Path, content: Exchanged) -> None:
    """Write a file whole or not at all.

    Raises:
        ExchangeError: if a number is not finite, or an axis of a kind that a file cannot hold.
        OutputError: if it cannot be written.
    """
    templates = content.templates
    layout = templates.layout
    header = {
        "format": TEMPLATES if content.loss is None else COTANGENTS,
        "params": content.params,
        "loss": content.loss,
        "channels": {channel: [axes.described(axis) for axis in layout.axes[channel]] for channel, _, _ in layout.keys},
        "templates": [list(key) for key in layout.keys],
    }
    arrays = {f"{EDGES}{channel}": np.asarray(edges, "<f8") for channel, edges in content.edges.items()}
    for number, key in enumerate(layout.keys):
        shape = layout.shape(key[0])
        for name, flat in zip(PARTS, (templates.values_flat, templates.variances_flat), strict=True):
            arrays[f"{number}/{name}"] = np.asarray(flat, "<f8")[layout.spans[key]].reshape(shape)
            _check_finite(path, arrays[f"{number}/{name}"], f"{name} of {'/'.join(key)}")
    with whole(path) as file:
        np.savez(file, header=np.asarray(json.dumps(header, allow_nan=False)), **arrays)  # type: ignore[arg-type]


def read_file(path: Path, *formats: str) -> Exchanged:
    """Read a file of one of some formats; of either, where none is named.

    Raises:
        ExchangeError: if it is another file, or a part of it is missing, damaged, or does not fit the others.
    """
    try:
        header, arrays = read_npz(path)
    except ValueError as error:
        msg = f"{path} is no exchange file, or it is truncated or damaged: {error}"
        raise ExchangeError(msg) from error
    formats = formats or (TEMPLATES, COTANGENTS)
    if header.get("format") not in formats:
        msg = f"{path}: expected a file of format {' or '.join(formats)}, got {header.get('format')!r}"
        raise ExchangeError(msg)
    layout = _layout(path, header)
    params, loss = header.get("params"), header.get("loss")
    if not isinstance(params, str) or not DIGEST.fullmatch(params):
        msg = f"{path}: expected the parameters' SHA-256, got {params!r:.100}"
        raise ExchangeError(msg)
    is_number = isinstance(loss, int | float) and not isinstance(loss, bool) and math.isfinite(loss)
    if (header["format"] == COTANGENTS) != is_number or (loss is not None and not is_number):
        msg = f"{path}: expected {'a number' if header['format'] == COTANGENTS else 'none'} as loss, got {loss!r:.100}"
        raise ExchangeError(msg)
    edges = dict(_edges(path, layout, arrays, ascending=loss is None))
    values, variances = (_flat(path, layout, arrays, name) for name in PARTS)
    if (
        extra := set(arrays)
        - {f"{number}/{name}" for number in range(len(layout.keys)) for name in PARTS}
        - {f"{EDGES}{channel}" for channel in edges}
    ):
        msg = f"{path}: expected the arrays of its templates alone, got {', '.join(sorted(extra))}"
        raise ExchangeError(msg)
    templates = TemplateSet(layout, values, variances, edges if loss is None else {})
    return Exchanged(templates, params, edges, None if loss is None else float(loss))


def _layout(path: Path, header: JSONMapping) -> Layout:
    """The templates that the header names, and the axes of their channels."""
    try:
        channels = {str(channel): tuple(map(axes.made, found)) for channel, found in dict(header["channels"]).items()}
        keys = [tuple(key) for key in header["templates"]]
    except (KeyError, TypeError, ValueError, OverflowError, IndexError, AttributeError) as error:
        msg = f"{path}: its header describes no templates ({type(error).__name__}: {error})"
        raise ExchangeError(msg) from error
    for key in keys:
        if len(key) != 3 or not all(isinstance(part, str) for part in key) or key[0] not in channels:
            msg = f"{path}: expected templates as [channel, sample, variation] of the channels {', '.join(channels)}, got {list(key)}"
            raise ExchangeError(msg)
    if len(set(keys)) < len(keys) or any(not found for found in channels.values()):
        msg = f"{path}: expected every template once, each channel with an axis"
        raise ExchangeError(msg)
    known: tuple[Key, ...] = tuple((channel, sample, variation) for channel, sample, variation in keys)
    return Layout(channels, known)


def _flat(path: Path, layout: Layout, arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    parts = []
    for number, key in enumerate(layout.keys):
        what, shape = f"{name} of {'/'.join(key)}", layout.shape(key[0])
        array = _array(path, arrays, f"{number}/{name}", shape, what)
        parts.append(array.reshape(math.prod(shape)))
    return np.concatenate(parts) if parts else np.empty(0)


def _edges(
    path: Path, layout: Layout, arrays: Mapping[str, np.ndarray], *, ascending: bool
) -> Iterator[tuple[str, np.ndarray]]:
    """Edges that are parameters, or the loss's slope by them, of each channel that has any."""
    for name in arrays:
        if not name.startswith(EDGES):
            continue
        channel = name.removeprefix(EDGES)
        if len(layout.axes.get(channel, ())) != 1:
            msg = f"{path}: expected edges of a channel with one axis, got some of {channel!r}"
            raise ExchangeError(msg)
        edges = _array(path, arrays, name, (len(layout.axes[channel][0]) + 1,), f"edges of {channel}")
        if ascending and not np.all(np.diff(edges) > 0):
            msg = f"{path}: the edges of {channel} must ascend, got {edges}"
            raise ExchangeError(msg)
        yield channel, edges


def _array(path: Path, arrays: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...], what: str) -> np.ndarray:
    array = arrays.get(name)
    if array is None or array.shape != shape or array.dtype != np.float64:
        got = None if array is None else f"{array.shape} of {array.dtype}"
        msg = f"{path}: {what} must have shape {shape} of float64, got {got}"
        raise ExchangeError(msg)
    _check_finite(path, array, what)
    return array


def _check_finite(path: Path, array: np.ndarray, what: str) -> None:
    if not np.isfinite(array).all():
        msg = f"{path}: {what} must be finite, got {array[~np.isfinite(array)].ravel()[0]}"
        raise ExchangeError(msg)
