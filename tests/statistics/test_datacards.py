"""Combine's datacards: what is read is Combine's own likelihood, written out by hand; what is written is read back as the same."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hist
import numpy as np
import pytest
import uproot
from scipy import stats

from diffea.errors import FormatError, InterpolationWarning
from diffea.statistics import BoundModel, HistFactory, hypotest
from tests.statistics.models import LUMI, modifier

COUNTING = """\
# two channels that only count
imax 2  number of channels
jmax *
kmax 3
-----------------
bin          SR   CR
observation  7    96
-----------------
bin          SR    SR    SR    CR
process      sig   top   qcd   top
process      0     1     2     1
rate         3.0   4.0   1.5   90.0
-----------------
lumi    lnN  1.025 1.025 -     1.025
scale   lnN  -     0.9/1.15 -  0.95/1.2
shape2  lnN  1.1   -     1.5   -
theory group = lumi scale
k_top   rateParam * top 1 [0.2,4]
"""


def at(bound: BoundModel, **values: float) -> np.ndarray:
    """Initial parameters, but for some."""
    pars = np.array(bound.config.suggested_init())
    for name, value in values.items():
        pars[bound.config.par_names.index(name)] = value
    return pars


def poisson(n: Any, nu: Any) -> float:
    return float(np.sum(stats.poisson.logpmf(n, nu)))


def test_a_counting_card_is_combines_likelihood(tmp_path: Path) -> None:
    (tmp_path / "card.txt").write_text(COUNTING)
    model = HistFactory.from_datacard(tmp_path / "card.txt")
    bound = model()
    assert model.config.poi_name == "r"
    assert dict(zip(bound.config.par_names, bound.config.suggested_bounds(), strict=True))["k_top"] == (0.2, 4.0)
    for r, k, lumi, scale, more in [(1, 1, 0, 0, 0), (0.3, 1.4, 0.7, 0.9, -1.2), (2.2, 0.6, -1.5, -0.6, 0.2)]:
        pars = at(bound, r=r, k_top=k, lumi=lumi, scale=scale, shape2=more)
        shift = {"SR": 1.15 if scale > 0 else 1 / 0.9, "CR": 1.2 if scale > 0 else 1 / 0.95}
        top = {name: k * 1.025**lumi * factor**scale for name, factor in shift.items()}
        signal = 3.0 * r * 1.025**lumi * 1.1**more
        expected = poisson([7, 96], [signal + 4.0 * top["SR"] + 1.5 * 1.5**more, 90.0 * top["CR"]])
        expected += stats.norm.logpdf([lumi, scale, more]).sum()
        np.testing.assert_allclose(bound.logpdf(pars, bound.observed_data()), expected, rtol=1e-12)


def write(path: Path, histograms: Mapping[str, tuple[Any, Any]]) -> None:
    """Histograms of values and errors, with under- and overflow that must not count."""
    with uproot.recreate(path) as file:
        for name, (values, errors) in histograms.items():
            filled = hist.Hist(
                hist.axis.Variable(np.linspace(0, 1, len(values) + 1) ** 2), storage=hist.storage.Weight()
            )
            filled.view(flow=True)["value"] = [1e3, *values, 2e3]
            filled.view(flow=True)["variance"] = [1.0, *np.square(errors), 1.0]
            file[name] = filled


NOMINAL = {"sig": np.array([1.0, 4.0, 2.0]), "top": np.array([30.0, 20.0, 10.0]), "qcd": np.array([8.0, 9.0, 3.0])}
UP = {"top": np.array([33.0, 25.0, 9.0]), "qcd": np.array([8.004, 9.003, 2.999])}
DOWN = {"top": np.array([28.0, 16.0, 12.0]), "qcd": np.array([7.999, 9.0, 3.001])}
ERRORS = np.array([4.0, 0.5, 3.5])
SHAPES = """\
imax *
jmax *
kmax *
shapes *   SR   templates.root  $CHANNEL/$PROCESS  $CHANNEL/$PROCESS_$SYSTEMATIC
shapes qcd SR   other.root      from_data          from_data_$SYSTEMATIC
bin          SR
observation  -1
bin          SR  SR  SR
process      -1  1   2
process      sig top qcd
rate         -1  60.003  20
jes  shape?  1.05  1  1
eff  lnN     1.1   0.8/1.1  -
"""


def shape_card(folder: Path, extra: str = "", errors: float = 0.0) -> BoundModel:
    """A card whose process qcd lies in a file of its own."""
    histograms = {f"SR/{name}": (values, errors * np.sqrt(values)) for name, values in NOMINAL.items() if name != "qcd"}
    histograms |= {f"SR/top_jes{side}": (v["top"], np.zeros(3)) for side, v in (("Up", UP), ("Down", DOWN))}
    write(folder / "templates.root", {**histograms, "SR/data_obs": ([42.0, 31.0, 17.0], np.zeros(3))})
    from_data = {f"from_data_jes{side}": (v["qcd"], np.zeros(3)) for side, v in (("Up", UP), ("Down", DOWN))}
    write(folder / "other.root", {**from_data, "from_data": (NOMINAL["qcd"], errors * ERRORS)})
    (folder / "card.txt").write_text(SHAPES + extra)
    return HistFactory.from_datacard(folder / "card.txt")()


def morphed(name: str, theta: float, smooth: bool) -> np.ndarray:
    """Combine's: the normalised shape by its smooth step, times the asymmetric power of the normalisation (CombineMathFuncs.h)."""
    nominal, up, down = NOMINAL[name], UP[name], DOWN[name]
    high, low = up / up.sum(), down / down.sum()
    step = np.clip(theta, -1, 1)
    step = 0.125 * step * (step**2 * (3 * step**2 - 10) + 15)
    middle = nominal / nominal.sum()
    shape = middle + 0.5 * theta * (high - low + step * (high + low - 2 * middle))
    kappas = np.array([up.sum(), down.sum()]) / nominal.sum()
    return nominal.sum() * shape * (power(theta, *kappas, smooth) if np.abs(kappas - 1).max() > 1e-3 else 1.0)


