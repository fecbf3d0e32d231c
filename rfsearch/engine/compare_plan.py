"""What a comparison is: its arms and seeds, one frozen definition, one plan per arm."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rfsearch import spaces, strategies
from rfsearch.engine import executors
from rfsearch.engine.config import Config, Request, SearchOptions, settle
from rfsearch.engine.plan import BUDGETS, Plan, duration
from rfsearch.engine.settings import CompareSettings
from rfsearch.errors import UserError
from rfsearch.trials import read_json

BACKBONE_OF = {"quick": "rfnet6", "standard": "mobilenetv2", "paper": "mobilenetv2"}


@dataclass(frozen=True, kw_only=True)
class CompareRequest(SearchOptions):
    """The options of `rfsearch compare` as they were given."""

    strategies: str = "pmpl,random,tpe"
    seeds: str = "0,1,2"
    backbone: str | None = None

    @property
    def model(self) -> str:
        """The backbone as asked, else the one of the size."""
        return self.backbone or BACKBONE_OF.get(self.budget, "mobilenetv2")

    @property
    def folder(self) -> Path:
        """The folder of the comparison."""
        return self.named("compare", self.model)

    def cell(self, arm: Arm, seed: int, out: Path) -> Request:
        """The options of one search."""
        return Request(
            backbone=self.model,
            strategy=arm.strategy,
            space=self.space,
            data=self.data,
            image_size=self.image_size,
            budget=self.budget,
            seed=seed,
            out=out,
            device=self.device,
            download=self.download,
            caps=self.caps,
            assignments=(*self._shared(arm), *arm.changes),
        )

    def _shared(self, arm: Arm) -> tuple[str, ...]:
        """The settings of all arms, less those that make the arm what it is."""
        own = {f"pmpl.{key}" for key in strategies.entry(arm.strategy).settings}
        return tuple(one for one in self.assignments if one.partition("=")[0] not in own)


@dataclass(frozen=True)
class Arm:
    """A strategy with what of its settings is not as usual: ``pmpl:threshold=0.3``."""

    name: str
    strategy: str
    changes: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """Its name as the name of a folder."""
        return self.name.replace(":", "+")


def parse_arms(text: str) -> tuple[Arm, ...]:
    """``NAME[:KEY=VALUE]...`` with commas between; a KEY is one of `pmpl` or `sampling`."""
    arms = tuple(_arm(word.strip()) for word in text.split(",") if word.strip())
    if not arms:
        raise UserError("--strategies names none; for example --strategies pmpl,random,tpe")
    names = [arm.name for arm in arms]
    twice = [name for index, name in enumerate(names) if name in names[:index]]
    if twice:
        raise UserError(f"--strategies names {twice[0]!r} twice")
    return arms


def _arm(word: str) -> Arm:
    strategy, *changes = word.split(":")
    group = "pmpl" if strategies.entry(strategy).of_pmpl else "sampling"
    if wrong := [change for change in changes if "=" not in change]:
        raise UserError(f"--strategies: {wrong[0]!r} is no KEY=VALUE, as in pmpl:threshold=0.3")
    return Arm(word, strategy, tuple(f"{group}.{change}" for change in changes))


def parse_seeds(text: str) -> tuple[int, ...]:
    """Whole numbers with commas between."""
    try:
        seeds = tuple(int(word) for word in text.split(",") if word.strip())
    except ValueError:
        raise UserError(f"--seeds takes whole numbers such as 0,1,2, not {text!r}") from None
    if not seeds or len(set(seeds)) < len(seeds):
        raise UserError(f"--seeds takes one seed or more, each once, not {text!r}")
    return seeds


def settle_arms(request: CompareRequest) -> dict[str, Config]:
    """The configuration of every arm, at the first seed, under the plan of the size."""
    if request.budget not in BUDGETS and duration(request.budget) is None:
        known = ", ".join(BUDGETS)
        raise UserError(f"unknown budget {request.budget!r}. Known: {known}, or such as 4h")
    executors.check(request.executor, request.ray_address)
    seeds, arms = parse_seeds(request.seeds), parse_arms(request.strategies)
    configs = {arm.name: settle(request.cell(arm, seeds[0], request.folder)) for arm in arms}
    for name, config in configs.items():
        check_arm(name, config)
    return configs


def check_arm(name: str, config: Config) -> None:
    """An arm that cannot work, or searches another space, is told before anything runs."""
    if len(config.operators) < 2:
        raise UserError(
            f"space {config.space} holds {config.operators[0]!r} alone, which leaves nothing to "
            f"{name}; a space to compare in needs two operators"
        )
    form = spaces.load_space(config.space).form
    if not config.settings["pmpl.candidate_norms"] and form != "residual":
        raise UserError(
            f"{name}: the {form} form of space {config.space} has no BatchNorm for each candidate "
            "to leave out; compare in a residual space, such as pooling"
        )
    if config.settings["pmpl.deadline"] == "pair":
        raise UserError(
            f"{name}: pmpl.deadline=pair searches another space than the other arms; "
            "use --set pmpl.deadline=argmax"
        )
    if config.strategy.startswith("nni-"):
        from rfsearch.strategies.nni_tuners import load

        load()


def definition(config: Config, environment: Mapping[str, Any]) -> dict[str, Any]:
    """The frozen benchmark: all that must be the same for results to stand in one table."""
    own = ("pmpl", "sampling", "compare", "executor")
    shared = {
        key: value for key, value in config.settings.items() if key.partition(".")[0] not in own
    }
    names = ("versions", "platform", "cpu", "cores", "device", "commit", "data_hash", "split_hash",
             "splits")  # fmt: skip
    plan = config.plan
    kept = ("width", "images", "test_images", "retrain_epochs", "threads", "layout", "kernels")
    return {
        "backbone": config.backbone,
        "stem": config.stem,
        "space": config.space,
        "operators": list(config.operators),
        "data": config.data,
        "image_size": list(config.image_size),
        "caps": [list(cap) for cap in config.caps],
        "settings": shared,
        "plan": {name: getattr(plan, name) for name in kept},
        **{name: environment[name] for name in names},
    }


def digest(record: Mapping[str, Any]) -> str:
    """sha256 of a record, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def record(
    request: CompareRequest,
    configs: Mapping[str, Config],
    environment: Mapping[str, Any],
    expected: Mapping[str, Any],
) -> dict[str, Any]:
    """The content of config.json of a comparison."""
    first = next(iter(configs.values()))
    frozen = definition(first, environment)
    return {
        "kind": "compare",
        "definition": frozen,
        "hash": digest(frozen),
        "budget": request.budget,
        "reduces": reduced(first),
        "seeds": list(parse_seeds(request.seeds)),
        "compare": asdict(first.group(CompareSettings)),
        "arms": [told(arm, configs[arm.name]) for arm in parse_arms(request.strategies)],
        "expected": dict(expected),
    }


