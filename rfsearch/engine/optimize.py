"""`rfsearch optimize`: blocks, strides and kernels moved, and what that should bring."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rfsearch import data
from rfsearch.analysis.capture import capture
from rfsearch.analysis.gain import Gains, gains
from rfsearch.analysis.walk import walk
from rfsearch.backbones.models import resolve
from rfsearch.engine.analyze import Options as Analysis
from rfsearch.engine.analyze import analyze_and_tell, parse_size
from rfsearch.errors import UserError, unknown
from rfsearch.optimize.kernel_level import Proposal, optimize_kernels
from rfsearch.optimize.kernel_level import curve as kernel_curve
from rfsearch.optimize.networks import build
from rfsearch.optimize.proposal import Optimized
from rfsearch.optimize.stage_level import Curve, optimize_stages
from rfsearch.optimize.staged import ORIGINALS, Staged, original
from rfsearch.reporting.optimize_page import Told, write_page
from rfsearch.reporting.quantities import count
from rfsearch.seeds import stream
from rfsearch.training.evaluation import accuracy
from rfsearch.training.fit import Fit
from rfsearch.training.processes import fabric
from rfsearch.training.randomness import seeded
from rfsearch.training.recipe import Recipe
from rfsearch.trials import replacing, write_json

LEVELS = ("stage", "kernel", "both")
BUDGETS = {"quick": (4000, 1000, 8), "standard": (12000, 10000, 30), "paper": (0, 0, 150)}
"""Budget → training images, test images (0: all) and epochs of a retraining."""
RECIPE = Recipe()
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of `rfsearch optimize` but for the model."""

    level: str
    epsilon: float = 0.05
    max_macs: str | None = None
    max_params: str | None = None
    image_size: str | int = 224
    out: Path | None = None
    retrain: bool = False
    data: str = "digits"
    budget: str = "quick"
    seed: int = 0


def optimize_and_tell(
    model: str, options: Options, width: int = 100, note: Callable[[str], None] = lambda _: None
) -> str:
    """The command: writes the folder and returns what the terminal is told."""
    if options.level not in LEVELS:
        raise unknown("level", options.level, LEVELS)
    if options.budget not in BUDGETS:
        raise unknown("budget", options.budget, BUDGETS)
    size = parse_size(options.image_size)
    if not 0 <= options.epsilon < 1:
        raise UserError(
            f"--epsilon is a share of the score, from 0 to below 1, not {options.epsilon:g}"
        )
    caps = parse_amount(options.max_macs, "--max-macs"), parse_amount(
        options.max_params, "--max-params")  # fmt: skip
    try:
        net = original(model)
    except UserError as why:
        resolve(model)
        note(str(why))
        told = Analysis(image_size=options.image_size, gain=True)
        return analyze_and_tell([model], told, "table", None, width, note)[0]
    folder = options.out or Path("runs") / f"{_bare(model)}-{options.level}-{size[0]}"
    if folder.exists():
        raise UserError(f"--out {folder} exists; name a folder that does not")
    found, stages, kernels = _optimize(model, net, size, caps, options)
    return _leave(found, stages, kernels, folder, options, note)


def _bare(model: str) -> str:
    return re.sub(r"[^\w.]+", "-", model)


def _optimize(
    model: str, net: Staged, size: tuple[int, int], caps: tuple[int | None, int | None],
    options: Options,
) -> tuple[Optimized, Curve | None, list[Proposal]]:  # fmt: skip
    stages = None
    if options.level != "kernel":
        stages = optimize_stages(net, size, *caps, seed=stream(options.seed, "optimize"))
    proposed = stages.best.net if stages else net
    kernels, one = [], None
    if options.level != "stage":
        one = optimize_kernels(proposed, size, options.epsilon)
        kernels = kernel_curve(proposed, size)
    found = Optimized(model, size, net, proposed, one)
    if options.level == "kernel":
        _check_caps(found, caps)
    return found, stages, kernels


def _check_caps(found: Optimized, caps: tuple[int | None, int | None]) -> None:
    params, macs, _ = found.after
    wanted = ((caps[0], macs, "MACs"), (caps[1], params, "parameters"))
    for cap, has, name in wanted:
        if cap is not None and has > cap:
            raise UserError(
                f"the cheapest kernels at this ε leave {has:,} {name}, more than {cap:,}; "
                "take a larger --epsilon or --level both"
            )


def parse_amount(text: str | None, option: str) -> int | None:
    """A count with or without K, M or G.

    >>> parse_amount("1.5M", "--max-macs")
    1500000
    """
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMG]?)", text.strip(), re.IGNORECASE)
    amount = int(float(found[1]) * UNITS[found[2].upper()]) if found else 0
    if amount < 1:
        raise UserError(f"{option} is a positive number such as 250M or 3000000, not {text!r}")
    return amount


def _new_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"--out {folder} cannot be written: {error.strerror}") from error


