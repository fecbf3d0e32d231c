"""Whether the scores of a search's trials tell networks apart at all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rfsearch.reporting.quantities import exact

LEVEL = 0.95
FEWEST = 3
"""Trials of which a spread is told."""


@dataclass(frozen=True)
class TrialNoise:
    """Spread of the accuracies of one search's trials, as shares.

    Attributes:
        sd: of the scores.
        by_images: of equally good networks, each scored on its own draw of so many selection
            images: sqrt(p (1 − p) / n) at the mean score p.
        limit: what ``sd`` stays below in 95 of 100 such searches (χ², Cochran 1954). Ours: all
            trials see the same images, so equally good networks lie closer together still.
    """

    num: int
    images: int
    sd: float
    by_images: float
    limit: float

    @property
    def told_apart(self) -> bool:
        """Whether the networks differ by more than the draw of images explains."""
        return self.sd > self.limit

    @property
    def words(self) -> str:
        """Both spreads, for a sentence."""
        return (
            f"sd {100 * self.sd:.1f} points, where the draw of {exact(self.images)} selection "
            f"images alone gives equally good networks {100 * self.by_images:.1f}"
        )


def trial_noise(trials: pd.DataFrame, images: int) -> TrialNoise | None:
    """Of the complete trials, scored by accuracy on ``images`` images; None of too few."""
    scores = trials.loc[trials["state"] == "complete", "score"].dropna().to_numpy(float)
    return None if len(scores) < FEWEST else of_scores(scores.tolist(), images)


def of_scores(scores: Sequence[float], images: int) -> TrialNoise:
    """The same of the scores themselves.

    >>> of_scores([0.10, 0.12, 0.14], 200).told_apart, of_scores([0.2, 0.5, 0.8], 200).told_apart
    (False, True)
    """
    from scipy import stats

    values = np.asarray(scores, float)
    mean, free = float(values.mean()), len(values) - 1
    by_images = math.sqrt(max(0.0, mean * (1 - mean)) / images)
    limit = by_images * math.sqrt(float(stats.chi2.ppf(LEVEL, free)) / free)
    return TrialNoise(len(values), images, float(values.std(ddof=1)), by_images, limit)
