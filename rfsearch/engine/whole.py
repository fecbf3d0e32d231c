"""The verbs of the command line as functions: a whole run, or what it would cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from rfsearch import spaces
from rfsearch.engine import beside
from rfsearch.engine.config import Request, settle
from rfsearch.engine.costs import told_objective
from rfsearch.engine.dry_run import estimate
from rfsearch.engine.listing import describe_plan, headline, told_machine
from rfsearch.engine.measure import measure
from rfsearch.engine.run import Run, load_architecture, retrain, search, search_units
from rfsearch.engine.start import (
    begun,
    check_duration,
    costed,
    in_time,
    is_finished,
    load_data,
    open_run,
    prepare,
)
from rfsearch.engine.together import company, placed
from rfsearch.reporting import summarise, write_report
from rfsearch.reporting.progress import Progress
from rfsearch.training.shares import ALONE, shares_of
from rfsearch.trials import Claim, RunFolder, read_json


def whole(request: Request) -> str:
    """Run to the report, or go on to it; the result in a few lines, which of several processes
    the first one has."""
    together = company(request)
    shares = ALONE if together is None else shares_of(together)
    if told := shares.first(lambda: _finished(request)):
        return told if shares.rank == 0 else ""
    labels = spaces.load_space(request.space).labels
    with (
        placed(request, shares) as mine,
        Progress(labels, None if shares.rank == 0 else Console(quiet=True)) as progress,
        Claim(mine.folder) as claim,
    ):
        run = open_run(mine, progress, claim, together)
        progress.note(headline(run.config))
        progress.note(told_machine(run.config, read_json(run.folder.environment)))
        if objective := told_objective(run.config, run.costs):
            progress.note(objective)
        if request.storage:
            progress.note(str(run.study))
        if shares.num > 1:
            progress.note(f"{shares.num} processes train together, each its part of every batch")
        carry_out(run)
        if shares.rank != 0:
            return ""
        measure(run)
        write_report(mine.folder)
    return summarise(request.folder)


def carry_out(run: Run) -> None:
    """Search and retrain, as far as they are not done yet; then the folder holds all weights."""
    plan = run.config.plan
    retrainings = plan.retrain_epochs * plan.retrain_seeds
    phases: list[tuple[str, float | None, int]] = [("search", None, search_units(run.config))]
    phases += [("found", None, retrainings), ("plain", None, retrainings), ("measure", None, 0)]
    run.progress.start(phases)
    search(run)
    architecture = load_architecture(run.folder)
    if run.side_by_side:
        beside.retrain_both(run, architecture)
        return
    for kind in ("found", "plain"):
        for index in range(plan.retrain_seeds):
            retrain(run, kind, index, architecture)


def _finished(request: Request) -> str:
    """That there is nothing to do, if so."""
    folder = RunFolder(request.folder)
    if not request.resume or not is_finished(folder):
        return ""
    begun(folder, settle(request), resume=True)
    return f"{folder.path} is finished already: {folder.report}"


def run(backbone: str, **options: Any) -> Path:
    """`rfsearch run` as a function; returns the run folder.

    Args:
        backbone: a name of the table, such as "mobilenetv2".
        options: fields of `engine.config.Request`: data, budget, seed, out, resume, …;
            ``assignments`` takes the texts of ``--set``.
    """
    request = Request(backbone=backbone, **options)
    whole(request)
    return request.folder


def dry(request: Request) -> str:
    """The plan and its cost on this machine; nothing is written."""
    together = company(request)
    shares = ALONE if together is None else shares_of(together)
    with shares.agreed():
        config = settle(request)
        check_duration(config.budget)
        data = load_data(config, download=request.download)
        ready = prepare(config, RunFolder(request.folder), data, Progress(), together)
    run = in_time(costed(ready))
    told = describe_plan(run.config, estimate(run))
    return told if shares.rank == 0 else ""
