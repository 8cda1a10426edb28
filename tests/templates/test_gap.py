"""The soft–hard gap of each channel, and its warning."""

from __future__ import annotations

import warnings

import hist
import numpy as np
import pytest

from diffea.errors import SoftHardGapWarning
from diffea.templates import Layout, TemplateSet
from diffea.templates.gap import soft_hard_gap

AXES = {name: (hist.axis.Regular(2, 0, 1, name="x"),) for name in ("a", "b")}
LAYOUT = Layout(AXES, (("a", "s", "nominal"), ("a", "s", "tes_up"), ("b", "s", "nominal")))


def templates(*bins):
    flat = np.concatenate([[9.0, *pair, 9.0] for pair in bins])
    return TemplateSet(LAYOUT, flat, flat)


def test_the_gap_is_a_share_of_the_yield():
    hard, soft = templates((6, 4), (0, 0), (1, 1)), templates((5.5, 4.2), (100, 0), (1, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert soft_hard_gap(soft, hard) == pytest.approx({"a": 0.07, "b": 0.0})


def test_a_wide_gap_is_warned_of():
    hard, soft = templates((6, 4), (0, 0), (0, 0)), templates((6, 4), (0, 0), (0.5, 0))
    with pytest.warns(SoftHardGapWarning, match="channel 'b'"):
        assert soft_hard_gap(soft, hard)["b"] == 1.0
