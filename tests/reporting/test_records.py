"""Reading a run folder: whole ones are read, everything else is the user's to put right."""

from __future__ import annotations

import json

import pytest

from rfsearch.errors import UserError
from rfsearch.reporting import rewrite_report, summarise, write_report
from rfsearch.reporting.records import read

FILES = [
    "config.json", "environment.json", "history.jsonl", "metrics.json", "architecture.json",
    "layers.csv", "layers_plain.csv",
]  # fmt: skip


def test_whole_run_is_read(make_run):
    records = read(make_run())
    assert records.image_size == (64, 64)
    assert records.networks["found"].window_ops == 2_345_678
    assert records.networks["plain"].latency.seconds == 0.0078
    assert records.networks["adapted"].latency is None
    assert records.difference.value == pytest.approx(0.029)
    assert len(records.history) == 12 + 2 * 12


def test_whole_page_is_one_file_under_six_megabytes(make_run):
    path = write_report(make_run())
    text = path.read_text(encoding="utf-8")
    assert path.name == "report.html"
    assert 4.5e6 < len(text.encode()) < 6e6
    assert text.count("plotly.js v") == 1
    assert not list(path.parent.glob("*.partial"))


@pytest.mark.parametrize("name", FILES)
def test_missing_file_is_named(make_run, name):
    folder = make_run()
    (folder / name).unlink()
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        write_report(folder)
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize("name", FILES)
def test_damaged_file_is_named(make_run, name):
    folder = make_run()
    (folder / name).write_text("")
    if name == "history.jsonl":
        (folder / name).write_text("{broken\n")
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        write_report(folder)


def test_no_folder_and_no_run(tmp_path):
    with pytest.raises(UserError, match="there is no folder"):
        write_report(tmp_path / "absent")
    with pytest.raises(UserError, match="no run folder"):
        write_report(tmp_path)


def test_unfinished_run_names_the_way_on(make_run):
    folder = make_run()
    (folder / "metrics.json").unlink()
    with pytest.raises(UserError, match="--resume"):
        write_report(folder)


def test_missing_key_is_named(make_run):
    folder = make_run()
    metrics = json.loads((folder / "metrics.json").read_text())
    del metrics["phases"]
    (folder / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(UserError, match=r"metrics\.json lacks phases"):
        write_report(folder)


def test_slot_without_a_layer_is_named(make_run):
    folder = make_run()
    text = (folder / "layers.csv").read_text().replace("features.5.conv.1.0,", "other,")
    (folder / "layers.csv").write_text(text)
    with pytest.raises(UserError, match=r"features\.5\.conv\.1\.0"):
        write_report(folder)


def test_torn_last_line_of_history_is_passed_over(make_run):
    folder = make_run()
    with (folder / "history.jsonl").open("a") as file:
        file.write('{"phase": "pla')
    assert len(read(folder).history) == 36


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("config.json", ["plan"], True),
        ("architecture.json", ["backbone"], None),
        ("metrics.json", ["networks"], []),
        ("metrics.json", ["difference", "interval"], [1]),
    ],
)
def test_a_value_that_no_run_writes_is_the_files_fault(make_run, name, path, value):
    folder = make_run()
    record = json.loads((folder / name).read_text())
    inner = record
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    (folder / name).write_text(json.dumps(record))
    with pytest.raises(UserError) as caught:
        rewrite_report(folder)
    assert str(folder) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert not (folder / "report.html").exists()


def test_a_name_that_is_no_text_does_not_end_a_report(make_run):
    """Names of files are bytes; Python keeps those that are no UTF-8 as lone surrogates."""
    assert "caf?" in write_report(make_run(data="imagefolder:caf\udce9")).read_text("utf-8")


def test_operators_from_the_space_where_the_run_lists_none(make_run):
    folder = make_run(operators=None)
    assert write_report(folder).is_file()


def test_summary_says_what_the_page_says(make_run):
    text = summarise(make_run())
    assert text.startswith("The found network scored 2.9 points above the plain one")
    assert "One seed" in text.replace("\n", " ")
    assert max(len(line) for line in text.splitlines()[:-1]) <= 88
    assert text.splitlines()[-1].endswith("report.html")
