"""The command line: its options, a run from start to report, stopping it, and every mistake."""

from __future__ import annotations

import errno
import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

import rfsearch
from rfsearch.backbones import BACKBONES
from rfsearch.cli import app
from rfsearch.data import DATASETS
from rfsearch.engine.plan import BUDGETS
from rfsearch.engine.settings import OF_EXPORT, all_keys, keys_of, parse
from rfsearch.errors import UserError
from rfsearch.exporting import FORMATS
from rfsearch.strategies import STRATEGIES
from rfsearch.training import checkpoint
from rfsearch.training.processes import DEVICES
from rfsearch.trials import Claim

TOP = Path(__file__).parents[1]
CALL = "from rfsearch.cli import app; app(prog_name='rfsearch')"
COMMAND = [sys.executable, "-m", "rfsearch"]
WATCHED = """
import os, sys
log = open(os.environ["LOG"], "a")
write = os.O_WRONLY | os.O_RDWR | os.O_CREAT
def watch(event, told):
    if event == "open" and (told[2] or 0) & write or event in ("os.mkdir", "os.remove"):
        print("write", os.path.abspath(os.fspath(told[0])), file=log, flush=True)
    elif event == "os.rename":
        print("write", os.path.abspath(os.fspath(told[1])), file=log, flush=True)
    elif event in ("socket.connect", "socket.getaddrinfo", "urllib.Request"):
        print("ask", *told[1:], file=log, flush=True)
sys.addaudithook(watch)
"""
"""Stands before `CALL` in a process that is to tell what it writes and whom it asks."""
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(TOP), "OMP_NUM_THREADS": "1", "COLUMNS": "100"}

TINY = {
    "plan.threads": 1,
    "plan.retrain_processes": 1,
    "plan.width": 0.25,
    "plan.warmup_epochs": 1,
    "plan.search_epochs": 2,
    "plan.adapt_epochs": 1,
    "plan.retrain_epochs": 2,
    "plan.effective_images": 2,
    "plan.latency_runs": 2,
    "digits.weights_images": 96,
    "digits.alpha_images": 64,
    "digits.selection_images": 32,
    "digits.test_images": 64,
    "recipe.batch_size": 32,
    "pmpl.alpha_batch": 32,
    "pmpl.minimum_epochs": 0,
    "pmpl.minimum_share": 0.0,
    "pmpl.patience": 1,
}
PATIENCE = 300
"""Seconds until a process counts as one that stands still."""
EPOCHS = 8
"""Lines of history.jsonl of a tiny run: four of search, two of found, two of plain."""
LEFT = {
    "architecture.json",
    "checkpoint",
    "config.json",
    "environment.json",
    "history.jsonl",
    "layers.csv",
    "layers_plain.csv",
    "metrics.json",
    "model.safetensors",
    "plain.safetensors",
    "predictions.csv",
    "report.html",
    "study.journal",
    "trials.csv",
}


def tiny(out, *more, backbone="rfnet6", **changes):
    """The words of a run of seconds; ``changes`` are settings with ``__`` for the point."""
    values = {**TINY, **{key.replace("__", "."): value for key, value in changes.items()}}
    words = [word for key, value in values.items() for word in ("--set", f"{key}={value}")]
    return ["run", "--backbone", backbone, "--out", str(out), "--device", "cpu", *words, *more]


def invoke(*words):
    """The command line in this process."""
    return CliRunner().invoke(app, [str(word) for word in words])


def outcome(folder):
    """What must not hang on how often a run was stopped."""
    names = ("architecture.json", "model.safetensors", "plain.safetensors", "predictions.csv")
    return {name: (folder / name).read_bytes() for name in names}


def read(path):
    return json.loads(path.read_text())


# --- the options -----------------------------------------------------------------------------

NEEDED = "needed"
OPTIONS = {
    "run": {
        "--backbone": NEEDED,
        "--strategy": "pmpl",
        "--space": "pooling",
        "--data": "digits",
        "--image-size": None,
        "--budget": "quick",
        "--plan": None,
        "--seed": 0,
        "--out": None,
        "--resume": False,
        "--dry-run": False,
        "--download": False,
        "--pretrained": False,
        "--device": "auto",
        "--devices": None,
        "--num-nodes": None,
        "--max-macs": None,
        "--max-params": None,
        "--max-latency": None,
        "--executor": "inline",
        "--ray-address": None,
        "--storage": None,
        "--set": None,
        "--debug": False,
    },
    "compare": {
        "--strategies": "pmpl,random,tpe",
        "--seeds": "0,1,2",
        "--backbone": None,
        "--space": "pooling",
        "--data": "digits",
        "--image-size": None,
        "--budget": "quick",
        "--plan": None,
        "--out": None,
        "--resume": False,
        "--dry-run": False,
        "--download": False,
        "--device": "auto",
        "--max-macs": None,
        "--max-params": None,
        "--max-latency": None,
        "--executor": "inline",
        "--ray-address": None,
        "--storage": None,
        "--set": None,
        "--debug": False,
    },
    "analyze": {
        "models": NEEDED,
        "--image-size": None,
        "--effective": False,
        "--data": None,
        "--pretrained": False,
        "--seed": 0,
        "--verify": False,
        "--ignore-unknown": False,
        "--gain": False,
        "--format": None,
        "--out": None,
        "--set": None,
        "--debug": False,
    },
    "optimize": {
        "model": NEEDED,
        "--level": NEEDED,
        "--epsilon": 0.05,
        "--max-macs": None,
        "--max-params": None,
        "--image-size": "224",
        "--out": None,
        "--resume": False,
        "--retrain": False,
        "--data": "digits",
        "--budget": "quick",
        "--seed": 0,
        "--download": False,
        "--set": None,
        "--debug": False,
    },
    "report": {"folders": NEEDED, "--debug": False},
    "export": {
        "folder": NEEDED,
        "--format": NEEDED,
        "--out": None,
        "--set": None,
        "--debug": False,
    },
    "spaces": {"name": None, "--backbone": None, "--debug": False},
    "settings": {"--debug": False},
}
"""Verb → option or argument → default. A new one comes with a reason, and a line here."""


