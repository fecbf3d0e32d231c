"""What a search costs beside training the plain backbone once: full training steps, as ratios.

    python benchmarks/search_speed.py [steps|frozen|whole|memory|allocators|cycle|growth|...]

Without a name all are measured.

Arms are taken in turns, so that other work on the machine hits all alike; a ratio is the median
of the ratios of neighbouring steps. The recipe, the layout (channels_last) and the step on α are
those of a search; one thread, timed by its processor time. Rows go to reports/speed/ as they are
made, what stands there is not measured again, and the page there is written anew.
"""

from __future__ import annotations

import argparse
import itertools
import operator
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

import tables
from rfsearch import backbones, spaces
from rfsearch.backbones.supernet import Supernet, supernet
from rfsearch.engine import allocator
from rfsearch.engine.config import Request, settle
from rfsearch.engine.pace import long
from rfsearch.engine.run import Run, new_search, new_task
from rfsearch.engine.start import load_data, prepare
from rfsearch.operators import fused
from rfsearch.operators.blend import Blend
from rfsearch.reporting.progress import Progress
from rfsearch.spaces import Backbone, Space
from rfsearch.spaces.tables import parse
from rfsearch.strategies import supernets
from rfsearch.strategies.nni_oneshot import OneShot
from rfsearch.strategies.pmpl_settings import PMPLSettings
from rfsearch.training.alternate import ALPHA_LOSSES, AlphaDescent
from rfsearch.training.fit import Descent, Fit
from rfsearch.training.processes import fabric
from rfsearch.training.recipe import Recipe
from rfsearch.trials import RunFolder

PLACE = Path(__file__).parents[1] / "reports" / "speed"
STEPS = 100_000  # of the schedule: more than are taken
ROUNDS = 7
WARM = 2
BATCH = 64
PEER = 4
"""Cycles of the peer that are timed at a time."""
Arm = Callable[[Tensor, Tensor], object]
Batch = tuple[Tensor, Tensor]

ASKED = (
    ("fused mixture", "one operator", 1.3),
    ("fused mixture", "one operator", 1.15),
    ("fused mixture", "plain", 1.6),
    ("fused mixture", "plain", 1.25),
    ("two drawn", "plain", 1.3),
    ("α and weights", "plain", 2.2),
    ("α and weights of mixtures", "plain", 2.2),
)
"""At most so much; where an arm stands twice, one mark and the next."""
HOLDS = {"at most": operator.le, "at least": operator.ge}


# ---- arms


def weight_step(network: nn.Module, weights: list[nn.Parameter], drawn: bool = False) -> Arm:
    """A step on the weights, ready to be taken."""
    network.to(memory_format=torch.channels_last).train()
    descent = Descent(
        network, weights, Recipe(), STEPS, fabric("cpu"), torch.empty(0), drawn=drawn
    )
    return descent.step


def alpha_descent(network: Supernet) -> AlphaDescent:
    """Adam on α as a search has it."""
    s = PMPLSettings()
    return AlphaDescent(network, s.alpha_lr, (s.alpha_beta1, s.alpha_beta2), s.alpha_weight_decay)


def mixed_step(network: Supernet) -> Arm:
    """A step on every α, down the loss of the mixture (PMPL)."""
    descent, loss = alpha_descent(network), ALPHA_LOSSES[PMPLSettings().alpha_loss]

    def step(images: Tensor, labels: Tensor) -> None:
        _, gradients = descent.gradients(lambda network: loss(network(images), labels))
        descent.step(gradients)

    return step


def alone_step(network: Supernet) -> Arm:
    """A step on the α of one slot after another, down the loss of one alone."""
    descent, loss = alpha_descent(network), ALPHA_LOSSES[PMPLSettings().alpha_loss]
    slots = itertools.cycle(network.slots)

    def step(images: Tensor, labels: Tensor) -> None:
        _, gradients = descent.alone(next(slots), lambda network: loss(network(images), labels))
        descent.step(gradients)

    return step


def arms(backbone: Backbone, space: Space, names: Iterable[str]) -> dict[str, Arm]:
    """These arms, each with a network of its own."""
    return {name: ARMS[name](backbone, space) for name in names}