def _leave(
    found: Optimized, stages: Curve | None, kernels: list[Proposal], folder: Path,
    options: Options, note: Callable[[str], None],
) -> str:  # fmt: skip
    """All files, the page last."""
    _new_folder(folder)
    write_json(folder / "architecture.json", found.to_json())
    _write(folder / "layers.csv", _layers(found))
    if stages:
        _write(folder / "curve.csv", _curve(stages))
    note("measuring both networks on their graphs")
    measured = [_measured(build(found.original), found), _measured(found.module(), found)]
    trained = _retrain(found, options, note) if options.retrain else None
    told = Told(found, stages, tuple(kernels), measured[0], measured[1], trained)
    write_json(folder / "proposal.json", _record(told, options))
    page = write_page(told, folder / "report.html")
    return "\n".join([_sentence(told), str(page)])


def _measured(network: nn.Module, found: Optimized) -> Gains:
    """The metric of the network itself, which shares no code with the closed form."""
    channels = found.original.channels
    with seeded(0):
        module = network.eval()
    program = capture(module, found.image_size, channels)
    return gains(module, program, walk(module, found.image_size, channels, program), channels)


def _sentence(told: Told) -> str:
    found = told.found
    params, macs, productive = found.after
    text = (
        f"{found.model} at {found.image_size[0]}×{found.image_size[1]}: {found.proposed.label}; "
        f"parameters {count(found.before.params)} → {count(params)}, MACs "
        f"{count(found.before.macs)} → {count(macs)}, productive score (3DRF-style) "
        f"{found.before.productive:.1f} → {productive:.1f}."
    )
    if told.trained:
        text += (f" Trained alike: {told.trained['original']:.1%} → "
                 f"{told.trained['proposed']:.1%} of the test images right.")  # fmt: skip
    return text


def _record(told: Told, options: Options) -> dict[str, Any]:
    params, macs, productive = told.found.after
    return {
        "format": 1,
        "model": told.found.model,
        "image_size": list(told.found.image_size),
        "level": options.level,
        "epsilon": options.epsilon,
        "exact": told.stages.exact if told.stages else None,
        "looked_at": told.stages.looked_at if told.stages else None,
        "original": asdict(told.found.before),
        "proposed": {"params": params, "macs": macs, "productive": productive},
        "measured": {"original": told.before.to_json(), "proposed": told.after.to_json()},
        "trained": told.trained,
    }


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with replacing(path) as partial:
        partial.write_text(text.getvalue(), encoding="utf-8")


def _layers(found: Optimized) -> list[dict[str, Any]]:
    rows = []
    for row in found.rows():
        cells: dict[str, Any] = {"name": row.name}
        for side, one in (("before", row.before), ("after", row.after)):
            cells |= {f"{side}_kernel": one and one.layer.kernel,
                      f"{side}_stride": one and one.layer.stride,
                      f"{side}_field": one and one.after,
                      f"{side}_earned": one and round(one.earned, 4)}  # fmt: skip
        rows.append({**cells, "operator": row.kernel.label if row.after else "",
                     "reason": row.reason})  # fmt: skip
    return rows


def _curve(stages: Curve) -> list[dict[str, Any]]:
    return [{"network": point.net.label, **asdict(point.figures)} for point in stages.points]


def _retrain(found: Optimized, options: Options, note: Callable[[str], None]) -> dict[str, Any]:
    """Both networks under one recipe, seed and data; accuracy on the untouched test split."""
    images, test_images, epochs = BUDGETS[options.budget]
    made = data.load(options.data, image_size=found.image_size, images=images or None,
                     test_images=test_images or None)  # fmt: skip
    classes, channels = len(made.classes), made.channels
    changed = [replace(net, classes=classes, channels=channels)
               for net in (found.original, found.proposed)]  # fmt: skip
    kernels = found.kernels.kernels if found.kernels else None
    result: dict[str, Any] = {"data": options.data, "budget": options.budget, "epochs": epochs,
                              "seed": options.seed}  # fmt: skip
    for name, net, own in (("original", changed[0], None), ("proposed", changed[1], kernels)):
        note(f"training the {name} network for {epochs} epochs")
        with seeded(stream(options.seed, "optimize", "weights")):
            network = build(net, own)
        result[name] = train(network, made, epochs, options.seed)
    return result


def train(network: nn.Module, made: data.Dataset, epochs: int, seed: int) -> float:
    """Share of the test images right after ``epochs`` of the recipe."""
    on = fabric("auto")
    augmentation = data.Augmentation(data.AugmentationSettings(), made.mean, made.std, made.flips)
    network.to(on.device).to(memory_format=torch.channels_last)
    images = made.search.training().to(on.device)
    fit = Fit(network, images, augmentation, RECIPE, epochs=epochs, seed=seed, fabric=on)
    while not fit.finished:
        fit.advance()
    return accuracy(network, made.test.to(on.device), augmentation)


MOVABLE = tuple(ORIGINALS)
"""Networks whose stages can be moved."""
