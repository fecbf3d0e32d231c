"""Two gloo processes on shares of a batch beside one on all of it; prints what they come to.

It is run by path, in a process of its own, which forks the two: torch is loaded once.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import sys
import tempfile
import traceback
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.distributed as dist
from torch import nn

from rfsearch.backbones.given import slots_in
from rfsearch.backbones.supernet import Supernet
from rfsearch.data.augmentation import Augmentation, AugmentationSettings
from rfsearch.data.images import Images, SearchSplits
from rfsearch.errors import UserError
from rfsearch.spaces import Operator, Space
from rfsearch.strategies.pmpl_search import PMPLSearch, Stages
from rfsearch.strategies.pmpl_settings import PMPLSettings
from rfsearch.training import checkpoint
from rfsearch.training.randomness import seeded
from rfsearch.training.recipe import Recipe
from rfsearch.training.shares import shares_of

EPOCHS = Stages(1, 7, 1)
BATCH, IMAGES = 7, 42
"""Six steps an epoch, 54 in all; four images in one process, three in the other."""
POOLS = (
    Operator("identity"), Operator("max_pool", (("kernel", 3),)),
    Operator("avg_pool", (("kernel", 3),)),
)  # fmt: skip
SEARCHES = {
    "alone": (Space("tiny", "residual", POOLS), {}),
    "of mixtures": (Space("tiny", "residual", POOLS), {"mixing": "all"}),
    "mixed": (
        Space("tiny", "paper", (*POOLS, Operator("ssp"))),
        {
            "relaxation": "mixed",
            "mixing": "all",
            "alpha_loss": "plain",
            "deadline": "pair",
            "threshold": 0.5,
        },
    ),
}


def alone():
    """What a search uses of Fabric, without it."""
    single = SimpleNamespace(precision=SimpleNamespace(precision="32-true"))
    return SimpleNamespace(world_size=1, global_rank=0, device=torch.device("cpu"),
                           strategy=single, backward=lambda loss: loss.backward())  # fmt: skip


def paired(rank):
    return SimpleNamespace(**{**vars(alone()), "world_size": 2, "global_rank": rank})


def both(job, *arguments):
    """``job(fabric, *arguments)`` in two processes; what each returns."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    context = multiprocessing.get_context("fork")
    queue = context.Queue()

    def begin(rank):
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        dist.init_process_group("gloo", rank=rank, world_size=2)
        try:
            queue.put((rank, job(paired(rank), *arguments)))
        except BaseException:
            queue.put((rank, traceback.format_exc()))
        queue.close()
        queue.join_thread()
        os._exit(0)

    processes = [context.Process(target=begin, args=(rank,)) for rank in range(2)]
    for process in processes:
        process.start()
    told = dict(queue.get(timeout=60) for _ in processes)
    for process in processes:
        process.join()
    for one in told.values():
        if isinstance(one, str) and one.startswith("Traceback"):
            sys.exit(one)
    return [told[0], told[1]]


# ---- layers


class Deep(nn.Module):
    """Leaves out whole images, as torchvision's and timm's layers do."""

    def forward(self, x):
        kept = x.new_empty(len(x), *[1] * (x.dim() - 1)).bernoulli_(0.6)
        return x * kept / 0.6


def layers():
    """Networks of what looks at a batch, or draws for it."""
    conv = nn.Conv2d(2, 4, 3)
    return {
        "norm": nn.Sequential(conv, nn.BatchNorm2d(4)),
        "norm of vectors": nn.Sequential(nn.Flatten(), nn.Linear(50, 5), nn.BatchNorm1d(5)),
        "norm without affine": nn.Sequential(conv, nn.BatchNorm2d(4, affine=False)),
        "norm without memory": nn.Sequential(conv, nn.BatchNorm2d(4, track_running_stats=False)),
        "plain mean": nn.Sequential(conv, nn.BatchNorm2d(4, momentum=None)),
        "evaluation": nn.Sequential(conv, nn.BatchNorm2d(4), nn.Dropout()).eval(),
        "dropout": nn.Sequential(conv, nn.Dropout(0.3), nn.Dropout2d(0.3, inplace=True), conv1()),
        "stochastic depth": nn.Sequential(conv, Deep(), nn.Dropout(0.5)),
        "nested": nn.Sequential(
            conv, nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=4), nn.BatchNorm2d(4)
        ),
    }


def conv1():
    return nn.Conv2d(4, 4, 1)


def run_layers(fabric):
    """Loss, gradients and buffers of every network, two steps each."""
    shares, told = shares_of(fabric), {}
    torch.manual_seed(0)
    for name, network in layers().items():
        network.double().to(memory_format=torch.channels_last)
        found = []
        for _ in range(2):
            images = torch.randn(BATCH, 2, 5, 5, dtype=torch.float64)
            images = images.to(memory_format=torch.channels_last)
            logits = shares.logits(network, shares.part(images), BATCH)
            slopes = torch.randn(logits.shape, dtype=torch.float64)
            penalty = sum(parameter.sum() for parameter in network.parameters())
            loss = (slopes * logits).sum() + logits.square().mean() + penalty
            loss.backward()
            gradients = [parameter.grad for parameter in network.parameters()]
            shares.average(gradients)
            found += [loss, *gradients]
        told[name] = [one.flatten().tolist() for one in (*found, *network.buffers())]
    return told


