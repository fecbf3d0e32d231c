"""What a run will cost, from real steps timed on this machine."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

from rfsearch.engine.measure import peak_memory
from rfsearch.engine.pace import long, pace, seconds_a_step
from rfsearch.engine.plan import Plan
from rfsearch.engine.run import (
    Run,
    describe,
    new_search,
    new_task,
    new_training,
    search_units,
)
from rfsearch.engine.threads import half, threads
from rfsearch.spaces import Architecture
from rfsearch.strategies import Strategy
from rfsearch.strategies.nni_oneshot import OneShot
from rfsearch.strategies.pmpl_search import PMPLSearch
from rfsearch.strategies.sampled import Sampled
from rfsearch.strategies.shortlist import Shortlist
from rfsearch.strategies.within import HeldPMPL
from rfsearch.training.processes import precision_of

FIXED_SECONDS = 20.0
"""Imports, data, measuring and the report; stated, not timed."""


@dataclass(frozen=True)
class Phase:
    """One phase: its epochs and steps, and the seconds it is expected to take."""

    name: str
    epochs: int
    steps: int
    seconds: float


@dataclass(frozen=True)
class Estimate:
    """All phases, those of retraining one after the other or side by side; peak memory so far in
    bytes, and bytes on disk."""

    phases: tuple[Phase, ...]
    alpha_steps: int
    memory: int
    disk: int
    side_by_side: bool = False
    precision: str = "float32"

    @property
    def seconds(self) -> float:
        """From start to report."""
        search, *retrainings = (phase.seconds for phase in self.phases)
        together = max if self.side_by_side else sum
        return FIXED_SECONDS + search + together(retrainings)


def estimate(run: Run) -> Estimate:
    """Time a few real steps of every phase; the run folder is not touched.

    The search is timed with all its slots open: freezing makes it faster than this.
    """
    plan, seconds = run.config.plan, pace(run).seconds(run.config.plan)
    steps, alpha_steps, params = sizes(run)
    phases = [Phase("search", search_units(run.config), steps, seconds)]
    with threads(half()) if run.side_by_side else nullcontext():
        phases += _retrainings(long(run), plan)
    disk = 6 * 4 * params
    return Estimate(tuple(phases), alpha_steps, peak_memory(), disk, run.side_by_side,
                    precision_of(run.fabric))  # fmt: skip


def sizes(run: Run) -> tuple[int, int, int]:
    """Steps of the search, those on alpha, and parameters of what it keeps in checkpoints."""
    plan, searching = run.config.plan, new_search(run)
    trial_steps = _trial_steps(searching, plan)
    if isinstance(searching, HeldPMPL | Shortlist):
        searching = searching.search
    if isinstance(searching, PMPLSearch):
        steps = searching.alternation.steps
        alpha_steps = plan.search_epochs * -(-steps // searching.settings.alpha_every)
        params = sum(p.numel() for p in searching.supernet.parameters())
        return plan.supernet_epochs * steps + trial_steps, alpha_steps, params
    if isinstance(searching, OneShot):
        steps = searching.steps
        alpha_steps = (plan.supernet_epochs - plan.warmup_epochs) * steps
        params = sum(p.numel() for p in searching.supernet.parameters())
        return plan.supernet_epochs * steps, alpha_steps, params
    task = searching.task  # type: ignore[attr-defined]
    params = sum(p.numel() for p in task.network(task.choices(task.filled), 0).parameters())
    if isinstance(searching, Sampled):
        return trial_steps, 0, params
    return plan.supernet_epochs * searching.steps, 0, 8 * params  # type: ignore[attr-defined]


def _trial_steps(searching: Strategy, plan: Plan) -> int:
    """Of all cheap trainings of a strategy; 0 where it has none."""
    if isinstance(searching, Shortlist):
        searching = searching.new_trials(searching.task.filled)
    if not isinstance(searching, Sampled):
        return 0
    steps = len(searching.images) // searching.task.recipe.batch_size
    return plan.trials * plan.proxy_epochs * steps


def _retrainings(run: Run, plan: Plan) -> list[Phase]:
    architecture = _dear(run)
    phases = []
    for kind in ("found", "plain"):
        training = new_training(run, kind, 0, architecture)
        size = training.descent.recipe.batch_size
        step = seconds_a_step(training.descent.step, run, training.images, size)
        epochs = plan.retrain_epochs * plan.retrain_seeds
        steps = epochs * training.steps
        phases.append(Phase(kind, epochs, steps, steps * step))
    return phases


def _dear(run: Run) -> Architecture:
    """A network of the space without an empty slot, where the space has another operator."""
    task = new_task(run)
    return describe(run, task.choices(task.filled))
