"""Two parameters, their gradient through files: forward pass, loss and backward pass as three jobs, the events on dask.

    python analyses/counting_cut/through_a_file.py FOLDER            # the three jobs, each in a process of its own
    python analyses/counting_cut/through_a_file.py FOLDER forward    # one of them: forward, respond or backward

`power` is the pipeline of differentiate_through_file.ipynb (A. Held, March 2026): x → y = β x α³ → Σ y. `window` is the counting
cut with a lower and an upper threshold and its significance.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import hist
import jax
import numpy as np
import uproot
from coffea.nanoevents import BaseSchema
from dask.distributed import Client, LocalCluster

sys.path.insert(0, str(Path(__file__).parent))

import analysis as counting

from diffea import DifferentiableProcessor, Fill, HistFactory, distribute, exchange


class Power(DifferentiableProcessor):
    """y = β x α³ as the weight of an event, summed over the events."""

    channels: ClassVar[Mapping[str, Any]] = {"sum": hist.axis.Regular(1, -100, 200, name="x")}

    def columns(self, events: Any) -> dict[str, Any]:
        return {"x": events.x}

    def fill(self, params: Any, columns: Mapping[str, Any]) -> Iterator[Fill]:
        yield Fill("sum", columns["x"], params["beta"] * columns["x"] * params["alpha"] ** 3, bandwidth=1.0)


def total(templates: Any) -> Any:
    """Σ y."""
    return templates["sum", "x"].values.sum()


def minus_significance(templates: Any) -> Any:
    """Of the events in the window."""
    return counting.minus_significance(HistFactory(counting.SPEC)(templates))


EXAMPLES = {
    "power": (Power(), {"alpha": 0.5, "beta": 1.0}, total),
    "window": (counting.Window(), {"low": 45.0, "high": 60.0}, minus_significance),
}


def filesets(folder: Path) -> dict[str, dict[str, Any]]:
    """The events of both examples as ROOT files, written where they are not there yet."""
    if not (folder / "x.root").exists():
        counting.make_data(folder)
        with uproot.recreate(folder / "x.root") as file:
            file["Events"] = {"x": np.arange(1.0, 11.0)}
    return {"power": {"x": {"files": {str(folder / "x.root"): "Events"}}}, "window": counting.fileset(folder)}


def job(folder: Path, which: str) -> dict[str, Any]:
    """One of the three jobs, for both examples; only forward and backward have events, and a cluster."""
    if which == "respond":
        return {
            name: exchange.respond(loss, folder / f"{name}-templates.npz", folder / f"{name}-cotangents.npz")
            for name, (_, _, loss) in EXAMPLES.items()
        }
    found: dict[str, Any] = {}
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        for name, (processor, params, loss) in EXAMPLES.items():
            fileset = filesets(folder / "data")[name]
            chunksize = 5 if name == "power" else 1000
            with distribute(
                processor, fileset, client=client, schemaclass=BaseSchema, chunksize=chunksize
            ) as templates:
                if which == "forward":
                    made = exchange.forward(templates, params, folder / f"{name}-templates.npz")
                    found[name] = {"/".join(key): made[key].values.tolist() for key in made}
                else:
                    through = exchange.backward(templates, params, folder / f"{name}-cotangents.npz")
                    whole = jax.grad(lambda p, t=templates, f=loss: f(t(p)))(params)
                    found[name] = {
                        key: {"through files": float(through[key]), "through the whole": float(whole[key])}
                        for key in params
                    }
    return found


if __name__ == "__main__":
    if len(sys.argv) > 2:
        print(json.dumps({sys.argv[2]: job(Path(sys.argv[1]), sys.argv[2])}))  # noqa: T201
    else:
        for which in ("forward", "respond", "backward"):
            subprocess.run([sys.executable, __file__, sys.argv[1], which], check=True)
