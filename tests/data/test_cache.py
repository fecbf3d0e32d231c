"""Decoded images that are kept: the same bit for bit, never stale, never in the way."""

from __future__ import annotations

import os
import shutil
import stat
import time

import numpy as np
import pytest
import torch
from PIL import Image

from rfsearch.data import cache, folder, load

MOST = 2**30
SIZE = (16, 16)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A cache that no other test has."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "rfsearch" / "images"


@pytest.fixture
def decoding(monkeypatch):
    """The images that were decoded since the test began."""
    seen, decode = [], folder.decode

    def watched(path, *rest):
        seen.append(path)
        return decode(path, *rest)

    monkeypatch.setattr(folder, "decode", watched)
    return seen


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(12):
            noise = rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)
            Image.fromarray(noise).save(tmp_path / "photos" / name / f"{i:02}.jpg")
    return tmp_path / "photos"


def read(root, **changes):
    return load(f"imagefolder:{root}", **{"image_size": SIZE, "cache": MOST, **changes})


def test_the_second_reading_decodes_nothing_and_is_the_same(photos, decoding, home):
    without = read(photos, cache=0)
    assert not home.exists()
    first = read(photos)
    assert len(decoding) == 48
    second = read(photos)
    assert len(decoding) == 48
    assert without.data_hash == first.data_hash == second.data_hash
    assert without.split_hash == second.split_hash
    assert torch.equal(without.test.pixels, second.test.pixels)
    assert [stat.S_IMODE(path.stat().st_mode) & 0o077 for path in home.iterdir()] == [0]


def test_a_copy_is_found_again_and_a_touched_file_too(photos, decoding, tmp_path):
    first = read(photos)
    for path in photos.rglob("*.jpg"):
        os.utime(path, (1, 1))
    shutil.copytree(photos, tmp_path / "elsewhere")
    assert read(photos).data_hash == read(tmp_path / "elsewhere").data_hash == first.data_hash
    assert len(decoding) == 24


