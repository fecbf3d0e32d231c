"""A whole search small enough for a test; as a program it prints what it found.

It is run by path, inside the tests and in a process of its own, to compare the two.
"""

from __future__ import annotations

import hashlib
import json

import torch

from rfsearch.backbones.supernet import supernet
from rfsearch.data.augmentation import Augmentation, AugmentationSettings
from rfsearch.data.images import Images, SearchSplits
from rfsearch.spaces import Backbone, Operator, Space
from rfsearch.strategies.pmpl import PMPL, PMPLSettings, Stages
from rfsearch.training.processes import fabric
from rfsearch.training.randomness import seeded
from rfsearch.training.recipe import Recipe

SIDE = 16
CLASSES = 3
OPERATORS = (
    Operator("identity"),
    Operator("max_pool", (("kernel", 3),)),
    Operator("avg_pool", (("kernel", 3),)),
    Operator("ssp"),
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


def splits():
    return SearchSplits(images(48, 1), images(36, 2), images(20, 3))


def augmentation():
    return Augmentation(AugmentationSettings(shift=2), (0.5,), (0.25,))


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
    """A search at its start, eager to freeze."""
    given = {
        "alpha_lr": 0.3,
        "alpha_batch": 12,
        "minimum_epochs": 1,
        "patience": 2,
        "threshold": 0.05,
        "average": 0.5,
    }
    arguments = {"classes": CLASSES, "channels": 1, "stem": "small", "width": 0.125}
    with seeded(seed):
        network = supernet(
            Backbone(backbone, tuple(arguments.items())), Space("tiny", form, tuple(operators))
        )
    return PMPL(
        network.to(memory_format=torch.channels_last),
        data or splits(),
        augmentation(),
        recipe or Recipe(batch_size=16, lr=0.02),
        PMPLSettings(**{**given, **settings}),
        Stages(*stages),
        seed=seed,
        fabric=fabric("cpu"),
    )


def finish(pmpl):
    """The remaining epochs' records, without what differs from one time to the next."""
    records = []
    while not pmpl.finished:
        record = pmpl.advance()
        records.append({k: v for k, v in record.items() if "seconds" not in k})
    return records


def digest(state):
    """A hash of every tensor and value, in a fixed order."""
    found = hashlib.sha256()
    for key in sorted(state):
        found.update(key.encode())
        found.update(state[key].detach().contiguous().numpy().tobytes())
    return found.hexdigest()


def outcome(pmpl):
    """Everything a search leads to, as plain data."""
    records = finish(pmpl)
    network = pmpl.network()
    return {
        "records": records,
        "choices": [choice.to_json() for choice in pmpl.choices()],
        "supernet": digest(pmpl.supernet.state_dict()),
        "network": digest(network.state_dict()),
        "score": pmpl.score(network),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(outcome(search())))  # noqa: T201 - its output is what it is for
