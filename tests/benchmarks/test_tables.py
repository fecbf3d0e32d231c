"""Tables of measurements: what a script leaves behind is what it finds when it goes on."""

from __future__ import annotations

import gzip
import time

import pytest

import tables

ROWS = [{"name": "a, b", "value": "1"}, {"name": 'say "c"', "value": "2"}]


@pytest.mark.parametrize("name", ["table.csv", "table.csv.gz"])
def test_rows_come_back_as_they_were_written(name, tmp_path):
    path = tmp_path / "new" / name
    if path.suffix == ".gz":
        path.parent.mkdir()
        path.write_bytes(gzip.compress(tables.text(["name", "value"], ROWS).encode()))
    else:
        tables.write(path, ["name", "value"], ROWS)
    assert tables.read(path) == ROWS


def test_rows_appended_one_by_one_are_the_table_written_at_once(tmp_path):
    for row in ROWS:
        tables.append(tmp_path / "table.csv", ["name", "value"], row)
    assert (tmp_path / "table.csv").read_text() == tables.text(["name", "value"], ROWS)


def test_a_script_that_goes_on_loses_a_torn_line_alone(tmp_path):
    path = tmp_path / "table.csv"
    tables.write(path, ["name", "value"], ROWS)
    path.write_text(path.read_text() + "torn,")
    assert tables.resumed(path) == ROWS
    tables.append(path, ["name", "value"], {"name": "d", "value": "3"})
    assert [row["value"] for row in tables.read(path)] == ["1", "2", "3"]


def test_a_page_shows_all_cells(tmp_path):
    assert tables.shown(tmp_path / "none.csv") == "Not measured yet."
    tables.write(tmp_path / "table.csv", ["name", "value"], ROWS)
    assert tables.shown(tmp_path / "table.csv").splitlines() == [
        "| name | value |", "| --- | --- |", "| a, b | 1 |", '| say "c" | 2 |'
    ]  # fmt: skip


def test_what_processes_make_comes_as_it_is_made():
    assert sorted(tables.made(divmod, [(7, 2), (9, 4), (8, 3)], 2)) == [(2, 1), (2, 2), (3, 1)]


def test_the_first_error_ends_all():
    began = time.perf_counter()
    with pytest.raises(TypeError):
        list(tables.made(time.sleep, [("soon",), *[(2,)] * 100], 1))
    assert time.perf_counter() - began < 100
