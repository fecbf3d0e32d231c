"""How long a run still takes: expected seconds of the phases, corrected by those measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

LATEST = 3
"""Epochs whose mean stands for the next ones: late in a search they are cheaper than early."""
SLOWEST = 5.0
"""A machine is taken to be at most this much slower or faster than expected."""


@dataclass
class Phase:
    """A stretch of a run: what was expected of it and what has been measured so far.

    ``done`` counts epochs (``unit`` has another word where they are trials), those of an earlier
    process included; ``measured`` has the seconds of the epochs this process has seen; ``beside``
    says that it goes on while another one does.
    """

    name: str
    expected: float | None
    num_epochs: int
    done: int = 0
    step: int = 0
    steps: int = 0
    measured: list[float] = field(default_factory=list)
    unit: str = "epochs"
    beside: bool = False

    @property
    def finished(self) -> bool:
        """Whether all its epochs are done; a phase without epochs ends when the next begins."""
        return 0 < self.num_epochs <= self.done

    @property
    def progress(self) -> float:
        """Epochs done, with the current one by its steps."""
        share = self.step / self.steps if self.steps else 0.0
        return min(self.done + share, float(max(self.num_epochs, self.done)))

    def left(self, pace: float = 1.0) -> float | None:
        """Seconds to its end: by its own latest epochs, else as expected times ``pace``."""
        if self.measured:
            latest = self.measured[-LATEST:]
            return (self.num_epochs - self.progress) * sum(latest) / len(latest)
        if self.expected is None:
            return None
        share = 1 - self.progress / self.num_epochs if self.num_epochs else 1.0
        return pace * share * self.expected


def pace(phases: Sequence[Phase]) -> float:
    """Measured seconds over expected ones, where both are known; 1 before anything is.

    >>> pace([Phase("search", 100.0, 4, measured=[50.0])])
    2.0
    """
    measured = expected = 0.0
    for phase in phases:
        if phase.expected is not None and phase.measured and phase.num_epochs:
            measured += sum(phase.measured)
            expected += phase.expected * len(phase.measured) / phase.num_epochs
    return min(max(measured / expected, 1 / SLOWEST), SLOWEST) if expected else 1.0


def left(phases: Sequence[Phase], current: int) -> tuple[float, bool]:
    """Seconds from here to the end of the run, and whether every phase had its part in it."""
    rate = pace(phases)
    parts = [(phase.beside, phase.left(rate)) for phase in phases[current:]]
    rest = sum(part or 0.0 for beside, part in parts[1:] if not beside)
    at_once = max(part or 0.0 for index, (beside, part) in enumerate(parts) if beside or not index)
    return at_once + rest, all(part is not None for _, part in parts)
