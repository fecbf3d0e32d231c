"""Augmentation: by sample index, against slow loops, and off when nothing is drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rfsearch.data.augmentation import Augmentation, AugmentationSettings, Draws, normalise
from rfsearch.errors import UserError

MEAN, STD = (0.2, 0.5, 0.4), (0.3, 0.25, 0.2)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(num_images=6, channels=3, height=12, width=10):
    shape = (num_images, channels, height, width)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator())


def augmentation(**settings):
    return Augmentation(AugmentationSettings(**settings), MEAN, STD, flips=True)


def slowly(pixels, draws, padding):
    """The same by numpy's padding, image by image."""
    mode = {"mode": "reflect"} if padding == "reflect" else {"mode": "constant"}
    moved = []
    for image, (down, right), flip in zip(pixels.numpy(), draws.shift, draws.flip, strict=True):
        image = image[..., ::-1] if flip else image
        padded = np.pad(image, ((0, 0), (4, 4), (4, 4)), **mode)
        top, left = 4 - int(down), 4 - int(right)
        moved.append(padded[:, top : top + image.shape[1], left : left + image.shape[2]])
    return torch.from_numpy(np.stack(moved))


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("padding", ["reflect", "zero"])
def test_shifts_and_flips_equal_padding_and_cropping(padding, channels_last):
    pixels, augment = noise(40), augmentation(padding=padding)
    draws = augment.draw(40, generator())
    assert draws.flip.any()
    assert set(draws.shift.ravel().tolist()) == set(range(-4, 5))
    got = augment.apply(pixels, draws, channels_last)
    assert torch.equal(got, normalise(slowly(pixels, draws, padding), MEAN, STD))


def test_batches_in_any_order_give_the_same():
    pixels, augment = noise(10), augmentation(scale=0.2)
    draws = augment.draw(10, generator())
    whole = augment.apply(pixels, draws)
    for index in (torch.tensor([7, 2, 9]), torch.tensor([2])):
        torch.testing.assert_close(augment.apply(pixels[index], draws.at(index)), whole[index])


def test_nothing_drawn_is_normalisation():
    pixels = noise()
    augment = Augmentation(AugmentationSettings(shift=0), MEAN, STD, flips=False)
    draws = augment.draw(len(pixels), generator())
    assert torch.equal(augment.apply(pixels, draws), normalise(pixels, MEAN, STD))


def test_flips_need_both_the_data_set_and_the_setting():
    for flips, setting in ((True, False), (False, True)):
        augment = Augmentation(AugmentationSettings(flip=setting), MEAN, STD, flips)
        assert not augment.draw(100, generator()).flip.any()


def test_zoom_of_one_is_a_shift():
    pixels = noise()
    draws = augmentation().draw(len(pixels), generator())
    by_grid = augmentation(scale=0.1, padding="zero").apply(pixels, draws)
    by_index = augmentation(padding="zero").apply(pixels, draws)
    torch.testing.assert_close(by_grid, by_index, rtol=0, atol=1e-3)


def test_zoom_enlarges():
    pixels = torch.zeros(1, 1, 32, 32, dtype=torch.uint8)
    pixels[..., 12:20, 12:20] = 255
    augment = Augmentation(AugmentationSettings(scale=1.0), (0.0,), (1.0,))
    draws = Draws(torch.zeros(1, 2, dtype=torch.int64), torch.tensor([False]), torch.tensor([2.0]))
    area = (
        augment.apply(pixels, draws).sum()
        / augment.apply(pixels, Draws(draws.shift, draws.flip, torch.ones(1))).sum()
    )
    assert area == pytest.approx(4, rel=0.05)


def test_zooms_are_bounded():
    zoom = augmentation(scale=0.25).draw(1000, generator()).zoom
    assert 0.8 <= zoom.min() < 0.82
    assert 1.23 < zoom.max() <= 1.25


def test_a_seed_gives_the_same_draws():
    draws = [augmentation(scale=0.1).draw(20, generator(seed)) for seed in (3, 3, 4)]
    assert torch.equal(draws[0].shift, draws[1].shift)
    assert torch.equal(draws[0].zoom, draws[1].zoom)
    assert not torch.equal(draws[0].shift, draws[2].shift)


def test_normalised_pixels_have_mean_zero_and_std_one():
    pixels = noise(200)
    scaled = pixels.double() / 255
    mean, std = scaled.mean((0, 2, 3)), scaled.std((0, 2, 3))
    got = normalise(pixels, tuple(mean.tolist()), tuple(std.tolist()))
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.mean((0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-4)
    torch.testing.assert_close(got.std((0, 2, 3)), torch.ones(3), rtol=0, atol=1e-4)


def test_memory_order_is_what_was_asked_for():
    for channels_last, order in (
        (False, torch.contiguous_format),
        (True, torch.channels_last),
    ):
        assert normalise(noise(), MEAN, STD, channels_last).is_contiguous(memory_format=order)


def test_inputs_are_left_alone():
    pixels = noise().float()
    before = pixels.clone()
    normalise(pixels, MEAN, STD)
    assert torch.equal(pixels, before)


def test_bad_settings_are_errors():
    with pytest.raises(UserError, match="reflect, zero"):
        AugmentationSettings(padding="wrap")
    with pytest.raises(UserError, match="0 or more"):
        AugmentationSettings(shift=-1)
    assert all(f.metadata["help"] for f in AugmentationSettings.__dataclass_fields__.values())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_device_gives_the_same():
    pixels, augment = noise(40), augmentation()
    draws = augment.draw(40, generator())
    on_device = augment.apply(pixels.cuda(), draws.to("cuda"))
    torch.testing.assert_close(on_device.cpu(), augment.apply(pixels, draws))
