"""What is drawn is what the results say: places, heights, widths and labels, not pixels."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from diffea import statistics
from diffea.errors import DataError, MethodError, SpecError
from diffea.statistics import BoundModel, Estimates, Limit, LimitScan, Nuisances, Ranking, Scan

NAMES = ("mu", "jes", "lumi", "gamma[0]", "gamma[1]")
NOTHING: Any = None


@pytest.fixture(autouse=True)
def without_windows() -> Iterator[None]:
    backend = plt.get_backend()
    plt.switch_backend("agg")
    yield
    plt.close("all")
    plt.switch_backend(backend)


def labels(axis: Any) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


def points(ax: Axes, number: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, y, and the first bar's segments of one set of error bars."""
    line, _, bars = ax.containers[number].lines  # type: ignore[attr-defined]
    return line.get_xdata(), line.get_ydata(), np.array(bars[0].get_segments())


@pytest.fixture
def nuisances() -> Nuisances:
    return Nuisances(
        parameters=NAMES,
        values=jnp.array([1.2, 0.5, 1.01, 0.9, 1.0]),
        priors=jnp.array([jnp.inf, 1.0, 0.02, 0.1, 0.0]),
        uncertainties=jnp.array([0.3, 0.6, 0.019, 0.08, 0.0]),
        pulls=jnp.array([0.0, 0.5, 0.5, -1.0, 0.0]),
        constraints=jnp.array([jnp.nan, 0.6, 0.95, 0.8, jnp.nan]),
        impacts=jnp.array([0.3, 0.1, -0.05, 0.02, 0.0]),
        fit=None,
    )


def test_pulls(nuisances: Nuisances) -> None:
    """Without the free and the fixed parameter; the first one on top."""
    ax = statistics.plot_pulls(nuisances)
    x, y, bars = points(ax)
    np.testing.assert_allclose(x, [0.5, 0.5, -1.0])
    np.testing.assert_allclose(bars[:, :, 0], [[-0.1, 1.1], [-0.45, 1.45], [-1.8, -0.2]])
    assert labels(ax.yaxis) == ["jes", "lumi", "gamma[0]"]
    assert list(y) == ax.get_yticks().tolist() == [0, 1, 2]
    assert ax.yaxis_inverted()
    assert [band.get_x() for band in ax.patches] == [-2, -1]  # type: ignore[attr-defined]
    given = plt.figure().add_subplot()
    assert statistics.plot_pulls(nuisances, parameters=["gamma[0]", "jes"], ax=given) is given
    assert labels(given.yaxis) == ["gamma[0]", "jes"]
    for name in ("mu", "nothing"):
        with pytest.raises(SpecError, match=f"expected parameters with a constraint, .*got .'{name}'"):
            statistics.plot_pulls(nuisances, parameters=[name])


def test_correlations() -> None:
    """Without what is fixed or not measured, or hardly correlated."""
    sigma = np.array([0.3, 0.6, 0.0, np.inf, 0.5])
    matrix = np.array([[1, -0.25, 0, np.nan, 0.04], [-0.25, 1, 0, np.nan, -0.001], [0, 0, 0, np.nan, 0], [np.nan] * 5, [0.04, -0.001, 0, np.nan, 1]])  # fmt: skip
    result = Estimates(NAMES, jnp.ones(5), jnp.asarray(sigma), NOTHING, jnp.asarray(matrix), None)
    ax = statistics.plot_correlations(result)
    assert labels(ax.xaxis) == labels(ax.yaxis) == ["mu", "jes", "gamma[1]"]
    np.testing.assert_allclose(ax.images[0].get_array(), 100 * matrix[np.ix_([0, 1, 4], [0, 1, 4])])
    assert [text.get_text() for text in ax.texts] == ["100", "-25", "4", "-25", "100", "0", "4", "0", "100"]
    assert labels(statistics.plot_correlations(result, least=0.1).xaxis) == ["mu", "jes"]


