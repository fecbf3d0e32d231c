"""torchvision's data sets by name, from small files in their published forms."""

from __future__ import annotations

import inspect

import pytest
import torchvision

from rfsearch.data import load
from rfsearch.data.published import default_root
from rfsearch.data.torchvision_sets import SETS
from rfsearch.errors import UserError
from tests.data.test_published import pixels_and_labels, write_fashionmnist


def write_kmnist(root):
    (write_fashionmnist(root) / "FashionMNIST").rename(root / "KMNIST")
    return root


def test_a_set_by_name(tmp_path):
    data = load(f"torchvision:kmnist:{write_kmnist(tmp_path)}")
    assert [size["images"] for size in data.sizes.values()] == [90, 90, 20, 50]
    assert (data.name, data.root, data.flips) == ("torchvision:KMNIST", str(tmp_path), False)
    assert (data.channels, data.image_size, data.classes[:2]) == (1, (28, 28), ("o", "ki"))
    pixels, labels = pixels_and_labels(200, 28, 28)
    for split in (data.search.weights, data.search.alpha, data.search.selection):
        index = split.sources.numpy()
        assert (split.pixels[:, 0].numpy() == pixels[index]).all()
        assert (split.labels.numpy() == labels[index]).all()


@pytest.mark.parametrize("name", list(SETS))
def test_every_set_takes_what_it_is_told(name):
    kind = getattr(torchvision.datasets, name)
    for told in SETS[name].told:
        inspect.signature(kind).bind("root", download=False, **told)
    assert SETS[name].told[0] != SETS[name].told[1], "the test set is another one"


@pytest.mark.parametrize("name", list(SETS))
def test_every_set_that_is_not_there_is_told(name, tmp_path):
    with pytest.raises(UserError, match=rf"torchvision:{name} is not in .*--download") as caught:
        load(f"torchvision:{name}:{tmp_path}")
    assert len(str(caught.value).splitlines()) == 1


def test_mistakes_are_told(tmp_path, monkeypatch):
    monkeypatch.setenv("RFSEARCH_DATA", str(tmp_path))
    assert default_root() == tmp_path
    with pytest.raises(UserError, match=r"set 'CIFAR101'; did you mean 'CIFAR10\d*'\? Known: CIF"):
        load("torchvision:CIFAR101")
    with pytest.raises(UserError, match="unknown torchvision data set ''"):
        load("torchvision")
    with pytest.raises(UserError, match=f"not in {tmp_path}"):
        load("torchvision:MNIST")
