"""One process per folder: two real ones, and one that is killed."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from rfsearch.errors import UserError
from rfsearch.trials import Claim
from rfsearch.trials.claim import FILES

TOP = Path(__file__).parents[2]
SCRIPT = """
import sys
from pathlib import Path
from rfsearch.trials import Claim
with Claim(Path(sys.argv[1])) as claim:
    claim.take()
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(folder):
    """A process that holds the folder until its input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder)],
        env={**os.environ, "PYTHONPATH": str(TOP)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "held\n"
        yield process


def test_a_second_process_is_told_of_the_first(tmp_path):
    folder = tmp_path / "runs" / "one"
    with holder(folder) as process, Claim(folder) as claim:
        with pytest.raises(UserError, match="is in use by process") as told:
            claim.take()
        assert f"process {process.pid} on {platform.node()}, since 20" in str(told.value)
        assert str(folder) in str(told.value)
        process.communicate("")
        claim.take()
        assert json.loads((folder / ".lock.json").read_text())["pid"] == os.getpid()
    assert {path.name for path in folder.iterdir()} <= set(FILES) - {".lock.json"}


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_what_a_killed_process_held_is_free(tmp_path):
    with holder(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (tmp_path / ".lock.json").exists(), "it had no time to tidy up"
    with Claim(tmp_path) as claim:
        claim.take()
        assert json.loads((tmp_path / ".lock.json").read_text())["pid"] == os.getpid()


def test_the_holder_may_be_nameless(tmp_path):
    with Claim(tmp_path) as one, Claim(tmp_path) as other:
        one.take()
        for text in ("", '{"format": 1}'):
            (tmp_path / ".lock.json").write_text(text)
            with pytest.raises(UserError, match="is in use by another process"):
                other.take()
        (tmp_path / ".lock.json").unlink()
        with pytest.raises(UserError, match="is in use by another process"):
            other.take()


def test_a_claim_that_was_not_taken_leaves_nothing(tmp_path):
    with Claim(tmp_path / "no"):
        pass
    assert list(tmp_path.iterdir()) == []