def test_ranking(nuisances: Nuisances) -> None:
    others = Nuisances(NAMES[1:], *(getattr(nuisances, name)[1:] for name in ("values", "priors", "uncertainties", "pulls", "constraints", "impacts")), None)  # fmt: skip
    prefit = np.array([[0.1, -0.12], [0.3, -0.2], [np.nan, np.nan], [0.0, 0.0]])
    postfit = np.array([[0.08, -0.09], [0.25, -0.15], [-0.02, 0.03], [0.0, 0.0]])
    result = Ranking(
        "mu", NAMES[1:], jnp.asarray(prefit), jnp.asarray(postfit), jnp.asarray(False), others, NOTHING, NOTHING
    )
    impacts, pulls = statistics.plot_ranking(result)
    assert labels(impacts.yaxis) == ["lumi", "jes", "gamma[0]"]
    assert impacts.get_xlabel() == "impact on mu"
    widths = [[bar.get_width() for bar in group] for group in impacts.containers]  # type: ignore[attr-defined]
    np.testing.assert_allclose(widths, [[0.3, 0.1, 0], [0.25, 0.08, -0.02], [-0.2, -0.12, 0], [-0.15, -0.09, 0.03]])
    low, high = impacts.get_xlim()
    assert low < -0.3
    assert high > 0.3
    x, y, bars = points(pulls)
    np.testing.assert_allclose(x, [0.5, 0.5, -1.0])
    np.testing.assert_allclose(y, [0, 1, 2])
    np.testing.assert_allclose(bars[1][:, 0], [-0.1, 1.1])
    assert labels(statistics.plot_ranking(result, largest=1)[0].yaxis) == ["lumi"]


def test_ranking_at_a_bound(nuisances: Nuisances) -> None:
    """No refit moves anything: the order is that of the linear impacts, and the picture says why it has no bars."""
    zero, order = jnp.zeros((5, 2)), ["mu", "jes", "lumi", "gamma[0]"]
    result = Ranking("strength", NAMES, zero, zero, jnp.asarray(True), nuisances, NOTHING, NOTHING)
    impacts, _ = statistics.plot_ranking(result)
    assert labels(impacts.yaxis) == order
    assert impacts.get_xlabel() == "impact on strength (at its bound)"
    assert [("'strength'" in note, "bound" in note) for note in result.notes] == [(True, True)]


def test_limit_scan() -> None:
    """Points in any order; limits are those that were found, not those of the points."""
    band = np.array([[0.1, 0.2, 0.4, 0.6, 0.8], [0.3, 0.5, 0.7, 0.8, 0.9], [0.01, 0.02, 0.04, 0.1, 0.2]])
    limit = Limit(jnp.asarray(1.7), jnp.asarray(1.9), NOTHING, NOTHING, {})
    pois, observed = jnp.array([1.0, 0.5, 2.0]), jnp.array([0.3, 0.6, 0.03])
    ax = statistics.plot_limit_scan(LimitScan("mu", 0.9, pois, observed, jnp.asarray(band), limit, NOTHING))
    drawn = {line.get_label(): np.array(line.get_xydata()) for line in ax.lines}
    np.testing.assert_allclose(drawn["expected (median)"], [[0.5, 0.7], [1.0, 0.4], [2.0, 0.04]])
    np.testing.assert_allclose(drawn["observed"], [[0.5, 0.6], [1.0, 0.3], [2.0, 0.03]])
    np.testing.assert_allclose(drawn["expected limit: 1.9"], [[1.9, 0.1]])
    np.testing.assert_allclose(drawn["observed limit: 1.7"], [[1.7, 0.1]])
    np.testing.assert_allclose(drawn[r"$\mathrm{CL}_s = 0.1$"][:, 1], 0.1)
    for collection, low, high in zip(ax.collections, (0, 1), (4, 3), strict=True):
        corners = {tuple(corner) for corner in collection.get_paths()[0].vertices.tolist()}
        assert {(0.5, band[1, low]), (0.5, band[1, high]), (2.0, band[2, low]), (2.0, band[2, high])} <= corners
    assert (ax.get_xlabel(), ax.get_xlim()) == ("mu", (0.5, 2.0))
    blind = LimitScan(
        "mu", 0.9, pois, None, jnp.asarray(band), Limit(None, limit.expected, NOTHING, NOTHING, {}), NOTHING
    )
    assert not [line for line in statistics.plot_limit_scan(blind).lines if "observed" in str(line.get_label())]


def test_likelihood_along_one_parameter() -> None:
    result = Scan(
        ("jes",), (jnp.array([1.0, -1.0, 0.0]),), jnp.array([4.5, 2.0, 0.1]), jnp.array([0.1]), NOTHING, NOTHING
    )
    ax = statistics.plot_likelihood_scan(result)
    np.testing.assert_allclose(ax.lines[0].get_xydata(), [[-1.0, 2.0], [0.0, 0.1], [1.0, 4.5]])
    assert [line.get_ydata()[0] for line in ax.lines[1:3]] == [1.0, 4.0]
    assert ax.lines[3].get_xdata()[0] == 0.1
    assert ax.lines[3].get_label() == "best fit: 0.1"
    assert ax.get_xlabel() == "jes"


