"""Data sets by name."""

from __future__ import annotations

import pytest

from rfsearch.data import DATASETS, DigitsSettings, load
from rfsearch.errors import UserError


def test_the_table():
    assert list(DATASETS) == [
        *("digits", "fashionmnist", "cifar10", "imagefolder", "csv", "torchvision")
    ]


def test_an_unknown_name_lists_what_is_known():
    with pytest.raises(UserError, match=r"unknown data 'digit'; did you mean 'digits'.*cifar10"):
        load("digit")
    with pytest.raises(UserError, match=r"unknown data 'imagefoldr'.* package.module:factory"):
        load("imagefoldr:/some/path")


def test_digits_by_name():
    settings = DigitsSettings(
        weights_images=30, alpha_images=30, selection_images=30, test_images=30, fragments=0
    )
    data = load("digits", seed=2, image_size=(24, 24), images=60, settings=settings)
    assert [size["images"] for size in data.sizes.values()] == [30, 30, 15, 30]
    assert data.image_size == (24, 24)
