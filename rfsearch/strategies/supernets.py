"""Strategies that train a supernet first: PMPL, DARTS, random search with shared weights."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from torch import nn

from rfsearch.backbones.supernet import Supernet
from rfsearch.seeds import numbers, stream
from rfsearch.spaces import Choice
from rfsearch.strategies.pmpl_search import PMPLSearch
from rfsearch.strategies.proposal import Indices, Tried, best
from rfsearch.strategies.task import Task
from rfsearch.strategies.within import ASKS, HeldPMPL
from rfsearch.training.batches import epoch_batches
from rfsearch.training.fit import Descent, Tick, silent
from rfsearch.training.randomness import seeded
from rfsearch.training.statistics import SCORED, settled
from rfsearch.training.tally import Tally


def scorable(task: Task, supernet: Supernet, seed: int) -> nn.Module:
    """The network that a supernet keeps, with statistics of its own, to be scored."""
    size = task.recipe.batch_size
    return settled(
        supernet.extract(), task.splits.weights, task.augmentation, size, seed, most=SCORED
    )


def pmpl(task: Task) -> PMPLSearch | HeldPMPL:
    """Progressive Meta-Pooling Learning."""
    search = PMPLSearch(
        task.supernet(),
        task.splits,
        task.augmentation,
        task.recipe,
        task.pmpl,
        task.stages,
        seed=task.search_seed,
        fabric=task.fabric,
    )
    if not task.caps.limits or task.costs is None:
        return search
    return HeldPMPL(search, task.caps, task.costs)


class RandomShared:
    """Random search with shared weights (Li & Talwalkar, arXiv 1902.07638).

    One uniformly drawn network a step trains the supernet's weights; then networks are drawn and
    scored on the selection split by these weights, BatchNorm's statistics estimated again.
    """

    def __init__(self, task: Task) -> None:
        self.task, self.seed, self.epoch = task, task.search_seed, 0
        self.network_of_all = task.supernet()
        self.tried: dict[int, Tried] = {}
        self.tally = Tally()
        size = task.recipe.batch_size
        self.steps = len(task.splits.weights) // size
        weights = self.network_of_all.weights()
        total = task.stages.epochs * self.steps
        self.descent = Descent(
            self.network_of_all,
            weights,
            task.recipe,
            total,
            task.fabric,
            task.splits.weights.labels,
            drawn=True,
        )

    @property
    def epochs(self) -> int:
        """Epochs of training, and one for every network that is scored."""
        return self.task.stages.epochs + self.task.trials

    @property
    def finished(self) -> bool:
        """Whether all networks are scored."""
        return self.epoch >= self.epochs

    def advance(self, tick: Tick = silent) -> dict[str, Any]:
        """Train one epoch or score one network, and tell of it (a line of history.jsonl)."""
        began = time.perf_counter()
        training = self.epoch < self.task.stages.epochs
        told = self._train(tick) if training else self.score_one()
        self.epoch += 1
        seconds = time.perf_counter() - began
        if self.tried and not training:
            number = len(self.tried) - 1
            self.tried[number] = replace(self.tried[number], seconds=seconds)
        steps = self.steps if training else 1
        head = {"phase": "search", "epoch": self.epoch, "epochs": self.epochs}
        return {**head, **told, "seconds": seconds, "step_seconds": seconds / steps}

    def _train(self, tick: Tick) -> dict[str, Any]:
        self.network_of_all.train()
        tally, size = self.tally, self.task.recipe.batch_size
        tally.begin()
        with seeded(stream(self.seed, "epoch", self.epoch)) as generator:
            batches = epoch_batches(
                self.task.splits.weights,
                self.task.augmentation,
                size,
                generator,
                self.descent.shares,
            )
            for images, labels in tally.resumed(batches):
                self.keep(self._drawn("step", self.epoch, tally.step + 1))
                tally.add(*self.descent.step(images, labels))
                tick(tally.step, self.steps)
        self.tally = Tally()
        return {"stage": "shared", **tally.told(size)}

    def score_one(self) -> dict[str, Any]:
        """Draw the next network and score it; what a line of history.jsonl tells of it."""
        number = len(self.tried)
        indices = self._allowed(number)
        score = self.task.score(self._network(indices))
        self.tried[number] = Tried(indices, "complete", score)
        return {"stage": "scored", "loss": None, "accuracy": None, "score": score,
                "state": "complete"}  # fmt: skip

    def _drawn(self, *names: str | int) -> Indices:
        rng = numbers(self.seed, *names)
        shape = self.task.shape
        return tuple(rng.integers(shape.num_operators, size=len(shape.slots)).tolist())

    def _allowed(self, number: int) -> Indices:
        """A network within the caps: drawn until one is, the last one repaired."""
        caps, costs = self.task.caps, self.task.costs
        for attempt in range(ASKS):
            drawn = self._drawn("trial", number, attempt)
            if costs is None or caps.met(costs, drawn):
                return drawn
        return drawn if costs is None else caps.repair(costs, drawn)

    def keep(self, indices: Indices) -> None:
        """Run this network alone from now on."""
        kept = zip(self.task.slots, indices, strict=True)
        self.network_of_all.keep({slot: (index,) for slot, index in kept})

    def _network(self, indices: Indices) -> nn.Module:
        self.keep(indices)
        return scorable(self.task, self.network_of_all, stream(self.seed, "statistics"))

    def choices(self) -> tuple[Choice, ...]:
        """Of the network that scored highest."""
        return self.task.choices(self._best())

    def _best(self) -> Indices:
        number = best(self.tried)
        assert number is not None, "every network that is scored has a score"
        return self.tried[number].indices

    def network(self) -> nn.Module:
        """The found network with the shared weights."""
        return self._network(self._best())

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on: after an epoch or, inside ``tick``, after a step."""
        return {
            "epoch": self.epoch,
            "within": self.tally.state_dict(),
            "tried": [tried.to_plain() for tried in self.tried.values()],
            "network": self.network_of_all.state_dict(),
            **self.descent.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.epoch, self.tally = state["epoch"], Tally.of(state.get("within"))
        self.tried = dict(enumerate(map(Tried.from_plain, state["tried"])))
        self.network_of_all.load_state_dict(state["network"])
        self.descent.load_state_dict(state)
