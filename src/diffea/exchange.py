"""Exchange: templates and their cotangents as files, so that forward and backward pass are separate jobs.

Job one (`forward`) writes the templates. Job two (`respond`) has no events, only that file: it computes the loss, and writes
its derivative by every number in the file, in a file of the same shape. Job three (`backward`) turns that into the gradient.
`docs/exchange.md` describes both files.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import hist
import jax
import jax.numpy as jnp
import numpy as np

from diffea.errors import ExchangeError
from diffea.files import whole
from diffea.files.archives import read_npz
from diffea.histograms.templates import Key, Layout, TemplateSet
from diffea.parameters import as_arrays, names
from diffea.runtime import named_errors

__all__ = ["Exchanged", "backward", "forward", "read", "respond"]

TEMPLATES, COTANGENTS = "diffea-templates-1", "diffea-cotangents-1"


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
    edges: Mapping[str, np.ndarray]
    loss: float | None = None


def forward(templates: Callable[[Any], TemplateSet], params: Any, path: str | Path) -> TemplateSet:
    """Compute the templates and write them.

    Args:
        templates: what ``distribute`` returned, or any function that makes a TemplateSet of parameters.
        params: the parameters.
        path: of the file to write.
    """
    with named_errors():
        made: TemplateSet = jax.tree.map(np.asarray, templates(params))
    _write(Path(path), Exchanged(made, _digest(params), made.edges))
    return made


def respond(loss: Callable[[TemplateSet], Any], path: str | Path, out: str | Path) -> float:
    """Compute a loss and its cotangents from a file of templates alone, and write them.

    Args:
        loss: a function of the templates, such as ``lambda T: objectives.cls(model(T))``.
        path: the file that ``forward`` wrote.
        out: of the file to write.

    Returns:
        the loss.

    Raises:
        ExchangeError: if ``path`` is no whole file of templates, or the loss is not finite.
    """
    given = _read(Path(path), TEMPLATES)
    with named_errors():
        value, slopes = jax.value_and_grad(loss)(jax.tree.map(jnp.asarray, given.templates))
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((value, slopes))):
        msg = f"the loss on the templates of {path} is {value}, and its cotangents or itself are not finite"
        raise ExchangeError(msg)
    slopes = jax.tree.map(np.asarray, slopes)
    _write(Path(out), Exchanged(slopes, given.params, slopes.edges, float(value)))
    return float(value)


def backward(templates: Callable[[Any], TemplateSet], params: Any, path: str | Path) -> Any:
    """The gradient of the loss by the parameters, from a file of cotangents.

    Args:
        templates: the same function as for ``forward``, on the same events.
        params: the same parameters.
        path: the file that ``respond`` wrote.

    Returns:
        a pytree like the parameters; the loss is ``read(path).loss``.

    Raises:
        ExchangeError: if ``path`` is no whole file of cotangents, or belongs to other parameters or other templates.
    """
    given = _read(Path(path), COTANGENTS)
    if given.params != _digest(params):
        msg = f"the cotangents of {path} are of other parameters than {names(params)} have now: give those of `forward`"
        raise ExchangeError(msg)
    with named_errors():
        made, pull = jax.vjp(templates, as_arrays(params))
        (gradient,) = pull(_like(made, given, path))
    return gradient


def read(path: str | Path) -> Exchanged:
    """Read a file of templates or of cotangents.

    Raises:
        ExchangeError: if it is neither, truncated, or of a later version.
    """
    return _read(Path(path), TEMPLATES, COTANGENTS)


def _like(made: TemplateSet, given: Exchanged, path: str | Path) -> TemplateSet:
    """The given cotangents in the order in which the templates were made."""
    slopes = given.templates
    shapes = {key: made.layout.shape(key[0]) for key in made}
    found = {key: slopes.layout.shape(key[0]) for key in slopes}
    if shapes != found or set(made.edges) != set(given.edges):
        unlike = sorted("/".join(key) for key in {*shapes, *found} if shapes.get(key) != found.get(key))
        msg = f"{path} has not the templates that these parameters make: {', '.join(unlike) or 'learned edges'} differ"
        raise ExchangeError(msg)
    order = made.layout.within(slopes.layout)
    return TemplateSet(
        made.layout,
        jnp.asarray(slopes.values_flat[order]),
        jnp.asarray(slopes.variances_flat[order]),
        {channel: jnp.asarray(given.edges[channel]) for channel in made.edges},
    )


def _digest(params: Any) -> str:
    digest = hashlib.sha256()
    for name, leaf in zip(names(params), jax.tree.leaves(as_arrays(params)), strict=True):
        array = np.asarray(leaf, dtype="<f8")
        digest.update(f"{name}{array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def _write(path: Path, content: Exchanged) -> None:
    """Write a file whole or not at all."""
    templates = content.templates
    layout = templates.layout
    header = {
        "format": TEMPLATES if content.loss is None else COTANGENTS,
        "params": content.params,
        "loss": content.loss,
        "channels": {channel: [_axis(axis) for axis in layout.axes[channel]] for channel, _, _ in layout.keys},
        "templates": [list(key) for key in layout.keys],
    }
    arrays = {f"edges/{channel}": np.asarray(edges, "<f8") for channel, edges in content.edges.items()}
    for number, key in enumerate(layout.keys):
        shape = layout.shape(key[0])
        for name, flat in (("values", templates.values_flat), ("variances", templates.variances_flat)):
            arrays[f"{number}/{name}"] = np.asarray(flat, "<f8")[layout.spans[key]].reshape(shape)
    with whole(path) as file:
        np.savez(file, header=np.asarray(json.dumps(header, allow_nan=False)), **arrays)  # type: ignore[arg-type]


def _read(path: Path, *formats: str) -> Exchanged:
    try:
        header, arrays = read_npz(path)
    except ValueError as error:
        msg = f"{path} is no exchange file, or it is truncated: {error}"
        raise ExchangeError(msg) from error
    if header.get("format") not in formats:
        msg = f"{path}: expected a file of format {' or '.join(formats)}, got {header.get('format')!r}"
        raise ExchangeError(msg)
    axes = {channel: tuple(_to_axis(axis) for axis in found) for channel, found in header["channels"].items()}
    keys: list[Key] = [(channel, sample, variation) for channel, sample, variation in header["templates"]]
    layout = Layout(axes, tuple(keys))
    flat = {name: _flat(path, layout, arrays, name) for name in ("values", "variances")}
    edges = {name.removeprefix("edges/"): array for name, array in arrays.items() if name.startswith("edges/")}
    learned = edges if header["loss"] is None else {}
    templates = TemplateSet(layout, flat["values"], flat["variances"], learned)
    return Exchanged(templates, header["params"], edges, header["loss"])


def _flat(path: Path, layout: Layout, arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    parts = []
    for number, key in enumerate(layout.keys):
        array, shape = arrays.get(f"{number}/{name}"), layout.shape(key[0])
        if array is None or array.shape != shape:
            msg = f"{path}: {name} of {'/'.join(key)} must have shape {shape}, got {None if array is None else array.shape}"
            raise ExchangeError(msg)
        parts.append(array.reshape(math.prod(shape)))
    return np.concatenate(parts) if parts else np.empty(0)


def _axis(axis: Any) -> dict[str, Any]:
    return {
        "edges": np.asarray(axis.edges, float).tolist(),
        "name": axis.name,
        "label": axis.label,
        "underflow": bool(axis.traits.underflow),
        "overflow": bool(axis.traits.overflow),
    }


def _to_axis(axis: Mapping[str, Any]) -> Any:
    return hist.axis.Variable(
        axis["edges"], name=axis["name"], label=axis["label"], underflow=axis["underflow"], overflow=axis["overflow"]
    )