def test_the_options_of_every_verb_are_frozen():
    verbs = get_command(app).commands
    found = {
        verb: {
            option: NEEDED if parameter.required else parameter.default
            for parameter in command.params
            for option in parameter.opts
        }
        for verb, command in verbs.items()
    }
    assert found == OPTIONS


def test_help_names_what_the_tables_hold():
    told = {
        parameter.name: parameter.help for parameter in get_command(app).commands["run"].params
    }
    for option, table in {
        "backbone": BACKBONES,
        "strategy": STRATEGIES,
        "data": DATASETS,
        "budget": BUDGETS,
        "device": DEVICES,
    }.items():
        for name in table:
            assert name in told[option], f"--{option} does not tell of {name}"
    export = {one.name: one.help for one in get_command(app).commands["export"].params}
    assert all(name in export["form"] for name in FORMATS)


def test_every_option_and_argument_is_explained():
    for verb, command in get_command(app).commands.items():
        assert command.help, verb
        for parameter in command.params:
            assert parameter.help, (verb, parameter.name)


def of_children():
    """Seconds of the processor that ended processes took: clocks on the wall run on while other
    tests have the processor."""
    told = os.times()
    return told.children_user + told.children_system


def test_help_answers_in_half_a_second():
    seconds = []
    for _ in range(3):
        began = of_children()
        done = subprocess.run(
            [*COMMAND, "--help"], env=ENVIRONMENT, capture_output=True, text=True
        )
        seconds.append(of_children() - began)
        assert done.returncode == 0
        for verb in OPTIONS:
            assert f"\n  {verb} " in done.stdout
    assert min(seconds) < 0.5, seconds


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom rfsearch.cli import app\n"
        "for words in ([], ['--help'], ['run', '--help'], ['run'], ['settings', '--help'],\n"
        "        ['analyze', '--help'], ['analyze'], ['spaces', 'pooing']):\n"
        "    try: app(words, prog_name='rfsearch')\n"
        "    except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'pandas', 'optuna', 'plotly', 'sklearn', 'nni', 'PIL'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def test_without_a_verb_the_verbs_are_told():
    found = invoke()
    assert found.exit_code == 0
    assert found.stdout == invoke("--help").stdout
    assert "rfsearch run --backbone mobilenetv2" in found.stdout


# --- a run from start to report --------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run never stopped, by a process of its own; ``--resume`` where nothing is to resume. What
    it wrote stands in ``log`` above ``runs``."""
    top = tmp_path_factory.mktemp("cli")
    folder = top / "runs" / "whole"
    done = subprocess.run(
        [sys.executable, "-c", WATCHED + CALL, *tiny(folder, "--resume")],
        env={**ENVIRONMENT, "LOG": str(top / "log")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder, done


def test_a_run_leaves_every_file_and_says_where(finished):
    folder, done = finished
    assert {path.name for path in folder.iterdir()} - {".lock"} == LEFT
    assert str(folder / "report.html") in done.stdout
    assert "\x1b" not in done.stdout + done.stderr, "control codes, and nobody looks"
    assert "\r" not in done.stderr
    assert len(done.stderr.splitlines()) < 12, "one line per phase where there is no terminal"
    for phase in ("searching", "training found", "training plain", "measuring"):
        assert phase in done.stderr
    assert len((folder / "history.jsonl").read_text().splitlines()) == EPOCHS
    assert not list(folder.rglob("*.partial"))


def test_nothing_is_written_outside_the_run_folder_and_nobody_asked(finished):
    """But for what is tried and taken away again (whether a folder can be made), code compiled
    for this machine in the user's cache, and temporary files."""
    folder, _ = finished
    lines = (folder.parents[1] / "log").read_text().splitlines()
    assert not [line for line in lines if line.startswith("ask ")]
    written = {line.removeprefix("write ") for line in lines}
    assert str(folder / "report.html") in written
    assert str(folder / "checkpoint" / "state.pt") in written
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    top = folder.parents[1]
    others = {path for path in written if not Path(path).is_relative_to(folder)}
    near = {path for path in others if Path(path).is_relative_to(top)}
    assert all(
        path == str(folder.parent) or "/tmp" in path.removeprefix(str(top)) for path in near
    )
    assert {path.name for path in top.iterdir()} == {"runs", "log"}, "a trial is taken away"
    assert {path.name for path in folder.parent.iterdir()} == {"whole"}
    allowed = (cache / "rfsearch", "/dev", "/proc", tempfile.gettempdir())
    rest = [path for path in others - near if "__pycache__" not in path]
    assert not [path for path in rest if not any(map(Path(path).is_relative_to, allowed))]


