"""Two photographs that come with scikit-learn: something to draw a field on without a network."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

NAMES = ("flower", "temple")


def _files() -> list[Path]:
    """Where scikit-learn has them; to import it, as its own function does, takes a second."""
    found = find_spec("sklearn")
    assert found is not None
    assert found.origin is not None
    folder = Path(found.origin).parent / "datasets" / "images"
    return [folder / name for name in ("flower.jpg", "china.jpg")]


def photographs(image_size: tuple[int, int]) -> list[NDArray[np.uint8]]:
    """uint8 (height, width, 3) each: a flower and a temple, cropped about the centre."""
    height, width = image_size
    whole = [Image.open(file, formats=("JPEG",)) for file in _files()]
    return [np.array(ImageOps.fit(one, (width, height), Image.Resampling.BILINEAR))
            for one in whole]  # fmt: skip
