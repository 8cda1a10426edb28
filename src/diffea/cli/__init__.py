"""The command line: ``diffea demo``, ``new``, ``check``, ``run``, ``report``, ``compare``, ``export``, ``list`` and ``fetch``."""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import logging
import shlex
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from dask.distributed import performance_report as dask_report
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from diffea import report
from diffea.analysis import Analysis, load_analysis
from diffea.check import findings, look
from diffea.cli import asked, checks, comparison, outcome, standing
from diffea.cli.advice import next_things
from diffea.cli.clusters import SELDOM, check_cluster, cluster, cluster_options
from diffea.cli.exports import export_command
from diffea.cli.interrupts import STOPPED, interrupts
from diffea.cli.new import new_command
from diffea.cli.progress import progress
from diffea.cli.tables import spread
from diffea.demo import analysis as demo_analysis
from diffea.errors import AnalysisError, DiffeaError
from diffea.fetch import RemoteFile, fetch
from diffea.files.locks import locked
from diffea.report.words import objective_in_words
from diffea.run import describe, result_folder, run_variant, unblind_variant
from diffea.types import JSONDict

CONNECT = "10s"
FOLDER = click.Path(file_okay=False, path_type=Path)
EXISTING_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)

out_console = Console()
log_console = Console(stderr=True)


