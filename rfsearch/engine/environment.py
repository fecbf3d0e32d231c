"""Where a run happened: versions, hardware, commit, the hashes of its data."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import rfsearch
from rfsearch.data.images import Dataset
from rfsearch.operators import fused

PACKAGES = (
    "torch",
    "torchvision",
    "optuna",
    "nni",
    "pytorch-lightning",
    "numpy",
    "pandas",
    "plotly",
    "scikit-learn",
    "safetensors",
)


def environment(
    dataset: Dataset,
    device: str,
    *,
    mixes: bool = False,
    kernels: str = "eager",
    processes: int = 1,
    precision: str = "float32",
    allocator: str = "system",
) -> dict[str, Any]:
    """The content of environment.json.

    Args:
        mixes: whether candidates are mixed in a way that compiled code can take over; it is
            compiled for that alone.
        kernels: the plan's.
        processes: that train one network together.
        precision: what networks are trained in.
        allocator: whether freed memory is kept, or the system's again.
    """
    return {
        "versions": {
            "python": platform.python_version(),
            "rfsearch": rfsearch.__version__,
            **{name: _version(name) for name in PACKAGES},
        },
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": device,
        "processes": processes,
        "precision": precision,
        "allocator": allocator,
        "mixtures": _mixtures(device, kernels, processes, precision) if mixes else "none",
        "commit": _commit(),
        "data": dataset.name,
        "data_hash": dataset.data_hash,
        "split_hash": dataset.split_hash,
        "splits": dataset.sizes,
    }


def _mixtures(device: str, kernels: str, processes: int, precision: str) -> str:
    alone = processes == 1 and precision == "float32"
    compiles = device.startswith("cpu") and kernels == "eager" and alone
    return fused.available() if compiles else "plain"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str | None:
    """The commit of a clone this package runs from; None for an installed wheel."""
    root = Path(rfsearch.__file__).parent.parent
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