def power(theta: float, up: float, down: float, smooth: bool) -> float:
    if abs(theta) >= 0.5 or not smooth:
        return float(up**theta if theta >= 0 else down**-theta)
    twice = 2 * theta
    bent = 0.125 * twice * (twice**2 * (3 * twice**2 - 10) + 15)
    average, half = 0.5 * (np.log(up) - np.log(down)), 0.5 * (np.log(up) + np.log(down))
    return float(np.exp(theta * (average + bent * half)))


@pytest.mark.parametrize("theta", [0.0, 0.8, -0.6, 1.7, -2.3, 0.15, -0.3])
def test_a_shape_card_is_combines_likelihood(tmp_path: Path, theta: float) -> None:
    """To all digits but where Combine smooths, at less than half a sigma, and there within what is said."""
    bound = shape_card(tmp_path)
    r, eff = 0.7, -0.9
    expected = {smooth: {
        "sig": r * 1.05**theta * 1.1**eff * NOMINAL["sig"],
        "top": power(eff, 1.1, 0.8, smooth) * morphed("top", theta, smooth),
        "qcd": morphed("qcd", theta, smooth),
    } for smooth in (True, False)}  # fmt: skip
    found = bound.expected_by_sample(at(bound, r=r, jes=theta, eff=eff))
    for i, name in enumerate(bound.config.samples):
        np.testing.assert_allclose(found[i], expected[False][name], rtol=1e-12, err_msg=name)
    bend = 0.5 * np.log(UP["top"].sum() * DOWN["top"].sum() / NOMINAL["top"].sum() ** 2)
    largest = 1e-12 if abs(theta) >= 0.5 else 0.071 * abs(bend)
    np.testing.assert_allclose(np.log(expected[True]["top"] / expected[False]["top"]), 0.0, atol=largest)
    np.testing.assert_array_equal(bound.observed_data()[:3], [42.0, 31.0, 17.0])


