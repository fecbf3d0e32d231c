"""One architecture with its measured score and cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from rfsearch.spaces import Architecture

State = Literal["complete", "pruned", "failed"]


@dataclass(frozen=True)
class Trial:
    """What was tried and what came of it.

    Args:
        number: its place in the run's order of proposals, from 0; a trial's identity.
        architecture: what was tried.
        score: the metric on the selection split, in [0, 1]; None where there is none.
        seconds: what it cost.
        state: ``complete`` has a score; ``pruned`` was stopped early; ``failed`` broke.
        attributes: more to keep with it, plain JSON values by name.
    """

    number: int
    architecture: Architecture
    score: float | None
    seconds: float
    state: State = "complete"
    attributes: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.score is not None and not math.isfinite(self.score):
            raise ValueError(f"trial {self.number}: the score is {self.score}; a failure has none")
        if self.state == "complete" and self.score is None:
            raise ValueError(f"trial {self.number} is complete but has no score")
