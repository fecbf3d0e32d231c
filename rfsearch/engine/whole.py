"""The verbs of the command line as functions: a whole run, or what it would cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rfsearch import spaces
from rfsearch.engine.config import Request, settle
from rfsearch.engine.costs import told_objective
from rfsearch.engine.dry_run import estimate
from rfsearch.engine.listing import describe_plan, headline
from rfsearch.engine.measure import measure
from rfsearch.engine.run import carry_out
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
from rfsearch.reporting import summarise, write_report
from rfsearch.reporting.progress import Progress
from rfsearch.trials import Claim, RunFolder


def whole(request: Request) -> str:
    """Run to the report, or go on to it; the result in a few lines."""
    folder = RunFolder(request.folder)
    if request.resume and is_finished(folder):
        begun(folder, settle(request), resume=True)
        return f"{folder.path} is finished already: {folder.report}"
    labels = spaces.load_space(request.space).labels
    with Progress(labels) as progress, Claim(folder.path) as claim:
        run = open_run(request, progress, claim)
        progress.note(headline(run.config))
        if objective := told_objective(run.config, run.costs):
            progress.note(objective)
        if request.storage:
            progress.note(str(run.study))
        carry_out(run)
        measure(run)
        write_report(folder.path)
    return summarise(folder.path)


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
    config = settle(request)
    check_duration(config.budget)
    data = load_data(config, download=request.download)
    run = in_time(costed(prepare(config, RunFolder(request.folder), data, Progress())))
    return describe_plan(run.config, estimate(run))
