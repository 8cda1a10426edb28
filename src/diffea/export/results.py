"""Results: what a finished run left, as far as it is handed on."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from diffea.analysis import Analysis, Variant
from diffea.errors import ExportError
from diffea.files import UNFINISHED
from diffea.report.contents import find_runs, read_run
from diffea.run.digests import digest_of
from diffea.run.numbers import params_of
from diffea.run.unblind import WORKSPACE as OBSERVED
from diffea.types import JSONDict, JSONMapping, Params


@dataclasses.dataclass(frozen=True)
class Result:
    """A finished run of one variant.

    Attributes:
        folder: of its files.
        result: what result.json says.
        workspace: pyhf's, of the optimum with exact cuts; its observations are the background-only expectation.
        observed: the same with the observed ones; None while they were not looked at.
        templates: of the optimum with exact cuts, by ``channel/sample/variation``.
    """

    folder: Path
    result: JSONMapping
    workspace: JSONDict
    observed: JSONDict | None
    templates: JSONDict

    @property
    def name(self) -> str:
        """Of analysis and variant."""
        return " ".join(filter(None, (self.result["analysis"], self.result.get("variant"))))

    @property
    def model_settings(self) -> dict[str, JSONDict] | None:
        """pyhf's settings of the modifiers, which a workspace has no place for."""
        return self.result.get("modifier_settings") or None

    def edges(self, channel: str, bins: int) -> tuple[str, list[float] | None]:
        """Label and bin edges of a channel; None for edges of several axes, or without end."""
        for name, template in self.templates.items():
            if name.startswith(f"{channel}/") and len(template["edges"]) == 1:
                edges = template["edges"][0]
                if len(edges) == bins + 1 and None not in edges:
                    return template.get("label") or template.get("name") or channel, edges
        return "bin", None

    def check_analysis(self, analysis: Analysis) -> Variant:
        """The variant that was run.

        Raises:
            ExportError: if the analysis has none of that name, or changed since.
        """
        name = self.result.get("variant") or ""
        if analysis.name != self.result["analysis"] or name not in analysis.variants:
            msg = (
                f"the run in {self.folder} is of {self.result['analysis']!r}, variant {name!r}; the analysis given is {analysis.name!r} with "
                f"{', '.join(map(repr, analysis.variants))}: name the right one with --analysis"
            )
            raise ExportError(msg)
        variant = analysis.variants[name]
        if self.result.get("analysis_digest") != digest_of(analysis, variant):
            msg = (
                f"the analysis changed since the run in {self.folder} (its code, model, start or split), so that its code is not the one that was "
                "optimised: run it again"
            )
            raise ExportError(msg)
        return variant

    def params(self, variant: Variant) -> list[Params]:
        """The optimum, one for each fold, or one.

        Raises:
            ExportError: if the parameters are not those of the variant.
        """
        try:
            folds = self.result.get("folds")
            stored = [fold["params"] for fold in folds] if folds else [self.result["params"]["after"]]
            return [params_of(one, variant.params) for one in stored]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            msg = f"the parameters in {self.folder} are not those of the analysis ({type(error).__name__}: {error}): run it again"
            raise ExportError(msg) from error


def read_result(out: Path, variant: str | None) -> Result:
    """The run in a folder of results.

    Args:
        out: what ``diffea run --out`` wrote.
        variant: whose run; needed where there are several.

    Raises:
        ExportError: if there is no finished run, no such variant, or several and none was named.
        ReportError: if its files are broken.
    """
    runs = {name: folder for name, folder in find_runs(out) if not folder.name.startswith(UNFINISHED)}
    if not runs:
        msg = (
            f"there is no result.json in {out} or in its folders: export what a finished `diffea run --out {out}` left"
        )
        raise ExportError(msg)
    if variant is None and len(runs) > 1:
        msg = f"{out} has runs of several variants ({', '.join(runs)}): say which with --variant"
        raise ExportError(msg)
    name = next(iter(runs)) if variant is None else variant
    run = read_run(runs[name]) if name in runs else None
    if run is None and "" in runs and (only := read_run(runs[""])).result.get("variant") == variant:
        run = only
    if run is None:
        msg = f"{out} has no run of a variant {variant!r}; it has: {', '.join(filter(None, runs)) or 'one without variants'}"
        raise ExportError(msg)
    seen = run.folder / OBSERVED
    observed = json.loads(seen.read_text(encoding="utf-8")) if run.result.get("observed") and seen.is_file() else None
    return Result(run.folder, run.result, dict(run.workspace), observed, run.templates["after"]["hard_test"])
