"""Cluttered digits: disjoint sources, exact scenes, one data seed."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats

from rfsearch import seeds
from rfsearch.data import digits
from rfsearch.data.digits import Layout, arrange, layouts, paint, source_digits
from rfsearch.data.request import DigitsSettings, Request
from rfsearch.data.splits import SPLITS
from rfsearch.errors import UserError

SMALL = DigitsSettings(
    weights_images=60, alpha_images=60, selection_images=60, test_images=60, canvas=64
)


def load(**arguments):
    return digits.load(Request(**{"digits": SMALL, **arguments}))


def test_sources_of_splits_are_disjoint_fragments_included():
    _, labels = source_digits()
    drawn = layouts(labels, (64, 64), DigitsSettings(), Request())
    used = {split: set(drawn[split].source.ravel().tolist()) for split in SPLITS}
    for split in SPLITS:
        main = set(drawn[split].source[:, 0].tolist())
        assert used[split] == main  # so the main digits' sources tell it all
    assert sum(map(len, used.values())) == len(set().union(*used.values())) == len(labels)


def test_every_source_is_used_about_equally_often():
    _, labels = source_digits()
    for layout in layouts(labels, (64, 64), DigitsSettings(), Request()).values():
        counts = np.bincount(layout.source[:, 0])
        assert np.ptp(counts[counts > 0]) <= 1


def test_fragments_come_from_other_digits():
    layout = arrange(np.arange(5), 200, (64, 64), SMALL, seeds.numbers(0))
    assert (layout.source[:, 1:] != layout.source[:, :1]).all()
    assert set(layout.source[:, 1:].ravel().tolist()) == set(range(5))


def test_the_number_of_fragments_varies_evenly_from_fewest_to_most():
    settings = replace(SMALL, min_fragments=2, fragments=5)
    layout = arrange(np.arange(5), 4000, (64, 64), settings, seeds.numbers(0))
    shown = (layout.extent[:, 1:] > 0).sum(1)
    counts = np.bincount(shown)
    assert (counts[:2] == 0).all()
    assert stats.chisquare(counts[2:]).pvalue > 0.01
    assert set(layout.extent[:, 1:].ravel().tolist()) == {0, settings.fragment_size}


def test_a_fragment_that_is_not_shown_leaves_no_trace():
    source, _ = source_digits()
    layout, image_size = scene(size=20, place=(3, 11))
    hidden, _ = scene(size=24, place=(0, 0), start=5, extent=8)
    hidden.extent[:] = 0
    names = [field.name for field in fields(Layout)]
    both = Layout(*(np.concatenate([getattr(layout, n), getattr(hidden, n)], 1) for n in names))
    assert torch.equal(paint(both, source, image_size), paint(layout, source, image_size))


def test_everything_lies_on_the_canvas_and_reaches_its_edges():
    layout = arrange(np.arange(5), 4000, (52, 64), SMALL, seeds.numbers(0))
    assert layout.place.min() == 0
    for axis, side in enumerate((52, 64)):
        assert (layout.place[..., axis] + layout.extent).max() == side
    assert (layout.cut + layout.extent[..., None] <= layout.size[..., None]).all()
    assert layout.size.min() == 32
    assert layout.size.max() == 48


def scene(size, place, start=0, extent=None, image_size=(32, 40)):
    patch = (np.array([[value]]) for value in (0, size, extent or size))
    return Layout(*patch, np.full((1, 1, 2), start), np.array([[place]])), image_size


def test_a_patch_is_torchs_bilinear_enlargement():
    source, _ = source_digits()
    layout, image_size = scene(size=20, place=(3, 11))
    image = paint(layout, source, image_size)
    expected = torch.zeros(32, 40)
    enlarged = F.interpolate(torch.from_numpy(source[:1, None]), (20, 20), mode="bilinear")
    expected[3:23, 11:31] = enlarged[0, 0] * 255 / 16
    assert (image[0, 0].float() - expected).abs().max() <= 1  # weights are rounded to 1/256


def test_a_fragment_is_a_crop_of_the_enlargement():
    source, _ = source_digits()
    whole = paint(*scene_first(20, (0, 0)))
    fragment = paint(*scene_first(20, (9, 12), start=6, extent=8))
    assert torch.equal(fragment[0, 0, 9:17, 12:20], whole[0, 0, 6:14, 6:14])
    assert fragment.sum() == fragment[0, 0, 9:17, 12:20].sum() > 0
    assert source.max() == 16


def scene_first(*arguments, **keywords):
    layout, image_size = scene(*arguments, **keywords)
    return layout, source_digits()[0], image_size


def test_full_brightness_is_255():
    bright = np.full((1, 8, 8), 16, np.float32)
    layout, image_size = scene(size=16, place=(0, 0))
    assert paint(layout, bright, image_size)[0, 0, :16, :16].unique().tolist() == [255]


def test_the_same_seed_gives_the_same_images():
    first, again, other = load(), load(), load(seed=1)
    assert (first.data_hash, first.split_hash) == (again.data_hash, again.split_hash)
    assert first.data_hash != other.data_hash
    assert first.split_hash != other.split_hash


def test_the_images_are_these():
    """The generator is exact, so the same on every machine; a change is a change of data set."""
    assert load().data_hash[:16] == "d8add7ca323f9c2a"


def test_a_larger_set_begins_with_a_smaller_one():
    few, many = load(images=40, test_images=7), load()
    assert [size["images"] for size in few.sizes.values()] == [20, 20, 10, 7]
    for a, b in ((few.search.weights, many.search.weights), (few.test, many.test)):
        assert torch.equal(a.pixels, b.pixels[: len(a)])
        assert torch.equal(a.labels, b.labels[: len(a)])


def test_what_is_loaded():
    data = load(image_size=(32, 48))
    assert data.name == "digits"
    assert data.classes == tuple("0123456789")
    assert (data.channels, data.image_size, data.flips) == (1, (32, 48), False)
    assert data.search.weights.pixels.shape == (60, 1, 32, 48)
    _, labels = source_digits()
    assert data.test.labels.tolist() == labels[data.test.sources].tolist()


def test_sizes_follow_the_canvas():
    half = DigitsSettings().scaled_to((32, 48))
    assert (half.min_size, half.max_size, half.fragment_size, half.canvas) == (16, 24, 4, 32)
    assert DigitsSettings().scaled_to((64, 64)) == DigitsSettings()


def test_bad_settings_are_errors():
    with pytest.raises(UserError, match="min_size <= max_size"):
        DigitsSettings(min_size=50)
    with pytest.raises(UserError, match="alpha_images must be 1 or more"):
        DigitsSettings(alpha_images=0)
    with pytest.raises(UserError, match="takes no path"):
        load(root="/some")


def test_every_setting_has_help():
    assert all(f.metadata["help"] for f in DigitsSettings.__dataclass_fields__.values())
