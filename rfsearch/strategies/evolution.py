"""Regularised evolution (Real et al., arXiv 1802.01548): the oldest dies, not the worst."""

from __future__ import annotations

import numpy as np

from rfsearch.seeds import numbers
from rfsearch.strategies.optuna_samplers import SamplingSettings
from rfsearch.strategies.proposal import Indices, Proposal, Shape, Tried


class Evolution:
    """Mutate one slot of the best of a few drawn from the youngest completed trials.

    The paper's: tournament, mutation of one choice, removal by age. Ours: no crossover and no
    hidden states to mutate, for a slot holds one operator.
    """

    stops_early = False

    def __init__(self, shape: Shape, settings: SamplingSettings, seed: int) -> None:
        self.shape, self.settings, self.seed = shape, settings, seed
        self.told: list[Tried] = []
        self.asked = 0

    def ask(self) -> Proposal:
        """Random until the population is full; then a child of a tournament's winner."""
        self.asked += 1
        ticket = self.asked - 1
        return Proposal(ticket, self._drawn(numbers(self.seed, "ask", ticket)))

    def _drawn(self, rng: np.random.Generator) -> Indices:
        alive = [t for t in self.told if t.state == "complete"][-self.settings.population :]
        num_slots, num_operators = len(self.shape.slots), self.shape.num_operators
        if len(alive) < self.settings.population or num_operators < 2:
            return tuple(rng.integers(num_operators, size=num_slots).tolist())
        drawn = rng.choice(len(alive), min(self.settings.tournament, len(alive)), replace=False)
        parent = max((alive[i] for i in drawn), key=lambda tried: tried.score or 0.0).indices
        slot = int(rng.integers(num_slots))
        other = (parent[slot] + 1 + int(rng.integers(num_operators - 1))) % num_operators
        return (*parent[:slot], other, *parent[slot + 1 :])

    def report(self, ticket: int, epoch: int, score: float) -> bool:
        """Nothing is stopped early."""
        del ticket, epoch, score
        return False

    def tell(self, ticket: int, tried: Tried) -> None:
        """Remember it, as the youngest."""
        del ticket
        self.told.append(tried)
