"""Counting, sampling and mutating what a space allows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfsearch.errors import UserError
from rfsearch.spaces import Choice, Operator, Space, load_space

SLOTS = ("layer1", "layer2", "layer10", "layer3")


def space_of(num_operators: int) -> Space:
    operators = tuple(Operator("max_pool", (("kernel", 2 * k + 1),)) for k in range(num_operators))
    return Space("toy", "residual", operators)


@given(st.integers(1, 4), st.integers(0, 4))
def test_size_is_the_number_enumerated(num_operators, num_slots):
    space, slots = space_of(num_operators), SLOTS[:num_slots]
    found = list(space.enumerate(slots))
    assert len(found) == len(set(found)) == space.size(num_slots)
    assert all(tuple(choice.slot for choice in choices) == slots for choices in found)


@given(st.integers(2, 5), st.integers(1, 4), st.integers(0, 2**32))
def test_mutate_changes_exactly_one_choice_to_another_operator(num_operators, num_slots, seed):
    space, rng = space_of(num_operators), np.random.default_rng(seed)
    old = space.sample(SLOTS[:num_slots], rng)
    new = space.mutate(old, rng)
    changed = [(a, b) for a, b in zip(old, new, strict=True) if a != b]
    assert len(changed) == 1
    (before, after), *_ = changed
    assert before.slot == after.slot
    assert before.operators != after.operators
    assert after.operators[0] in space.operators


def test_mutate_reaches_every_neighbour():
    space, rng = space_of(3), np.random.default_rng(0)
    old = space.choose(SLOTS[:2], (0, 1))
    assert len({space.mutate(old, rng) for _ in range(200)}) == 4


@pytest.mark.parametrize("num_operators", [2, 3])
def test_mutate_opens_a_pair(num_operators):
    space = space_of(num_operators)
    pair = (Choice("layer1", "residual", space.operators[:2]),)
    (new,) = space.mutate(pair, np.random.default_rng(0))
    assert len(new.operators) == 1
    if num_operators == 3:
        assert new.operators == space.operators[2:]


def test_nothing_to_mutate():
    with pytest.raises(UserError, match="nothing to mutate"):
        space_of(1).mutate(space_of(1).choose(SLOTS, (0, 0, 0, 0)), np.random.default_rng(0))
    with pytest.raises(UserError, match="nothing to mutate"):
        space_of(3).mutate((), np.random.default_rng(0))


def test_sample_is_uniform_and_follows_its_generator():
    space = load_space("pooling")
    slots = [f"slot{index}" for index in range(7000)]
    choices = space.sample(slots, np.random.default_rng(5))
    assert choices == space.sample(slots, np.random.default_rng(5))
    assert choices != space.sample(slots, np.random.default_rng(6))
    counts = [sum(c.operators == (op,) for c in choices) for op in space.operators]
    assert min(counts) > 850
    assert max(counts) < 1150


def test_choose_needs_one_index_per_slot():
    with pytest.raises(ValueError, match="zip"):
        space_of(3).choose(SLOTS, (0, 1))


def test_wrong_spaces():
    with pytest.raises(UserError, match="unknown form 'papr'; did you mean 'paper'"):
        Space("toy", "papr", (Operator("ssp"),))
    with pytest.raises(UserError, match="no operators"):
        Space("toy", "paper", ())
    with pytest.raises(UserError, match="holds operator 'ssp' twice"):
        Space("toy", "paper", (Operator("ssp"), Operator("identity"), Operator("ssp")))
