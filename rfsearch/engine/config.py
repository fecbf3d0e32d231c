"""A run's configuration: what was asked for, with everything settled, as config.json keeps it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rfsearch import backbones, spaces, strategies
from rfsearch.backbones import published
from rfsearch.engine import executors
from rfsearch.engine import settings as settings_table
from rfsearch.engine.plan import Plan, named_plan
from rfsearch.engine.settings import ExecutorSettings, Group, Scalar, SlotSettings
from rfsearch.engine.sizes import parse_size
from rfsearch.errors import UserError
from rfsearch.operators import build_operator
from rfsearch.operators.replacements import build_replacement
from rfsearch.spaces import checks
from rfsearch.spaces.checks import standing
from rfsearch.strategies.optuna_samplers import SamplingSettings
from rfsearch.strategies.pmpl_settings import PMPLSettings
from rfsearch.training.processes import DEVICES
from rfsearch.trials.run_folder import read_json

FORMAT = 1
SMALL_STEM_UP_TO = 40
"""Pixels; below, a stem of stride 2 would leave too little to see."""


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """The options that one search and a comparison of searches share, as they were given; a path
    may be given as text."""

    space: str = "pooling"
    data: str = "digits"
    image_size: str | int | tuple[int, int] | None = None
    budget: str = "quick"
    plan: Path | None = None
    out: Path | None = None
    device: str = "auto"
    executor: str = "inline"
    ray_address: str | None = None
    storage: str | None = field(default=None, repr=False)
    resume: bool = False
    download: bool = False
    caps: tuple[tuple[str, float], ...] = ()
    assignments: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("plan", "out"):
            if (given := getattr(self, name)) is not None:
                object.__setattr__(self, name, Path(given))

    def named(self, *before: str, after: tuple[str, ...] = ()) -> Path:
        """The folder: as asked, else named after the options that tell folders apart."""
        shared = (Path(self.space).stem, self.data.partition(":")[0], self.budget)
        name = "-".join((*before, *shared, *after)).replace(":", "+")
        return self.out or Path("runs") / name


@dataclass(frozen=True, kw_only=True)
class Request(SearchOptions):
    """The options of `rfsearch run` as they were given."""

    backbone: str
    strategy: str = "pmpl"
    seed: int = 0
    pretrained: bool = False

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.named(self.backbone, self.strategy, after=(f"seed{self.seed}",))


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that decides a run's outcome on a given machine.

    ``changed`` repeats what of the plan and the settings is not as the budget has it, for the
    reader of a report: a changed budget has no null curve and no published result.
    """

    backbone: str
    strategy: str
    space: str
    data: str
    image_size: tuple[int, int]
    budget: str
    seed: int
    device: str
    operators: tuple[str, ...]
    plan: Plan
    settings: Mapping[str, Scalar]
    changed: tuple[str, ...]
    pretrained: bool = False
    caps: tuple[tuple[str, float], ...] = ()

    def group(self, owner: type[Group]) -> Group:
        """The settings of one group as their dataclass."""
        return settings_table.group(owner, self.settings)

    def to_json(self) -> dict[str, Any]:
        """The content of config.json; its hash covers all the rest."""
        record = {
            "format": FORMAT,
            **asdict(self),
            "image_size": list(self.image_size),
            "operators": list(self.operators),
            "changed": list(self.changed),
            "caps": [list(cap) for cap in self.caps],
            "settings": dict(self.settings),
        }
        text = json.dumps(record, sort_keys=True)
        return {**record, "hash": hashlib.sha256(text.encode()).hexdigest()}

    @classmethod
    def from_json(cls, record: Mapping[str, Any], where: str) -> Config:
        """The inverse of `to_json`."""
        known = {*cls.__dataclass_fields__, "format", "hash"}
        if wrong := sorted(set(checks.any_table(record, where)) ^ known):
            raise UserError(f"{where} misses or adds {checks.listed(wrong)}")
        at = {name: f"{where}: {name}" for name in known}
        words = ("backbone", "strategy", "space", "data", "budget", "device")
        fields: dict[str, Any] = {name: checks.text(record[name], at[name]) for name in words}
        for name in ("operators", "changed"):
            several = checks.sequence(record[name], at[name])
            fields[name] = tuple(checks.text(one, at[name]) for one in several)
        for name, kind in (("seed", int), ("pretrained", bool)):
            if type(record[name]) is not kind:
                told = checks.shown(record[name])
                raise UserError(f"{at[name]} must be {kind.__name__}, not {told}")
            fields[name] = record[name]
        fields["image_size"] = checks.size(record["image_size"], at["image_size"])
        fields["caps"] = _caps_of(record["caps"], at["caps"])
        settings = checks.any_table(record["settings"], at["settings"])
        fields["settings"] = settings_table.checked(settings, where)
        return cls(**fields, plan=Plan.from_json(record["plan"], where))

    @property
    def mixes(self) -> bool:
        """Whether its search mixes candidates as `operators.fused` can: in the residual form, each
        normalised on its own."""
        pmpl = self.group(PMPLSettings)
        masking = pmpl.select == "masking"
        mixed = masking or (pmpl.candidate_norms and pmpl.mixing != "even")
        residual = spaces.load_space(self.space).form == "residual"
        return strategies.entry(self.strategy).mixes and mixed and residual

    @property
    def stem(self) -> str:
        """The stem of the backbone: as set, else by image size for one that has two."""
        stem = str(self.settings["backbone.stem"])
        if stem != "auto":
            return stem
        small = self.is_ours and min(self.image_size) <= SMALL_STEM_UP_TO
        return "small" if small else "published"

    @property
    def is_ours(self) -> bool:
        """Whether the backbone is one of the table, which can be made narrower and has stems."""
        return self.backbone in backbones.BACKBONES

    def backbone_for(self, classes: int, channels: int) -> spaces.Backbone:
        """The backbone with all its arguments."""
        shared: tuple[tuple[str, spaces.Value], ...] = (
            ("channels", channels), ("classes", classes),
        )  # fmt: skip
        own: tuple[tuple[str, spaces.Value], ...] = (
            (("stem", self.stem), ("width", self.plan.width))
            if self.is_ours
            else (("image_size", self.image_size),)
        )
        return spaces.Backbone(self.backbone, (*shared, *own))


