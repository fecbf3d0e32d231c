"""Plain text for the terminal: spaces, slots, settings, a plan."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, fields
from textwrap import fill, wrap
from typing import Any

import torch

from rfsearch import backbones, strategies
from rfsearch import spaces as spaces_room
from rfsearch.analysis.inputs import channels_of
from rfsearch.backbones.slots import Slot, map_shapes
from rfsearch.engine import settings as settings_table
from rfsearch.engine.config import Config, checked_space
from rfsearch.engine.dry_run import FIXED_SECONDS, Estimate, Phase
from rfsearch.engine.plan import BUDGETS, IMAGE_SIZES, PLANS, Plan
from rfsearch.setting import meaning

Row = tuple[str, ...]
WIDEST = 100
"""Columns of text; longer lines are hard to read even where they fit."""
IMAGE_SIZE = 224
"""Pixels a side at which slots are listed."""
NARROWEST = 24
"""Columns left to the last cell of a row, however narrow the terminal is."""


def list_spaces() -> str:
    """One line per packaged space."""
    found = [spaces_room.load_space(name) for name in spaces_room.names()]
    rows = [
        (space.name, space.form, f"{len(space.operators)} operators", space.description)
        for space in found
    ]
    listed = table([("SPACE", "FORM", "SIZE", "WHAT"), *rows])
    return f"{listed}\n\n`rfsearch spaces NAME --backbone MODEL` shows operators and slots."


def list_space(name: str | None, backbone: str | None) -> str:
    """A space's operators, and the slots of a backbone."""
    parts, candidates = [], 0
    if name:
        space = checked_space(name)
        candidates = len(space.operators)
        about = f"{space.name} ({space.form} form; {space.kind} slots): {space.description}"
        parts += [
            fill(about, _width()),
            table([(f"  {index}", one.label) for index, one in enumerate(space.operators)]),
        ]
    if backbone:
        slots, rows, left = _slots(backbone, spaces_room.load_space(name) if name else None)
        parts += [f"{len(slots)} slots of {_of(backbone)}:", table(rows), *left]
        if candidates:
            size = candidates ** len(slots)
            parts.append(f"{candidates}^{len(slots)} = {size:.3g} architectures")
    return "\n".join(parts)


def _slots(
    backbone: str, space: spaces_room.Space | None
) -> tuple[tuple[Slot, ...], list[Row], list[str]]:
    """The slots of a network of the published size, a row for each, and a line for those that
    were left out."""
    described = spaces_room.Backbone(backbone, ())
    with torch.random.fork_rng(devices=[]):
        network = backbones.build(described)
    slots, left = backbones.slots_and_rest(described, network, space)
    images = torch.zeros(1, channels_of(network), IMAGE_SIZE, IMAGE_SIZE)
    maps = map_shapes(network, slots, images)
    rows: list[Row] = [("  SLOT", "CHANNELS", "STRIDE", "MAP")]
    for one in slots:
        _, (channels, height, width) = maps[one.name]
        rows.append((f"  {one.name}", str(channels), str(one.stride), f"{height}x{width}"))
    return slots, rows, [fill(f"No slot at {name}: {why}.", _width()) for name, why in left]


def _of(backbone: str) -> str:
    """A network as its slots are listed."""
    width = " at width 1" if backbone in backbones.BACKBONES else ""
    return f"{backbone}{width}, {IMAGE_SIZE}x{IMAGE_SIZE} pixels"


def list_settings() -> str:
    """Every key with its default and meaning, group by group; last the plans."""
    begin = "Change settings by --set KEY=VALUE, one --set for each. These are the defaults."
    parts = [fill(begin, _width())]
    for name, owner in {**settings_table.GROUPS, **settings_table.OF_EXPORT}.items():
        about = (owner.__doc__ or "").partition("\n\n")[0].replace("``", "").split()
        rows = [
            (f"  {key.name}", _shown(key.default), key.text)
            for key in settings_table.keys_of({name: owner})
        ]
        parts += ["", fill(f"{name}: {' '.join(about)}", _width()), table(rows)]
    return "\n".join([*parts, "", *_plans()])


def _plans() -> Iterator[str]:
    """The keys of the plan with their values in every budget, and what other backbones change."""
    first, *others = dict.fromkeys(name for name, _ in PLANS)
    yield fill(f"plan: {Plan.__doc__} Defaults by --budget, for {first}:", _width())
    yield table([("  KEY", *map(str.upper, BUDGETS), ""), *_plan_rows(first)])
    yield table([(f"  plan.{item.name}", item.metadata["help"]) for item in _words_of_plan()])
    yield from _sizes()
    yield "  other networks: plan.width=1, the width they have"
    for name, budget in itertools.product(others, BUDGETS):
        usual, its = PLANS[first, budget].to_json(), PLANS[name, budget].to_json()
        changed = [f"plan.{key}={_shown(its[key])}" for key in its if its[key] != usual[key]]
        if changed:
            told = f"  {name}, {budget}: {', '.join(changed)}"
            yield fill(told, _width(), subsequent_indent="    ")


