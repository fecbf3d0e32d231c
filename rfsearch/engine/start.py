"""Open a run: its configuration settled, its folder claimed, its data read."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping
from dataclasses import replace
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

import rfsearch
from rfsearch import data, strategies
from rfsearch.backbones import published
from rfsearch.data.digits import DigitsSettings
from rfsearch.data.images import Dataset
from rfsearch.engine import allocator
from rfsearch.engine.config import Config, Request, differences, moved, settle
from rfsearch.engine.costs import checked_costs, needed
from rfsearch.engine.dry_run import FIXED_SECONDS, estimate
from rfsearch.engine.environment import environment
from rfsearch.engine.executors import executor
from rfsearch.engine.plan import duration, stretch
from rfsearch.engine.run import Progress, Run
from rfsearch.engine.settings import DataSettings, MetricSettings
from rfsearch.errors import UserError
from rfsearch.training.metrics import check_classes
from rfsearch.training.processes import fabric, precision_of
from rfsearch.training.ranks import ranks
from rfsearch.training.shares import ALONE, Shares, shares_of
from rfsearch.trials import Claim, Kept, RunFolder, keep, kept, read_json, write_json
from rfsearch.trials.claim import FILES as CLAIM_FILES
from rfsearch.trials.storage import FILE as STORAGE_FILE

if TYPE_CHECKING:
    from lightning_fabric import Fabric

KINDS = {"compare": "comparison", "optimize": "proposal"}
"""What config.json calls its folder → the word for it; a run's calls it nothing."""


def open_run(
    request: Request,
    progress: Progress,
    claim: Claim | None = None,
    together: Fabric | None = None,
) -> Run:
    """Check everything a person can get wrong, then make the folder; nothing is left behind by
    a run that could not begin.

    Args:
        claim: of the run's folder; taken before anything is written there or gone on with.
        together: the processes that make it, where there are several.
    """
    shares = ALONE if together is None else shares_of(together)
    folder = RunFolder(request.folder)
    with shares.agreed():
        config = settle(request)
        check_duration(config.budget)
        stored = begun(folder, config, resume=request.resume)
        answers(kept(folder, request.storage))
        if stored is None:
            check_place(folder)
        elif claim is not None:
            claim.take()
        dataset = load_data(stored or config, download=request.download)
        made = executor(request.executor, request.ray_address)
        settled = moved(stored, config) if stored else config
        run = prepare(settled, folder, dataset, progress, together)
        check_children(run)
    check_alike(run, shares)
    if stored is not None:
        return replace(costed(run), executor=made, kept=keep(folder, request.storage))
    run = in_time(costed(run))
    if claim is not None:
        claim.take()
        begun(folder, config, resume=False)  # another process may have been faster
    study = keep(folder, request.storage)
    where = environment(
        dataset,
        str(run.fabric.device),
        mixes=config.mixes,
        kernels=config.plan.kernels,
        processes=shares.num,
        precision=precision_of(run.fabric),
        allocator=run.allocator,
    )
    write_json(folder.environment, where)
    write_json(folder.config, run.config.to_json())
    return replace(run, executor=made, kept=study)


def check_children(run: Run) -> None:
    """A run that trains found and plain side by side may start a process."""
    if run.side_by_side and multiprocessing.current_process().daemon:
        raise UserError(
            "this process may start no other (it is one of a multiprocessing.Pool, say), so found "
            "and plain cannot be trained side by side; use --set plan.retrain_processes=1"
        )


def check_alike(run: Run, shares: Shares) -> None:
    """An error where processes would not train one network on one data set."""
    differing = shares.differing(
        {
            "versions of torch": torch.__version__,
            "versions of rfsearch": rfsearch.__version__,
            "options": run.config.to_json()["hash"],
            "kinds of device": run.fabric.device.type,
            f"images under {run.config.data}": run.dataset.data_hash,
        }
    )
    for name, told in differing.items():
        each = ", ".join(f"{text[:12]} in process {rank}" for rank, text in enumerate(told))
        raise UserError(f"the processes have different {name}: {each}; give all the same")


def answers(study: Kept) -> None:
    """A database that cannot be opened is told of before anything is begun."""
    if isinstance(study.where, str):
        study.reach()


def in_time(run: Run) -> Run:
    """The run with its epochs stretched to a budget such as ``4h``; a named plan stays."""
    seconds = duration(run.config.budget)
    if seconds is None:
        return run
    found = estimate(run).seconds
    expected = shares_of(run.fabric).first(lambda: found)  # each has a clock of its own
    factor = (seconds - FIXED_SECONDS) / (expected - FIXED_SECONDS)
    plan = stretch(run.config.plan, max(factor, 0.0))
    if factor * run.config.plan.retrain_epochs < 1:
        raise UserError(
            f"{run.config.budget} is too short: one epoch of everything takes about "
            f"{expected / run.config.plan.retrain_epochs / 60:.1f} minutes here"
        )
    return replace(run, config=replace(run.config, plan=plan))


