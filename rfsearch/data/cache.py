"""Decoded images, kept from one run to the next in the user's cache.

What is kept is named by what it was made from: the bytes of every file in their order, the size
and channels asked for, the code of this room and the versions of what decodes. Paths and times
are no part of the name: a folder that was copied or touched is found again, and one other byte in
one file is another name. To name it every file is read and hashed, which takes about a tenth of
decoding small photographs and less of large ones.

It is written beside its place and renamed, holds numbers and no pickle, and is believed where the
sha256 of its pixels is the one that stands in it. Where the place cannot be read or written, or
has no room, images are decoded as if there were none; nobody is told.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import PIL
import torch
from PIL import features
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from rfsearch.home import home

LOSSY = ("jpg", "libjpeg_turbo", "webp")
"""Pillow's words for the libraries whose versions may differ in a pixel."""


@dataclass(frozen=True)
class Entry:
    """Images uint8 of a shape (N, C, H, W), and where they are kept."""

    path: Path
    shape: tuple[int, ...]

    @classmethod
    def of(cls, digests: Sequence[bytes], channels: int, size: tuple[int, int]) -> Entry:
        """Of files with these sha256, decoded by this code to (height, width) = ``size``."""
        shape = (len(digests), channels, *size)
        name = hashlib.sha256(json.dumps([shape, _decoder()]).encode() + b"".join(digests))
        return cls(home() / "images" / f"{name.hexdigest()}.safetensors", shape)

    def read(self) -> Tensor | None:
        """The images; None where there are none, or other ones than were written."""
        try:
            with safe_open(self.path, "pt") as file:
                told = (file.metadata() or {}).get("sha256")
                pixels: Tensor = file.get_tensor("pixels").clone()  # no longer the file's
            if (pixels.dtype, tuple(pixels.shape), _sha256(pixels)) != (
                torch.uint8, self.shape, told,
            ):  # fmt: skip
                return None
            os.utime(self.path)  # used last
        except (OSError, SafetensorError):
            return None
        return pixels

    def write(self, pixels: Tensor, most: int) -> None:
        """Keep the images, and of others as many as ``most`` bytes hold, those used last."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if pixels.nbytes <= min(most, shutil.disk_usage(self.path.parent).free // 2):
                _make_room(self.path.parent, most - pixels.nbytes)
                self._replace(pixels)
        except (OSError, SafetensorError):
            return

    def _replace(self, pixels: Tensor) -> None:
        """A crash of the machine may leave less than was written: its sha256 tells."""
        handle, name = tempfile.mkstemp(dir=self.path.parent, suffix=".partial")
        os.close(handle)
        try:
            save_file({"pixels": pixels}, name, {"sha256": _sha256(pixels)})
            Path(name).replace(self.path)
        finally:
            Path(name).unlink(missing_ok=True)


def kept(
    digests: Callable[[], Sequence[bytes] | None],
    decoded: Callable[[], Tensor],
    channels: int,
    size: tuple[int, int],
    most: int,
) -> Tensor:
    """The images that ``decoded`` makes, of the cache where they are there.

    Args:
        digests: the sha256 of every file, in order; None where one cannot be read.
        most: bytes that are kept altogether; 0 keeps nothing and asks for no digests.
    """
    before = digests() if most else None
    if before is None:
        return decoded()
    entry = Entry.of(before, channels, size)
    pixels = entry.read()
    if pixels is None:
        pixels = decoded()
        if digests() == before:  # nobody wrote to them meanwhile
            entry.write(pixels, most)
    return pixels


@cache
def _decoder() -> list[object]:
    """All that decides pixels beside the bytes of a file: the code of this room, and versions."""
    code = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        code.update(path.read_bytes())
    versions = [PIL.__version__, *map(features.version, LOSSY), torch.__version__]
    return [code.hexdigest(), *versions]


def _sha256(pixels: Tensor) -> str:
    return hashlib.sha256(pixels.contiguous().numpy().data).hexdigest()


def _make_room(folder: Path, most: int) -> None:
    """Remove what was used longest ago until ``most`` bytes are left, leavings of kills too."""
    found = sorted((path.stat().st_mtime, path.stat().st_size, path) for path in folder.iterdir())
    total = sum(size for _, size, _ in found)
    for _, size, path in found:
        if total <= most:
            return
        path.unlink(missing_ok=True)
        total -= size
