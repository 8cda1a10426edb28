"""Exchange: templates and their cotangents as files, so that forward and backward pass are separate jobs.

Job one (`forward`) writes the templates. Job two (`respond`) has no events, only that file: it computes the loss, and writes
its derivative by every number in the file, in a file of the same shape. Job three (`backward`) turns that into the gradient.
`docs/exchange.md` describes both files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from diffea.errors import ExchangeError
from diffea.exchange.contents import COTANGENTS, TEMPLATES, Exchanged, read_file, write_file
from diffea.parameters import as_arrays, names
from diffea.runtime import named_errors
from diffea.templates import TemplateSet
from diffea.types import Params, Scalar

__all__ = ["Exchanged", "backward", "forward", "read", "respond"]


def forward(templates: Callable[[Params], TemplateSet], params: Params, path: str | Path) -> TemplateSet:
    """Compute the templates and write them.

    Args:
        templates: what ``distribute`` returned, or any function that makes a TemplateSet of parameters.
        params: the parameters.
        path: of the file to write.

    Raises:
        ExchangeError: if a template is not finite, or has an axis that a file cannot hold.
        OutputError: if the file cannot be written.
    """
    with named_errors():
        made: TemplateSet = jax.tree.map(np.asarray, templates(params))
    write_file(Path(path), Exchanged(made, _digest(params), made.edges))
    return made


def respond(loss: Callable[[TemplateSet], Scalar], path: str | Path, out: str | Path) -> float:
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
    given = read_file(Path(path), TEMPLATES)
    with named_errors():
        value, slopes = jax.value_and_grad(loss)(jax.tree.map(jnp.asarray, given.templates))
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((value, slopes))):
        msg = f"the loss on the templates of {path} is {value}, and its cotangents or itself are not finite"
        raise ExchangeError(msg)
    slopes = jax.tree.map(np.asarray, slopes)
    write_file(Path(out), Exchanged(slopes, given.params, slopes.edges, float(value)))
    return float(value)


def backward(templates: Callable[[Params], TemplateSet], params: Params, path: str | Path) -> Params:
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
    given = read_file(Path(path), COTANGENTS)
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
        ExchangeError: if it is neither, truncated or damaged, or of a later version.
    """
    return read_file(Path(path))


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


def _digest(params: Params) -> str:
    digest = hashlib.sha256()
    for name, leaf in zip(names(params), jax.tree.leaves(as_arrays(params)), strict=True):
        array = np.asarray(leaf, dtype="<f8")
        digest.update(f"{name}{array.shape}".encode() + array.tobytes())
    return digest.hexdigest()
