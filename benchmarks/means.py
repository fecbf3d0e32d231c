"""Means as pages tell them: with the standard deviation, or as a difference with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

Values = Sequence[float] | Any


def spread(values: Values, digits: int = 1) -> str:
    """Mean ± sd; of one value that; of none nothing."""
    if not len(values):
        return ""
    told = f"{np.mean(values):.{digits}f}"
    return f"{told} ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else told


def above(values: Values, others: Values) -> str:
    """How far a mean lies above another, with Welch's 95 % interval where both have more than one
    value; nothing where one has none."""
    if not min(len(values), len(others)):
        return ""
    mean = np.mean(values) - np.mean(others)
    if min(len(values), len(others)) < 2:
        return f"{mean:+.1f}"
    reach = stats.ttest_ind(values, others, equal_var=False).confidence_interval(0.95)
    return f"{mean:+.1f} ({reach.low:+.1f} to {reach.high:+.1f})"
