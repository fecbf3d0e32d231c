"""A run made by several processes in step: who they are, and where each of them works.

All go through the same phases. The first one alone has the run folder, and tells; each of the
others works in a copy of it that is thrown away, in silence. So a checkpoint is that of one
process, and any number of processes goes on from it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from rfsearch import strategies
from rfsearch.engine.config import Request, settle
from rfsearch.errors import UserError
from rfsearch.training.processes import launch, together
from rfsearch.training.ranks import check_asked, ranks
from rfsearch.training.shares import Shares, shares_of
from rfsearch.trials import contents, write_contents

if TYPE_CHECKING:
    from lightning_fabric import Fabric

CARRIED = ("config.json", "environment.json", "architecture.json", "history.jsonl", "checkpoint")
"""What of a run folder the others need to go on with."""


def company(request: Request) -> Fabric | None:
    """The processes of this run, brought together; None where there is one."""
    here = ranks()
    if here.num == 1:
        return None
    made = together(request.device, here)
    with shares_of(made).agreed():
        check_shared(request, here.num)
    return made


def begun_by(request: Request, devices: int | None, num_nodes: int | None) -> int | None:
    """Make the run in processes that are started here, if so many are asked for and nobody has
    started them: their exit code. None where this process makes it."""
    if not check_asked(devices, num_nodes):
        return None
    devices, num_nodes = devices or 1, num_nodes or 1
    check_shared(request, devices * num_nodes)
    return launch(sys.argv[1:], devices, num_nodes)


def check_shared(request: Request, num: int) -> None:
    """An error where a run cannot be made by so many processes."""
    config = settle(request)
    if request.executor != "inline":
        raise UserError(
            f"--executor {request.executor} finds machines by itself, and {num} processes are "
            "for one training; start one process"
        )
    if request.download:
        raise UserError(
            "--download is for one process; fetch the data by the same command with --dry-run and "
            "without --devices, torchrun or srun, then leave out --download"
        )
    if not strategies.entry(config.strategy).shared:
        raise UserError(
            f"{num} processes train one network, and {config.strategy} trains many, or in a loop "
            "of another library; start one process, with --executor ray for trials on many "
            "machines, or use a strategy such as pmpl"
        )
    for key in ("recipe.batch_size", "pmpl.alpha_batch"):
        if int(config.settings[key]) < num:
            raise UserError(
                f"{key}={config.settings[key]} leaves some of {num} processes without an image; "
                f"use --set {key}={num} or more"
            )


@contextmanager
def placed(request: Request, shares: Shares) -> Iterator[Request]:
    """The request with the folder in which this process works."""
    files = shares.first(lambda: contents(request.folder, CARRIED))
    if shares.rank == 0:
        yield request
        return
    with TemporaryDirectory(prefix="rfsearch-") as place:
        write_contents(Path(place) / "run", files)
        yield replace(request, out=Path(place) / "run", storage=None)
