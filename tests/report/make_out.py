"""A folder like one that `diffea run` leaves, made without a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

EDGES = {"tagged": [150, 300, 450, 600, 800, 1000, 1400], "untagged": [150, 300, 450, 700, 1400]}
SAMPLES = {"signal": (1.0, 12.0), "ttbar": (0.35, 900.0), "wjets": (0.22, 500.0)}
CUTS = {"before": {"signal": 1.0, "ttbar": 1.0, "wjets": 1.0}, "after": {"signal": 0.7, "ttbar": 0.11, "wjets": 0.04}}
VERSIONS = {"diffea": "0.1.0", "jax": "0.10.2", "pyhf": "0.7.6"}


def make_templates() -> dict[str, Any]:
    rng = np.random.default_rng(1)
    made: dict[str, Any] = {}
    for when, kept in CUTS.items():
        made[when] = {"soft": {}, "hard_train": {}, "hard_test": {}}
        for channel, edges in EDGES.items():
            for sample, (hardness, yield_) in SAMPLES.items():
                x = np.linspace(0, 1, len(edges) - 1)
                shape = np.exp(-((x - hardness) ** 2) / 0.1) * yield_ * kept[sample] + 0.02 * yield_ * kept[sample]
                shape *= 0.15 if channel == "untagged" and sample != "wjets" else 1.0
                for kind in made[when]:
                    spread = 1.0 + (0.05 * rng.normal(size=shape.size) if kind != "soft" else 0.0)
                    for variation, tilt in (("nominal", 0.0), ("jes_up", 0.06), ("jes_down", -0.06)):
                        values = shape * spread * (1 + tilt * (x + 0.3))
                        made[when][kind][f"{channel}/{sample}/{variation}"] = {
                            "edges": [edges],
                            "values": values.tolist(),
                            "variances": (values * 1.5).tolist(),
                            "name": "m_eff",
                            "label": "$m_{eff}$ [GeV]",
                        }
    return made


def make_workspace(templates: dict[str, Any]) -> dict[str, Any]:
    hists, channels = templates["after"]["hard_test"], []
    for channel in EDGES:
        samples = []
        for sample in SAMPLES:
            up, down = (hists[f"{channel}/{sample}/jes_{side}"]["values"] for side in ("up", "down"))
            nominal = hists[f"{channel}/{sample}/nominal"]
            modifiers: list[dict[str, Any]] = [
                {"name": "lumi", "type": "normsys", "data": {"hi": 1.02, "lo": 0.98}},
                {"name": "jes", "type": "histosys", "data": {"hi_data": up, "lo_data": down}},
            ]
            if sample == "signal":
                modifiers.append({"name": "mu", "type": "normfactor", "data": None})
            else:
                modifiers.append({"name": f"{sample}_norm", "type": "normsys", "data": {"hi": 1.1, "lo": 0.9}})
                errors = np.sqrt(nominal["variances"]).tolist()
                modifiers.append({"name": f"mcstat_{channel}", "type": "staterror", "data": errors})
            samples.append({"name": sample, "data": nominal["values"], "modifiers": modifiers})
        channels.append({"name": channel, "samples": samples})
    observations = [
        {"name": c["name"], "data": np.sum([s["data"] for s in c["samples"][1:]], axis=0).tolist()} for c in channels
    ]
    measurements = [{"name": "search", "config": {"poi": "mu", "parameters": []}}]
    return {"version": "1.0.0", "channels": channels, "observations": observations, "measurements": measurements}


def make_selection() -> dict[str, Any]:
    """Two cuts, the second of which divides events between the channels."""
    made = {}
    for when, met in (("before", 50.0), ("after", 121.7)):
        values = {sample: np.exp(-np.arange(30) / 9) * yield_ for sample, (_, yield_) in SAMPLES.items()}
        decided = {sample: {"values": found.tolist(), "variances": found.tolist()} for sample, found in values.items()}
        cuts = [
            {
                "name": name,
                "on": on,
                "sign": ">",
                "parameters": [on],
                "thresholds": [[threshold]],
                "edges": np.linspace(0, 300, 31).tolist(),
                "decided": decided,
            }
            for name, on, threshold in (("met|", "met", met), ("btag|", "largest btag", 0.5))
        ]
        left = {
            sample: {"yields": [3 * y, 2 * y, y], "errors": [0.3, 0.2, 0.1], "events": [30, 20, 10]}
            for sample, (_, y) in SAMPLES.items()
        }
        flows = {
            channel: {
                "cuts": ["met|", "btag|"],
                "inverted": [False, channel == "untagged"],
                "samples": left,
                "not_judged": None,
            }
            for channel in EDGES
        }
        made[when] = {"cuts": cuts, "cutflow": flows, "not_judged": None}
    return made


def make_diagnostics() -> dict[str, Any]:
    """What the cuts select, and what the result rests on."""
    difference = {"difference": -0.07, "error": 0.01}
    names = ["mu", "ttbar_norm", "jes"]
    rows = [
        {"name": name, "kind": "normsys", "pull": pull, "constraint": width, "impact": impact}
        for name, pull, width, impact in (
            ("ttbar_norm", 0.3, 0.8, 0.2),
            ("jes", -0.1, 1.0, -0.1),
            ("mcstat[0]", None, None, 0.0),
        )
    ]
    trust = {
        **dict.fromkeys(("improvement", "overtraining", "soft_less_hard"), difference),
        "bias": {"bias": -0.01, "error": 0.08},
        "at_bounds": ["muon_pt"],
        "few_events": [{"bin": "tagged[5]", "events": 6.2}],
        "injected": [{"strength": 3.0, "found": 3.0, "uncertainty": 0.6}],
        "sensitivity": {
            f"{channel}/{sample}": {"by_yield": (0.01 * np.arange(len(edges) - 1)).tolist()}
            for channel, edges in EDGES.items()
            for sample in SAMPLES
        },
        "fit": {"parameters": rows, "correlations": {"parameters": names, "matrix": np.eye(3).tolist()}},
    }
    along = {"met": {"values": [10.0, 121.7, 300.0], "losses": [0.09, 0.014, None]}}
    return {"selection": make_selection(), "trust": trust, "along": along}


def make_result(**changes: Any) -> dict[str, Any]:
    steps = np.arange(25)
    result = {
        "analysis": "demo",
        "title": "Search for a heavy particle in one muon, jets and missing momentum (invented data)",
        "objective": "cls(poi_test=1.0)",
        "params": {
            "before": {"muon_pt": 25.0, "muon_iso": 0.15, "jet_pt": 30.0, "met": 50.0, "mt": 50.0, "btag": 0.5},
            "after": {"muon_pt": 22.4, "muon_iso": 0.19, "jet_pt": 38.2, "met": 121.7, "mt": 104.3, "btag": 0.41},
        },
        "bounds": {
            "muon_pt": [20.0, 80.0], "muon_iso": [0.03, 0.45], "jet_pt": [22.0, 100.0],
            "met": [10.0, 300.0], "mt": [10.0, 200.0], "btag": [0.1, 0.95],
        },
        "before": {"soft": 0.093, "hard_train": 0.0918, "hard_test": 0.0925},
        "after": {"soft": 0.0131, "hard_train": 0.0137, "hard_test": 0.0152},
        "limit_before": 1.271,
        "limit_after": 0.712,
        "history": [
            {"step": int(i), "loss": float(0.013 + 0.08 * np.exp(-i / 5)), "gradient_norm": float(np.exp(-i / 4)), "seconds": 0.31}
            for i in steps
        ],
        "passes_over_data": 30,
        "split": {"train": 0.5, "validation": 0.0, "seed": 0},
        "events": {"train": {"signal": 12421, "ttbar": 40187}, "test": {"signal": 12432, "ttbar": 40273}},
        "chunks": 12,
        "workers": 2,
        "seconds": 41.7,
        "seconds_by_stage": {"read": 3.2, "steps": 21.0},
        "soft_hard_gap": {"tagged": 0.0315, "untagged": 0.012},
        "skipped": [],
        "versions": VERSIONS,
    }  # fmt: skip
    return result | changes


def make_out(folder: Path, *, baseline: bool = False, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    templates = make_templates()
    if baseline:
        templates["before"] = {
            kind: {
                key.replace("untagged/", "all/"): hist for key, hist in hists.items() if not key.startswith("tagged/")
            }
            for kind, hists in templates["before"].items()
        }
    files = {"templates": templates, "workspace": make_workspace(templates), "result": make_result(**changes)}
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder
