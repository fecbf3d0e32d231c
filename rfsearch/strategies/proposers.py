"""Every proposer by the name of its strategy, for searches and for replays on a table."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from rfsearch.strategies import nni_tuners, optuna_samplers
from rfsearch.strategies.evolution import Evolution
from rfsearch.strategies.nni_tuners import NNIProposer
from rfsearch.strategies.optuna_samplers import OptunaProposer, SamplingSettings
from rfsearch.strategies.proposal import Proposer, Shape

PROPOSERS: dict[str, Callable[[Shape, SamplingSettings, int], Proposer]] = {
    "random": partial(OptunaProposer, sampler=optuna_samplers.random),
    "tpe": partial(OptunaProposer, sampler=optuna_samplers.tpe),
    "gp": partial(OptunaProposer, sampler=optuna_samplers.gp),
    "nsga2": partial(OptunaProposer, sampler=optuna_samplers.nsga2, objectives=2),
    "asha": partial(OptunaProposer, sampler=optuna_samplers.random, stops_early=True),
    "evolution": Evolution,
    "nni-tpe": partial(NNIProposer, build=nni_tuners.tpe),
    "nni-random": partial(NNIProposer, build=nni_tuners.uniform),
    "nni-evolution": partial(NNIProposer, build=nni_tuners.evolution),
}