def reduced(config: Config) -> str:
    """What a comparison has in place of what the field asks for; empty where nothing."""
    settings, sides = config.group(CompareSettings), "x".join(map(str, config.image_size))
    holds = {
        "a small backbone in place of a published one": config.backbone == "rfnet6",
        f"made digits of {sides} pixels": config.data == "digits",
        "one search seed for the networks of one operator": settings.single_seeds == 1,
        "one retraining of each random network": settings.sample_seeds == 1,
    }
    return "; ".join(text for text, it_does in holds.items() if it_does)


def told(arm: Arm, config: Config) -> dict[str, Any]:
    """An arm as config.json has it."""
    own = {key: value for key, value in config.settings.items()
           if key.partition(".")[0] in ("pmpl", "sampling")
           or key in ("executor.batch", "executor.asynchronous")}  # fmt: skip
    return {
        "name": arm.name,
        "folder": arm.folder,
        "strategy": arm.strategy,
        "changes": list(arm.changes),
        "spends": strategies.entry(arm.strategy).spends,
        "start": start_of(arm.strategy, config),
        "plan": config.plan.to_json(),
        "settings": own,
    }


def start_of(strategy: str, config: Config) -> int | None:
    """After how many trials a sampler is more than random search; None where it always is, or
    never is."""
    name = strategies.entry(strategy).start
    return int(config.settings[f"sampling.{name}"]) if name else None


def stored_plans(path: Path, configs: Mapping[str, Config]) -> dict[str, Config]:
    """The arms under the plans of another comparison's config.json."""
    found = read_json(path)
    if found.get("kind") != "compare" or not isinstance(found.get("arms"), list):
        raise UserError(f"{path} is no plan of a comparison; name the config.json of one")
    plans = {arm["name"]: Plan.from_json(arm["plan"], str(path)) for arm in found["arms"]}
    if missing := [name for name in configs if name not in plans]:
        raise UserError(f"{path} has no plan for {', '.join(missing)}; it has {', '.join(plans)}")
    return {name: replace(config, plan=plans[name]) for name, config in configs.items()}


def differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Keys under which two definitions differ."""
    return sorted(key for key in {*old, *new} if old.get(key) != new.get(key))


def warnings(seeds: Sequence[int], retrain_seeds: int) -> list[str]:
    """What makes a comparison weaker than the field asks for."""
    told = []
    if len(seeds) < 3:
        told.append(f"{len(seeds)} search seeds are fewer than 3")
    if retrain_seeds < 2:
        told.append("one retraining of each network tells nothing of its noise")
    return told