def _caps_of(value: object, where: str) -> tuple[tuple[str, float], ...]:
    caps = [checks.sequence(cap, where) for cap in checks.sequence(value, where)]
    if any(len(cap) != 2 for cap in caps):
        raise UserError(f"{where} must be a list of [measure, limit], not {checks.shown(value)}")
    return tuple((checks.text(name, where), checks.number(limit, where)) for name, limit in caps)


_COUNTS = {"": 0, "k": 3, "K": 3, "m": 6, "M": 6, "g": 9, "G": 9}
_MILLISECONDS = {"us": -3, "ms": 0, "s": 3}
"""Units as powers of ten."""


def parse_caps(
    max_macs: str | None, max_params: str | None, max_latency: str | None
) -> tuple[tuple[str, float], ...]:
    """Caps by measure, such as 250M multiply-adds, 3M parameters and 8ms (kept in ms).

    >>> parse_caps("250M", None, "8ms")
    (('macs', 250000000.0), ('latency', 8.0))
    """
    given = (("macs", max_macs, _COUNTS, "250M"), ("params", max_params, _COUNTS, "3M"),
             ("latency", max_latency, _MILLISECONDS, "8ms"))  # fmt: skip
    return tuple(
        (name, _cap(f"--max-{name}", text, units, example))
        for name, text, units, example in given
        if text is not None
    )


def _cap(option: str, text: str, units: Mapping[str, int], example: str) -> float:
    match = re.fullmatch(r"(\d{1,18}(?:\.\d{1,18})?)([a-zA-Z]*)", text.strip())
    # by its digits: 4.1 times 1e6 is below 4100000
    most = float(f"{match[1]}e{units[match[2]]}") if match and match[2] in units else 0.0
    if most == 0 or (units is _COUNTS and most < 1):
        raise UserError(f"{option} takes a number above 0 such as {example}, not {text!r}")
    return most