def _plain(backbone: Backbone, _: Space) -> Arm:
    network = backbones.build(backbone)
    return weight_step(network, list(network.parameters()))


def _mixing(
    change: Callable[[Supernet], None], drawn: bool = False
) -> Callable[[Backbone, Space], Arm]:
    def made(backbone: Backbone, space: Space) -> Arm:
        network = supernet(backbone, space)
        change(network)
        return weight_step(network, network.weights(), drawn)

    return made


def _one(network: Supernet) -> None:
    network.keep(dict.fromkeys(network.slots, (1,)))


def _naive(network: Supernet) -> None:
    for mixture in network.mixtures.values():
        mixture.fuse = False


def _blended(blend: Blend) -> Callable[[Supernet], None]:
    def change(network: Supernet) -> None:
        for mixture in network.mixtures.values():
            mixture.blend = blend

    return change


TWO, EVENLY = _blended(Blend("subset", 2)), _blended(Blend("even"))


def _among_drawn(backbone: Backbone, space: Space) -> Arm:
    network = supernet(backbone, space)
    EVENLY(network)
    return alone_step(network)


ARMS: dict[str, Callable[[Backbone, Space], Arm]] = {
    "plain": _plain,
    "one operator": _mixing(_one),
    "naive mixture": _mixing(_naive),
    "fused mixture": _mixing(lambda _: None),
    "two drawn": _mixing(TWO),
    "one drawn": _mixing(EVENLY, drawn=True),
    "α, mixed": lambda backbone, space: mixed_step(supernet(backbone, space)),
    "α, one alone": lambda backbone, space: alone_step(supernet(backbone, space)),
    "α, one among drawn": _among_drawn,
}


def mobilenet(width: float = 1.0) -> Backbone:
    """The backbone of the default run, at any width."""
    given = {"width": width, "classes": 10, "channels": 3, "stem": "published"}
    return Backbone("mobilenetv2", tuple(given.items()))


