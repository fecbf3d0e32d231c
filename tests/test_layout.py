"""The house stays as it is drawn: what lies at the top, and what an import costs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]

ENTRIES = {
    *(".ci", ".gitignore", "CONTRIBUTING.md", "LICENSE", "README.md", "pyproject.toml"),
    *("benchmarks", "docs", "reports", "rfsearch", "search_spaces", "tests"),
}


def test_top_level_entries():
    if not (TOP / ".git").exists():
        pytest.skip("no git clone, so nothing tells our files from others")
    command = ["git", "ls-files", "-z"]
    told = subprocess.run(command, cwd=TOP, check=True, capture_output=True, text=True).stdout
    found = {Path(name).parts[0] for name in told.split("\0") if name}
    assert found <= ENTRIES, f"no place for {sorted(found - ENTRIES)} at the top"


def test_no_room_without_a_name():
    rooms = {path.stem for path in (TOP / "rfsearch").rglob("*")}
    assert not rooms & {"utils", "util", "common", "core", "helpers", "misc"}


HEAVY = ("torch", "torchvision", "optuna", "nni", "plotly", "pandas", "ray", "timm", "sklearn")


@pytest.mark.parametrize("module", ["rfsearch", "rfsearch.spaces", "rfsearch.trials"])
def test_importing_brings_nothing_heavy(module):
    script = f"import json, sys, {module}; print(json.dumps(list(sys.modules)))"
    command = [sys.executable, "-c", script]
    told = subprocess.run(command, cwd=TOP, check=True, capture_output=True, text=True).stdout
    assert not set(HEAVY) & set(json.loads(told))
