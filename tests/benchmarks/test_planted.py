"""The planted label by construction: told at its distance, and by nothing smaller."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

import planted
import planted_images as bench

DISTANT = [distance for distance in bench.PAIRS if distance]


@pytest.mark.parametrize("distance", DISTANT)
def test_a_detector_that_reaches_is_always_right_and_a_smaller_one_never_sees_two_marks(distance):
    pixels, labels = bench.images(distance, "test")
    told = [bench.told_by(distance + 1, image) for image in pixels[:, 0]]
    assert told == labels.tolist()
    assert {bench.told_by(distance, image) for image in pixels[:, 0]} == {None}


@pytest.mark.parametrize("distance", DISTANT)
def test_an_image_has_as_many_marks_of_each_colour_in_either_class(distance):
    pixels, labels = bench.images(distance, "test")
    for colour in (bench.WHITE, bench.BLACK):
        assert ((pixels == colour).sum((1, 2, 3)) == bench.PAIRS[distance]).all()
    assert labels.mean() == 0.5


@pytest.mark.parametrize("distance", DISTANT)
def test_one_mark_is_as_often_white_wherever_it_stands_in_either_class(distance):
    """So a smaller window, which holds one mark, has the same law in both, border or not."""
    num = 20_000
    for label, colours in product((0, 1), range(2)):
        drawn = bench.signs(distance, np.full(num, label), np.random.default_rng(colours))
        assert np.abs(drawn.mean(0) - 0.5).max() < 5 * 0.5 / num**0.5


def test_the_control_is_told_by_lone_marks():
    pixels, labels = bench.images(0, "test")
    white = (pixels == bench.WHITE).sum((1, 2, 3))
    black = (pixels == bench.BLACK).sum((1, 2, 3))
    assert ((black > white) == labels).all()
    assert {bench.told_by(bench.BETWEEN[0], image) for image in pixels[:, 0]} == {None}


def test_images_are_the_same_each_time_and_in_one_split_alone():
    first, again = (bench.images(8, "test")[0] for _ in range(2))
    assert (first == again).all()
    every = np.concatenate([bench.images(8, split)[0] for split in bench.COUNTS])
    assert len(np.unique(every.reshape(len(every), -1), axis=0)) == sum(bench.COUNTS.values())


def test_the_fields_of_a_network_by_hand():
    network = bench.network()
    assert planted.fields(network, planted.SLOTS) == [3, 5, 7]


def test_published_fields_are_those_of_the_operators():
    """A convolution adds 2 pixels, a pool its kernel less one."""
    rows = planted.rows()
    assert rows
    for row in rows:
        kernels = [int(held.removeprefix("max ").replace("identity", "1"))
                   for held in row["operators"].split(" | ")]  # fmt: skip
        assert planted.last_field(row) == 1 + sum(2 + kernel - 1 for kernel in kernels)
        assert planted.last_field(row) in planted.space_fields()