def batch_of(size: int, batch: int = BATCH) -> Batch:
    """Noise, as a search lays images out."""
    images = torch.randn(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
    return images, torch.randint(0, 10, (batch,))


def timed(found: Mapping[str, Arm], batches: Mapping[str, Batch], rounds: int = ROUNDS
          ) -> dict[str, list[float]]:  # fmt: skip
    """Seconds of processor time of every step after those that warm up, arm by arm."""
    taken: dict[str, list[float]] = {name: [] for name in found}
    for number in range(rounds + WARM):
        for name, arm in found.items():
            began = time.process_time()
            arm(*batches[name])
            if number >= WARM:
                taken[name].append(time.process_time() - began)
    return taken


def ratio(above: list[float], below: list[float]) -> float:
    """The median of the ratios of neighbours."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


# ---- what is measured

BOTH = {
    "α and weights": ("one drawn", "α, one among drawn"),
    "α and weights of mixtures": ("fused mixture", "α, one alone"),
}
"""A step on the weights, and now and then one on α: the default's, and `pmpl-all`'s."""
STEP_COLUMNS = ("image_size", "batch", "arm", "milliseconds", "of_plain", "of_one_operator")


def steps() -> None:
    """Every arm at 64 and 128 pixels; steps on α have as small a share of the batch as in a
    search."""
    path, settings = PLACE / "steps.csv", PMPLSettings()
    done = {row["image_size"] for row in tables.read(path)}
    for size in (64, 128):
        if str(size) in done:
            continue
        found = arms(mobilenet(), spaces.load_space("pooling"), ARMS)
        small = BATCH * settings.alpha_batch // Recipe().batch_size
        batches = {name: batch_of(size, small if "α" in name else BATCH) for name in found}
        rounds = 16 if size == 64 else ROUNDS  # a step for every slot
        taken = timed(found, batches, rounds)
        for name, parts in BOTH.items():
            pairs = list(zip(*(taken[part] for part in parts), strict=True))
            for told, times in ((name, 1.0), (f"{name}, equal images", BATCH / small)):
                taken[told] = [w + times * a / settings.alpha_every for w, a in pairs]
        for name, seconds in taken.items():
            against = [ratio(seconds, taken[other]) for other in ("plain", "one operator")]
            size_of = small if name.startswith("α,") else BATCH
            middle = 1000 * statistics.median(seconds)
            _keep(path, STEP_COLUMNS, size, size_of, name, middle, *against)


FROZEN_COLUMNS = ("image_size", "batch", "frozen_slots", "of_plain")


def frozen() -> None:
    """A step of the weights of a supernet as its slots freeze, evenly over its depth."""
    path, size, step = PLACE / "frozen.csv", 64, 4
    if tables.read(path):
        return
    found = {"plain": _plain(mobilenet(), spaces.load_space("pooling"))}
    for many in range(0, 16 + 1, step):
        whole = supernet(mobilenet(), spaces.load_space("pooling"))
        slots = list(whole.slots)
        whole.keep({s: (1,) for i in range(many // step) for s in slots[i::step]})
        found[str(many)] = weight_step(whole, whole.weights())
    taken = timed(found, dict.fromkeys(found, batch_of(size)))
    for name, seconds in list(taken.items())[1:]:
        _keep(path, FROZEN_COLUMNS, size, BATCH, name, ratio(seconds, taken["plain"]))


WHOLE = "start to choices"
WHOLE_COLUMNS = ("stage", "epochs", "seconds", "of_plain")


def whole() -> None:
    """PMPL on the digits with a third of the quick plan's epochs, from nothing to its choices, and
    as many of plain training on the images that its weights see, an epoch of each in turns."""
    path, request = PLACE / "whole.csv", Request(
        backbone="mobilenetv2", strategy="pmpl", image_size="64",
        assignments=("plan.threads=1", "plan.warmup_epochs=5", "plan.search_epochs=3",
                     "plan.adapt_epochs=1"),
    )  # fmt: skip
    if tables.read(path):
        return
    with tempfile.TemporaryDirectory() as folder:
        config = settle(request)
        run = prepare(config, RunFolder(Path(folder) / "run"), load_data(config), Progress())
        task, found = new_task(run), []
        start = _seconds_of(lambda: found.append(supernets.pmpl(task)))
        (search,) = found
        plain = Fit(
            backbones.build(task.backbone).to(memory_format=torch.channels_last),
            task.splits.weights, task.augmentation, task.recipe,
            epochs=search.stages.epochs, seed=0, fabric=task.fabric,
        )  # fmt: skip
        taken: dict[str, list[tuple[float, float]]] = {}
        while not search.finished:
            stage = search.stages.of(search.epoch)
            pair = _seconds_of(search.advance), _seconds_of(plain.advance)
            taken.setdefault(stage, []).append(pair)
        search.choices()
    taken[WHOLE] = [(start, 0.0), *itertools.chain(*taken.values())]
    for stage, pairs in taken.items():
        ours, theirs = (sum(seconds) for seconds in zip(*pairs, strict=True))
        epochs = sum(theirs > 0 for _, theirs in pairs)
        _keep(path, WHOLE_COLUMNS, stage, epochs, ours, ours / theirs)


MEMORY_COLUMNS = ("image_size", "batch", "arm", "mebibytes", "of_plain")


def memory() -> None:
    """What a step adds to the largest memory of a fresh process, arm by arm."""
    path = PLACE / "memory.csv"
    found = {(int(row["image_size"]), row["arm"]): float(row["mebibytes"])
             for row in tables.read(path)}  # fmt: skip
    names = ("plain", "one operator", "naive mixture", "fused mixture", "two drawn")
    for size, name in itertools.product((64, 128), names):
        if (size, name) not in found:
            command = [sys.executable, __file__, "peak", name, str(size)]
            told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            most = found[size, name] = float(told)
            _keep(path, MEMORY_COLUMNS, size, BATCH, name, most, most / found[size, "plain"])


def peak(name: str, size: int) -> float:
    """Mebibytes that three steps of an arm add to what a fresh process holds."""
    step = arms(mobilenet(), spaces.load_space("pooling"), [name])[name]
    batch, small = batch_of(size), batch_of(32, 2)
    step(*small)  # loads what is loaded once, and makes the gradients
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the largest so far is forgotten
    before = _held("VmRSS")
    for _ in range(3):
        step(*batch)
    return (_held("VmHWM") - before) / 1024


def _held(what: str) -> int:
    """Kibibytes of memory that this process holds, or has held at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(what)).split()[1])


