"""When a slot has made up its mind: pure functions of numbers (PMPL 1.3, guards ours).

    gap      p₍₁₎ − p₍₂₎, the lead of the winner over the second
    freeze   when the gap of the averaged p has been ≥ τ, with the same winner, `patience` α steps
             in a row; the one that is frozen is the arg-max

The authors' code freezes candidate number "gap ≥ τ", which is number one whatever α says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

Probabilities = tuple[float, ...]


@dataclass(frozen=True)
class Watch:
    """What is remembered of one slot between α steps.

    Attributes:
        average: exponential average of p, (K,); empty before the first step.
        winner: arg-max of the average.
        streak: α steps in a row in which this winner has led by τ or more.
    """

    average: Probabilities = ()
    winner: int = 0
    streak: int = 0


def ranked(p: Sequence[float]) -> list[int]:
    """Candidates from the largest p to the smallest; of equals the earlier first.

    >>> ranked([0.2, 0.5, 0.3])
    [1, 2, 0]
    """
    return sorted(range(len(p)), key=lambda k: (-p[k], k))


def gap(p: Sequence[float]) -> float:
    """The lead of the winner over the second; 1 where there is one candidate only.

    >>> gap([0.25, 0.5, 0.25])
    0.25
    """
    if len(p) == 1:
        return 1.0
    first, second = ranked(p)[:2]
    return p[first] - p[second]


def settled(p: Sequence[float], threshold: float) -> int | None:
    """The winner, where it leads by ``threshold`` or more.

    >>> settled([0.1, 0.6, 0.3], 0.2), settled([0.4, 0.35, 0.25], 0.2)
    (1, None)
    """
    return ranked(p)[0] if gap(p) >= threshold else None


def observe(watch: Watch, p: Sequence[float], average: float, threshold: float) -> Watch:
    """The watch after one more α step; ``average`` in [0, 1) is the weight of the past."""
    past = watch.average or tuple(p)
    mean = tuple(average * old + (1 - average) * new for old, new in zip(past, p, strict=True))
    winner = settled(mean, threshold)
    if winner is None:
        return Watch(mean, ranked(mean)[0], 0)
    streak = watch.streak + 1 if winner == watch.winner else 1
    return replace(watch, average=mean, winner=winner, streak=streak)


def at_deadline(p: Sequence[float], deadline: str) -> tuple[int, ...]:
    """What an open slot keeps when time is up: the winner, or PMPL's unweighted top two.

    A pair stands in the order of the space, as the study names it.

    >>> at_deadline([0.2, 0.5, 0.3], "argmax"), at_deadline([0.2, 0.5, 0.3], "pair")
    ((1,), (1, 2))
    """
    return tuple(sorted(ranked(p)[: 2 if deadline == "pair" else 1]))


def unless_ahead(p: Sequence[float], plain: int, threshold: float) -> tuple[int, ...]:
    """The winner where it leads the plain operator by ``threshold`` or more, else that one (ours).

    >>> unless_ahead([0.2, 0.5, 0.3], 0, 0.2), unless_ahead([0.3, 0.45, 0.25], 0, 0.2)
    ((1,), (0,))
    """
    winner = ranked(p)[0]
    return (winner if p[winner] - p[plain] >= threshold else plain,)
