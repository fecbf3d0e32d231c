"""Strategies that sample: propose networks, train them cheaply, score them, tell of them."""

from __future__ import annotations

from typing import Any

from torch import nn

from rfsearch.errors import UserError
from rfsearch.spaces import Choice
from rfsearch.strategies.attempt import (
    Executor,
    Inline,
    Job,
    Made,
    new_proposer,
    proxy_images,
)
from rfsearch.strategies.proposal import Proposer, Said, Talk, Tried, best
from rfsearch.strategies.task import Task
from rfsearch.training.fit import Tick, silent


class Sampled:
    """One search by trials; `advance` tells of one of them.

    Proposals are asked for in batches, each when all of the batch before were told, and told in
    the order of their numbers: what is found depends on the size of the batches, and not on where
    trials are made, nor on which ends first. An asynchronous search gives that up: it asks for a
    proposal whenever fewer than a batch are open, and tells what ends first.

    A trial trains on the proxy's images (of the weights and alpha splits) for the proxy's epochs
    and is scored on the selection split. Its weights and batches have a seed of their own, so
    that a network proposed twice is measured twice.

    Args:
        name: of the strategy, whose proposals stand in `PROPOSERS`.
    """

    def __init__(self, task: Task, name: str) -> None:
        self.task = task
        self.name = name
        self.talk = Talk(self.new_proposer())
        self.images = proxy_images(task)
        self.kept: dict[str, Any] = {}
        self.executor: Executor | None = None

    def new_proposer(self) -> Proposer:
        """One that has seen nothing."""
        return new_proposer(self.task, self.name)

    @property
    def tried(self) -> dict[int, Tried]:
        """Trials that are done, by number, in the order they were told."""
        return self.talk.tried

    @property
    def epoch(self) -> int:
        """How many trials are done."""
        return len(self.tried)

    @property
    def finished(self) -> bool:
        """Whether all trials are done."""
        return self.epoch >= self.task.trials

    def advance(self, tick: Tick = silent) -> dict[str, Any]:
        """Wait for one trial and tell of it (a line of history.jsonl)."""
        executor = self._begun()
        for number in self._asked():
            executor.submit(self._job(number))
        number, made = executor.take(None if self.task.asynchronous else min(self.talk.open), tick)
        self.talk.tell(number, made.tried)
        if best(self.tried) == number:
            assert made.weights is not None
            self.kept = made.weights()
        return self._line(number, made)

    def _begun(self) -> Executor:
        """The executor; what was open when the search was stopped is made again."""
        if self.executor is None:
            self.executor = (self.task.executor or Inline)(self.task, self.name)
            for number in self.talk.open:
                self.executor.submit(self._job(number))
        return self.executor

    def _asked(self) -> list[int]:
        """Numbers of the proposals that are due."""
        talk, task = self.talk, self.task
        if talk.open and not task.asynchronous:
            return []
        room = min(task.batch - len(talk.open), task.trials - len(talk.asked))
        return [talk.ask() for _ in range(room)]

    def _job(self, number: int) -> Job:
        """What was asked for after the trial is nothing to it."""
        indices, before = self.talk.asked[number]
        if not self.talk.proposer.stops_early:
            return Job(number, indices)
        told = tuple(self.talk.tried.items())[:before]
        return Job(number, indices, Said(tuple(self.talk.asked[: number + 1]), told))

    def _line(self, number: int, made: Made) -> dict[str, Any]:
        steps = len(made.lines) * (len(self.images) // self.task.recipe.batch_size)
        last: dict[str, Any] = made.lines[-1] if made.lines else {}
        where = {"node": made.node} if self.task.executor else {}
        return {
            "phase": "search",
            "stage": "trial",
            "epoch": self.epoch,
            "epochs": self.task.trials,
            "trial": number,
            "loss": last.get("loss"),
            "accuracy": last.get("accuracy"),
            "state": made.tried.state,
            "score": made.tried.score,
            "trial_epochs": len(made.lines),
            "seconds": made.tried.seconds,
            "step_seconds": made.tried.seconds / max(steps, 1),
            **where,
        }

    def choices(self) -> tuple[Choice, ...]:
        """Of the best trial."""
        return self.task.choices(self.tried[self._best()].indices)

    def _best(self) -> int:
        number = best(self.tried)
        if number is None:
            errors = [tried.error for tried in self.tried.values() if tried.error]
            told = f" ({errors[0]})" if errors else "; try a smaller --set recipe.lr"
            raise UserError(f"none of {len(self.tried)} trials was completed{told}")
        return number

    def network(self) -> nn.Module:
        """The network of the best trial with the weights of its cheap training."""
        network = self.task.network(self.choices(), 0)
        network.load_state_dict(self.kept)
        return network.eval()

    def state_dict(self) -> dict[str, Any]:
        """What was asked and told, and the weights of the best."""
        return {"said": self.talk.said.to_plain(), "network": self.kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Live through it again."""
        self.talk = Talk.again(self.new_proposer(), Said.from_plain(state["said"]))
        self.kept = state["network"]
        self.executor = None
