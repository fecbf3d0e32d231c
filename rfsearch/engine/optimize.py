"""`rfsearch optimize`: blocks, strides and kernels moved, and what that should bring."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from rfsearch import data
from rfsearch.analysis.capture import capture
from rfsearch.analysis.gain import gains
from rfsearch.analysis.scores import Gains
from rfsearch.analysis.walk import walk
from rfsearch.backbones.models import resolve
from rfsearch.engine.analyze import Options as Analysis
from rfsearch.engine.analyze import analyze_and_tell
from rfsearch.engine.config import parse_caps
from rfsearch.engine.retrain import Training, dataset, expected_seconds, retrain, settled
from rfsearch.engine.sizes import parse_size
from rfsearch.engine.start import check_place, check_same, stored_record
from rfsearch.errors import UserError, unknown
from rfsearch.optimize.kernel_level import Proposal, optimize_kernels
from rfsearch.optimize.kernel_level import curve as kernel_curve
from rfsearch.optimize.proposal import Optimized
from rfsearch.optimize.stage_level import Curve, optimize_stages
from rfsearch.optimize.staged import Staged, figures, original
from rfsearch.reporting.optimize_page import Told, trained_sentence, write_page
from rfsearch.reporting.progress import Progress
from rfsearch.reporting.quantities import clock, count, plural
from rfsearch.seeds import stream
from rfsearch.spaces import Input
from rfsearch.training.randomness import seeded
from rfsearch.training.ranks import check_alone
from rfsearch.trials import Claim, RunFolder, read_json, replacing, write_json

LEVELS = ("stage", "kernel", "both")
Note = Callable[[str], None]


def _silent(sentence: str) -> None:
    del sentence


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of `rfsearch optimize` but for the model."""

    level: str
    epsilon: float = 0.05
    max_macs: str | None = None
    max_params: str | None = None
    image_size: str | int = 224
    out: Path | None = None
    resume: bool = False
    retrain: bool = False
    data: str = "digits"
    budget: str = "quick"
    seed: int = 0
    download: bool = False
    assignments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task:
    """Options that were checked.

    Attributes:
        caps: most multiply-adds and parameters; None: the original's.
        training: None where none is asked for.
    """

    model: str
    level: str
    epsilon: float
    image_size: tuple[int, int]
    caps: tuple[int | None, int | None]
    seed: int
    training: Training | None

    def to_json(self) -> dict[str, Any]:
        """config.json."""
        return {
            "verb": "optimize", "model": self.model, "level": self.level, "epsilon": self.epsilon,
            "image_size": list(self.image_size), "max_macs": self.caps[0],
            "max_params": self.caps[1], "seed": self.seed,
            "training": self.training and self.training.to_json(),
        }  # fmt: skip


def optimize_and_tell(model: str, options: Options, width: int = 100, note: Note = _silent) -> str:
    """The command: writes the folder and returns what the terminal is told."""
    check_alone("rfsearch optimize")
    task = _task(model, options)
    try:
        net = original(model)
    except UserError as why:
        resolve(model)
        note(f"{why}. Below is that; no folder is written")
        told = Analysis(image_size=options.image_size, gain=True)
        return analyze_and_tell([model], told, "table", None, width, note)[0]
    _check_size(model, net, task.image_size)
    suffix = "-retrained" if task.training else ""
    name = f"{_bare(model)}-{task.level}-{'x'.join(map(str, task.image_size))}{suffix}"
    folder = RunFolder(options.out or Path("runs") / name)
    done = f"{folder.path} is finished already: {folder.report}"
    if _is_finished(folder, task, options.resume):
        return done
    made = None
    if task.training:
        made = dataset(task.training, task.image_size, options.download)
        net = replace(net, classes=len(made.classes), channels=made.channels)
    found, stages, kernels = _optimize(task, net)
    with Claim(folder.path) as claim:
        claim.take()
        if _is_finished(folder, task, options.resume):  # another process was faster
            return done
        return _leave(found, stages, kernels, task, made, folder, note)


def _task(model: str, options: Options) -> Task:
    """All that can be checked before anything is computed."""
    if options.level not in LEVELS:
        raise unknown("level", options.level, LEVELS)
    if not 0 <= options.epsilon < 1:
        raise UserError(
            f"--epsilon is a share of the score, from 0 to below 1, not {options.epsilon:g}"
        )
    training = settled(options.data, options.budget, options.seed, options.assignments)
    if options.assignments and not options.retrain:
        raise UserError("--set changes how networks are trained; it goes with --retrain")
    caps = {name: int(most) for name, most
            in parse_caps(options.max_macs, options.max_params, None)}  # fmt: skip
    return Task(model, options.level, options.epsilon, parse_size(options.image_size),
                (caps.get("macs"), caps.get("params")), options.seed,
                training if options.retrain else None)  # fmt: skip


def _check_size(model: str, net: Staged, image_size: tuple[int, int]) -> None:
    """Refuse images of which the original leaves no pixel."""
    if figures(net, image_size).fits:
        return
    least = next(n for n in range(1, 1024) if figures(net, (n, n)).fits)
    raise UserError(
        f"{model} cannot run on images of {image_size[0]}×{image_size[1]} pixels, so there is "
        f"nothing to compare with; it takes {least} a side and more"
    )


