"""Lines survive a kill at any byte; damage is loud."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from rfsearch.errors import UserError
from rfsearch.trials import History
from rfsearch.trials.history import cut_torn_line

RECORDS = [{"epoch": 1, "p": {"α": [0.5, 0.25]}}, {"epoch": 2, "loss": None}, {"epoch": 3}]


@pytest.fixture
def history(tmp_path):
    history = History(tmp_path / "history.jsonl")
    for record in RECORDS:
        history.append(record)
    return history


def test_read_what_was_appended(history):
    assert history.read() == RECORDS
    assert len(history.path.read_text().splitlines()) == 3


def test_a_run_that_has_not_begun(tmp_path):
    history = History(tmp_path / "history.jsonl")
    assert history.read() == []
    history.truncate(0)
    assert not history.path.exists()


def test_cut_at_any_byte_the_whole_lines_remain_and_the_next_line_is_well(history):
    data = history.path.read_bytes()
    for size in range(len(data) + 1):
        history.path.write_bytes(data[:size])
        whole = RECORDS[: data[:size].count(b"\n")]
        assert history.read() == whole
        history.append({"next": True})
        assert history.read() == [*whole, {"next": True}]


def test_a_torn_line_that_is_json_does_not_count(history):
    history.path.write_bytes(history.path.read_bytes()[:-1])
    assert history.read() == RECORDS[:2]


def test_damage_elsewhere_is_loud(history):
    whole = history.path.read_bytes()
    lines = whole.splitlines(keepends=True)
    history.path.write_bytes(b"".join([lines[0], lines[1][:-9] + b"\n", lines[2]]))
    with pytest.raises(UserError, match=r"history\.jsonl, line 2 is no JSON"):
        history.read()
    history.path.write_bytes(whole + b"\x00\xff\n")
    with pytest.raises(UserError, match=r"history\.jsonl, line 4 is no JSON"):
        history.read()
    history.path.write_bytes(whole + b"[1]\n")
    with pytest.raises(UserError, match=r"history\.jsonl, line 4 is no record: '\[1\]"):
        history.read()


def test_what_json_cannot_hold_is_refused_and_nothing_is_written(history):
    for value in (float("nan"), float("inf"), object()):
        with pytest.raises((ValueError, TypeError)):
            history.append({"loss": value})
    assert history.read() == RECORDS


@pytest.mark.parametrize("num_lines", [0, 1, 2, 3])
def test_truncate(history, num_lines):
    with history.path.open("ab") as file:
        file.write(b'{"torn')
    history.truncate(num_lines)
    assert history.read() == RECORDS[:num_lines]
    assert history.path.read_bytes().count(b"\n") == num_lines
    history.append({"next": True})
    assert history.read() == [*RECORDS[:num_lines], {"next": True}]


def test_truncate_to_more_than_there_is(history, tmp_path):
    with pytest.raises(UserError, match="holds 3 lines, but its checkpoint was written after 4"):
        history.truncate(4)
    with pytest.raises(UserError, match="holds 0 lines"):
        History(tmp_path / "gone.jsonl").truncate(1)


def test_cut_torn_line_tells_how_much(tmp_path):
    path = tmp_path / "lines"
    assert cut_torn_line(path) == 0
    path.write_bytes(b"whole\ntorn")
    assert cut_torn_line(path) == 4
    assert path.read_bytes() == b"whole\n"
    assert cut_torn_line(path) == 0


SCRIPT = """
import sys
from pathlib import Path
from rfsearch.trials import History
history = History(Path(sys.argv[1]))
for epoch in range(10**6):
    history.append({"epoch": epoch, "p": [0.125] * 50})
    print(epoch, flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_a_line_told_is_a_line_kept_after_a_kill(tmp_path):
    path = tmp_path / "history.jsonl"
    command = [sys.executable, "-c", SCRIPT, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if int(line) == 20:
                process.send_signal(signal.SIGKILL)
                break
    epochs = [record["epoch"] for record in History(path).read()]
    assert epochs == list(range(len(epochs)))
    assert len(epochs) > 20
