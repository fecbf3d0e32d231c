"""What a data set is asked for: how much of it, at which size, and which digits are made."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from rfsearch.errors import UserError
from rfsearch.setting import check, setting

SMALLEST = 8
"""The smallest side an image may have, in pixels."""


def place(text: str) -> Path:
    """A path that a person wrote: ``~`` is a home folder."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise UserError(f"{text}: {error} Write the path in full") from error


@dataclass(frozen=True)
class DigitsSettings:
    """The images that are made, as many as a run asks for up to these. Sizes are pixels on a
    canvas of ``canvas``; another image size scales them in proportion."""

    weights_images: int = setting(10000, "most weights images", least=1)
    alpha_images: int = setting(10000, "most alpha images", least=1)
    selection_images: int = setting(5000, "most selection images", least=1)
    test_images: int = setting(10000, "most test images", least=1)
    min_size: int = setting(32, "smallest side of a digit, in pixels")
    max_size: int = setting(48, "largest side of a digit, in pixels")
    min_fragments: int = setting(
        0, "fewest fragments of other digits on an image, as clutter", least=0
    )
    fragments: int = setting(40, "most fragments on an image")
    fragment_size: int = setting(8, "side of a fragment, in pixels", least=1)
    canvas: int = setting(64, "side of the image, in pixels, where none is asked for")

    def __post_init__(self) -> None:
        check(self, "digits")
        if not self.fragment_size <= self.min_size <= self.max_size <= self.canvas:
            raise UserError(
                "digits: sizes must be fragment_size <= min_size <= max_size <= canvas, not "
                f"{self.fragment_size}, {self.min_size}, {self.max_size}, {self.canvas}"
            )
        if not self.min_fragments <= self.fragments:
            raise UserError(
                "digits: fragments must be min_fragments <= fragments, not "
                f"{self.min_fragments}, {self.fragments}"
            )

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """Images of each split, in the order of ``SPLITS``."""
        return (self.weights_images, self.alpha_images, self.selection_images, self.test_images)

    def scaled_to(self, image_size: tuple[int, int]) -> DigitsSettings:
        """The same scene on a canvas whose shorter side is that of ``image_size``."""
        canvas = min(image_size)
        low, high, part = (
            max(1, round(side * canvas / self.canvas))
            for side in (self.min_size, self.max_size, self.fragment_size)
        )
        return replace(self, canvas=canvas, min_size=low, max_size=high, fragment_size=part)


@dataclass(frozen=True)
class Request:
    """What a loader is asked for.

    ``images`` caps weights and alpha together and selection at a quarter of it, ``test_images``
    the test split; None leaves them whole. ``seed`` is the data seed, which is not the seed of
    the search: all searches see the same images. ``channels`` is of images in files: 3 colour,
    1 grey. ``cache`` is how many bytes of decoded image files are kept for the next time.
    """

    root: str = ""
    seed: int = 0
    image_size: tuple[int, int] | None = None
    images: int | None = None
    test_images: int | None = None
    download: bool = False
    channels: int = 3
    cache: int = 0
    digits: DigitsSettings = DigitsSettings()

    def __post_init__(self) -> None:
        if self.images is not None and self.images < 4:
            raise UserError(f"images must be at least 4 (four splits), not {self.images}")
        if self.channels not in (1, 3):
            raise UserError(f"data.channels must be 3 (colour) or 1 (grey), not {self.channels}")
        if self.test_images is not None and self.test_images < 1:
            raise UserError(f"test_images must be at least 1, not {self.test_images}")
        if self.image_size is not None and min(self.image_size) < SMALLEST:
            raise UserError(
                f"image_size must be at least {SMALLEST} pixels, not {self.image_size}"
            )

    def limits(self) -> tuple[int | None, int | None, int | None, int | None]:
        """The largest number of images of each split, in the order of ``SPLITS``."""
        if self.images is None:
            return None, None, None, self.test_images
        return self.images // 2, self.images // 2, self.images // 4, self.test_images