def test_likelihood_over_two_parameters() -> None:
    """A paraboloid: its contours are ellipses of the heights that hold 68 and 95 %."""
    x, y = np.linspace(-3, 3, 61), np.linspace(-1, 1, 41)
    heights = x[:, None] ** 2 + (y / 0.3) ** 2
    result = Scan(("mu", "jes"), (jnp.asarray(x), jnp.asarray(y)), jnp.asarray(heights), jnp.zeros(2), NOTHING, NOTHING)
    ax = statistics.plot_likelihood_scan(result)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("mu", "jes")
    mesh, contours = ax.collections
    np.testing.assert_allclose(np.ravel(mesh.get_array()), heights.T.ravel())  # type: ignore[arg-type]
    assert contours.levels.tolist() == [2.30, 5.99]  # type: ignore[attr-defined]
    for path, level in zip(contours.get_paths(), (2.30, 5.99), strict=True):
        a, b = path.vertices.T
        np.testing.assert_allclose(a**2 + (b / 0.3) ** 2, level, rtol=0.03)
    np.testing.assert_allclose(ax.lines[0].get_xydata(), [[0.0, 0.0]])
    three = Scan(("a", "b", "c"), NOTHING, NOTHING, NOTHING, NOTHING, NOTHING)
    with pytest.raises(MethodError, match=r"one or two parameters, got .'a', 'b', 'c'"):
        statistics.plot_likelihood_scan(three)


def test_stacks(fitted: tuple, observed: np.ndarray) -> None:
    bound: BoundModel = fitted[1]
    before = statistics.prefit(bound, observed)
    above, below = statistics.plot_prefit(bound, "signal", observed, edges=[0, 1, 2, 4, 8])
    bins = before.bins("signal")
    events, total, width = (
        np.asarray(part)[..., bins] for part in (before.by_sample, before.total, before.uncertainty)
    )
    *stack, band = [patch for patch in above.patches if hasattr(patch, "get_data")]
    heights = sorted((patch.get_data().values - patch.get_data().baseline for patch in stack), key=lambda v: v.sum())
    np.testing.assert_allclose(heights, sorted((row for row in events if row.any()), key=lambda v: v.sum()))
    np.testing.assert_allclose(stack[0].get_data().values, total)  # the highest is drawn first
    np.testing.assert_allclose(stack[0].get_data().edges, [0, 1, 2, 4, 8])
    np.testing.assert_allclose(band.get_data().values, total + width)
    np.testing.assert_allclose(band.get_data().baseline, total - width)
    x, y, bars = points(above)
    np.testing.assert_allclose(x, [0.5, 1.5, 3.0, 6.0])
    np.testing.assert_allclose(y, [60.0, 49.0, 43.0, 26.0])
    np.testing.assert_allclose(bars[:, :, 1] - y[:, None], np.sqrt(y)[:, None] * [-1, 1])
    _, ratio, errors = points(below)
    np.testing.assert_allclose(ratio, y / total)
    np.testing.assert_allclose(errors[:, 1, 1] - ratio, np.sqrt(y) / total)
    np.testing.assert_allclose(below.patches[0].get_data().values, 1 + width / total)  # type: ignore[attr-defined]
    legend = above.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["data", "bkg", "sig", "fake", "uncertainty"]
    assert legend.get_title().get_text() == "signal, pre-fit"


def test_stacks_after_a_fit_and_blinded(fitted: tuple, observed: np.ndarray) -> None:
    bound: BoundModel = fitted[1]
    after = statistics.postfit(bound, observed)
    above, _ = statistics.plot_postfit(bound, "control", observed)
    stack = [patch for patch in above.patches if hasattr(patch, "get_data")]
    np.testing.assert_allclose(stack[0].get_data().values, np.asarray(after.total)[:2])
    np.testing.assert_allclose(stack[-1].get_data().values, np.asarray(after.total + after.uncertainty)[:2])
    assert above.get_legend().get_title().get_text() == "control, post-fit"  # type: ignore[union-attr]
    blind, ratio = statistics.plot_prefit(bound, "control", axes=plt.subplots(2)[1])
    assert not [group for group in (*blind.containers, *ratio.containers) if hasattr(group, "lines")]
    assert ratio.get_xticks().tolist() == [1, 2]
    with pytest.raises(SpecError, match=r"no channel 'nowhere', the model has \['control', 'signal'\]"):
        statistics.plot_prefit(bound, "nowhere")
    with pytest.raises(DataError, match=r"the 2 bins of 'control' have 3 edges, got \(2,\)"):
        statistics.plot_prefit(bound, "control", edges=[0, 1])


def test_matplotlib_is_imported_when_something_is_drawn() -> None:
    code = "import sys, diffea.statistics; assert not {'matplotlib', 'mplhep'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
