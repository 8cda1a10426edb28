"""Compiling: why the first pass of a kind is slower than others, for the log and the progress line."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping

import jax

from diffea.distributed.steps import AnyMode
from diffea.portable import Portable
from diffea.templates import Layout
from diffea.types import PyTree

log = logging.getLogger(__name__)

WORDS: Mapping[AnyMode, str] = {
    "values": "histograms with soft cuts",
    "jacobian": "histograms with soft cuts and their derivatives",
    "by-bin": "histograms with soft cuts and their derivatives",
    "vjp": "the gradient",
    "hard": "histograms with exact cuts",
    "replicas": "replicas, for errors",
    "survey": "what the cuts decide on",
    "selection": "cutflows and N−1 distributions",
}


def kind_of(mode: AnyMode, layout: Portable[Layout], arguments: tuple[PyTree, ...]) -> Hashable:
    """What passes have in common that one compilation serves."""
    return mode, layout.token, tuple(leaf.shape for leaf in jax.tree.leaves(arguments))


def tell(mode: AnyMode) -> None:
    """Say what is compiled, before the first pass of a kind."""
    log.info("compiling %s, where the cache does not have it", WORDS[mode])
