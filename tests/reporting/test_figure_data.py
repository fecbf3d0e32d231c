"""The numbers behind every figure."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pandas as pd
import pytest

from rfsearch.reporting import figure_data, frames, nulls
from rfsearch.reporting.records import read


@pytest.fixture
def records(make_run):
    return read(make_run())


def rewrite_history(folder, change):
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    kept = [line for line in map(change, lines) if line is not None]
    (folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in kept))


def test_slots_reach_over_the_enhancer(records):
    table = frames.slots(records)
    first, last = table.iloc[0], table.iloc[-1]
    # stem 3; features.1: +2·2 = 7; slot 2 (stride 2): +2·2 = 11, then max 3 on jump 4: +2·4 = 19
    assert (first["field_plain_h"], first["field_found_h"]) == (11, 19)
    assert (first["kernel"], first["stride_h"], first["map_h"]) == (3, 2, 16)
    assert (last["operator"], last["kernel"], last["map_w"]) == ("identity", 0, 2)
    assert last["field_plain_h"] == 491  # MobileNetV2's own field, whatever the image
    assert list(table["short"]) == [str(block) for block in range(2, 18)]


def test_a_slot_begins_at_its_convolution_where_the_enhancer_before_is_a_child_of_it(records):
    """`enhance_input` of conv2 runs before it, and belongs to conv1's slot."""
    ran = [("conv1", "conv"), ("norm1", "norm"), ("conv2.enhance_input.operator", "pool"),
           ("conv2", "conv"), ("norm2", "norm"), ("head", "linear")]  # fmt: skip
    sides, strides = [16, 16, 16, 8, 8, 1], [1, 1, 1, 2, 1, 1]
    layers = pd.DataFrame(ran, columns=["name", "kind"]).assign(
        height=sides, width=sides, stride_h=strides, stride_w=strides, field_h=[3, 3, 7, 9, 9, 15]
    )
    choice = records.architecture["choices"][0]
    choices = [{**choice, "slot": slot} for slot in ("conv1", "conv2")]
    told = replace(records, layers=layers, plain_layers=layers,
                   architecture={**records.architecture, "choices": choices})  # fmt: skip
    table = frames.slots(told)
    assert table["field_found_h"].tolist() == [7, 9]
    assert table[["map_h", "stride_h"]].to_numpy().tolist() == [[16, 1], [8, 2]]


def test_fields_are_one_chart_where_axes_agree(records):
    (chart,) = figure_data.fields(records)
    assert chart.image == 64
    assert [line.network for line in chart.lines] == 3 * ["plain"] + 3 * ["found"]
    assert chart.lines[0].values[0] == 11
    assert all(
        found >= plain
        for plain, found in zip(chart.lines[0].values, chart.lines[3].values, strict=True)
    )


def test_fields_are_two_charts_where_axes_differ(make_run):
    charts = figure_data.fields(read(make_run(image_size=[64, 96])))
    assert [(chart.axis, chart.image) for chart in charts] == [("height", 64), ("width", 96)]


def test_empty_columns_leave_no_line(make_run):
    folder = make_run()
    for name in ("layers.csv", "layers_plain.csv"):
        text = (folder / name).read_text().splitlines()
        keep = [i for i, column in enumerate(text[0].split(",")) if "effective" not in column]
        rows = [",".join(line.split(",")[i] for i in keep) for line in text]
        (folder / name).write_text("\n".join(rows) + "\n")
    (chart,) = figure_data.fields(read(folder))
    assert {line.measure for line in chart.lines} == {"field"}


def test_stages(records):
    assert [(s.name, s.begin, s.end) for s in figure_data.stages(records)] == [
        ("warmup", 0.5, 2.5), ("search", 2.5, 9.5), ("adapt", 9.5, 12.5),
    ]  # fmt: skip


def test_trajectories_end_with_the_freeze(records):
    lines = figure_data.trajectories(records)
    assert len(lines) == 16
    first = lines[0]
    assert first.epochs == (1, 2, 3, 4, 5)
    assert first.freeze.epoch == 5
    assert not first.freeze.by_deadline
    assert max(first.p, key=lambda label: first.p[label][-1]) == "max 3"
    assert sum(values[-1] for values in first.p.values()) == pytest.approx(1)


def test_a_slot_of_the_deadline_freezes_in_the_epoch_that_ended(records):
    late = [line for line in figure_data.trajectories(records) if line.freeze.by_deadline]
    assert [line.short for line in late] == ["7", "9", "11", "15", "16"]
    assert {line.freeze.epoch for line in late} == {9}


