"""Event weights as functions: binned scale factors with soft bin borders, and reweighting to other simulation parameters."""

from __future__ import annotations

import dataclasses
import gzip
import itertools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffea.errors import CorrectionError
from diffea.events.ragged import elementwise
from diffea.soft.context import is_hard, width_scale
from diffea.soft.transition import PROFILES, check_width, step

__all__ = ["ScaleFactor", "reweight"]


@dataclasses.dataclass(frozen=True)
class ScaleFactor:
    """A binned correction, smooth in its inputs.

    Attributes:
        inputs: names of the inputs, in the order in which they are given.
        edges: of each input, ascending, shape (n,).
        values: shape (n + 1, …), one more than there are edges of each input: what is outside has a value too.
    """

    inputs: tuple[str, ...]
    edges: tuple[np.ndarray, ...]
    values: np.ndarray

    def __post_init__(self) -> None:
        expected = tuple(len(edges) + 1 for edges in self.edges)
        if self.values.shape != expected or len(self.inputs) != len(self.edges):
            msg = f"expected values of shape {expected} for the inputs {self.inputs}, got {self.values.shape}"
            raise CorrectionError(msg)

    @classmethod
    def from_correctionlib(cls, source: str | Path | Mapping[str, Any], name: str, **fixed: Any) -> ScaleFactor:
        """A correction of a correctionlib file (schema 2) that is made of categories and bins.

        Args:
            source: the file's path (``.json`` or ``.json.gz``), or its content.
            name: of the correction in the file.
            fixed: the inputs that are fixed, such as the categories: ``systematic="nominal"``.

        Raises:
            CorrectionError: when there is no such correction, or it holds formulas or unknown categories. An input outside
                of bins whose flow is an error gets the nearest bin's value.
        """
        content = source if isinstance(source, Mapping) else _read(Path(source))
        found = {c["name"]: c for c in content["corrections"]}
        if name not in found:
            msg = f"expected one of the corrections {', '.join(found)}, got {name!r}"
            raise CorrectionError(msg)
        inputs = tuple(i["name"] for i in found[name]["inputs"] if i["name"] not in fixed)
        borders: dict[str, set[float]] = {i: set() for i in inputs}
        _collect(found[name]["data"], fixed, borders)
        edges = tuple(np.array(sorted(e for e in borders[i] if np.isfinite(e))) for i in inputs)
        points = [_points(e) for e in edges]
        values = [
            _evaluate(found[name]["data"], {**fixed, **dict(zip(inputs, point, strict=True))})
            for point in itertools.product(*points)
        ]
        return cls(inputs, edges, np.reshape(np.array(values, dtype=float), [len(p) for p in points]))

    def __call__(self, *inputs: Any, width: Any) -> Any:
        """The scale factor of each event or object.

        Args:
            inputs: one column for each input, in order: shape (events,), or ``Ragged``.
            width: of the transition at the bin borders, in the unit of the input; a tuple of one for each input, or one for
                all. Under ``hard()`` a border is exact, and belongs to the bin above it.

        Raises:
            CorrectionError: when there are not as many columns (or widths) as inputs.
            WidthError: when a width is known and not positive.
        """
        widths = width if isinstance(width, tuple) else (width,) * len(self.inputs)
        if len(inputs) != len(self.inputs) or len(widths) != len(self.inputs):
            msg = (
                f"expected a column for each of {', '.join(self.inputs)}, got {len(inputs)} (and {len(widths)} widths)"
            )
            raise CorrectionError(msg)

        def evaluate(*columns: jax.Array) -> jax.Array:
            result = jnp.asarray(self.values, jnp.result_type(*columns, jnp.float32))
            shares = [_shares(*axis) for axis in zip(columns, self.edges, widths, strict=True)]
            result = jnp.tensordot(shares[0], result, 1)
            for share in shares[1:]:
                later = (1,) * (result.ndim - share.ndim)
                result = jnp.sum(share.reshape(share.shape + later) * result, axis=share.ndim - 1)
            return result

        return elementwise(evaluate, *inputs)


def _read(path: Path) -> Mapping[str, Any]:
    content = path.read_bytes()
    return json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)


