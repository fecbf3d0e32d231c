"""Which process of a training this is: what torchrun or srun says in the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from rfsearch.errors import UserError


@dataclass(frozen=True)
class Ranks:
    """Which of the processes of one training this is.

    Attributes:
        rank: among all, from 0; the first one has the run folder.
        num: of all.
        local: among those of this machine.
        num_local: of this machine.
        manager: who started them.
    """

    rank: int = 0
    num: int = 1
    local: int = 0
    num_local: int = 1
    manager: str = ""

    @property
    def num_nodes(self) -> int:
        """Machines."""
        return self.num // self.num_local


def ranks(environment: Mapping[str, str] | None = None) -> Ranks:
    """What the environment says; without a word of it, one process.

    Raises:
        UserError: machines have different numbers of processes.
    """
    told = os.environ if environment is None else environment
    if {"RANK", "WORLD_SIZE", "LOCAL_RANK"} <= told.keys():
        num = int(told["WORLD_SIZE"])
        num_local = int(told.get("LOCAL_WORLD_SIZE", num))
        found = Ranks(int(told["RANK"]), num, int(told["LOCAL_RANK"]), num_local, "torchrun")
    elif int(told.get("SLURM_STEP_NUM_TASKS", 1)) > 1:  # srun's; a batch script has it not
        num, per_node = int(told["SLURM_STEP_NUM_TASKS"]), told["SLURM_STEP_TASKS_PER_NODE"]
        own = (int(told[f"SLURM_{name}"]) for name in ("PROCID", "LOCALID"))
        rank, local = own
        found = Ranks(rank, num, local, _of_every_node(per_node), "srun")
    else:
        return Ranks()
    if found.num % found.num_local:
        raise UserError(
            f"{found.manager} started {found.num} processes, not the same number on every "
            "machine; start as many on each"
        )
    return found


def _of_every_node(told: str) -> int:
    """Tasks of a node, of SLURM's ``2(x3)`` or ``2,2``."""
    counts = {int(count) for count in re.findall(r"(\d+)(?:\(x\d+\))?", told)}
    if len(counts) != 1:
        raise UserError(
            f"srun started {told} tasks on its nodes; start as many on each (--ntasks-per-node)"
        )
    return counts.pop()


def check_alone(verb: str) -> None:
    """An error where several processes were started for what one makes."""
    here = ranks()
    if here.num > 1:
        raise UserError(
            f"{verb} is made by one process, and {here.manager} started {here.num}; start one"
        )


def check_asked(devices: int | None, num_nodes: int | None) -> bool:
    """Whether ``--devices`` and ``--num-nodes`` ask for processes that nobody has started.

    Raises:
        UserError: they contradict who has, or each other.
    """
    here = ranks()
    for name, asked in (("--devices", devices), ("--num-nodes", num_nodes)):
        if asked is not None and asked < 1:
            raise UserError(f"{name} must be 1 or more, not {asked}")
    if not here.manager:
        return (devices or 1) * (num_nodes or 1) > 1
    for name, asked, there in (
        ("--devices", devices, here.num_local), ("--num-nodes", num_nodes, here.num_nodes)
    ):  # fmt: skip
        if asked not in (None, there):
            raise UserError(
                f"{name} {asked}, but {here.manager} started {here.num_local} processes on each "
                f"of {here.num_nodes} machines; leave {name} out"
            )
    return False