def test_a_finished_run_says_so(finished):
    folder, _ = finished
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    found = invoke(*tiny(folder, "--resume"))
    assert found.exit_code == 0
    assert "finished already" in found.stdout
    assert str(folder / "report.html") in found.stdout
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_run_is_not_begun_twice_in_one_folder(finished):
    folder, _ = finished
    assert mistake(*tiny(folder), folder=folder).endswith("or name another folder by --out\n")
    assert "--resume" in mistake(*tiny(folder), folder=folder)


@pytest.mark.parametrize(
    ("changes", "more", "named"),
    [
        ({}, ["--seed", "1"], "seed 0 → 1"),
        ({"recipe__lr": 0.5}, [], "recipe.lr"),
        ({"plan__retrain_epochs": 3}, ["--space", "pmpl"], "plan.retrain_epochs 2 → 3"),
    ],
)
def test_other_options_do_not_resume(finished, changes, more, named):
    folder, _ = finished
    told = mistake(*tiny(folder, "--resume", *more, **changes), folder=folder)
    assert named in told
    assert "begun with other options" in told


def test_the_report_is_rebuilt_from_the_folder(finished, tmp_path):
    folder = shutil.copytree(finished[0], tmp_path / "run")
    page = (folder / "report.html").read_text()
    (folder / "report.html").unlink()
    found = invoke("report", folder)
    assert found.exit_code == 0
    assert found.stdout.strip() == str(folder / "report.html")
    assert len((folder / "report.html").read_text()) == pytest.approx(len(page), rel=0.01)


def test_a_finished_run_is_exported(finished, tmp_path):
    folder, _ = finished
    out = tmp_path / "away"
    found = invoke("export", folder, "--format", "code", "--out", out)
    assert found.exit_code == 0, found.output
    files, told = found.stdout.splitlines()[:2], found.stdout.splitlines()[2:]
    assert files == [str(out / "network.py"), str(out / "network.pt")]
    (line,) = told
    assert line.startswith("Same outputs as the network on 8 random images: they differ by 0 ")
    text = (out / "network.py").read_text()
    assert 'CLASSES = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")' in text
    assert "IMAGE_SIZE = (48, 48)" in text
    assert "CHANNELS = 1" in text
    assert "rfsearch" not in text.split('"""', 2)[2]
    for place in (out / "network.py", out / "network.py" / "below"):
        told = mistake("export", folder, "--format", "code", "--out", place, folder=folder)
        assert f"--out {place} cannot be written: Not a directory; name another" in told


def test_a_run_that_is_not_finished_is_not_exported(finished, tmp_path):
    folder = shutil.copytree(finished[0], tmp_path / "run")
    (folder / "model.safetensors").unlink()
    told = mistake("export", folder, "--format", "pt2", folder=folder)
    assert "run that is not finished" in told
    assert "--resume" in told


def test_what_a_run_found_gives_its_accuracy_again(finished):
    """`rfsearch.load`, and the two files alone, on test data made anew."""
    import torch
    from safetensors.torch import load_file

    from rfsearch import data
    from rfsearch.backbones.realise import realise
    from rfsearch.spaces import Architecture

    folder, _ = finished
    config, metrics = read(folder / "config.json"), read(folder / "metrics.json")
    digits = {
        key.removeprefix("digits."): value
        for key, value in config["settings"].items()
        if key.startswith("digits.")
    }
    made = data.load(
        "digits",
        seed=config["settings"]["data.seed"],
        image_size=tuple(config["image_size"]),
        images=config["plan"]["images"],
        test_images=config["plan"]["test_images"],
        settings=data.DigitsSettings(**digits),
    )
    images = data.normalise(made.test.pixels, made.mean, made.std)
    rebuilt = realise(Architecture.from_json(read(folder / "architecture.json")))
    rebuilt.load_state_dict(load_file(folder / "model.safetensors"))
    for network in (rfsearch.load(folder), rebuilt.eval()):
        assert not network.training
        with torch.no_grad():
            right = network(images).argmax(1) == made.test.labels
        assert right.float().mean().item() == metrics["networks"]["found"]["accuracies"][0]


def test_the_layers_of_a_run(finished, tmp_path):
    """The found network at its image size; on a page beside plain; any other model beside it."""
    folder, _ = finished
    found = invoke("analyze", folder, "--format", "json")
    assert found.exit_code == 0, found.output
    told = json.loads(found.stdout)
    assert told["image_size"] == read(folder / "config.json")["image_size"]
    assert told["weights"] == "trained in the run"
    network = rfsearch.load(folder)
    assert told["totals"]["params"] == sum(p.numel() for p in network.parameters())
    page = invoke("analyze", folder, "--out", tmp_path / "page.html").stdout.strip()
    assert "whole: found beside whole: plain" in Path(page).read_text()
    both = invoke("analyze", folder, "resnet18", "--image-size", "64", "--out", tmp_path / "a.csv")
    assert both.exit_code == 0
    assert (tmp_path / "a.csv").read_text().startswith("model,name,call")


def test_a_dry_run_tells_the_plan_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = invoke(*tiny("run", "--dry-run", backbone="resnet18", plan__width=0.125))
    assert found.exit_code == 0, found.output
    for word in ("search", "found", "plain", "EPOCHS", "MINUTES", "Memory", "disk", "alpha steps"):
        assert word in " ".join(found.stdout.split())  # wherever lines end
    assert list(tmp_path.iterdir()) == []


# --- stopped ---------------------------------------------------------------------------------


