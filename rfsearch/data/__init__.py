"""Data sets in memory, each cut into four disjoint splits: weights, alpha, selection, test."""

from __future__ import annotations

from rfsearch.data import digits
from rfsearch.data.digits import DigitsSettings
from rfsearch.data.images import Dataset, Images, SearchSplits, join
from rfsearch.data.splits import Request
from rfsearch.errors import unknown

__all__ = ["DATASETS", "Dataset", "DigitsSettings", "Images", "SearchSplits", "join", "load"]

DATASETS = {
    "digits": digits.load,
}


def load(
    spec: str,
    *,
    seed: int = 0,
    image_size: tuple[int, int] | None = None,
    images: int | None = None,
    test_images: int | None = None,
    download: bool = False,
    settings: DigitsSettings | None = None,
) -> Dataset:
    """Load ``NAME[:ROOT]``."""
    name, _, root = spec.partition(":")
    if name not in DATASETS:
        raise unknown("data", name, DATASETS)
    return DATASETS[name](Request(root, seed, image_size, images, test_images, download), settings)
