"""Devices and processes: Lightning's Fabric around loops that stay ours."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch

from rfsearch.errors import UserError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

DEVICES = ("auto", "cpu", "cuda", "mps")


def fabric(device: str = "auto") -> Fabric:
    """One process on one device; "auto" takes an accelerator where there is one."""
    if device not in DEVICES:
        raise UserError(f"unknown device {device!r}. Known: {', '.join(DEVICES)}")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch sees no CUDA device here; use --device cpu or auto")
    if device == "mps" and not torch.backends.mps.is_available():
        raise UserError("--device mps: torch sees no Apple GPU here; use --device cpu or auto")
    from lightning_fabric import Fabric

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Fabric(accelerator=device, devices=1)