def _is_finished(folder: RunFolder, task: Task, resume: bool) -> bool:
    """Whether nothing is left to do in a folder; one that may not be written to is refused."""
    stored = stored_record(folder, "proposal", resume=resume)
    if stored is None:
        check_place(folder)
        return False
    check_same(folder, stored, task.to_json())
    return folder.report.exists()


def _bare(model: str) -> str:
    return re.sub(r"[^\w.]+", "-", model)


def _optimize(task: Task, net: Staged) -> tuple[Optimized, Curve | None, list[Proposal]]:
    stages = None
    if task.level != "kernel":
        seed = stream(task.seed, "optimize")
        stages = optimize_stages(net, task.image_size, *task.caps, seed=seed)
    proposed = stages.best.net if stages else net
    kernels, one = [], None
    if task.level != "stage":
        one = optimize_kernels(proposed, task.image_size, task.epsilon)
        kernels = kernel_curve(proposed, task.image_size)
    found = Optimized(task.model, task.image_size, net, proposed, one)
    if task.level == "kernel":
        _check_caps(found, task.caps)
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


def _leave(
    found: Optimized, stages: Curve | None, kernels: list[Proposal], task: Task,
    made: data.Dataset | None, folder: RunFolder, note: Note,
) -> str:  # fmt: skip
    """All files, the page last."""
    write_json(folder.config, task.to_json())
    _write_architecture(found, made, folder)
    _write(folder.layers, _layers(found))
    if stages:
        _write(folder.path / "curve.csv", _curve(stages))
    note("measuring both networks on their graphs")
    measured = [_measured(found.original_module(), found), _measured(found.module(), found)]
    told = Told(found, stages, tuple(kernels), measured[0], measured[1], None)
    write_json(folder.path / "proposal.json", _record(told, task))
    if task.training and made:
        told = replace(told, trained=_trained(found, task.training, made, folder, note))
    page = write_page(told, folder.report)
    return "\n".join([_sentence(told), str(page)])


def _write_architecture(found: Optimized, made: data.Dataset | None, folder: RunFolder) -> None:
    """architecture.json; of a folder that is gone on with it has to be the same."""
    if made:
        taken = Input(made.image_size, made.channels, made.mean, made.std)
        record = found.to_json(taken, made.classes)
    else:
        record = found.to_json()
    record = json.loads(json.dumps(record))  # as it is read again: no tuples
    if folder.architecture.exists() and read_json(folder.architecture) != record:
        raise UserError(
            f"{folder.architecture} is not what these options lead to now; name another --out"
        )
    write_json(folder.architecture, record)


def _trained(
    found: Optimized, training: Training, made: data.Dataset, folder: RunFolder, note: Note
) -> dict[str, Any]:
    """What both networks reach, trained by one recipe."""
    if folder.metrics.exists():
        return read_json(folder.metrics)
    with Progress() as progress:
        if not folder.history.exists():
            seconds = expected_seconds(found, training, made, folder, progress)
            note(f"training both networks, {plural(training.plan.retrain_seeds, 'seed')} of "
                 f"{plural(training.plan.retrain_epochs, 'epoch')}: about "
                 f"{clock(seconds)}")  # fmt: skip
        return retrain(found, training, made, folder, progress)


def _measured(network: nn.Module, found: Optimized) -> Gains:
    """The metric of the network itself, which shares no code with the closed form."""
    channels = found.original.channels
    with seeded(0):
        module = network.eval()
    program = capture(module, found.image_size, channels)
    return gains(module, program, walk(module, found.image_size, channels, program), channels)


def _sentence(told: Told) -> str:
    """What the terminal is told."""
    found = told.found
    params, macs, productive = found.after
    text = (
        f"{found.model} at {found.image_size[0]}×{found.image_size[1]}: {found.proposed.label}; "
        f"parameters {count(found.before.params)} → {count(params)}, MACs "
        f"{count(found.before.macs)} → {count(macs)}, productive score (3DRF-style) "
        f"{found.before.productive:.1f} → {productive:.1f}."
    )
    return f"{text} {trained_sentence(told.trained)}" if told.trained else text


def _record(told: Told, task: Task) -> dict[str, Any]:
    params, macs, productive = told.found.after
    return {
        "model": task.model,
        "image_size": list(task.image_size),
        "level": task.level,
        "epsilon": task.epsilon,
        "exact": told.stages.exact if told.stages else None,
        "looked_at": told.stages.looked_at if told.stages else None,
        "original": asdict(told.found.before),
        "proposed": {"params": params, "macs": macs, "productive": productive},
        "measured": {"original": told.before.to_json(), "proposed": told.after.to_json()},
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
        sides = (("before", row.before), ("after", row.after))
        for (side, one), earned in zip(sides, row.earned, strict=True):
            cells |= {f"{side}_kernel": one and one.layer.kernel,
                      f"{side}_stride": one and one.layer.stride,
                      f"{side}_field": one and one.after,
                      f"{side}_earned": None if earned is None else round(earned, 4)}  # fmt: skip
        operator = row.kernel.label_on(row.after.layer) if row.after else ""
        rows.append({**cells, "operator": operator, "reason": row.reason})
    return rows


def _curve(stages: Curve) -> list[dict[str, Any]]:
    return [{"network": point.net.label, **asdict(point.figures)} for point in stages.points]
