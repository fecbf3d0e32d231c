"""Files of a run are whole or absent; what is no run is said so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rfsearch.errors import UserError
from rfsearch.trials import RunFolder, read_json, replacing, write_json


def test_the_names():
    folder = RunFolder(Path("run"))
    files = {name: getattr(folder, name).name for name in NAMES}
    assert files == NAMES
    assert len(set(NAMES.values())) == len(NAMES)


NAMES = {
    "config": "config.json",
    "environment": "environment.json",
    "study": "study.journal",
    "trials": "trials.csv",
    "history": "history.jsonl",
    "architecture": "architecture.json",
    "layers": "layers.csv",
    "plain_layers": "layers_plain.csv",
    "metrics": "metrics.json",
    "predictions": "predictions.csv",
    "checkpoint": "checkpoint",
    "weights": "model.safetensors",
    "plain_weights": "plain.safetensors",
    "report": "report.html",
    "export": "export",
}


def test_json_round_trip(tmp_path):
    path = tmp_path / "run" / "config.json"
    record = {"seed": 0, "data": "digits", "α": [1.5, None]}
    write_json(path, record)
    assert read_json(path) == {"format": 1, **record}
    assert next(iter(json.loads(path.read_text()))) == "format"
    write_json(path, {"seed": 1})
    assert read_json(path) == {"format": 1, "seed": 1}
    assert [file.name for file in path.parent.iterdir()] == ["config.json"]


def test_after_an_error_the_old_file_stands(tmp_path):
    path = tmp_path / "metrics.json"
    write_json(path, {"seed": 0})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"accuracy": float("nan")})
    with pytest.raises(FileNotFoundError), replacing(path) as partial:
        (partial.write_text("half"), Path("no/such/file").read_text())
    assert read_json(path) == {"format": 1, "seed": 0}
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.json"]


def test_what_a_kill_left_is_overwritten(tmp_path):
    (tmp_path / "metrics.json.partial").write_text("half of a longer file")
    write_json(tmp_path / "metrics.json", {})
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.json"]
    assert read_json(tmp_path / "metrics.json") == {"format": 1}


def test_a_folder_is_not_written_over(tmp_path):
    (tmp_path / "network.py").mkdir()
    with pytest.raises(UserError, match=r"network\.py is a folder.*move it away"):
        write_json(tmp_path / "network.py", {})
    assert [file.name for file in tmp_path.iterdir()] == ["network.py"]


def test_a_block_that_writes_nothing_is_our_fault(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "file"):
        pass


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"format": 1,\n"seed": }', "a.json, line 2 is no JSON: Expecting value"),
        (b"", "a.json, line 1 is no JSON: Expecting value"),
        (b"\xff", "a.json is no JSON: it must be text in UTF-8"),
        (b"[]", 'a.json is none of ours: it must be a table with "format": 1'),
        (b"{}", 'a.json is none of ours: it must be a table with "format": 1'),
        (b'{"format": "1"}', 'a.json is none of ours: it must be a table with "format": 1'),
        (b'{"format": 2}', "a.json has format 2; this version reads up to 1"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.json"
    path.write_bytes(text)
    with pytest.raises(UserError) as caught:
        read_json(path.relative_to(tmp_path))
    assert str(caught.value) == message


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"there is no file .*gone\.json"):
        read_json(tmp_path / "gone.json")


def test_what_is_no_run(tmp_path):
    with pytest.raises(UserError, match="there is no folder"):
        RunFolder.existing(tmp_path / "gone")
    with pytest.raises(UserError, match=r"is no run folder: it holds no config\.json"):
        RunFolder.existing(tmp_path)
    write_json(tmp_path / "config.json", {})
    assert RunFolder.existing(str(tmp_path)) == RunFolder(tmp_path)
