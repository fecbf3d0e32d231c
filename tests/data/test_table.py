"""Tables of images: columns, splits, arrays of many channels, and every way they can be wrong."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch
from PIL import Image

from rfsearch.data import load
from rfsearch.errors import UserError

SIZE = (16, 12)


def write(root, rows, columns=("path", "label"), name="images.csv", encoding="utf-8"):
    with (root / name).open("w", newline="", encoding=encoding) as file:
        csv.writer(file).writerows([columns, *rows])
    return root / name


def pictures(root, num_images=24, classes=2):
    """Rows of images whose shade is their number."""
    rows = []
    for i in range(num_images):
        path = root / "deep" / f"{i:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (20, 24), (i, 100, 50)).save(path)
        rows.append((f"deep/{i:02}.png", str(i % classes)))
    return rows


def read(file, **keywords):
    return load(f"csv:{file}", **{"image_size": SIZE, **keywords})


def splits(data):
    return [data.search.weights, data.search.alpha, data.search.selection, data.test]


def test_a_seeded_split(tmp_path):
    file = write(tmp_path, pictures(tmp_path))
    data = read(file)
    assert data.classes == ("0", "1")
    assert (data.name, data.root, data.channels, data.image_size) == ("csv", str(file), 3, SIZE)
    for split in splits(data):
        assert torch.equal(split.pixels[:, 0, 5, 5].long(), split.sources)
        assert torch.equal(split.labels, split.sources % 2)
    assert sum(map(len, splits(data))) == 24
    assert read(file).split_hash == data.split_hash != read(file, seed=1).split_hash


def test_it_is_the_folder_of_the_same_images(tmp_path):
    """The same images in folders of classes: another reader, the same splits and pixels."""
    names = ("ant", "bee")
    rows = pictures(tmp_path)
    for path, label in rows:
        target = tmp_path / "folder" / names[int(label)] / path.removeprefix("deep/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((tmp_path / path).read_bytes())
    ordered = sorted(rows, key=lambda row: (row[1], row[0]))
    file = write(tmp_path, [(path, names[int(label)]) for path, label in ordered])
    folder = load(f"imagefolder:{tmp_path / 'folder'}", image_size=SIZE)
    table = read(file)
    assert (table.data_hash, table.split_hash) == (folder.data_hash, folder.split_hash)
    assert (table.classes, table.mean) == (folder.classes, folder.mean)


@pytest.mark.parametrize("last", ["test", "val"])
def test_given_splits_are_kept(tmp_path, last):
    given = [*["train"] * 16, *["val"] * 4, *[last] * 4]
    rows = [(*row, split) for row, split in zip(pictures(tmp_path), given, strict=True)]
    data = read(write(tmp_path, rows, ("path", "label", "split")))
    test = sorted(data.test.pixels[:, 0, 5, 5].tolist())
    assert test == list(range(20 if last == "test" else 16, 24))
    assert len(data.search.training()) + len(data.search.selection) == 24 - len(test)


def test_classes_are_ordered_and_columns_free(tmp_path):
    rows = [(str(10 - i % 3), "x", path) for i, (path, _) in enumerate(pictures(tmp_path))]
    data = read(write(tmp_path, rows, ("label", "note", "path"), encoding="utf-8-sig"))
    assert data.classes == ("8", "9", "10")
    assert torch.equal(data.test.labels, 2 - data.test.sources % 3)


def test_grey(tmp_path):
    data = read(write(tmp_path, pictures(tmp_path)), channels=1)
    assert data.channels == len(data.mean) == 1
    shades = data.test.pixels[:, 0, 5, 5].double()
    luma = 0.299 * data.test.sources + 0.587 * 100 + 0.114 * 50  # ITU-R 601, as Pillow's L
    assert (shades - luma).abs().max() <= 1


def arrays(root, num_images=24, channels=5):
    """Rows of arrays with a channel for each of five bands."""
    rng, rows = np.random.default_rng(0), []
    for i in range(num_images):
        pixels = rng.integers(0, 256, (channels, *SIZE), np.uint8)
        pixels[:, 0, 0] = i
        np.save(root / f"{i}.npy", pixels)
        rows.append((f"{i}.npy", "ab"[i % 2]))
    return rows


def test_arrays_of_many_channels(tmp_path):
    data = read(write(tmp_path, arrays(tmp_path)))
    assert data.channels == len(data.std) == 5
    for split in splits(data):
        for pixels, source in zip(split.pixels, split.sources, strict=True):
            assert np.array_equal(pixels, np.load(tmp_path / f"{source}.npy"))
    assert load(f"csv:{tmp_path / 'images.csv'}", image_size=(32, 24)).image_size == (32, 24)


@pytest.mark.parametrize(
    ("columns", "rows", "message"),
    [
        (("file", "label"), [], r"no column path; its first row must name .*, not file, label"),
        ((), [], "no column path and no column label"),
        (("path", "label"), [], "has no images; at least two"),
        (("path", "label"), [("a.png", "")], "line 2: label is empty"),
        (("path", "label"), [("", "b")], "line 2: path is empty"),
        (("path", "label"), [("a.png", "b"), ("c.png", "b")], "one class, 'b'; at least two"),
        (("path", "label"), [("a.png", "b"), ("c.png", "d")], r"too few images .*'b' \(1\)"),
        (
            ("path", "label", "split"),
            [("a", "b", "train"), ("c", "d", "tset")],
            "line 3: split must be train, val or test, not 'tset'",
        ),
        (
            ("path", "label", "split"),
            [("a", "b", "train"), ("c", "d", "train")],
            "has train but not train with val or test",
        ),
        (
            ("path", "label", "split"),
            [("a", "b", "train"), ("c", "d", "train"), ("e", "b", "test")],
            "differ: d only in train; both need",
        ),
        (
            ("path", "label"),
            [(f"no{i}.png", "ab"[i % 2]) for i in range(12)],
            r"of \d+ images .*no\d+\.png \(no such file\)",
        ),
    ],
)
def test_mistakes_are_told(tmp_path, columns, rows, message):
    with pytest.raises(UserError, match=message) as caught:
        read(write(tmp_path, rows, columns))
    assert len(str(caught.value).splitlines()) <= 2


def test_arrays_and_images_that_do_not_go_together(tmp_path):
    rows = arrays(tmp_path)
    np.save(tmp_path / "3.npy", np.zeros((2, *SIZE), np.uint8))
    Image.new("RGB", (20, 20)).save(tmp_path / "one.png")
    np.save(tmp_path / "5.npy", np.full((5, *SIZE), 7, np.int32))
    rows[4] = ("one.png", "a")
    with pytest.raises(UserError) as caught:
        read(write(tmp_path, rows))
    told = str(caught.value)
    assert "3 of 24 images" in told
    assert "3.npy (2 channels, the first has 5)" in told
    assert "one.png (an image among arrays of 5 channels)" in told
    assert "5.npy (pixels must be uint8 or floats 0..1, not torch.int32)" in told


def test_objects_are_never_unpickled(tmp_path):
    rows = arrays(tmp_path)
    np.save(tmp_path / "0.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(UserError, match=r"0\.npy cannot be used: .*Python objects"):
        read(write(tmp_path, rows))


def test_files_that_are_none(tmp_path):
    with pytest.raises(UserError, match=r"csv needs a file"):
        load("csv")
    with pytest.raises(UserError, match=r"there is no file .*nowhere\.csv"):
        read(tmp_path / "nowhere.csv")
    with pytest.raises(UserError, match=r"cannot be read: Is a directory"):
        read(tmp_path)
    (tmp_path / "odd.csv").write_bytes(b"path,label\n\xff\xfe,b\n")
    with pytest.raises(UserError, match=r"odd\.csv is no CSV in UTF-8"):
        read(tmp_path / "odd.csv")
    with pytest.raises(UserError, match=r"data\.channels must be 3 \(colour\) or 1 \(grey\)"):
        read(tmp_path / "odd.csv", channels=2)