def test_gaps_are_those_of_the_average(records):
    gaps = figure_data.gaps(records, None)
    assert gaps.threshold == 0.2
    first = gaps.lines[0]
    assert first.gaps[-1] == pytest.approx(0.4 - 0.1)
    assert first.freeze.gap == first.gaps[-1]
    assert first.alpha_steps == (0, 0, 46, 92, 132)  # it froze six steps before its epoch ended
    late = [line.gaps[-1] for line in gaps.lines if line.freeze.by_deadline]
    assert late == pytest.approx([0.16] * 5)


def test_near_marks_share_a_name(records):
    texts = [mark.text for mark in figure_data.gaps(records, None).marks]
    assert texts == ["2, 13", "3, 12", "4, 8, 14", "5, 6, 10, 17", "7, 9, 11, 15, 16"]


def test_null_band_has_the_quantiles(make_null):
    band = nulls.band("quick", "mobilenetv2", "pooling", make_null())
    assert (band.num_seeds, band.num_slots) == (3, 16)
    assert band.alpha_steps[-1] == 322
    assert 0 < band.low[-1] < band.median[-1] < band.high[-1] <= band.largest[-1] <= 0.09
    assert band.high_at(322) == band.high[-1]
    assert band.high_at(10**6) == band.high[-1]


@pytest.mark.parametrize(
    "name",
    [("standard", "mobilenetv2", "pooling"), ("quick", "resnet18", "pooling"),
     ("quick", "mobilenetv2", "pmpl")],
)  # fmt: skip
def test_no_neighbours_null_is_borrowed(make_null, name):
    assert nulls.band(*name, curves=make_null()) is None


def test_no_null_file_at_all(tmp_path):
    assert nulls.band("quick", "mobilenetv2", "pooling", tmp_path / "absent.csv") is None


def test_step_time_falls_as_slots_freeze(records):
    steps = figure_data.steps(records)
    assert steps.num_frozen[-1] == 16
    assert steps.seconds[0] == pytest.approx(0.292)
    assert steps.seconds[-1] == pytest.approx(0.1)


def test_losses(records):
    weights, alpha = figure_data.search_losses(records)
    assert (len(weights.epochs), alpha.epochs) == (12, tuple(range(3, 10)))
    assert weights.values[0] == pytest.approx(2.2 * math.exp(-0.2))
    assert [curve.name for curve in figure_data.retraining(records)] == ["found", "plain"]


def test_retraining_seeds_are_told_apart(make_run):
    records = read(make_run(found=(0.9, 0.91), plain=(0.9, 0.9)))
    names = [curve.name for curve in figure_data.retraining(records)]
    assert names == ["found, seed 0", "plain, seed 0", "found, seed 1", "plain, seed 1"]


def test_cost(records):
    cost = figure_data.cost(records)
    assert cost.total == pytest.approx(294.7)
    assert sum(cost.shares) == pytest.approx(1)
    assert cost.phases[1] == "search"
    at_once = replace(records, metrics={**records.metrics, "side_by_side": True})
    assert figure_data.cost(at_once).total == pytest.approx(294.7 - 49)


def test_class_accuracies(records):
    frame = figure_data.class_accuracies(records)
    assert list(frame["images"]) == [20] * 10
    # found errs on indices 0, 11, 22, ...: on label 0 at 0 and 110
    assert frame.loc[0, "found"] == pytest.approx(18 / 20)
    # plain errs on multiples of 8: on label 1 never
    assert frame.loc[1, "plain"] == 1


def test_trials_are_those_with_a_score(make_run, with_trials):
    folder = with_trials(make_run(), 4)
    table = (folder / "trials.csv").read_text().splitlines()
    table[2] = table[2].replace("0.51", "0.4")
    (folder / "trials.csv").write_text("\n".join([table[0], *table[:0:-1]]))
    data = figure_data.trials(read(folder))
    assert (data.numbers, data.scores) == ((0, 1, 2), (0.5, 0.4, 0.52))
    assert data.best == (0.5, 0.5, 0.52)
    assert figure_data.search_losses(read(folder)) == ()


def test_one_trial_is_no_search_by_trials(make_run, with_trials):
    assert figure_data.trials(read(make_run())).numbers == ()
    assert figure_data.trials(read(with_trials(make_run(), 1))).numbers == ()


def test_a_history_without_alpha_leaves_its_figures_out(make_run):
    folder = make_run()
    rewrite_history(folder, lambda line: None if line["phase"] == "search" else line)
    records = read(folder)
    assert figure_data.trajectories(records) == ()
    assert figure_data.gaps(records, None).lines == ()
    assert figure_data.stages(records) == ()
