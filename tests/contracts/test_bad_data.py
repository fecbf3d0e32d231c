"""Data that are wrong, one a line of a table: images, arrays, CSV files, folders, what a factory
returns. And data that are odd and right: those must be read right.
"""

from __future__ import annotations

import io
import os
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from rfsearch import data
from rfsearch.data import factory
from rfsearch.data.folder import read_images
from rfsearch.data.request import Request

SIZE = (16, 24)
RAMP = (
    np.arange(0, 192, 8, dtype=np.uint8)[None].repeat(16, 0)
    + np.arange(16, dtype=np.uint8)[:, None]
)
"""uint8 (16, 24), every row and column another."""
COLOUR = np.stack([RAMP, 255 - RAMP, RAMP // 2], -1)
PICTURE = Image.fromarray(COLOUR)


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(width, height, depth=8, colour=2, body=b""):
    """A PNG of this header and these rows."""

    def chunk(kind, content):
        head = struct.pack(">I", len(content)) + kind + content
        return head + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def rows(array):
    """As a PNG holds them: a filter byte, then the row."""
    return b"".join(b"\0" + row.tobytes() for row in array)


# ---- images that are wrong

WHOLE = encoded(PICTURE, "PNG")
JPEG = encoded(PICTURE.resize((240, 160)), "JPEG")
IMAGES = {
    "nothing.png": (b"", "not an image"),
    "byte.png": (b"\x89", "not an image"),
    "text.jpg": (b"hello", "not an image"),
    "page.png": (b"<html><script>alert(1)</script></html>", "not an image"),
    "drawing.png": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
    "postscript.png": (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\nshowpage\n",
        "not an image",
    ),
    "document.jpg": (b"%PDF-1.4\n", "not an image"),
    "archive.png": (b"PK\x03\x04" + bytes(40), "not an image"),
    "pickle.png": (b"\x80\x04\x95\x00\x00\x00", "not an image"),
    "signature.png": (WHOLE[:8], "not an image"),
    "head.png": (WHOLE[:20], "head.png"),
    "half.png": (WHOLE[: len(WHOLE) // 2], "truncated"),
    "half.jpg": (JPEG[: len(JPEG) // 2], "truncated"),
    "half.webp": (encoded(PICTURE, "WEBP")[:100], "half.webp"),
    "half.tif": (encoded(PICTURE, "TIFF")[:100], "half.tif"),
    "half.bmp": (encoded(PICTURE, "BMP")[:100], "truncated"),
    "empty.png": (png(0, 0), "not an image"),
    "huge.png": (png(100_000, 100_000), "too many pixels"),
    "large.png": (png(12_000, 12_000), "too many"),
    "hugest.png": (png(2**31 - 1, 2**31 - 1), "too many pixels"),
    "huge.bmp": (
        b"BM" + bytes(8) + struct.pack("<IIiiHH", 54, 40, 90_000, 90_000, 1, 24) + bytes(24),
        "huge.bmp",
    ),
    "huge.ppm": (b"P6 90000 90000 255\n", "too many pixels"),
    "line.png": (encoded(PICTURE.resize((400, 1)), "PNG"), "400×1 pixels, at least 8"),
    "tiny.png": (encoded(PICTURE.resize((7, 7)), "PNG"), "7×7 pixels, at least 8"),
    "floats.tif": (
        encoded(Image.fromarray(RAMP.astype(np.float32)), "TIFF"),
        "floating-point pixels",
    ),
}


@pytest.mark.parametrize("name", IMAGES)
def test_a_wrong_image(name, tmp_path, told):
    content, named = IMAGES[name]
    (tmp_path / name).write_bytes(content)
    told([name, named, "repair or remove"], read_images, tmp_path, [tmp_path / name], SIZE)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda path: path.mkdir(), "no file"),
        (os.mkfifo, "no file"),
        (lambda path: path.symlink_to("/dev/zero"), "no file"),
        (lambda path: path.symlink_to(path), "levels of symbolic links"),
        (lambda path: path.symlink_to(path / "none"), "Too many levels|no such file"),
    ],
    ids=["folder", "pipe", "device", "loop", "dangling"],
)
@pytest.mark.skipif(os.name == "nt", reason="no pipes and devices")
@pytest.mark.parametrize("suffix", [".png", ".npy"])
def test_what_is_no_file(make, named, suffix, tmp_path, told):
    from rfsearch.data import table

    make(tmp_path / f"a{suffix}")
    message = told(
        f"a{suffix}",
        lambda: read_images(tmp_path, [tmp_path / f"a{suffix}"], SIZE, 3, table.decode),
    )
    assert any(word in message for word in named.split("|")), message


# ---- images that are odd and right


def oriented(orientation):
    """COLOUR stored so that this EXIF orientation turns it upright: by numpy, from the standard's
    words on where row 0 and column 0 stand (JEITA CP-3451, 4.6.4)."""
    stored = {
        1: COLOUR,  # top, left
        2: COLOUR[:, ::-1],  # top, right
        3: COLOUR[::-1, ::-1],  # bottom, right
        4: COLOUR[::-1],  # bottom, left
        5: COLOUR.transpose(1, 0, 2),  # left, top
        6: COLOUR[:, ::-1].transpose(1, 0, 2),  # right, top
        7: COLOUR[::-1, ::-1].transpose(1, 0, 2),  # right, bottom
        8: COLOUR[::-1].transpose(1, 0, 2),  # left, bottom
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(Image.fromarray(np.ascontiguousarray(stored)), "PNG", exif=exif)


def still(first, kind):
    """An animation whose later images are black."""
    others = [Image.new("RGB", first.size)] * 2
    return encoded(first, kind, save_all=True, append_images=others, lossless=True)


def transparent():
    return encoded(Image.fromarray(np.concatenate([COLOUR, 255 - RAMP[..., None]], -1)), "PNG")


GREY = np.stack([RAMP] * 3, -1)
CMYK = PICTURE.convert("CMYK")
ODD = {
    **{f"turned{k}.png": (oriented(k), COLOUR, 0) for k in range(1, 9)},
    "deep.png": (encoded(Image.fromarray(RAMP.astype(np.uint16) * 257), "PNG"), GREY, 0),
    "deep.tif": (encoded(Image.fromarray(RAMP.astype(np.uint16) * 257), "TIFF"), GREY, 0),
    "deepcolour.png": (
        png(24, 16, depth=16, body=rows((COLOUR.astype(np.uint16) * 257).astype(">u2"))),
        COLOUR,
        0,
    ),
    "ink.tif": (encoded(CMYK, "TIFF"), COLOUR, 0),
    "ink.jpg": (encoded(CMYK, "JPEG", quality=100), COLOUR, 8),
    "animated.png": (still(PICTURE, "PNG"), COLOUR, 0),
    "animated.webp": (still(PICTURE, "WEBP"), COLOUR, 0),
    "pages.tif": (still(PICTURE, "TIFF"), COLOUR, 0),
    "grey.png": (encoded(Image.fromarray(RAMP), "PNG"), GREY, 0),
    "greyalpha.png": (encoded(Image.fromarray(RAMP).convert("LA"), "PNG"), GREY, 0),
    "alpha.png": (transparent(), COLOUR, 0),
    "palette.png": (encoded(Image.fromarray(RAMP).convert("P"), "PNG"), GREY, 0),
    "bits.png": (encoded(Image.fromarray(GREY).convert("1", dither=0), "PNG"), None, 0),
    "jpeg.png": (encoded(PICTURE, "JPEG", quality=100, subsampling=0), COLOUR, 8),
    "png.jpg": (WHOLE, COLOUR, 0),
    "gif.png": (encoded(Image.fromarray(RAMP), "GIF"), GREY, 0),
    "tail.png": (WHOLE + b"<script>alert(1)</script>", COLOUR, 0),
    "ünï→💥 <b>.png": (WHOLE, COLOUR, 0),
    "n" * 250 + ".png": (WHOLE, COLOUR, 0),
}


@pytest.mark.parametrize("name", ODD, ids=[name[:20] for name in ODD])
def test_an_odd_image_is_read_right(name, tmp_path):
    content, expected, tolerance = ODD[name]
    (tmp_path / name).write_bytes(content)
    pixels = read_images(tmp_path, [tmp_path / name], SIZE)[0].permute(1, 2, 0).numpy()
    if expected is None:  # black and white, no grey
        assert set(pixels.ravel().tolist()) == {0, 255}
        return
    assert np.abs(pixels.astype(int) - expected).max() <= tolerance


def test_the_number_of_readers_changes_nothing(tmp_path, monkeypatch):
    from rfsearch.data import folder

    for k in range(40):
        label = tmp_path / "ab"[k % 2]
        label.mkdir(exist_ok=True)
        Image.fromarray(np.full((20, 20, 3), 5 * k, np.uint8)).save(label / f"{k}.png")
    hashes = set()
    for workers in (1, 2, 7):
        monkeypatch.setattr(folder, "WORKERS", workers)
        made = data.load(f"imagefolder:{tmp_path}", image_size=(8, 8))
        hashes.add((made.data_hash, made.split_hash, made.mean))
    assert len(hashes) == 1


# ---- CSV

ROWS = "".join(f"a.png,{k % 2}\n" for k in range(12))
SPLIT = "".join(f"a.png,{k % 2},{'train' if k < 8 else 'test'}\n" for k in range(12))
TABLES = {
    "nothing": (b"", "no column path and no column label"),
    "no head": (ROWS, "no column path"),
    "another head": ("file,class\n" + ROWS, "no column path and no column label, its"),
    "semicolons": ("path;label\n", "not path;label"),
    "tabs": ("path\tlabel\n", "no column path"),
    "capitals": ("Path,Label\n" + ROWS, "not Path, Label"),
    "head alone": ("path,label\n", "has no images"),
    "one class": ("path,label\n" + "a.png,1\n" * 12, "one class, '1'"),
    "no label": ("path,label\n" + ROWS + "a.png,\n", "line 14: label is empty"),
    "no path": ("path,label\n" + ROWS + ",1\n", "line 14: path is empty"),
    "short line": ("path,label\n" + ROWS + "a.png\n", "line 14: label is empty"),
    "blank label": ("path,label\n" + ROWS + "a.png,  \n", "line 14: label is empty"),
    "not a number": ("path,label\n" + ROWS + "a.png,nan\n", "line 14: the label is nan"),
    "NaN": ("path,label\n" + ROWS + "a.png,NaN\n" * 6, "line 14: the label is NaN"),
    "few": ("path,label\n" + ROWS + "a.png,9\n", "'9' (1)"),
    "a long label": ("path,label\n" + ROWS + f"a.png,{'9' * 5000}\n", "too few images"),
    "other splits": ("path,label,split\n" + SPLIT + "a.png,1,dev\n", "line 14: split must be"),
    "no split": ("path,label,split\n" + SPLIT + "a.png,1,\n", "line 14: split must be"),
    "train alone": ("path,label,split\n" + "a.png,1,train\na.png,0,train\n" * 6, "has train but"),
    "classes of one split": (
        "path,label,split\n" + SPLIT + "a.png,2,test\n",
        "2 only in test",
    ),
    "an open quote": ('path,label\n"a.png,1\n', "line 2: label is empty"),
    "a field without end": ('path,label\n"' + "a" * 200_000, "field larger"),
    "sixteen bits": (("path,label\n" + ROWS).encode("utf-16"), "no CSV in UTF-8"),
    "latin": (("path,label\n" + ROWS).encode() + b"caf\xe9.png,1\n", "no CSV in UTF-8"),
    "a zero byte": ("path,label\n" + ROWS + "a\0.png,1\n" * 4, "null byte"),
    "no such file": ("path,label\n" + ROWS + "none.png,1\n" * 4, "none.png (no such file)"),
    "a long path": ("path,label\n" + ROWS + "b" * 5000 + ".png,1\n", "too long"),
    "a folder": ("path,label\n" + ROWS + ".,1\n" * 4, "no file"),
    "pickles": ("path,label\n" + ROWS.replace("a.png", "a.pkl"), "a.pkl"),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_wrong_table(name, tmp_path, told):
    content, named = TABLES[name]
    (tmp_path / "a.png").write_bytes(WHOLE)
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04N.")
    file = tmp_path / "images.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    named = named.removesuffix(", its")
    told(named, lambda: data.load(f"csv:{file}", image_size=SIZE))


def test_labels_that_are_odd_and_right(tmp_path):
    """Superscripts and words of digits are words; unicode names, and paths above the file."""
    (tmp_path / "a.png").write_bytes(WHOLE)
    (tmp_path / "deep").mkdir()
    file = tmp_path / "deep" / "images.csv"
    for labels in (("²", "1"), ("--1", "1"), ("🐜", "蜂"), ("None", "</script>")):
        lines = "".join(f"../a.png,{labels[k % 2]}\n" for k in range(12))
        file.write_text(f"path,label\n{lines}", encoding="utf-8")
        assert set(data.load(f"csv:{file}", image_size=SIZE).classes) == set(labels)


# ---- arrays


def header(shape, kind="|u1"):
    text = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) + 1) + text.encode() + b"\n"


def stored(array, **options):
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


ARRAYS = {
    "text": (b"hello", "a.npy"),
    "nothing": (b"", "a.npy"),
    "cut head": (stored(np.zeros((3, 20, 20), np.uint8))[:60], "a.npy"),
    "cut": (stored(np.zeros((3, 20, 20), np.uint8))[:500], "a.npy"),
    "huge": (header((10**6, 10**6, 10**6)), "a.npy"),
    "large": (header((3, 10**6, 10**4)), "a.npy"),
    "negative": (header((3, -20, 20)), "a.npy"),
    "code": (header("__import__('os').abort()"), "a.npy"),
    "objects": (stored(np.array([{1: 2}], object), allow_pickle=True), "a.npy"),
    "NaN": (stored(np.full((3, 20, 20), np.nan, np.float32)), "floats must lie in 0..1"),
    "infinite": (stored(np.full((3, 20, 20), np.inf)), "floats must lie in 0..1"),
    "beyond one": (stored(np.full((3, 20, 20), 1.5)), "floats must lie in 0..1"),
    "whole numbers": (stored(np.zeros((3, 20, 20), np.int64)), "uint8 or floats"),
    "truths": (stored(np.zeros((3, 20, 20), bool)), "uint8 or floats"),
    "complex": (stored(np.zeros((3, 20, 20), complex)), "uint8 or floats"),
    "words": (stored(np.array(["a"])), "a.npy"),
    "records": (stored(np.zeros((3, 20, 20), [("a", "u1")])), "a.npy"),
    "foreign order": (stored(np.zeros((3, 20, 20), ">f4")), "byte order"),
    "a number": (stored(np.uint8(3)), "shape (C, H, W)"),
    "a row": (stored(np.zeros(20, np.uint8)), "shape (C, H, W)"),
    "a batch": (stored(np.zeros((1, 3, 20, 20), np.uint8)), "shape (C, H, W)"),
    "no channel": (stored(np.zeros((0, 20, 20), np.uint8)), "a.npy"),
    "no row": (stored(np.zeros((3, 0, 20), np.uint8)), "a.npy"),
    "small": (stored(np.zeros((3, 7, 20), np.uint8)), "20×7 pixels, at least 8"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_a_wrong_array(name, tmp_path, told):
    content, named = ARRAYS[name]
    (tmp_path / "a.npy").write_bytes(content)
    lines = "".join(f"a.npy,{k % 2}\n" for k in range(12))
    (tmp_path / "images.csv").write_text(f"path,label\n{lines}")
    told(["a.npy", named], lambda: data.load(f"csv:{tmp_path / 'images.csv'}", image_size=SIZE))


def test_an_array_beyond_the_bound_is_not_read(tmp_path, monkeypatch, told):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    (tmp_path / "a.npy").write_bytes(stored(np.zeros((3, 20, 20), np.uint8)))
    lines = "".join(f"a.npy,{k % 2}\n" for k in range(12))
    (tmp_path / "images.csv").write_text(f"path,label\n{lines}")
    told("3×20×20 numbers, too many", lambda: data.load(f"csv:{tmp_path / 'images.csv'}"))


# ---- places

LONG = "a" * 5000
PLACES = [
    ("digit", "did you mean 'digits'"),
    ("", "unknown data"),
    (":", "unknown data"),
    ("imagefolder:", "needs a path"),
    ("imagefolder:nowhere", "no such folder"),
    (f"imagefolder:{LONG}", "too long"),
    ("imagefolder:~nobody_of_that_name/x", "~nobody_of_that_name/x"),
    ("csv:", "needs a file"),
    ("csv:nowhere.csv", "there is no file nowhere.csv"),
    (f"csv:{LONG}", "too long"),
    ("csv:~nobody_of_that_name/x", "~nobody_of_that_name/x"),
    ("csv:.", "cannot be read"),
    ("cifar10:nowhere", "cifar10 is not in nowhere"),
    ("cifar10:~nobody_of_that_name", "~nobody_of_that_name"),
    ("fashionmnist:nowhere", "fashionmnist is not in nowhere"),
    ("torchvision:", "unknown torchvision data set"),
    ("torchvision:SVNH", "did you mean 'SVHN'"),
    ("torchvision:SVHN:nowhere", "torchvision:SVHN is not in nowhere"),
    ("torchvision:SVHN:~nobody_of_that_name", "~nobody_of_that_name"),
    ("nowhere.at.all:factory", "no module named 'nowhere'"),
    ("math:tau", "a float, no function"),
    ("math:nothing", "no function called 'nothing'"),
    ("os:getcwd", "os:getcwd() returned a str"),
]


@pytest.mark.parametrize(("spec", "named"), PLACES, ids=[spec[:30] for spec, _ in PLACES])
def test_a_wrong_place(spec, named, tmp_path, monkeypatch, told):
    monkeypatch.chdir(tmp_path)
    told(named, lambda: data.load(spec, image_size=SIZE))


# ---- what a factory returns


def items(image, label, count=12):
    return [(image, label if isinstance(label, float | str) else (k % 2)) for k in range(count)]


UNIT = torch.zeros(3, 20, 20)
RETURNED = {
    "nothing": (None, "returned a NoneType"),
    "one": ([items(UNIT, 0)], "returned a list"),
    "three": (([], [], []), "returned a tuple"),
    "another key": ({"train": [], "test": [], "val": []}, "train, test, val"),
    "empty": (([], []), "train is empty"),
    "a generator": ((iter([]), iter([])), "not a data set with a length"),
    "no pair": (([UNIT] * 3, [UNIT]), "train[0] is no pair"),
    "label of text": ((items(UNIT, "cat"), items(UNIT, 0)), "train[0] is no pair"),
    "label not a number": ((items(UNIT, float("nan")), items(UNIT, 0)), "train[0] is no pair"),
    "label of a float": ((items(UNIT, 1.0), items(UNIT, 0)), "train[0] is no pair"),
    "label below zero": (([(UNIT, -1)] * 12, items(UNIT, 0)), "labels must be 0.."),
    "label beyond": (
        {"train": [(UNIT, 9)] * 12, "test": items(UNIT, 0), "classes": "ab"},
        "labels must be 0..1",
    ),
    "one class": (([(UNIT, 0)] * 12, [(UNIT, 0)] * 3), "one class"),
    "image of NaN": ((items(UNIT * float("nan"), 0), items(UNIT, 0)), "train[0]: floats must"),
    "image of text": ((items("cat", 0), items(UNIT, 0)), "train[0]: a str is no"),
    "image of counts": ((items(UNIT.long(), 0), items(UNIT, 0)), "train[0]: pixels must be"),
    "image of a row": ((items(UNIT[0, 0], 0), items(UNIT, 0)), "train[0]: an image has shape"),
    "small": ((items(UNIT[:, :7], 0), items(UNIT, 0)), "at least 8 needed"),
}


@pytest.mark.parametrize("name", RETURNED)
def test_a_wrong_factory(name, told):
    returned, named = RETURNED[name]
    request = Request(image_size=SIZE)
    told([named, "mine:data"], lambda: factory.assembled("mine:data", "", returned, request))
