"""Images: statistics against numpy, sources, and resizing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from rfsearch.data.images import Images, join, measure, resized


def noise(*shape):
    return torch.randint(
        0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def images(num_images):
    labels = torch.arange(num_images)
    return Images(noise(num_images, 2, 8, 8), labels, labels // 2)


def test_statistics_equal_numpys():
    pixels = noise(20, 3, 9, 7)
    mean, std = measure(pixels)
    scaled = pixels.numpy() / 255
    np.testing.assert_allclose(mean, scaled.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, scaled.std((0, 2, 3)), rtol=1e-12)


def test_a_channel_without_contrast_has_std_one():
    assert measure(torch.full((4, 1, 8, 8), 51, dtype=torch.uint8)) == ((0.2,), (1.0,))


def test_sources_are_counted_once():
    assert images(6).num_sources == 3
    assert join(images(6), images(6)).num_sources == 3


def test_take_copies():
    whole = images(6)
    part = whole.take(torch.tensor([4, 1]))
    assert part.labels.tolist() == [4, 1]
    part.pixels.zero_()
    assert whole.pixels[4].any()


def test_wrong_types_are_refused():
    with pytest.raises(AssertionError):
        Images(torch.zeros(2, 1, 8, 8), torch.arange(2), torch.arange(2))
    with pytest.raises(AssertionError):
        Images(noise(2, 1, 8, 8), torch.arange(3), torch.arange(3))


@pytest.mark.parametrize("size", [(8, 8), (16, 24), (30, 20), (13, 40)])
def test_resizing_agrees_with_pillow(size):
    y, x = torch.meshgrid(torch.arange(20), torch.arange(30), indexing="ij")
    pixels = torch.stack([6 * y, 6 * x, 3 * x + 3 * y]).to(torch.uint8)[None]
    picture = Image.fromarray(pixels[0].permute(1, 2, 0).numpy())
    expected = np.asarray(ImageOps.fit(picture, size[::-1], Image.Resampling.BILINEAR))
    got = resized(pixels, size)[0].permute(1, 2, 0).numpy()
    assert got.shape == expected.shape
    # Pillow cuts the crop at fractions of a pixel, of which one is worth 6 here
    assert np.abs(got.astype(int) - expected.astype(int)).max() <= 6


def test_resizing_to_the_same_size_changes_nothing():
    pixels = noise(2, 1, 8, 9)
    assert resized(pixels, (8, 9)) is pixels
    assert resized(pixels, None) is pixels
