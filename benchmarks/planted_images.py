"""Images whose label is a relation of two places at a known distance, and a network to read them.

On noise with grey specks stand pairs of marks, white or black, the two marks of a pair
``distance`` pixels apart along a row or a column. In one class the two are alike (half of the
pairs white, half black), in the other they differ. Marks of different pairs are further apart, so
a window of side ``distance + 1`` that holds a pair tells the class, and a smaller one never holds
two marks: wherever it stands, whatever it holds is as likely in either class. A network whose
units see no more and that ends in a mean over places and a linear layer is then at chance: its
logits have the same mean in both classes, so by Jensen's inequality its expected log-loss is at
least log 2. Distance 0 is the control: lone marks, more of them white in one class and more black
in the other.
"""

from __future__ import annotations

from functools import partial
from itertools import combinations, pairwise

import numpy as np
from torch import nn
from torch.utils.data import TensorDataset, default_convert

from rfsearch.seeds import numbers

PIXELS = 20
PAIRS = {0: 8, 3: 6, 5: 4, 8: 2, 10: 2}
"""Distance → pairs of an image: as crowded as fits, so that a unit that sees too much sees other
pairs too. Even: half of them are white, or have white first."""
BETWEEN = {0: 4, 3: 5, 5: 7, 8: 11, 10: 11}
"""Distance → pixels at least between marks of different pairs, along rows or columns."""
COUNTS = {"train": 4000, "test": 1000}
CLASSES = ["alike", "different"]
WHITE, BLACK = 255, 0
NOISE = (120, 137)
SPECKS = (96, 160)
SPECK_SHARE = 1 / 32
TRIES = 200
"""Of placing a pair; an image in which it finds no room is left out."""


def images(distance: int, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Pixels, uint8 (N, 1, H, W), and labels (N,), as many of each class; always the same."""
    random = np.random.default_rng(numbers(distance, "planted", split))
    num = COUNTS[split]
    labels = np.arange(num) % 2
    marks = signs(distance, labels, random)
    return painted(places(distance, num, random), marks, random)[:, None], labels


def places(distance: int, num: int, random: np.random.Generator) -> np.ndarray:
    """Rows and columns of the two marks of all pairs, (N, P, 2, 2)."""
    whole = np.empty((0, PAIRS[distance], 2, 2), int)
    while len(whole) < num:
        placed = np.empty((num, 0, 2, 2), int)
        for _ in range(PAIRS[distance]):
            placed = with_another(placed, distance, random)
        whole = np.concatenate([whole, placed])
    return whole[:num]


def with_another(placed: np.ndarray, distance: int, random: np.random.Generator) -> np.ndarray:
    """One pair more in every image that has room for it."""
    pairs = np.empty((len(placed), 2, 2), int)
    left = np.arange(len(placed))
    for _ in range(TRIES):
        steps = distance * np.eye(2, dtype=int)[random.integers(2, size=len(left))]
        first = random.integers(PIXELS - steps)
        pairs[left] = np.stack([first, first + steps], axis=1)
        left = left[~apart(placed[left], pairs[left], BETWEEN[distance])]
    kept = np.setdiff1d(np.arange(len(placed)), left)
    return np.concatenate([placed[kept], pairs[kept, None]], axis=1)


def apart(placed: np.ndarray, pairs: np.ndarray, between: int) -> np.ndarray:
    """Whether all marks (N, P, 2, 2) are so far from those of another pair (N, 2, 2), (N,)."""
    steps = abs(placed[:, :, :, None] - pairs[:, None, None])
    return (steps.max(-1) >= between).all((1, 2, 3))


def signs(distance: int, labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Whether marks are white, (N, P, 2); of one mark alone both are as likely in either class."""
    num = PAIRS[distance]
    order = random.permuted(np.tile(np.arange(num), (len(labels), 1)), axis=1)
    different = labels[:, None].astype(bool)
    if distance == 0:
        return np.repeat(((order <= num // 2) ^ different)[..., None], 2, axis=2)
    first = order < num // 2
    return np.stack([first, first ^ different], axis=2)


def painted(places: np.ndarray, signs: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Marks on their background, uint8 (N, H, W)."""
    shape = (len(places), PIXELS, PIXELS)
    pixels = random.integers(*NOISE, size=shape, dtype=np.uint8)
    specks = random.random(shape) < SPECK_SHARE
    pixels[specks] = random.choice(SPECKS, size=specks.sum())
    rows, columns = np.moveaxis(places, -1, 0)
    pixels[np.arange(len(places))[:, None, None], rows, columns] = np.where(signs, WHITE, BLACK)
    return pixels


def told_by(window: int, pixels: np.ndarray) -> int | None:
    """The class that windows of this side tell by the marks they hold two of; None where none
    does. It knows what marks are, and has learnt nothing."""
    marks = np.argwhere((pixels == WHITE) | (pixels == BLACK))
    seen = [(a, b) for a, b in combinations(marks, 2) if abs(a - b).max() < window]
    differ = {bool(pixels[tuple(a)] != pixels[tuple(b)]) for a, b in seen}
    return int(differ.pop()) if len(differ) == 1 else None


def planted(distance: int) -> dict[str, object]:
    """Data as `rfsearch run --data` takes them; a mirrored image keeps its label."""
    parts = {split: TensorDataset(*map(default_convert, images(distance, split)))
             for split in COUNTS}  # fmt: skip
    return {**parts, "classes": CLASSES, "flips": True}


d0, d3, d5, d8, d10 = (partial(planted, distance) for distance in PAIRS)


def network() -> nn.Module:
    """Three convolutions of stride 1, whose units see 7 pixels, and a mean over all places."""
    sizes = (1, 8, 8, 8)
    layers = [nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
                            nn.BatchNorm2d(outputs), nn.ReLU())
              for inputs, outputs in pairwise(sizes)]  # fmt: skip
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
