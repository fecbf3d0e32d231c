"""Cluttered digits made from real handwritten ones: the default data set.

scikit-learn's 1,797 handwritten digits (8×8 pixels; Alpaydin and Kaynak, 1998) are scaled to a
random size at a random place on a canvas, among fragments cut from other scaled digits: the
cluttered-MNIST protocol (Mnih et al., "Recurrent Models of Visual Attention", 2014). How many
fragments varies from image to image (ours), so that no network waits for its first easy images.
A digit, or a fragment of it, appears in one of the four splits only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rfsearch import seeds
from rfsearch.data.images import Dataset, Images
from rfsearch.data.request import DigitsSettings, Request
from rfsearch.data.splits import SOURCES, SPLITS, Indices, assemble, cut
from rfsearch.errors import UserError

SIDE = 8
"""Height and width of a source digit, in pixels."""
LEVELS = 16
"""The largest value of a source pixel."""
STEPS = 256
"""Interpolation weights are multiples of 1/256, so that sums of products are exact integers in
float32 and the images are the same, bit for bit, on every machine."""
CHUNK = 64


@dataclass(frozen=True, eq=False)
class Layout:
    """What stands where on N images of P patches each: patch 0 is the digit, the rest fragments.

    All int64: ``source`` (N, P), which digit; ``size`` (N, P), the side it is scaled to;
    ``extent`` (N, P), the side of the part shown, 0 where there is none; ``cut`` and ``place``
    (N, P, 2), where that part begins in the scaled digit and on the canvas, (row, column).
    """

    source: Indices
    size: Indices
    extent: Indices
    cut: Indices
    place: Indices


def arrange(
    pool: Indices,
    num_images: int,
    image_size: tuple[int, int],
    settings: DigitsSettings,
    rng: np.random.Generator,
) -> Layout:
    """Draw ``num_images`` layouts from the source digits ``pool``, each used equally often.

    Image i is drawn from the i-th row of numbers, so a longer set begins with a shorter one.
    """
    uniform = rng.random((num_images, 1 + settings.fragments, 6))
    position = np.arange(num_images)[:, None] % len(pool)
    # a fragment comes from any digit but the image's own
    other = position + 1 + _integers(uniform[..., 0], len(pool) - 1)
    is_digit = np.arange(1 + settings.fragments) == 0
    source = pool[np.where(is_digit, position, other) % len(pool)]
    spread = settings.max_size - settings.min_size + 1
    size = settings.min_size + _integers(uniform[..., 1], spread)
    most = np.arange(settings.fragments) < _count(uniform[:, 0, 0], settings)[:, None]
    extent = np.where(is_digit, size, 0)
    extent[:, 1:] = most * settings.fragment_size
    start = _integers(uniform[..., 2:4], (size - extent + 1)[..., None])
    place = _integers(uniform[..., 4:6], np.array(image_size) - extent[..., None] + 1)
    return Layout(source, size, extent, start, place)


def _count(uniform: npt.NDArray[np.float64], settings: DigitsSettings) -> Indices:
    """Fragments on each image (N,), from one number each."""
    fewest = settings.min_fragments
    return fewest + _integers(uniform, settings.fragments - fewest + 1)


def _integers(uniform: npt.NDArray[np.float64], below: int | Indices) -> Indices:
    return np.floor(uniform * below).astype(np.int64)


def paint(layout: Layout, digits: npt.NDArray[np.float32], image_size: tuple[int, int]) -> Tensor:
    """The images of a layout, uint8 (N, 1, H, W); overlapping patches keep the larger value.
    Every image shows at least one patch.

    ``digits`` (sources, 8, 8) holds 0..16. Scaling, cutting and placing are separable, so each
    patch is one product: row weights (H, 8) · digit (8, 8) · column weights (8, W).
    """
    num_images = len(layout.source)
    images = np.empty((num_images, 1, *image_size), np.uint8)
    for start in range(0, num_images, CHUNK):
        part = slice(start, start + CHUNK)
        shown = layout.extent[part] > 0
        size, extent, cut_at, place, source = (
            values[part][shown]
            for values in (layout.size, layout.extent, layout.cut, layout.place, layout.source)
        )
        rows, columns = (
            _taps(length, size, extent, cut_at[:, axis], place[:, axis])
            for axis, length in enumerate(image_size)
        )
        patches = rows @ digits[source] @ columns.swapaxes(-1, -2)
        first = np.cumsum(shown.sum(axis=1)) - shown.sum(axis=1)
        brightest = np.maximum.reduceat(patches, first)
        images[part, 0] = np.rint(brightest * np.float32(255 / (LEVELS * STEPS * STEPS)))
    return torch.from_numpy(images)


def _taps(
    length: int, size: Indices, extent: Indices, start: Indices, place: Indices
) -> npt.NDArray[np.float32]:
    """Bilinear weights (M, length, 8) from source pixels to canvas pixels along one axis, in
    units of 1/``STEPS``; zero outside the patch. Half-pixel centres, edges held."""
    offset = np.arange(length) - place[..., None]
    centre = (offset + start[..., None] + 0.5) * SIDE / size[..., None] - 0.5
    at = np.rint(np.clip(centre, 0, SIDE - 1) * STEPS)
    taps = np.maximum(STEPS - np.abs(at[..., None] - STEPS * np.arange(SIDE)), 0)
    inside = (offset >= 0) & (offset < extent[..., None])
    return (taps * inside[..., None]).astype(np.float32)


def source_digits() -> tuple[npt.NDArray[np.float32], Indices]:
    """scikit-learn's digits: values 0..16 (1797, 8, 8) and labels (1797,)."""
    from sklearn.datasets import load_digits  # a second of imports, for this data set only

    bunch = load_digits()
    return bunch.images.astype(np.float32), bunch.target.astype(np.int64)


def layouts(
    labels: Indices, image_size: tuple[int, int], settings: DigitsSettings, request: Request
) -> dict[str, Layout]:
    """The layout of each split; the sources of two splits are disjoint, fragments included."""
    pools = cut(labels, SOURCES, seeds.numbers(request.seed, "digits", "sources"))
    result = {}
    for split, pool, count, limit in zip(
        SPLITS, pools, settings.counts, request.limits(), strict=True
    ):
        rng = seeds.numbers(request.seed, "digits", split)
        num_images = count if limit is None else min(count, limit)
        result[split] = arrange(pool, num_images, image_size, settings, rng)
    return result


def load(request: Request) -> Dataset:
    """Cluttered digits cut into four splits."""
    if request.root:
        raise UserError(
            f"digits is built in and takes no path: 'digits', not 'digits:{request.root}'"
        )
    image_size = request.image_size or (request.digits.canvas, request.digits.canvas)
    settings = request.digits.scaled_to(image_size)
    digits, labels = source_digits()
    splits = {}
    for split, layout in layouts(labels, image_size, settings, request).items():
        source = layout.source[:, 0]
        splits[split] = Images(
            paint(layout, digits, image_size),
            torch.from_numpy(labels[source]),
            torch.from_numpy(source),
        )
    return assemble("digits", "", [str(label) for label in range(10)], False, splits)
