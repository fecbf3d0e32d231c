"""The costs of a space, counted by the walk and measured on the device; what a cap can reach."""

from __future__ import annotations

import copy
import hashlib
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from rfsearch import backbones, spaces, strategies
from rfsearch.analysis.walk import walk
from rfsearch.backbones.realise import enhance
from rfsearch.backbones.realise import replace as substitute
from rfsearch.backbones.slots import Shape, map_shapes
from rfsearch.engine import passes
from rfsearch.engine.config import Config
from rfsearch.engine.environment import environment
from rfsearch.engine.listing import table
from rfsearch.engine.run import Run, slot_names
from rfsearch.home import home
from rfsearch.spaces import Choice
from rfsearch.strategies.attempt import objective
from rfsearch.strategies.costs import Caps, CostTable
from rfsearch.trials import read_json, write_json

RUNS = 30


def cost_table(run: Run, measures: Sequence[str]) -> CostTable:
    """What every operator costs in every slot, by the given measures."""
    network = backbones.build(run.backbone)
    spots = slot_spots(run, network)
    base = counted(network, run.dataset.image_size, run.dataset.channels)
    extras = operator_counts(run, spots)
    rows = {name: tuple(tuple(one[name] for one in extras[spot]) for spot in spots)
            for name in base}  # fmt: skip
    if "latency" in measures:
        base["latency"], rows["latency"] = latency_table(run, spots)
    return CostTable(base, rows)


def counted(network: nn.Module, image_size: tuple[int, int], channels: int) -> dict[str, float]:
    """Parameters, MACs and window operations."""
    totals = walk(network, image_size, channels).totals
    params = sum(parameter.numel() for parameter in network.parameters())
    return {"params": params, "macs": totals.macs, "window_ops": totals.window_ops}


def operator_counts(run: Run, spots: Sequence[Spot]) -> dict[Spot, list[dict[str, float]]]:
    """What every operator of the space adds, in its order, in each spot."""
    space = spaces.load_space(run.config.space)
    choices = [space.choose(["slot"], [k])[0] for k in range(len(space.operators))]
    return {spot: [extra(choice, spot) for choice in choices]
            for spot in dict.fromkeys(spots)}  # fmt: skip


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


@dataclass(frozen=True)
class Spot:
    """Where the operators of a slot stand; two that are equal cost the same.

    Attributes:
        shape: (channels, height, width) of the map they take.
        conv: the convolution they may stand in place of, as text; empty where none may.
        given: of the map behind that convolution.
    """

    shape: Shape
    conv: str = ""
    given: Shape = (0, 0, 0)
    module: nn.Module | None = field(default=None, compare=False)

    @property
    def text(self) -> str:
        """Where it is, for a key."""
        sides = "x".join(map(str, self.shape))
        return f"{sides} for {self.conv}" if self.conv else sides

    def operator(self, choice: Choice) -> tuple[nn.Module, Shape]:
        """What a choice puts there, and the map it takes."""
        if choice.form != "replace":
            shape = self.given if self.conv else self.shape
            return enhance(choice, shape[0]), shape
        return substitute(choice, copy.deepcopy(self.module)), self.shape  # type: ignore[arg-type]


def slot_spots(run: Run, network: nn.Module) -> list[Spot]:
    """Of every slot that is searched, one image through the plain network."""
    space = spaces.load_space(run.config.space)
    wanted = set(slot_names(run))
    slots = [one for one in backbones.slots_of(run.backbone, network, space) if one.name in wanted]
    images = torch.zeros(1, run.dataset.channels, *run.dataset.image_size)
    maps = map_shapes(network, slots, images)
    if not space.replacements:
        return [Spot(given) for _, given in maps.values()]
    convs = {name: network.get_submodule(name) for name in maps}
    return [Spot(taken, str(convs[name]), given, convs[name])
            for name, (taken, given) in maps.items()]  # fmt: skip


