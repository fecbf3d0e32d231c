"""Trials for the tests of this room."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from rfsearch.spaces import Architecture, Backbone, Input, load_space
from rfsearch.trials import Trial

SLOTS = ("layer1", "layer2", "layer10")


@pytest.fixture
def make_trial() -> Callable[..., Trial]:
    """A trial of the pooling space by its number; the same number, the same architecture."""

    def make(number: int, score: float | None = 0.5, **more: object) -> Trial:
        choices = load_space("pooling").sample(SLOTS, np.random.default_rng(number))
        taken = Input((64, 64), 1, (0.5,), (0.5,))
        architecture = Architecture(Backbone("toy"), "pooling", choices, taken, ("zero", "one"))
        return Trial(number, architecture, score, seconds=1.5, **more)

    return make
