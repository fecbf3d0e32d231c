"""A table of images: ``csv:FILE`` with the columns ``path``, ``label`` and, if wanted, ``split``.

The first row names the columns; others are passed over. Paths are relative to the file's folder.
``split`` says train, val or test in every row and means what folders of these names mean: test,
or val where there is no test, is the untouched test split. Without it the split is seeded.
Beside images a path may be an array of NumPy, ``.npy``: uint8 or floats 0..1, (C, H, W) with any
number of channels, the same in all.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from rfsearch.data import folder
from rfsearch.data.factory import as_pixels
from rfsearch.data.folder import DEFAULT_SIZE, Listing, check_same_classes, collection
from rfsearch.data.images import Dataset, resized
from rfsearch.data.request import SMALLEST, Request, place
from rfsearch.data.splits import assemble, check_counts, cut_four, cut_three
from rfsearch.errors import UserError

SPLITS = ("train", "val", "test")
NEEDED = ("path", "label")
ARRAY = ".npy"


@dataclass(frozen=True)
class Row:
    """One image: its file, its class and its split, "" where none is told."""

    path: Path
    label: str
    split: str


def load(request: Request) -> Dataset:
    """The images that ``request.root`` lists, cut into four splits."""
    if not request.root:
        raise UserError("csv needs a file: csv:FILE with the columns path and label")
    file = place(request.root)
    rows = read_rows(file)
    classes = _classes(file, rows)
    size = request.image_size or DEFAULT_SIZE
    channels = _channels(rows, request)
    parts = [collection(file.parent, one, size, request, channels, decode)
             for one in _parts(file, rows, classes)]  # fmt: skip
    check_counts(f"csv:{file}", classes, parts[0].labels, 4 if len(parts) == 1 else 3)
    train, *test = parts
    splits = cut_three(train, test[0], request) if test else cut_four(train, request)
    return assemble("csv", str(file), classes, True, splits)


def read_rows(file: Path) -> list[Row]:
    """Every row of the table.

    Raises:
        UserError: what is wrong with the file, and in which line.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.DictReader(text)
            _check_columns(file, reader.fieldnames or ())
            return [_row(file, reader.line_num, record) for record in reader]
    except FileNotFoundError as error:
        raise UserError(f"there is no file {file}") from error
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file} is no CSV in UTF-8: {error}") from error


def _check_columns(file: Path, names: object) -> None:
    given = [str(name) for name in names] if isinstance(names, list) else []
    if missing := [name for name in NEEDED if name not in given]:
        raise UserError(
            f"{file} has no column {' and no column '.join(missing)}; its first row must name "
            f"path and label (and split), not {', '.join(given) or 'nothing'}"
        )


def _row(file: Path, line: int, record: dict[str, str | None]) -> Row:
    path, label, split = ((record.get(name) or "").strip() for name in (*NEEDED, "split"))
    if not path or not label:
        raise UserError(f"{file}, line {line}: {'path' if not path else 'label'} is empty")
    if label.lower() == "nan":
        raise UserError(f"{file}, line {line}: the label is {label}, a number that is missing")
    if "split" in record and split not in SPLITS:
        raise UserError(f"{file}, line {line}: split must be train, val or test, not {split!r}")
    return Row(file.parent / path, label, split)


def _classes(file: Path, rows: list[Row]) -> tuple[str, ...]:
    """The labels in order: numbers by size, words by the alphabet."""
    names = {row.label for row in rows}
    if len(names) < 2:
        found = f"one class, {next(iter(names))!r}" if names else "no images"
        raise UserError(f"{file} has {found}; at least two classes are needed")
    whole = all(len(name) < 20 and name.removeprefix("-").isdecimal() for name in names)
    return tuple(sorted(names, key=int) if whole else sorted(names))


def _parts(file: Path, rows: list[Row], classes: tuple[str, ...]) -> list[Listing]:
    """The listing of all images, or of those to learn from and those of the test."""
    given = {row.split for row in rows}
    if given == {""}:
        return [_listing(rows, classes)]
    test = "test" if "test" in given else "val"
    if "train" not in given or test not in given:
        raise UserError(
            f"the split column of {file} has {' and '.join(sorted(given))} but not train with val "
            "or test; without that column the split is seeded"
        )
    parts = [[row for row in rows if (row.split == test) == last] for last in (False, True)]
    names = [tuple(sorted({row.label for row in part})) for part in parts]
    check_same_classes(f"the rows of {file}", names[0], test, names[1])
    return [_listing(part, classes) for part in parts]


def _listing(rows: list[Row], classes: tuple[str, ...]) -> Listing:
    number = {name: place for place, name in enumerate(classes)}
    labels = np.array([number[row.label] for row in rows], np.int64)
    return Listing(classes, tuple(row.path for row in rows), labels)


def _channels(rows: list[Row], request: Request) -> int:
    """Of the first array; without arrays as asked for."""
    arrays = [row.path for row in rows if row.path.suffix.lower() == ARRAY]
    if not arrays:
        return request.channels
    try:
        return len(as_pixels(array(arrays[0])))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{arrays[0]} cannot be used: {error}") from error


def array(path: Path) -> np.ndarray:
    """The array in a file, never more of it than an image may have pixels.

    Raises:
        OSError, ValueError: there is none, or it is too large.
    """
    folder.check_regular(path)
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)  # reads nothing yet
    except (EOFError, OverflowError) as error:
        raise ValueError(f"no array: {error}") from error
    if not isinstance(mapped, np.ndarray):
        raise ValueError("an archive and no array")
    most = Image.MAX_IMAGE_PIXELS
    if most and mapped.size > most:
        shape = "×".join(map(str, mapped.shape))
        raise ValueError(f"{shape} numbers, too many to read safely")
    return np.array(mapped)


def decode(path: Path, size: tuple[int, int], channels: int) -> np.ndarray:
    """One image or array as uint8 (height, width, channels)."""
    if path.suffix.lower() != ARRAY:
        if channels not in folder.MODES:
            raise ValueError(f"an image among arrays of {channels} channels")
        return folder.decode(path, size, channels)
    pixels = as_pixels(array(path))
    if len(pixels) != channels:
        raise ValueError(f"{len(pixels)} channels, the first has {channels}")
    if min(pixels.shape[1:]) < SMALLEST:
        height, width = pixels.shape[1:]
        raise ValueError(f"{width}×{height} pixels, at least {SMALLEST} needed")
    return np.asarray(resized(torch.as_tensor(pixels)[None], size)[0]).transpose(1, 2, 0)
