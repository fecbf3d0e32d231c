"""Found and plain trained side by side, the plain network in a process of its own.

A small network gains little by a second thread: two processes, each with half of the threads,
train two networks in hardly more time than one. The process works in a run folder inside of the
run's checkpoint, with a history and a state of its own; at the end the run takes over its lines
and weights, as if it had trained the network itself.
"""

from __future__ import annotations

import multiprocessing
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from rfsearch.engine.children import child
from rfsearch.engine.config import Config
from rfsearch.engine.messages import Crew, Telling, telling
from rfsearch.engine.run import Progress, Run, Silent, lines_before, load_architecture, retrain
from rfsearch.engine.start import load_data, prepare
from rfsearch.engine.threads import half, threads
from rfsearch.errors import UserError
from rfsearch.spaces import Architecture
from rfsearch.trials import History, RunFolder, read_json, replacing, write_json

KIND = "plain"
WHO = "the process that trains the plain network"
REMEDY = "go on by --resume, or begin again with --set plan.retrain_processes=1"


def retrain_both(run: Run, architecture: Architecture) -> None:
    """Train found here and plain beside it, as far as they are not done yet."""
    with threads(half()), _plain_beside(run) as progress:
        for index in range(run.config.plan.retrain_seeds):
            retrain(replace(run, progress=progress), "found", index, architecture)


@contextmanager
def _plain_beside(run: Run) -> Iterator[Progress]:
    """Inside, the other process is at work, and the progress tells of it; behind, it is done."""
    side = RunFolder(run.folder.checkpoint / KIND)
    if all(weights.exists() for weights in _weights(run, run.folder)):
        shutil.rmtree(side.path, ignore_errors=True)
        yield run.progress
        return
    _begin(run, side)
    told = multiprocessing.get_context("spawn").Queue()
    given = (side.path, torch.get_num_threads(), run.dataset.data_hash)
    run.progress.beside(KIND)
    with Crew([child(f"{__name__}:{work.__name__}", given, told)], told, WHO, REMEDY) as crew:
        progress = _Listening(run.progress, crew)
        yield progress
        run.progress.enter(KIND)
        crew.hear_all(progress.listen)
    _take_over(run, side)


def work(path: Path, num_threads: int, data_hash: str, told: Any) -> None:
    """The process: train the plain network of all seeds in its folder.

    Args:
        data_hash: of the images that the found network is trained on.
        told: takes the messages.
    """
    with telling(told, WHO) as tell:
        folder = RunFolder(path)
        config = Config.from_json(read_json(folder.config), str(folder.config))
        dataset = load_data(config)
        if dataset.data_hash != data_hash:
            raise UserError(
                f"{config.data} gave other images to {WHO} than to the run; it must give the same "
                "each time, or use --set plan.retrain_processes=1"
            )
        run = prepare(config, folder, dataset, Telling(KIND, tell))
        torch.set_num_threads(num_threads)
        for index in range(config.plan.retrain_seeds):
            retrain(run, KIND, index, load_architecture(folder))


class _Listening(Silent):
    """The run's progress, which hears of the other process whenever it is told something."""

    def __init__(self, progress: Progress, crew: Crew) -> None:
        self.progress, self.crew = progress, crew

    def step(self, phase: str, epoch: int, step: int, steps: int) -> None:
        """A step here."""
        self.progress.step(phase, epoch, step, steps)
        self.crew.hear(self.listen)

    def epoch(self, record: dict[str, Any]) -> None:
        """An epoch here."""
        self.progress.epoch(record)

    def listen(self, kind: str, name: str, payload: Any) -> None:
        """An epoch there."""
        del kind, name
        self.progress.epoch(payload)


def _weights(run: Run, folder: RunFolder) -> list[Path]:
    """Of the plain network by seed, as a folder keeps them."""
    seeds = range(run.config.plan.retrain_seeds)
    return [folder.checkpoint / f"{KIND}-{index}.safetensors" for index in seeds]


def _begin(run: Run, side: RunFolder) -> None:
    """What the process reads; its folder counts as begun with config.json, written last."""
    if not side.config.exists():
        write_json(side.architecture, read_json(run.folder.architecture))
        write_json(side.config, read_json(run.folder.config))


def _take_over(run: Run, side: RunFolder) -> None:
    """Lines first: where all weights are, all is taken over."""
    run.history.truncate(lines_before(run, {"phase": KIND, "retrain_seed": 0}))
    for line in History(side.history).read():
        run.history.append(line)
    for made, taken in zip(_weights(run, side), _weights(run, run.folder), strict=True):
        with replacing(taken) as partial:
            shutil.copyfile(made, partial)
    shutil.rmtree(side.path)
