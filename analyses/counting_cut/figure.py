"""The significance against the cut, ever less soft, and where the two runs ended.

diffea run analyses/counting_cut --out out/counting_cut
python analyses/counting_cut/figure.py out/counting_cut
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np
from coffea.nanoevents import BaseSchema

sys.path.insert(0, str(Path(__file__).parent))

import analysis as counting

from diffea import HistFactory, distribute

WIDTHS = {2.0: "#bcd4ec", 1.0: "#2b6cb0", 0.3: "#7a5aa6", 0.1: "#c2557a"}


def main(out: Path) -> None:
    """Scan, and draw."""
    model = HistFactory(counting.SPEC)
    cuts = np.linspace(40, 50, 201)
    fine = np.linspace(44, 47, 601)
    figure, (wide, near) = plt.subplots(1, 2, figsize=(10, 4), width_ratios=(1, 1.2), layout="constrained")
    with tempfile.TemporaryDirectory() as folder:
        counting.make_data(Path(folder))
        fileset = counting.fileset(Path(folder))
        with distribute(counting.Threshold(), fileset, schemaclass=BaseSchema) as templates:
            objective = jax.jit(lambda made: counting.minus_significance(model(made)))

            def significance(cut: float, width: float) -> float:
                return -float(objective(templates({"cut": cut, "width": width})))

            def hard(cut: float) -> float:
                return -float(objective(templates.hard({"cut": cut})))

            for axes, scan in ((wide, cuts), (near, fine)):
                axes.step(scan, [hard(cut) for cut in scan], color="0.6", lw=1, where="mid", label="hard cut")
                for width, colour in WIDTHS.items():
                    curve = [significance(cut, width) for cut in scan[:: 1 if axes is wide else 3]]
                    axes.plot(scan[:: 1 if axes is wide else 3], curve, color=colour, label=f"soft, width {width:g}")
    for name, marker, label in (("fixed-width", "o", "optimum at width 1"), ("annealed", "*", "annealed, 2 → 0.02")):
        result = json.loads((out / name / "result.json").read_text())
        for axes in (wide, near):
            place = result["params"]["after"]["cut"], -result["after"]["hard_test"]
            axes.plot(*place, marker, color="black", ms=7 if marker == "o" else 12, label=label, zorder=5)
    wide.set(xlabel="cut on x", ylabel="significance Z", ylim=(3.4, 5.3), xlim=(40, 50))
    near.set(xlabel="cut on x", ylim=(4.8, 5.2), xlim=(44, 47))
    wide.legend(frameon=False, fontsize=8, ncols=2, loc="lower center")
    for axes in (wide, near):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(Path(__file__).parent / "significance.png", dpi=130)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