def settle(request: Request) -> Config:
    """Every option checked and every default filled in; nothing is read but files of options."""
    backbones.check(request.backbone)
    strategies.entry(request.strategy)
    operators = checked_space(request.space).labels
    executors.check(request.executor, request.ray_address)
    if request.device not in DEVICES:
        raise UserError(f"unknown device {request.device!r}. Known: {', '.join(DEVICES)}")
    budget, plan, values = _planned(request)
    config = Config(
        backbone=request.backbone,
        strategy=request.strategy,
        space=request.space,
        data=request.data,
        image_size=(plan.image_size, plan.image_width or plan.image_size),
        budget=budget,
        seed=request.seed,
        device=request.device,
        operators=operators,
        plan=plan,
        settings=values,
        changed=_changed(_named(request, budget), plan, values),
        pretrained=request.pretrained,
        caps=request.caps,
    )
    for owner in settings_table.GROUPS.values():
        config.group(owner)
    _check_backbone(config)
    _check_pairs(config)
    _check_executor(config, request.executor)
    return config


def _check_executor(config: Config, name: str) -> None:
    """A supernet is one training, which is not made in parts; NNI's evolution has nobody left to
    propose when more than its population are open."""
    batch = config.group(ExecutorSettings).batch
    population = config.group(SamplingSettings).population
    if config.strategy == "nni-evolution" and batch > population:
        raise UserError(
            f"executor.batch={batch} is more than nni-evolution's population of {population}; use "
            f"--set executor.batch={population} or less"
        )
    if strategies.entry(config.strategy).spends == "trials":
        return
    if name != "inline":
        raise UserError(
            f"--executor {name} makes trials side by side, and {config.strategy} trains one "
            "supernet; use --executor inline, or a strategy such as random or tpe"
        )


def _check_pairs(config: Config) -> None:
    """Costs of a slot are of one operator; two of a mixed space may be of two kinds."""
    space = spaces.load_space(config.space)
    config.group(PMPLSettings).check_space(space)
    if space.replacing and config.strategy == "nni-gumbel":
        raise UserError(
            f"space {config.space} enhances or replaces, by choice: nni-gumbel draws weights for "
            "what is behind a convolution and not for what is in its place; use nni-darts"
        )
    if config.caps and config.settings["pmpl.deadline"] == "pair":
        raise UserError(
            "pmpl.deadline=pair leaves two operators in a slot, which caps do not count; "
            "use --set pmpl.deadline=argmax"
        )


def _planned(request: Request) -> tuple[str, Plan, dict[str, Scalar]]:
    """Budget, plan and settings: of another run's config.json or of the table, then as set."""
    given = settings_table.parse(request.assignments)
    overrides = {k.removeprefix("plan."): v for k, v in given.items() if k.startswith("plan.")}
    if request.plan is not None:
        stored = Config.from_json(read_json(request.plan), str(request.plan))
        budget, plan, values = stored.budget, stored.plan, stored.settings
    else:
        budget, plan = request.budget, _named(request, request.budget)
        usual = strategies.entry(request.strategy).usual
        values = {
            **settings_table.defaults(),
            **{f"pmpl.{key}": value for key, value in usual.items()},
            **executors.USUAL[request.executor],
        }
    if request.image_size is not None:
        height, width = parse_size(request.image_size)
        overrides |= {"image_size": height, "image_width": width if width != height else 0}
    plan = Plan.from_json({**plan.to_json(), **overrides}, "--set")
    rest = {key: value for key, value in given.items() if not key.startswith("plan.")}
    return budget, plan, {**values, **rest, **_of_strategy(request.strategy, given)}


