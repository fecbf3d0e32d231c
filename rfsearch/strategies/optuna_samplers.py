"""Optuna's samplers and its successive-halving pruner behind ask and tell.

Requirements and choice. Resuming must be exact, and Optuna's samplers keep a generator that no
storage holds. So the sampler is built anew for every trial, from the seed and the trial's number,
over a study in memory; the study of the run stays a record. CMA-ES is not offered: it ignores
categorical choices.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from rfsearch.seeds import stream
from rfsearch.setting import check, setting
from rfsearch.strategies.proposal import Proposal, Shape, Tried

if TYPE_CHECKING:
    import optuna


COSTS = ("auto", "macs", "window_ops", "latency")


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """The dials of the strategies that sample. Not tuned: libraries' defaults, but where a
    default would leave a small budget with random search alone."""

    startup: int = setting(10, "random trials before tpe and gp begin (Optuna's default)", least=1)
    population: int = setting(
        10, "population of nsga2 and evolution (Optuna's default is 50)", least=2
    )
    tournament: int = setting(3, "members that compete to be a parent in evolution", least=1)
    reduction: int = setting(3, "asha: one trial in so many goes on to the next rung", least=2)
    cost: str = setting(
        "auto", "nsga2's second objective: macs, window_ops, latency or auto", among=COSTS
    )

    def __post_init__(self) -> None:
        check(self, "sampling")


DIRECTIONS: list[Literal["maximize", "minimize"]] = ["maximize", "minimize"]
Sampler = Callable[[int, SamplingSettings], "optuna.samplers.BaseSampler"]


class OptunaProposer:
    """One sampler of Optuna over categorical choices.

    Args:
        sampler: builds the sampler from a seed and the settings.
        objectives: 2 where a cost is minimised beside the score.
        stops_early: whether successive halving stops trials.
    """

    def __init__(
        self,
        shape: Shape,
        settings: SamplingSettings,
        seed: int,
        sampler: Sampler,
        *,
        objectives: int = 1,
        stops_early: bool = False,
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.settings, self.seed, self.build = settings, seed, sampler
        self.stops_early, self.objectives = stops_early, objectives
        self.pruner = (
            optuna.pruners.SuccessiveHalvingPruner(
                min_resource=1, reduction_factor=settings.reduction
            )
            if stops_early
            else optuna.pruners.NopPruner()
        )
        self.study = optuna.create_study(directions=DIRECTIONS[:objectives], pruner=self.pruner)
        choices = optuna.distributions.CategoricalDistribution(range(shape.num_operators))
        self.distributions: dict[str, Any] = dict.fromkeys(shape.slots, choices)
        self.open: dict[int, optuna.Trial] = {}

    def ask(self) -> Proposal:
        """The next proposal; a sampler of its own draws it, and sees what is open."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on what of Optuna is experimental
            seed = stream(self.seed, "ask", len(self.study.trials)) % 2**32
            self.study.sampler = self.build(seed, self.settings)
            trial = self.study.ask(self.distributions)
        self.open[trial.number] = trial
        return Proposal(trial.number, tuple(trial.params.values()))

    def report(self, ticket: int, epoch: int, score: float) -> bool:
        """Successive halving: rungs at 1, r, r², … epochs."""
        self.open[ticket].report(score, epoch)
        return bool(self.open[ticket].should_prune())

    def tell(self, ticket: int, tried: Tried) -> None:
        """A failure is no value, and a pruned trial its last report; of another network than the
        one proposed (`Within` repairs) the proposal has failed, and that network was tried."""
        from optuna.trial import TrialState, create_trial

        trial = self.open.pop(ticket)
        state = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED,
                 "failed": TrialState.FAIL}[tried.state]  # fmt: skip
        values: Any = None
        if tried.state == "complete":
            values = [tried.score, tried.cost][: self.objectives]
        if tried.indices == tuple(trial.params.values()):
            self.study.tell(trial, values, state)
        else:
            self.study.tell(trial, state=TrialState.FAIL)
            self.study.add_trial(
                create_trial(
                    state=state,
                    params=dict(zip(self.distributions, tried.indices, strict=True)),
                    distributions=self.distributions,
                    values=values,
                    intermediate_values=dict(enumerate(tried.reports, 1)),
                )
            )


def random(seed: int, settings: SamplingSettings) -> optuna.samplers.BaseSampler:
    """Independent uniform choices."""
    import optuna

    del settings
    return optuna.samplers.RandomSampler(seed=seed)


def tpe(seed: int, settings: SamplingSettings) -> optuna.samplers.BaseSampler:
    """Tree-structured Parzen estimators, multivariate as Optuna 5 has them."""
    import optuna

    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=settings.startup)


def gp(seed: int, settings: SamplingSettings) -> optuna.samplers.BaseSampler:
    """A Gaussian process over the choices."""
    import optuna

    return optuna.samplers.GPSampler(seed=seed, n_startup_trials=settings.startup)


def nsga2(seed: int, settings: SamplingSettings) -> optuna.samplers.BaseSampler:
    """NSGA-II (Deb et al. 2002)."""
    import optuna

    return optuna.samplers.NSGAIISampler(seed=seed, population_size=settings.population)
