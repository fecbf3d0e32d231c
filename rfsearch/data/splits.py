"""The one place where the four splits are cut: seeded, stratified, disjoint and hashed.

Everything rests on one *stratified order*: a permutation in which the classes are interleaved so
evenly that any stretch of it holds each class in its share. Splits are consecutive stretches, and
a smaller budget takes the beginning of a split, which is stratified again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rfsearch import seeds
from rfsearch.data.images import Dataset, Images, SearchSplits, measure
from rfsearch.data.request import Request
from rfsearch.errors import UserError

Indices = npt.NDArray[np.int64]

SPLITS = ("weights", "alpha", "selection", "test")
SOURCES = (0.30, 0.30, 0.15, 0.25)
"""Shares of the four splits where sources are few: handwritten digits, a folder without a test."""
TRAINING = (0.45, 0.45, 0.10)
"""Shares of weights, alpha and selection where the data set brings its own test split."""


@dataclass(frozen=True)
class Collection:
    """Images that are not read yet: ``labels`` (N,), and ``read`` from indices (M,) to pixels
    uint8 (M, C, H, W)."""

    labels: Indices
    read: Callable[[Indices], Tensor]


def stratified_order(labels: npt.ArrayLike, rng: np.random.Generator) -> Indices:
    """A permutation of the images in which every stretch holds each class in its share (ours).

    The r-th of the n shuffled members of a class stands at (r + 1/2) / n; ties are drawn.
    """
    classes = np.asarray(labels)
    place = np.empty(len(classes))
    for label in np.unique(classes):
        members = np.flatnonzero(classes == label)
        place[members] = (rng.permutation(len(members)) + 0.5) / len(members)
    return np.lexsort((rng.random(len(classes)), place)).astype(np.int64)


def cut(labels: npt.ArrayLike, shares: Sequence[float], rng: np.random.Generator) -> list[Indices]:
    """Disjoint stratified parts of the images in the given shares, together all of them.

    Each part is again in stratified order, so its beginning is a stratified sample of it.
    """
    order = stratified_order(labels, rng)
    bounds = np.rint(np.cumsum(shares) / np.sum(shares) * len(order)).astype(int)
    return list(np.split(order, bounds[:-1]))


def check_counts(name: str, classes: Sequence[str], labels: Indices, least: int) -> None:
    """Refuse a class with fewer than ``least`` images, one for each split cut from them."""
    counts = np.bincount(labels, minlength=len(classes)).tolist()
    few = [f"{label!r} ({n})" for label, n in zip(classes, counts, strict=True) if n < least]
    if few:
        raise UserError(
            f"{name}: {len(few)} of {len(classes)} classes have too few images to be split: "
            f"{', '.join(few[:3])}; each needs at least {least}"
        )


def cut_three(train: Collection, test: Collection, request: Request) -> dict[str, Images]:
    """The four splits where the test split is given: the other three are cut from ``train``."""
    rng = seeds.numbers(request.seed, "splits")
    parts = [*cut(train.labels, TRAINING, rng), stratified_order(test.labels, rng)]
    parts = _capped(parts, request)
    splits = _read(train, parts[:3])
    pixels, labels = test.read(parts[3]), torch.from_numpy(test.labels[parts[3]])
    sources = torch.from_numpy(parts[3] + len(train.labels))
    return dict(zip(SPLITS, [*splits, Images(pixels, labels, sources)], strict=True))


def cut_four(collection: Collection, request: Request) -> dict[str, Images]:
    """The four splits where no test split is given: all are cut from one collection."""
    rng = seeds.numbers(request.seed, "splits")
    parts = _capped(cut(collection.labels, SOURCES, rng), request)
    return dict(zip(SPLITS, _read(collection, parts), strict=True))


def _capped(parts: list[Indices], request: Request) -> list[Indices]:
    return [part[:limit] for part, limit in zip(parts, request.limits(), strict=True)]


def _read(collection: Collection, parts: list[Indices]) -> list[Images]:
    """All parts in one reading, each then copied into storage of its own."""
    index = np.concatenate(parts)
    pixels, labels = collection.read(index), torch.from_numpy(collection.labels[index])
    whole = Images(pixels, labels, torch.from_numpy(index))
    bounds = np.cumsum([0, *(len(part) for part in parts)])
    return [whole.take(torch.arange(int(start), int(stop))) for start, stop in pairwise(bounds)]


def assemble(
    name: str, root: str, classes: Sequence[str], flips: bool, splits: dict[str, Images]
) -> Dataset:
    """The data set of four splits, with its statistics and hashes."""
    weights, alpha, selection, test = (splits[split] for split in SPLITS)
    search = SearchSplits(weights, alpha, selection)
    training = search.training()
    _check_classes(name, classes, training)
    _check_channels(name, training, test)
    mean, std = measure(training.pixels)
    _, channels, height, width = weights.pixels.shape
    data_hash, split_hash = _hashes(splits)
    return Dataset(
        name=name,
        root=root,
        classes=tuple(classes),
        channels=channels,
        image_size=(height, width),
        mean=mean,
        std=std,
        flips=flips,
        search=search,
        test=test,
        data_hash=data_hash,
        split_hash=split_hash,
    )


def _check_classes(name: str, classes: Sequence[str], training: Images) -> None:
    counts = torch.bincount(training.labels, minlength=len(classes)).tolist()
    missing = [label for label, count in zip(classes, counts, strict=True) if not count]
    if missing:
        raise UserError(
            f"{name}: {len(missing)} of {len(classes)} classes have none of the {len(training)} "
            f"images to learn from ({', '.join(map(repr, missing[:3]))}); "
            "give each class more images, or allow more images"
        )


def _check_channels(name: str, training: Images, test: Images) -> None:
    channels = training.pixels.shape[1]
    if test.pixels.shape[1] != channels:
        raise UserError(
            f"{name}: test images have {test.pixels.shape[1]} channels, the others {channels}"
        )


def _hashes(splits: dict[str, Images]) -> tuple[str, str]:
    """sha256 of what the images are, and of which source is in which split."""
    data, sources = hashlib.sha256(), hashlib.sha256()
    for split in SPLITS:
        images = splits[split]
        head = f"{split} {tuple(images.pixels.shape)}".encode()
        data.update(head + images.pixels.contiguous().numpy().data)
        data.update(images.labels.numpy().astype("<i8").tobytes())
        sources.update(head + images.sources.numpy().astype("<i8").tobytes())
    return data.hexdigest(), sources.hexdigest()