def test_other_pixels_behind_the_same_name_size_and_time_are_noticed(photos):
    for path in (photos / "cat").iterdir():  # bitmaps: as many bytes whatever they show
        Image.open(path).save(path.with_suffix(".bmp"))
        path.unlink()
    path = photos / "cat" / "03.bmp"
    before, old = path.stat(), read(photos)
    picture = np.array(Image.open(path))
    picture[8, 12] ^= 255
    Image.fromarray(picture).save(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    new = read(photos)
    assert new.data_hash != old.data_hash
    assert new.data_hash == read(photos, cache=0).data_hash


@pytest.mark.parametrize(
    "changes", [{"image_size": (16, 20)}, {"channels": 1}, {"seed": 1}, {"images": 12}]
)
def test_whatever_else_is_asked_for_is_not_taken_from_it(photos, changes):
    read(photos)
    asked, plain = read(photos, **changes), read(photos, **changes, cache=0)
    assert asked.data_hash == plain.data_hash
    assert asked.search.weights.pixels.shape == plain.search.weights.pixels.shape


def test_a_file_that_is_swapped_with_another_is_noticed(photos):
    read(photos)
    one, other = photos / "cat" / "00.jpg", photos / "cat" / "01.jpg"
    one.rename(photos / "swap")
    other.rename(one)
    (photos / "swap").rename(other)
    assert read(photos).data_hash == read(photos, cache=0).data_hash


def flipped(path):
    """One bit of the last pixel."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "a flipped bit": flipped,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-10]),
    "empty": lambda path: path.write_bytes(b""),
    "a pickle": lambda path: torch.save({"pixels": torch.zeros(1)}, path),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_decoded_again(photos, home, decoding, damage):
    first = read(photos)
    DAMAGES[damage](next(home.iterdir()))
    assert read(photos).data_hash == first.data_hash
    assert len(decoding) == 48
    if damage != "a folder":  # which is nobody's to remove
        read(photos)
        assert len(decoding) == 48


def test_one_of_another_shape_is_not_believed(photos, home, decoding):
    """With a checksum that is right."""
    first = read(photos)
    path = next(home.iterdir())
    cache.Entry(path, (1, 3, 16, 16)).write(torch.zeros(1, 3, 16, 16, dtype=torch.uint8), MOST)
    assert read(photos).data_hash == first.data_hash
    assert len(decoding) == 48


def test_what_was_used_longest_ago_makes_room(photos, home):
    sizes = [(16, 16), (16, 17), (16, 18)]
    for size in sizes:
        read(photos, image_size=size)
        for path in home.iterdir():
            os.utime(path, (path.stat().st_mtime - 100,) * 2)
    oldest = sorted(home.iterdir(), key=lambda path: path.stat().st_mtime)
    (home / "left.partial").write_bytes(bytes(100))  # by a kill, long ago
    os.utime(home / "left.partial", (1, 1))
    read(photos, image_size=sizes[0])  # used again
    most = sum(path.stat().st_size for path in home.iterdir())
    read(photos, image_size=(16, 19), cache=most)
    left = set(home.iterdir())
    assert oldest[0] in left, "used last"
    assert oldest[1] not in left
    assert not (home / "left.partial").exists()
    assert sum(path.stat().st_size for path in left) <= most + 1024  # of the file's own head


def test_more_than_may_be_kept_is_not_kept_and_removes_nothing(photos, home):
    read(photos)
    (kept,) = home.iterdir()
    read(photos, image_size=(64, 64), cache=kept.stat().st_size)
    assert list(home.iterdir()) == [kept]


def test_a_disk_that_would_be_filled_is_left_alone(photos, home, monkeypatch):
    usage = shutil.disk_usage(photos)
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: usage._replace(free=30_000))
    first = read(photos)  # 18,432 bytes of pixels
    assert not list(home.iterdir())
    assert first.data_hash == read(photos, cache=0).data_hash


def refuse(*_, **__):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("where", ["file", "mkdir", "mkstemp", "save_file"])
def test_a_place_that_cannot_be_written_stops_nothing(photos, home, tmp_path, monkeypatch, where):
    if where == "file":
        (tmp_path / "cache").write_text("no folder")
    elif where == "mkdir":
        monkeypatch.setattr(cache.Path, "mkdir", refuse)
    elif where == "mkstemp":
        monkeypatch.setattr(cache.tempfile, "mkstemp", refuse)
    else:
        monkeypatch.setattr(cache, "save_file", refuse)
    assert read(photos).data_hash == read(photos, cache=0).data_hash
    assert where == "file" or not home.exists() or not list(home.iterdir()), "no leavings"


def test_files_that_change_while_they_are_decoded_are_not_kept(photos, home, monkeypatch):
    decode = folder.decode

    def meddled(path, *rest):
        pixels = decode(path, *rest)
        if path.name == "05.jpg":
            Image.new("RGB", (20, 20)).save(path)
        return pixels

    monkeypatch.setattr(folder, "decode", meddled)
    read(photos)
    assert not home.exists()


def test_mistakes_are_told_as_without_it(photos, told):
    (photos / "cat" / "99.jpg").write_bytes(b"nothing")
    (photos / "dog" / "99.jpg").symlink_to(photos / "nowhere")
    plain = told("cannot be used", lambda: read(photos, cache=0))
    assert told("cannot be used", lambda: read(photos)) == plain


def test_tables_of_images_and_arrays_are_kept_too(photos, home):
    rng = np.random.default_rng(0)
    rows = ["path,label"]
    for label in "ab":
        for i in range(8):
            np.save(photos / f"{label}{i}.npy", rng.random((5, 20, 20), np.float32))
            rows.append(f"{label}{i}.npy,{label}")
    (photos / "images.csv").write_text("\n".join(rows))
    first, second = (
        load(f"csv:{photos / 'images.csv'}", image_size=SIZE, cache=MOST) for _ in range(2)
    )
    assert len(list(home.iterdir())) == 1
    plain = load(f"csv:{photos / 'images.csv'}", image_size=SIZE)
    assert plain.data_hash == first.data_hash == second.data_hash


def test_other_code_or_versions_are_other_names(monkeypatch):
    entry = cache.Entry.of([b"1", b"2"], 3, SIZE)
    assert entry == cache.Entry.of([b"1", b"2"], 3, SIZE)
    assert entry.path != cache.Entry.of([b"2", b"1"], 3, SIZE).path
    monkeypatch.setattr(cache.PIL, "__version__", "0")
    cache._decoder.cache_clear()
    try:
        assert cache.Entry.of([b"1", b"2"], 3, SIZE).path != entry.path
    finally:
        cache._decoder.cache_clear()


def test_reading_again_takes_less_than_half_of_the_time(photos):
    """By processor time, of photographs of some size; in truth a tenth or less."""
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        for i in range(30):
            noise = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
            picture = Image.fromarray(noise).resize((400, 300))
            picture.save(photos / name / f"{i:02}.jpg")
    taken = []
    for _ in range(3):
        began = time.process_time()
        read(photos)
        taken.append(time.process_time() - began)
    assert min(taken[1:]) < taken[0] / 2
