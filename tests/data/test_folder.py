"""Folders of images: conventions, decoding, and every way they can be wrong."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rfsearch.data import folder, load
from rfsearch.data.folder import EXTENSIONS, decode, list_images
from rfsearch.errors import UserError

SIZE = (16, 16)


def save(path, shade=0, size=(20, 20), **keywords):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size[::-1], (shade, 100, 50)).save(path, **keywords)
    return path


def fill(root, classes=("cat", "dog"), num_images=12, suffix=".png"):
    for place, name in enumerate(classes):
        for i in range(num_images):
            save(root / name / f"{i:03}{suffix}", shade=100 * place + i)
    return root


def read(root, **keywords):
    return load(f"imagefolder:{root}", **{"image_size": SIZE, **keywords})


def test_a_flat_folder_is_split_by_seed(tmp_path):
    fill(tmp_path)
    data = read(tmp_path)
    assert data.classes == ("cat", "dog")
    assert (data.channels, data.image_size, data.flips) == (3, SIZE, True)
    assert sum(size["images"] for size in data.sizes.values()) == 24
    splits = [data.search.weights, data.search.alpha, data.search.selection, data.test]
    assert len(torch.cat([split.sources for split in splits]).unique()) == 24
    for split in splits:  # shade tells the image: 100 · class + index within the class
        shades = split.pixels[:, 0, 8, 8].long()
        assert torch.equal(shades // 100, split.labels)
        assert torch.equal(shades % 100, split.sources % 12)
    assert read(tmp_path).split_hash == data.split_hash != read(tmp_path, seed=1).split_hash


@pytest.mark.parametrize("name", ["val", "test"])
def test_given_splits_are_kept(tmp_path, name):
    fill(tmp_path / "train")
    fill(tmp_path / name, num_images=3)
    data = read(tmp_path)
    assert len(data.test) == 6
    assert data.test.sources.min() == 24
    assert data.test.pixels[:, 0, 0, 0].sort().values.tolist() == [0, 1, 2, 100, 101, 102]
    assert sum(size["images"] for size in data.sizes.values()) == 30


def test_with_train_val_and_test_the_test_is_untouched(tmp_path):
    for name, num_images in (("train", 12), ("val", 4), ("test", 3)):
        fill(tmp_path / name, num_images=num_images)
    data = read(tmp_path)
    assert len(data.test) == 6
    assert sum(size["images"] for size in data.sizes.values()) == 38


def test_listing_is_torchvisions(tmp_path):
    from torchvision.datasets import ImageFolder
    from torchvision.datasets.folder import IMG_EXTENSIONS

    assert set(EXTENSIONS) == set(IMG_EXTENSIONS)
    fill(tmp_path, ("b", "a", "C"), 3)
    save(tmp_path / "a" / "deep" / "x.PNG")
    save(tmp_path / "a" / "001a.jpg")
    (tmp_path / "a" / "notes.txt").write_text("no image")
    (tmp_path / ".hidden").mkdir()
    for hidden in ("._000.png", ".ipynb_checkpoints/000-checkpoint.png"):  # torchvision reads them
        save(tmp_path / "a" / hidden)
    listing = list_images(tmp_path)
    expected = ImageFolder(tmp_path, allow_empty=True)
    shown = [path for path, _ in expected.samples if "/." not in path.removeprefix(str(tmp_path))]
    assert len(shown) == len(expected.samples) - 2
    assert [str(path) for path in listing.paths] == shown
    assert list(listing.classes) == [name for name in expected.classes if name != ".hidden"]


def test_caps_read_only_what_is_needed(tmp_path):
    fill(tmp_path, num_images=40)
    data = read(tmp_path, images=16, test_images=4)
    assert [size["images"] for size in data.sizes.values()] == [8, 8, 4, 4]


def test_grey_palette_transparent_and_sixteen_bit_images_become_rgb(tmp_path):
    ramp = np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8).repeat(2, 0).repeat(2, 1)
    grey = Image.fromarray(ramp)
    grey.save(tmp_path / "grey.png")
    Image.fromarray(ramp.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    grey.convert("P").save(tmp_path / "palette.png", transparency=bytes(range(256)))
    grey.convert("RGBA").save(tmp_path / "alpha.png")
    for name in ("grey", "deep", "palette", "alpha"):
        pixels = decode(tmp_path / f"{name}.png", SIZE)
        assert pixels.shape == (16, 16, 3)
        assert np.array_equal(pixels, np.stack([ramp] * 3, -1)), name


def test_orientation_is_applied(tmp_path):
    picture = Image.new("RGB", (40, 20))
    picture.paste((255, 255, 255), (0, 0, 20, 20))  # the left half is white
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise: the left becomes the top
    picture.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    pixels = decode(tmp_path / "turned.jpg", (40, 20))
    assert pixels[:15].min() > 240
    assert pixels[25:].max() < 15


def test_the_centre_is_kept(tmp_path):
    picture = Image.new("RGB", (48, 16))
    picture.paste((255, 0, 0), (16, 0, 32, 16))
    picture.save(tmp_path / "wide.png")
    assert (decode(tmp_path / "wide.png", SIZE) == (255, 0, 0)).all()


def test_small_images_are_enlarged_and_tiny_ones_refused(tmp_path):
    save(tmp_path / "small.png", size=(8, 9))
    assert decode(tmp_path / "small.png", (32, 32)).shape == (32, 32, 3)
    fill(tmp_path / "all")
    save(tmp_path / "all" / "cat" / "tiny.png", size=(7, 30))
    with pytest.raises(
        UserError, match=r"1 of 25 images .*cat/tiny.png \(30×7 pixels, at least 8"
    ):
        read_all(tmp_path / "all")


def read_all(root):
    listing = list_images(root)
    return folder.read_images(root, list(listing.paths), SIZE)


def test_unreadable_images_are_named_and_counted(tmp_path):
    fill(tmp_path, suffix=".jpg")
    broken = sorted((tmp_path / "dog").iterdir())[:5]
    for path in broken[:4]:
        path.write_bytes(b"no image at all")
    broken[4].write_bytes(broken[4].read_bytes()[:-200])
    with pytest.raises(UserError) as caught:
        read_all(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"5 of 24 images in {tmp_path} cannot be used: dog/000.jpg (not an")
    assert "dog/002.jpg" in message
    assert "dog/003.jpg" not in message
    assert "and 2 more; repair or remove them" in message


def test_a_truncated_image_is_unreadable(tmp_path):
    fill(tmp_path)
    path = save(tmp_path / "cat" / "cut.jpg", size=(200, 200), quality=95)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(UserError, match=r"cat/cut\.jpg \(image file is truncated"):
        read_all(tmp_path)


@pytest.mark.parametrize("limit", [300, 150])
def test_huge_images_are_refused_before_decoding(tmp_path, monkeypatch, limit):
    fill(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)  # Pillow refuses at twice this itself
    with pytest.raises(UserError, match=r"24 of 24 .*too many (pixels )?to decode safely"):
        read_all(tmp_path)


def test_more_than_memory_holds_is_refused():
    with pytest.raises(UserError, match="GiB"):
        folder.read_images(Path(), [Path("a.png")] * 1000, (10**6, 10**6))


def test_a_missing_folder(tmp_path):
    with pytest.raises(UserError, match=r"nowhere: there is no such folder"):
        read(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file: Not a directory"):
        read(tmp_path / "file")
    with pytest.raises(UserError, match="needs a path"):
        load("imagefolder")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions do not bind here")
def test_a_forbidden_folder(tmp_path):
    (tmp_path / "shut").mkdir(mode=0)
    with pytest.raises(UserError, match="Permission denied"):
        read(tmp_path / "shut")


def test_a_folder_without_images(tmp_path):
    with pytest.raises(UserError, match="no images in"):
        read(tmp_path)
    (tmp_path / "cat").mkdir()
    with pytest.raises(UserError, match="no images in"):
        read(tmp_path)
    fill(tmp_path, ("dog", "fox"))
    with pytest.raises(UserError, match="without images: cat; remove"):
        read(tmp_path)


def test_one_class(tmp_path):
    with pytest.raises(UserError, match="one class, 'cat'; at least two"):
        read(fill(tmp_path, ("cat",)))


def test_splits_with_different_classes(tmp_path):
    fill(tmp_path / "train", ("cat", "dog"))
    fill(tmp_path / "val", ("cat", "fox"))
    with pytest.raises(UserError, match="differ: dog only in train, fox only in val"):
        read(tmp_path)


def test_train_alone(tmp_path):
    fill(tmp_path / "train")
    with pytest.raises(UserError, match=r"has train/ inside but not train/ with val/ or test/"):
        read(tmp_path)


def test_too_few_images_of_a_class(tmp_path):
    fill(tmp_path)
    fill(tmp_path, ("fox",), 1)
    with pytest.raises(
        UserError, match=r"1 of 3 .* too few images to be split: 'fox' \(1\); .* at least 4"
    ):
        read(tmp_path)
