"""PMPL, and then trials of the few networks that its α holds most probable.

α ranks networks far better than chance and far worse than trainings of their own do; so it writes
the list, and trials choose. What PMPL chose comes first, then the networks of one operator
everywhere, which a search has to beat, plain before all, and then the others by the product of
their operators' p. All of this is ours.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from itertools import cycle
from math import log
from typing import Any

from torch import nn

from rfsearch.backbones.supernet import Supernet
from rfsearch.spaces import Choice
from rfsearch.strategies.attempt import within_caps
from rfsearch.strategies.pmpl_search import PMPLSearch
from rfsearch.strategies.proposal import Indices, Proposal, Proposer, Tried
from rfsearch.strategies.sampled import Sampled
from rfsearch.strategies.supernets import pmpl
from rfsearch.strategies.task import Task
from rfsearch.training.fit import Tick, silent

NAME = "pmpl-trials"
UNIT = "epochs and trials"
"""What the lines of a search are counted in."""
SMALLEST = 1e-300
"""A p of 0 counts as this, so that networks which hold it are last and still have an order."""


def by_probability(p: Sequence[Sequence[float]]) -> Iterator[Indices]:
    """All networks, by the product of their operators' p, from the most probable on.

    Args:
        p: of every slot in network order, of every operator: shape (S, K).

    >>> list(by_probability([[0.7, 0.3], [0.4, 0.6]]))
    [(0, 1), (0, 0), (1, 1), (1, 0)]
    """
    orders = [sorted(range(len(row)), key=row.__getitem__, reverse=True) for row in p]
    logs = [
        [log(max(row[k], SMALLEST)) for k in order] for row, order in zip(p, orders, strict=True)
    ]
    heap: list[tuple[float, Indices]] = [(-sum(row[0] for row in logs), (0,) * len(logs))]
    while heap:
        cost, places = heapq.heappop(heap)
        yield tuple(order[place] for order, place in zip(orders, places, strict=True))
        # Each network is reached once: from the one whose last place above 0 is one lower.
        last = max((slot for slot, place in enumerate(places) if place), default=0)
        for slot in range(last, len(places)):
            place = places[slot]
            if place + 1 < len(logs[slot]):
                worse = cost + logs[slot][place] - logs[slot][place + 1]
                heapq.heappush(heap, (worse, (*places[:slot], place + 1, *places[slot + 1 :])))


def ranked(ahead: Sequence[Indices], p: Sequence[Sequence[float]]) -> Iterator[Indices]:
    """All networks: some that are told, in this order, and then the others by probability."""
    yield from ahead
    yield from (network for network in by_probability(p) if network not in ahead)


class Ranked:
    """A proposer of networks in the order of `ranked`, from the start again after the last."""

    stops_early = False

    def __init__(self, ahead: Sequence[Indices], p: Sequence[Sequence[float]]) -> None:
        self.left = enumerate(cycle(ranked(ahead, p)))

    def ask(self) -> Proposal:
        """The next one."""
        return Proposal(*next(self.left))

    def report(self, ticket: int, epoch: int, score: float) -> bool:
        """It goes on."""
        del ticket, epoch, score
        return False

    def tell(self, ticket: int, tried: Tried) -> None:
        """The order stands."""
        del ticket, tried


class RankedTrials(Sampled):
    """Trials in the order of `ranked`."""

    def __init__(self, task: Task, ahead: Sequence[Indices], p: Sequence[Sequence[float]]) -> None:
        self.ahead, self.p = ahead, p
        super().__init__(task, NAME)

    def new_proposer(self) -> Proposer:
        """From the first on."""
        return within_caps(Ranked(self.ahead, self.p), self.task)


class Shortlist:
    """One search: the epochs of PMPL, and then trials; `advance` tells of one of them.

    What is found is the network of the trial with the highest score.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.held = pmpl(task)
        self.trials: RankedTrials | None = None

    @property
    def search(self) -> PMPLSearch:
        """PMPL, whether caps hold it or not."""
        return self.held if isinstance(self.held, PMPLSearch) else self.held.search

    @property
    def supernet(self) -> Supernet:
        """PMPL's."""
        return self.search.supernet

    @property
    def tried(self) -> dict[int, Tried]:
        """Trials that are done, by number."""
        return self.trials.tried if self.trials else {}

    @property
    def epoch(self) -> int:
        """Epochs and trials that are done."""
        return self.task.stages.epochs + len(self.tried) if self.trials else self.held.epoch

    @property
    def finished(self) -> bool:
        """Whether all trials are done."""
        return len(self.tried) >= self.task.trials

    def advance(self, tick: Tick = silent) -> dict[str, Any]:
        """Search one epoch or make one trial, and tell of it (a line of history.jsonl)."""
        if self.trials is None and self.held.finished:
            self.trials = self.new_trials(
                tuple(mixture.kept[0] for mixture in self.supernet.mixtures.values())
            )
        told = (self.trials or self.held).advance(tick)
        whole = self.task.stages.epochs + self.task.trials
        return {**told, "epoch": self.epoch, "epochs": whole, "unit": UNIT}

    def new_trials(self, chosen: Indices) -> RankedTrials:
        """None made: of what PMPL has chosen, of one operator everywhere, and of what α holds most
        probable."""
        ahead = list(dict.fromkeys([chosen, *self.of_one_operator()]))
        return RankedTrials(self.task, ahead, list(self.search.pmpl.probabilities.values()))

    def of_one_operator(self) -> list[Indices]:
        """The networks of one operator everywhere, plain first where the space has it."""
        everywhere = [(k,) * len(self.task.slots) for k in range(self.task.shape.num_operators)]
        return sorted(everywhere, key=lambda one: not self.task.choices(one)[0].is_plain)

    def choices(self) -> tuple[Choice, ...]:
        """Of the best trial."""
        assert self.trials is not None
        return self.trials.choices()

    def network(self) -> nn.Module:
        """The network of the best trial with the weights of its cheap training."""
        assert self.trials is not None
        return self.trials.network()

    def state_dict(self) -> dict[str, Any]:
        """PMPL's; of trials what they go by and what was said, for they need no supernet."""
        if self.trials is None:
            return {"pmpl": self.held.state_dict()}
        trials = self.trials
        return {"ahead": trials.ahead, "p": trials.p, "trials": trials.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        if "pmpl" in state:
            self.held.load_state_dict(state["pmpl"])
            return
        self.trials = RankedTrials(self.task, state["ahead"], state["p"])
        self.trials.load_state_dict(state["trials"])