class Group(click.Group):
    """Shows an error of diffea as its message and exits with 1, without a traceback; after Ctrl-C with 130."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        standing.note_command(ctx, args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        try:
            with interrupts(log_console):
                return super().invoke(ctx)
        except DiffeaError as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt:
            raise SystemExit(STOPPED) from None


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="diffea")
def main() -> None:
    """Optimise a whole particle-physics analysis by gradient descent, over all of its data, on a dask cluster."""
    # A fit of pyhf's that fails is tried again by other means, or is an error: its log says nothing more.
    logging.getLogger("pyhf").setLevel(logging.CRITICAL)
    gc.set_threshold(*SELDOM)


@main.command()
@click.option("--out", type=FOLDER, default=Path("diffea-demo"), show_default=True, help="Folder for data and results.")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Start so many local worker processes.  [default: two workers in this process]",
)
@click.option("--resume", is_flag=True, help="Go on from the checkpoints in OUT.")
@click.argument("arguments", nargs=-1, metavar="[KEY=VALUE]...")
@cluster_options
def demo(out: Path, workers: int | None, **options: Any) -> None:
    """Make a small data set, optimise a search on it over a local cluster, and write the report.

    KEY=VALUE are arguments of --cluster's callable.
    """
    check_cluster(workers, None, options["made_by"], options["arguments"], options["install"], alone=False)
    run_analysis(demo_analysis, data=None, out=out, workers=workers, threads=2, **options)


@main.command()
@click.argument("analysis")
@click.argument("arguments", nargs=-1, metavar="[KEY=VALUE]...")
@cluster_options
@click.option("--data", type=EXISTING_FOLDER, help="Folder of the analysis's data.")
@click.option("--out", type=FOLDER, help="Folder for the results.  [default: diffea-NAME]")
@click.option("--workers", type=click.IntRange(min=1), help="Start so many local worker processes, one thread each.")
@click.option("--scheduler", metavar="ADDRESS", help="Use a running dask cluster, for example tcp://10.0.0.1:8786.")
@click.option("--steps", type=click.IntRange(min=0), help="Optimisation steps, instead of the analysis's own number.")
@click.option("--resume", is_flag=True, help="Go on from the checkpoints in OUT.")
@click.option("--unblind", is_flag=True, help="Look at observed events, at the parameters of the run in OUT.")
@click.option("--force", is_flag=True, help="Unblind although the analysis, or its simulated events, changed since.")
@click.option("--performance-report", is_flag=True, help="Leave dask's own report of the cluster's work in OUT.")
@click.option("--variant", metavar="NAME", help="Run this variant only.  [default: all]")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON, and nothing else on stdout.")
@click.option(
    "--all", "every_seed", is_flag=True, help="From every initialisation that the analysis has, not only the first."
)
def run(
    analysis: str, data: Path | None, out: Path | None, variant: str | None, every_seed: bool, **options: Any
) -> None:
    """Optimise ANALYSIS and judge the result: with hard cuts, by pyhf, on events not trained on (unless it has no split).

    ANALYSIS is a folder with an analysis.py, a Python file with an `analysis` object, or the name of a folder in analyses/.
    Without --workers, --scheduler and --cluster everything runs in this process. KEY=VALUE are arguments of --cluster's callable.
    """
    given = [options[name] for name in ("workers", "scheduler", "made_by", "arguments", "install")]
    check_cluster(*given, alone=True)
    if options["force"] and not options["unblind"]:
        msg = "--force is for --unblind"
        raise click.UsageError(msg)
    if options["performance_report"] and not any(given[:3]):
        msg = "--performance-report is of a cluster: give --workers or --scheduler, or --cluster, as well"
        raise click.UsageError(msg)
    loaded = load_analysis(asked.place_of(analysis))
    asked.variants(loaded, variant)
    if data is None and loaded.default_data is None:
        raise AnalysisError(asked.where_from(loaded, analysis))
    if every_seed and loaded.reseeded is None:
        msg = f"{loaded.name} has a single initialisation: run it without --all"
        raise AnalysisError(msg)
    seeds = loaded.seeds if every_seed else 1
    called = shlex.join([analysis, *(["--data", str(data)] if data else [])])
    out = out or Path(f"diffea-{loaded.name}")
    run_analysis(loaded, data=data, out=out, variant=variant, seeds=seeds, called=called, **options)


@main.command(name="check")
@click.argument("analysis")
@click.option("--data", type=EXISTING_FOLDER, help="Folder of the analysis's data.")
@click.option("--variant", metavar="NAME", help="Look at this variant only.  [default: all]")
@click.option(
    "--chunks", type=click.IntRange(min=1), default=2, show_default=True, help="Read so many of each data set."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check_command(analysis: str, data: Path | None, variant: str | None, chunks: int, as_json: bool) -> None:
    """Look for what may spoil ANALYSIS before it is run: on a few chunks of its data, with the remedy of each finding.

    The exit code is 1 where nothing could be optimised as it is.
    """
    loaded = load_analysis(asked.place_of(analysis))
    names = asked.variants(loaded, variant)
    if data is None and loaded.default_data is None:
        raise AnalysisError(asked.where_from(loaded, analysis))
    report_of, stopped = {}, False
    with contextlib.ExitStack() as stack:
        folder = data or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "data"
        if data is None and loaded.default_data is not None:
            loaded.default_data(folder)
        for name in names:
            with log_console.status(f"reading {name or loaded.name}"):
                seen = look(loaded, loaded.variants[name], folder, chunks)
            found = findings(seen)
            stopped |= any(finding.level == "stop" for finding in found)
            if as_json:
                report_of[name or loaded.name] = checks.as_json(seen, found)
            else:
                checks.show(out_console, name or loaded.name, seen, found)
    if as_json:
        click.echo(json.dumps(report_of, indent=1))
    if stopped:
        raise SystemExit(1)


@main.command(name="report")
@click.argument("out", type=EXISTING_FOLDER)
def report_command(out: Path) -> None:
    """Write report.html again from what a run left in OUT, and its pictures as PDF and PNG too."""
    out_console.print(f"report: {escape(str(report.write(out, formats=('svg',))))}", soft_wrap=True)


@main.command(name="compare")
@click.argument("outs", metavar="OUT...", nargs=-1, required=True, type=EXISTING_FOLDER)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def compare_command(outs: tuple[Path, ...], as_json: bool) -> None:
    """Show runs side by side: what each reached, at what cost, with which parameters."""
    runs = comparison.runs_in(outs)
    if as_json:
        click.echo(json.dumps(comparison.as_json(runs), indent=1))
        return
    for table in comparison.tables(runs):
        out_console.print(table)


main.add_command(export_command)
main.add_command(new_command)


@main.command(name="list")
def list_command() -> None:
    """List the analyses in ./analyses, and the demo."""
    table = Table("analysis", "what it is", "variants", box=None, header_style="bold", padding=(0, 2, 0, 0))
    found: list[tuple[str, Analysis | DiffeaError]] = [("demo (diffea demo)", demo_analysis)]
    for path in sorted(asked.ANALYSES.glob("*/analysis.py")):
        try:
            found.append((str(path.parent), load_analysis(path.parent)))
        except DiffeaError as error:
            found.append((str(path.parent), error))
    for name, analysis in found:
        if isinstance(analysis, DiffeaError):
            table.add_row(escape(name), f"[red]{escape(str(analysis))}[/]", "")
        else:
            table.add_row(escape(name), escape(analysis.title), ", ".join(filter(None, analysis.variants)) or "–")
    out_console.print(table)


@main.command(name="fetch")
@click.argument("analysis")
@click.option("--data", type=FOLDER, help="Folder for the files.  [default: data/NAME]")
def fetch_command(analysis: str, data: Path | None) -> None:
    """Download the data of ANALYSIS, checked against the published checksums; what is there and whole is left alone."""
    loaded = load_analysis(asked.place_of(analysis))
    if not loaded.fetch:
        msg = f"{loaded.name} says nothing about where its data come from, so there is nothing to fetch"
        raise AnalysisError(msg)
    folder = data or Path("data") / loaded.name
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=log_console) as bars:
        tasks = {file: bars.add_task(escape(file.name), total=file.size) for file in loaded.fetch}

        def tell(file: RemoteFile, received: int, total: int | None) -> None:
            bars.update(tasks[file], completed=received, total=total)

        paths = fetch(loaded.fetch, folder, progress=tell)
        for file, path in zip(loaded.fetch, paths, strict=True):
            size = path.stat().st_size
            bars.update(tasks[file], completed=size, total=size)
    out_console.print(f"{len(paths)} files, all whole, in {escape(str(folder))}", soft_wrap=True)


def run_analysis(
    analysis: Analysis,
    *,
    data: Path | None,
    out: Path,
    variant: str | None = None,
    workers: int | None = None,
    threads: int | None = None,
    scheduler: str | None = None,
    steps: int | None = None,
    resume: bool = False,
    performance_report: bool = False,
    seeds: int = 1,
    made_by: str | None = None,
    arguments: Sequence[str] = (),
    install: Sequence[str] = (),
    unblind: bool = False,
    force: bool = False,
    called: str | None = None,
    as_json: bool = False,
) -> None:
    """Run some or all variants, from one or more initialisations, write their reports, and print what changed.

    Those that are to be unblinded are run first only if they were not yet.
    """
    names = asked.variants(analysis, variant)
    places = {name: result_folder(out, name) for name in names}
    log_console.print(f"[bold]{escape(analysis.title)}[/]", soft_wrap=True)
    for line in () if unblind else standing.before(out, places, resume=resume):
        log_console.print(escape(line), soft_wrap=True)
    results: dict[str, list[JSONDict]] = {name: [] for name in names}
    with _ending(out, places), locked(out), contextlib.ExitStack() as stack:
        data = asked.made_data(analysis, out, log_console) if data is None else data
        client = stack.enter_context(cluster(workers, scheduler, made_by, arguments, install, CONNECT, threads))
        if client is not None:
            log_console.print(escape(f"dashboard: {client.dashboard_link}"), soft_wrap=True)
        if performance_report:
            stack.enter_context(_performance_report(out / "performance-report.html"))
        for name, seed in itertools.product(names, range(seeds)):
            own = analysis.reseeded(seed) if analysis.reseeded and seed else analysis
            place: JSONDict = {"data": data, "out": result_folder(out, name, seed), "client": client}
            if not (unblind and (place["out"] / "result.json").is_file()):
                title = (name or analysis.name) + (f", seed {seed}" if seed else "")
                with progress(log_console, title, _minimised(analysis, name)) as tell:
                    given: JSONDict = {"steps": steps, "resume": resume, "command": standing.command()}
                    results[name].append(run_variant(own, name, **place, **given, progress=tell))
            if unblind:
                with log_console.status("looking at observed events"):
                    results[name][seed:] = [unblind_variant(own, name, **place, force=force)]
    if as_json:
        click.echo(json.dumps({name or analysis.name: found[0] for name, found in results.items()}, indent=1))
    else:
        _tell(analysis, results)
    told = log_console if as_json else out_console
    with log_console.status("drawing the report"):
        page = report.write(out, formats=("svg",))
    if variant is None and analysis.figures:
        for figure in analysis.figures(out):
            told.print(f"figure: {escape(str(figure))}", soft_wrap=True)
    told.print(f"\nreport: {escape(str(page))}", soft_wrap=True)
    first = names[0]
    tips = next_things(results[first][0], called or analysis.name, places[first])
    told.print(
        "\nnext:", *(f"  {number}. {escape(tip)}" for number, tip in enumerate(tips, 1)), sep="\n", soft_wrap=True
    )


@contextlib.contextmanager
def _ending(out: Path, places: Mapping[str, Path]) -> Iterator[None]:
    """Say after Ctrl-C what is saved, and how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        for line in standing.interrupted(out, places):
            log_console.print(escape(line), soft_wrap=True)
        raise


def _tell(analysis: Analysis, results: Mapping[str, Sequence[JSONDict]]) -> None:
    for name, found in results.items():
        outcome.show(out_console, name or analysis.name, found[0])
    if any(len(found) > 1 for found in results.values()):
        out_console.print(spread(results))


def _minimised(analysis: Analysis, variant: str) -> str:
    """What a variant minimises, in words."""
    words = objective_in_words(describe(analysis.variants[variant].objective))
    return words[:1].lower() + words[1:]


@contextlib.contextmanager
def _performance_report(path: Path) -> Iterator[None]:
    """Write dask's report of what the cluster does meanwhile; a report that fails costs no results."""
    report = dask_report(str(path))
    report.__enter__()
    try:
        yield
    finally:
        try:
            report.__exit__(None, None, None)
        except Exception as error:  # noqa: BLE001  (dask's, bokeh's, or that of bokeh being missing)
            reason = escape(f"{type(error).__name__}: {error}")
            log_console.print(f"no performance report: dask could not write it ({reason})", soft_wrap=True)
