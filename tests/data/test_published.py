"""Fashion-MNIST and CIFAR-10 from small files in their published forms, and from the real ones
where RFSEARCH_TEST_DATA names a folder with them."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from rfsearch.data import load
from rfsearch.data.published import default_root
from rfsearch.errors import UserError

REAL = os.environ.get("RFSEARCH_TEST_DATA")
needs_real = pytest.mark.skipif(not REAL, reason="RFSEARCH_TEST_DATA names no folder of data")


def pixels_and_labels(num_images, *shape):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (num_images, *shape), np.uint8), np.arange(num_images) % 10


def write_idx(path, values):
    head = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">i4").tobytes()
    path.write_bytes(head + values.astype(np.uint8).tobytes())


def write_fashionmnist(root):
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name, num_images in (("train", 200), ("t10k", 50)):
        pixels, labels = pixels_and_labels(num_images, 28, 28)
        write_idx(raw / f"{name}-images-idx3-ubyte", pixels)
        write_idx(raw / f"{name}-labels-idx1-ubyte", labels)
    return root


def write_sheets(root):
    for name, num_images in (("train", 200), ("test", 50)):
        pixels, labels = pixels_and_labels(num_images, 32, 32, 3)
        for i in range(num_images // 50):
            sheet = pixels[50 * i : 50 * i + 50].reshape(-1, 32, 3)
            Image.fromarray(sheet).save(root / f"{name}_{i:03}.webp", lossless=True)
        np.save(root / f"{name}_labels.npy", labels.astype(np.uint8))
    return root


def check(data, pixels, labels):
    """Every image (N, C, H, W) of the training splits is where its source says."""
    for split in (data.search.weights, data.search.alpha, data.search.selection):
        index = split.sources.numpy()
        assert np.array_equal(split.pixels.numpy(), pixels[index])
        assert split.labels.tolist() == labels[index].tolist()


def test_fashionmnist(tmp_path):
    data = load(f"fashionmnist:{write_fashionmnist(tmp_path)}")
    assert [size["images"] for size in data.sizes.values()] == [90, 90, 20, 50]
    assert (data.channels, data.image_size, len(data.classes)) == (1, (28, 28), 10)
    pixels, labels = pixels_and_labels(200, 28, 28)
    check(data, pixels[:, None], labels)


def test_fashionmnists_own_folder_may_be_named(tmp_path):
    root = write_fashionmnist(tmp_path)
    by_holder, by_own = (load(f"fashionmnist:{place}") for place in (root, root / "FashionMNIST"))
    assert by_holder.data_hash == by_own.data_hash


def test_cifar10_from_sheets(tmp_path):
    data = load(f"cifar10:{write_sheets(tmp_path)}")
    assert [size["images"] for size in data.sizes.values()] == [90, 90, 20, 50]
    assert (data.channels, data.image_size, data.classes[9]) == (3, (32, 32), "truck")
    pixels, labels = pixels_and_labels(200, 32, 32, 3)
    check(data, pixels.transpose(0, 3, 1, 2), labels)


def test_cifar10_from_torchvisions_files(tmp_path, monkeypatch):
    def batches(root, train, download):
        assert (root, download) == (str(tmp_path), False)
        pixels, labels = pixels_and_labels(200 if train else 50, 32, 32, 3)
        return SimpleNamespace(data=pixels, targets=labels.tolist())

    monkeypatch.setattr("torchvision.datasets.CIFAR10", batches)
    by_class = load(f"cifar10:{tmp_path}")
    by_sheets = load(f"cifar10:{write_sheets(tmp_path)}")
    assert by_class.data_hash == by_sheets.data_hash


def test_another_size_and_fewer_images(tmp_path):
    data = load(
        f"cifar10:{write_sheets(tmp_path)}", image_size=(40, 24), images=80, test_images=20
    )
    assert [size["images"] for size in data.sizes.values()] == [40, 40, 20, 20]
    assert data.search.weights.pixels.shape == (40, 3, 40, 24)


def test_data_that_is_missing_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("RFSEARCH_DATA", str(tmp_path / "cache"))
    assert default_root() == tmp_path / "cache"
    for name in ("fashionmnist", "cifar10"):
        with pytest.raises(UserError, match=rf"{name} is not in .*cache.* --download"):
            load(name)
    assert not (tmp_path / "cache").exists()


def test_the_default_root_is_in_the_users_cache(monkeypatch):
    monkeypatch.delenv("RFSEARCH_DATA", raising=False)
    assert default_root() == Path.home() / ".cache" / "rfsearch"


def test_a_download_that_fails_is_told(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.datasets.CIFAR10", refuse)
    with pytest.raises(UserError, match=r"could not be downloaded to .*: no route to host"):
        load(f"cifar10:{tmp_path}", download=True)


def test_sheets_that_do_not_fit_their_labels(tmp_path):
    write_sheets(tmp_path)
    (tmp_path / "train_001.webp").unlink()
    with pytest.raises(UserError, match="has 150 train images in 3 sheets"):
        load(f"cifar10:{tmp_path}")
    (tmp_path / "train_001.webp").write_bytes(b"broken")
    with pytest.raises(UserError, match="missing or broken"):
        load(f"cifar10:{tmp_path}")


@needs_real
@pytest.mark.slow
def test_the_real_fashionmnist():
    data = load(f"fashionmnist:{REAL}")
    assert [size["images"] for size in data.sizes.values()] == [27000, 27000, 6000, 10000]
    assert data.test.labels.bincount().tolist() == [1000] * 10
    assert data.mean == pytest.approx([0.286], abs=1e-3)
    assert data.std == pytest.approx([0.353], abs=1e-3)


@needs_real
@pytest.mark.slow
def test_the_real_cifar10():
    data = load(f"cifar10:{Path(REAL) / 'CIFAR10'}")
    assert [size["images"] for size in data.sizes.values()] == [22500, 22500, 5000, 10000]
    assert data.search.selection.labels.bincount().tolist() == [500] * 10
    assert data.mean == pytest.approx([0.4914, 0.4822, 0.4465], abs=1e-3)
    assert data.std == pytest.approx([0.2470, 0.2435, 0.2616], abs=1e-3)


@needs_real
@pytest.mark.slow
def test_the_real_imagenette(tmp_path):
    import tarfile

    for name in ("train", "val"):
        with tarfile.open(Path(REAL) / "imagenette128" / f"{name}.tar") as archive:
            archive.extractall(tmp_path, filter="data")
    data = load(f"imagefolder:{tmp_path}", image_size=(128, 128))
    assert [size["images"] for size in data.sizes.values()] == [1125, 1125, 250, 1000]
    assert data.test.labels.bincount().tolist() == [100] * 10
    assert data.mean == pytest.approx([0.4625, 0.4585, 0.4302], abs=5e-3)


def test_torch_sees_no_shared_storage(tmp_path):
    data = load(f"cifar10:{write_sheets(tmp_path)}")
    pointers = {
        images.pixels.untyped_storage().data_ptr()
        for images in (data.search.weights, data.search.alpha, data.search.selection, data.test)
    }
    assert len(pointers) == 4
    assert data.test.pixels.dtype == torch.uint8
