"""Event weights as functions: scale factors with soft bin borders, and reweighting to other simulation parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from diffea.errors import CorrectionError
from diffea.events.ragged import Column, Ragged, elementwise
from diffea.soft.correction_files import read_correction
from diffea.soft.correction_nodes import Bins, Node, covered, evaluate
from diffea.soft.transition import checked_width, floating
from diffea.types import JSONMapping, Params, PyTree

__all__ = ["ScaleFactor", "reweight"]


class ScaleFactor:
    """A correction, smooth in its inputs.

    Args:
        inputs: names of the inputs, in the order in which they are given.
        edges: of each input, ascending and finite, shape (n,).
        values: finite, shape (n + 1, …), one more than there are edges of each input: what is outside has a value too.

    Attributes:
        inputs: likewise.

    Raises:
        CorrectionError: when there are not as many values as bins, edges do not ascend, or a number is not finite.
    """

    inputs: tuple[str, ...]

    def __init__(self, inputs: tuple[str, ...], edges: tuple[np.ndarray, ...], values: np.ndarray) -> None:
        borders = tuple((-np.inf, *_numbers(axis, f"edges of {inputs}", 1).tolist(), np.inf) for axis in edges)
        table = _numbers(values, f"values of {inputs}", len(edges))
        expected = tuple(len(axis) - 1 for axis in borders)
        if table.shape != expected or len(inputs) != len(edges) or not all(isinstance(name, str) for name in inputs):
            msg = f"expected values of shape {expected} for the inputs {inputs}, got {table.shape}"
            raise CorrectionError(msg)
        node = Bins(tuple(inputs), borders, tuple(table.ravel().tolist()), "clamp")
        self._set(dict.fromkeys(inputs, "real"), node, {})

    def _set(self, inputs: Mapping[str, str], node: Node, fixed: Mapping[str, ArrayLike]) -> None:
        self.inputs, self._node, self._fixed = tuple(inputs), node, dict(fixed)
        self._smooth = {name for name, kind in inputs.items() if kind == "real"}

    @classmethod
    def from_correctionlib(cls, source: str | Path | JSONMapping, name: str, **fixed: str | float) -> ScaleFactor:
        """A correction of a correctionlib file (schema 2), equal to correctionlib's under ``hard()``.

        It may be made of categories (which are to be fixed), bins, transforms of inputs, and formulas. Borders of inputs
        that are whole numbers, and conditions within formulas, stay exact.

        Args:
            source: the file's path (``.json`` or ``.json.gz``), or its content.
            name: of the correction in the file.
            fixed: the inputs that are fixed, such as the categories: ``systematic="nominal"``.

        Raises:
            CorrectionError: when there is no such file, correction, input or category, when it is not of the schema (edges that do not
                ascend, numbers that are none, inputs that are not named), or holds random numbers or networks.
        """
        inputs, node = read_correction(source, name, fixed)
        factor = cls.__new__(cls)
        factor._set(inputs, node, {key: value for key, value in fixed.items() if not isinstance(value, str)})
        return factor

    def __call__(self, *inputs: Column, width: ArrayLike | tuple[ArrayLike, ...]) -> Any:
        """The scale factor of each event or object.

        Outside of bins whose flow is an error it is a NaN, which no template takes; where the columns are known, as they
        are outside of a compiled function, an error says so at once.

        Args:
            inputs: one column for each input, in order: shape (events,), or ``Ragged``.
            width: of the transition at the bin borders, in the unit of the input (or of what the file transforms it to); a
                tuple of one for each input, or one for all. Under ``hard()`` a border is exact, and belongs to the bin above it.

        Raises:
            CorrectionError: when there are not as many columns (or widths) as inputs, or known entries are outside of the bins.
            WidthError: when a width is known and not positive.
        """
        widths = width if isinstance(width, tuple) else (width,) * len(self.inputs)
        if len(inputs) != len(self.inputs) or len(widths) != len(self.inputs):
            msg = (
                f"expected a column for each of {', '.join(self.inputs)}, got {len(inputs)} (and {len(widths)} widths)"
            )
            raise CorrectionError(msg)
        widths = tuple(map(checked_width, widths))

        def factor(*columns: jax.Array) -> jax.Array:
            columns = tuple(jnp.broadcast_arrays(*columns))
            values: dict[str, jax.Array] = dict(zip(self.inputs, columns, strict=True))
            values |= {name: jnp.full(columns[0].shape, value) for name, value in self._fixed.items()}
            soft = {name: w for name, w in zip(self.inputs, widths, strict=True) if name in self._smooth}
            result = evaluate(self._node, values, soft)
            return jnp.broadcast_to(result, columns[0].shape).astype(floating(*columns))

        result = elementwise(factor, *inputs)
        self._check(result.where(1.0) if isinstance(result, Ragged) else result)
        return result

    def _check(self, result: jax.Array) -> None:
        ranges = "; ".join(dict.fromkeys(covered(self._node)))
        if not ranges or isinstance(result, jax.core.Tracer):
            return
        lost = int(jnp.sum(jnp.isnan(result)))
        if lost:
            msg = (
                f"expected entries that the correction covers ({ranges}), got {lost} of {result.size} outside: "
                "clip the column (jnp.clip), or select in `columns`"
            )
            raise CorrectionError(msg)


def _numbers(array: object, what: str, axes: int) -> np.ndarray:
    """An array of finite numbers."""
    try:
        found = np.asarray(array)
    except ValueError as error:
        msg = f"expected {what} as an array, got {array!r:.200}"
        raise CorrectionError(msg) from error
    if found.dtype.kind not in "fiu" or found.ndim != axes or not np.isfinite(found).all():
        msg = f"expected {what} as an array of finite numbers with {axes} axes, got {array!r:.200}"
        raise CorrectionError(msg)
    return found.astype(float)


def reweight(
    log_density: Callable[[PyTree, Params], jax.Array], x: PyTree, params: Params, generated: Params
) -> jax.Array:
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
