"""Fashion-MNIST and CIFAR-10, read from their published files.

Both come in torchvision's layout below a root folder; CIFAR-10 also as sheets: images of 32×32
pixels stacked vertically in ``train_000.webp ...`` and ``test_000.webp ...`` beside
``train_labels.npy`` and ``test_labels.npy``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rfsearch.data.images import Dataset, resized
from rfsearch.data.request import Request, place
from rfsearch.data.splits import Collection, assemble, cut_three
from rfsearch.errors import UserError

CIFAR10 = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip


def default_root() -> Path:
    """Where data sets are looked for and downloaded to: $RFSEARCH_DATA, or ~/.cache/rfsearch."""
    return Path(os.environ.get("RFSEARCH_DATA") or Path.home() / ".cache" / "rfsearch")


def load_fashionmnist(request: Request) -> Dataset:
    """Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017): 28×28 grey, ten classes of clothing."""
    from torchvision.datasets import FashionMNIST  # slow to import

    root = _root(request)
    if root.name == FashionMNIST.__name__ and (root / "raw").is_dir():
        root = root.parent  # the set's own folder was named, not the one that holds it
    train, test = _opened("fashionmnist", FashionMNIST, root, request.download)
    parts = [
        _collection(part.data.unsqueeze(1), part.targets.numpy(), request)
        for part in (train, test)
    ]
    splits = cut_three(parts[0], parts[1], request)
    return assemble("fashionmnist", str(root), train.classes, True, splits)


def load_cifar10(request: Request) -> Dataset:
    """CIFAR-10 (Krizhevsky, 2009): 32×32 RGB, ten classes of animals and vehicles."""
    root = _root(request)
    if (root / "train_000.webp").is_file():
        arrays = [_sheets(root, part) for part in ("train", "test")]
    else:
        from torchvision.datasets import CIFAR10 as BATCHES  # slow to import

        parts = _opened("cifar10", BATCHES, root, request.download)
        arrays = [(part.data, np.asarray(part.targets)) for part in parts]
    train, test = (
        _collection(torch.from_numpy(pixels).permute(0, 3, 1, 2), labels, request)
        for pixels, labels in arrays
    )
    return assemble("cifar10", str(root), CIFAR10, True, cut_three(train, test, request))


def _root(request: Request) -> Path:
    return place(request.root) if request.root else default_root()


def _opened(name: str, kind: Callable[..., Any], root: Path, download: bool) -> tuple[Any, Any]:
    """torchvision's training and test set, or the user's mistake."""
    try:
        return (
            kind(str(root), train=True, download=download),
            kind(str(root), train=False, download=download),
        )
    # torchvision, where files are missing, broken or dangerous, or cannot be fetched or written
    except Exception as error:
        if download:
            raise UserError(f"{name} could not be downloaded to {root}: {error}") from error
        raise UserError(
            f"{name} is not in {root}, or broken there: add --download to fetch it, or say where "
            f"it is: --data {name}:ROOT, or the environment variable RFSEARCH_DATA"
        ) from error


def _collection(pixels: Tensor, labels: np.ndarray, request: Request) -> Collection:
    def read(index: np.ndarray) -> Tensor:
        return resized(pixels[torch.from_numpy(index)].contiguous(), request.image_size)

    return Collection(labels.astype(np.int64), read)


def _sheets(root: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """One part's pixels uint8 (N, 32, 32, 3) and labels (N,)."""
    from PIL import Image

    paths = sorted(root.glob(f"{part}_[0-9][0-9][0-9].webp"))
    try:
        labels = np.load(root / f"{part}_labels.npy", allow_pickle=False)
        sheets = []
        for path in paths:
            with Image.open(path, formats=["WEBP"]) as image:
                sheets.append(np.asarray(image.convert("RGB")).reshape(-1, 32, 32, 3))
    except (OSError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise UserError(f"cifar10: a sheet of {root} is missing or broken: {error}") from error
    pixels = np.concatenate(sheets) if sheets else np.empty((0, 32, 32, 3), np.uint8)
    if labels.shape != pixels.shape[:1] or not len(labels) or not 0 <= labels.max() < len(CIFAR10):
        raise UserError(
            f"cifar10: {root} has {len(pixels)} {part} images in {len(paths)} sheets, but "
            f"{part}_labels.npy is no list of that many labels 0..9"
        )
    return pixels, labels
