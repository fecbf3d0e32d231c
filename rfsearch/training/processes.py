"""Devices and processes: Lightning's Fabric around loops that stay ours.

Several processes train one network where the environment says so: torchrun's (RANK, WORLD_SIZE,
LOCAL_RANK) or that of a step of SLURM's srun. `launch` starts them as torchrun does, with torch's
own launcher: Fabric's ends the first process by SIGKILL when another one ends, so that neither a
message nor a checkpoint would be left.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from rfsearch.errors import UserError
from rfsearch.training.ranks import Ranks

if TYPE_CHECKING:
    from lightning_fabric import Fabric

DEVICES = ("auto", "cpu", "cuda", "mps")
BFLOAT16 = "bf16-mixed"
"""Fabric's word for autocast to it: weights stay float32, and no loss needs to be scaled, for it
reaches as far as float32 does."""
INTERRUPTED = 130
"""Exit code of a command that was told to end."""


def fabric(device: str = "auto", precision: str = "float32") -> Fabric:
    """One process on one device; "auto" takes an accelerator where there is one, and of numbers
    those that `numbers` says."""
    check_device(device)
    made = _made(accelerator=device, devices=1)
    if numbers(precision, made.device) == "float32":
        return made
    return _made(accelerator=device, devices=1, precision=BFLOAT16)


def numbers(precision: str, device: torch.device) -> str:
    """What "auto" comes to on a device: bfloat16 on CUDA where it computes in it, else float32.

    Raises:
        UserError: bfloat16 is asked for, and the device does not compute in it.
    """
    cuda = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "auto":
        return "bfloat16" if cuda else "float32"
    if precision == "bfloat16" and not (cuda or device.type == "cpu"):
        raise UserError(
            f"--set plan.precision=bfloat16: {device} does not compute in it; use float32 or auto"
        )
    return precision


def precision_of(fabric: Fabric) -> str:
    """The numbers that networks are trained in: float32 or bfloat16."""
    return "bfloat16" if fabric.strategy.precision.precision == BFLOAT16 else "float32"


def check_device(device: str) -> None:
    """An error where torch does not know the device, or sees none."""
    if device not in DEVICES:
        raise UserError(f"unknown device {device!r}. Known: {', '.join(DEVICES)}")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch sees no CUDA device here; use --device cpu or auto")
    if device == "mps" and not torch.backends.mps.is_available():
        raise UserError("--device mps: torch sees no Apple GPU here; use --device cpu or auto")


def _made(**arguments: Any) -> Fabric:
    from lightning_fabric import Fabric

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Fabric(**arguments)


def launch(words: Sequence[str], devices: int, num_nodes: int) -> int:
    """Start ``rfsearch`` with these words once for each device of this machine, and wait.

    Returns:
        The exit code of the one that ended first with another than 0, or 0.

    Raises:
        UserError: one was killed; or other machines cannot be reached.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    logging.disable(logging.CRITICAL)  # they tell their own mistakes, in fewer words
    begin = [f"--nproc-per-node={devices}", *_meeting(num_nodes)]
    try:
        run(parse_args([*begin, "-m", "rfsearch", *words]))
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            raise UserError(
                f"process {rank} was ended by signal {-failure.exitcode}; go on by --resume"
            ) from None
        return int(failure.exitcode)
    except SignalException:
        return INTERRUPTED
    finally:
        logging.disable(logging.NOTSET)
    return 0


def _meeting(num_nodes: int) -> list[str]:
    """How the processes find each other: torchrun's options."""
    if num_nodes == 1:
        return ["--standalone"]
    told = {name: os.environ.get(name, "") for name in ("NODE_RANK", "MASTER_ADDR")}
    if not all(told.values()):
        raise UserError(
            f"--num-nodes {num_nodes}: give the same command on each machine, with NODE_RANK (0, "
            "1, …) and MASTER_ADDR (of machine 0) in its environment; or use torchrun or srun"
        )
    port = os.environ.get("MASTER_PORT", "29500")
    return [f"--nnodes={num_nodes}", f"--node-rank={told['NODE_RANK']}",
            f"--master-addr={told['MASTER_ADDR']}", f"--master-port={port}"]  # fmt: skip


def together(device: str, here: Ranks) -> Fabric:
    """This process among the others, which have found each other when it returns."""
    check_device(device)
    from lightning_fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
    from lightning_fabric.strategies import DDPStrategy

    kind, places = _places(device, here)
    if here.manager == "srun":
        environment: Any = SLURMEnvironment(auto_requeue=False)
    else:
        environment = TorchElasticEnvironment()
    strategy = DDPStrategy(parallel_devices=places, cluster_environment=environment)
    made = _made(accelerator=kind, strategy=strategy, devices=here.num_local,
                 num_nodes=here.num_nodes)  # fmt: skip
    made.launch()
    return made


def _places(device: str, here: Ranks) -> tuple[str, list[torch.device]]:
    """The kind of device, and that of each process of this machine."""
    if device == "mps":
        raise UserError("--device mps is one device; leave out --devices, or use --device cpu")
    if device == "cpu" or not torch.cuda.is_available():
        return "cpu", [torch.device("cpu")] * here.num_local
    seen = torch.cuda.device_count()
    if seen == 1 and here.manager == "srun":  # it shows each task its own
        return "cuda", [torch.device("cuda", 0)] * here.num_local
    if seen < here.num_local:
        raise UserError(
            f"{here.num_local} processes on this machine, and torch sees {seen} CUDA devices; "
            f"use --devices {seen}, or --device cpu"
        )
    return "cuda", [torch.device("cuda", index) for index in range(here.num_local)]
