"""Every ``--set`` key: the dataclasses that own them, gathered into one table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from typing import Any, TypeVar

from rfsearch.backbones.slots import Slot
from rfsearch.backbones.supernet import choose_slots
from rfsearch.data.augmentation import AugmentationSettings
from rfsearch.data.digits import DigitsSettings
from rfsearch.engine.plan import Plan
from rfsearch.errors import UserError, unknown
from rfsearch.exporting.folding import ExportSettings
from rfsearch.setting import check, meaning, setting
from rfsearch.spaces.checks import listed, shown, small
from rfsearch.strategies.optuna_samplers import SamplingSettings
from rfsearch.strategies.pmpl_settings import PMPLSettings
from rfsearch.training.metrics import ACCURACY, METRICS, Metric, named
from rfsearch.training.recipe import Recipe

Scalar = int | float | str | bool
Group = TypeVar("Group")


@dataclass(frozen=True, kw_only=True)
class SlotSettings:
    """Which slots are searched."""

    include: str = setting("", "full names of slots, with commas between; empty takes all")
    exclude: str = setting("", "full names of slots to leave plain")

    @property
    def included(self) -> list[str]:
        """The names in ``include``."""
        return _names(self.include)

    @property
    def excluded(self) -> list[str]:
        """The names in ``exclude``."""
        return _names(self.exclude)

    def choose(self, slots: Sequence[Slot]) -> tuple[Slot, ...]:
        """The slots these settings name, in network order."""
        return choose_slots(slots, self.included, self.excluded)


@dataclass(frozen=True, kw_only=True)
class BackboneSettings:
    """How the backbone is built; the plan has its width."""

    stem: str = setting("auto", "auto (small up to 40 pixels), published or small")


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """How data is cut."""

    seed: int = setting(
        0,
        "seed of the splits and of made data; not the run's seed, so that "
        "runs of several seeds see one data set",
    )
    channels: int = setting(3, "of images in files (imagefolder, csv): 3 colour, 1 grey")
    cache_gib: float = setting(
        8.0,
        "most GiB of decoded image files (imagefolder, csv) kept in the user's cache for the next "
        "run; 0 keeps none",
        least=0,
    )

    def __post_init__(self) -> None:
        check(self, "data")

    @property
    def cache_bytes(self) -> int:
        """The same in bytes."""
        return int(self.cache_gib * 2**30)


@dataclass(frozen=True, kw_only=True)
class MetricSettings:
    """By which figure networks are scored, chosen and reported; what is trained is the loss."""

    name: str = setting(
        ACCURACY,
        f"{', '.join(METRICS)}; likelihood is exp(-log-loss), and classes count alike in balanced "
        "accuracy and in macro F1",
    )

    def __post_init__(self) -> None:
        named(self.name)

    @property
    def metric(self) -> Metric:
        """Of that name."""
        return named(self.name)


@dataclass(frozen=True, kw_only=True)
class CompareSettings:
    """How large a comparison is, beside its arms and seeds."""

    samples: int = setting(
        20, "random networks: their mean is the zero line; they check ranks", least=1
    )
    sample_seeds: int = setting(1, "trainings of each random network", least=1)
    retrain_seeds: int = setting(2, "trainings of every other final network", least=1)
    single_seeds: int = setting(
        1, "search seeds at which networks of one operator are trained", least=0
    )
    processes: int = setting(0, "cells made at a time; 0 takes as many as cores allow", least=0)
    least_trials: int = setting(30, "trials that every sampling arm must complete", least=1)

    def __post_init__(self) -> None:
        check(self, "compare")


@dataclass(frozen=True, kw_only=True)
class ExecutorSettings:
    """How the trials of a search are made side by side, here or by ``--executor ray``."""

    batch: int = setting(
        1,
        "proposals asked for before any of them is told; decides what is found, while where they "
        "are made does not (with --executor ray: 8)",
        least=1,
    )
    asynchronous: bool = setting(
        False, "ask for the next proposal whenever a trial ends: faster, and not repeatable"
    )
    cpus: int = setting(0, "ray: cores of a task; 0 takes plan.threads", least=0)
    gpus: float = setting(
        -1.0, "ray: GPUs of a task, or a share of one; -1 takes one where the run has CUDA"
    )
    retries: int = setting(3, "ray: how often a task is made again after its node died", least=0)

    def __post_init__(self) -> None:
        check(self, "executor")
        if self.gpus < 0 and self.gpus != -1:
            raise UserError(f"executor.gpus must be 0 or more, or -1, not {self.gpus:g}")


WHERE = ("data.cache_gib", "executor.cpus", "executor.gpus", "executor.retries")
"""Settings that say where a run is made and not what comes of it: a resume may change them."""
WHERE_OF_PLAN = ("plan.allocator",)
"""Of the plan's, likewise."""

