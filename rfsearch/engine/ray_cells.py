"""Cells of a comparison as tasks of a Ray cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from rfsearch.engine.executors import Inline, Listen
from rfsearch.engine.messages import Telling
from rfsearch.engine.ray_tasks import Needs, cause, load, opened, packed
from rfsearch.engine.run import Run, Silent
from rfsearch.errors import UserError
from rfsearch.training.processes import fabric
from rfsearch.trials import contents, write_contents

if TYPE_CHECKING:
    from rfsearch.engine.compare import Comparison

BETWEEN = 0.5
"""Seconds between two looks into the mailbox of progress."""


def made_on(needs: Needs, comparison: Comparison, names: Sequence[str], listen: Listen) -> None:
    """Have cells made; every cell is a task, and a lost one is told when all others are made."""
    ray, mailbox = load(), _mailbox()
    parcel = [ray.put(packed(_travelling(comparison), needs))]
    make = needs.task(make_cell)
    places = {name: comparison.folder / "cells" / name for name in names}
    pending = {make.remote(parcel, n, contents(p), mailbox): n for n, p in places.items()}
    lost: dict[str, Exception] = {}
    while pending:
        ready, _ = ray.wait(list(pending), num_returns=1, timeout=BETWEEN)
        for told in ray.get(mailbox.take.remote()):
            listen(*told)
        for name in map(pending.pop, ready):
            if error := _brought(ray, ready[0], places[name]):
                lost[name] = error
            else:
                listen("done", name, None)
    _tell_lost(ray, lost)


def _travelling(comparison: Comparison) -> Comparison:
    """Without what belongs to this process."""
    runs = {
        name: replace(run, fabric=None, progress=Silent(), executor=Inline())  # type: ignore[arg-type]
        for name, run in comparison.runs.items()
    }
    return replace(comparison, runs=runs)


def make_cell(parcel: list[Any], name: str, begun: dict[str, bytes], mailbox: Any
              ) -> dict[str, bytes]:  # fmt: skip
    """One cell on a node, begun or not: the files of its folder."""
    opened = _comparison(parcel[0])
    with TemporaryDirectory(prefix="rfsearch-") as place:
        comparison = replace(opened, folder=Path(place))
        folder = comparison.folder / "cells" / name
        write_contents(folder, begun)
        run, cell = next((run, cell) for _, run, cell in comparison.cells() if cell.name == name)
        mailed = replace(run, progress=Telling(name, mailbox.tell.remote))
        comparison.carry_out(mailed, cell, comparison.networks())
        return contents(folder)


@lru_cache(maxsize=1)
def _comparison(reference: Any) -> Comparison:
    parcel = opened(reference)
    placed = fabric(parcel.device, parcel.precision)
    comparison: Comparison = parcel.content
    runs: dict[str, Run] = {n: replace(r, fabric=placed) for n, r in comparison.runs.items()}
    return replace(comparison, runs=runs)


class Mailbox:
    """Messages of tasks to the driver, kept where the driver is."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def tell(self, *message: Any) -> None:
        """Keep one."""
        self.told.append(message)

    def take(self) -> list[tuple[Any, ...]]:
        """All that have come since the last time."""
        told, self.told = self.told, []
        return told


def _mailbox() -> Any:
    """On the driver's node, which cannot be lost without the driver."""
    ray = load()
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = ray.get_runtime_context().get_node_id()
    there = NodeAffinitySchedulingStrategy(node_id=here, soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=there)(Mailbox).remote()


def _brought(ray: Any, reference: Any, place: Path) -> Exception | None:
    """Write a cell's files into the comparison; the error of one that was lost."""
    try:
        write_contents(place, ray.get(reference))
    except UserError as error:
        raise UserError(cause(error)) from None
    except ray.exceptions.RayError as error:
        return error
    return None


def _tell_lost(ray: Any, lost: dict[str, Exception]) -> None:
    """Cells that their nodes could not make are the user's to make again; one that raised is a
    fault of ours."""
    for name, error in lost.items():
        if isinstance(error, ray.exceptions.RayTaskError):
            raise RuntimeError(f"cell {name} failed: {error}")
    if lost:
        name, error = next(iter(lost.items()))
        raise UserError(
            f"{len(lost)} cells were lost, the first of them {name} ({cause(error)}); all others "
            "are made: go on with --resume, with more --set executor.cpus if memory was short"
        )
