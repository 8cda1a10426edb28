"""TemplateSet: what it holds, and axes whose edges are parameters."""

from __future__ import annotations

import hist
import numpy as np
import pytest

from diffea.errors import TemplateError, UnknownTemplateError
from diffea.templates import Layout, TemplateJacobian, TemplateSet

AXIS = hist.axis.Regular(2, 0, 1, name="x", label="X", underflow=False)
FILLED = TemplateSet(Layout({"c": (AXIS,)}, (("c", "s", "nominal"),)), np.arange(4.0), np.arange(4.0))


def test_only_what_a_fill_made_is_in_it():
    assert ("c", "s") in FILLED
    for name in (("c", "t"), ("c",), ("c", "s", "nominal", "more"), ("c", 1), "c", 3):
        assert name not in FILLED
    with pytest.raises(UnknownTemplateError, match="is named by"):
        _ = FILLED["c",]


def test_learned_edges_keep_the_flow_bins_of_their_axis():
    learned = TemplateSet(FILLED.layout, FILLED.values_flat, FILLED.variances_flat, {"c": np.array([0.0, 0.3, 1.0])})
    filled = learned["c", "s"].to_hist()
    assert filled.axes[0] == hist.axis.Variable([0.0, 0.3, 1.0], name="x", label="X", underflow=False)
    np.testing.assert_array_equal(filled.values(flow=True), [1.0, 2.0, 3.0])


def test_derivatives_of_what_no_fill_made():
    derivative = TemplateJacobian(FILLED.layout, np.zeros((2, 4, 1)), {"a": np.zeros(())})
    with pytest.raises(UnknownTemplateError, match="no fill made the template c/t/nominal"):
        _ = derivative["c", "t"]
    with pytest.raises(TemplateError, match="unlike parameters"):
        _ = derivative + TemplateJacobian(FILLED.layout, np.zeros((2, 4, 1)), {"b": np.zeros(())})


def test_a_variation_of_one_side_is_not_that_of_the_sum():
    keys = (("c", "s", "nominal"), ("c", "s", "up"))
    varied = TemplateSet(Layout({"c": (AXIS,)}, keys), np.arange(8.0), np.arange(8.0))
    for left, right in ((FILLED, varied), (varied, FILLED)):
        with pytest.raises(TemplateError, match="variation 'up' of sample 's'"):
            _ = left + right
    other = TemplateSet(Layout({"c": (AXIS,)}, (("c", "t", "nominal"),)), np.ones(4), np.ones(4))
    np.testing.assert_array_equal((varied + other)["c", "s", "up"].values, varied["c", "s", "up"].values)
