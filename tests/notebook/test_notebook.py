"""How objects look in a notebook, and the pictures that they draw: what they say, and that what users wrote is escaped."""

from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import hist
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from tests.samples import QuietSchema, write

import diffea
from diffea import errors, soft, statistics
from diffea.evaluate import Evaluation
from diffea.notebook import html
from diffea.notebook.canvas import axes_for, axes_with_ratio
from diffea.observed import Observed
from diffea.optimise.result import Result, Scan, Step

mpl.use("Agg")
EVIL = "<script>b</script>"
SPEC = {
    "channels": [
        {
            "name": "sr",
            "samples": [
                {"name": "signal", "data": "signal", "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]},
                {"name": EVIL, "data": EVIL, "modifiers": [{"name": "<i>k", "type": "normsys", "data": {"hi": 1.1, "lo": 0.9}}]},
            ],
        }
    ],
    "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}],
}  # fmt: skip


class Cut(diffea.DifferentiableProcessor):
    channels = {"sr": hist.axis.Regular(4, 0, 160, name="met", label="missing momentum")}  # noqa: RUF012

    def columns(self, events):
        return {"met": events.MET.pt}

    def fill(self, params, columns):
        yield diffea.Fill("sr", columns["met"], soft.above(columns["met"], params["met"], width=5.0))


@pytest.fixture(scope="module")
def templates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("notebook")
    fileset = {}
    for seed, name in enumerate(["signal", EVIL]):
        write(folder / f"{seed}.root", 400, seed)
        fileset[name] = {"files": {str(folder / f"{seed}.root"): "Events"}}
    with diffea.distribute(Cut(), fileset, schemaclass=QuietSchema) as found:
        yield found


@pytest.fixture(scope="module")
def filled(templates):
    return templates.hard({"met": 20.0})


class Balanced(HTMLParser):
    """Collects text, and sees that what is opened is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += f" {data}"


def text_of(shown: object) -> str:
    page = shown._repr_html_()
    assert "<script" not in page
    assert "<i>" not in page
    return Balanced(page).text


def test_templates_say_what_is_held_and_where(templates):
    text = text_of(templates)
    assert "Templates of Cut" in text
    assert EVIL in text
    assert "400" in text
    assert "in memory" in text
    assert "Ledger" in text_of(templates.ledger)


def test_a_template_set_shows_yields_with_their_errors(filled):
    text = text_of(filled)
    assert EVIL in text
    for sample in ("signal", EVIL):
        template = filled["sr", sample]
        assert f"{template.values.sum():.4g}" in text
        assert f"{np.sqrt(template.variances.sum()):.4g}" in text


def test_models_show_modifiers_and_parameters(filled):
    model = diffea.HistFactory(SPEC)
    assert "<i>k (normsys)" in text_of(model)
    text = text_of(model(filled))
    assert "parameter of interest: mu" in text
    assert "-5 to 5" in text
    assert f"{sum(filled['sr', name].values.sum() for name in ('signal', EVIL)):.4g}" in text


def test_an_evaluation_computes_nothing_for_show(filled):
    final = Evaluation(filled, diffea.HistFactory(SPEC), {EVIL: 400})
    assert "not asked for yet" in text_of(final)
    assert not set(vars(final)) & {"limit", "cls"}
    vars(final)["limit"] = 1.2345
    assert "1.234" in text_of(final) or "1.235" in text_of(final)


def results() -> Result:
    steps = tuple(
        Step(step, 3, loss, 0.1, 0.0, params={"<i>met": 20.0 + step}) for step, loss in enumerate((3.0, 2.0, 1.5), 1)
    )
    scan = Scan((1.0, 2.0), (1.0, 2.0), "upper bound")
    return Result({"<i>met": 23.0}, steps, "all <i>3 steps taken", hard=1.75, scans={"<i>met": scan})


def test_a_result_shows_parameters_and_the_path_of_the_loss():
    text = text_of(results())
    for said in (
        "<i>met",
        "21",
        "23",
        "upper bound",
        "loss 3 → 1.5 in 3 steps",
        "with exact cuts: 1.75",
        "all <i>3 steps",
    ):
        assert said in text
    assert "<polyline points='2.0,2.0 160.0,39.3 318.0,58.0'" in results()._repr_html_()
    assert "svg" not in Result({"a": np.ones(3)}, (), "no steps")._repr_html_()


def test_limits_and_tests_show_their_bands():
    limit = statistics.Limit(None, np.array(1.5), np.array([0.8, 1.1, 1.5, 2.1, 2.9]), np.array(4), {})
    for said in ("expected, −2σ", "0.8", "median", "1.5", "2.9"):
        assert said in text_of(limit)
    assert "observed" not in text_of(limit)
    band = np.array([0.01, 0.02, 0.05, 0.1, 0.2])
    test = statistics.HypoTest(*map(np.array, (0.0512, 0.025, 0.5, 0.05)), band, *map(np.array, (-3, -3, 2.0, 2.0)), {})
    for said in ("CLs", "0.0512", "CLs expected, +2σ", "0.2"):
        assert said in text_of(test)


def test_a_step_a_template_and_observed_events(filled):
    text = text_of(results().history[1])
    for said in ("Step 2", "loss 2", "gradient 0.1", "<i>met", "22"):
        assert said in text
    template = filled["sr", EVIL]
    text = text_of(template)
    assert "missing momentum" in text
    assert f"sum {template.values.sum():.4g} ± {np.sqrt(template.variances.sum()):.4g}" in text
    seen = Observed(diffea.HistFactory(SPEC), filled, {"<i>sr": np.array([3.0, 4.0])}, {})
    text = text_of(seen)
    assert "<i>sr" in text
    assert "7" in text
    assert "not asked for yet" in text
    assert not set(vars(seen)) & {"limit", "cls"}
    vars(seen)["limit"] = 2.5
    assert "2.5" in text_of(seen)


def test_parameters_after_a_fit():
    names, some = ("mu", "<i>k"), np.array([0.5, -0.25])
    found = statistics.Estimates(names, some, np.array([2.0, np.inf]), np.eye(2), np.eye(2), None)
    text = text_of(found)
    for said in ("mu", "<i>k", "0.5", "-0.25", "2", "inf"):
        assert said in text
    nuisances = statistics.Nuisances(
        names, some, some, some, np.array([0.0, 1.5]), np.array([np.nan, 0.75]), some, None
    )
    text = text_of(nuisances)
    for said in ("<i>k", "1.5", "0.75", "–"):
        assert said in text
    shifts = np.array([[0.1, -0.2], [0.6, -0.7]])
    ranked = statistics.Ranking("mu", ("a", "<i>k"), shifts, shifts / 2, np.array(True), nuisances, None, None)
    text = text_of(ranked)
    assert text.index("<i>k") < text.index(" a ")
    for said in ("Impact on mu", "0.6", "-0.35", "at its bound"):
        assert said in text


def test_long_tables_say_how_much_is_left_out():
    assert "and 5 more" in html.table(["n"], [[i] for i in range(html.MOST_ROWS + 5)])


def test_a_result_draws_its_path():
    above, below = results().plot()
    assert [*above.lines[0].get_ydata()] == [3.0, 2.0, 1.5]
    np.testing.assert_allclose(below.lines[0].get_ydata(), [0.0, 0.5, 1.0])
    assert (above.get_ylabel(), below.get_xlabel()) == ("loss", "step")
    assert results().plot((above, below)) == (above, below)


def test_templates_are_drawn_as_a_stack(filled):
    ax = filled.plot("sr")
    assert ax.get_xlabel() == "missing momentum"
    assert {text.get_text() for text in ax.get_legend().get_texts()} == {"signal", EVIL, "simulation"}
    total = sum(filled["sr", name].values for name in ("signal", EVIL))
    bands = [patch.get_data() for patch in ax.patches if patch.get_label() == "simulation"]
    np.testing.assert_allclose((bands[0].values + bands[0].baseline) / 2, total)
    with pytest.raises(errors.TemplateError, match="expected one of the channels sr, got cr"):
        filled.plot("cr")


def test_an_evaluation_draws_its_signal_as_a_line(filled):
    ax = Evaluation(filled, diffea.HistFactory(SPEC), {}).plot()
    bands = [patch.get_data() for patch in ax.patches if patch.get_label() == "simulation"]
    np.testing.assert_allclose((bands[0].values + bands[0].baseline) / 2, filled["sr", EVIL].values)
    assert "signal" in {text.get_text() for text in ax.get_legend().get_texts()}


def test_templates_draw_themselves_at_parameters(templates):
    ax = templates.plot("sr", {"met": 20.0})
    assert ax.get_title() == "sr"


def test_matplotlib_waits_until_a_picture_is_drawn():
    code = "import sys, diffea; sys.exit('matplotlib.pyplot' in sys.modules or 'mplhep' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(diffea.__file__).parents[1]).returncode == 0
    )


@pytest.mark.parametrize("draw", [axes_for, axes_with_ratio])
def test_a_notebook_goes_on_to_show_figures_after_the_first(draw, tmp_path, monkeypatch) -> None:
    """Its backend is loaded with the first figure, and tells pyplot then that figures are shown by themselves."""
    lines = [
        "import matplotlib",
        "from matplotlib.backends.backend_agg import FigureCanvasAgg as FigureCanvas",
        "matplotlib.interactive(True)",
    ]
    (tmp_path / f"shows_{draw.__name__}.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(plt, "_backend_mod", None)
    monkeypatch.setitem(mpl.rcParams, "backend", f"module://shows_{draw.__name__}")
    monkeypatch.setitem(mpl.rcParams, "interactive", False)
    draw(None, 3.0, 2.0)
    plt.close("all")
    assert mpl.is_interactive()