GROUPS: dict[str, type] = {
    "pmpl": PMPLSettings,
    "sampling": SamplingSettings,
    "recipe": Recipe,
    "metric": MetricSettings,
    "augment": AugmentationSettings,
    "digits": DigitsSettings,
    "data": DataSettings,
    "backbone": BackboneSettings,
    "slots": SlotSettings,
    "compare": CompareSettings,
    "executor": ExecutorSettings,
}
"""Group → the frozen dataclass beside its owner. ``plan.NAME`` comes from the budget."""
OF_EXPORT: dict[str, type] = {"export": ExportSettings}
"""What `rfsearch export` takes; a run's config.json has nothing of it."""


_TYPES: dict[str, tuple[type, ...]] = {
    "bool": (bool,),
    "int": (int,),
    "float": (int, float),
    "str": (str,),
}


@dataclass(frozen=True)
class Key:
    """One line of `rfsearch settings`."""

    name: str
    kind: str
    default: Any
    text: str


def all_keys() -> Iterator[Key]:
    """Every key of a run in the order of the table; a plan's default depends on the budget."""
    yield from keys_of(GROUPS)
    for item in fields(Plan):
        yield Key(f"plan.{item.name}", _kind(item), None, meaning(item))


def keys_of(groups: Mapping[str, type]) -> Iterator[Key]:
    """The keys of some groups."""
    for group, owner in groups.items():
        for item in fields(owner):
            yield Key(f"{group}.{item.name}", _kind(item), item.default, meaning(item))


def defaults() -> dict[str, Scalar]:
    """Every key but the plan's with its default."""
    return {key.name: key.default for key in all_keys() if not key.name.startswith("plan.")}


def parse(assignments: Iterable[str], keys: Iterable[Key] | None = None) -> dict[str, Scalar]:
    """``KEY=VALUE`` texts as typed values; of a run's keys unless told."""
    known = {key.name: key for key in (all_keys() if keys is None else keys)}
    values: dict[str, Scalar] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise UserError(f"--set takes KEY=VALUE, not {assignment!r}; see `rfsearch settings`")
        if name not in known:
            raise _unknown(name, known)
        values[name] = _convert(known[name], text)
    return values


def checked(values: Mapping[str, object], where: str) -> dict[str, Scalar]:
    """The settings of a config.json, every key there with a value of its type; an older one may
    lack some of `WHERE`."""
    usual = defaults()
    values = {**{key: usual[key] for key in WHERE}, **values}
    if wrong := sorted(set(usual) ^ set(values)):
        raise UserError(f"{where}: its settings miss or add {listed(wrong)}")
    kinds = {key.name: key.kind for key in all_keys()}
    return {
        name: _of_kind(value, kinds[name], f"{where}: {name}") for name, value in values.items()
    }


def _of_kind(value: object, kind: str, name: str) -> Scalar:
    fits = kind == "bool" if isinstance(value, bool) else isinstance(value, _TYPES[kind])
    if not fits or not isinstance(value, int | float | str):
        raise UserError(f"{name} must be {kind}, not {shown(value)}")
    if not isinstance(value, bool | str):
        small(value, name)
    return value


def group(owner: type[Group], values: Mapping[str, Scalar]) -> Group:
    """The dataclass of a group filled from the table of all values."""
    prefix = next(f"{name}." for name, known in GROUPS.items() if known is owner)
    return owner(**{k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)})


def _unknown(name: str, known: Iterable[str]) -> UserError:
    """The settings of the group that was meant; of no group, those of like name, or the groups."""
    names = list(known)
    group, dot, last = name.partition(".")
    if inside := [key for key in names if dot and key.startswith(f"{group}.")]:
        return unknown("setting", name, inside)
    alike = [key for key in names if key.partition(".")[2] == (last or group)]
    groups = ", ".join(f"{one}.…" for one in (*GROUPS, "plan"))
    hint = f"did you mean {' or '.join(alike)}? " if alike else ""
    return UserError(f"unknown setting {name!r}; {hint}Known: {groups}; see `rfsearch settings`")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _kind(item: Field[Any]) -> str:
    assert item.default is not MISSING or item.name in Plan.__dataclass_fields__
    return str(item.type)


def _convert(key: Key, text: str) -> Scalar:
    try:
        if key.kind == "bool":
            return {"true": True, "false": False}[text.lower()]
        value = {"int": int, "float": float, "str": str}[key.kind](text)
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError
    except (KeyError, ValueError):
        wanted = {"bool": "true or false", "int": "a whole number", "float": "a number"}
        raise UserError(
            f"--set {key.name}: {shown(text)} is not {wanted[key.kind]} (default {key.default})"
        ) from None
    return _of_kind(value, key.kind, f"--set {key.name}")
