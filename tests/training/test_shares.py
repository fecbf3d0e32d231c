"""Several processes train one network as one does on whole batches (law 5)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rfsearch.errors import UserError
from rfsearch.operators import fused
from rfsearch.training.processes import fabric
from rfsearch.training.ranks import check_asked, ranks
from rfsearch.training.shares import ALONE, Together, shares_of

SCRIPT = Path(__file__).with_name("two_processes.py")
CLOSE = 1e-8
STEPS = 54


@pytest.fixture(scope="module")
def found(carried_out):
    """What the processes came to."""
    return carried_out(SCRIPT, 600)


def distance(one, other):
    """Largest difference of numbers in things of one form."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert list(one) == list(other)
        return distance(list(one.values()), list(other.values()))
    if isinstance(one, list):
        assert len(one) == len(other)
        return max(map(distance, one, other), default=0.0)
    if isinstance(one, float):
        return abs(one - other)
    assert one == other
    return 0.0


def test_layers_do_with_shares_what_they_do_with_a_batch(found):
    """Batches of seven, four and three; statistics, masks, slopes and a term of weights alone."""
    one, two = found["layers"]["one"], found["layers"]["two"]
    for name, wanted in one.items():
        for told in two:
            assert distance(wanted, told[name]) < 1e-10, name
    assert len({str(told) for told in one.values()}) == len(one), "dull"


@pytest.mark.parametrize("name", ["alone", "of mixtures", "mixed"])
def test_two_processes_on_shares_of_each_batch_are_one_on_all_of_it(found, name):
    """Law 5, in double precision: weights, α, statistics and what froze when."""
    one, two = (found["searches"][name][which] for which in ("one", "two"))
    assert one["steps"] == STEPS
    assert {line["by"] for line in one["froze"]} == {
        "alone": {"rule"},
        "of mixtures": {"rule", "deadline"},
        "mixed": {"rule", "deadline"},
    }[name]
    for told in two:
        assert distance(one, told) < CLOSE
    assert two[0]["alpha"] == two[1]["alpha"], "bit for bit"
    assert two[0]["state"] == two[1]["state"]


def test_two_then_one_then_two_come_to_the_same_end(found):
    one, turns = found["searches"]["alone"]["one"], found["by turns"]
    lines = len(turns[0]["lines"])
    assert 0 < lines < len(one["lines"])
    for told in turns:
        for part in ("state", "alpha", "chosen"):
            assert distance(one[part], told[part]) < CLOSE
        assert distance(one["lines"][-lines:], told["lines"]) < CLOSE


def test_processes_that_freeze_different_operators_are_stopped(found):
    for told in found["come apart"]:
        assert told.startswith("UserError: the processes have come apart in epoch 1: slot 3 ")
        assert "keeps max 3 in process 0, avg 3 in process 1" in told


def test_a_mistake_of_one_is_everybodys(found):
    first, second = found["mistakes"]
    gone = first.pop("gone")
    assert first == second
    assert first == {
        "nobody": None,
        "first": "UserError: 0 is wrong",
        "second": "UserError: process 1 of 2: 1 is wrong",
        "made by the first": "UserError: 0 is wrong",
        "value": "of 0",
        "any": [False, True],
        "same": {},
        "differing": {"b": ["0", "1"]},
    }
    assert gone.startswith("Lost: another process of this training has ended")
    assert "--resume" in gone


def test_shares_are_every_row_once():
    for num in (1, 2, 3, 5):
        for images in (num, num + 1, 32):
            batch = torch.arange(images)
            parts = [Together(rank, num, torch.device("cpu")).part(batch) for rank in range(num)]
            assert torch.cat(parts).tolist() == batch.tolist()
            assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_one_process_has_nothing_to_share(cpu):
    assert shares_of(cpu) is ALONE
    batch = torch.arange(3)
    assert ALONE.part(batch) is batch


def test_mixtures_are_not_fused_where_statistics_are_shared():
    from torch.overrides import TorchFunctionMode

    class Watch(TorchFunctionMode):
        def __torch_function__(self, function, types, arguments=(), named=None):
            del types
            return function(*arguments, **(named or {}))

    norms = [torch.nn.BatchNorm2d(2)]
    x = torch.randn(2, 2, 4, 4)
    before = fused.obstacle(x, (), norms)
    with Watch():
        assert fused.obstacle(x, (), norms) == "processes share the statistics of a batch"
    assert fused.obstacle(x, (), norms) == before


# --- who started this process ----------------------------------------------------------------

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
SLURM = {
    "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
    "SLURM_PROCID": "3", "SLURM_LOCALID": "1",
}  # fmt: skip


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({}, (0, 1, 0, 1)),
        (TORCHRUN, (3, 4, 1, 2)),
        ({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}, (1, 2, 1, 2)),
        (SLURM, (3, 4, 1, 2)),
        ({**SLURM, "SLURM_STEP_TASKS_PER_NODE": "2,2"}, (3, 4, 1, 2)),
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}, (0, 1, 0, 1)),
        ({**SLURM, **TORCHRUN, "RANK": "2"}, (2, 4, 1, 2)),
    ],
    ids=["nothing", "torchrun", "by hand", "srun", "srun, listed", "a batch script", "both"],
)
def test_ranks_come_from_the_environment(environment, told):
    found = ranks(environment)
    assert (found.rank, found.num, found.local, found.num_local) == told


def test_machines_must_have_as_many_processes():
    with pytest.raises(UserError, match=r"3\(x1\),1 tasks on its nodes"):
        ranks({**SLURM, "SLURM_STEP_TASKS_PER_NODE": "3(x1),1"})
    with pytest.raises(UserError, match="torchrun started 5 processes"):
        ranks({**TORCHRUN, "WORLD_SIZE": "5"})


@pytest.mark.parametrize(
    ("devices", "num_nodes", "environment", "told"),
    [
        (None, None, {}, False),
        (1, 1, {}, False),
        (2, None, {}, True),
        (None, 2, {}, True),
        (None, None, TORCHRUN, False),
        (2, 2, TORCHRUN, False),
        (3, None, TORCHRUN, "--devices 3, but torchrun started 2 processes on each of 2 machines"),
        (None, 1, SLURM, "--num-nodes 1, but srun started 2 processes on each of 2 machines"),
        (0, None, {}, "--devices must be 1 or more, not 0"),
    ],
)
def test_what_is_asked_for_agrees_with_who_started(
    monkeypatch, devices, num_nodes, environment, told
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if isinstance(told, str):
        with pytest.raises(UserError, match=told):
            check_asked(devices, num_nodes)
    else:
        assert check_asked(devices, num_nodes) is told


def test_fabric_alone_minds_no_environment(monkeypatch):
    """Such as a trial's on a cluster, or a comparison's under torchrun."""
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    assert fabric("cpu").world_size == 1
