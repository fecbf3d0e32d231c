"""NNI 3.0's tuners in this process, behind ask and tell; nni is imported only when one is named.

Requirements and choice. NNI is here for a fair baseline, so its tuners run as they are. Its TPE
models every slot alone and, on a proposal it has made before, goes through the grid instead. Its
evolution draws from an unseeded generator and from Python's global one; both are set here, for it
alone. A tuner cannot be stored: resuming lives through the history again. Not offered, for they
fail on plain choices with NNI 3.0: its GP, Metis, Hyperband and regularised evolution.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rfsearch.errors import UserError
from rfsearch.seeds import stream
from rfsearch.strategies.optuna_samplers import SamplingSettings
from rfsearch.strategies.proposal import Proposal, Shape, Tried

INSTALL = "pip install nni==3.0 (there are wheels for 64-bit Intel and AMD processors)"


class NNIProposer:
    """One tuner; ``build(seed, settings)`` makes it."""

    stops_early = False

    def __init__(
        self,
        shape: Shape,
        settings: SamplingSettings,
        seed: int,
        build: Callable[[int, SamplingSettings], Any],
    ) -> None:
        self.shape, self.seed, self.number = shape, seed, -1
        values = list(range(shape.num_operators))
        space = {slot: {"_type": "choice", "_value": values} for slot in shape.slots}
        with self._draws("start"):
            self.tuner = build(stream(seed, "nni") % 2**32, settings)
            self.tuner.update_search_space(space)
            _seed_population(self.tuner, stream(seed, "population") % 2**32)
        self.proposed: dict[int, dict[str, int]] = {}

    @contextmanager
    def _draws(self, *names: str | int) -> Iterator[None]:
        """Inside, Python's global generator is on a stream of its own."""
        before = random.getstate()
        random.seed(stream(self.seed, *names))
        try:
            yield
        finally:
            random.setstate(before)

    def ask(self) -> Proposal:
        """The next proposal."""
        self.number += 1
        with self._draws("ask", self.number):
            found = self.tuner.generate_parameters(self.number)
        self.proposed[self.number] = found
        return Proposal(self.number, tuple(int(found[slot]) for slot in self.shape.slots))

    def report(self, ticket: int, epoch: int, score: float) -> bool:
        """Nothing is stopped early."""
        del ticket, epoch, score
        return False

    def tell(self, ticket: int, tried: Tried) -> None:
        """A failed trial has no result, nor has a proposal in whose place another was tried."""
        found = self.proposed.pop(ticket)
        proposed = tuple(int(found[slot]) for slot in self.shape.slots)
        complete = tried.state == "complete" and tried.indices == proposed
        with self._draws("tell", ticket):
            if complete:
                self.tuner.receive_trial_result(ticket, found, tried.score)
            self.tuner.trial_end(ticket, complete)


def tpe(seed: int, settings: SamplingSettings) -> Any:
    """NNI's tree-structured Parzen estimators."""
    load()
    from nni.algorithms.hpo.tpe_tuner import TpeArguments, TpeTuner

    arguments = TpeArguments(n_startup_jobs=settings.startup)
    return TpeTuner(optimize_mode="maximize", seed=seed, tpe_args=arguments._asdict())


def uniform(seed: int, settings: SamplingSettings) -> Any:
    """NNI's random search, which proposes nothing twice."""
    del settings
    load()
    from nni.algorithms.hpo.random_tuner import RandomTuner

    return RandomTuner(seed=seed)


def evolution(seed: int, settings: SamplingSettings) -> Any:
    """NNI's naive evolution (Real et al., arXiv 1703.01041)."""
    del seed  # it takes none
    load()
    from nni.algorithms.hpo.evolution_tuner import EvolutionTuner

    return EvolutionTuner(optimize_mode="maximize", population_size=settings.population)


def _seed_population(tuner: Any, seed: int) -> None:
    """Evolution's first population again, from a generator with a seed."""
    import numpy as np

    if hasattr(tuner, "population"):
        tuner.random_state = np.random.RandomState(seed)
        tuner.population = []
        for _ in range(tuner.population_size):
            tuner._random_generate_individual()


def load() -> None:
    """Load nni, or say how to; its logger prints a line per trial, and its import draws from
    Python's global generator."""
    before = random.getstate()
    try:
        import nni  # noqa: F401
    except ImportError as error:
        raise UserError(f"the strategies nni-… need NNI, which is missing: {INSTALL}") from error
    finally:
        random.setstate(before)
    logging.getLogger("nni").setLevel(logging.ERROR)
