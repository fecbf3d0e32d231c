"""One trial: a network trained cheaply and scored. Where that happens is an executor's affair.

What comes of a trial is a function of its task and its job alone, so that it is the same in this
process and in any other.
"""

from __future__ import annotations

import platform
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from rfsearch.data.images import Images
from rfsearch.errors import UserError
from rfsearch.seeds import stream
from rfsearch.strategies.costs import CostTable
from rfsearch.strategies.proposal import Indices, Proposer, Said, Talk, Tried
from rfsearch.strategies.proposers import PROPOSERS
from rfsearch.strategies.within import Within
from rfsearch.training.fit import Fit, NotFinite, Tick

if TYPE_CHECKING:
    from rfsearch.strategies.task import Task

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Job:
    """One trial to make.

    Attributes:
        number: of the proposal; the trial's seeds derive from it.
        said: to the proposer when the trial was asked for, where it stops trials early: a trial is
            measured against those that were told by then, wherever it is made.
    """

    number: int
    indices: Indices
    said: Said | None = None


@dataclass(frozen=True)
class Made:
    """A trial that was made.

    Attributes:
        lines: one per epoch, as `Fit.advance` tells them.
        weights: gives those of the trained network, if it is wanted; None of one that broke.
        node: the machine it was made on.
    """

    tried: Tried
    lines: tuple[dict[str, Any], ...] = ()
    weights: Callable[[], Weights] | None = None
    node: str = ""


class Executor(Protocol):
    """Makes the trials of one search."""

    def submit(self, job: Job) -> None:
        """Make it when there is room."""

    def take(self, number: int | None, tick: Tick) -> tuple[int, Made]:
        """Wait for the trial of this number, of None for whichever is made first."""


class Inline:
    """Trials made here, one after the other, each when it is waited for."""

    def __init__(self, task: Task, name: str) -> None:
        self.task, self.name = task, name
        self.jobs: deque[Job] = deque()

    def submit(self, job: Job) -> None:
        """Into the queue."""
        self.jobs.append(job)

    def take(self, number: int | None, tick: Tick) -> tuple[int, Made]:
        """The first of the queue, which nobody can overtake."""
        job = self.jobs.popleft()
        assert number in (None, job.number)
        return job.number, attempt(self.task, self.name, job, tick)


def attempt(task: Task, name: str, job: Job, tick: Tick) -> Made:
    """Make one trial; one that breaks has failed, and the error is kept with it.

    A `UserError` is not the trial's: it would be the same in every one.
    """
    began, broke = time.perf_counter(), ""
    try:
        made = _made(task, name, job, tick)
    except UserError:
        raise
    except Exception as error:
        broke = f"{type(error).__name__}: {error}"
    if broke:
        torch.cuda.empty_cache()  # what the trial held is free by now, and others may have it
        made = failed(job, broke)
    seconds = time.perf_counter() - began
    return replace(made, tried=replace(made.tried, seconds=seconds))


def failed(job: Job, error: str) -> Made:
    """Of a trial that broke, with the first line of the error."""
    first = (error.strip().splitlines() or ["unknown"])[0]
    return Made(Tried(job.indices, "failed", error=first[:300]), node=platform.node())


def _made(task: Task, name: str, job: Job, tick: Tick) -> Made:
    fit = proxy_fit(task, job.indices, stream(task.search_seed, "trial", job.number))
    judge = None if job.said is None else Talk.again(new_proposer(task, name), job.said)
    lines: list[dict[str, Any]] = []
    reports: list[float] = []

    def end(state: Any, score: float | None = None, error: str = "") -> Made:
        cost = None if task.costs is None else cost_of(task, job.indices)
        tried = Tried(job.indices, state, score, cost, tuple(reports), error=error)
        return Made(tried, tuple(lines), lambda: _held(fit.network), platform.node())

    while not fit.finished:
        try:
            lines.append(fit.advance(tick))
        except NotFinite as error:
            return end("failed", error=str(error))
        if judge is not None:
            reports.append(task.score(fit.network))
            ticket = judge.open[job.number].ticket
            stops = judge.proposer.report(ticket, len(lines), reports[-1])
            if stops and not fit.finished:
                return end("pruned")
    return end("complete", task.score(fit.network))


def _held(network: nn.Module) -> Weights:
    return {key: value.clone() for key, value in network.state_dict().items()}


def new_proposer(task: Task, name: str) -> Proposer:
    """One that has seen nothing, within the caps where there are any."""
    return within_caps(PROPOSERS[name](task.shape, task.sampling, task.search_seed), task)


def within_caps(proposer: Proposer, task: Task) -> Proposer:
    """The proposer, held to the caps where there are any."""
    if not task.caps.limits or task.costs is None:
        return proposer
    return Within(proposer, task.caps, task.costs)


def proxy_images(task: Task) -> Images:
    """The proxy's share of the weights and alpha splits, the same in every trial and strategy."""
    images = task.splits.training()
    generator = torch.Generator().manual_seed(stream(0, "proxy"))
    order = torch.randperm(len(images), generator=generator)[: task.proxy.images]
    return images.take(order.to(images.labels.device))


def proxy_fit(task: Task, indices: Indices, seed: int) -> Fit:
    """The cheap training of one network at its start."""
    return Fit(
        task.network(task.choices(indices), stream(seed, "weights")),
        proxy_images(task),
        task.augmentation,
        task.recipe,
        epochs=task.proxy.epochs,
        seed=seed,
        fabric=task.fabric,
    )


def cost_of(task: Task, indices: Indices) -> float:
    """nsga2's second objective."""
    assert task.costs is not None
    return task.costs.total(objective(task.costs, task.sampling.cost), indices)


def objective(costs: CostTable, wanted: str) -> str:
    """The measure that is minimised beside the score: as set; auto takes the first of macs,
    latency (where the table has it) and window_ops in which networks of the space differ."""
    if wanted != "auto":
        return wanted
    known = [name for name in ("macs", "latency", "window_ops") if name in costs.slots]
    spread = [name for name in known if len(set(costs.range(name))) > 1]
    return (spread or known)[0]
