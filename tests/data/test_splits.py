"""Splits: disjoint, stratified, seeded, hashed, and no way from the search to the test."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rfsearch import seeds
from rfsearch.data.images import Images
from rfsearch.data.request import Request
from rfsearch.data.splits import (
    SOURCES,
    SPLITS,
    TRAINING,
    Collection,
    assemble,
    cut,
    cut_four,
    cut_three,
    stratified_order,
)
from rfsearch.errors import UserError

LABELS = st.lists(st.integers(0, 5), min_size=1, max_size=300)


def collection(num_images, num_classes=3):
    """Images whose every pixel tells which image it is."""
    labels = np.arange(num_images) % num_classes

    def read(index):
        return torch.from_numpy(index % 256).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 8, 8)

    return Collection(labels.astype(np.int64), read)


def splits_of(request, num_train=90, num_test=30):
    return cut_three(collection(num_train), collection(num_test), request)


@settings(max_examples=60)
@given(LABELS, st.sampled_from([SOURCES, TRAINING, (0.5, 0.5)]), st.integers(0, 2**32))
def test_parts_are_disjoint_and_complete(labels, shares, seed):
    parts = cut(labels, shares, seeds.numbers(seed))
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))
    for part, share in zip(parts, shares, strict=True):
        assert abs(len(part) - share * len(labels)) <= 1


@settings(max_examples=60)
@given(LABELS, st.integers(0, 2**32), st.data())
def test_every_stretch_of_the_order_is_stratified(labels, seed, data):
    order = stratified_order(labels, seeds.numbers(seed))
    start, stop = sorted(data.draw(st.integers(0, len(labels))) for _ in range(2))
    stretch = np.asarray(labels)[order[start:stop]]
    classes = len(set(labels))
    for label in set(labels):
        expected = labels.count(label) / len(labels) * (stop - start)
        assert abs(int((stretch == label).sum()) - expected) <= 1 + classes / 2


def test_equal_classes_get_equal_parts():
    labels = np.repeat(np.arange(10), 40)
    for part in cut(labels, SOURCES, seeds.numbers(0)):
        assert np.ptp(np.bincount(labels[part], minlength=10)) == 0


@settings(max_examples=25)
@given(st.integers(30, 400), st.integers(0, 10), st.one_of(st.none(), st.integers(4, 500)))
def test_four_splits_share_no_source(num_images, seed, images):
    request = Request(seed=seed, images=images)
    for splits in (cut_four(collection(num_images), request), splits_of(request, num_images)):
        sources = torch.cat([splits[name].sources for name in SPLITS])
        assert len(sources.unique()) == len(sources)


def test_images_caps_weights_and_alpha_together():
    splits = splits_of(Request(images=20, test_images=9))
    assert [len(splits[name]) for name in SPLITS] == [10, 10, 5, 9]
    assert splits["test"].labels.bincount().tolist() == [3, 3, 3]


def test_a_cap_takes_the_beginning():
    whole, capped = splits_of(Request()), splits_of(Request(images=20, test_images=9))
    for name in SPLITS:
        assert torch.equal(whole[name].sources[: len(capped[name])], capped[name].sources)


def test_pixels_labels_and_sources_stay_together():
    for name, split in splits_of(Request()).items():
        image = split.sources - (90 if name == "test" else 0)
        assert torch.equal(split.pixels[:, 0, 0, 0].long(), image)
        assert torch.equal(split.labels, image % 3)


def dataset(request):
    return assemble("some", "", ["a", "b", "c"], True, splits_of(request))


def test_hashes_tell_data_and_splits_apart():
    first, again, other = (dataset(Request(seed=seed)) for seed in (0, 0, 1))
    assert (first.data_hash, first.split_hash) == (again.data_hash, again.split_hash)
    assert first.split_hash != other.split_hash
    splits = splits_of(Request())
    splits["test"].pixels[0, 0, 0, 0] ^= 1
    changed = assemble("some", "", ["a", "b", "c"], True, splits)
    assert changed.data_hash != first.data_hash
    assert changed.split_hash == first.split_hash


def test_a_class_missing_from_a_split_is_an_error():
    with pytest.raises(UserError, match=r"some: 1 of 3 classes have none .*'c'"):
        assemble("some", "", ["a", "b", "c"], True, cut_four(collection(30, 2), Request()))


def test_too_few_images_are_an_error():
    with pytest.raises(UserError, match="at least 4"):
        Request(images=3)
    with pytest.raises(UserError, match="test_images"):
        Request(test_images=0)
    with pytest.raises(UserError, match="image_size"):
        Request(image_size=(64, 4))


def reachable_storages(thing):
    """The storages of all tensors that can be reached through attributes and containers."""
    seen, todo, found = set(), [thing], set()
    while todo:
        item = todo.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, torch.Tensor):
            found.add(item.untyped_storage().data_ptr())
        elif isinstance(item, dict):
            todo += item.values()
        elif isinstance(item, list | tuple):
            todo += item
        elif hasattr(item, "__dict__"):
            todo += vars(item).values()
    return found


def test_the_search_does_not_lead_to_the_test_split():
    whole = dataset(Request())
    search, test = reachable_storages(whole.search), reachable_storages(whole.test)
    assert len(search) == 9
    assert len(test) == 3
    assert not search & test
    parts = [whole.search.weights, whole.search.alpha, whole.search.selection]
    assert len(set().union(*map(reachable_storages, parts))) == 9  # nor share splits anything


def test_training_is_weights_and_alpha():
    search = dataset(Request()).search
    both = search.training()
    assert len(both) == len(search.weights) + len(search.alpha)
    assert isinstance(both, Images)
    assert not set(both.sources.tolist()) & set(search.selection.sources.tolist())
