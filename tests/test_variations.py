"""Systematic variations and discrete axes of a processor, in process, soft and hard, against fills written out by hand."""

from __future__ import annotations

import dataclasses

import hist
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffea
from diffea import soft
from diffea.errors import TemplateError, VariationError
from diffea.processor import DifferentiableProcessor, Fill
from diffea.program import traced
from tests.samples import QuietSchema, write_fileset

PARAMS = {"jet_pt": 32.0, "met": 30.0}


def shift_jets(columns, direction):
    return {"jet_pt": columns["jet_pt"] * (1 + 0.1 * direction)}


def scale_weights(columns, direction):
    return {"weight": columns["weight"] * (1 + 0.2 * direction)} if columns["sample"] == "bkg" else None


class Counts(DifferentiableProcessor):
    channels = {  # noqa: RUF012
        "jets": hist.axis.Integer(0, 3, name="jets", underflow=False),
        "met": hist.axis.Regular(6, 0, 120, name="met"),
        "region": (hist.axis.StrCategory(["one", "two"], name="region"), hist.axis.Regular(3, 0, 120, name="met")),
    }
    variations = {"jes": shift_jets, "weights": scale_weights}  # noqa: RUF012

    def columns(self, events):
        sample = events.metadata.get("sample", events.metadata["dataset"])
        return {"met": events.MET.pt, "jet_pt": events.Jet.pt, "weight": events.genWeight, "sample": sample}

    def fill(self, params, columns):
        good = soft.above(columns["jet_pt"], params["jet_pt"], width=3.0)
        weight = columns["weight"] * soft.above(columns["met"], params["met"], width=4.0)
        counts = jnp.stack([soft.exactly(n, good) for n in range(3)], axis=1)
        yield Fill("jets", counts, weight)
        yield Fill("met", columns["met"], weight * soft.at_least(1, good))
        yield Fill("region", (counts[:, 1:], columns["met"]), weight)


class ByHand(Counts):
    variations = {}  # noqa: RUF012

    def fill(self, params, columns):
        shifts = {"nominal": {}, "jes_up": shift_jets(columns, 1), "jes_down": shift_jets(columns, -1)}
        shifts |= {"weights_up": scale_weights(columns, 1), "weights_down": scale_weights(columns, -1)}
        for name, shifted in shifts.items():
            if shifted is not None:
                for fill in super().fill(params, {**columns, **shifted}):
                    yield Fill(fill.channel, fill.observable, fill.weight, variation=name)


@pytest.fixture(scope="module")
def fileset(tmp_path_factory):
    return write_fileset(tmp_path_factory.mktemp("variations"))


@pytest.fixture(scope="module")
def written(fileset):
    with diffea.distribute(ByHand(), fileset, schemaclass=QuietSchema) as templates:
        yield templates


@pytest.fixture(scope="module", params=[traced.MOST_WRITTEN_OUT, 0], ids=["written out", "in a loop"])
def both(request, fileset, written):
    """Few variations are written out one after the other, many run in a loop; here the same ones do either."""
    with pytest.MonkeyPatch.context() as patch, diffea.distribute(Counts(), fileset, schemaclass=QuietSchema) as made:
        patch.setattr(traced, "MOST_WRITTEN_OUT", request.param)
        yield made, written


def test_declared_variations_are_those_written_out(both):
    ours, theirs = (templates(PARAMS) for templates in both)
    assert set(ours) == set(theirs)
    assert ("met", "signal", "weights_up") not in set(ours)
    for key in theirs:
        np.testing.assert_allclose(ours[key].values, theirs[key].values, rtol=1e-12)
        np.testing.assert_allclose(ours[key].variances, theirs[key].variances, rtol=1e-12)
    np.testing.assert_allclose(ours["met", "bkg", "weights_up"].values, 1.2 * ours["met", "bkg"].values, rtol=1e-12)
    assert not np.allclose(ours["met", "bkg", "jes_up"].values, ours["met", "bkg"].values)


def test_gradients_go_through_variations_and_categories(both):
    templates, _ = both

    def total(params):
        made = templates(params)
        keys = [("jets", "bkg", "jes_up"), ("region", "signal", "nominal"), ("met", "bkg", "weights_down")]
        return sum(
            jnp.sum(made[key].values * jnp.arange(1.0, made[key].values.size + 1).reshape(made[key].values.shape))
            for key in keys
        )

    gradient = jax.grad(total)(PARAMS)
    for name, value in PARAMS.items():
        above, below = (total({**PARAMS, name: value + step}) for step in (1e-4, -1e-4))
        np.testing.assert_allclose(gradient[name], (above - below) / 2e-4, rtol=1e-5)


def test_the_hard_twin_counts_jets(both):
    templates, written = both
    exact, by_hand = templates.hard(PARAMS), written.hard(PARAMS)
    for key in by_hand:
        np.testing.assert_array_equal(exact[key].values, by_hand[key].values)
        np.testing.assert_array_equal(exact[key].variances, by_hand[key].variances)
    jets, region = exact["jets", "signal"].values, exact["region", "signal"].values
    assert np.all(jets == np.round(jets))
    np.testing.assert_array_equal(np.sum(region, axis=1) <= jets[1:], True)
    assert exact["region", "signal"].to_hist().axes[0].size == 2


def test_a_shift_of_no_column_is_an_error(tmp_path):
    class Wrong(Counts):
        variations = {"jes": lambda columns, direction: {"jets_pt": columns["jet_pt"]}}  # noqa: RUF012

    fileset = write_fileset(tmp_path)
    with (
        pytest.raises(VariationError, match="'jes' shifts"),
        diffea.distribute(Wrong(), fileset, schemaclass=QuietSchema) as t,
    ):
        t(PARAMS)


@dataclasses.dataclass
class Doubly(Counts):
    """Fills a variation that it has among its own, also where a sample is named as its dataset is."""

    sample: str | None

    def fill(self, params, columns):
        yield from super().fill(params, columns)
        yield Fill("met", columns["met"], columns["weight"], sample=self.sample, variation="jes_up")


@pytest.mark.parametrize("written_out", [0, traced.MOST_WRITTEN_OUT])
@pytest.mark.parametrize("sample", [None, "signal"])
def test_a_variation_is_made_once(tmp_path, monkeypatch, sample, written_out):
    monkeypatch.setattr(traced, "MOST_WRITTEN_OUT", written_out)
    fileset = write_fileset(tmp_path)
    assert "signal" in fileset
    with (
        diffea.distribute(Doubly(sample), fileset, schemaclass=QuietSchema) as templates,
        pytest.raises(VariationError, match="'jes_up' of channel 'met', which `variations` makes too"),
    ):
        templates(PARAMS)


def test_a_variation_has_all_events_of_its_sample(tmp_path):
    """Of two datasets of one sample one is not shifted: what is varied would be the other one alone."""
    fileset = write_fileset(tmp_path)
    for name, dataset in fileset.items():
        dataset["metadata"] = {**dataset.get("metadata", {}), "sample": "together", "kind": name}

    class Partly(Counts):
        variations = {  # noqa: RUF012
            "weights": lambda columns, _: {"weight": 2 * columns["weight"]} if columns["kind"] == min(fileset) else None
        }

        def columns(self, events):
            return {**super().columns(events), "kind": events.metadata["kind"]}

    with diffea.distribute(Partly(), fileset, schemaclass=QuietSchema) as templates:
        for ask in (templates, templates.hard, templates.jacobian):
            with pytest.raises(
                TemplateError,
                match="'weights_down' of sample 'together' in channel 'jets' is filled from some of its datasets only",
            ):
                ask(PARAMS)
