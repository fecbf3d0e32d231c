"""A task small enough for every strategy in one test, and a search of a supernet that freezes
slot by slot; as a program it prints what they do.

It is run by path, inside the tests and in a process of its own, to compare the two.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace

import torch

from rfsearch import backbones, strategies
from rfsearch.backbones.supernet import supernet
from rfsearch.data.augmentation import Augmentation, AugmentationSettings
from rfsearch.data.images import Images, SearchSplits
from rfsearch.spaces import Backbone, Input, Operator, Space
from rfsearch.strategies import STRATEGIES
from rfsearch.strategies.costs import CostTable
from rfsearch.strategies.optuna_samplers import SamplingSettings
from rfsearch.strategies.pmpl_search import PMPLSearch, Stages
from rfsearch.strategies.pmpl_settings import PMPLSettings
from rfsearch.strategies.task import Proxy, Task
from rfsearch.training.fit import silent
from rfsearch.training.processes import fabric
from rfsearch.training.randomness import seeded
from rfsearch.training.recipe import Recipe

SIDE, CLASSES, TRIALS = 8, 3, 4
OPERATORS = (
    Operator("identity"),
    Operator("max_pool", (("kernel", 3),)),
    Operator("avg_pool", (("kernel", 3),)),
    Operator("ssp"),
)
SPACE = Space("tiny", "residual", OPERATORS[:3])


def images(count, seed, side=16):
    """Noisy pictures of three fixed patterns."""
    fixed = torch.Generator().manual_seed(1234)
    patterns = torch.randint(40, 216, (CLASSES, 1, side, side), generator=fixed)
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, CLASSES, (count,), generator=generator)
    noise = torch.randint(-40, 41, (count, 1, side, side), generator=generator)
    sources = torch.arange(count) + 10_000 * seed
    return Images((patterns[labels] + noise).to(torch.uint8), labels, sources)


def splits(*counts, side=16):
    return SearchSplits(*(images(count, seed, side) for seed, count in enumerate(counts, 1)))


def augmentation(shift):
    return Augmentation(AugmentationSettings(shift=shift), (0.5,), (0.25,))


# ---- every strategy


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
        splits=splits(16, 16, 12, side=SIDE),
        augmentation=augmentation(0),
        recipe=Recipe(batch_size=8),
        pmpl=PMPLSettings(
            alpha_batch=8, alpha_lr=0.3, minimum_epochs=0, minimum_share=0.0, patience=1
        ),
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


def records(search):
    """The remaining lines of history."""
    lines = []
    while not search.finished:
        lines.append(timeless(search.advance(silent)))
    return lines


def finish(search):
    """The remaining lines of history, and what was chosen."""
    lines = json.loads(json.dumps(records(search)))
    return lines, [choice.label for choice in search.choices()]


# ---- a supernet


def search(
    backbone="resnet18",
    form="residual",
    operators=OPERATORS,
    stages=(1, 3, 1),
    seed=0,
    data=None,
    recipe=None,
    **settings,
):
    """PMPL at its start, eager to freeze; mixed, and every slot steps each time, unless told
    otherwise."""
    given = {
        "relaxation": "mixed",
        "mixing": "all",
        "alpha_every": 1,
        "alpha_lr": 0.3,
        "alpha_batch": 12,
        "minimum_epochs": 1,
        "minimum_share": 0.0,
        "patience": 2,
        "threshold": 0.05,
        "average": 0.5,
    }
    arguments = {"classes": CLASSES, "channels": 1, "stem": "small", "width": 0.125}
    with seeded(seed):
        network = supernet(
            Backbone(backbone, tuple(arguments.items())), Space("tiny", form, tuple(operators))
        )
    return PMPLSearch(
        network.to(memory_format=torch.channels_last),
        data or splits(48, 36, 20),
        augmentation(2),
        recipe or Recipe(batch_size=16, lr=0.02),
        PMPLSettings(**{**given, **settings}),
        Stages(*stages),
        seed=seed,
        fabric=fabric("cpu"),
    )


def digest(state):
    """A hash of every tensor, in a fixed order."""
    found = hashlib.sha256()
    for key in sorted(state):
        found.update(key.encode())
        found.update(state[key].detach().contiguous().numpy().tobytes())
    return found.hexdigest()


def outcome(pmpl):
    """Everything a search of a supernet leads to, as plain data."""
    lines = records(pmpl)
    network = pmpl.network()
    told = {
        "lines": lines,
        "choices": [choice.to_json() for choice in pmpl.choices()],
        "supernet": digest(pmpl.supernet.state_dict()),
        "network": digest(network.state_dict()),
        "score": pmpl.score(network),
    }
    return json.loads(json.dumps(told))


def outcomes(names=tuple(STRATEGIES)):
    """Strategy → lines and choices; and all of the supernet under its own name."""
    return {"supernet": outcome(search()), **{name: finish(begin(name)) for name in names}}


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(outcomes(sys.argv[1:] or tuple(STRATEGIES))))  # noqa: T201 - its output
