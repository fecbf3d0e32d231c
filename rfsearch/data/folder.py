"""Folders of images, one folder per class: torchvision's ImageFolder conventions.

``PATH/train`` and ``PATH/test`` (or ``val``) are given splits, and the second is the untouched
test split; where all three exist, train and val together are what is searched and trained on. A
flat ``PATH/CLASS/...`` gets a seeded split. Images become RGB, or grey where one channel is asked
for, turned upright by their EXIF orientation, scaled until they cover the image size and cropped
about the centre.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from rfsearch.data.cache import kept
from rfsearch.data.images import Dataset
from rfsearch.data.request import SMALLEST, Request, place
from rfsearch.data.splits import Collection, Indices, assemble, check_counts, cut_four, cut_three
from rfsearch.errors import UserError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""What counts as an image, as in torchvision; other files, and hidden ones, are passed over."""
FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP", "GIF")
"""What a file may hold, whatever its name says. Pillow's others are left out: some hand the file
to another program, as PostScript to Ghostscript."""
DEFAULT_SIZE = (64, 64)
WORKERS = min(16, os.cpu_count() or 1)
"""Threads that decode: most of it is Pillow's C, during which others run."""
MODES = {1: "L", 3: "RGB"}
"""Channels of an image → Pillow's word for it."""
Decode = Callable[[Path, tuple[int, int], int], np.ndarray]
"""File, (height, width) and channels → uint8 (height, width, channels)."""
TOLD = 3
"""How many names an error gives before it only counts."""


@dataclass(frozen=True)
class Listing:
    """The image files of some class folders: ``paths`` and ``labels`` (N,) into ``classes``."""

    classes: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: Indices


def load(request: Request) -> Dataset:
    """The images below ``request.root``, cut into four splits."""
    if not request.root:
        raise UserError("imagefolder needs a path: imagefolder:PATH with one folder per class")
    root = place(request.root)
    size = request.image_size or DEFAULT_SIZE
    given = _given(root)
    if given is None:
        listing = list_images(root)
        check_counts(f"imagefolder:{root}", listing.classes, listing.labels, 4)
        splits = cut_four(collection(root, listing, size, request), request)
    else:
        listing, test = given
        check_counts(f"imagefolder:{root}", listing.classes, listing.labels, 3)
        train, last = (collection(root, part, size, request) for part in (listing, test))
        splits = cut_three(train, last, request)
    return assemble("imagefolder", str(root), listing.classes, True, splits)


def _given(root: Path) -> tuple[Listing, Listing] | None:
    """The listings of given splits (training, test), or None for a flat folder of classes."""
    names = {path.name for path in _folders(root)} & {"train", "val", "test"}
    if not names:
        return None
    if "train" not in names or len(names) == 1:
        raise UserError(
            f"{root} has {' and '.join(sorted(names))}/ inside but not train/ with val/ or test/; "
            "for a seeded split name a folder that holds only the class folders"
        )
    parts = {name: list_images(root / name) for name in sorted(names)}
    train, test = parts.pop("train"), parts.pop("test" if "test" in names else "val")
    for name, part in (("test" if "test" in names else "val", test), *parts.items()):
        where = f"the class folders of {root / 'train'} and {root / name}"
        check_same_classes(where, train.classes, name, part.classes)
    for more in parts.values():
        labels = np.concatenate([train.labels, more.labels])
        train = Listing(train.classes, train.paths + more.paths, labels)
    return train, test


def check_same_classes(
    where: str, train: tuple[str, ...], name: str, other: tuple[str, ...]
) -> None:
    """Refuse training and test data, called ``name``, of different classes."""
    alone = [f"{c} only in train" for c in train if c not in other]
    alone += [f"{c} only in {name}" for c in other if c not in train]
    if alone:
        raise UserError(f"{where} differ: {_first(alone)}; both need the same classes")


def list_images(root: Path) -> Listing:
    """The images of a folder of class folders, sorted as torchvision sorts them."""
    folders = _folders(root)
    files = {folder.name: _files(folder) for folder in folders}
    empty = [name for name, paths in files.items() if not paths]
    if len(empty) == len(files):
        raise UserError(
            f"no images in {root}: one folder per class is expected, each with images "
            f"({' '.join(EXTENSIONS)})"
        )
    if empty:
        raise UserError(f"class folders of {root} without images: {_first(empty)}; remove them")
    if len(files) == 1:
        raise UserError(f"{root} has one class, {folders[0].name!r}; at least two are needed")
    labels = np.repeat(np.arange(len(files)), [len(paths) for paths in files.values()])
    paths = tuple(path for several in files.values() for path in several)
    return Listing(tuple(files), paths, labels)


def _folders(root: Path) -> list[Path]:
    try:
        entries = sorted(root.iterdir())
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        reason = "there is no such folder" if missing else error.strerror
        raise UserError(f"cannot read images from {root}: {reason}") from error
    return [path for path in entries if path.is_dir() and not path.name.startswith(".")]


