"""The specifications of pyhf's own tests: refused or accepted as there, and with the same numbers."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pyhf
import pytest
from scipy import stats

from diffea.errors import DiffeaError, FitError
from diffea.statistics import BoundModel, HistFactory, discovery, fit, hypotest, upper_limit
from diffea.statistics.likelihood import deviance
from tests.conftest import ROOT

EVERY = bool(os.environ.get("DIFFEA_REFERENCE_MODELS"))
FOLDER = Path(os.environ.get("DIFFEA_DATA", ROOT.parent / "shared" / "data")) / "likelihoods" / "pyhf_models"
TESTED = [
    "07_test_validation_py_test_validation_2bin_2channel_coupledhist", "09_test_validation_py_test_import_roundtrip_example_one",
    "12_test_validation_py_test_shapesys_nuisparfilter_validation", "27_test_pdf_py_test_lumi_np_scaling",
    "39_test_modifiers_py_test_shapefactor_build", "48_test_infer_py_test_toms748_scan",
]  # fmt: skip


@pytest.fixture(scope="module")
def records() -> dict[str, dict[str, Any]]:
    if not FOLDER.is_dir():
        pytest.skip(f"no specifications of pyhf's tests at {FOLDER}: set DIFFEA_DATA to a folder that has them")
    return {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


@pytest.fixture(autouse=True)
def few_programs() -> Iterator[None]:
    """Every specification is a program of its own, and Linux has no room for all."""
    yield
    if EVERY:
        jax.clear_caches()


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


def lowest(poi: float | None, data: np.ndarray, judge: pyhf.Model, wide: list[tuple[float, float]]) -> float:
    """pyhf's fit from many points."""
    random, found = np.random.default_rng(0), np.inf
    low, high = np.array(judge.config.suggested_bounds()).T
    minimise = pyhf.infer.mle.fit if poi is None else functools.partial(pyhf.infer.mle.fixed_poi_fit, poi)
    for _ in range(15):
        start = np.clip(np.array(judge.config.suggested_init()) + random.normal(size=len(low)), low + 1e-6, high - 1e-6)
        value = minimise(data, judge, init_pars=start.tolist(), par_bounds=wide, return_fitted_val=True)[1]
        found = min(found, float(value))
    return found


def scanned(
    poi: float, data: np.ndarray, bound: BoundModel, judge: pyhf.Model, wide: list[tuple[float, float]]
) -> np.ndarray:
    """Observed CLs and the band from fits from many points (arXiv:1007.1727, eqs. 65 and 66); Asimov data as diffea makes them."""
    null = fit(bound, data, poi=0.0)
    np.testing.assert_allclose(
        2 * null.deviance - 2 * deviance_of(lowest(0.0, data, judge, wide), bound, data), 0.0, atol=1e-5
    )
    asimov = np.asarray(bound.expected_data(null.pars))
    q, q_asimov = (max(lowest(poi, d, judge, wide) - lowest(None, d, judge, wide), 0.0) for d in (data, asimov))
    root = np.sqrt(q_asimov)
    value = (q - q_asimov) / (2 * root) if q > q_asimov else np.sqrt(q) - root
    points = np.array([value, 2.0, 1.0, 0.0, -1.0, -2.0])
    return stats.norm.sf(points + root) / stats.norm.sf(points)


def deviance_of(twice_nll: float, bound: BoundModel, data: np.ndarray) -> float:
    """What diffea's fits minimise, of pyhf's −2 ln L: they differ by a constant."""
    init = np.asarray(bound.config.suggested_init())
    own = deviance(bound.layout, bound.settings, bound.prepared(), init, data)
    return 0.5 * twice_nll + float(bound.logpdf(init, data)) + float(own)


@pytest.mark.slow
@pytest.mark.usefixtures("precise_pyhf")
@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.json")) if EVERY else TESTED)
def test_cls_discovery_and_limits(records: dict[str, dict[str, Any]], name: str) -> None:
    """Of a few; of every one if DIFFEA_REFERENCE_MODELS is set. Where pyhf finds other numbers, those of a scan from many points count."""
    record = records[name]
    if not record["accepted_by_pyhf"] or record["data"] is None:
        pytest.skip("pyhf refuses the specification, or it comes without data")
    bound, judge = HistFactory(record["spec"], **record["keywords"])(), pyhf.Model(record["spec"], **record["keywords"])
    if judge.config.poi_index is None or judge.config.suggested_fixed()[judge.config.poi_index]:
        pytest.skip("no parameter of interest, or a fixed one")
    data, wide = np.array(record["data"]), judge.config.suggested_bounds()
    wide[judge.config.poi_index] = (wide[judge.config.poi_index][0], 1e3)
    tested = functools.partial(pyhf.infer.hypotest, data=data, pdf=judge, par_bounds=wide, return_expected_set=True)
    try:
        cls, band = tested(1.0)
        p_value = float(pyhf.infer.hypotest(0.0, data, judge, test_stat="q0"))
    except (pyhf.exceptions.FailedMinimization, ValueError) as error:
        pytest.skip(f"pyhf has no likelihood without signal, or bounds that exclude it: {error}")
    if not np.isfinite(p_value):
        with pytest.raises(FitError, match="not finite"):
            hypotest(bound, 1.0, data)
        return
    mine, limit = hypotest(bound, 1.0, data), upper_limit(bound, data=data)
    np.testing.assert_allclose(discovery(bound, data).p_value, p_value, rtol=1e-5, err_msg=name)
    if np.allclose(mine.cls, cls, rtol=1e-5):
        np.testing.assert_allclose(mine.band, band, rtol=1e-5, atol=1e-9)
        np.testing.assert_allclose(tested(float(limit.observed))[0], 0.05, rtol=2e-5)
        np.testing.assert_allclose(tested(float(limit.expected))[1][2], 0.05, rtol=2e-5)
        return
    search = functools.partial(scanned, data=data, bound=bound, judge=judge, wide=wide)
    np.testing.assert_allclose([mine.cls, *mine.band], search(1.0), rtol=1e-4)
    np.testing.assert_allclose(search(float(limit.observed))[0], 0.05, rtol=2e-4)
    np.testing.assert_allclose(search(float(limit.expected))[3], 0.05, rtol=2e-4)
