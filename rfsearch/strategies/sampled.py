"""Strategies that sample: propose a network, train it cheaply, score it, tell, propose again."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from rfsearch.data.images import Images
from rfsearch.errors import UserError
from rfsearch.seeds import stream
from rfsearch.spaces import Choice
from rfsearch.strategies.costs import CostTable
from rfsearch.strategies.proposal import Indices, Proposer, Tried, best, replay
from rfsearch.strategies.proposers import PROPOSERS
from rfsearch.strategies.task import Task
from rfsearch.strategies.within import Within
from rfsearch.training.fit import Fit, NotFinite, Tick, silent


class Sampled:
    """One search by trials; `advance` makes one of them.

    A trial trains on the proxy's images (of the weights and alpha splits) for the proxy's epochs
    and is scored on the selection split. Its weights and batches have a seed of their own, so
    that a network proposed twice is measured twice.

    Args:
        name: of the strategy, whose proposals stand in `PROPOSERS`.
    """

    def __init__(self, task: Task, name: str) -> None:
        self.task = task
        self.name = name
        self.proposer = self.new_proposer()
        self.images = proxy_images(task)
        self.tried: list[Tried] = []
        self.kept: dict[str, Any] = {}

    def new_proposer(self) -> Proposer:
        """One that has seen nothing, within the caps where there are any."""
        task = self.task
        proposer = PROPOSERS[self.name](task.shape, task.sampling, task.search_seed)
        if not task.caps.limits or task.costs is None:
            return proposer
        return Within(proposer, task.caps, task.costs)

    @property
    def epoch(self) -> int:
        """Trials that are done."""
        return len(self.tried)

    @property
    def finished(self) -> bool:
        """Whether all trials are done."""
        return self.epoch >= self.task.trials

    def advance(self, tick: Tick = silent) -> dict[str, Any]:
        """Make one trial and tell of it (a line of history.jsonl)."""
        began = time.perf_counter()
        number, indices = self.epoch, self.proposer.ask()
        network, lines, tried = self.evaluate(number, indices, tick)
        seconds = time.perf_counter() - began
        tried = replace(tried, seconds=seconds)
        self.proposer.tell(tried)
        self.tried.append(tried)
        if best(self.tried) == number:
            self.kept = {key: value.clone() for key, value in network.state_dict().items()}
        steps = len(lines) * (len(self.images) // self.task.recipe.batch_size)
        return {
            "phase": "search",
            "stage": "trial",
            "epoch": self.epoch,
            "epochs": self.task.trials,
            "loss": lines[-1]["loss"],
            "accuracy": lines[-1]["accuracy"],
            "state": tried.state,
            "score": tried.score,
            "trial_epochs": len(lines),
            "seconds": seconds,
            "step_seconds": seconds / steps,
        }

    def evaluate(
        self, number: int, indices: Indices, tick: Tick
    ) -> tuple[nn.Module, list[dict[str, Any]], Tried]:
        """Train and score one network: it, the lines of its epochs and what came of it."""
        fit = proxy_fit(self.task, indices, stream(self.task.search_seed, "trial", number))
        lines: list[dict[str, Any]] = []
        reports: list[float] = []
        cost = self._cost(indices)
        while not fit.finished:
            try:
                lines.append(fit.advance(tick))
            except NotFinite:
                lines.append({"loss": None, "accuracy": None})
                return fit.network, lines, Tried(indices, "failed", None, cost, tuple(reports))
            if self.proposer.stops_early:
                reports.append(self.task.score(fit.network))
                if self.proposer.report(len(lines), reports[-1]) and not fit.finished:
                    return fit.network, lines, Tried(indices, "pruned", None, cost, tuple(reports))
        score = self.task.score(fit.network)
        return fit.network, lines, Tried(indices, "complete", score, cost, tuple(reports))

    def _cost(self, indices: Indices) -> float | None:
        return None if self.task.costs is None else cost_of(self.task, indices)

    def choices(self) -> tuple[Choice, ...]:
        """Of the best trial."""
        return self.task.choices(self.tried[self._best()].indices)

    def _best(self) -> int:
        number = best(self.tried)
        if number is None:
            raise UserError(
                f"none of {len(self.tried)} trials was completed; try a smaller --set recipe.lr"
            )
        return number

    def network(self) -> nn.Module:
        """The network of the best trial with the weights of its cheap training."""
        network = self.task.network(self.choices(), 0)
        network.load_state_dict(self.kept)
        return network.eval()

    def state_dict(self) -> dict[str, Any]:
        """What was tried, and the weights of the best."""
        return {"tried": [tried.to_plain() for tried in self.tried], "network": self.kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Live through the history again."""
        self.tried = [Tried.from_plain(record) for record in state["tried"]]
        self.kept = state["network"]
        self.proposer = self.new_proposer()
        replay(self.proposer, self.tried)


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