def test_statistical_errors_are_those_of_combine(tmp_path: Path) -> None:
    """Effective events of the backgrounds: 31, 42 and 8. At most 20 in the last bin, so every process has its own parameter there.

    It is a Poisson one, with the effective events of the process, but for qcd, whose 3 events have an error of 3.5.
    """
    bound = shape_card(tmp_path, "SR autoMCStats 20\n", errors=1.0)
    names, prepared = np.array(bound.config.par_names), bound.prepared()
    free = ~np.asarray(bound.config.suggested_fixed())
    both = (bound.layout.normal[0], prepared.sigmas), (bound.layout.poisson[0], prepared.factors)
    normal, poisson = (
        {n: float(v) for n, v, f in zip(names[at], values, free[at], strict=True) if f} for at, values in both
    )
    width = np.sqrt(NOMINAL["sig"] + NOMINAL["top"] + ERRORS**2) / sum(NOMINAL.values())
    expected = {"prop_SR[0]": width[0], "prop_SR[1]": width[1], "prop_SR_qcd[2]": 3.5 / 3.0, "jes": 1.0, "eff": 1.0}
    assert normal == pytest.approx(expected, rel=1e-12)
    assert poisson == pytest.approx({"prop_SR_sig_poisson[2]": 2.0, "prop_SR_top_poisson[2]": 10.0}, rel=1e-12)


def test_signal_counts_for_the_threshold_if_asked(tmp_path: Path) -> None:
    """15 events with an error of the square root of 24.25 are 9 effective ones; without signal 8."""
    bound = shape_card(tmp_path, "SR autoMCStats 8 1\n", errors=1.0)
    assert [name for name in bound.config.par_order if name.startswith("prop")] == ["prop_SR"]
    bound = shape_card(tmp_path, "SR autoMCStats 8\n", errors=1.0)
    assert len([name for name in bound.config.par_order if name.startswith("prop")]) == 4


def test_without_a_threshold_all_bins_have_one_error(tmp_path: Path) -> None:
    """Scaled alike, as at r = 1, Combine adds x times the whole error; so does the staterror."""
    bound = shape_card(tmp_path, "* autoMCStats 0\n", errors=1.0)
    whole = np.sqrt(NOMINAL["sig"] + NOMINAL["top"] + ERRORS**2)
    x = np.array([0.5, -1.0, 2.0])
    total = sum(NOMINAL.values())
    gammas = {f"prop_SR[{i}]": 1 + x[i] * whole[i] / total[i] for i in range(3)}
    found = bound.logpdf(at(bound, **gammas), bound.observed_data())
    jacobian = np.log(whole / total).sum()
    expected = poisson([42, 31, 17], total + x * whole) + stats.norm.logpdf([*x, 0.0, 0.0]).sum() - jacobian
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_switched_off_errors_are_none(tmp_path: Path) -> None:
    assert (
        shape_card(tmp_path, "* autoMCStats -1\n", errors=1.0).config.par_order == shape_card(tmp_path).config.par_order
    )


def written() -> dict[str, Any]:
    """A model that a datacard can say: code 1, shapes that keep their number of events."""
    jes = {"hi_data": [22.0, 30.0, 8.0], "lo_data": [26.0, 24.0, 10.0]}
    signal = [modifier("mu", "normfactor"), modifier("norm", "normsys", {"hi": 1.1, "lo": 1 / 1.1})]
    background = [
        modifier("jes", "histosys", jes), modifier("jes", "normsys", {"hi": 1.08, "lo": 0.95}), modifier("free", "normfactor"),
        modifier("stat_SR", "staterror", [2.0, 2.5, 1.0]),
    ]  # fmt: skip
    control = [modifier("jes", "normsys", {"hi": 1.02, "lo": 0.97}), modifier("free", "normfactor")]
    return {"channels": [
        {"name": "SR", "samples": [
            {"name": "s", "data": [2.0, 5.0, 9.0], "modifiers": signal},
            {"name": "b", "data": [25.0, 26.0, 9.0], "modifiers": background},
            {"name": "fake", "data": [3.0, 2.0, 1.0], "modifiers": [modifier("stat_SR", "staterror", [0.4, 0.5, 0.3])]},
        ]},
        {"name": "CR", "samples": [{"name": "b", "data": [400.0], "modifiers": control}]},
    ]}  # fmt: skip


CODES = {"normsys": {"interpcode": "code1"}, "histosys": {"interpcode": "code4p"}}
SEEN = {"SR": [31.0, 36.0, 17.0], "CR": [417.0]}


