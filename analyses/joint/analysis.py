"""Cuts, a network and the edges of its bins, together or one block alone, on the demo's events; `joint.py` compares them with one after the other."""

from __future__ import annotations

from problems import BLOCKS, make_demo, of_demo

from diffea import Analysis, Split

STEPS = 60
DEMO = of_demo()

analysis = Analysis(
    name="joint",
    title="Cuts, network and bin edges together, and each alone (invented data)",
    fileset=DEMO.fileset,
    schemaclass=DEMO.schemaclass,
    split=Split(train=0.5),
    default_data=make_demo,
    variants={
        "together": DEMO.variant(BLOCKS, STEPS),
        **{block: DEMO.variant([block], STEPS) for block in BLOCKS},
    },
)
