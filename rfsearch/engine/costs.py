"""The costs of a space, counted by the walk and measured on the device; what a cap can reach."""

from __future__ import annotations

import hashlib
import json
import os
import statistics
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from rfsearch import backbones, spaces, strategies
from rfsearch.analysis import walk
from rfsearch.backbones.realise import enhance
from rfsearch.backbones.slots import map_shapes
from rfsearch.engine import passes
from rfsearch.engine.config import Config
from rfsearch.engine.environment import environment
from rfsearch.engine.listing import table
from rfsearch.engine.run import Run, slot_names
from rfsearch.spaces import Choice
from rfsearch.strategies.costs import Caps, CostTable
from rfsearch.strategies.sampled import objective
from rfsearch.trials import read_json, write_json

RUNS = 30
Shape = tuple[int, int, int]
"""(channels, height, width) of the maps at a slot."""


def cost_table(run: Run, measures: Sequence[str]) -> CostTable:
    """What every operator costs in every slot, by the given measures."""
    network = backbones.build(run.backbone)
    shapes = slot_shapes(run, network)
    base = counted(network, run.dataset.image_size, run.dataset.channels)
    extras = operator_counts(run, shapes)
    rows = {name: tuple(tuple(one[name] for one in extras[shape]) for shape in shapes)
            for name in base}  # fmt: skip
    if "latency" in measures:
        base["latency"], rows["latency"] = latency_table(run, shapes)
    return CostTable(base, rows)


def counted(network: nn.Module, image_size: tuple[int, int], channels: int) -> dict[str, float]:
    """Parameters, MACs and window operations."""
    totals = walk(network, image_size, channels).totals
    params = sum(parameter.numel() for parameter in network.parameters())
    return {"params": params, "macs": totals.macs, "window_ops": totals.window_ops}


def operator_counts(run: Run, shapes: Sequence[Shape]) -> dict[Shape, list[dict[str, float]]]:
    """What every operator of the space counts, in its order, at each shape."""
    space = spaces.load_space(run.config.space)
    choices = [space.choose(["slot"], [k])[0] for k in range(len(space.operators))]
    return {shape: [counts(choice, shape) for choice in choices]
            for shape in dict.fromkeys(shapes)}  # fmt: skip


def needed(config: Config) -> tuple[str, ...]:
    """The measures that a cap or the strategy needs; none where costs do not matter."""
    names = [name for name, _ in config.caps]
    if strategies.entry(config.strategy).costs:
        objective = str(config.settings["sampling.cost"])
        names += ["macs", "window_ops"] if objective == "auto" else [objective]
    return tuple(dict.fromkeys(names))


def checked_costs(run: Run, measures: Sequence[str]) -> CostTable:
    """The table, with caps that can be met; an error names the nearest that can."""
    costs = cost_table(run, measures)
    Caps(run.config.caps).check(costs)
    return costs


def slot_shapes(run: Run, network: nn.Module) -> list[Shape]:
    """Of the maps at every slot that is searched, one image through the plain network."""
    wanted = set(slot_names(run))
    slots = [one for one in backbones.slots_of(run.backbone, network) if one.name in wanted]
    images = torch.zeros(1, run.dataset.channels, *run.dataset.image_size)
    return list(map_shapes(network, slots, images).values())


def counts(choice: Choice, shape: Shape) -> dict[str, float]:
    """Parameters, MACs and window operations of one operator in its form at a slot."""
    channels, height, width = shape
    enhancer = enhance(choice, channels)
    if isinstance(enhancer, nn.Identity):
        return {"params": 0, "macs": 0, "window_ops": 0}
    return counted(enhancer, (height, width), channels)


def latency_table(
    run: Run, shapes: Sequence[Shape]
) -> tuple[float, tuple[tuple[float, ...], ...]]:
    """Milliseconds of the plain network, and per slot the extra of every operator."""
    found, labels = latencies(run, shapes), spaces.load_space(run.config.space).labels
    rows = tuple(tuple(found[_key(label, shape)] for label in labels) for shape in shapes)
    return found["network"], rows


