"""A task small enough for every strategy in one test; as a program it prints what they do.

It is run by path, inside the tests and in a process of its own, to compare the two.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import torch

from rfsearch import backbones, strategies
from rfsearch.data.augmentation import Augmentation, AugmentationSettings
from rfsearch.data.images import Images, SearchSplits
from rfsearch.spaces import Backbone, Input, Operator, Space
from rfsearch.strategies import STRATEGIES
from rfsearch.strategies.costs import CostTable
from rfsearch.strategies.optuna_samplers import SamplingSettings
from rfsearch.strategies.pmpl import PMPLSettings, Stages
from rfsearch.strategies.task import Proxy, Task
from rfsearch.training.fit import silent
from rfsearch.training.processes import fabric
from rfsearch.training.recipe import Recipe

SIDE, CLASSES, TRIALS = 8, 3, 4
SPACE = Space(
    "tiny",
    "residual",
    (
        Operator("identity"),
        Operator("max_pool", (("kernel", 3),)),
        Operator("avg_pool", (("kernel", 3),)),
    ),
)


def images(count, seed):
    """Noisy pictures of three fixed patterns."""
    fixed = torch.Generator().manual_seed(1234)
    patterns = torch.randint(40, 216, (CLASSES, 1, SIDE, SIDE), generator=fixed)
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, CLASSES, (count,), generator=generator)
    noise = torch.randint(-40, 41, (count, 1, SIDE, SIDE), generator=generator)
    sources = torch.arange(count) + 10_000 * seed
    return Images((patterns[labels] + noise).to(torch.uint8), labels, sources)


def task(seed=0, **changes):
    """Three slots of RFNet-6, three operators."""
    backbone = Backbone(
        "rfnet6", (("channels", 1), ("classes", CLASSES), ("stem", "small"), ("width", 0.25))
    )
    slots = tuple(slot.name for slot in backbones.slots(backbone))[:3]
    made = Task(
        backbone=backbone,
        space=SPACE,
        slots=slots,
        taken=Input((SIDE, SIDE), 1, (0.5,), (0.25,)),
        classes=tuple("abc"),
        splits=SearchSplits(images(16, 1), images(16, 2), images(12, 3)),
        augmentation=Augmentation(AugmentationSettings(shift=0), (0.5,), (0.25,)),
        recipe=Recipe(batch_size=8),
        pmpl=PMPLSettings(alpha_batch=8, alpha_lr=0.3, minimum_epochs=0, patience=1),
        sampling=SamplingSettings(startup=2, population=2, tournament=2),
        stages=Stages(1, 1, 0),
        trials=TRIALS,
        proxy=Proxy(2, 16),
        seed=seed,
        fabric=fabric("cpu"),
        costs=CostTable(
            {"macs": 10.0, "params": 5.0},
            dict.fromkeys(("macs", "params"), ((0.0, 2.0, 1.0),) * 3),
        ),
    )
    return replace(made, **changes)


def begin(name, **changes):
    """A search at its start."""
    return strategies.resolve(name)(task(**changes))


def timeless(line):
    return {key: value for key, value in line.items() if "seconds" not in key}


def finish(search):
    """The remaining lines of history, and what was chosen."""
    lines = []
    while not search.finished:
        lines.append(timeless(search.advance(silent)))
    return json.loads(json.dumps(lines)), [choice.label for choice in search.choices()]


def outcomes(names=tuple(STRATEGIES)):
    """Strategy → lines and choices."""
    return {name: list(finish(begin(name))) for name in names}


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(outcomes(sys.argv[1:] or tuple(STRATEGIES))))  # noqa: T201 - its output