ALLOCATOR_COLUMNS = ("image_size", "batch", "allocator", "plain_ms", "mixture_ms",
                     "mixture_of_plain", "mebibytes_cleared_a_step")  # fmt: skip
TURNS = 2


def allocators() -> None:
    """The plain step and the mixture's under each allocator, in processes by turns."""
    path = PLACE / "allocator.csv"
    done = {row["image_size"] for row in tables.read(path)}
    for size in (64, 128):
        if str(size) in done:
            continue
        told: dict[str, list[list[float]]] = {"system": [], "keep": []}
        for _, name in itertools.product(range(TURNS), told):
            command = [sys.executable, __file__, "under", name, str(size)]
            words = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            told[name].append([float(word) for word in words.split()])
        for name, found in told.items():
            _keep(path, ALLOCATOR_COLUMNS, size, BATCH, name,
                  *(statistics.median(column) for column in zip(*found, strict=True)))  # fmt: skip


def under(name: str, size: int) -> list[float]:
    """What a row of the table has, by a fresh process under this allocator."""
    allocator.settle(name, "cpu")
    found = arms(mobilenet(), spaces.load_space("pooling"), ("plain", "fused mixture"))
    taken = timed(found, dict.fromkeys(found, batch_of(size)))
    images, labels = batch_of(size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    found["plain"](images, labels)
    pages = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    plain, mixture = taken.values()
    return [1000 * statistics.median(plain), 1000 * statistics.median(mixture),
            ratio(mixture, plain), pages * resource.getpagesize() / 2**20]  # fmt: skip


OURS = "ours"
CYCLE_COLUMNS = ("image_size", "batch", "cycle", "milliseconds", "of_ours")


def cycle() -> None:
    """A step on all α and one on the weights, ours by the loss of the mixture and NNI's."""
    path, size = PLACE / "cycle.csv", 64
    if tables.read(path):
        return
    settings = ("recipe.batch_size=64", "pmpl.alpha_batch=64", "plan.threads=1", "plan.width=1",
                "plan.images=2560", "plan.test_images=64")  # fmt: skip
    request = Request(backbone="mobilenetv2", strategy="nni-darts", image_size=str(size),
                      assignments=settings)  # fmt: skip
    config = settle(request)
    with tempfile.TemporaryDirectory() as folder:
        run = prepare(config, RunFolder(Path(folder) / "run"), load_data(config), Progress())
        peers = {"NNI's DARTS": as_it_is(nni_search(run)),
                 "NNI's DARTS, handed channels_last": nni_search(run)}  # fmt: skip
        space, batch = spaces.load_space("pooling"), batch_of(size)
        ours = supernet(mobilenet(), space)
        weights, alphas = weight_step(ours, ours.weights()), mixed_step(ours)
        taken: dict[str, list[float]] = {OURS: [], **{name: [] for name in peers}}
        for number in range(5 + 1):
            began = time.process_time()
            for _ in range(PEER):
                alphas(*batch)
                weights(*batch)
            told = {OURS: (time.process_time() - began) / PEER}
            for name, nni in peers.items():
                few = _seconds_of(lambda nni=nni: nni.fit(1))
                told[name] = (_seconds_of(lambda nni=nni: nni.fit(1 + PEER)) - few) / PEER
            if number:
                for name, seconds in told.items():
                    taken[name].append(seconds)
    for name, seconds in taken.items():
        middle, beside = 1000 * statistics.median(seconds), ratio(seconds, taken[OURS])
        _keep(path, CYCLE_COLUMNS, size, BATCH, name, middle, beside)


def nni_search(run: Run) -> OneShot:
    """NNI's DARTS, its warm-up over, on images and weights in channels_last."""
    search = new_search(long(run))
    assert isinstance(search, OneShot)
    search.epoch = run.config.plan.warmup_epochs
    return search


def as_it_is(search: OneShot) -> OneShot:
    """In the layout that NNI leaves images and weights in, torch's usual one."""
    network = search.supernet.to(memory_format=torch.contiguous_format).network
    network.register_forward_pre_hook(
        lambda _, given: given[0].clone(memory_format=torch.contiguous_format)  # strides and all
    )
    return search


def _seconds_of(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


GROWTH_COLUMNS = ("grows", "value", "one_operator_of_plain", "mixture_of_plain")
HEAD = 'description = "pools"\nform = "residual"\n'


def space_of(pools: Iterable[tuple[str, int]]) -> Space:
    """Identity and these pools."""
    rows = "".join(f'[[operators]]\nname = "{name}_pool"\nkernel = {kernel}\n'
                   for name, kernel in pools)  # fmt: skip
    return parse(f'{HEAD}[[operators]]\nname = "identity"\n{rows}', "pools.toml", "pools")


def growth() -> None:
    """Along candidates, kernel, image size, batch and depth, one at a time; width 0.5."""
    path, width = PLACE / "growth.csv", 0.5
    done = {(row["grows"], row["value"]) for row in tables.read(path)}
    every = [(name, kernel) for kernel in range(3, 16, 2) for name in ("max", "avg")]
    usual, cases = spaces.load_space("pooling"), []
    cases += [
        ("candidates", 1 + n, space_of(every[:n]), 64, 32, None) for n in (1, 2, 4, 6, 10, 14)
    ]
    cases += [("kernel", k, space_of([("max", k), ("avg", k)]), 64, 32, None)
              for k in range(3, 16, 4)]  # fmt: skip
    cases += [("image size", size, usual, size, 32, None) for size in (32, 48, 64, 96, 128)]
    cases += [("batch", batch, usual, 64, batch, None) for batch in (8, 16, 32, 64, 128)]
    cases += [("slots", slots, usual, 64, 32, slots) for slots in (1, 4, 8, 12, 16)]
    for what, value, space, size, batch, slots in cases:
        if (what, str(value)) not in done:
            found = _grown(mobilenet(width), space, slots)
            taken = timed(found, dict.fromkeys(found, batch_of(size, batch)), 5)
            ratios = [ratio(taken[name], taken["plain"]) for name in ("one operator", "mixture")]
            _keep(path, GROWTH_COLUMNS, what, value, *ratios)


def _grown(backbone: Backbone, space: Space, slots: int | None) -> dict[str, Arm]:
    names = [slot.name for slot in backbones.slots(backbone)]
    chosen = names if slots is None else names[:slots]
    mixed, one = (supernet(backbone, space, include=chosen) for _ in range(2))
    one.keep(dict.fromkeys(one.slots, (1,)))
    return {"plain": _plain(backbone, space), "one operator": weight_step(one, one.weights()),
            "mixture": weight_step(mixed, mixed.weights())}  # fmt: skip


COMMAND_COLUMNS = ("command", "seconds", "asked")
COMMANDS = {"rfsearch --help": 0.5, "rfsearch analyze mobilenetv2": 6.0}


def commands() -> None:
    """Cold starts, wall-clock seconds, the best of three."""
    path = PLACE / "commands.csv"
    done = {row["command"] for row in tables.read(path)}
    for command, asked in COMMANDS.items():
        if command in done:
            continue
        runs = []
        for _ in range(3):
            began = time.perf_counter()
            subprocess.run([sys.executable, "-m", *command.split()], check=True,
                           stdout=subprocess.DEVNULL)  # fmt: skip
            runs.append(time.perf_counter() - began)
        _keep(path, COMMAND_COLUMNS, command, min(runs), asked)


def _keep(path: Path, columns: Sequence[str], *values: object) -> None:
    """A row of a table, printed too; numbers to four places."""
    short = [f"{value:.4g}" if isinstance(value, float) else value for value in values]
    tables.append(path, columns, dict(zip(columns, short, strict=True)))
    print(*short)


# ---- the page


def page() -> str:
    """README.md of reports/speed."""
    parts = [
        "# What a search costs beside training once",
        "`python benchmarks/search_speed.py`: full training steps of MobileNetV2 at width 1, "
        "channels_last, one thread, arms taken in turns, medians of the ratios of neighbours by "
        f"processor time. torch {torch.__version__}, Python {platform.python_version()}, "
        f"{platform.machine()}, {os.cpu_count()} cores; mixtures are {fused.available()}. "
        "No GPU was at hand.",
        "Beside this page: [what images cost of a step](data.md), "
        "[commands from nothing](cold.md).",
        _asked(),
        _section("Steps", "steps.csv", "α and weights is a step of one network that is drawn "
                 f"and, every {PMPLSettings().alpha_every} steps, one on the α of one slot: of "
                 "half as many images, as is usual for a search, or of equally many."),
        _section("Steps as slots freeze", "frozen.csv", "A step of the weights; slots evenly over "
                 "the depth of the network are kept at max 3."),
        _section("A search as a whole", "whole.csv", "PMPL of the quick plan (width 0.5, digits "
                 "at 64 pixels, batch 32) with a third of its epochs, from nothing to its "
                 "choices, and plain training for as many epochs on the images that the search "
                 "trains its weights on; an epoch of each in turns, processor time."),
        _section("Memory", "memory.csv", "What three steps add at most to what a fresh process "
                 "holds."),
        _section("Memory that is kept", "allocator.csv", "Plain steps and the mixture's in "
                 "processes of their own, freed memory handed back to the system (`system`) and "
                 "kept for the next step (`keep`, which runs of the command line have on a CPU "
                 "under glibc: `plan.allocator`); the last column is what the system cleared in a "
                 "plain step."),
        _section("A cycle beside NNI's", "cycle.csv", "One step on all α and one on the weights "
                 "by the loss of the mixture, of the same networks and candidates; NNI's as it "
                 "runs by itself, and handed channels_last images and weights, which it does not "
                 "ask for."),
        _section("How the cost grows", "growth.csv", "Width 0.5, 64 pixels and batch 32 where "
                 "nothing else is said."),
        _section("Commands", "commands.csv", "Cold, wall-clock."),
        (PLACE / "tried.md").read_text(encoding="utf-8").strip(),
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part) + "\n"


def _asked() -> str:
    """What was asked for, and whether it is so; what is not comes first."""
    lines = []
    for what, found, word, limit in _aims():
        said = "kept" if HOLDS[word](found, limit) else "**not kept**"
        lines.append(f"- {what}: {found:.4g}, {word} {limit} is the aim: {said}")
    return "\n".join(sorted(lines, key=lambda line: "not kept" not in line))


def _aims() -> Iterator[tuple[str, float, str, float]]:
    """What was measured, the ratio, and its limit."""
    for row in tables.read(PLACE / "whole.csv"):
        if row["stage"] == WHOLE:
            yield "a search as a whole / plain", float(row["of_plain"]), "at most", 1.5
    for row in tables.read(PLACE / "cycle.csv"):
        if row["cycle"] != OURS:
            yield f"a cycle of {row['cycle']} / ours", float(row["of_ours"]), "at least", 4
    rows = tables.read(PLACE / "steps.csv")
    for arm, below, limit in ASKED:
        for row in (row for row in rows if row["arm"] == arm):
            found = float(row["of_plain" if below == "plain" else "of_one_operator"])
            yield f"{arm} / {below} at {row['image_size']} pixels", found, "at most", limit


def _section(title: str, name: str, text: str) -> str:
    return f"## {title}\n\n{text}\n\n{tables.shown(PLACE / name)}"


MEASURES = {"steps": steps, "frozen": frozen, "whole": whole, "memory": memory,
            "allocators": allocators, "cycle": cycle,
            "growth": growth, "commands": commands}  # fmt: skip


def main() -> None:
    """Measures what is named, and writes the page."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if sys.argv[1:2] == ["peak"]:
        print(peak(sys.argv[2], int(sys.argv[3])))
        return
    if sys.argv[1:2] == ["under"]:
        print(*under(sys.argv[2], int(sys.argv[3])))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", choices=[[], *MEASURES])
    for name in parser.parse_args().what or MEASURES:
        MEASURES[name]()
        (PLACE / "README.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
