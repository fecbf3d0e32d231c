"""Small images and one thread for every test."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Before anything loads numpy or torch, and for the processes that tests start: as many test
# processes as cores are at work already.
os.environ["OMP_NUM_THREADS"] = "1"

# How long an example takes says how busy the machine is.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def one_thread():
    """Numbers that must be equal bit for bit; a run that was begun in this process takes as many
    threads as its plan says, and the next test must not inherit them."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def make_images():
    """``make(count, seed)``: noisy pictures of ``classes`` fixed patterns, easy to tell apart."""
    import torch

    from rfsearch.data.images import Images

    def make(count, seed=0, side=16, channels=1, classes=4):
        fixed = torch.Generator().manual_seed(1234)
        patterns = torch.randint(40, 216, (classes, channels, side, side), generator=fixed)
        generator = torch.Generator().manual_seed(seed)
        labels = torch.randint(0, classes, (count,), generator=generator)
        noise = torch.randint(-40, 41, (count, channels, side, side), generator=generator)
        pixels = (patterns[labels] + noise).to(torch.uint8)
        return Images(pixels, labels, torch.arange(count) + 10_000 * seed)

    return make


@pytest.fixture(scope="session")
def augmentation():
    """Shifts by up to two pixels, for `make_images`."""
    from rfsearch.data.augmentation import Augmentation, AugmentationSettings

    return Augmentation(AugmentationSettings(shift=2), (0.5,), (0.25,))


@pytest.fixture(scope="session")
def cpu():
    """One process on the CPU."""
    from rfsearch.training.processes import fabric

    return fabric("cpu")


@pytest.fixture(scope="session")
def told():
    """``told(named, function, *arguments)``: the message about a mistake, a line or two with the
    words of what is wrong in it."""
    from rfsearch.errors import UserError

    def told(named, function, *arguments):
        with pytest.raises(UserError) as caught:
            function(*arguments)
        message = str(caught.value)
        assert 1 <= len(message.splitlines()) <= 2, message
        for word in [named] if isinstance(named, str) else named:
            assert word in message, message
        return message

    return told


@pytest.fixture(scope="session")
def changed():
    """``changed(record, path, value)``: a copy of a record with another value at a path; ``...``
    leaves the place out."""

    def changed(record, path, value):
        record = copy.deepcopy(record)
        inner = record
        for key in path[:-1]:
            inner = inner[key]
        if value is ...:
            del inner[path[-1]]
        else:
            inner[path[-1]] = value
        return record

    return changed


@pytest.fixture(scope="session")
def carried_out(tmp_path_factory):
    """``carried_out(script, timeout)``: the JSON that a script, run by path in a process of its
    own, leaves in the file it is given."""

    def carried_out(script, timeout):
        out = tmp_path_factory.mktemp(script.stem) / "found.json"
        top = str(Path(__file__).parents[1])
        done = subprocess.run(
            [sys.executable, str(script), str(out)],
            env={**os.environ, "PYTHONPATH": top, "OMP_NUM_THREADS": "1"},
            capture_output=True, text=True, check=False, timeout=timeout,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(out.read_text())

    return carried_out
