"""Pictures inside a page: photographs as JPEG, the mass of a gradient as a transparent PNG."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LONGEST = 384
"""Pixels a side of a photograph on the page, however large the network's images are."""
SIDES = (112, 80, 56, 40, 28)
"""Sides of a picture of the mass, tried in turn until all of them fit."""
DECADES = 4
"""Powers of ten between the strongest gradient and what is left transparent."""
LEVELS = 24
"""Shades of a picture of the mass; few, so that it packs well."""
COLOUR = (230, 60, 150)


def photograph(pixels: NDArray[np.uint8]) -> str:
    """uint8 (H, W, 3 or 1) as a data URL."""
    picture = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0]).convert("RGB")
    picture.thumbnail((LONGEST, LONGEST))
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=80)
    return _url("image/jpeg", stream)


def masses(found: Sequence[NDArray[np.float64] | None], most_bytes: int) -> list[str]:
    """A data URL for every mass (H, W), "" for none, as large as together they may be.

    Opacity is the logarithm of the mass over ``DECADES`` powers of ten below its maximum.
    """
    urls: list[str] = []
    for side in SIDES:
        urls = [_mass(mass, side) if mass is not None and mass.max() > 0 else "" for mass in found]
        if sum(map(len, urls)) <= most_bytes:
            return urls
    return ["" for _ in urls]


def _mass(mass: NDArray[np.float64], side: int) -> str:
    picture = Image.fromarray(mass.astype(np.float32))
    if max(mass.shape) > side:
        factor = side / max(mass.shape)
        height, width = (max(1, round(n * factor)) for n in mass.shape)
        picture = picture.resize((width, height), Image.Resampling.BOX)
    values = np.asarray(picture, dtype=np.float64)
    with np.errstate(divide="ignore"):
        depth = 1 + np.log10(values / values.max()) / DECADES
    shades = np.round(np.clip(depth, 0, 1) * (LEVELS - 1)).astype(np.uint8)
    drawn = Image.fromarray(shades, "P")
    drawn.putpalette(COLOUR * LEVELS)
    opacity = bytes(round(200 * level / (LEVELS - 1)) for level in range(LEVELS))
    stream = io.BytesIO()
    drawn.save(stream, "PNG", transparency=opacity, optimize=True)
    return _url("image/png", stream)


def _url(kind: str, stream: io.BytesIO) -> str:
    return f"data:{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"
