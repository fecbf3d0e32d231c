"""The display of a run: time left by numbers, quiet where there is no terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from rfsearch.reporting.progress import Progress
from rfsearch.reporting.timing import Phase, left, pace

PLAN = [("data", 2.0, 0), ("search", 100.0, 4), ("found", 40.0, 4), ("measure", 10.0, 0)]
OPERATORS = ["identity", "max 3", "avg 5", "ssp"]


def search_record(epoch, frozen=None):
    return {
        "phase": "search", "stage": "search", "epoch": epoch, "epochs": 4, "loss": 0.5,
        "accuracy": 0.75, "seconds": 50.0, "frozen": frozen or {},
        "p": {"a": [0.1, 0.7, 0.1, 0.1], "b": [0.1, 0.1, 0.6, 0.2], "c": [0.4, 0.2, 0.2, 0.2]},
    }  # fmt: skip


def console(width=100, terminal=False):
    return Console(file=io.StringIO(), width=width, force_terminal=terminal, no_color=True)


def drawn(progress, width=100):
    target = Console(file=io.StringIO(), width=width, no_color=True)
    target.print(progress)
    return target.file.getvalue()


def test_time_left_before_anything_is_measured():
    phases = [Phase(*phase) for phase in PLAN]
    assert left(phases, 0) == (152.0, True)
    assert left(phases, 2) == (50.0, True)


def test_a_slower_machine_stretches_what_is_to_come():
    phases = [Phase(*phase) for phase in PLAN]
    phases[1].measured, phases[1].done = [50.0, 50.0], 2
    assert pace(phases) == 2.0
    assert left(phases, 1) == (2 * 50.0 + 2 * 40.0 + 2 * 10.0, True)


def test_latest_epochs_count_for_the_rest_of_a_phase():
    phase = Phase("search", None, 10, done=6, measured=[9.0, 9.0, 9.0, 4.0, 4.0, 4.0])
    assert phase.left() == 16.0
    phase.step, phase.steps = 1, 2
    assert phase.left() == 14.0


def test_an_unknown_phase_makes_the_time_a_lower_bound():
    assert left([Phase("search", 10.0, 2), Phase("found", None, 2)], 0) == (10.0, False)


def test_pace_is_bounded():
    assert pace([Phase("search", 1.0, 1, measured=[100.0])]) == 5.0


def test_one_plain_line_per_phase_without_a_terminal():
    target = console()
    with Progress(OPERATORS, target) as progress:
        progress.start(PLAN)
        progress.enter("data")
        for epoch in range(1, 5):
            progress.step("search", epoch, 1, 3)
            progress.epoch(search_record(epoch))
        progress.epoch({"phase": "found", "retrain_seed": 0, "epoch": 4, "epochs": 4, "loss": 0.1,
                        "accuracy": 0.9, "seconds": 5.0})  # fmt: skip
        progress.enter("measure")
    assert target.file.getvalue().splitlines() == [
        "reading data",
        "searching · 4 of 4 epochs · loss 0.500 · accuracy 75.0 % · 3 min 20 s",
        "training found · 4 of 4 epochs · loss 0.100 · accuracy 90.0 % · 5 s",
        "measuring",
    ]


def test_an_interrupted_run_leaves_no_line_for_its_open_phase():
    target = console()

    def interrupted():
        with Progress(OPERATORS, target) as progress:
            progress.start(PLAN)
            progress.epoch(search_record(1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert "searching" not in target.file.getvalue()


def test_display_has_phase_epoch_scores_and_time():
    progress = Progress(OPERATORS, console())
    progress.start(PLAN)
    progress.epoch(search_record(2))
    progress.step("search", 3, 7, 20)
    text = drawn(progress)
    assert "› searching" in text
    assert "✓ reading data" in text
    assert "2/4" in text
    assert "loss 0.500 · accuracy 75.0 % · step 7/20" in text
    assert "left" in text


def test_strip_has_leaders_and_frozen_operators():
    progress = Progress(OPERATORS, console())
    progress.start(PLAN)
    progress.epoch(search_record(1, frozen={"c": [3]}))  # frozen to another than leads by now
    text = drawn(progress)
    assert "M3 A5 S" in text
    assert "frozen (1 of 3)" in text


def test_display_fits_sixty_columns():
    progress = Progress(OPERATORS, console())
    progress.start(PLAN)
    progress.epoch(search_record(2))
    assert max(len(line) for line in drawn(progress, 60).splitlines()) <= 60


def test_resumed_run_counts_epochs_of_the_earlier_process():
    progress = Progress(OPERATORS, console())
    progress.start([("found", 40.0, 8)])
    progress.epoch({"phase": "found", "retrain_seed": 1, "epoch": 2, "epochs": 4, "seconds": 5.0})
    assert progress.phases[0].done == 6
    assert "6/8" in drawn(progress)


def test_notes_stay():
    target = console()
    progress = Progress(OPERATORS, target)
    progress.start(PLAN)
    progress.note("[plain] text, no markup")
    assert "[plain] text, no markup" in target.file.getvalue()


def test_trials_are_called_trials():
    target = console()
    progress = Progress((), target)
    progress.start([("search", None, 2), ("found", None, 4)])
    line = {"phase": "search", "stage": "trial", "epochs": 2, "loss": None, "seconds": 1.0}
    progress.epoch({**line, "epoch": 1})
    assert "1/2 trials" in drawn(progress)
    progress.epoch({**line, "epoch": 2})
    progress.finish()
    assert "searching · 2 of 2 trials · 2 s" in target.file.getvalue()


def test_a_record_may_name_its_unit():
    target = console()
    progress = Progress((), target)
    progress.start([("tpe", None, 1)])
    progress.epoch({"phase": "tpe", "epoch": 1, "epochs": 1, "unit": "trials and epochs"})
    progress.finish()
    assert "1 of 1 trials and epochs" in target.file.getvalue()


BESIDE = [("search", 60.0, 4), ("found", 30.0, 4), ("plain", 24.0, 4), ("measure", 6.0, 0)]


def trained(phase, epoch, seconds):
    return {"phase": phase, "retrain_seed": 0, "epoch": epoch, "epochs": 4, "loss": 1 / epoch,
            "accuracy": 0.9, "seconds": seconds}  # fmt: skip


def test_a_phase_beside_the_current_one():
    target = console()
    progress = Progress(OPERATORS, target)
    progress.start(BESIDE)
    progress.step("found", 1, 1, 3)
    progress.beside("plain")
    for epoch in (1, 2):
        progress.epoch(trained("found", epoch, 8.0))
        progress.epoch(trained("plain", 2 * epoch, 5.0))
    text = drawn(progress)
    assert "› training found" in text
    assert "✓ training plain" in text
    assert "loss 0.500" in text, "of the found network"
    assert left(progress.phases, progress.current) == (16.0 + 6.0 * pace(progress.phases), True)
    for epoch in (3, 4):
        progress.epoch(trained("found", epoch, 8.0))
    progress.enter("plain")
    progress.enter("measure")
    assert target.file.getvalue().splitlines() == [
        "training plain · 4 of 4 epochs · loss 0.250 · accuracy 90.0 % · 10 s",
        "training found · 4 of 4 epochs · loss 0.250 · accuracy 90.0 % · 32 s",
    ]


def test_the_longer_one_of_two_decides_what_is_left():
    progress = Progress(OPERATORS, console())
    progress.start(BESIDE)
    progress.step("found", 1, 1, 3)
    progress.beside("plain")
    progress.epoch(trained("found", 3, 8.0))
    progress.epoch(trained("plain", 1, 8.0))
    assert left(progress.phases[:3], progress.current)[0] == 24.0
