"""3DRF-style optimizers of networks of stages: where blocks stand, and which kernels they hold.

A reconstruction (see ``rfsearch.analysis.gain``). Nothing is trained, and no weights are taken
over: a proposal is an architecture.
"""

from rfsearch.optimize.kernel_level import Proposal, optimize_kernels
from rfsearch.optimize.networks import build
from rfsearch.optimize.stage_level import Curve, optimize_stages
from rfsearch.optimize.staged import ORIGINALS, Staged, figures, original

__all__ = [
    "ORIGINALS",
    "Curve",
    "Proposal",
    "Staged",
    "build",
    "figures",
    "optimize_kernels",
    "optimize_stages",
    "original",
]
