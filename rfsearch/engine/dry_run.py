"""What a run will cost, from real steps timed on this machine."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from rfsearch.data.images import Images
from rfsearch.engine.measure import peak_memory
from rfsearch.engine.plan import Plan
from rfsearch.engine.run import Run, describe, new_search, new_training
from rfsearch.strategies.pmpl import PMPL
from rfsearch.training.batches import epoch_batches

STEPS = 4
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
    """All phases, peak memory so far in bytes, and bytes on disk."""

    phases: tuple[Phase, ...]
    alpha_steps: int
    memory: int
    disk: int

    @property
    def seconds(self) -> float:
        """From start to report."""
        return FIXED_SECONDS + sum(phase.seconds for phase in self.phases)


def estimate(run: Run) -> Estimate:
    """Time a few real steps of every phase; the run folder is not touched.

    The search is timed with all its slots open: freezing makes it faster than this.
    """
    plan, run = run.config.plan, _long(run)
    searching = new_search(run)
    assert isinstance(searching, PMPL)
    steps = searching.alternation.steps
    weight = _seconds_a_step(
        searching.descent.step, run, searching.splits.weights, searching.descent.recipe.batch_size
    )
    alpha = _seconds_a_step(
        searching.alphas.gradients, run, searching.splits.alpha, searching.settings.alpha_batch
    )
    alpha_steps = plan.search_epochs * -(-steps // searching.settings.alpha_every)
    searching.supernet.keep(dict.fromkeys(searching.supernet.slots, (1,)))
    disk = 6 * 4 * sum(p.numel() for p in searching.supernet.parameters())
    adapt_step = _seconds_a_step(
        searching.descent.step, run, searching.splits.weights, searching.descent.recipe.batch_size
    )
    mixing = (plan.warmup_epochs + plan.search_epochs) * steps
    seconds = mixing * weight + alpha_steps * alpha + plan.adapt_epochs * steps * adapt_step
    phases = [Phase("search", plan.supernet_epochs, plan.supernet_epochs * steps, seconds)]
    phases += _retrainings(run, searching, plan)
    return Estimate(tuple(phases), alpha_steps, peak_memory(), disk)


def _long(run: Run) -> Run:
    """The run with enough epochs that the schedules allow the steps that are timed."""
    plan = run.config.plan
    long = replace(
        plan,
        search_epochs=plan.search_epochs + 4 * STEPS,
        retrain_epochs=plan.retrain_epochs + 4 * STEPS,
    )
    return replace(run, config=replace(run.config, plan=long))


def _retrainings(run: Run, searching: PMPL, plan: Plan) -> list[Phase]:
    architecture = describe(run, searching.choices())
    phases = []
    for kind in ("found", "plain"):
        training = new_training(run, kind, 0, architecture)
        size = training.descent.recipe.batch_size
        step = _seconds_a_step(training.descent.step, run, training.images, size)
        epochs = plan.retrain_epochs * plan.retrain_seeds
        steps = epochs * training.steps
        phases.append(Phase(kind, epochs, steps, steps * step))
    return phases


def _seconds_a_step(
    step: Callable[[torch.Tensor, torch.Tensor], object], run: Run, images: Images, size: int
) -> float:
    batches = epoch_batches(images, run.augmentation, size, torch.Generator())
    seconds = []
    for batch in itertools.islice(itertools.cycle(batches), STEPS):
        began = time.perf_counter()
        step(*batch)
        seconds.append(time.perf_counter() - began)
    return sorted(seconds)[STEPS // 2 - 1]
