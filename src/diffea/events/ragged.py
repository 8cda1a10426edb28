"""Ragged columns: a changing number of objects an event, padded to a fixed number of slots, so that JAX can compile them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import awkward as ak
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from diffea.errors import ColumnError
from diffea.types import AnyArray

__all__ = ["Column", "Ragged", "elementwise", "signed"]


def signed(values: np.ndarray) -> np.ndarray:
    """Whole numbers as signed ones of 32 bits or more, whose negatives, differences and products do not wrap around as those of a byte do.

    Args:
        values: any shape, of either byte order; other types than whole numbers are left as they are.

    Raises:
        ColumnError: when a 64-bit number has no place in a signed one.
    """
    if values.dtype.kind not in "iu":
        return values
    if values.dtype.kind == "i" or values.dtype.itemsize < 8:
        return values.astype(np.result_type(values.dtype, np.int8, np.int32), copy=False)
    largest = np.iinfo(np.int64).max
    if values.max(initial=0) > largest:
        msg = f"expected whole numbers up to {largest}, got {values.max()}: return it as floating-point numbers"
        raise ColumnError(msg)
    return values.astype(np.int64)


def _per_event(other: ArrayLike) -> jax.Array:
    """A scalar or one value an event, shaped so that it broadcasts against (events, slots)."""
    other = jnp.asarray(other)
    return other[:, None] if other.ndim == 1 else other


def _common_mask(columns: Sequence[Column]) -> AnyArray:
    ragged = [c for c in columns if isinstance(c, Ragged)]
    if len({c.shape for c in ragged}) > 1:
        msg = f"expected columns of the same objects, got {', '.join(map(repr, ragged))}: only columns of one collection can be combined"
        raise ColumnError(msg)
    mask = ragged[0].mask
    for column in ragged[1:]:
        if column.mask is not mask:
            mask = mask & column.mask
    return mask


def _safe(values: AnyArray, mask: AnyArray) -> jax.Array:
    """The values, where empty slots hold the first object of the array (the same one in every column)."""
    values = jnp.asarray(values)
    if not values.size:
        return values
    first = jnp.argmax(jnp.reshape(mask, -1))
    return jnp.where(mask, values, jax.lax.stop_gradient(jnp.reshape(values, -1)[first]))


def _binary(
    function: Callable[[AnyArray, AnyArray], jax.Array], *, reflected: bool = False, guard: bool = False
) -> Callable[..., Ragged]:
    """An operator; with ``guard`` both sides hold a real object's numbers in empty slots, for operations that are not total."""

    def method(self: Ragged, other: Column) -> Ragged:
        if isinstance(other, Ragged):
            mask = _common_mask([self, other])
            left, right = self.values, other.values
        else:
            mask, left, right = self.mask, self.values, _per_event(other)
        if guard:
            left = _safe(left, mask)
            right = _safe(right, mask) if isinstance(other, Ragged) else right
        return Ragged(function(right, left) if reflected else function(left, right), mask)

    return method


def _logical(function: Callable[..., jax.Array]) -> Callable[..., Ragged]:
    """An operator of NumPy's on booleans, or on the bits of whole numbers."""
    combine = _binary(function)

    def method(self: Ragged, other: Column) -> Ragged:
        _check_bits(self, other)
        return combine(self, other)

    return method


def _check_bits(*columns: Column) -> None:
    """See that nothing is a floating-point number, of which any soft cut is neither true nor false.

    Raises:
        ColumnError: if something is.
    """
    kinds = [column.dtype if isinstance(column, Ragged) else jnp.result_type(column) for column in columns]
    if any(jnp.issubdtype(kind, jnp.inexact) for kind in kinds):
        msg = (
            f"expected booleans or whole numbers, got {' and '.join(map(str, kinds))}: soft cuts are combined by soft.all_of, soft.any_of "
            "and soft.not_, and other numbers are compared first"
        )
        raise ColumnError(msg)