@pytest.mark.slow
def test_a_model_is_written_and_read_back(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    model = HistFactory(written(), modifier_settings=CODES)
    path = model.datacard(tmp_path / "new" / "card", observations=SEEN)
    assert not [warning for warning in recwarn if issubclass(warning.category, InterpolationWarning)]
    bound, again = model(), HistFactory.from_datacard(path)()
    names = {"mu": "r", **{f"stat_SR[{i}]": f"prop_SR[{i}]" for i in range(3)}}
    place = [again.config.par_names.index(names.get(name, name)) for name in bound.config.par_names]
    assert len(place) == again.config.npars
    random, init, data = np.random.default_rng(2), np.array(bound.config.suggested_init()), bound.data(SEEN)
    for size in (0.0, 0.4, 1.0):
        pars, moved = init + size * random.uniform(-0.4, 0.8, len(init)), np.empty(len(init))
        moved[place] = pars
        np.testing.assert_allclose(again.logpdf(moved, again.observed_data()), bound.logpdf(pars, data), rtol=1e-12)
    mine, theirs = hypotest(bound, 1.0, data), hypotest(again, 1.0, again.observed_data())
    np.testing.assert_allclose(theirs.cls, mine.cls, rtol=1e-8)
    np.testing.assert_allclose(theirs.band, mine.band, rtol=1e-8)


def test_what_combine_interpolates_otherwise_is_warned_of(tmp_path: Path) -> None:
    spec = copy.deepcopy(written())
    spec["channels"][0]["samples"][1]["modifiers"][0]["data"]["hi_data"][0] += 4.0
    with pytest.warns(InterpolationWarning, match="'jes', 'norm'"):
        HistFactory(spec).datacard(tmp_path)
    with pytest.warns(InterpolationWarning, match=r"\['jes'\]"):
        path = HistFactory(spec, modifier_settings=CODES).datacard(tmp_path)
    bound, again = HistFactory(spec, modifier_settings=CODES)(), HistFactory.from_datacard(path)()
    for jes in (-1.0, 0.0, 1.0):
        old, new = (b.expected_data(at(b, jes=jes), include_auxdata=False) for b in (bound, again))
        np.testing.assert_allclose(new, old, rtol=1e-12)


def edited(old: str, new: str) -> str:
    assert old in COUNTING
    return COUNTING.replace(old, new)


BAD_CARDS = {
    "gmN": (COUNTING + "stat gmN 12 - 0.3 - -\n", r"card.txt, line 19: 'gmN' has no counterpart.*control region as a channel"),
    "param": (COUNTING + "x param 1.0 0.1\n", "line 19: 'param' has no counterpart"),
    "extArg": (COUNTING + "x extArg 1.0\n", "'extArg' has no counterpart.*rateParam"),
    "shapeN2": (COUNTING + "x shapeN2 1 - - -\n", "'shapeN2' has no counterpart.*write it as shape"),
    "nuisance edit": (COUNTING + "nuisance edit freeze lumi\n", "'nuisance' has no counterpart.*edit the lines"),
    "nonsense": (COUNTING + "hello\n", "'hello' has no counterpart"),
    "formula": (COUNTING + "f rateParam SR qcd (@0*2) k_top\n", "line 19: a rateParam that is a formula"),
    "two ranges": (COUNTING + "k_top rateParam SR qcd 1 [0,3]\n", "'k_top' has the range"),
    "entries": (edited("lumi    lnN  1.025 1.025 -     1.025", "lumi lnN 1.025 1.025"), "line 14: 2 entries for 4 processes"),
    "kappa": (edited("0.9/1.15", "0.9/-1"), "expected a positive factor"),
    "word": (edited("1.1   -     1.5", "1.1 - big"), "expected a number, got 'big'"),
    "kmax": (edited("kmax 3", "kmax 2"), r"line 4: kmax is 2, but the card has 3"),
    "no rate": (edited("rate         3.0   4.0   1.5   90.0", ""), r"expected 1 line\(s\) 'rate'"),
    "no histogram": (edited("rate         3.0", "rate        -1"), "no shapes line names its histogram"),
    "signal and not": (edited("process      0     1     2     1", "process 0 1 2 0").replace("top   qcd   top", "top qcd sig").replace("0 1 2 0", "0 1 2 3"), "are signal in one channel"),
    "twice": (edited("process      sig   top   qcd   top", "process sig top top top"), "'top' is twice in channel 'SR'"),
    "shape that counts": (COUNTING.replace("kmax 3", "kmax 4") + "x shape 1 - - -\n", "the channel only counts; write lnN"),
    "workspace": (edited("imax 2  number of channels", "imax 2\nshapes * SR file.root w:$PROCESS"), "line 3: a workspace or \\$MASS"),
    "no file": (edited("imax 2  number of channels", "imax 2\nshapes * SR none.root $PROCESS"), "cannot read the histograms of .*none.root"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_CARDS)
def test_what_cannot_be_read_says_where_and_what_to_do(tmp_path: Path, name: str) -> None:
    text, expected = BAD_CARDS[name]
    (tmp_path / "card.txt").write_text(text)
    with pytest.raises(FormatError, match=expected):
        HistFactory.from_datacard(tmp_path / "card.txt")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("jes  shape?  1.05  1  1", "jes shape - 0.5 1", "entry 0.5.*scale the histograms"),
        (
            "jes  shape?  1.05  1  1",
            "jes shape 1 1 1",
            "line 12: .*no TH1 'SR/sig_jesDown'|line 4.*no TH1 'SR/sig_jesDown'",
        ),
        ("-1  60.003  20", "-1 61 20", "rate of process 'top'.*61 in the card, and 60 in the histogram"),
        ("from_data          ", "absent ", "no TH1 'absent'"),
        ("observation  -1", "observation 91", "91 in the card, and 90"),
    ],
)
def test_histograms_that_do_not_fit_are_refused(tmp_path: Path, old: str, new: str, expected: str) -> None:
    shape_card(tmp_path)
    assert old in SHAPES
    (tmp_path / "card.txt").write_text(SHAPES.replace(old, new))
    with pytest.raises(FormatError, match=expected):
        HistFactory.from_datacard(tmp_path / "card.txt")