def begin(words, cwd):
    return subprocess.Popen(
        words,
        # a shell that runs these tests in the background has told them to ignore Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        cwd=cwd,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_epochs(process, folder, epochs):
    """Until the history has so many lines; other tests may have the processor meanwhile."""
    deadline = time.monotonic() + PATIENCE
    history = folder / "history.jsonl"
    while not history.exists() or history.read_bytes().count(b"\n") < epochs:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, "the run stands still"
        time.sleep(0.01)


@pytest.mark.slow
def test_interrupted_and_killed_it_comes_to_the_same_end(finished, tmp_path):
    """Ctrl-C at one epoch, the command it prints, ``kill -9`` at a later one, then to the end."""
    first, second = sorted(random.sample(range(1, EPOCHS), 2))
    process = begin([*COMMAND, *tiny("a run")], tmp_path)
    wait_for_epochs(process, tmp_path / "a run", first)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, told
    assert "Traceback" not in told
    printed = told.splitlines()[-1].partition("go on with: ")[2]
    program, *words = shlex.split(printed)
    assert program == "rfsearch"
    assert words == tiny("a run", "--resume")

    process = begin([*COMMAND, *words], tmp_path)
    wait_for_epochs(process, tmp_path / "a run", second)
    process.kill()
    process.communicate(timeout=PATIENCE)
    assert not (tmp_path / "a run" / "report.html").exists()

    done = invoke(*tiny(tmp_path / "a run", "--resume"))
    assert done.exit_code == 0, (first, second, done.output)
    assert outcome(tmp_path / "a run") == outcome(finished[0]), (first, second)


def test_a_run_that_is_going_on_is_left_alone(finished, tmp_path):
    folder = shutil.copytree(finished[0], tmp_path / "run")
    (folder / "metrics.json").unlink()
    with Claim(folder) as claim:
        claim.take()
        told = mistake(*tiny(folder, "--resume"), folder=folder)
    assert f"{folder} is in use by process {os.getpid()} on " in told


def test_a_broken_checkpoint_is_told_and_may_be_deleted(finished, tmp_path):
    folder = shutil.copytree(finished[0], tmp_path / "run")
    for name in ("metrics.json", "report.html", "checkpoint/plain-0.safetensors"):
        (folder / name).unlink()
    state = folder / "checkpoint" / "state.pt"
    state.write_bytes(state.read_bytes()[:-100])
    found = invoke(*tiny(folder, "--resume"))
    assert found.exit_code == 2
    told = found.stderr.splitlines()[-1]
    assert told.startswith(f"rfsearch: {state} cannot be read")
    assert "delete it" in told
    state.unlink()
    done = invoke(*tiny(folder, "--resume"))
    assert done.exit_code == 0, done.output
    assert outcome(folder) == outcome(finished[0])
    assert len((folder / "history.jsonl").read_text().splitlines()) == EPOCHS


@pytest.mark.parametrize("writes", [0, 1, 5, 9])
def test_a_full_disk_is_told_and_nothing_half_written_stays(tmp_path, monkeypatch, writes):
    """The disk takes some files and no more; then there is room again."""
    left = [writes]
    real = os.fsync

    def full(handle):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    folder = tmp_path / "run"
    words = tiny(folder, backbone="resnet18", plan__width=0.125)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        patched.setattr(sys, "argv", ["rfsearch", *words])
        found = invoke(*words)
    assert found.exit_code == 2, found.output
    told = found.stderr.splitlines()[-1]
    assert told.startswith("rfsearch: cannot write")
    assert "no space is left" in told
    assert told.endswith(shlex.join(["rfsearch", *words, "--resume"]))
    assert not list(folder.rglob("*.partial"))
    for path in folder.glob("*.json"):
        read(path)
    if (state := folder / "checkpoint" / "state.pt").exists():
        assert checkpoint.load(state)


# --- what is listed --------------------------------------------------------------------------


def test_spaces_are_listed():
    found = invoke("spaces").stdout
    for name in rfsearch_spaces():
        assert f"\n{name} " in found


def rfsearch_spaces():
    from rfsearch.spaces import names

    return names()


def test_a_space_shows_its_operators_and_a_backbone_its_slots():
    found = invoke("spaces", "pmpl", "--backbone", "mobilenetv2").stdout
    for label in ("identity", "ssp", "max 3", "avg 7", "features.2.conv.1.0", "16 slots"):
        assert label in found
    assert "8^16" in found
    slots = invoke("spaces", "--backbone", "resnet18").stdout
    assert "layer4.1.conv1" in slots
    assert "max 3" not in slots


@pytest.mark.parametrize("columns", [60, 80, 100, 250])
def test_settings_list_every_key_within_the_terminal(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = invoke("settings").stdout.splitlines()
    told = {line.split()[0] for line in lines if line.startswith("  ")}
    assert {key.name for key in (*all_keys(), *keys_of(OF_EXPORT))} <= told
    assert "  --data digits: plan.image_size=48 (quick), 64 (standard), 64 (paper)" in lines
    assert "  --data cifar10: plan.image_size=32" in lines
    assert max(map(len, lines)) <= min(max(columns, 75), 100)


# --- the README ------------------------------------------------------------------------------


def test_the_readme_tells_what_is_there():
    text = (TOP / "README.md").read_text()
    lines = text.splitlines()
    assert lines.count("pip install -e . && rfsearch run --backbone mobilenetv2") == 1
    assert lines.count("pip install -e '.[dev]' && pytest") == 1
    for name in LEFT:
        assert f"`{name}" in text, name
    for verb in OPTIONS:
        assert f"rfsearch {verb}" in text, verb
    known = {option for options in OPTIONS.values() for option in options}
    assert set(re.findall(r"(?<![\w-])--\w[\w-]*", text)) <= known
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert link.startswith("https://") or (TOP / link.partition("#")[0]).exists(), link
    keys = [*all_keys(), *keys_of(OF_EXPORT)]
    for assignment in re.findall(r"--set (\w+\.\w+=\w+)", text):
        assert parse([assignment], keys)


# --- mistakes --------------------------------------------------------------------------------


def tree(folder):
    return sorted(str(path) for path in folder.rglob("*") if "__pycache__" not in path.parts)


def mistake(*words, folder):
    """What a mistake is told in: two lines at most, exit code 2, and the folder as it was."""
    before = tree(folder)
    found = invoke(*words)
    assert found.exit_code == 2, found.output
    assert found.stdout == ""
    assert "Traceback" not in found.stderr
    assert 1 <= len(found.stderr.splitlines()) <= 2, found.stderr
    assert found.stderr.startswith("rfsearch")
    assert tree(folder) == before
    return found.stderr


SPACE = 'description = "a space"\nform = "residual"\n\n[[operators]]\nname = "identity"\n'


MINE = """
def fails():
    raise RuntimeError("boom")


def three():
    return 3


def branches():
    from torch import nn

    class Branches(nn.Module):
        def forward(self, x):
            if x.sum() > 0:
                return x
            return -x

    return Branches()


def vectors():
    from torch import nn

    return nn.Linear(10, 5)


def patches():
    from torch import nn

    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def constant():
    import torch
    from torch import nn

    class Constant(nn.Module):
        def forward(self, x):
            return torch.ones(3) * 2

    return Constant()
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to be in, with everything in it that can be wrong."""
    import numpy as np
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def images(folder, count=6, side=40):
        folder.mkdir(parents=True)
        for index in range(count):
            Image.fromarray(np.full((side, side, 3), index, np.uint8)).save(
                folder / f"{index}.png"
            )

    images(tmp_path / "alone" / "cats")
    for name in ("cats", "dogs"):
        images(tmp_path / "broken" / name)
        images(tmp_path / "small" / name, side=6)
        images(tmp_path / "few" / name, count=2)
        images(tmp_path / "good" / name)
        (tmp_path / "none" / name).mkdir(parents=True)
    (tmp_path / "broken" / "cats" / "3.png").write_bytes(b"this is no image")
    (tmp_path / "broken" / "dogs" / "4.png").write_bytes(b"")
    (tmp_path / "file").write_text("text")
    (tmp_path / "torn.toml").write_text('description = "a space"\nform = \n')
    (tmp_path / "bare.toml").write_text('description = "a space"\nform = "residual"\n')
    (tmp_path / "form.toml").write_text(SPACE.replace("residual", "resdual"))
    (tmp_path / "single.toml").write_text(SPACE)
    (tmp_path / "name.toml").write_text(SPACE + '\n[[operators]]\nname = "maxpool"\nkernel = 3\n')
    for kernel in ("4", "-3", '"3"'):
        name = kernel.strip('"-')
        (tmp_path / f"kernel{name}.toml").write_text(
            f'{SPACE}\n[[operators]]\nname = "max_pool"\nkernel = {kernel}\n'
        )
    (tmp_path / "key.toml").write_text(SPACE + '\n[[operators]]\nname = "max_pool"\nkernle = 3\n')
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("years")
    for name, text in {
        "torn": '{"format": 1,\n "seed": 0',
        "newer": '{"format": 99}',
        "bare": '{"format": 1}',
        "list": "[]",
        "compared": '{"format": 1, "kind": "compare"}',
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(text)
    return tmp_path


WRONG_OPTIONS = {
    "": ["--backbone", "mobilenetv2, resnet18 or rfnet6"],
    "--backbone": ["--backbone"],
    "--backbone mobilnetv2": ["'mobilnetv2'", "did you mean 'mobilenetv2'", "resnet18"],
}
WRONG = {
    "--nonsense": ["--nonsense", "--help"],
    "extra": ["extra"],
    "--space poling": ["'poling'", "did you mean 'pooling'", "pmpl", ".toml"],
    "--space nowhere.toml": ["no file nowhere.toml"],
    "--space torn.toml": ["torn.toml", "line 2"],
    "--space bare.toml": ["bare.toml", "'operators' is missing"],
    "--space form.toml": ["form.toml", "'resdual'", "residual, paper"],
    "--space name.toml": ["name.toml", "entry 2", "'maxpool'", "did you mean 'max_pool'"],
    "--space kernel4.toml": ["kernel4.toml", "entry 2", "odd", "not 4"],
    "--space kernel3.toml": ["entry 2", "odd", "not '3'"],
    "--space key.toml": ["key.toml", "entry 2", "kernle"],
    "--strategy pml": ["'pml'", "did you mean 'pmpl'"],
    "--budget quik": ["'quik'", "quick, standard, paper", "4h"],
    "--budget 0s": ["too short"],
    "--device gpu": ["'gpu'", "auto, cpu, cuda, mps"],
    "--seed one": ["--seed"],
    "--image-size wide": ["image size 'wide'", "224x320"],
    "--image-size 0": ["at least one pixel", "not 0"],
    "--image-size -5": ["image size '-5'", "224x320"],
    "--image-size 64x8": ["at least 16 pixels", "not 8"],
    "--image-size 3x64x64": ["3 sides", "a height and a width"],
    "--image-size 12": ["at least 16 pixels", "--image-size 16"],
    "--image-size 1000000": ["not enough memory", "--image-size"],
    "--plan nowhere.json": ["no file nowhere.json"],
    "--plan file": ["file, line 1"],
    "--plan .": [". cannot be read"],
    "--plan bare/config.json": ["bare/config.json", "seed"],
    "--data digit": ["'digit'", "did you mean 'digits'", "imagefolder"],
    "--data mine:fails": ["mine:fails() failed", "boom"],
    "--data mine:three": ["mine:three() returned", "expected"],
    "--data mine:two": ["mine", "'two'"],
    "--data yours:two": ["'yours'", "digits"],
    "--data no.such:two": ["'no'", "current folder"],
    "--data cifar10:nowhere": ["nowhere"],
    "--data imagefolder:": ["imagefolder:PATH"],
    "--data imagefolder:nowhere": ["nowhere", "no such folder"],
    "--data imagefolder:file": ["file"],
    "--data imagefolder:none": ["no images in none"],
    "--data imagefolder:alone": ["one class", "'cats'"],
    "--data imagefolder:broken": ["2 of 12", "cats/3.png", "dogs/4.png"],
    "--data imagefolder:small": ["12 of 12", "6×6", "at least 8"],
    "--data imagefolder:few": ["'cats' (2)", "at least 4"],
    "--data imagefolder:good --set recipe.batch_size=64": ["weights", "--set recipe.batch_size"],
    "--set pmpl.threshold": ["KEY=VALUE", "'pmpl.threshold'"],
    "--set =": ["rfsearch settings"],
    "--set pmpl.treshold=1": ["'pmpl.treshold'", "did you mean 'pmpl.threshold'"],
    "--set threshold=1": ["'threshold'", "did you mean pmpl.threshold", "rfsearch settings"],
    "--set pmpl.threshold=high": ["pmpl.threshold", "'high'", "a number"],
    "--set pmpl.threshold=nan": ["pmpl.threshold", "'nan'"],
    "--set pmpl.progressive=maybe": ["pmpl.progressive", "true or false"],
    "--set recipe.batch_size=2.5": ["recipe.batch_size", "whole number"],
    "--set recipe.batch_size=0": ["recipe.batch_size", "2 or more"],
    "--set recipe.batch_size=1": ["recipe.batch_size", "2 or more"],
    "--set pmpl.alpha_batch=-1": ["pmpl.alpha_batch", "2 or more"],
    "--set pmpl.alpha_every=0": ["pmpl.alpha_every", "1 or more"],
    "--set pmpl.deadline=never": ["pmpl.deadline", "argmax, pair"],
    "--set recipe.lr=0": ["recipe.lr", "more than 0"],
    "--set augment.shift=-1": ["shift", "0 or more"],
    "--set augment.padding=none": ["padding", "reflect, zero"],
    "--set digits.min_size=99": ["min_size <= max_size"],
    "--set digits.test_images=0": ["digits.test_images", "1 or more"],
    "--set backbone.stem=large": ["backbone.stem", "'large'"],
    "--set slots.include=features.2": ["'features.2'", "features.2.conv.1.0"],
    "--set slots.exclude=all": ["'all'", "features.17.conv.1.0"],
    "--set plan.layout=rows": ["plan.layout", "channels_last"],
    "--set plan.images=2": ["images", "at least 4"],
    **{
        f"--set plan.{name}=-1": [f"plan.{name}", "not -1"]
        for name in (
            "width",
            "image_size",
            "images",
            "test_images",
            "warmup_epochs",
            "search_epochs",
            "adapt_epochs",
            "retrain_epochs",
            "retrain_seeds",
            "effective_images",
            "latency_runs",
            "threads",
        )
    },
    "--set plan.width=0": ["plan.width", "more than 0"],
    **{
        f"--set plan.{name}=0": [f"plan.{name}", "1 or more"]
        for name in ("search_epochs", "retrain_epochs", "retrain_seeds")
    },
    "--out file": ["--out file", "name a folder"],
    "--out file/below": ["--out file/below", "cannot be written"],
    "--out other": ["--out other", "no run"],
    "--out other --resume": ["--out other", "no run"],
    "--out torn --resume": ["torn/config.json, line 2"],
    "--out newer --resume": ["newer/config.json", "format 99"],
    "--out bare --resume": ["bare/config.json", "seed"],
    "--out list --resume": ["list/config.json", '"format": 1'],
}
WRONG_ELSEWHERE = {
    "compare --strategies pml,tpe": ["'pml'", "did you mean 'pmpl'"],
    "compare --strategies ,": ["--strategies", "pmpl,random,tpe"],
    "compare --strategies tpe,tpe": ["'tpe' twice"],
    "compare --strategies pmpl:threshold": ["'threshold'", "pmpl:threshold=0.3"],
    "compare --strategies pmpl:treshold=1": ["pmpl.treshold", "pmpl.threshold"],
    "compare --strategies pmpl-masked:select=alpha": ["pmpl-masked", "pmpl.select=alpha"],
    "compare --strategies pmpl,pmpl-one-norm --space pmpl": ["pmpl-one-norm", "paper form"],
    "run --backbone rfnet6 --strategy darts --set pmpl.progressive=true": [
        *("darts has pmpl.progressive=False", "use pmpl"),
    ],
    "compare --seeds 0,0": ["--seeds", "'0,0'"],
    "compare --seeds one": ["--seeds", "0,1,2"],
    "compare --backbone rfnet7": ["'rfnet7'", "did you mean 'rfnet6'"],
    "compare --space single.toml": ["'identity' alone", "two operators"],
    "compare --set pmpl.deadline=pair": ["deadline=pair", "argmax"],
    "compare --budget quik": ["'quik'", "quick, standard, paper"],
    "compare --plan bare/config.json": ["bare/config.json", "no plan of a comparison"],
    "compare --out other": ["--out other", "no comparison"],
    "compare --out bare": ["--out bare", "no comparison"],
    "compare --max-macs many": ["--max-macs", "250M", "'many'"],
    "compare --max-latency 8": ["--max-latency", "8ms", "'8'"],
    "compare --max-params 1k --strategies random --set plan.width=0.25": [
        *("--max-params 1000 cannot be met", "the nearest that can is --max-params"),
    ],
    "run --backbone mine:three": ["mine:three() returned a int", "torch.nn.Module"],
    "run --backbone mine:vectors": ["Linear does not take a batch of images"],
    "run --backbone torchvision:resnet51": ["torchvision has no model", "resnet50"],
    "run --backbone mine:patches": ["no slot at 48×48", "kernel above 1", "1 conv 1×1"],
    "spaces --backbone mine:two": ["'two'", "for model"],
    "nonsense": ["'nonsense'", "--help"],
    "analyze": ["MODEL", "--help"],
    "analyze resnet51": ["no model 'resnet51'", "resnet50", "torchvision:NAME"],
    "analyze torchvision:resnet51": ["torchvision has no model", "resnet50"],
    "analyze no.such:two": ["'no'", "for model 'no.such:two'"],
    "analyze mine:two": ["mine", "'two'", "for model"],
    "analyze mine:fails": ["mine:fails() failed", "boom"],
    "analyze mine:three": ["mine:three() returned", "torch.nn.Module"],
    "analyze mine:branches": ["cannot capture Branches", "mine.py:", "values of the image"],
    "analyze mine:vectors": ["Linear does not take a batch of images"],
    "analyze mine:constant": ["does nothing with its image"],
    "analyze alexnet --image-size 32": ["too small for features.12", "the smallest that runs"],
    "analyze alexnet --image-size 224x": ["'224x'", "224x320"],
    "analyze alexnet --image-size 0": ["at least one pixel"],
    "analyze torchvision:r3d_18": ["no images of 224×224", "depth x height x width"],
    "analyze alexnet --image-size 3x64x64": ["features.0 (Conv2d), given (1, 3, 3, 64, 64)"],
    "analyze alexnet --format yaml": ["unknown format 'yaml'", "table, csv, json, html"],
    "analyze alexnet --out other": ["--out other", "name a file"],
    "analyze alexnet --format html --out other": ["other", "name a file"],
    "analyze alexnet vgg16 resnet18": ["not 3"],
    "analyze alexnet --set recipe.lr=1": ["backbone.stem alone"],
    "analyze alexnet --set backbone.stem=small": ["mobilenetv2, resnet18, rfnet6"],
    "analyze mobilenetv2 --set backbone.stem=large": ["'large'", "published"],
    "analyze alexnet --effective --data digit": ["'digit'", "did you mean 'digits'"],
    "analyze mine:three --pretrained": ["brings its own weights"],
    "export good": ["--format", "--help"],
    "export nowhere --format code": ["no folder nowhere"],
    "export other --format code": ["other", "config.json"],
    "export bare --format code": ["bare", "not finished", "--resume"],
    "export torn --format code": ["torn/config.json, line 2"],
    "export compared --format code": ["a comparison", "compared/cells"],
    "export bare --format onx": ["'onx'", "did you mean 'onnx'", "torch, code, pt2, onnx"],
    "export bare --format code --set recipe.lr=1": ["export.fold_bn, export.merge alone"],
    "export bare --format code --set export.fold_bn=maybe": ["export.fold_bn", "true or false"],
    "export bare --format torch --set export.fold_bn=true": ["fits no network", "code"],
    "analyze other": ["other", "config.json"],
    "analyze bare": ["bare"],
    "analyze runs/none": ["no run folder runs/none"],
    "optimize": ["MODEL", "--help"],
    "optimize resnet18": ["--level", "stage"],
    "optimize resnet18 --level stages": ["unknown level 'stages'", "did you mean 'stage'"],
    "optimize resnet51 --level stage": ["no model 'resnet51'", "resnet50"],
    "optimize resnet18 --level stage --image-size -16": ["'-16'", "224x320"],
    "optimize resnet18 --level stage --image-size 16.5": ["'16.5'", "224x320"],
    "optimize resnet18 --level stage --image-size 0": ["at least one pixel"],
    "optimize resnet18 --level stage --max-macs -3M": ["--max-macs", "'-3M'", "250M"],
    "optimize resnet18 --level stage --max-params some": ["--max-params", "'some'"],
    "optimize vgg11 --level stage --image-size 32 --max-macs 10": ["at most 10 MACs", "smallest"],
    "optimize vgg11 --level stage --image-size 16": ["cannot run on images of 16×16", "takes 32"],
    "optimize vgg11 --level kernel --image-size 32 --max-params 10": ["larger --epsilon"],
    "optimize resnet18 --level kernel --epsilon 1": ["--epsilon", "not 1"],
    "optimize resnet18 --level kernel --epsilon some": ["--epsilon"],
    "optimize resnet18 --level stage --budget quik": ["unknown budget 'quik'", "quick"],
    "optimize resnet18 --level stage --set plan.images=64": ["goes with --retrain"],
    "optimize resnet18 --level stage --retrain --set pmpl.threshold=1": ["plan.retrain_epochs"],
    "optimize resnet18 --level stage --retrain --set plan.retrain_seeds=0": ["1 or more, not 0"],
    "optimize resnet18 --level stage --retrain --data digitz": ["unknown data 'digitz'"],
    "optimize resnet18 --level stage --image-size 16 --retrain --set plan.images=16": [
        "fewer than a batch of 32",
    ],
    "optimize resnet18 --level stage --out other": ["--out other holds other files"],
    "optimize resnet18 --level stage --out bare --resume": ["bare holds a run and no proposal"],
    f"report {'a' * 300}": ["aaa... is a longer name than"],
    f"analyze {'a' * 300}": ["aaa... is a longer name than"],
    f"export {'a' * 300} --format code": ["aaa... is a longer name than"],
    f"run --backbone rfnet6 --out {'a' * 300}": ["aaa... is a longer name than"],
    f"run --backbone rfnet6 --plan {'a' * 300}": ["File name too long"],
    f"run --backbone rfnet6 --space {'a' * 300}.toml": ["File name too long"],
    f"run --backbone rfnet6 --data imagefolder:{'a' * 300}": ["File name too long"],
    "report \x1b[31mred": ["there is no folder \\x1b[31mred"],
    "report": ["RUN", "--help"],
    "report nowhere": ["nowhere"],
    "report file": ["file"],
    "report other": ["other", "config.json"],
    "report bare": ["bare", "not finished", "--resume"],
    "spaces poling": ["'poling'", "did you mean 'pooling'"],
    "spaces name.toml": ["name.toml", "'maxpool'"],
    "spaces pooling other": ["other"],
    "spaces --backbone vgg": ["'vgg'", "mobilenetv2, resnet18, rfnet6"],
    "settings pmpl": ["pmpl"],
}
EVERY_WRONG = {
    **{f"run {words}".strip(): told for words, told in WRONG_OPTIONS.items()},
    **{f"run --backbone mobilenetv2 {words}": told for words, told in WRONG.items()},
    **WRONG_ELSEWHERE,
}


@pytest.mark.parametrize(("words", "told"), EVERY_WRONG.items(), ids=EVERY_WRONG.keys())
def test_a_mistake_is_told(place, words, told):
    found = mistake(*words.split(), folder=place)
    for part in told:
        assert part in found, found


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no folder that nobody can write to")
def test_a_folder_that_cannot_be_made(place):
    found = mistake("run", "--backbone", "mobilenetv2", "--out", "/proc/run", folder=place)
    assert "--out /proc/run cannot be written" in found


def test_a_proposal_is_no_run(tmp_path):
    (tmp_path / "proposal.json").write_text("{}")
    assert "holds a proposal" in mistake("report", tmp_path, folder=tmp_path)


def test_memory_of_a_gpu_that_is_used_up_names_what_to_lower(monkeypatch):
    import torch

    def full(_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has")

    monkeypatch.setattr("rfsearch.engine.whole.whole", full)
    found = invoke("run", "--backbone", "mobilenetv2")
    assert found.exit_code == 2
    for word in ("memory of the GPU", "recipe.batch_size", "pmpl.alpha_batch", "--image-size"):
        assert word in found.stderr
    assert len(found.stderr.splitlines()) == 1


def test_a_folder_that_is_removed_meanwhile_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "rfsearch.reporting.progress.Progress.epoch", lambda *_: shutil.rmtree(tmp_path / "run")
    )
    found = invoke(*tiny(tmp_path / "run"))
    assert found.exit_code == 2, found.output
    assert found.stderr.splitlines()[-1].startswith(
        f"rfsearch: {tmp_path / 'run'} was removed while this process was at work in it"
    )


def test_a_folder_that_may_not_be_written_any_more_is_told(tmp_path, monkeypatch):
    folder = tmp_path / "run"

    def refused(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(folder / "history.jsonl"))

    monkeypatch.setattr("rfsearch.trials.History.append", refused)
    found = invoke(*tiny(folder))
    assert found.exit_code == 2, found.output
    told = found.stderr.splitlines()[-1]
    assert told.startswith(f"rfsearch: cannot write {folder / 'history.jsonl'}: ")
    assert told.endswith("--resume")


def test_debug_shows_where_a_mistake_was_found(place):
    found = invoke("spaces", "poling", "--debug")
    assert isinstance(found.exception, UserError)
    assert found.exit_code == 1
    assert list(place.rglob("*.html")) == []


def test_a_fault_of_ours_is_shown_as_one(monkeypatch):
    def broken(_):
        raise ZeroDivisionError

    monkeypatch.setattr("rfsearch.engine.whole.whole", broken)
    found = invoke("run", "--backbone", "mobilenetv2")
    assert found.exit_code == 1
    assert isinstance(found.exception, ZeroDivisionError)
    assert "not yours" in found.exception.__notes__[0]
