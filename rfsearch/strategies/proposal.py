"""What a sampling strategy proposes, and what it is told: plain numbers, no torch.

A proposer is a function of its seed and of what it was told so far. It is never pickled: one that
is to go on is made anew and lived through its history again (`replay`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from rfsearch.errors import UserError
from rfsearch.trials.trial import State

Indices = tuple[int, ...]
"""One operator of the space per slot, in network order."""


@dataclass(frozen=True)
class Shape:
    """What is searched: slot names in network order, and how many operators each may hold."""

    slots: tuple[str, ...]
    num_operators: int


@dataclass(frozen=True)
class Tried:
    """One proposal and what came of it.

    Attributes:
        indices: what was proposed.
        state: ``complete`` has a score; ``pruned`` was stopped early; ``failed`` broke.
        score: the metric on the selection split, in [0, 1], to be maximised.
        cost: a second number, to be minimised, for strategies that take one.
        reports: the score after each epoch, for strategies that stop trials early.
        seconds: what it took.
    """

    indices: Indices
    state: State
    score: float | None = None
    cost: float | None = None
    reports: tuple[float, ...] = ()
    seconds: float = 0.0

    def to_plain(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        return {**vars(self), "indices": list(self.indices), "reports": list(self.reports)}

    @classmethod
    def from_plain(cls, record: dict[str, Any]) -> Tried:
        """The inverse of `to_plain`."""
        tuples = {name: tuple(record[name]) for name in ("indices", "reports")}
        return cls(**{**record, **tuples})


class Proposer(Protocol):
    """Ask for the next proposal, tell what came of it, by turns."""

    stops_early: bool
    """Whether `report` is to be called after every epoch of a trial."""

    def ask(self) -> Indices:
        """The next proposal."""

    def report(self, epoch: int, score: float) -> bool:
        """The score after an epoch, from 1; whether the trial is to stop here."""

    def tell(self, tried: Tried) -> None:
        """What came of the proposal asked for last."""


def replay(proposer: Proposer, history: Iterable[Tried]) -> None:
    """Bring a new proposer to where one stood that saw ``history``."""
    for number, tried in enumerate(history):
        asked = proposer.ask()
        if asked != tried.indices:
            raise UserError(
                f"trial {number} was {list(tried.indices)} and would now be {list(asked)}: "
                "another version of a library draws otherwise; begin a new run"
            )
        for epoch, score in enumerate(tried.reports, 1):
            proposer.report(epoch, score)
        proposer.tell(tried)


def best(history: Iterable[Tried]) -> int | None:
    """The number of the trial with the highest score, of equals the first; None without any.

    >>> best([Tried((0,), "failed"), Tried((1,), "complete", 0.5), Tried((2,), "complete", 0.5)])
    1
    """
    scores = [(t.score, -n) for n, t in enumerate(history)
              if t.state == "complete" and t.score is not None]  # fmt: skip
    return -max(scores)[1] if scores else None
