"""The null control of a budget: how far the top-two gap wanders when alpha learns nothing.

Each slot's alpha gradient is multiplied by a random sign at every step, so that its mean is zero
and its size is kept. What the gap then does is what chance does under the same plan. The curves
are made once per budget and packaged; a budget, backbone or space without them has no null, and
the page says so instead of drawing a neighbour's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from rfsearch.errors import UserError

CURVES = Path(__file__).with_name("null_curves.csv")
COLUMNS = ["budget", "backbone", "space", "seed", "epoch", "alpha_steps", "slot", "gap", "frozen"]
LOW, HIGH = 0.05, 0.95


@dataclass(frozen=True)
class Band:
    """Quantiles of the gap over slots and seeds after each epoch, over cumulative alpha steps."""

    alpha_steps: tuple[int, ...]
    low: tuple[float, ...]
    median: tuple[float, ...]
    high: tuple[float, ...]
    largest: tuple[float, ...]
    num_seeds: int
    num_slots: int
    frozen_share: float

    def high_at(self, alpha_steps: float) -> float:
        """The upper quantile at a step, taken from the last epoch at or before it."""
        value = self.high[0]
        for step, high in zip(self.alpha_steps, self.high, strict=True):
            if step <= alpha_steps:
                value = high
        return value


def band(budget: str, backbone: str, space: str, curves: Path = CURVES) -> Band | None:
    """The null band of one budget, or None where nobody has measured it."""
    if not curves.is_file():
        return None
    frame = pd.read_csv(curves)
    missing = [column for column in COLUMNS if column not in frame.columns]
    if missing:
        raise UserError(f"{str(curves)!r} lacks the columns {', '.join(missing)}")
    wanted = (
        (frame["budget"] == budget) & (frame["backbone"] == backbone) & (frame["space"] == space)
    )
    return _band(frame[wanted]) if wanted.any() else None


def _band(frame: pd.DataFrame) -> Band:
    epochs = frame.groupby("epoch")
    gaps = epochs["gap"]
    last = frame[frame["epoch"] == frame["epoch"].max()]
    return Band(
        alpha_steps=tuple(int(step) for step in epochs["alpha_steps"].median()),
        low=tuple(float(value) for value in gaps.quantile(LOW)),
        median=tuple(float(value) for value in gaps.median()),
        high=tuple(float(value) for value in gaps.quantile(HIGH)),
        largest=tuple(float(value) for value in gaps.max()),
        num_seeds=int(frame["seed"].nunique()),
        num_slots=int(frame["slot"].nunique()),
        frozen_share=float(last["frozen"].mean()),
    )
