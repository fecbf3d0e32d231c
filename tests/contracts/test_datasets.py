"""What every entry of DATASETS keeps: four disjoint splits that a seed alone decides, hashes of
what they hold, any image size, and less of the same where less is asked for."""

from __future__ import annotations

import itertools

import pytest
import torch

from rfsearch.data import DATASETS, DigitsSettings, load
from rfsearch.data.images import measure
from tests.data.test_folder import fill
from tests.data.test_published import write_fashionmnist, write_sheets
from tests.data.test_table import pictures, write
from tests.data.test_torchvision_sets import write_kmnist

SIZE = (12, 16)
FEW = DigitsSettings(
    weights_images=40, alpha_images=40, selection_images=20, test_images=20, fragments=2
)
PLACES = {
    "digits": lambda _: "digits",
    "fashionmnist": lambda root: f"fashionmnist:{write_fashionmnist(root)}",
    "cifar10": lambda root: f"cifar10:{write_sheets(root)}",
    "imagefolder": lambda root: f"imagefolder:{fill(root, num_images=20)}",
    "csv": lambda root: f"csv:{write(root, pictures(root, 40))}",
    "torchvision": lambda root: f"torchvision:KMNIST:{write_kmnist(root)}",
}
"""How a small one of each is made."""


@pytest.fixture(scope="module", params=list(DATASETS))
def asked(request, tmp_path_factory):
    """``asked(**options)``: the data set, in a size that is not square."""
    spec = PLACES[request.param](tmp_path_factory.mktemp(request.param))

    def ask(**options):
        return load(spec, **{"image_size": SIZE, "settings": FEW, **options})

    return ask


def splits(data):
    return [data.search.weights, data.search.alpha, data.search.selection, data.test]


def test_the_splits(asked):
    data = asked()
    for one, other in itertools.combinations(splits(data), 2):
        assert not set(one.sources.tolist()) & set(other.sources.tolist())
        assert one.pixels.untyped_storage().data_ptr() != other.pixels.untyped_storage().data_ptr()
    for split in splits(data):
        assert len(split) > 0
        assert split.pixels.shape[1:] == (data.channels, *SIZE)
        assert set(split.labels.tolist()) <= set(range(len(data.classes)))
    assert data.image_size == SIZE
    assert len(data.search.training().labels.unique()) == len(data.classes)
    assert (data.mean, data.std) == measure(data.search.training().pixels)


def test_the_seed_decides(asked):
    data, again, other = asked(seed=3), asked(seed=3), asked(seed=4)
    assert (data.data_hash, data.split_hash) == (again.data_hash, again.split_hash)
    assert data.split_hash != other.split_hash
    for one, two in zip(splits(data), splits(again), strict=True):
        assert torch.equal(one.pixels, two.pixels)


def test_less_is_the_beginning_of_more(asked):
    whole, less = asked(), asked(images=24, test_images=8)
    sizes = [min(len(one), most) for one, most in zip(splits(whole), (12, 12, 6, 8), strict=True)]
    assert [len(split) for split in splits(less)] == sizes
    for one, part in zip(splits(whole), splits(less), strict=True):
        assert torch.equal(one.pixels[: len(part)], part.pixels)
        assert torch.equal(one.labels[: len(part)], part.labels)
