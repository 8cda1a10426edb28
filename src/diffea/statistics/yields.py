"""All numbers of a model as one pytree, from a specification and templates, and their checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffea.errors import UnknownTemplateError, YieldError
from diffea.statistics.pieces import FIELDS, Pieces, places
from diffea.statistics.spec import Key, Source, Spec


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Yields:
    """Every number of a HistFactory model, each field one flat array in the order of the specification's channels.

    `HistFactory.places` says which entry stands where in the specification.

    Attributes:
        nominal: expected events of every sample and bin.
        histosys_hi, histosys_lo: events at +1σ and −1σ of every histosys.
        normsys_hi, normsys_lo: factors at +1σ and −1σ of every normsys.
        shapesys, staterror: absolute uncertainties in events.
    """

    nominal: Array
    histosys_hi: Array
    histosys_lo: Array
    normsys_hi: Array
    normsys_lo: Array
    shapesys: Array
    staterror: Array


def is_concrete(tree: Any) -> bool:
    """Whether no leaf is being traced (so that its numbers can be looked at)."""
    return not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))


def count_bins(spec: Spec, templates: Mapping[Key, Any] | None) -> dict[str, int]:
    """Number of bins of every channel, from its first sample.

    Raises:
        YieldError: if a template is named and none are given.
        UnknownTemplateError: if a template is named that is not there.
    """
    counts = {}
    for channel in spec.channels:
        source = next(iter(channel.samples.values())).data
        values = source.numbers if source.numbers is not None else _template(source, templates).values
        counts[channel.name] = int(np.size(values))
    return counts


def gather(pieces: Pieces, templates: Mapping[Key, Any] | None) -> Yields:
    """The numbers that the specification holds or names.

    Raises:
        YieldError: if an entry has the wrong length; with its place.
        UnknownTemplateError: if a template is named that is not there.
    """
    return Yields(**{name: _join(name, pieces, templates) for name in FIELDS})


def _join(name: str, pieces: Pieces, templates: Mapping[Key, Any] | None) -> Array:
    parts: list[Any] = []
    numbers: list[float] = []
    for source, length in pieces[name]:
        values = source.numbers if source.numbers is not None else _numbers(name, source, templates)
        if np.size(values) != length:
            what = f"template {source.key}" if source.key else "the list"
            msg = f"{source.place}: {what} has {np.size(values)} bins, the channel's first sample has {length}"
            raise YieldError(msg)
        if source.numbers is not None:
            numbers.extend(source.numbers)
            continue
        if numbers:
            parts.append(np.asarray(numbers))
            numbers = []
        parts.append(values)
    if numbers or not parts:
        parts.append(np.asarray(numbers, float))
    numpy = _numpy_of(*parts)
    return jnp.asarray(numpy.concatenate([numpy.ravel(numpy.asarray(part, float)) for part in parts]))


def _numpy_of(*arrays: object) -> ModuleType:
    """JAX's NumPy for its arrays; NumPy for others, of which each transfer to JAX takes longer than all of the work."""
    return jnp if any(isinstance(array, jax.Array) for array in arrays) else np


def _numbers(name: str, source: Source, templates: Mapping[Key, Any] | None) -> Any:
    template = _template(source, templates)
    if source.mirrored is not None:
        nominal = source.mirrored
        centre = nominal.numbers if nominal.numbers is not None else _template(nominal, templates).values
        numpy = _numpy_of(centre, template.values)
        return 2.0 * numpy.ravel(numpy.asarray(centre, float)) - numpy.ravel(template.values)
    if name not in ("shapesys", "staterror"):
        return template.values
    numpy = _numpy_of(template.variances)
    variances = numpy.asarray(template.variances, float)
    filled = variances > 0
    none = numpy.where(variances == 0, 0.0, np.nan)  # a negative or a NaN is no variance, which `check_yields` tells
    return numpy.where(filled, numpy.sqrt(numpy.where(filled, variances, 1.0)), none)


def _template(source: Source, templates: Mapping[Key, Any] | None) -> Any:
    assert source.key is not None
    if templates is None:
        msg = f"{source.place} names the template {source.key}: call the model with templates, model(T)"
        raise YieldError(msg)
    try:
        template = templates[source.key]
    except (TypeError, IndexError) as error:
        msg = f"{source.place} names the template {source.key}: expected templates by (channel, sample, variation), got {type(templates).__name__}"
        raise YieldError(msg) from error
    except KeyError as error:
        known = sorted(templates)
        msg = f"{source.place} names the template {source.key} that no fill made; there are {known}"
        raise UnknownTemplateError(msg) from error
    if callable(getattr(template, "values", None)) or not hasattr(template, "values"):
        msg = f"{source.place}: expected the template {source.key} with arrays `values` and `variances`, got {type(template).__name__}"
        raise YieldError(msg)
    return template


def check_yields(pieces: Pieces, yields: Yields) -> None:
    """Look at concrete numbers: finite, factors positive, uncertainties not negative, every bin's expectation sound.

    Raises:
        YieldError: at the first entry that makes the likelihood meaningless; with its place in the specification.
    """
    for name in FIELDS:
        values = np.asarray(getattr(yields, name))
        bad = ~np.isfinite(values)
        rule = "finite"
        if name.startswith("normsys"):
            bad, rule = bad | ~(values > 0), "a positive factor"
        elif name in ("shapesys", "staterror"):
            bad, rule = bad | ~(values >= 0), "an uncertainty of zero or more"
        if bad.any():
            index = int(np.flatnonzero(bad)[0])
            msg = f"{places(pieces, name)[index]}: expected {rule}, got {values[index]}"
            raise YieldError(msg)


def check_shapes(pieces: Pieces, yields: Yields) -> None:
    """See that every field has as many numbers as the specification.

    Raises:
        YieldError: naming the field.
    """
    for name in FIELDS:
        expected = sum(length for _, length in pieces[name])
        if jnp.shape(getattr(yields, name)) != (expected,):
            msg = f"yields.{name}: expected shape ({expected},), got {jnp.shape(getattr(yields, name))}"
            raise YieldError(msg)
