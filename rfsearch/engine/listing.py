"""Plain text for the terminal: spaces, slots, settings, a plan."""

from __future__ import annotations

from collections.abc import Sequence

from rfsearch import backbones
from rfsearch import spaces as spaces_room
from rfsearch.engine import settings as settings_table
from rfsearch.engine.config import Config
from rfsearch.engine.dry_run import FIXED_SECONDS, Estimate


def list_spaces() -> str:
    """One line per packaged space."""
    found = [spaces_room.load_space(name) for name in spaces_room.names()]
    rows = [
        (space.name, space.form, f"{len(space.operators)} operators", space.description)
        for space in found
    ]
    return table([("SPACE", "FORM", "SIZE", "WHAT"), *rows])


def list_space(name: str | None, backbone: str | None) -> str:
    """A space's operators, and the slots of a backbone."""
    parts, candidates = [], 0
    if name:
        space = spaces_room.load_space(name)
        candidates = len(space.operators)
        parts += [
            f"{space.name} ({space.form} form): {space.description}",
            table([(str(index), one.label) for index, one in enumerate(space.operators)]),
        ]
    if backbone:
        slots = backbones.slots(spaces_room.Backbone(backbone, ()))
        rows = [(one.name, f"{one.channels} channels", f"stride {one.stride}") for one in slots]
        parts += [f"{len(slots)} slots of {backbone} at width 1:", table(rows)]
        if candidates:
            size = candidates ** len(slots)
            parts.append(f"{candidates}^{len(slots)} = {size:.3g} architectures")
    return "\n".join(parts)


def list_settings() -> str:
    """Every key with its type, default and meaning."""
    rows = [
        (key.name, key.kind, "" if key.default is None else str(key.default), key.text)
        for key in settings_table.all_keys()
    ]
    return table([("KEY", "TYPE", "DEFAULT", "MEANING"), *rows])


def describe_plan(config: Config, estimate: Estimate) -> str:
    """The plan of a dry run: phases, epochs, minutes, memory, disk."""
    plan = config.plan
    rows = [
        (phase.name, str(phase.epochs), str(phase.steps), f"{phase.seconds / 60:.1f}")
        for phase in estimate.phases
    ]
    rows.append(("start, measure, report", "", "", f"{FIXED_SECONDS / 60:.1f}"))
    rows.append(("all", "", "", f"{estimate.seconds / 60:.1f}"))
    return "\n".join(
        [
            headline(config),
            f"{estimate.alpha_steps} alpha steps at most; "
            f"memory {estimate.memory / 2**30:.1f} GiB, disk {estimate.disk / 2**20:.0f} MiB",
            table([("PHASE", "EPOCHS", "STEPS", "MINUTES"), *rows]),
            f"{plan.threads or 'all'} threads, {plan.layout}, {plan.kernels}; timed here; "
            "freezing makes the search faster",
        ]
    )


def headline(config: Config) -> str:
    """What will be done, in a sentence."""
    plan = config.plan
    height, width = config.image_size
    images = f"up to {plan.images}" if plan.images else "all"
    return (
        f"{config.strategy} on {config.backbone}, width {plan.width:g}, space {config.space}; "
        f"{config.data} at {height}x{width} pixels, {images} training images; "
        f"{plan.warmup_epochs}+{plan.search_epochs}+{plan.adapt_epochs} epochs of search, "
        f"{plan.retrain_epochs} of retraining x {plan.retrain_seeds} seed(s); "
        f"budget {config.budget}, seed {config.seed}"
    )


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Columns of equal width, two spaces apart."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)
