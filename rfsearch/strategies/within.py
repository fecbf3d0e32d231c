"""Searches under caps: sampled networks are rejected or repaired, supernets are penalised.

A supernet's α gets the gradient of a penalty on the expected cost, and what it derives is held to
the caps: where the choice breaks one, operators are exchanged by `Caps.repair` before the weights
adapt. Both are ours; the mean cost under p is what FBNet (arXiv 1812.03443) and ProxylessNAS
(arXiv 1812.00332) make differentiable too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from rfsearch.operators.mixture import Mixture
from rfsearch.spaces import Choice
from rfsearch.strategies.costs import Caps, CostTable
from rfsearch.strategies.pmpl_search import PMPLSearch
from rfsearch.strategies.proposal import Proposal, Proposer, Tried
from rfsearch.training.alternate import AlphaDescent, Objective
from rfsearch.training.fit import Tick, silent

ASKS = 100
"""Proposals over a cap that are rejected in a row before one is repaired."""
STRENGTH = 1.0
"""Weight of the penalty: the loss that being over a cap by its own size costs."""


class Within:
    """A proposer whose proposals keep the caps; the ones rejected are told as failed."""

    def __init__(self, proposer: Proposer, caps: Caps, costs: CostTable) -> None:
        self.proposer, self.caps, self.costs = proposer, caps, costs
        self.stops_early = proposer.stops_early

    def ask(self) -> Proposal:
        """The next proposal that keeps the caps, or the last one repaired."""
        for _ in range(ASKS):
            proposal = self.proposer.ask()
            if self.caps.met(self.costs, proposal.indices):
                return proposal
            self.proposer.tell(proposal.ticket, Tried(proposal.indices, "failed"))
        last = self.proposer.ask()
        return replace(last, indices=self.caps.repair(self.costs, last.indices))

    def report(self, ticket: int, epoch: int, score: float) -> bool:
        """Passed on."""
        return self.proposer.report(ticket, epoch, score)

    def tell(self, ticket: int, tried: Tried) -> None:
        """Passed on."""
        self.proposer.tell(ticket, tried)


class PenalisedDescent(AlphaDescent):
    """α also goes down the share by which the mean cost under p lies over a cap."""

    def __init__(self, plain: AlphaDescent, caps: Caps, costs: CostTable) -> None:
        self.supernet, self.optimizer = plain.supernet, plain.optimizer
        self.shares, self.norms = plain.shares, plain.norms
        self.caps, self.costs = caps, costs

    def loss(self, objective: Objective) -> Tensor:
        """The objective and the penalty."""
        return super().loss(objective) + STRENGTH * penalty(
            list(self.supernet.mixtures.values()), self.caps, self.costs
        )


def penalty(mixtures: Sequence[Mixture], caps: Caps, costs: CostTable) -> Tensor:
    """Σ over caps of max(0, E[cost] / cap − 1); a scalar.

    Args:
        mixtures: of the slots in network order.
    """
    total = torch.zeros(())
    for name, limit in caps.limits:
        cost = torch.tensor(costs.base[name])
        for mixture, row in zip(mixtures, costs.slots[name], strict=True):
            kept = [row[k] for k in mixture.kept]
            extra = torch.tensor(row, device=mixture.alpha.device)
            cost = cost + (sum(kept) if kept else (mixture.probabilities() * extra).sum())
        total = total + torch.relu(cost / limit - 1)
    return total


class HeldPMPL:
    """PMPL whose α is penalised and whose choice is held to the caps before it adapts."""

    def __init__(self, search: PMPLSearch, caps: Caps, costs: CostTable) -> None:
        self.search, self.caps, self.costs = search, caps, costs
        search.pmpl.alphas = PenalisedDescent(search.pmpl.alphas, caps, costs)

    @property
    def supernet(self) -> nn.Module:
        """The search's."""
        return self.search.supernet

    @property
    def epoch(self) -> int:
        """Epochs that are done."""
        return self.search.epoch

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return self.search.finished

    def advance(self, tick: Tick = silent) -> dict[str, Any]:
        """Search one epoch; when the last slot has been frozen, exchange what breaks a cap."""
        line = self.search.advance(tick)
        stages = self.search.stages
        if self.search.epoch != stages.warmup + stages.search:
            return line
        mixtures = self.search.supernet.mixtures
        chosen = tuple(mixture.kept[0] for mixture in mixtures.values())
        held = self.caps.repair(self.costs, chosen)
        changed = {
            slot: (new,)
            for slot, old, new in zip(mixtures, chosen, held, strict=True)
            if old != new
        }
        self.search.supernet.keep(changed)
        frozen = {slot: list(mixture.kept) for slot, mixture in mixtures.items()}
        return {**line, "frozen": frozen, "repaired": {s: list(k) for s, k in changed.items()}}

    def choices(self) -> tuple[Choice, ...]:
        """The search's, within the caps."""
        return self.search.choices()

    def network(self) -> nn.Module:
        """The search's."""
        return self.search.network()

    def state_dict(self) -> dict[str, Any]:
        """The search's."""
        return self.search.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The search's."""
        self.search.load_state_dict(state)