def _sizes() -> Iterator[str]:
    """What data sets with a size of their own change."""
    for data, sizes in IMAGE_SIZES.items():
        told = zip(BUDGETS, sizes, strict=True)
        each = ", ".join(f"{size} ({budget})" for budget, size in told)
        yield f"  --data {data}: plan.image_size={sizes[0] if len(set(sizes)) == 1 else each}"


def _plan_rows(backbone: str) -> Iterator[Row]:
    """Key, value in every budget and meaning of the numbers of a plan."""
    plans = [PLANS[backbone, budget] for budget in BUDGETS]
    for item in fields(Plan):
        if item not in _words_of_plan():
            values = (_shown(getattr(plan, item.name)) for plan in plans)
            yield f"  plan.{item.name}", *values, meaning(item)


def _words_of_plan() -> list[Field[Any]]:
    """The fields of a plan that are no numbers; their help says what they can be."""
    return [item for item in fields(Plan) if item.type == "str"]


def _shown(value: object) -> str:
    """A default as --set takes it; a dash for an empty text."""
    if isinstance(value, bool):
        return str(value).lower()
    return (f"{value:g}" if isinstance(value, float) else str(value)) or "-"


def describe_plan(config: Config, estimate: Estimate) -> str:
    """The plan of a dry run: phases, epochs, minutes, memory, disk."""
    plan = config.plan
    rows = [
        (_titled(phase, config), str(phase.epochs), str(phase.steps), f"{phase.seconds / 60:.1f}")
        for phase in estimate.phases
    ]
    rows.append(("start, measure, report", "", "", f"{FIXED_SECONDS / 60:.1f}"))
    rows.append(("all", "", "", f"{estimate.seconds / 60:.1f}"))
    at_once = ", found and plain side by side" if estimate.side_by_side else ""
    threads = f"{plan.threads or 'all'} thread{'' if plan.threads == 1 else 's'}"
    return "\n".join(
        [
            fill(headline(config), _width()),
            "",
            table([("PHASE", "EPOCHS", "STEPS", "MINUTES"), *rows]),
            "",
            fill(
                f"Timed on this machine with {threads}, in {estimate.precision}{at_once}; "
                "freezing makes the search faster. "
                f"At most {estimate.alpha_steps} alpha steps. "
                f"Memory so far {estimate.memory / 2**30:.1f} GiB, "
                f"disk {estimate.disk / 2**20:.0f} MiB.",
                _width(),
            ),
            "Nothing was run or written; without --dry-run the run begins.",
        ]
    )


def _titled(phase: Phase, config: Config) -> str:
    counted = {"epochs": "", "trials": " (trials)", "both": " (and trials)"}
    spends = strategies.entry(config.strategy).spends
    return f"search{counted[spends]}" if phase.name == "search" else phase.name


def told_machine(config: Config, environment: Mapping[str, Any]) -> str:
    """How it computes, as environment.json has it: what was chosen by the device, each with a
    setting of the plan that chooses otherwise."""
    num = environment["threads"]
    threads = f"{num} thread{'' if num == 1 else 's'}"
    precision = environment.get("precision", "float32")
    mixtures = environment["mixtures"]
    mixed = "" if mixtures == "none" else f", mixtures {mixtures}"
    kept = ", freed memory kept" if environment.get("allocator") == "keep" else ""
    how = f"{threads}, {config.plan.layout}, {precision}{mixed}{kept}"
    return f"on {environment['device']}: {how}"


def headline(config: Config) -> str:
    """What will be done, in a sentence."""
    plan = config.plan
    height, width = config.image_size
    images = f"up to {plan.images}" if plan.images else "all"
    seeds = f" x {plan.retrain_seeds} seeds" if plan.retrain_seeds > 1 else ""
    return (
        f"{config.strategy} on {config.backbone}, width {plan.width:g}, space {config.space}; "
        f"{config.data} at {height}x{width} pixels, {images} training images; "
        f"search of {searched(config)}; "
        f"{plan.retrain_epochs} epochs of retraining{seeds}; "
        f"budget {config.budget}, seed {config.seed}"
    )


def searched(config: Config) -> str:
    """The search of a plan in words: epochs of a supernet, trials, or first one then the other."""
    plan, entry = config.plan, strategies.entry(config.strategy)
    epochs = f"{plan.warmup_epochs}+{plan.search_epochs}+{plan.adapt_epochs} epochs"
    each = f" of {plan.proxy_epochs} epochs on {plan.proxy_images} images"
    trials = f"{plan.trials} {f'trials{each}' if entry.trains_trials else 'networks scored'}"
    return {"epochs": epochs, "trials": trials, "both": f"{epochs}, {trials}"}[entry.spends]


def table(rows: Sequence[Row]) -> str:
    """Columns of equal width, two spaces apart; the last one wraps at the terminal's edge."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]) - 1)]
    indent = sum(widths) + 2 * len(widths)
    room = max(NARROWEST, _width() - indent)
    lines = []
    for *cells, last in rows:
        begin = "".join(f"{cell:{width}}  " for cell, width in zip(cells, widths, strict=True))
        first, *more = wrap(last, room, break_long_words=False) or [""]
        lines += [f"{begin}{first}".rstrip(), *(f"{'':{indent}}{line}" for line in more)]
    return "\n".join(lines)


def _width() -> int:
    """Columns to write in; of no terminal, the widest."""
    return min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns)
