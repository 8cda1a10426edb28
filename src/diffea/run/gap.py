"""Soft against hard on the same events, and the objective along each parameter with exact cuts."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from diffea.distributed import Templates
from diffea.errors import DiffeaError
from diffea.optimise.bounds import read_bounds
from diffea.parameters import as_arrays, number_names
from diffea.run.numbers import numbers
from diffea.runtime import named_errors
from diffea.statistics import HistFactory
from diffea.statistics.bound import BoundModel
from diffea.templates import TemplateSet
from diffea.types import JSONDict, Params, PyTree, Scalar

PARTS = 8
MOST = 24  # parameters that are scanned
POINTS = 7
Objective = Callable[[BoundModel], Scalar]


def soft_less_hard(templates: Templates, params: Params, model: HistFactory, objective: Objective) -> dict[str, float]:
    """The objective with soft cuts less that with exact ones, of the same events, with its error.

    The error is that of a jackknife: of eight disjoint parts of the events each is left out once (Efron and Stein, Ann. Statist. 9 (1981) 586, for
    groups), which knows what both templates have in common.

    Args:
        templates: of the events.
        params: the parameters.
        model, objective: that were optimised.
    """

    def kinds(source: Callable[[Params], TemplateSet], exact: Callable[[Params], TemplateSet]) -> list[TemplateSet]:
        with named_errors():
            return [jax.tree.map(np.asarray, of(params)) for of in (source, exact)]

    whole = kinds(templates, templates.hard)
    parts = [kinds(part, part.hard) for part in (templates.batch(number, of=PARTS) for number in range(PARTS))]
    without = [
        _difference([_without(all_, one) for all_, one in zip(whole, part, strict=True)], model, objective)
        for part in parts
    ]
    spread = (PARTS - 1) / PARTS * float(np.sum((np.array(without) - np.mean(without)) ** 2))
    return {"difference": _difference(whole, model, objective), "error": float(np.sqrt(spread))}


def _without(whole: TemplateSet, part: TemplateSet) -> TemplateSet:
    """Templates of all events but a part, which is scaled to all of them, as an estimate of as many as before."""
    values = (PARTS * np.asarray(whole.values_flat) - np.asarray(part.values_flat)) / (PARTS - 1)
    variances = (PARTS * np.asarray(whole.variances_flat) - np.asarray(part.variances_flat)) / (PARTS - 1)
    return dataclasses.replace(whole, values_flat=values, variances_flat=variances)


def _difference(pair: list[TemplateSet], model: HistFactory, objective: Objective) -> float:
    soft, hard = (float(objective(model(templates))) for templates in pair)
    return soft - hard


def along(templates: Templates, params: Params, bounds: PyTree, model: HistFactory, objective: Objective) -> JSONDict:
    """The objective with exact cuts along each parameter between its bounds, the others held; in one pass.

    Args:
        templates: of the events trained on.
        params: where the others are held.
        bounds: as ``optimise`` takes them.
        model, objective: that were optimised.

    Returns:
        by the parameter's name, ``values`` and ``losses``, None where the statistics fail; nothing where more numbers than ``MOST`` have bounds.
    """
    params = as_arrays(params)
    leaves, (start, whole) = jax.tree_util.tree_leaves_with_path(params), ravel_pytree(params)
    pairs = zip(read_bounds(leaves, bounds), leaves, strict=True)
    sides = [[np.broadcast_to(side, np.shape(leaf)).ravel() for side in pair] for pair, (_, leaf) in pairs]
    low, high = (np.concatenate(side) for side in zip(*sides, strict=True))
    flat, names, explored = np.asarray(start), number_names(params), np.flatnonzero(np.isfinite(high - low))
    if not 0 < len(explored) <= MOST:
        return {}
    values = [np.unique([*np.linspace(low[place], high[place], POINTS), flat[place]]) for place in explored]
    points = np.concatenate([_moved(flat, place, found) for place, found in zip(explored, values, strict=True)])
    distinct, back = np.unique(points, axis=0, return_inverse=True)  # where the parameters are is on all of the lines
    with named_errors():
        found = jax.tree.map(np.asarray, jax.vmap(templates.hard)(jax.vmap(whole)(jnp.asarray(distinct))))
    losses = [_loss(jax.tree.map(operator.itemgetter(row), found), model, objective) for row in range(len(distinct))]
    parts = np.split(np.array(losses)[back.ravel()], np.cumsum([len(places) for places in values])[:-1])
    return {
        names[place]: {"values": places.tolist(), "losses": numbers(part)}
        for place, places, part in zip(explored, values, parts, strict=True)
    }


def _moved(flat: np.ndarray, place: np.intp, values: np.ndarray) -> np.ndarray:
    points = np.repeat(flat[None], len(values), axis=0)
    points[:, place] = values
    return points


def _loss(templates: TemplateSet, model: HistFactory, objective: Objective) -> float:
    try:
        return float(objective(model(templates)))
    except DiffeaError:
        return np.nan
