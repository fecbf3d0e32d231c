"""What a mixture costs beside the plain backbone: full training steps on the CPU, as ratios.

    python benchmarks/mixture_speed.py [--width 0.5] [--image-size 48] [--batch 32] [--threads 1]

Arms are taken in turns, so that other work on the machine hits all alike; a ratio is the median
of the ratios of neighbouring steps. The recipe, the α step and the layout are those of a search.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from rfsearch import backbones, spaces
from rfsearch.backbones.supernet import Supernet, supernet
from rfsearch.spaces import Backbone
from rfsearch.strategies.pmpl import PMPLSettings
from rfsearch.training.alternate import ALPHA_LOSSES, AlphaDescent
from rfsearch.training.fit import Descent
from rfsearch.training.processes import fabric
from rfsearch.training.recipe import Recipe

Arm = Callable[[Tensor, Tensor], object]
STEPS = 100_000  # of the schedule: more than are taken


def weight_step(network: nn.Module, weights: list[nn.Parameter]) -> Arm:
    """A step on the weights, ready to be taken."""
    network.to(memory_format=torch.channels_last).train()
    return Descent(network, weights, Recipe(), STEPS, fabric("cpu"), torch.empty(0)).step


def alpha_step(network: Supernet) -> Arm:
    """A step on α, ready to be taken."""
    s = PMPLSettings()
    betas, loss = (s.alpha_beta1, s.alpha_beta2), ALPHA_LOSSES[s.alpha_loss]
    descent = AlphaDescent(network, s.alpha_lr, betas, s.alpha_weight_decay)

    def step(images: Tensor, labels: Tensor) -> None:
        _, gradients = descent.gradients(lambda network: loss(network(images), labels))
        descent.step(gradients)

    return step


def arms(backbone: Backbone, space: spaces.Space) -> dict[str, Arm]:
    """Every arm under its name, the plain backbone first."""
    plain = backbones.build(backbone)
    fused, naive, one = (supernet(backbone, space) for _ in range(3))
    for mixture in naive.mixtures.values():
        mixture.fuse = False
    one.keep(dict.fromkeys(one.slots, (1,)))
    found = {
        "plain": weight_step(plain, list(plain.parameters())),
        "one operator": weight_step(one, one.weights()),
        "naive mixture": weight_step(naive, naive.weights()),
        "fused mixture": weight_step(fused, fused.weights()),
    }
    return {**found, "naive α step": alpha_step(naive), "fused α step": alpha_step(fused)}


def timed(found: dict[str, Arm], batch: tuple[Tensor, Tensor], rounds: int) -> dict[str, list]:
    """Seconds of every step after two that warm up, arm by arm.

    One thread is timed by the processor's time, in which other work on the machine has no part.
    """
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    taken: dict[str, list] = {name: [] for name in found}
    for number in range(rounds + 2):
        for name, arm in found.items():
            began = clock()
            arm(*batch)
            if number >= 2:
                taken[name].append(clock() - began)
    return taken


def median_ratio(above: list[float], below: list[float]) -> float:
    """The median of the ratios of neighbours."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def table(taken: dict[str, list]) -> None:
    """Prints the ratios."""
    plain = taken["plain"]
    print(f"{'':16} median ms   least ms   / plain")
    for name, seconds in taken.items():
        middle, least = (1000 * f(seconds) for f in (statistics.median, min))
        print(f"{name:16} {middle:9.1f} {least:10.1f} {median_ratio(seconds, plain):9.2f}")
    for kind in ("naive", "fused"):
        both = [a + w for a, w in zip(*(taken[f"{kind} {x}"] for x in ("α step", "mixture")),
                                      strict=True)]  # fmt: skip
        print(f"{kind} α + weights: {median_ratio(both, plain):.2f} of a plain step")


def main() -> None:
    """Reads the options, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="mobilenetv2")
    parser.add_argument("--width", type=float, default=0.5)
    parser.add_argument("--stem", default="published")
    parser.add_argument("--image-size", type=int, default=48)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--space", default="pooling")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    arguments = {"width": options.width, "classes": 10, "channels": 3, "stem": options.stem}
    backbone = Backbone(options.backbone, tuple(arguments.items()))
    images = torch.randn(options.batch, 3, options.image_size, options.image_size)
    images = images.contiguous(memory_format=torch.channels_last)
    batch = images, torch.randint(0, 10, (options.batch,))
    print(vars(options), f"torch {torch.__version__}, python {platform.python_version()},",
          platform.processor() or platform.machine())  # fmt: skip
    table(timed(arms(backbone, spaces.load_space(options.space)), batch, options.rounds))


if __name__ == "__main__":
    main()
