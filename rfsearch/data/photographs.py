"""Two photographs that come with scikit-learn: something to draw a field on without a network."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from rfsearch.data.images import resized

NAMES = ("flower", "temple")


def _files() -> list[Path]:
    """Where scikit-learn has them; to import it, as its own function does, takes a second."""
    found = find_spec("sklearn")
    assert found is not None
    assert found.origin is not None
    folder = Path(found.origin).parent / "datasets" / "images"
    return [folder / name for name in ("flower.jpg", "china.jpg")]


def photographs(image_size: tuple[int, int]) -> Tensor:
    """uint8 (2, 3, height, width): a flower and a temple, cropped about the centre."""
    found = [np.array(Image.open(file, formats=("JPEG",))).transpose(2, 0, 1) for file in _files()]
    return resized(torch.from_numpy(np.stack(found)), image_size)
