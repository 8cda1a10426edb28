"""Recomputed: one computation on many versions of its inputs, each of which computes again only what it changes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var, jaxpr_as_fun

Values: TypeAlias = dict[Var, jax.Array]


@dataclasses.dataclass(frozen=True)
class Shifts:
    """Versions of the inputs.

    Attributes:
        computation: of all inputs, which gives the new ones of every version, one after the other.
        places: of the new ones of each version among the inputs.
    """

    computation: ClosedJaxpr
    places: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.places)

    def new(self, number: int, inputs: Sequence[jax.Array]) -> dict[int, jax.Array]:
        """The inputs that one version has of its own, by place."""
        jaxpr, first = self.computation.jaxpr, sum(map(len, self.places[:number]))
        outputs = jaxpr.outvars[first : first + len(self.places[number])]
        needed, equations = set(_variables(outputs)), []
        for equation in reversed(jaxpr.eqns):
            if needed.intersection(equation.outvars):
                needed.update(_variables(equation.invars))
                equations.append(equation)
        made = _computed(jaxpr, equations[::-1], _begin(self.computation, inputs))
        return {place: _value(atom, made) for place, atom in zip(self.places[number], outputs, strict=True)}


class Recomputed:
    """A computation in three parts, by how many of the shifts reach an operation of it.

    What none of them reaches is computed once. What at most half of them reach is computed once, and again by each of those shifts for itself. The
    rest is computed anew for every shift, by code that is compiled once for all of them. A derivative likewise goes once through what is shared.

    Args:
        computation: of the inputs.
        shifts: of the inputs.
    """

    def __init__(self, computation: ClosedJaxpr, shifts: Shifts) -> None:
        self._computation, self._shifts = computation, shifts
        jaxpr = computation.jaxpr
        reached: dict[Var, frozenset[int]] = {}
        for number, places in enumerate(shifts.places):
            for place in places:
                reached[jaxpr.invars[place]] = reached.get(jaxpr.invars[place], frozenset()) | {number}
        self._once: list[JaxprEqn] = []
        self._some: list[tuple[JaxprEqn, frozenset[int]]] = []
        self._each: list[JaxprEqn] = []
        for equation in jaxpr.eqns:
            by = frozenset[int]().union(*(reached.get(atom, frozenset()) for atom in _variables(equation.invars)))
            reached.update(dict.fromkeys(equation.outvars, by))
            if 2 * len(by) > len(shifts):
                self._each.append(equation)
            else:
                self._once.append(equation)
                if by:
                    self._some.append((equation, by))
        made_anew = {variable for equation in self._each for variable in equation.outvars}
        needed = _variables([*(atom for equation in self._each for atom in equation.invars), *jaxpr.outvars])
        kept = dict.fromkeys(variable for variable in needed if variable not in made_anew)
        self._changing = [variable for variable in kept if reached.get(variable)]

    @property
    def computations(self) -> tuple[ClosedJaxpr, ClosedJaxpr]:
        """That of the inputs, and that of the shifts."""
        return self._computation, self._shifts.computation

    def prepared(self, inputs: Sequence[jax.Array]) -> Values:
        """What is computed once, from the inputs as they are."""
        return _computed(self._computation.jaxpr, self._once, _begin(self._computation, inputs))

    def at(self, number: jax.Array, values: Values) -> list[jax.Array]:
        """The outputs of one of the shifts.

        Args:
            number: which.
            values: of ``prepared``.
        """
        jaxpr = self._computation.jaxpr
        changed = jax.lax.switch(
            number, [lambda which=which: self._changed(which, values) for which in range(len(self._shifts))]
        )
        found = _computed(jaxpr, self._each, {**values, **dict(zip(self._changing, changed, strict=True))})
        return [_value(atom, found) for atom in jaxpr.outvars]

    def _changed(self, number: int, values: Values) -> list[jax.Array]:
        """What the rest is computed from, for one shift."""
        jaxpr = self._computation.jaxpr
        new = self._shifts.new(number, [values[variable] for variable in jaxpr.invars])
        begin = {**values, **{jaxpr.invars[place]: value for place, value in new.items()}}
        found = _computed(jaxpr, [equation for equation, by in self._some if number in by], begin)
        return [found[variable] for variable in self._changing]


def _begin(computation: ClosedJaxpr, inputs: Sequence[jax.Array]) -> Values:
    jaxpr = computation.jaxpr
    return dict(zip([*jaxpr.constvars, *jaxpr.invars], [*computation.consts, *inputs], strict=True))


def _computed(jaxpr: Jaxpr, equations: Sequence[JaxprEqn], values: Values) -> Values:
    """The values with those of some equations, in their order."""
    used = {*_variables(jaxpr.outvars), *(atom for equation in jaxpr.eqns for atom in _variables(equation.invars))}
    made = dict.fromkeys(variable for equation in equations for variable in equation.outvars if variable in used)
    read = dict.fromkeys(atom for equation in equations for atom in _variables(equation.invars) if atom not in made)
    part = jaxpr.replace(constvars=[], invars=list(read), outvars=list(made), eqns=list(equations))
    found = jaxpr_as_fun(ClosedJaxpr(part, []))(*(values[variable] for variable in read))
    return {**values, **dict(zip(made, found, strict=True))}


def _value(atom: Var | Literal, values: Mapping[Var, jax.Array]) -> jax.Array:
    return values[atom] if isinstance(atom, Var) else atom.val


def _variables(atoms: Iterable[Var | Literal]) -> list[Var]:
    return [atom for atom in atoms if isinstance(atom, Var)]