@jax.tree_util.register_pytree_node_class
class Ragged:
    """One number for every object of every event, such as the transverse momenta of an event's jets.

    Comparisons give booleans; ``&``, ``|``, ``^`` and ``~`` combine these, and the bits of whole numbers, as in NumPy. Arithmetic with scalars, with one value an event (shape ``(events,)``), and with another column of the same objects
    gives a ``Ragged``. A padded slot repeats a real object, and its derivative is zero: it never makes a NaN.

    Args:
        values: shape (events, slots), padded.
        mask: booleans of shape (events, slots), true where there is an object.
    """

    __slots__ = ("mask", "values")
    __array_ufunc__ = None  # NumPy leaves `array * ragged` to `ragged.__rmul__`

    values: AnyArray
    mask: AnyArray

    def __init__(self, values: AnyArray, mask: AnyArray) -> None:
        self.values = values
        self.mask = mask

    @classmethod
    def from_awkward(cls, array: ak.Array, slots: int | None = None) -> Ragged:
        """A jagged awkward array of numbers (``events * var * float``), padded on the host.

        Args:
            array: jagged array; missing values (``None``) count as no object.
            slots: objects an event to make room for; by default the largest number there is, rounded up to a power of two.

        Raises:
            ColumnError: when the array is not jagged numbers, an event holds more objects than ``slots``, or a number is
                too large.
        """
        array = array if isinstance(array, ak.Array) else _awkward(array)
        if "?" in str(array.type) or "option" in str(array.type):
            array = ak.fill_none(array, [], axis=0)
            array = array[~ak.is_none(array, axis=1)] if array.ndim > 1 else array
        if array.ndim != 2:
            msg = f"expected a jagged column of shape events * var, got {array.type}: take one field of one kind of object"
            raise ColumnError(msg)
        try:
            flat = ak.to_numpy(ak.flatten(array, axis=1))
        except (TypeError, ValueError) as error:
            msg = f"expected a jagged column of numbers, got {array.type}: return one column for each field"
            raise ColumnError(msg) from error
        if flat.dtype.names is not None or flat.dtype.kind not in "biuf":
            msg = f"expected a jagged column of numbers, got {array.type}: return one column for each field"
            raise ColumnError(msg)
        flat = signed(flat)
        counts = ak.to_numpy(ak.num(array, axis=1))
        most = int(counts.max(initial=0))
        if slots is None:
            slots = 1 << max(most - 1, 0).bit_length()
        if most > slots:
            msg = f"an event has {most} objects, but there is room for {slots}: cut the column ([:, :{slots}]) or ask for more slots"
            raise ColumnError(msg)
        mask = np.arange(slots) < counts[:, None]
        values = np.full(mask.shape, flat[0] if flat.size else 1, dtype=flat.dtype)
        values[mask] = flat
        return cls(values, mask)

    def tree_flatten(self) -> tuple[tuple[AnyArray, AnyArray], None]:
        """The two arrays, for JAX."""
        return (self.values, self.mask), None

    @classmethod
    def tree_unflatten(cls, _: None, children: tuple[AnyArray, AnyArray]) -> Ragged:
        """The inverse of ``tree_flatten``, for JAX."""
        return cls(*children)

    @property
    def shape(self) -> tuple[int, ...]:
        """(events, slots)."""
        return jnp.shape(self.values)

    @property
    def dtype(self) -> np.dtype:
        """Type of the values."""
        return jnp.result_type(self.values)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"Ragged(events={self.shape[0]}, slots={self.shape[-1]}, dtype={self.dtype})"

    def where(self, outside: ArrayLike) -> jax.Array:
        """The padded values, with ``outside`` in the slots that hold no object; shape (events, slots)."""
        return jnp.where(self.mask, self.values, outside)

    def apply(self, function: Callable[..., jax.Array], *others: Column) -> Ragged:
        """An elementwise JAX function of this column and others: ``pt.apply(jnp.hypot, mass)``.

        A slot without an object is given the numbers of a real object, so a function that is sound on the data is
        sound on the padding, whatever its domain.

        Args:
            function: elementwise function of as many arguments.
            others: ``Ragged`` of the same objects, arrays of one value an event, or scalars.

        Raises:
            ColumnError: when another column has other objects.
        """
        columns = [self, *others]
        mask = _common_mask(columns)
        inputs = [_safe(c.values, mask) if isinstance(c, Ragged) else _per_event(c) for c in columns]
        return Ragged(jnp.where(mask, function(*inputs), 0), mask)

    def astype(self, dtype: str | type | np.dtype) -> Ragged:
        """The same column in another number type."""
        return Ragged(jnp.asarray(self.values).astype(dtype), self.mask)

    def keep(self, selection: Ragged) -> Ragged:
        """The objects for which a hard selection (booleans of the same objects) holds; the others become empty slots."""
        mask = _common_mask([self, selection])
        _check_bits(selection)
        return Ragged(self.values, mask & (jnp.asarray(selection.values) != 0))

    def num(self) -> jax.Array:
        """Number of objects of each event, shape (events,)."""
        return jnp.sum(self.mask, axis=-1)

    def sum(self) -> jax.Array:
        """Sum over the objects of each event, shape (events,); 0 for an event without any."""
        return jnp.sum(self.where(0), axis=-1)

    def __neg__(self) -> Ragged:
        wide = self.dtype if jnp.issubdtype(self.dtype, jnp.floating) else jnp.promote_types(self.dtype, jnp.int8)
        return Ragged(-jnp.asarray(self.values, wide), self.mask)

    def __abs__(self) -> Ragged:
        return Ragged(jnp.abs(self.values), self.mask)

    def __invert__(self) -> Ragged:
        _check_bits(self)
        return Ragged(jnp.invert(self.values), self.mask)

    def __bool__(self) -> bool:
        """Refused: an event's objects are not true or false together.

        Raises:
            ColumnError: always.
        """
        msg = (
            "a column of objects is neither true nor false: in place of `20 < pt < 50`, `and`, `or` and `not` write "
            "(pt > 20) & (pt < 50), |, ~, or a soft cut"
        )
        raise ColumnError(msg)

    __add__ = _binary(jnp.add)
    __radd__ = _binary(jnp.add, reflected=True)
    __sub__ = _binary(jnp.subtract)
    __rsub__ = _binary(jnp.subtract, reflected=True)
    __mul__ = _binary(jnp.multiply)
    __rmul__ = _binary(jnp.multiply, reflected=True)
    __truediv__ = _binary(jnp.divide, guard=True)
    __rtruediv__ = _binary(jnp.divide, reflected=True, guard=True)
    __pow__ = _binary(jnp.power, guard=True)
    __rpow__ = _binary(jnp.power, reflected=True, guard=True)
    __and__ = __rand__ = _logical(jnp.bitwise_and)
    __or__ = __ror__ = _logical(jnp.bitwise_or)
    __xor__ = __rxor__ = _logical(jnp.bitwise_xor)
    __lt__ = _binary(jnp.less)
    __le__ = _binary(jnp.less_equal)
    __gt__ = _binary(jnp.greater)
    __ge__ = _binary(jnp.greater_equal)
    __eq__ = _binary(jnp.equal)  # type: ignore[assignment]
    __ne__ = _binary(jnp.not_equal)  # type: ignore[assignment]


def _awkward(array: object) -> ak.Array:
    try:
        return ak.Array(array)
    except (TypeError, ValueError) as error:
        msg = f"expected a jagged column of numbers, got {type(array).__name__}: {error}"
        raise ColumnError(msg) from error


Column: TypeAlias = ArrayLike | Ragged
"""A column in ``fill``: one value an event, or one for each of its objects; or a number."""


def elementwise(function: Callable[..., jax.Array], *columns: Column) -> Ragged | jax.Array:
    """An elementwise JAX function of columns of which some, or none, are ragged.

    Args:
        function: of as many arrays as there are columns.
        columns: ``Ragged`` of the same objects, arrays of one value an event, or scalars.

    Returns:
        ``Ragged`` where one of the columns is, an array otherwise.
    """
    found = next(((i, column) for i, column in enumerate(columns) if isinstance(column, Ragged)), None)
    if found is None:
        return function(*map(jnp.asarray, columns))
    head, ragged = found

    def reordered(first: jax.Array, *rest: jax.Array) -> jax.Array:
        return function(*rest[:head], first, *rest[head:])

    return ragged.apply(reordered, *columns[:head], *columns[head + 1 :])
