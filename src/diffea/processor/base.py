"""The differentiable processor: what a user writes, and what every lane runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar

import numpy as np
from coffea.processor import ProcessorABC

from diffea.errors import FillError, HistogramError
from diffea.histograms import binning
from diffea.processor.fill import Fill
from diffea.processor.variations import Shift
from diffea.types import AnyArray, Axis, Events, Params, PyTree


class DifferentiableProcessor(ProcessorABC):
    """A coffea processor in two halves: ``columns`` once a chunk, ``fill`` in JAX at every step.

    Attributes:
        channels: the ``hist`` axis (or tuple of axes) of each channel.
        variations: by name (``"tes"``), functions of the columns and a direction (1 up, -1 down) that return the columns
            which shift, or nothing where the variation does not apply. ``fill`` runs on them again; its nominal fills become
            ``"tes_up"`` and ``"tes_down"``.
    """

    channels: ClassVar[Mapping[str, Axis | tuple[Axis, ...] | list[Axis]]] = {}
    variations: ClassVar[Mapping[str, Shift]] = {}
    _runner: ClassVar[Callable[..., ProcessorABC]]  # given by diffea.program.runner

    def columns(self, events: Events) -> Mapping[str, PyTree]:  # noqa: ARG002
        """Read from NanoEvents what ``fill`` needs; hard object selection lives here.

        Returns:
            awkward or NumPy arrays of one entry for each selected event. Jagged ones reach ``fill`` as ``diffea.Ragged``; plain strings,
            numbers and booleans stay Python values, on which ``fill`` may branch.
        """
        msg = f"{type(self).__name__} defines no `columns(self, events)`, which returns what `fill` needs by name"
        raise FillError(msg)

    def fill(self, params: Params, columns: Mapping[str, PyTree]) -> Iterable[Fill]:  # noqa: ARG002
        """Select, weigh and histogram: a pure function of the parameters and the columns, in JAX."""
        msg = f"{type(self).__name__} defines no `fill(self, params, columns)`, which yields diffea.Fill for each template"
        raise FillError(msg)

    def edges(self, params: Params) -> Mapping[str, AnyArray]:  # noqa: ARG002
        """Bin edges that are parameters, by channel, shape ``(bins + 1,)`` with the axis's number of bins."""
        return {}

    def at(self, params: Params, *, jacobian: bool = False, hard: bool = False) -> ProcessorABC:
        """The plain coffea processor at fixed parameters, for ``coffea.processor.Runner`` with any executor.

        Args:
            params: the parameters.
            jacobian: accumulate the templates' derivative by the parameters as well.
            hard: exact cuts and plain histograms instead of soft cuts and kernels.
        """
        return self._runner(self, params, jacobian=jacobian, hard=hard)

    def process(self, events: Events) -> PyTree:  # noqa: ARG002
        """Not defined without parameters.

        Raises:
            FillError: always; the runner takes ``processor.at(params)``.
        """
        msg = f"{type(self).__name__} needs parameters: give the runner `processor.at(params)`"
        raise FillError(msg)

    def postprocess(self, accumulator: PyTree) -> PyTree:
        """Nothing: what the chunks add up to is the result."""
        return accumulator


def axes_of(processor: DifferentiableProcessor) -> dict[str, tuple[Axis, ...]]:
    """The axes of each channel, always as a tuple."""
    return {
        name: tuple(axes) if isinstance(axes, tuple | list) else (axes,) for name, axes in processor.channels.items()
    }


def check_axes(processor: object) -> None:
    """See that every channel has axes on which templates of chunks add up, and soft and hard ones have the same bins.

    Raises:
        FillError: if there is no processor, or it has no channels.
        HistogramError: for what is no axis of ``hist``, and for axes that grow.
    """
    if not isinstance(processor, DifferentiableProcessor):
        msg = f"expected an object of a class derived from diffea.DifferentiableProcessor, got {_kind(processor)}"
        raise FillError(msg)
    channels: object = processor.channels
    if not (isinstance(channels, Mapping) and channels):
        msg = f"{type(processor).__name__}.channels must be a dict of hist axes by channel, got {channels!r}"
        raise FillError(msg)
    for channel, axes in axes_of(processor).items():
        for axis in axes:
            try:
                binning(axis)
            except HistogramError as error:
                msg = f"channel {channel!r} of {type(processor).__name__}: {error}"
                raise HistogramError(msg) from error


def learned_edges(processor: DifferentiableProcessor, params: Params) -> dict[str, AnyArray]:
    """What ``edges`` returns, by channel, each of shape ``(bins + 1,)``.

    Raises:
        FillError: if a channel is none, has not one axis with edges, or as many edges as that has not.
    """
    learned, axes = processor.edges(params), axes_of(processor)
    where = f"{type(processor).__name__}.edges"
    if not isinstance(learned, Mapping):
        msg = f"{where} must return a dict of edges by channel, got {_kind(learned)}"
        raise FillError(msg)
    for channel, edges in learned.items():
        if channel not in axes:
            msg = f"{where} names the channel {channel!r}; `channels` has: {', '.join(axes)}"
            raise FillError(msg)
        if len(axes[channel]) != 1 or not isinstance(binning(axes[channel][0]), np.ndarray):
            msg = f"{where} names the channel {channel!r}, whose edges cannot be learned: it takes one axis that has edges and is not circular"
            raise FillError(msg)
        if np.shape(edges) != (len(axes[channel][0]) + 1,):
            msg = (
                f"{where} gives {channel!r} edges of shape {np.shape(edges)}; its axis has {len(axes[channel][0]) + 1}"
            )
            raise FillError(msg)
    return dict(learned)


def _kind(value: object) -> str:
    return f"the class {value.__name__} itself" if isinstance(value, type) else type(value).__name__
