"""One network, trained from scratch by the recipe and on the data of a run, on one thread."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rfsearch.engine.config import Request
    from rfsearch.engine.run import Run


def opened(request: Request) -> Run:
    """A run with its data, recipe and plan; nothing of it is written."""
    from rfsearch.engine.config import settle
    from rfsearch.engine.run import Silent
    from rfsearch.engine.start import load_data, prepare
    from rfsearch.trials import RunFolder

    config = settle(request)
    return prepare(config, RunFolder(Path("unused")), load_data(config), Silent())


def trained(request: Request, operators: Sequence[str]) -> tuple[float, float]:
    """Its accuracy on the test split, and the processor's seconds.

    Args:
        request: of the run; its seed is the training's.
        operators: a label for each slot, or one for all of them.
    """
    import torch

    from rfsearch.engine.run import describe, new_training, slot_names
    from rfsearch.spaces import load_space
    from rfsearch.training.evaluation import accuracy

    torch.set_num_threads(1)
    run, space = opened(request), load_space(request.space)
    slots = slot_names(run)
    labels = operators if len(operators) > 1 else [*operators] * len(slots)
    chosen = space.choose(slots, [space.labels.index(label) for label in labels])
    training, began = new_training(run, "found", 0, describe(run, chosen)), time.process_time()
    while not training.finished:
        training.advance()
    score = accuracy(training.network, run.dataset.test, run.augmentation)
    return score, time.process_time() - began