def latencies(run: Run, shapes: Sequence[Shape]) -> dict[str, float]:
    """Milliseconds of one image: the plain network, and each operator on each shape; measured
    once on a device, threads and versions, then read from the user's cache."""
    path = cache(run, shapes)
    if path.exists():
        stored = read_json(path)["milliseconds"]
        return {str(key): float(value) for key, value in stored.items()}
    space = spaces.load_space(run.config.space)
    height, width = run.dataset.image_size
    plain = run.place(backbones.build(run.backbone)).eval()
    found = {"network": milliseconds(run, plain, (run.dataset.channels, height, width))}
    for shape in dict.fromkeys(shapes):
        for k, label in enumerate(space.labels):
            enhancer = enhance(space.choose(["slot"], [k])[0], shape[0])
            empty = isinstance(enhancer, nn.Identity)
            placed = run.place(enhancer).eval()
            found[_key(label, shape)] = 0.0 if empty else milliseconds(run, placed, shape)
    write_json(path, {"milliseconds": found, "key": _versions(run, shapes)})
    return found


def milliseconds(run: Run, network: nn.Module, shape: Shape) -> float:
    """Median of one image through a module in evaluation mode."""
    image = torch.rand(1, *shape, device=run.fabric.device)
    image = image.to(memory_format=torch.channels_last)
    return 1000 * statistics.median(passes.seconds({"": network}, image, RUNS)[""])


def cache(run: Run, shapes: Sequence[Shape]) -> Path:
    """The file of a latency table; another version or machine has another name."""
    text = json.dumps(_versions(run, shapes), sort_keys=True)
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    return root / "rfsearch" / f"latency-{name}.json"


def _versions(run: Run, shapes: Sequence[Shape]) -> dict[str, object]:
    where = environment(run.dataset, str(run.fabric.device))
    names = ("versions", "platform", "cpu", "threads", "device")
    operators = spaces.load_space(run.config.space).labels
    return {
        **{name: where[name] for name in names},
        "batch": 1,
        "backbone": run.backbone.to_json(),
        "form": spaces.load_space(run.config.space).form,
        "operators": list(operators),
        "image_size": list(run.dataset.image_size),
        "shapes": [list(shape) for shape in shapes],
    }


def _key(label: str, shape: Shape) -> str:
    return f"{label} on {'x'.join(map(str, shape))}"


def told_objective(config: Config, costs: CostTable | None) -> str:
    """What a strategy minimises beside the score, where it chose that itself; else nothing."""
    wanted = str(config.settings["sampling.cost"])
    if costs is None or wanted != "auto" or not strategies.entry(config.strategy).costs:
        return ""
    measure = objective(costs, wanted)
    if measure == "macs":
        return f"{config.strategy} minimises macs beside the score"
    return (
        f"{config.strategy} minimises {measure} beside the score: all networks of space "
        f"{config.space} have the same macs"
    )


def reach(costs: CostTable, caps: Sequence[tuple[str, float]]) -> str:
    """Smallest, middle and largest network by every measure, and the caps that bind nothing."""
    limits = dict(caps)
    rows: list[tuple[str, ...]] = [("COST", "SMALLEST", "MIDDLE", "LARGEST", "CAP")]
    for name in costs.slots:
        low, high = costs.range(name)
        uniform = [[1 / len(row)] * len(row) for row in costs.slots[name]]
        middle = costs.expected(name, uniform)
        cap = f"{limits[name]:,.6g}" if name in limits else "-"
        rows.append((name, *(f"{value:,.6g}" for value in (low, middle, high)), cap))
    told = [table(rows)]
    for name in Caps(tuple(caps)).loose(costs):
        same = len(set(costs.range(name))) == 1
        why = "all networks of the space have the same" if same else "every network is below it"
        told.append(f"--max-{name} binds nothing here: {why}; --max-latency may")
    return "\n".join(told)
