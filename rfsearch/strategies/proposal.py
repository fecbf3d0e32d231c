"""What a sampling strategy proposes, and what it is told: plain numbers, no torch.

A proposer is a function of its seed and of what was said so far: what it was asked for and told,
in this order. It is never pickled: one that is to go on is made anew and lived through the same
talk again (`Talk.again`).
"""

from __future__ import annotations

from collections.abc import Mapping
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
class Proposal:
    """A network to try, and the proposer's ticket for what will be told of it."""

    ticket: int
    indices: Indices


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
        error: what broke, of one that failed by an exception.
    """

    indices: Indices
    state: State
    score: float | None = None
    cost: float | None = None
    reports: tuple[float, ...] = ()
    seconds: float = 0.0
    error: str = ""

    def to_plain(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        return {**vars(self), "indices": list(self.indices), "reports": list(self.reports)}

    @classmethod
    def from_plain(cls, record: dict[str, Any]) -> Tried:
        """The inverse of `to_plain`."""
        tuples = {name: tuple(record[name]) for name in ("indices", "reports")}
        return cls(**{**record, **tuples})


class Proposer(Protocol):
    """Ask for proposals, and tell of each what came of it; several may be open at a time."""

    stops_early: bool
    """Whether `report` is to be called after every epoch of a trial."""

    def ask(self) -> Proposal:
        """The next proposal."""

    def report(self, ticket: int, epoch: int, score: float) -> bool:
        """The score after an epoch, from 1; whether the trial is to stop here."""

    def tell(self, ticket: int, tried: Tried) -> None:
        """What came of a proposal, once."""


@dataclass(frozen=True)
class Said:
    """All that was said to a proposer, in its order: plain values.

    Attributes:
        asked: the networks proposed, each with the number of trials told before it was asked for.
        told: numbers of proposals and what came of them, in the order they were told.
    """

    asked: tuple[tuple[Indices, int], ...] = ()
    told: tuple[tuple[int, Tried], ...] = ()

    def to_plain(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        return {
            "asked": [[list(indices), before] for indices, before in self.asked],
            "told": [[number, tried.to_plain()] for number, tried in self.told],
        }

    @classmethod
    def from_plain(cls, record: Mapping[str, Any]) -> Said:
        """The inverse of `to_plain`."""
        asked = tuple((tuple(indices), before) for indices, before in record["asked"])
        return cls(asked, tuple((n, Tried.from_plain(tried)) for n, tried in record["told"]))


class Talk:
    """A proposer with what was said to it.

    Attributes:
        tried: what came of proposals, by their numbers from 0, in the order it was told.
        open: proposals of which nothing was told yet, by their numbers.
    """

    def __init__(self, proposer: Proposer) -> None:
        self.proposer = proposer
        self.tried: dict[int, Tried] = {}
        self.open: dict[int, Proposal] = {}
        self.asked: list[tuple[Indices, int]] = []

    def ask(self) -> int:
        """The number of the next proposal, which is open from now on."""
        number, proposal = len(self.asked), self.proposer.ask()
        self.asked.append((proposal.indices, len(self.tried)))
        self.open[number] = proposal
        return number

    def tell(self, number: int, tried: Tried) -> None:
        """What came of an open proposal, with its reports."""
        ticket = self.open.pop(number).ticket
        for epoch, score in enumerate(tried.reports, 1):
            self.proposer.report(ticket, epoch, score)
        self.proposer.tell(ticket, tried)
        self.tried[number] = tried

    @property
    def said(self) -> Said:
        """All of it, to be lived through again."""
        return Said(tuple(self.asked), tuple(self.tried.items()))

    @classmethod
    def again(cls, proposer: Proposer, said: Said) -> Talk:
        """Bring a new proposer to where one stood to which the same was said."""
        talk, told = cls(proposer), iter(said.told)
        for number, (indices, before) in enumerate(said.asked):
            while len(talk.tried) < before:
                talk.tell(*next(told))
            talk.ask()
            if talk.open[number].indices != indices:
                raise UserError(
                    f"trial {number} was {list(indices)} and would now be "
                    f"{list(talk.open[number].indices)}: another version of a library draws "
                    "otherwise; begin a new run"
                )
        for number, tried in told:
            talk.tell(number, tried)
        return talk


def best(tried: Mapping[int, Tried]) -> int | None:
    """The number of the trial with the highest score, of equals the first; None without any.

    >>> best({0: Tried((0,), "failed"), 1: Tried((1,), "complete", 0.5)})
    1
    """
    scores = [(one.score, -number) for number, one in tried.items()
              if one.state == "complete" and one.score is not None]  # fmt: skip
    return -max(scores)[1] if scores else None
