"""Data from a user's own function: ``package.module:factory``.

``factory()`` returns a pair (train, test) of torch data sets, or a mapping with these two and
``classes`` (names) or ``flips`` (whether a mirrored image keeps its label; no unless said).
Items are (image, label): a Pillow image; a tensor (C, H, W), uint8 or floats 0..1; a uint8 array
(C, H, W), (H, W, C) or (H, W); and a label 0..classes-1.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from rfsearch.data.folder import as_rgb
from rfsearch.data.images import Dataset, resized
from rfsearch.data.request import SMALLEST, Request
from rfsearch.data.splits import Collection, Indices, assemble, check_counts, cut_three
from rfsearch.errors import UserError

EXPECTED = (
    "a pair (train, test) of torch data sets, or a mapping with train, test "
    "and, if wanted, classes and flips"
)


def load(spec: str, request: Request) -> Dataset:
    """What the factory called ``spec`` ("package.module:factory") returns, cut into four splits;
    its test set stays the test split."""
    return assembled(spec, "", _called(spec, find(spec)), request)


def assembled(spec: str, root: str, returned: Any, request: Request) -> Dataset:
    """The data set of what a factory called ``spec`` returned."""
    made = _checked(spec, returned)
    parts = {name: _Part(spec, name, made[name]) for name in ("train", "test")}
    height, width = parts["train"].pixels(0).shape[1:]
    size = request.image_size or (height, width)
    classes = _classes(spec, made, parts)
    check_counts(spec, classes, parts["train"].labels, 3)
    train, test = (Collection(part.labels, part.reader(size)) for part in parts.values())
    splits = cut_three(train, test, request)
    return assemble(spec, root, classes, bool(made.get("flips", False)), splits)


def find(spec: str, what: str = "data") -> Callable[[], Any]:
    """The function called ``spec``; ``what`` it stands for is named in errors."""
    module_name, _, attribute = spec.partition(":")
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name + ".").startswith(error.name + "."):
            raise UserError(
                f"no module named {error.name!r} for {what} {spec!r}; it must be installed or lie "
                "in the current folder"
            ) from error
        raise UserError(f"importing {module_name} failed: {error}") from error
    except Exception as error:  # whatever the user's module does when imported
        raise UserError(f"importing {module_name} failed: {_told(error)}") from error
    if not callable(found := getattr(module, attribute, None)):
        it = "no function" if found is None else f"a {type(found).__name__}, no function,"
        raise UserError(f"module {module_name} has {it} called {attribute!r} for {what} {spec!r}")
    return found


def _called(spec: str, factory: Callable[[], Any]) -> Any:
    try:
        return factory()
    except Exception as error:  # whatever the user's function does
        raise UserError(f"{spec}() failed: {_told(error)}") from error


def _checked(spec: str, made: Any) -> Mapping[str, Any]:
    if isinstance(made, tuple | list) and len(made) == 2:
        made = {"train": made[0], "test": made[1]}
    if not isinstance(made, Mapping):
        raise UserError(f"{spec}() returned a {type(made).__name__}; expected {EXPECTED}")
    known = {"train", "test", "classes", "flips"}
    if not {"train", "test"} <= set(made) <= known:
        keys = ", ".join(map(str, made))
        raise UserError(f"{spec}() returned a mapping with {keys}; expected {EXPECTED}")
    return made


def _classes(spec: str, made: Mapping[str, Any], parts: dict[str, _Part]) -> list[str]:
    num = 1 + max(int(part.labels.max()) for part in parts.values())
    given = made.get("classes") or getattr(made["train"], "classes", None) or range(num)
    classes = [str(name) for name in given]
    if len(classes) < num or min(int(part.labels.min()) for part in parts.values()) < 0:
        raise UserError(f"{spec}: labels must be 0..{len(classes) - 1}, one per class")
    if len(classes) < 2:
        raise UserError(f"{spec}: there is one class; at least two are needed")
    return classes


class _Part:
    """One of the user's two data sets, with every mistake in it told by its name and index."""

    def __init__(self, spec: str, name: str, items: Any) -> None:
        self.where = f"{spec}: {name}"
        if not hasattr(items, "__len__") or not hasattr(items, "__getitem__"):
            raise UserError(
                f"{self.where} is a {type(items).__name__}, not a data set with a length"
            )
        if not len(items):
            raise UserError(f"{self.where} is empty")
        self.items = items
        self.labels = self._labels()

    def _labels(self) -> Indices:
        renamed = getattr(self.items, "target_transform", None)  # then items have other labels
        for attribute in ("targets", "labels"):  # torchvision's names: saves reading the images
            labels = np.asarray(getattr(self.items, attribute, None))
            if not renamed and labels.shape == (len(self.items),) and labels.dtype.kind in "iu":
                return labels.astype(np.int64)
        return np.array([self._item(i)[1] for i in range(len(self.items))], np.int64)

    def _item(self, index: int) -> tuple[Any, int]:
        try:
            image, label = self.items[index]
            return image, operator.index(label)
        except Exception as error:  # the user's data set, or not a pair, or not an integer
            raise UserError(
                f"{self.where}[{index}] is no pair of image and integer label: {_told(error)}"
            ) from error

    def pixels(self, index: int) -> Tensor:
        """Image ``index`` as uint8 (C, H, W)."""
        try:
            pixels = as_pixels(self._item(index)[0])
        except (ValueError, TypeError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{self.where}[{index}]: {error}") from error
        if min(pixels.shape[1:]) < SMALLEST:
            height, width = pixels.shape[1:]
            raise UserError(
                f"{self.where}[{index}] has {height}×{width} pixels; at least {SMALLEST} needed"
            )
        return pixels

    def reader(self, size: tuple[int, int]) -> Callable[[Indices], Tensor]:
        """A function that reads the images at some indices, uint8 (M, C, H, W)."""

        def read(index: Indices) -> Tensor:
            read = [resized(self.pixels(int(i)).unsqueeze(0), size) for i in index]
            if len(channels := {image.shape[1] for image in read}) > 1:
                raise UserError(f"{self.where}: images have {sorted(channels)} channels by turns")
            return torch.cat(read)

        return read


def as_pixels(image: Any) -> Tensor:
    """An image as a data set may yield it, as uint8 (C, H, W)."""
    if isinstance(image, Image.Image):
        image = np.array(image.convert("L") if image.mode in ("1", "L") else as_rgb(image))
    if isinstance(image, np.ndarray):
        hwc = image.ndim == 3 and image.shape[-1] in (1, 3) and image.shape[0] not in (1, 3)
        image = torch.from_numpy(image.transpose(2, 0, 1).copy() if hwc else image.copy())
    if not isinstance(image, Tensor):
        raise TypeError(f"a {type(image).__name__} is no Pillow image, tensor or array")
    if image.ndim == 2:
        image = image.unsqueeze(0)
    if image.ndim != 3:
        raise ValueError(f"an image has shape (C, H, W), not {tuple(image.shape)}")
    if image.is_floating_point():
        if not (image.min() >= 0 and image.max() <= 1):  # NaN is neither
            raise ValueError("floats must lie in 0..1: leave normalisation to the search")
        return (image.detach().cpu() * 255).round().to(torch.uint8)
    if image.dtype != torch.uint8:
        raise TypeError(f"pixels must be uint8 or floats 0..1, not {image.dtype}")
    return image.detach().cpu()


def _told(error: Exception) -> str:
    first = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
