"""Trials go into the study once and come back as they were, whatever a kill left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace

import pandas as pd
import pytest

from rfsearch.errors import UserError
from rfsearch.spaces import Choice, load_space
from rfsearch.trials import (
    load_study,
    open_study,
    read_trials,
    record,
    trials_frame,
    write_trials_csv,
)

SPACE = load_space("pooling")


@pytest.fixture(params=["journal", "database"])
def where(request, tmp_path):
    if request.param == "journal":
        return tmp_path / "run" / "study.journal"
    return f"sqlite:///{tmp_path}/studies.db"


@pytest.fixture
def trials(make_trial):
    return (
        make_trial(0, 0.5),
        make_trial(1, None, state="failed", attributes={"error": "out of memory"}),
        make_trial(2, 0.75, attributes={"epochs": 12}),
        make_trial(3, 0.25, state="pruned"),
    )


def test_trials_come_back(where, trials):
    study = open_study(where)
    for trial in trials:
        record(study, trial, SPACE)
    assert read_trials(study) == trials
    assert read_trials(open_study(where)) == trials
    assert read_trials(load_study(where)) == trials


def test_optuna_sees_scores_and_one_parameter_per_slot(where, trials):
    study = open_study(where, "of-a-team")
    for trial in trials:
        record(study, trial, SPACE)
    assert study.study_name == "of-a-team"
    assert study.best_value == 0.75
    assert study.best_params == trials[2].architecture.labels
    assert [trial.state.name for trial in study.trials] == [
        "COMPLETE",
        "FAIL",
        "COMPLETE",
        "PRUNED",
    ]
    for distribution in study.trials[0].distributions.values():
        assert distribution.choices == SPACE.labels


def test_a_resumed_run_records_nothing_twice(where, trials):
    for _ in range(2):
        study = open_study(where)
        for trial in trials[:3]:
            record(study, trial, SPACE)
    assert read_trials(study) == trials[:3]
    assert len(study.trials) == 3


def test_the_order_of_arrival_does_not_matter(where, trials):
    study = open_study(where)
    for trial in reversed(trials):
        record(study, trial, SPACE)
    assert read_trials(study) == trials


def test_one_number_for_two_architectures_is_loud(where, make_trial):
    study = open_study(where)
    record(study, make_trial(0), SPACE)
    with pytest.raises(ValueError, match="trial 0 is in the study with another architecture"):
        record(study, replace(make_trial(1), number=0), SPACE)


def test_pairs(where, make_trial):
    trial = make_trial(0)
    first, *others = trial.architecture.choices
    pair = Choice(first.slot, first.form, (SPACE.operators[1], SPACE.operators[5]))
    paired = replace(trial, architecture=replace(trial.architecture, choices=(pair, *others)))
    study = open_study(where)
    record(study, paired, SPACE, pairs=True)
    record(study, make_trial(1), SPACE, pairs=True)
    assert study.trials[0].params[first.slot] == "max 3 + avg 5"
    assert len(study.trials[0].distributions[first.slot].choices) == 7 + 21
    assert read_trials(study)[0] == paired
    with pytest.raises(ValueError, match=r"max 3 \+ avg 5"):
        record(study, replace(paired, number=2), SPACE)


@pytest.mark.parametrize(
    ("score", "more", "message"),
    [
        (float("nan"), {}, "trial 7: the score is nan"),
        (None, {}, "trial 7 is complete but has no score"),
    ],
)
def test_scores_that_are_none(make_trial, score, more, message):
    with pytest.raises(ValueError, match=message):
        make_trial(7, score, **more)


def test_attributes_must_be_json(tmp_path, make_trial):
    study = open_study(tmp_path / "study.journal")
    with pytest.raises(ValueError, match="JSON compliant"):
        record(study, make_trial(0, attributes={"loss": float("nan")}), SPACE)
    assert read_trials(study) == ()


def test_frame_and_csv(where, tmp_path, trials):
    study = open_study(where)
    for trial in trials:
        record(study, trial, SPACE)
    frame = trials_frame(study)
    slots = ["layer1", "layer2", "layer10"]
    columns = ["number", "state", "score", "seconds", *slots, "error", "epochs"]
    assert list(frame.columns) == columns
    assert frame["state"].tolist() == ["complete", "failed", "complete", "pruned"]
    assert frame.loc[2, slots].to_dict() == trials[2].architecture.labels
    write_trials_csv(study, tmp_path / "trials.csv")
    back = pd.read_csv(tmp_path / "trials.csv")
    assert list(back.columns) == columns
    assert back["score"].dropna().tolist() == [0.5, 0.75, 0.25]
    assert back["seconds"].tolist() == [1.5] * 4


def test_frame_of_nothing(tmp_path):
    study = open_study(tmp_path / "study.journal")
    assert trials_frame(study).empty
    write_trials_csv(study, tmp_path / "trials.csv")
    assert (tmp_path / "trials.csv").read_text() == "number,state,score,seconds\n"


def test_a_journal_cut_at_any_byte_of_its_last_trial_is_repaired(tmp_path, trials):
    path = tmp_path / "study.journal"
    study = open_study(path)
    record(study, trials[0], SPACE)
    before = len(path.read_bytes())
    record(study, trials[1], SPACE)
    data = path.read_bytes()
    for size in [*range(before, len(data), 97), len(data) - 1]:
        path.write_bytes(data[:size])
        assert read_trials(load_study(path)) == trials[:1]
        assert path.read_bytes() == data[:size]
        study = open_study(path)
        record(study, trials[1], SPACE)
        record(study, trials[2], SPACE)
        assert read_trials(open_study(path)) == trials[:3]


def test_a_journal_cut_before_its_study_began(tmp_path, trials):
    path = tmp_path / "study.journal"
    open_study(path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(UserError, match="holds no study 'rfsearch'"):
        load_study(path)
    study = open_study(path)
    record(study, trials[0], SPACE)
    assert read_trials(open_study(path)) == trials[:1]


def test_a_journal_damaged_inside_is_loud(tmp_path, trials):
    path = tmp_path / "study.journal"
    study = open_study(path)
    for trial in trials:
        record(study, trial, SPACE)
    lines = path.read_bytes().splitlines(keepends=True)
    for damaged in ([lines[0], lines[1][:-9] + b"\n", *lines[2:]], [b"{}\n", *lines]):
        path.write_bytes(b"".join(damaged))
        with pytest.raises(UserError, match=r"study\.journal is damaged and must be restored"):
            open_study(path)


SCRIPT = """
import os, sys
from optuna.storages.journal import JournalFileOpenLock
from rfsearch.trials import open_study
open_study(sys.argv[1])
JournalFileOpenLock(sys.argv[1]).acquire()
os.kill(os.getpid(), 9)
"""


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_the_lock_of_a_killed_owner_does_not_bind(tmp_path, trials):
    path = tmp_path / "study.journal"
    killed = subprocess.run([sys.executable, "-c", SCRIPT, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    lock = path.with_name("study.journal.lock")
    assert lock.exists()
    study = open_study(path)
    assert not lock.exists()
    record(study, trials[0], SPACE)
    assert read_trials(load_study(path)) == trials[:1]


def test_nothing_is_said(where, trials, capfd):
    record(open_study(where), trials[0], SPACE)
    open_study(where)
    assert capfd.readouterr() == ("", "")


def test_what_is_no_study(tmp_path):
    with pytest.raises(UserError, match=r"there is no study .*gone\.journal"):
        load_study(tmp_path / "gone.journal")
    assert not (tmp_path / "gone.journal").exists()


@pytest.mark.parametrize(
    "url", ["oracl://user:secret@host/name", "sqlite:////no/such/folder/a.db"]
)
def test_a_storage_that_cannot_be_opened_keeps_its_password(url):
    with pytest.raises(UserError, match="storage cannot be opened") as caught:
        open_study(url)
    assert "secret" not in str(caught.value)
    assert caught.value.__context__ is None, "a traceback would show it"
    assert len(str(caught.value).splitlines()) == 1