def spoilt(name: str) -> HistFactory:
    spec = copy.deepcopy(written())
    signal, background, fake = spec["channels"][0]["samples"]
    settings: dict[str, Any] = {}
    match name:
        case "lumi":
            signal["modifiers"].append(modifier("lumi", "lumi"))
            spec["parameters"] = [LUMI]
        case "shapesys" | "shapefactor":
            fake["modifiers"].append(modifier("method", name, [1.0, 1.0, 1.0] if name == "shapesys" else None))
        case "fixed":
            spec["parameters"] = [{"name": "free", "fixed": True}]
        case "auxdata":
            spec["parameters"] = [{"name": "jes", "auxdata": [0.5]}]
        case "two staterrors":
            fake["modifiers"][0]["name"] = "other"
        case "word":
            spec["channels"][1]["name"] = "control region"
        case "r":
            background["modifiers"].append(modifier("r", "normfactor"))
        case "no signal":
            settings["poi_name"] = None
        case _:
            spec["channels"][1]["samples"].append({"name": "s", "data": [1.0], "modifiers": []})
    return HistFactory(spec, modifier_settings=CODES, **settings)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lumi", r"lumi 'lumi' has no counterpart.*normsys"), ("shapesys", "shapesys 'method'.*write it as"), ("shapefactor", "'method' has no"),
        ("fixed", r"parameters\['free'\]/fixed"), ("auxdata", r"parameters\['jes'\]/auxdata"), ("two staterrors", "several staterrors"),
        ("word", "'control region' cannot be a word"), ("r", "'r' is the parameter of interest of every datacard"),
        ("no signal", "no sample has a normfactor"), ("unscaled", "'s' is scaled by 'mu' in some channels only"),
    ],
)  # fmt: skip
def test_what_a_card_cannot_say_is_refused_by_name(tmp_path: Path, name: str, expected: str) -> None:
    with pytest.raises(FormatError, match=expected):
        spoilt(name).datacard(tmp_path)
    assert not list(tmp_path.iterdir())
