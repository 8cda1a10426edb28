"""Where the sensitivity comes from: the derivative of the objective by every bin of every sample."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from diffea.optimise.evaluation import compiled
from diffea.statistics import HistFactory
from diffea.templates import TemplateSet
from diffea.templates.layout import NOMINAL
from diffea.types import JSONDict, Scalar


def sensitivity(model: HistFactory, templates: TemplateSet, loss: Callable[[TemplateSet], Scalar]) -> JSONDict:
    """Of each nominal template that the model names, by ``channel/sample``.

    Args:
        model: the statistical model.
        templates: with exact cuts.
        loss: of templates, that was minimised.

    Returns:
        ``gradient``: by which the objective changes for each event more in a bin; ``by_yield``: if the bin held as many again, which is
        the gradient times the yield; ``by_statistics``: if the bin moved by its statistical error. All other templates, and all variances, are held.

    Raises:
        FitError, YieldError: if the objective fails.
    """
    _, slopes = compiled(loss).value_and_slope(templates)
    by_bin = TemplateSet(templates.layout, slopes.values_flat, slopes.variances_flat, templates.edges)
    found = {}
    for key in sorted(model.template_keys):
        if key[2] == NOMINAL and key in templates:
            template, slope = templates[key], np.asarray(by_bin[key].values)
            found[f"{key[0]}/{key[1]}"] = {
                "gradient": slope.tolist(),
                "by_yield": (slope * np.asarray(template.values)).tolist(),
                "by_statistics": (slope * np.sqrt(np.asarray(template.variances))).tolist(),
            }
    return found
