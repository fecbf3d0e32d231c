"""What a search costs: seconds of real steps timed here, and budgets made equal by them."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from rfsearch import strategies
from rfsearch.data.images import Images
from rfsearch.engine.plan import Plan, stretch
from rfsearch.engine.run import Run, new_search, new_task
from rfsearch.errors import UserError
from rfsearch.strategies.attempt import Job, attempt
from rfsearch.strategies.nni_oneshot import OneShot
from rfsearch.strategies.pmpl_search import PMPLSearch
from rfsearch.strategies.proposal import Proposer, Tried
from rfsearch.strategies.sampled import Sampled
from rfsearch.strategies.shortlist import Shortlist
from rfsearch.strategies.supernets import RandomShared
from rfsearch.strategies.within import HeldPMPL
from rfsearch.training.batches import epoch_batches
from rfsearch.training.fit import silent
from rfsearch.training.shares import shares_of

STEPS = 12
"""Steps that are timed, of which the middling one counts."""
TURNS = 3
"""Steps on the α of each slot that are timed, likewise."""
TRIALS = 3
"""Trials that are timed, likewise."""


@dataclass(frozen=True)
class Pace:
    """Expected seconds of a search: ``once``, and each of its trials."""

    once: float
    trial: float = 0.0

    def seconds(self, plan: Plan) -> float:
        """Of the search under this plan, whose epochs are those that were timed."""
        return self.once + plan.trials * self.trial


def seconds_a_step(
    step: Callable[[torch.Tensor, torch.Tensor], object], run: Run, images: Images, size: int,
    num: int = STEPS,
) -> float:  # fmt: skip
    """The middling one of so many steps on real batches."""
    shares = shares_of(run.fabric)
    batches = epoch_batches(images, run.augmentation, size, torch.Generator(), shares)
    seconds = []
    for batch in itertools.islice(itertools.cycle(batches), num):
        began = time.perf_counter()
        step(*batch)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def long(run: Run) -> Run:
    """The run with enough epochs that the schedules allow the steps that are timed."""
    plan = run.config.plan
    plan = replace(
        plan,
        search_epochs=plan.search_epochs + 4 * STEPS,
        retrain_epochs=plan.retrain_epochs + 4 * STEPS,
    )
    return replace(run, config=replace(run.config, plan=plan))


def pace(run: Run) -> Pace:
    """Time the pieces of the run's search; nothing is written."""
    searching, trial = new_search(long(run)), 0.0
    if isinstance(searching, Shortlist):
        trial = _sampled(searching.new_trials(searching.task.filled), run).trial
    if isinstance(searching, HeldPMPL | Shortlist):
        searching = searching.search
    if isinstance(searching, PMPLSearch):
        return Pace(supernet_seconds(searching, run), trial)
    if isinstance(searching, RandomShared):
        return _shared(searching, run)
    if isinstance(searching, OneShot):
        return _one_shot(searching, run)
    assert isinstance(searching, Sampled)
    return _sampled(searching, run)


