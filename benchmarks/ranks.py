"""Rank correlations of what is known before training with what training reaches."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

Numbers = NDArray[np.float64]


def tau(one: Numbers, other: Numbers) -> float:
    """Kendall's τ-b."""
    return float(kendalltau(one, other).statistic)


def partial(one: Numbers, other: Numbers, given: Numbers) -> float:
    """Kendall's partial τ of two given a third."""
    ab, ac, bc = tau(one, other), tau(one, given), tau(other, given)
    if abs(ac) > 1 - 1e-9:
        return float("nan")
    return float((ab - ac * bc) / np.sqrt((1 - ac**2) * (1 - bc**2)))
