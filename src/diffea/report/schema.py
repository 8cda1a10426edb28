"""What the files of a run must hold for the report, as JSON schemas."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema

from diffea.errors import ReportError
from diffea.types import JSONMapping

LONGEST = 18  # digits of a whole number that 64 bits hold
AGAIN = "it is not from a finished `diffea run`, or was changed. Run the analysis again"


def _object(required: tuple[str, ...] = (), /, **properties: object) -> dict[str, object]:
    return {"type": "object", "required": list(required), "properties": properties}


def _each(schema: object) -> dict[str, object]:
    return {"type": "object", "additionalProperties": schema}


def _optional(schema: Mapping[str, object]) -> dict[str, object]:
    return {"anyOf": [{"type": "null"}, schema]}


TEXT, COUNT, NUMBER = {"type": "string"}, {"type": "integer"}, {"type": "number"}
STATE = _object(
    ("soft", "hard_train", "hard_test"),
    **dict.fromkeys(("soft", "hard_train", "hard_test"), _optional(NUMBER)),
)
STEPS = {
    "type": "array",
    "items": _object(
        ("loss", "gradient_norm"),
        step=COUNT,
        loss=NUMBER,
        gradient_norm=_optional(NUMBER),
        params=_optional(_each(_optional(NUMBER))),
    ),
}
SIDE = {"anyOf": [TEXT, {"type": "array", "items": NUMBER}]}
NUMBERS = {"type": "array", "items": NUMBER}
PARAMETER = _object(
    ("name", "pull", "constraint", "impact"),
    name=TEXT,
    **dict.fromkeys(("pull", "constraint", "impact"), _optional(NUMBER)),
)
FIT = _object(
    ("parameters", "correlations"),
    parameters={"type": "array", "items": PARAMETER},
    correlations=_object(
        ("parameters", "matrix"),
        parameters={"type": "array", "items": TEXT},
        matrix={"type": "array", "items": NUMBERS},
    ),
)
DIFFERENCE = _optional(_object(("difference", "error"), difference=NUMBER, error=_optional(NUMBER)))
TRUST = _object(
    **dict.fromkeys(("improvement", "overtraining", "soft_less_hard"), DIFFERENCE),
    bias=_optional(_object(("bias", "error"), bias=NUMBER, error=NUMBER)),
    at_bounds={"type": "array", "items": TEXT},
    few_events={"type": "array", "items": _object(("bin", "events"), bin=TEXT, events=NUMBER)},
    injected=_optional(
        {
            "type": "array",
            "items": _object(
                ("strength", "found", "uncertainty"), **dict.fromkeys(("strength", "found", "uncertainty"), NUMBER)
            ),
        }
    ),
    sensitivity=_optional(_each(_object(("by_yield",)))),
    fit=_optional(FIT),
)
OBSERVED = _object(
    ("when", "observations"),
    when=TEXT,
    commit=_optional(TEXT),
    observations=_each({"type": "array", "items": NUMBER}),
    band=_optional({"type": "array", "items": NUMBER, "minItems": 5, "maxItems": 5}),
    best_fit=_optional(_each({"type": "array", "items": _optional(NUMBER), "minItems": 2, "maxItems": 2})),
    goodness_of_fit=_optional(_object(("p_value",), p_value=NUMBER)),
    fit=_optional(FIT),
    not_judged=_optional(_each(TEXT)),
    **dict.fromkeys(("cls", "limit", "expected", "significance"), _optional(NUMBER)),
)
CUT = _object(
    ("name", "on", "sign", "thresholds", "edges", "decided"),
    **dict.fromkeys(("name", "on", "sign"), TEXT),
    thresholds={"type": "array", "minItems": 1, "items": {"type": "array", "items": _optional(NUMBER)}},
    edges={**NUMBERS, "minItems": 2},
    decided=_each(_object(("values",), values=NUMBERS)),
)
FLOW = _object(
    ("cuts", "samples", "not_judged"),
    cuts={"type": "array", "items": TEXT},
    samples=_each(_object(("yields", "errors"), yields=NUMBERS, errors=NUMBERS)),
    not_judged=_optional(TEXT),
)
SELECTION = _object(
    ("cuts", "cutflow"), cuts={"type": "array", "items": CUT}, cutflow=_each(FLOW), not_judged=_optional(TEXT)
)
RESULT = _object(
    analysis=TEXT,
    objective=TEXT,
    params=_object(("before", "after")),
    before=STATE,
    after=STATE,
    history=STEPS,
    bounds={},
    modifier_settings=_optional(_each(_each(TEXT))),
    events=_optional(_each(_each(COUNT))),
    split=_optional(_object()),
    shifts=_optional(_each(_each(_each(_object(("hi", "lo"), hi=SIDE, lo=SIDE))))),
    skipped=_optional({"type": "array"}),
    versions=_optional(_each(TEXT)),
    not_judged=_optional(_each(_each(TEXT))),
    **dict.fromkeys(("title", "variant", "message", "verdict", "when", "command"), _optional(TEXT)),
    errors=_optional(_each(_each(_optional(NUMBER)))),
    observed=_optional(OBSERVED),
    trust=_optional(TRUST),
    along=_optional(
        _each(_object(("values", "losses"), values=NUMBERS, losses={"type": "array", "items": _optional(NUMBER)}))
    ),
    selection=_optional(_object(before=SELECTION, after=SELECTION)),
    folds=_optional({"type": "array", "items": _object(("params", "history"), history=STEPS)}),
    **dict.fromkeys(("limit_before", "limit_after", "seconds"), _optional(NUMBER)),
    **dict.fromkeys(("limit_before_error", "limit_after_error", "gain", "gain_error"), _optional(NUMBER)),
    **dict.fromkeys(("chunks", "workers", "passes_over_data"), _optional(COUNT)),
    **dict.fromkeys(("seconds_by_stage", "skipped_share", "soft_hard_gap"), _optional(_each(NUMBER))),
)
ARRAY: dict[str, object] = {"type": "array", "items": {"anyOf": [NUMBER, {"$ref": "#/$defs/array"}]}}
HISTOGRAM = _object(
    ("edges", "values", "variances"),
    edges={"type": "array", "minItems": 1, "items": {"type": "array", "items": _optional(NUMBER)}},
    values={"$ref": "#/$defs/array"},
    variances={"$ref": "#/$defs/array"},
    label=TEXT,
    name=TEXT,
)
HISTOGRAMS = {**_each(HISTOGRAM), "propertyNames": {"pattern": "^[^/]+/.+/[^/]+$"}}
WHEN = _object(("soft", "hard_test"), **dict.fromkeys(("soft", "hard_train", "hard_test"), HISTOGRAMS))
TEMPLATES = {**_object(("before", "after"), before=WHEN, after=WHEN), "$defs": {"array": ARRAY}}


def read(path: Path) -> Any:
    """The JSON object in a file.

    Raises:
        ReportError: if it is not there, or something else.
    """
    try:
        content = json.loads(
            path.read_text(encoding="utf-8"), parse_constant=_finite, parse_float=_finite, parse_int=_whole
        )
    except FileNotFoundError as error:
        msg = f"there is no {path.name} in {path.parent}: expected the folder that `diffea run --out` wrote"
        raise ReportError(msg) from error
    except (OSError, ValueError, RecursionError) as error:
        msg = f"{path} is not JSON ({error}): run the analysis again"
        raise ReportError(msg) from error
    if not isinstance(content, Mapping):
        msg = f"{path} holds no JSON object but a {type(content).__name__}: {AGAIN}"
        raise ReportError(msg)
    return content


def check(path: Path, content: JSONMapping, schema: JSONMapping, needed: tuple[str, ...] = ()) -> None:
    """See that the content of a file has what the report needs.

    Raises:
        ReportError: naming the file, the place in it, and what was expected.
    """
    if missing := [key for key in needed if key not in content]:
        msg = f"{path} lacks {', '.join(missing)}: {AGAIN}"
        raise ReportError(msg)
    error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(content))
    if error is not None:
        msg = f"{path}: {error.json_path}: {error.message:.300}: {AGAIN}"
        raise ReportError(msg)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        msg = f"{text:.50} is no finite number"
        raise ValueError(msg)
    return value


def _whole(text: str) -> int | float:
    return int(text) if len(text) < LONGEST else _finite(text)
