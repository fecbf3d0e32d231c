"""How to look for an architecture.

To add a strategy: one class with the verbs of `pmpl.PMPL` and one line in `STRATEGIES`; the name
is resolved only when it is asked for, so that a library nobody named is never imported.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from typing import Any, Protocol

from torch import nn

from rfsearch.errors import unknown
from rfsearch.spaces import Choice
from rfsearch.training.fit import Tick

STRATEGIES: dict[str, str] = {
    "pmpl": "rfsearch.strategies.pmpl:PMPL",
}


def check(name: str) -> None:
    """An error that lists what is known, unless there is a strategy called ``name``."""
    if name not in STRATEGIES:
        raise unknown("strategy", name, STRATEGIES)


class Strategy(Protocol):
    """One search: `advance` until `finished`, then `choices` and the `network` that has them."""

    epoch: int

    @property
    def finished(self) -> bool: ...

    def advance(self, tick: Tick) -> dict[str, Any]: ...

    def choices(self) -> tuple[Choice, ...]: ...

    def network(self) -> nn.Module: ...

    def score(self, network: nn.Module) -> float: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def resolve(name: str) -> Callable[..., Strategy]:
    """The strategy called ``name``."""
    check(name)
    found: Callable[..., Strategy] = pkgutil.resolve_name(STRATEGIES[name])
    return found
