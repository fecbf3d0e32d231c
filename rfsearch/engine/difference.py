"""How much better one network is than another on the same test images, with an interval."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

LEVEL = 0.95


def paired_difference(
    first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_], sources: npt.NDArray[np.int64]
) -> dict[str, Any]:
    """Difference of accuracies, first − second, with a t interval over independent sources.

    Args:
        first, second: (seeds, N), whether image n was predicted right.
        sources: (N,), the source each image was made from. Images of one source are no
            independent trials, so each source counts once, with its mean.

    The interval speaks of other test sources for these very networks; another training seed
    moves both accuracies as well, which one seed cannot tell.
    """
    per_image = first.astype(float).mean(0) - second.astype(float).mean(0)
    names, inverse = np.unique(sources, return_inverse=True)
    counts = np.bincount(inverse)
    sums = np.bincount(inverse, weights=per_image)
    mean = float(per_image.mean())
    return {
        "found_minus_plain": mean,
        "interval": _interval(sums, counts, mean),
        "level": LEVEL,
        "method": "paired t interval of the ratio of sums, clustered by source",
        "sources": len(names),
        "seeds": len(first),
    }


def _interval(sums: npt.NDArray[Any], counts: npt.NDArray[Any], mean: float) -> list[float]:
    """t interval of Σ sums / Σ counts over clusters (linearised ratio estimator)."""
    from scipy import stats

    clusters = len(sums)
    if clusters < 2:
        return [-1.0, 1.0]
    residuals = (sums - mean * counts) / counts.mean()
    error = residuals.std(ddof=1) / np.sqrt(clusters)
    reach = float(stats.t.ppf((1 + LEVEL) / 2, clusters - 1) * error)
    return [mean - reach, mean + reach]