def reweight(log_density: Callable[[Any, Any], jax.Array], x: Any, params: Any, generated: Any) -> jax.Array:
    """Weights that turn events simulated at some parameters into events at others: p(x | params) / p(x | generated).

    Args:
        log_density: logarithm of the density (up to a constant) as a function of ``x`` and the parameters.
        x: what was generated, any pytree of shape (events,).
        params: where the weights are taken; they are differentiable in them.
        generated: where the events were simulated.

    Returns:
        Shape (events,); 1 where ``params`` equals ``generated``.
    """
    return jnp.exp(log_density(x, params) - log_density(x, generated))


def _shares(x: jax.Array, edges: np.ndarray, width: Any) -> jax.Array:
    """How much of ``x`` is between two edges, for each bin and what is outside; shape (…, n + 1)."""
    check_width(width)
    if is_hard():
        above = (x[..., None] >= edges).astype(jnp.result_type(x, jnp.float32))
    else:
        scale = width_scale()
        above = step(
            x[..., None], jnp.asarray(edges, x.dtype), width if scale is None else width * scale, PROFILES["sigmoid"]
        )
    ends = [(0, 0)] * x.ndim
    return jnp.pad(above, [*ends, (1, 0)], constant_values=1.0) - jnp.pad(above, [*ends, (0, 1)])


def _points(edges: np.ndarray) -> np.ndarray:
    """One point in each bin, and one on either side."""
    if not edges.size:
        return np.zeros(1)
    return np.concatenate([[edges[0] - 1.0], 0.5 * (edges[1:] + edges[:-1]), [edges[-1] + 1.0]])


def _edges(spec: Any) -> np.ndarray:
    if isinstance(spec, Mapping):
        return np.linspace(spec["low"], spec["high"], spec["n"] + 1)
    return np.array([float(edge) for edge in spec])


def _collect(node: Any, fixed: Mapping[str, Any], borders: dict[str, set[float]]) -> None:
    """Gather the bin edges of every input that is not fixed."""
    if not isinstance(node, Mapping):
        return
    kind = node["nodetype"]
    if kind == "category":
        _collect(_category(node, fixed), fixed, borders)
    elif kind in ("binning", "multibinning"):
        names, edges = ([node["input"]], [node["edges"]]) if kind == "binning" else (node["inputs"], node["edges"])
        for name, spec in zip(names, edges, strict=True):
            if name in borders:
                borders[name].update(_edges(spec).tolist())
        for child in (*node["content"], node["flow"]):
            _collect(child, fixed, borders)
    else:
        msg = f"expected a correction made of categories and bins, got a {kind!r}: evaluate it in `columns` instead"
        raise CorrectionError(msg)


def _category(node: Mapping[str, Any], values: Mapping[str, Any]) -> Any:
    if node["input"] not in values:
        msg = f"expected the category {node['input']!r} as a keyword: it takes {[c['key'] for c in node['content']]}"
        raise CorrectionError(msg)
    chosen = [c["value"] for c in node["content"] if c["key"] == values[node["input"]]]
    if not chosen and node.get("default") is None:
        msg = f"expected {node['input']} to be one of {[c['key'] for c in node['content']]}, got {values[node['input']]!r}"
        raise CorrectionError(msg)
    return chosen[0] if chosen else node["default"]


def _evaluate(node: Any, values: Mapping[str, Any]) -> float:
    """The correction at a point, as correctionlib gives it."""
    while isinstance(node, Mapping):
        if node["nodetype"] == "category":
            node = _category(node, values)
            continue
        several = node["nodetype"] == "multibinning"
        edges = [_edges(e) for e in (node["edges"] if several else [node["edges"]])]
        names = node["inputs"] if several else [node["input"]]
        index = [int(np.searchsorted(e, values[n], side="right")) - 1 for e, n in zip(edges, names, strict=True)]
        sizes = [e.size - 1 for e in edges]
        outside = any(not 0 <= i < size for i, size in zip(index, sizes, strict=True))
        if outside and node["flow"] not in ("clamp", "error"):
            node = node["flow"]
            continue
        clamped = [min(max(i, 0), size - 1) for i, size in zip(index, sizes, strict=True)]
        node = node["content"][int(np.ravel_multi_index(clamped, sizes))]
    return float(node)
