"""Sizes of images as the command line takes them."""

from __future__ import annotations

import re

from rfsearch.analysis.inputs import Sides
from rfsearch.errors import UserError


def parse_size(size: str | int | Sides) -> tuple[int, int]:
    """(height, width) of images.

    >>> parse_size("224"), parse_size("224x320"), parse_size(96)
    ((224, 224), (224, 320), (96, 96))
    """
    sides = parse_sides(size)
    if len(sides) == 3:
        raise UserError(f"image size {size!r} has 3 sides; an image has a height and a width")
    return sides[0], sides[-1]


def parse_sides(size: str | int | Sides) -> Sides:
    """One to three numbers: pixels a side, height and width, or depth before them.

    >>> parse_sides("224"), parse_sides("224x320"), parse_sides((16, 112, 112))
    ((224,), (224, 320), (16, 112, 112))
    """
    sides: tuple[object, ...] = ()
    if isinstance(size, str) and re.fullmatch(r"\d{1,9}([x×]\d{1,9}){0,2}", size.strip()):
        sides = tuple(map(int, re.split("[x×]", size.strip())))
    elif isinstance(size, int):
        sides = (size,)
    elif isinstance(size, tuple | list) and len(size) in (1, 2, 3):
        sides = tuple(size)
    found = tuple(side for side in sides if isinstance(side, int) and not isinstance(side, bool))
    if not found or len(found) != len(sides):
        raise UserError(f"image size {size!r} is neither pixels a side (224) nor height x width "
                        "(224x320)")  # fmt: skip
    if min(found) < 1:
        raise UserError(f"an image has at least one pixel a side, not {'x'.join(map(str, found))}")
    return found