def supernet_seconds(searching: PMPLSearch, run: Run) -> float:
    """All slots open: freezing makes the search faster than this."""
    plan, steps = run.config.plan, searching.alternation.steps
    size = searching.descent.recipe.batch_size
    warming = seconds_a_step(searching.descent.step, run, searching.splits.weights, size)
    searching.pmpl.set_blend(moving=True)
    weight = seconds_a_step(searching.descent.step, run, searching.splits.weights, size)
    alpha = _alpha_seconds(searching, run)
    masking = _masking_seconds(searching) if searching.settings.select == "masking" else 0.0
    filled = zip(searching.supernet.slots, new_task(run).filled, strict=True)
    searching.supernet.keep({slot: (index,) for slot, index in filled})
    adapt = seconds_a_step(searching.descent.step, run, searching.splits.weights, size)
    stages = zip(
        (plan.warmup_epochs, plan.search_epochs, plan.adapt_epochs),
        (warming, weight, adapt),
        strict=True,
    )
    alphas = plan.search_epochs * -(-steps // searching.settings.alpha_every)
    return sum(epochs * steps * each for epochs, each in stages) + alphas * alpha + masking


def _alpha_seconds(searching: PMPLSearch, run: Run) -> float:
    """Of a step on α; where one slot has its turn, the mean over the slots, for what comes before
    a slot is computed once (`training.prefix`)."""
    images, size = searching.splits.alpha, searching.settings.alpha_batch
    if searching.settings.relaxation == "mixed":
        return seconds_a_step(searching.alpha_gradients, run, images, size)

    def at(slot: str) -> Callable[[torch.Tensor, torch.Tensor], object]:
        return lambda *batch: searching.pmpl.alphas.alone(slot, searching.objective(*batch))

    slots = searching.supernet.open_slots
    return statistics.mean(seconds_a_step(at(slot), run, images, size, TURNS) for slot in slots)


def _masking_seconds(searching: PMPLSearch) -> float:
    """Of scoring the top two of every slot."""
    slot = next(iter(searching.supernet.slots))
    began = time.perf_counter()
    searching.loss_without(slot, 0)
    return 2 * len(searching.supernet.slots) * (time.perf_counter() - began)


def _sampled(searching: Sampled, run: Run) -> Pace:
    """A trial is asked for, trained and scored; successive halving ends most of them early."""
    task = new_task(run)
    searching.task = replace(task, proxy=replace(task.proxy, epochs=1))
    proposer, seconds = searching.new_proposer(), []
    for number in range(TRIALS):
        proposal = proposer.ask()
        made = attempt(searching.task, searching.name, Job(number, proposal.indices), silent)
        if made.tried.error:
            raise UserError(f"a trial that was timed broke: {made.tried.error}")
        seconds.append(made.tried.seconds)
        proposer.tell(proposal.ticket, made.tried)
    epoch = statistics.median(seconds)
    settings, epochs = searching.task.sampling, run.config.plan.proxy_epochs
    early = proposer.stops_early
    shares = expected_epochs(epochs, settings.reduction) if early else float(epochs)
    return Pace(0.0, epoch * shares + _ask_seconds(searching.new_proposer(), settings.startup + 3))


def expected_epochs(epochs: int, reduction: int) -> float:
    """Mean epochs of a trial when one in ``reduction`` passes each rung (1, r, r², … epochs).

    >>> expected_epochs(4, 3)
    1.777...
    """
    rungs = [reduction**k for k in range(epochs) if reduction**k < epochs]
    return sum(reduction ** -sum(rung < epoch for rung in rungs) for epoch in range(1, epochs + 1))


def _ask_seconds(proposer: Proposer, num: int) -> float:
    """Of a proposal once the model has begun, on made scores."""
    seconds = 0.0
    for number in range(num):
        began = time.perf_counter()
        asked = proposer.ask()
        tried = Tried(asked.indices, "complete", 0.5 + 0.01 * (number % 7), float(number))
        proposer.tell(asked.ticket, tried)
        seconds = time.perf_counter() - began
    return seconds


def _one_shot(searching: OneShot, run: Run) -> Pace:
    """Steps of the warm-up, and of the search, which goes on to the end."""
    plan = run.config.plan
    warming = searching.seconds_a_step(0, STEPS) if plan.warmup_epochs else 0.0
    moving = searching.seconds_a_step(plan.warmup_epochs, STEPS)
    rest = plan.supernet_epochs - plan.warmup_epochs
    return Pace(searching.steps * (plan.warmup_epochs * warming + rest * moving))


def _shared(searching: RandomShared, run: Run) -> Pace:
    size, splits = searching.task.recipe.batch_size, searching.task.splits
    searching.keep(searching.task.filled)
    step = seconds_a_step(searching.descent.step, run, splits.weights, size)
    began = time.perf_counter()
    searching.score_one()
    scoring = time.perf_counter() - began
    return Pace(run.config.plan.supernet_epochs * searching.steps * step, scoring)


def equal_budget(
    paces: dict[str, Pace],
    plans: dict[str, Plan],
    kinds: dict[str, str],
    least_trials: int,
    seconds: float | None = None,
) -> tuple[float, dict[str, Plan]]:
    """The seconds every search may cost, and the plans that spend them.

    Args:
        paces, plans, kinds: by arm; a kind is what `strategies.Entry.spends` says.
        least_trials: that every sampling arm must be able to complete.
        seconds: of one search where a duration was asked for; else the dearest supernet's, or
            enough for the least trials, whichever is more.
    """
    if seconds is None:
        supernets = [p.seconds(plans[a]) for a, p in paces.items() if kinds[a] != "trials"]
        sampled = [least_trials * p.trial for a, p in paces.items() if kinds[a] == "trials"]
        seconds = max([*supernets, *sampled])
    return seconds, {arm: _spending(seconds, paces[arm], plans[arm], kinds[arm]) for arm in paces}


def _spending(seconds: float, pace: Pace, plan: Plan, kind: str) -> Plan:
    if kind == "trials":
        return replace(plan, trials=max(1, int(seconds / pace.trial)))
    if kind == "both":  # as many times the plan's trials as its epochs
        plan = replace(plan, trials=max(1, int(plan.trials * seconds / pace.seconds(plan))))
        factor = (seconds - plan.trials * pace.trial) / pace.once
    else:
        factor = seconds / pace.once
    stretched = stretch(plan, max(factor, 0.0))
    return replace(stretched, retrain_epochs=plan.retrain_epochs)


def spends(strategy: str) -> str:
    """What the budget of a strategy counts."""
    return strategies.entry(strategy).spends
