"""Memory that steps gave back is kept for the next, by processes of our own, and nothing that is
computed knows of it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from rfsearch.engine import allocator
from rfsearch.engine.config import moved, settle
from rfsearch.engine.listing import told_machine
from rfsearch.engine.plan import PLANS, Plan
from rfsearch.engine.start import begun
from rfsearch.errors import UserError
from rfsearch.trials import RunFolder, read_json, write_json

TOP = Path(__file__).parents[2]
GLIBC = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="another C library hands memory back as it likes"
)
FAULTS = """
import resource, statistics
import torch
from rfsearch.engine import allocator

def step():
    maps = [torch.ones(16, 2**20)]  # 64 MiB, which glibc asks the system for by itself
    for _ in range(3):
        maps.append(maps[-1] * 2)

if {own}:
    allocator.own()
settled = allocator.settle("{wanted}", "cpu")
torch.set_num_threads(1)
for _ in range(3):
    step()

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

# A system short of memory may take pages back between two steps, which tells nothing of ours.
print(settled, statistics.median(faults() for _ in range(9)) * resource.getpagesize() / 2**28)
"""
IN_A_CHILD = """
from rfsearch.engine.children import child
if __name__ == "__main__":
    one = child("told:tell", ())
    one.start()
    one.join()
"""


def python(*words):
    """What a fresh process prints whose allocator nobody has set up."""
    usual = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    return subprocess.run(
        [sys.executable, *words], check=True, capture_output=True, text=True,
        env={**usual, "PYTHONPATH": str(TOP)},
    ).stdout  # fmt: skip


def faults(wanted, *, own):
    """What was settled, and the share of a step's memory that the system had to clear."""
    settled, told = python("-c", FAULTS.format(wanted=wanted, own=own)).split()
    return settled, float(told)


@GLIBC
def test_a_step_has_no_memory_cleared_again_but_in_a_process_of_others():
    settled, cleared = faults("system", own=True)
    assert settled == "system"
    if cleared < 0.5:
        pytest.skip("this system hands out pages larger than it tells of")
    for wanted, own in (("auto", True), ("keep", False)):
        settled, kept = faults(wanted, own=own)
        assert settled == "keep"
        assert kept < cleared / 20
    settled, others = faults("auto", own=False)
    assert settled == "system"
    assert others == pytest.approx(cleared, rel=0.2)


@GLIBC
def test_a_child_is_a_process_of_our_own(tmp_path):
    (tmp_path / "told.py").write_text(
        "from rfsearch.engine import allocator\n"
        "def tell():\n    print(allocator.settle('auto', 'cpu'))\n"
    )
    (tmp_path / "script.py").write_text(IN_A_CHILD)
    assert python(str(tmp_path / "script.py")) == "keep\n"


@pytest.fixture
def untouched(monkeypatch):
    """This process as one of our own, whose C library must not be asked for anything."""
    for name in [name for name in os.environ if name.startswith(("MALLOC_", "GLIBC_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(allocator, "_own", {os.getpid()})
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda _: pytest.fail("it was asked"))


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    ("name", "text"),
    [("MALLOC_TRIM_THRESHOLD_", "131072"), ("GLIBC_TUNABLES", "glibc.malloc.mmap_max=65536")],
)
def test_what_the_environment_says_of_the_allocator_stands(name, text, monkeypatch):
    monkeypatch.setenv(name, text)
    assert allocator.settle("auto", "cpu") == "system"


@pytest.mark.usefixtures("untouched")
def test_another_device_or_c_library_is_left_alone(monkeypatch):
    assert allocator.settle("auto", "cuda") == "system"
    monkeypatch.setattr(platform, "libc_ver", lambda: ("musl", "1.2"))
    assert allocator.settle("auto", "cpu") == "system"
    with pytest.raises(UserError, match=r"plan\.allocator=keep needs glibc"):
        allocator.settle("keep", "cpu")


def test_a_plan_says_it():
    assert {plan.allocator for plan in PLANS.values()} == {"auto"}
    record = PLANS["rfnet6", "quick"].to_json()
    with pytest.raises(UserError, match=r"plan\.allocator.*jemalloc"):
        Plan.from_json({**record, "allocator": "jemalloc"}, "--set")
    del record["allocator"]
    assert Plan.from_json(record, "an older config.json").allocator == "system"


def test_a_resume_may_say_otherwise(make_request, tmp_path):
    folder = RunFolder(tmp_path / "run")
    stored = settle(make_request(folder.path, settings={"plan.allocator": "keep"}))
    write_json(folder.config, stored.to_json())
    here = settle(make_request(folder.path, settings={"plan.allocator": "system"}))
    assert begun(folder, here, resume=True) == stored
    assert moved(stored, here).plan == here.plan


@GLIBC
@pytest.mark.slow
def test_the_same_comes_out_and_it_is_told(make_request, tmp_path):
    weights = []
    for name in ("system", "keep"):
        request = make_request(tmp_path / name, settings={"plan.allocator": name})
        sets = [word for one in request.assignments for word in ("--set", one)]
        python("-m", "rfsearch", "run", "--backbone", request.backbone, "--space", request.space,
               "--image-size", "64", "--out", str(request.folder), *sets)  # fmt: skip
        folder = RunFolder(request.folder)
        environment = read_json(folder.environment)
        assert environment["allocator"] == name
        told = told_machine(settle(request), environment)
        assert told.endswith("freed memory kept") == (name == "keep")
        weights.append(folder.weights.read_bytes() + folder.plain_weights.read_bytes())
    assert weights[0] == weights[1]
