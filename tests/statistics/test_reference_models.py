"""The specifications of pyhf's own tests: refused or accepted as there, and with the same numbers."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyhf
import pytest

from diffea.errors import DiffeaError, FitError
from diffea.statistics import HistFactory, discovery, hypotest, upper_limit

EVERY = bool(os.environ.get("DIFFEA_REFERENCE_MODELS"))
TESTED = {
    "2bin_2channel_coupledhist", "import_roundtrip_example_one", "shapesys_nuisparfilter", "shapefactor_build", "toms748_scan",
    "lumi_np_scaling",
}  # fmt: skip


@pytest.fixture(scope="module")
def records(open_data: Path) -> dict[str, dict[str, Any]]:
    folder = open_data / "likelihoods" / "pyhf_models"
    if not folder.is_dir():
        pytest.skip(f"no specifications of pyhf's tests at {folder}: set DIFFEA_DATA to a folder that has them")
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def test_names_order_expectations_and_densities(records: dict[str, dict[str, Any]]) -> None:
    assert len(records) > 50
    for name, record in records.items():
        make = functools.partial(HistFactory, record["spec"], **record["keywords"])
        if not record["accepted_by_pyhf"]:
            with pytest.raises(DiffeaError):
                make()()
            continue
        bound, judge = make()(), pyhf.Model(record["spec"], **record["keywords"])
        assert bound.config.par_names == judge.config.par_names, name
        assert bound.config.poi_index == judge.config.poi_index, name
        low, high = np.array(judge.config.suggested_bounds()).T
        pars = 0.9 * np.array(judge.config.suggested_init()) + 0.1 * (0.6 * low + 0.4 * high)
        expected = judge.expected_data(pars)
        np.testing.assert_allclose(bound.expected_data(pars), expected, rtol=1e-9, err_msg=name)
        data = expected if record["data"] is None else np.array(record["data"])
        with np.errstate(divide="ignore", invalid="ignore"):
            np.testing.assert_allclose(bound.logpdf(pars, data), judge.logpdf(pars, data)[0], rtol=1e-9, err_msg=name)


def lowest(poi: float | None, data: np.ndarray, judge: pyhf.Model) -> float:
    """pyhf's fit from many points."""
    random, found = np.random.default_rng(0), np.inf
    low, high = np.array(judge.config.suggested_bounds()).T
    fit = pyhf.infer.mle.fit if poi is None else functools.partial(pyhf.infer.mle.fixed_poi_fit, poi)
    for _ in range(15):
        start = np.clip(np.array(judge.config.suggested_init()) + random.normal(size=len(low)), low + 1e-6, high - 1e-6)
        found = min(found, float(fit(data, judge, init_pars=start.tolist(), return_fitted_val=True)[1]))
    return found


@pytest.mark.slow
@pytest.mark.usefixtures("precise_pyhf")
def test_cls_discovery_and_limits(records: dict[str, dict[str, Any]]) -> None:
    """Of a few; of every one with a parameter of interest if DIFFEA_REFERENCE_MODELS is set."""
    compared = 0
    for name, record in records.items():
        if (
            not (EVERY or any(part in name for part in TESTED))
            or not record["accepted_by_pyhf"]
            or record["data"] is None
        ):
            continue
        bound, judge = (
            HistFactory(record["spec"], **record["keywords"])(),
            pyhf.Model(record["spec"], **record["keywords"]),
        )
        if judge.config.poi_index is None or judge.config.suggested_fixed()[judge.config.poi_index]:
            continue
        data, wide = np.array(record["data"]), judge.config.suggested_bounds()
        wide[judge.config.poi_index] = (wide[judge.config.poi_index][0], 1e3)
        tested = functools.partial(pyhf.infer.hypotest, data=data, pdf=judge, par_bounds=wide, return_expected_set=True)
        try:
            cls, band = tested(1.0)
            p_value = float(pyhf.infer.hypotest(0.0, data, judge, test_stat="q0"))
        except (pyhf.exceptions.FailedMinimization, ValueError):
            continue  # no likelihood without signal, or a value outside of the bounds of a modifier that is no normfactor
        if not np.isfinite(p_value):
            with pytest.raises(FitError, match="not finite"):
                hypotest(bound, 1.0, data)
            continue
        mine = hypotest(bound, 1.0, data)
        compared += 1
        if not np.allclose(mine.cls, cls, rtol=1e-5):
            asimov = np.asarray(bound.expected_data(mine.fits[f"at {bound.config.poi_name} = 0 on data"].pars))
            q = lowest(1.0, asimov, judge) - lowest(None, asimov, judge)
            np.testing.assert_allclose(mine.q_asimov, q, rtol=1e-5, err_msg=name)
            continue
        np.testing.assert_allclose(mine.band, band, rtol=1e-5, atol=1e-9, err_msg=name)
        np.testing.assert_allclose(discovery(bound, data).p_value, p_value, rtol=1e-5, err_msg=name)
        limit = upper_limit(bound, data=data)
        np.testing.assert_allclose(tested(float(limit.observed))[0], 0.05, rtol=2e-5, err_msg=name)
        np.testing.assert_allclose(tested(float(limit.expected))[1][2], 0.05, rtol=2e-5, err_msg=name)
    assert compared >= 5