def _of_strategy(name: str, given: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """The settings that the strategy's entry changes; a contradiction to ``--set`` is told."""
    own = strategies.entry(name).settings
    changed = {f"pmpl.{key}": value for key, value in own.items()}
    for key, value in changed.items():
        if given.get(key, value) != value:
            raise UserError(
                f"{name} has {key}={value}, so --set {key}={given[key]} contradicts it; "
                "use pmpl with that setting"
            )
    return changed


def _named(request: Request, budget: str) -> Plan:
    """The plan of the table for this backbone and this data."""
    return named_plan(request.backbone, budget, request.data.partition(":")[0])


def _changed(named: Plan, plan: Plan, values: Mapping[str, Scalar]) -> tuple[str, ...]:
    """What is not as the budget's table and the defaults have it, as KEY=VALUE."""
    usual = {f"plan.{key}": value for key, value in named.to_json().items()}
    usual |= settings_table.defaults()
    taken = {f"plan.{key}": value for key, value in plan.to_json().items()} | dict(values)
    return tuple(f"{key}={taken[key]}" for key in taken if taken[key] != usual[key])


def _check_backbone(config: Config) -> None:
    """The stem, the width and the image size it takes, and the names of slots."""
    if config.stem not in backbones.STEMS:
        raise UserError(f"--set backbone.stem: {config.stem!r} is not auto, published or small")
    (_check_ours if config.is_ours else _check_others)(config)
    backbone = config.backbone_for(10, 3)
    space = spaces.load_space(config.space)
    config.group(SlotSettings).choose(backbones.slots(backbone, space))
    if why := backbones.unread(backbone):
        raise UserError(
            f"{why}. A run tells of every layer in the end; rfsearch.supernet, for a loop of your "
            "own, does not"
        )
    if config.pretrained:
        published.weights(backbone)


def _check_ours(config: Config) -> None:
    smallest = backbones.BACKBONES[config.backbone].smallest_image[config.stem]
    if min(config.image_size) < smallest:
        raise UserError(
            f"{config.backbone} with the {config.stem} stem needs images of at least "
            f"{smallest} pixels, not {min(config.image_size)}; use --image-size {smallest}"
        )


def _check_others(config: Config) -> None:
    """A network is taken as it was made; its images are tried when its slots are looked for."""
    ours = ", ".join(backbones.BACKBONES)
    if config.plan.width != 1:
        raise UserError(
            f"plan.width={config.plan.width:g} is for {ours}; {config.backbone} has one width, "
            "which is plan.width=1"
        )
    if config.settings["backbone.stem"] != "auto":
        raise UserError(f"backbone.stem is for {ours}; {config.backbone} has one stem")


def checked_space(name: str) -> spaces.Space:
    """The space, with every operator known to be one that can be built."""
    space = spaces.load_space(name)
    for index, operator in enumerate(space.operators):
        first = len(space.operators) - space.replacing
        key, number = ("replacements", index - first) if index >= first else ("operators", index)
        with standing(f"space {name}, [[{key}]] entry {number + 1}"):
            if space.form_of(index) == "replace":
                _tried(operator)
            else:
                build_operator(operator.name, 8, dict(operator.arguments))
    return space


def _tried(operator: spaces.Operator) -> None:
    """An operator in the place of a convolution where every one that there is can stand."""
    with torch.device("meta"):
        build_replacement(operator.name, nn.Conv2d(8, 8, 3, padding=1), dict(operator.arguments))


def moved(stored: Config, here: Config) -> Config:
    """What was begun, gone on with where ``here`` says."""
    values = {key: here.settings[key] for key in settings_table.WHERE}
    plan = replace(stored.plan, allocator=here.plan.allocator)
    return replace(stored, settings={**stored.settings, **values}, plan=plan)


def differences(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Where a stored config.json and the one that is asked for differ, as text."""
    old, new = _flat(stored), _flat(wanted)
    free = {"hash", "format", "changed", *settings_table.WHERE, *settings_table.WHERE_OF_PLAN}
    return [
        f"{key} {old.get(key)!r} → {new.get(key)!r}"
        for key in sorted({*old, *new} - free)
        if old.get(key) != new.get(key)
    ]


def _flat(record: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """One level; settings by the names that ``--set`` has for them."""
    found: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, Mapping):
            found |= _flat(value, "" if key == "settings" else f"{before}{key}.")
        else:
            found[f"{before}{key}"] = value
    return found
