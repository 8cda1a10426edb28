"""Run the processor over the data in a folder, and compare what it fills with what diffea filled: `python run.py DATA`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import hist
import numpy as np
import processor
from coffea.processor import IterativeExecutor, Runner


def main(data: Path) -> int:
    """Print how the histograms compare; 1 if they are not the same within rounding."""
    fileset = {
        name: one for name, one in processor.fileset(data).items() if not (one.get("metadata") or {}).get("is_data")
    }
    stored, expected = (
        json.loads(Path(__file__).with_name(name).read_text(encoding="utf-8"))
        for name in ("parameters.json", "expected.json")
    )
    cls, schema = (getattr(processor, stored[name]) for name in ("processor", "schema"))
    found = Runner(IterativeExecutor(), schema=schema, chunksize=stored["chunksize"])(fileset, cls())
    same, largest = 0, 0.0
    for name, stored in expected.items():
        channel, rest = name.split("/", 1)
        sample, variation = rest.rsplit("/", 1)
        histogram = found[channel][hist.loc(sample), hist.loc(variation), ...]
        pairs = [(histogram.values(), stored["values"]), (histogram.variances(), stored["variances"])]
        same += all(np.array_equal(here, there) for here, there in pairs)
        largest = max([largest, *(np.max(np.abs(a - b)) / max(np.max(np.abs(b)), 1e-300) for a, b in pairs)])
    print(
        f"{same} of {len(expected)} histograms are those of diffea to the last bit; the largest difference is {largest:.1e}"
    )
    return int(largest > 1e-9)


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
