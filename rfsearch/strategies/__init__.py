"""How to look for an architecture.

To add a strategy: one function ``Task → Strategy`` and one line in `STRATEGIES`, or one line there
and its proposals in `proposers.PROPOSERS`. It is resolved only when it is asked for, so that a
library nobody named is never imported.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from torch import nn

from rfsearch.errors import unknown
from rfsearch.spaces import Choice
from rfsearch.training.fit import Tick

if TYPE_CHECKING:
    from rfsearch.strategies.proposal import Tried
    from rfsearch.strategies.task import Task


@dataclass(frozen=True)
class Entry:
    """A strategy of the table.

    Attributes:
        factory: where the function ``Task → Strategy`` stands; one that spends trials is given
            the strategy's name too, and proposes what stands under it in ``PROPOSERS``.
        spends: what its budget counts: epochs of a supernet, trials, or first one then the other.
        start: the setting that says after how many trials it is more than random search.
        costs: whether it needs the cost of networks.
        settings: what of `pmpl` makes it what it is, by name.
        usual: what of `pmpl` it has where nothing else is given, by name.
    """

    factory: str
    spends: Literal["epochs", "trials", "both"]
    start: str = ""
    costs: bool = False
    settings: Mapping[str, float | str | bool] = field(default_factory=dict)
    usual: Mapping[str, float] = field(default_factory=dict)

    @property
    def mixes(self) -> bool:
        """Whether it runs mixtures of all candidates; others run one of them, or are NNI's."""
        return self.factory in (_PMPL, _SHORTLIST)

    @property
    def of_pmpl(self) -> bool:
        """Whether settings of `pmpl` make a difference to it."""
        return self.spends == "epochs" or self.factory == _SHORTLIST

    @property
    def trains_trials(self) -> bool:
        """Whether its trials are cheap trainings."""
        return self.spends == "trials" or self.factory == _SHORTLIST

    @property
    def shared(self) -> bool:
        """Whether several processes can train for it together: one supernet, by our own loop."""
        return self.factory.startswith(_OF_SUPERNETS)


_OF_SUPERNETS = "rfsearch.strategies.supernets:"
_PMPL = f"{_OF_SUPERNETS}pmpl"
_SHORTLIST = "rfsearch.strategies.shortlist:Shortlist"
_MIXED = {"relaxation": "mixed", "mixing": "all"}
"""Mixtures of all candidates, and α down their loss, as PMPL has it."""
_EVERY_SLOT = {"alpha_lr": 0.03, "alpha_every": 1, "average": 0.9, "patience": 20}
"""Where every slot steps each time."""
_SAMPLED = "rfsearch.strategies.sampled:Sampled"


def _mixed(**settings: float | str | bool) -> Entry:
    return Entry(_PMPL, "epochs", settings={**_MIXED, **settings}, usual=_EVERY_SLOT)


STRATEGIES: dict[str, Entry] = {
    "pmpl": Entry(_PMPL, "epochs"),
    # First-order DARTS (arXiv 1806.09055): nothing freezes, the arg-max at the end.
    "darts": _mixed(progressive=False, deadline="argmax"),
    "pmpl-all": Entry(_PMPL, "epochs", settings={"mixing": "all"}),
    "pmpl-paths": Entry(_PMPL, "epochs", settings={"mixing": "sampled"}),
    # The leader of a slot is kept in any form, so that these differ in what they draw alone.
    "pmpl-even": Entry(_PMPL, "epochs", settings={"near": "never", "deadline": "argmax"}),
    "pmpl-near": Entry(_PMPL, "epochs", settings={"near": "always", "deadline": "argmax"}),
    "pmpl-mixed": _mixed(),
    "pmpl-tau": Entry(_PMPL, "epochs", settings={"threshold": 0.3}),
    "pmpl-one-norm": _mixed(candidate_norms=False),
    "pmpl-masked": _mixed(select="masking"),
    "pmpl-subset": _mixed(mixing="subset"),
    "pmpl-sampled": _mixed(mixing="sampled"),
    # Trials are of one operator a slot.
    "pmpl-trials": Entry(_SHORTLIST, "both", settings={"deadline": "argmax"}),
    "random-shared": Entry(f"{_OF_SUPERNETS}RandomShared", "both"),
    "random": Entry(_SAMPLED, "trials"),
    "tpe": Entry(_SAMPLED, "trials", start="startup"),
    "gp": Entry(_SAMPLED, "trials", start="startup"),
    "nsga2": Entry(_SAMPLED, "trials", start="population", costs=True),
    "asha": Entry(_SAMPLED, "trials"),
    "evolution": Entry(_SAMPLED, "trials", start="population"),
    "nni-darts": Entry("rfsearch.strategies.nni_oneshot:darts", "epochs", usual=_EVERY_SLOT),
    "nni-gumbel": Entry("rfsearch.strategies.nni_oneshot:gumbel", "epochs", usual=_EVERY_SLOT),
    "nni-tpe": Entry(_SAMPLED, "trials", start="startup"),
    "nni-random": Entry(_SAMPLED, "trials"),
    "nni-evolution": Entry(_SAMPLED, "trials", start="population"),
}


def entry(name: str) -> Entry:
    """The table's entry, or an error that lists what is known."""
    if name not in STRATEGIES:
        raise unknown("strategy", name, STRATEGIES)
    return STRATEGIES[name]


class Strategy(Protocol):
    """One search: `advance` until `finished`, then `choices` and the `network` that has them."""

    @property
    def epoch(self) -> int: ...

    @property
    def finished(self) -> bool: ...

    def advance(self, tick: Tick) -> dict[str, Any]: ...

    def choices(self) -> tuple[Choice, ...]: ...

    def network(self) -> nn.Module: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@runtime_checkable
class Tries(Protocol):
    """A strategy that makes trials: the finished ones by number, in the order they were told."""

    @property
    def tried(self) -> dict[int, Tried]: ...


def resolve(name: str) -> Callable[[Task], Strategy]:
    """The function that begins a search of the strategy called ``name``."""
    found: Callable[..., Strategy] = pkgutil.resolve_name(entry(name).factory)
    settings: Any = entry(name).settings
    if entry(name).spends == "trials":
        return lambda task: found(task, name)
    if not settings:
        return found
    return lambda task: found(replace(task, pmpl=replace(task.pmpl, **settings)))