# ---- searches


def pictures(count, seed):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 1, 8, 8), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 3, (count,), generator=generator)
    pixels[:, :, :4] //= labels[:, None, None, None] + 1
    return Images(pixels, labels, torch.arange(count) + 1000 * seed)


def layer(inputs, outputs, stride):
    conv = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    return conv, nn.BatchNorm2d(outputs), nn.ReLU6()


def search(fabric, name):
    """At its start, in double precision."""
    space, settings = SEARCHES[name]
    with seeded(0):
        network = nn.Sequential(
            *layer(1, 6, 1), *layer(6, 8, 2), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
            nn.Dropout(0.2), nn.Linear(32, 3),
        )  # fmt: skip
        made = Supernet(network, slots_in(network, (8, 8), space), space).double()
    made.register_forward_pre_hook(lambda _, given: (given[0].double(),))
    given = {"alpha_batch": 7, "alpha_lr": 0.2, "alpha_every": 2, "threshold": 0.1,
             "minimum_epochs": 1, "minimum_share": 0.0, "patience": 2,
             **settings}  # fmt: skip
    return PMPLSearch(
        made,
        SearchSplits(pictures(IMAGES, 1), pictures(21, 2), pictures(12, 3)),
        Augmentation(AugmentationSettings(shift=2), (0.5,), (0.25,), flips=True),
        Recipe(batch_size=BATCH, lr=0.02, label_smoothing=0.1),
        PMPLSettings(**given),
        EPOCHS,
        seed=0,
        fabric=fabric,
    )


class Enough(BaseException):
    """Stops a search in the middle."""


def go_on(fabric, name, path=None, until=None):
    """From a checkpoint to the end, or to a step (epoch, step), where there is one more."""
    made = search(fabric, name)
    if path is not None and (state := checkpoint.load(path)):
        made.load_state_dict(state)
    lines = []

    def tick(step, steps):
        del steps
        if (made.epoch, step) == until:
            if fabric.global_rank == 0:
                checkpoint.save(path, made.state_dict())
            raise Enough

    try:
        while not made.finished:
            lines.append(made.advance(tick))
    except Enough:
        return None
    state = made.supernet.state_dict()
    return {
        "state": {key: value.flatten().tolist() for key, value in state.items()},
        "alpha": [one.tolist() for one in made.supernet.alphas().values()],
        "steps": made.descent.schedule.last_epoch,
        "chosen": [choice.label for choice in made.choices()],
        "lines": [{key: line[key] for key in ("epoch", "loss", "accuracy", "alpha_loss", "p")}
                  for line in lines],
        "froze": [{key: one[key] for key in ("slot", "by", "alpha_step", "loss_before")}
                  for line in lines for one in line["froze"]],
    }  # fmt: skip


def by_turns(name):
    """Two processes, stopped in the middle of an epoch; one; and two again."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.pt"
        both(go_on, name, path, (2, 4))
        go_on(alone(), name, path, (5, 1))
        return both(go_on, name, path)


# ---- what must not happen


def come_apart(fabric):
    """One process freezes another operator."""
    made = search(fabric, "alone")
    made.supernet.keep({list(made.supernet.slots)[1]: (1 + fabric.global_rank,)})
    return mistake(made.pmpl.end_epoch)


def mistake(act, *arguments):
    try:
        act(*arguments)
    except UserError as error:
        return f"{type(error).__name__}: {error}"
    return None


def mistakes(fabric):
    """Of one process, told by both; and of one that is gone."""
    shares, rank = shares_of(fabric), fabric.global_rank

    def wrong(who):
        if rank == who:
            raise UserError(f"{who} is wrong")

    def agreed(who):
        with shares.agreed():
            wrong(who)

    told = {
        "nobody": mistake(agreed, None),
        "first": mistake(agreed, 0),
        "second": mistake(agreed, 1),
        "made by the first": mistake(shares.first, lambda: wrong(0)),
        "value": shares.first(lambda: f"of {rank}"),
        "any": [shares.any(False), shares.any(rank == 1)],
        "same": shares.differing({"a": 1, "b": 2}),
        "differing": shares.differing({"a": 1, "b": rank}),
    }
    if rank == 1:
        return told
    while True:  # until the other one has gone
        if lost := mistake(shares.average, [torch.ones(1)]):
            return {**told, "gone": lost}


def outcomes():
    """All of it."""
    return {
        "layers": {"one": run_layers(alone()), "two": both(run_layers)},
        "searches": {
            name: {"one": go_on(alone(), name), "two": both(go_on, name)} for name in SEARCHES
        },
        "by turns": by_turns("alone"),
        "come apart": both(come_apart),
        "mistakes": both(mistakes),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    Path(sys.argv[1]).write_text(json.dumps(outcomes()))
