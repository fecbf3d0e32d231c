"""How much better one network is than another on the same test images, with an interval."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rfsearch.seeds import numbers

LEVEL = 0.95
RESAMPLES = 999
"""Draws of sources behind a bootstrap interval."""


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


def resampled_difference(
    figure: Callable[[npt.NDArray[Any], npt.NDArray[Any]], float],
    labels: npt.NDArray[np.int64],
    first: Sequence[npt.NDArray[Any]],
    second: Sequence[npt.NDArray[Any]],
    sources: npt.NDArray[np.int64],
) -> dict[str, Any]:
    """Difference of a figure that is no mean over images, first − second, with a percentile
    bootstrap interval: whole sources are drawn, the same ones for both networks.

    Args:
        figure: of labels (N,) and logits (N, classes).
        first, second: logits of every training.
        sources: (N,), the source each image was made from.
    """
    from scipy import stats

    names, inverse = np.unique(sources, return_inverse=True)
    images = np.split(np.argsort(inverse, kind="stable"), np.cumsum(np.bincount(inverse))[:-1])

    def gap(drawn: npt.NDArray[np.int64]) -> float:
        these = np.concatenate([images[source] for source in drawn])
        means = [np.mean([figure(labels[these], one[these]) for one in side])
                 for side in (first, second)]  # fmt: skip
        return float(means[0] - means[1])

    interval = [-1.0, 1.0]
    if len(names) > 1:
        found = stats.bootstrap(
            (np.arange(len(names)),), gap, vectorized=False, n_resamples=RESAMPLES,
            confidence_level=LEVEL, method="percentile", rng=numbers(0, "difference"),
        ).confidence_interval  # fmt: skip
        interval = [float(found.low), float(found.high)]
    return {
        "found_minus_plain": gap(np.arange(len(names))),
        "interval": interval,
        "level": LEVEL,
        "method": f"percentiles of {RESAMPLES} bootstrap draws of sources, paired",
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