def extra(choice: Choice, spot: Spot) -> dict[str, float]:
    """Parameters, MACs and window operations that one operator adds to the plain network."""
    operator, shape = spot.operator(choice)
    added = _own(operator, shape)
    if choice.form != "replace":
        return added
    assert spot.module is not None
    less = _own(spot.module, shape)
    return {name: added[name] - less[name] for name in added}


def _own(module: nn.Module, shape: Shape) -> dict[str, float]:
    if isinstance(module, nn.Identity):
        return {"params": 0, "macs": 0, "window_ops": 0}
    channels, height, width = shape
    return counted(module, (height, width), channels)


def latency_table(run: Run, spots: Sequence[Spot]) -> tuple[float, tuple[tuple[float, ...], ...]]:
    """Milliseconds of the plain network, and per slot the extra of every operator."""
    found, labels = latencies(run, spots), spaces.load_space(run.config.space).labels
    rows = tuple(tuple(found[_key(label, spot)] for label in labels) for spot in spots)
    return found["network"], rows


def latencies(run: Run, spots: Sequence[Spot]) -> dict[str, float]:
    """Milliseconds of one image: the plain network, and what each operator adds in each spot;
    measured once on a device, threads and versions, then read from the user's cache."""
    path = cache(run, spots)
    if path.exists():
        stored = read_json(path)["milliseconds"]
        return {str(key): float(value) for key, value in stored.items()}
    space = spaces.load_space(run.config.space)
    height, width = run.dataset.image_size
    plain = run.place(backbones.build(run.backbone)).eval()
    found = {"network": milliseconds(run, plain, (run.dataset.channels, height, width))}
    for spot in dict.fromkeys(spots):
        less = 0.0 if spot.module is None else _timed(run, spot.module, spot.shape)
        for k, label in enumerate(space.labels):
            choice = space.choose(["slot"], [k])[0]
            operator, shape = spot.operator(choice)
            taken = _timed(run, operator, shape)
            found[_key(label, spot)] = taken - (less if choice.form == "replace" else 0.0)
    write_json(path, {"milliseconds": found, "key": _versions(run, spots)})
    return found


def _timed(run: Run, module: nn.Module, shape: Shape) -> float:
    if isinstance(module, nn.Identity):
        return 0.0
    return milliseconds(run, run.place(module).eval(), shape)


def milliseconds(run: Run, network: nn.Module, shape: Shape) -> float:
    """Median of one image through a module in evaluation mode."""
    return by_turns(run, {"": network}, shape)[""]


def by_turns(run: Run, networks: Mapping[str, nn.Module], shape: Shape) -> dict[str, float]:
    """Milliseconds of one image through each module, the modules by turns: medians."""
    image = torch.rand(1, *shape, device=run.fabric.device)
    image = image.to(memory_format=torch.channels_last)
    taken = passes.seconds(networks, image, RUNS)
    return {name: 1000 * statistics.median(seconds) for name, seconds in taken.items()}


def cache(run: Run, spots: Sequence[Spot]) -> Path:
    """The file of a latency table; another version or machine has another name."""
    text = json.dumps(_versions(run, spots), sort_keys=True)
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    return home() / f"latency-{name}.json"


def _versions(run: Run, spots: Sequence[Spot]) -> dict[str, object]:
    where = environment(run.dataset, str(run.fabric.device), allocator=run.allocator)
    names = ("versions", "platform", "cpu", "threads", "device", "allocator")
    operators = spaces.load_space(run.config.space).labels
    return {
        **{name: where[name] for name in names},
        "batch": 1,
        "backbone": run.backbone.to_json(),
        "form": spaces.load_space(run.config.space).form,
        "operators": list(operators),
        "image_size": list(run.dataset.image_size),
        "spots": [spot.text for spot in spots],
    }


def _key(label: str, spot: Spot) -> str:
    return f"{label} on {spot.text}"


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
