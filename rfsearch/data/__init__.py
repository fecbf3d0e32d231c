"""Data sets in memory, each cut into four disjoint splits: weights, alpha, selection, test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec

from rfsearch.data import digits, factory, folder, published, table, torchvision_sets
from rfsearch.data.augmentation import Augmentation, AugmentationSettings, Draws, normalise
from rfsearch.data.images import Dataset, Images, SearchSplits, join
from rfsearch.data.request import DigitsSettings, Request
from rfsearch.errors import UserError, unknown

__all__ = [
    "DATASETS",
    "Augmentation",
    "AugmentationSettings",
    "Dataset",
    "DigitsSettings",
    "Draws",
    "Images",
    "Request",
    "SearchSplits",
    "join",
    "load",
    "normalise",
]

DATASETS: dict[str, Callable[[Request], Dataset]] = {
    "digits": digits.load,
    "fashionmnist": published.load_fashionmnist,
    "cifar10": published.load_cifar10,
    "imagefolder": folder.load,
    "csv": table.load,
    "torchvision": torchvision_sets.load,
}


def load(
    spec: str,
    *,
    seed: int = 0,
    image_size: tuple[int, int] | None = None,
    images: int | None = None,
    test_images: int | None = None,
    download: bool = False,
    channels: int = 3,
    cache: int = 0,
    settings: DigitsSettings | None = None,
) -> Dataset:
    """The data set called ``spec``: ``NAME[:ROOT]``, ``imagefolder:PATH``, ``csv:FILE``,
    ``torchvision:NAME[:ROOT]`` or ``package.module:factory``.

    ``seed`` is the data seed: it cuts the splits and draws the digits, and stays the same while
    the seed of the search changes, so that all searches see the same images and test split.
    ``image_size`` (height, width) is the data set's own where None. ``images`` caps the weights
    and alpha splits together, and selection at a quarter of it; ``test_images`` the test split.
    ``channels`` is of image files: 3 colour, 1 grey; up to ``cache`` bytes of them are kept,
    decoded, for the next time.
    """
    name, colon, rest = spec.partition(":")
    request = Request(
        "", seed, image_size, images, test_images, download, channels, cache,
        settings or DigitsSettings(),
    )  # fmt: skip
    if name in DATASETS:
        return DATASETS[name](replace(request, root=rest))
    if colon and rest.isidentifier() and all(part.isidentifier() for part in name.split(".")):
        if "." in name or find_spec(name):
            return factory.load(spec, request)
        known = ", ".join(DATASETS)
        raise UserError(f"data {spec!r}: {name!r} is neither a data set ({known}) nor a module")
    raise unknown("data", name, [*DATASETS, "package.module:factory"])
