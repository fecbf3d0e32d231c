"""Where the trials of a search and the cells of a comparison are made: a table.

To add an executor: one class as `Executor` has it and one line in `EXECUTORS`. It is resolved only
when it is asked for, so that a library nobody named is never imported. What comes of a trial or a
cell does not depend on where it is made.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from rfsearch.errors import UserError, unknown

if TYPE_CHECKING:
    from rfsearch.engine.compare import Comparison
    from rfsearch.engine.config import Config
    from rfsearch.strategies.attempt import Executor as Trials
    from rfsearch.strategies.task import Task

Listen = Callable[[str, str, Any], None]
"""Called with what happened (epoch or done), the name of the cell, and the line of an epoch."""


class Executor(Protocol):
    """One place where work is done, from the beginning of a session to its end."""

    @property
    def trials(self) -> Callable[[Task, str], Trials] | None:
        """Makes the trials of a task by a strategy's name; None makes them in this process."""

    def session(self, config: Config, note: Callable[[str], None]) -> AbstractContextManager[None]:
        """Around all that is made there; ``note`` is told a sentence."""

    def room(self) -> int:
        """How many cells it makes at a time, inside of a session; 0 where this machine's cores
        decide."""

    def share(self, comparison: Comparison, again: Any, names: Sequence[str], num: int,
              listen: Listen) -> None:  # fmt: skip
        """Make the cells of these names, ``num`` at a time; ``again`` is the request that opens
        the comparison once more."""


@dataclass(frozen=True)
class Inline:
    """This machine: trials in this process, cells in processes beside it."""

    address: str | None = None
    trials: None = None

    def session(self, config: Config, note: Callable[[str], None]) -> AbstractContextManager[None]:
        """Nothing to open."""
        del config, note
        return nullcontext()

    def room(self) -> int:
        """As cores allow."""
        return 0

    def share(self, comparison: Comparison, again: Any, names: Sequence[str], num: int,
              listen: Listen) -> None:  # fmt: skip
        """In processes that take cells from one queue."""
        from rfsearch.engine.compare_workers import share

        del comparison
        share(again, names, num, listen)


EXECUTORS: dict[str, str] = {
    "inline": "rfsearch.engine.executors:Inline",
    "ray": "rfsearch.engine.on_ray:OnRay",
}
"""Name → where the class stands; it is made with ``--ray-address``."""

USUAL: dict[str, Mapping[str, int]] = {"inline": {}, "ray": {"executor.batch": 8}}
"""Settings of a search by trials that another executor has where nothing else is given."""


def executor(name: str, address: str | None = None) -> Executor:
    """The executor called ``name``, not connected yet."""
    check(name, address)
    made: Executor = pkgutil.resolve_name(EXECUTORS[name])(address)
    return made


def check(name: str, address: str | None) -> None:
    """It is known, and an address is given to one that has one."""
    if name not in EXECUTORS:
        raise unknown("executor", name, EXECUTORS)
    if address is not None and name != "ray":
        raise UserError("--ray-address is for --executor ray; give both or neither")