def prepare(
    config: Config,
    folder: RunFolder,
    dataset: Dataset,
    progress: Progress,
    together: Fabric | None = None,
) -> Run:
    """The run on its device, with its threads and allocator; in one process, unless several are
    together."""
    cores = max(1, (os.cpu_count() or 1) // ranks().num_local)
    torch.set_num_threads(config.plan.threads or cores)
    for key, split in (("recipe.batch_size", "weights"), ("pmpl.alpha_batch", "alpha")):
        images, batch = len(getattr(dataset.search, split)), int(config.settings[key])
        if images < batch:
            raise UserError(
                f"{config.data} leaves {images} images for {split}, "
                f"fewer than a batch of {batch}; use --set {key}=N"
            )
    check_classes(config.group(MetricSettings).name, len(dataset.classes), config.data)
    if strategies.entry(config.strategy).trains_trials:
        check_proxy(config)
    placed = together or fabric(config.device, config.plan.precision)
    if config.plan.precision == "bfloat16" and together:
        raise UserError(
            "plan.precision=bfloat16 is for one process; several add up their statistics in "
            "float32: use --set plan.precision=float32"
        )
    freed = allocator.settle(config.plan.allocator, placed.device.type)
    run = Run(config, folder, dataset, placed, progress, allocator=freed)
    if config.pretrained:
        published.weights(run.backbone)  # a mistake is told before anything is written
    return run


def check_proxy(config: Config) -> None:
    """The cheap training of a trial has a batch at least; with less it has no step."""
    images, batch = config.plan.proxy_images, int(config.settings["recipe.batch_size"])
    if images < batch:
        raise UserError(
            f"plan.proxy_images={images} is fewer than a batch of {batch}; "
            f"use --set plan.proxy_images={batch}"
        )


def check_duration(budget: str) -> None:
    """Refuse a duration in which no run fits, before its data is loaded."""
    seconds = duration(budget)
    if seconds is not None and seconds <= FIXED_SECONDS:
        raise UserError(
            f"{budget} is too short: to start, measure and report alone takes about "
            f"{FIXED_SECONDS:.0f} seconds"
        )


def costed(run: Run) -> Run:
    """The run with a table of costs, where a cap or its strategy needs one."""
    measures = needed(run.config)
    if not measures:
        return run
    return replace(run, costs=shares_of(run.fabric).first(lambda: checked_costs(run, measures)))


def load_data(config: Config, *, download: bool = False) -> Dataset:
    """The data set of a configuration, cut into its four splits."""
    return data.load(
        config.data,
        seed=int(config.settings["data.seed"]),
        image_size=config.image_size,
        images=config.plan.images or None,
        test_images=config.plan.test_images or None,
        download=download,
        channels=int(config.settings["data.channels"]),
        cache=config.group(DataSettings).cache_bytes,
        settings=config.group(DigitsSettings),
    )


def is_finished(folder: RunFolder) -> bool:
    """Whether a run has come to its end."""
    return folder.metrics.exists() and folder.report.exists()


def begun(folder: RunFolder, config: Config, *, resume: bool) -> Config | None:
    """The configuration a run's folder was begun with; None where nothing was begun."""
    record = stored_record(folder, "run", resume=resume)
    if record is None:
        return None
    stored = Config.from_json(record, str(folder.config))
    if duration(config.budget) is not None:
        config = replace(config, plan=stored.plan)
    check_same(folder, record, config.to_json())
    return stored


def stored_record(folder: RunFolder, kind: str, *, resume: bool) -> dict[str, Any] | None:
    """config.json of what was begun in a folder; None where nothing was.

    Args:
        kind: run, comparison or proposal.
        resume: whether it may be gone on with.
    """
    if not folder.path.exists():
        return None
    if not folder.path.is_dir():
        raise UserError(f"--out {folder.path} is a file; name a folder")
    if not folder.config.exists():
        if not _only_begun(folder):
            raise UserError(
                f"--out {folder.path} holds other files and no {kind}; name a new folder"
            )
        return None
    record = read_json(folder.config)
    found = KINDS.get(str(record.get("kind") or record.get("verb")), "run")
    if found != kind:
        raise UserError(f"--out {folder.path} holds a {found} and no {kind}; name a new folder")
    if not resume:
        raise UserError(
            f"{folder.path} holds a {kind} already; go on with it by --resume, "
            "or name another folder by --out"
        )
    return record


def check_same(folder: RunFolder, stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """A folder is gone on with under the options it was begun with."""
    if changed := differences(stored, wanted):
        raise UserError(
            f"{folder.path} was begun with other options: {'; '.join(changed)}. "
            "Give the options it was begun with, or another --out"
        )


def check_place(folder: RunFolder) -> None:
    """A folder can be made there: tried, for permissions tell only half of it."""
    try:
        above = next(path for path in (folder.path, *folder.path.parents) if path.exists())
        with TemporaryDirectory(dir=above):
            pass
    except OSError as error:
        raise UserError(
            f"--out {folder.path} cannot be written: {error.strerror}; name another folder"
        ) from error


def _only_begun(folder: RunFolder) -> bool:
    """Whether a kill left the folder before its config.json was written, or another process has
    just claimed it."""
    return all(
        path.name.startswith((folder.environment.name, STORAGE_FILE))
        or path.suffix == ".partial"
        or path.name in CLAIM_FILES
        for path in folder.path.iterdir()
    )
