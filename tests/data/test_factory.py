"""Data from a user's own function, and every way it can be wrong."""

from __future__ import annotations

from itertools import count
from textwrap import dedent

import numpy as np
import pytest
import torch
from PIL import Image

from rfsearch.data import load
from rfsearch.data.factory import as_pixels
from rfsearch.errors import UserError

NUMBERS = count()
GOOD = """
    import torch
    from torch.utils.data import TensorDataset

    def items(num_images, channels=2):
        labels = torch.arange(num_images) % 3
        pixels = labels.view(-1, 1, 1, 1).expand(-1, channels, 12, 10).to(torch.uint8) * 50
        return TensorDataset(pixels, labels)
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A function that writes a module and returns its name."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(text):
        name = f"userdata{next(NUMBERS)}"
        (tmp_path / f"{name}.py").write_text(dedent(GOOD) + dedent(text))
        return name

    return write


def test_a_pair(module):
    name = module("def make(): return items(90), items(30)")
    data = load(f"{name}:make")
    assert data.name == f"{name}:make"
    assert data.classes == ("0", "1", "2")
    assert (data.channels, data.image_size, data.flips) == (2, (12, 10), False)
    assert [size["images"] for size in data.sizes.values()][-1] == 30
    for images in (data.search.weights, data.test):
        assert torch.equal(images.pixels[:, 1, 5, 5].long(), images.labels * 50)


def test_a_mapping_with_names_and_flips(module):
    name = module("""
        def make():
            return dict(train=items(90), test=items(30), classes="abc", flips=True)
    """)
    data = load(f"{name}:make", image_size=(16, 16), images=20, test_images=6)
    assert data.classes == ("a", "b", "c")
    assert data.flips
    assert data.image_size == (16, 16)
    assert [size["images"] for size in data.sizes.values()] == [10, 10, 5, 6]


def test_labels_are_taken_from_targets_unless_they_are_transformed(module):
    name = module("""
        class Lazy:
            def __init__(self, num_images, target_transform=None):
                self.targets = [i % 3 for i in range(num_images)]
                self.target_transform = target_transform
                self.reads = 0
            def __len__(self):
                return len(self.targets)
            def __getitem__(self, i):
                self.reads += 1
                label = self.targets[i]
                if self.target_transform:
                    label = self.target_transform(label)
                return torch.zeros(1, 8, 8), label

        train, test = Lazy(90), Lazy(30)
        def make(): return train, test
        def other(): return Lazy(90, lambda label: 2 - label), Lazy(30)
    """)
    load(f"{name}:make", images=12, test_images=3)
    train = __import__(name).train
    assert train.reads < 20
    data = load(f"{name}:other")
    assert torch.equal(data.search.alpha.labels, 2 - data.search.alpha.sources % 3)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("make = 3", r"has a int, no function, called 'make'"),
        ("", r"has no function called 'make'"),
        ("def make(): raise OSError('no disk')", r"make\(\) failed: OSError: no disk"),
        ("def make(): return 3", r"returned a int; expected a pair \(train, test\)"),
        ("def make(): return {'train': items(9)}", r"mapping with train; expected"),
        ("def make(): return dict(train=items(9), test=items(9), x=1)", "train, test, x; exp"),
        ("def make(): return items(90), iter(())", r"test is a tuple_iterator, not a data set"),
        ("def make(): return items(90), []", r"test is empty"),
        ("def make(): return items(90), [1, 2]", r"test\[0\] is no pair of image and integer"),
        ("def make(): return [(torch.ones(1, 8, 8), .5)], items(9)", r"train\[0\] is no pair"),
        ("def make(): return [(3, 0)] * 9, items(9)", r"train\[0\]: a int is no Pillow image"),
        ("def make(): return [(torch.ones(9), 0)] * 9, items(9)", r"shape \(C, H, W\), not \(9,"),
        ("def make(): return [(torch.ones(1, 9, 4), 0)] * 9, items(9)", r"9×4 pixels; at least 8"),
        ("def make(): return [(-torch.ones(1, 9, 9), 0)] * 9, items(9)", r"floats must lie in"),
        ("def make(): return [(torch.ones(1, 9, 9), 0)] * 9, items(1)", r"one class; at least"),
        ("def make(): return [(torch.ones(1, 9, 9), -1)] * 9, items(9)", r"labels must be 0\.\.2"),
        (
            "def make(): return dict(train=items(90), test=items(9), classes=['a', 'b'])",
            r"labels must be 0\.\.1",
        ),
        (
            "def make(): return [*items(90), *items(90, 1)], items(30)",
            r"train: images have \[1, 2\] channels",
        ),
        ("import nowhere_at_all", r"importing userdata\d+ failed: No module named 'nowhere_at"),
        ("1 / 0", r"importing userdata\d+ failed: ZeroDivisionError"),
    ],
)
def test_mistakes_are_told(module, body, message):
    with pytest.raises(UserError, match=message) as caught:
        load(f"{module(body)}:make")
    assert len(str(caught.value).splitlines()) <= 2


def test_a_test_set_of_other_channels(module):
    name = module("def make(): return items(90), items(30, 1)")
    with pytest.raises(UserError, match="test images have 1 channels, the others 2"):
        load(f"{name}:make")


def test_a_module_that_is_not_there():
    with pytest.raises(UserError, match="no module named 'nowhere_at_all' for data"):
        load("nowhere_at_all.data:make")
    with pytest.raises(UserError, match="'cifar' is neither a data set"):
        load("cifar:data")


GREY = np.arange(80, dtype=np.uint8).reshape(8, 10)


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(GREY),
        GREY,
        GREY[None],
        GREY[..., None],
        GREY[:, ::-1][:, ::-1],
        torch.from_numpy(GREY)[None],
        torch.from_numpy(GREY)[None] / 255,
    ],
)
def test_images_in_any_form(image):
    assert torch.equal(as_pixels(image), torch.from_numpy(GREY)[None])


def test_colour_pictures_and_arrays():
    colour = np.random.default_rng(0).integers(0, 256, (8, 10, 3), np.uint8)
    expected = torch.from_numpy(colour).permute(2, 0, 1)
    for image in (colour, colour.transpose(2, 0, 1), Image.fromarray(colour)):
        assert torch.equal(as_pixels(image), expected)
    assert as_pixels(Image.fromarray(colour).convert("RGBA")).shape == (3, 8, 10)
