"""The soak sees what differs, and no measured time; its moments hang on the seed."""

from __future__ import annotations

import json
import random

import pytest

import soak


@pytest.fixture
def folder(tmp_path):
    """A run folder, as far as it is looked at byte by byte or line by line."""
    lines = [
        {"phase": "search", "epoch": n, "epochs": 2, "loss": 2.0 / n, "seconds": 0.1}
        for n in (1, 2)
    ]
    metrics = {"networks": {"found": {"accuracy": 0.5, "seconds": 3.0}}, "phases": {"found": 3.0}}
    (tmp_path / "checkpoint").mkdir()
    for name, text in {
        "config.json": '{"format": 1}',
        "history.jsonl": "".join(json.dumps(line) + "\n" for line in lines),
        "metrics.json": json.dumps(metrics),
        "model.safetensors": "weights",
        "trials.csv": "number,score,seconds\n0,0.5,3.0\n",
        "report.html": "<html></html>\n",
    }.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "old", "new", "seen"),
    [
        ("metrics.json", "0.5", "0.51", True),
        ("metrics.json", "3.0", "4.0", False),
        ("history.jsonl", "2.0", "2.1", True),
        ("history.jsonl", "0.1", "0.2", False),
        ("history.jsonl", '{"phase": "search", "epoch": 2', '{"phase": "found", "epoch": 2', True),
        ("trials.csv", "0,0.5", "0,0.5,1.0\n0,0.5", True),
        ("trials.csv", "3.0", "3.5", False),
        ("model.safetensors", "w", "v", True),
        ("report.html", "</html>", "", True),
    ],
)
def test_a_difference_is_seen_and_a_time_is_none(name, old, new, seen, folder):
    before = soak.outcome(folder)
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new))
    assert soak.differing(soak.outcome(folder), before) == ([name] if seen else [])


def test_what_a_kill_left_beside_its_place_is_seen(folder):
    before = soak.outcome(folder)
    (folder / "metrics.json.partial").write_text("")
    (folder / "model.safetensors").unlink()
    told = ["metrics.json.partial", "model.safetensors"]
    assert soak.differing(soak.outcome(folder), before) == told


def test_phases_are_told_by_files(folder):
    assert soak.phase(folder / "checkpoint") == "start"
    assert soak.phase(folder).startswith("search")
    (folder / "architecture.json").touch()
    for name, phase in (
        ("found-0", "retraining found"),
        ("plain-0", "retraining plain"),
    ):
        assert soak.phase(folder) == phase
        (folder / "checkpoint" / f"{name}.safetensors").touch()
    assert soak.phase(folder) == "done"
    (folder / "report.html").unlink()
    assert soak.phase(folder) == "report"
    (folder / "metrics.json").unlink()
    assert soak.phase(folder) == "measuring"


@pytest.mark.parametrize("command", soak.COMMANDS, ids=lambda command: command.name)
@pytest.mark.parametrize("when", soak.WHEN)
def test_moments_are_those_of_the_seed_and_within_the_run(command, when):
    first = soak.Whole({}, 20.0, {"rename": 27, "disk": 70})
    drawn = [list(soak.moments(command, random.Random("0/3"), first, 5, when)) for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) == (1 if when == "last" else 5)
    for kind, moment in drawn[0]:
        assert 0 <= moment <= (71 if kind in soak.INSIDE else 20)
