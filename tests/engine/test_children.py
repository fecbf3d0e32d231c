"""A child ends with its parent, even while it still loads what it is to do."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
SCRIPT = """
import time
from rfsearch.engine.children import child
if __name__ == "__main__":
    one = child("{where}", (600,))
    one.start()
    print(one.pid, flush=True)
    time.sleep(600)
"""
UNGUARDED = """
from pathlib import Path
from rfsearch.engine.children import child
with open("begun", "a") as file:
    file.write("once ")
one = child("os:mkdir", ("made",))
one.start()
one.join()
"""
SLOW = "import time; time.sleep(600)"


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="Linux tells of a process by a handle")
@pytest.mark.parametrize("where", ["time:sleep", "slow_to_load:work"])
def test_a_child_of_a_killed_process_ends(where, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT.format(where=where))
    (tmp_path / "slow_to_load.py").write_text(SLOW)
    with subprocess.Popen(
        [sys.executable, "script.py"], cwd=tmp_path, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(TOP)},
    ) as parent:  # fmt: skip
        number = int(parent.stdout.readline())
        handle = os.pidfd_open(number)
        try:
            parent.kill()
            parent.wait()
            assert select.select([handle], [], [], 20)[0], "it goes on without its parent"
        finally:
            if not select.select([handle], [], [], 0)[0]:
                os.kill(number, signal.SIGKILL)
            os.close(handle)


def test_a_script_without_a_guard_is_not_begun_again_in_its_children(tmp_path):
    (tmp_path / "script.py").write_text(UNGUARDED)
    subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, check=True,
        env={**os.environ, "PYTHONPATH": str(TOP)},
    )  # fmt: skip
    assert (tmp_path / "made").is_dir()
    assert (tmp_path / "begun").read_text() == "once "