def _files(folder: Path) -> list[Path]:
    """Below a class folder; what is hidden may hold images twice (``.ipynb_checkpoints``)."""
    found = []
    for parent, _, names in sorted(os.walk(folder, followlinks=True)):
        here = (Path(parent, name) for name in sorted(names))
        found += [path for path in here if path.suffix.lower() in EXTENSIONS]
    return [path for path in found if not _hidden(path.relative_to(folder))]


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def collection(
    root: Path,
    listing: Listing,
    size: tuple[int, int],
    request: Request,
    channels: int | None = None,
    decoded: Decode | None = None,
) -> Collection:
    """The images of a listing, read as `read_images` reads them or taken from the cache; of the
    channels asked for unless told."""
    num = request.channels if channels is None else channels

    def read(index: Indices) -> Tensor:
        paths = [listing.paths[i] for i in index]
        return kept(
            lambda: digests(paths),
            lambda: read_images(root, paths, size, num, decoded),
            num, size, request.cache,
        )  # fmt: skip

    return Collection(listing.labels, read)


def read_images(
    root: Path,
    paths: list[Path],
    size: tuple[int, int],
    channels: int = 3,
    decoded: Decode | None = None,
) -> Tensor:
    """The images at ``paths``, uint8 (N, C, H, W); all that cannot be used in one error.
    ``decoded`` reads one of them, `decode` unless told."""
    _check_memory(len(paths), channels, size)
    pixels = np.empty((len(paths), channels, *size), np.uint8)
    read = decoded or decode

    def fill(place: int) -> str | None:
        try:
            pixels[place] = read(paths[place], size, channels).transpose(2, 0, 1)
        except Exception as error:  # Pillow's decoders raise nearly anything on broken files
            return f"{os.path.relpath(paths[place], root)} ({_reason(error)})"
        return None

    with warnings.catch_warnings(), ThreadPoolExecutor(WORKERS) as pool:
        warnings.filterwarnings("ignore", module="PIL")  # odd metadata; too large is an error
        bad = [failure for failure in pool.map(fill, range(len(paths))) if failure]
    if bad:
        raise UserError(
            f"{len(bad)} of {len(paths)} images in {root} cannot be used: {_first(bad)}; "
            "repair or remove them"
        )
    return torch.from_numpy(pixels)


def digests(paths: list[Path]) -> list[bytes] | None:
    """The sha256 of every file; None where one is no file that can be read."""

    def digest(path: Path) -> bytes:
        check_regular(path)
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()

    try:
        with ThreadPoolExecutor(WORKERS) as pool:
            return list(pool.map(digest, paths))
    except (OSError, ValueError):  # decoding tells of all of them
        return None


def decode(path: Path, size: tuple[int, int], channels: int = 3) -> np.ndarray:
    """One image file as uint8 (height, width, channels), of 1 or 3 channels; of several images in
    it the first."""
    check_regular(path)
    with Image.open(path, formats=FORMATS) as image:
        width, height = image.size
        if min(width, height) < SMALLEST:
            raise ValueError(f"{width}×{height} pixels, at least {SMALLEST} needed")
        if Image.MAX_IMAGE_PIXELS and width * height > Image.MAX_IMAGE_PIXELS:
            raise ValueError(f"{width}×{height} pixels, too many to decode safely")
        side = 2 * max(size)
        image.draft("RGB", (side, side))  # JPEG only: skip detail that is scaled away
        ImageOps.exif_transpose(image, in_place=True)
        picture = as_rgb(image).convert(MODES[channels])
        fitted = ImageOps.fit(picture, size[::-1], Image.Resampling.BILINEAR)
        return np.asarray(fitted).reshape(*size, channels)


def check_regular(path: Path) -> None:
    """A pipe or a device would be waited for."""
    if not S_ISREG(path.stat().st_mode):
        raise ValueError("no file")


def as_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow image as RGB; 16 bits of grey are scaled to 8."""
    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.int64).clip(0, 65535) >> 8
        image = Image.fromarray(grey.astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("floating-point pixels")
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def _reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image"
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, Image.DecompressionBombError):
        return "too many pixels to decode safely"
    return (str(error) or type(error).__name__).splitlines()[0][:80]


def _first(names: list[str]) -> str:
    more = f" and {len(names) - TOLD} more" if len(names) > TOLD else ""
    return ", ".join(names[:TOLD]) + more


def _check_memory(num_images: int, channels: int, size: tuple[int, int]) -> None:
    needed = num_images * channels * size[0] * size[1]
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not told on this system
        return
    if needed > memory // 2:
        raise UserError(
            f"{num_images} images of {size[0]}×{size[1]} pixels need {needed / 2**30:.0f} GiB of "
            f"{memory / 2**30:.0f}; take fewer images or smaller ones"
        )
