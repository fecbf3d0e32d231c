"""What the pages and the README tell people to type.

Python is run, page by page from top to bottom; a block that begins with ``# NAME.py`` is also
written to that file first. Commands in `CARRIED_OUT` are carried out, the run with `TINY` behind
it, which makes it small. Of all others the options are read, and ``run`` and ``compare`` settle
them too: every name of a strategy, space or setting must exist. What they would read is not looked
at, networks and data included, and what starts a command several times is passed over. Lines of
other programs must name a file that there is, or are passed over.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
import torch
from typer.main import get_command
from typer.testing import CliRunner

TOP = Path(__file__).parents[2]
PAGES = [TOP / "README.md", *sorted((TOP / "docs").glob("*.md"))]
CARRIED_OUT = {
    "rfsearch settings",
    "rfsearch spaces pooling --backbone rfnet6",
    "rfsearch run --backbone rfnet6 --out runs/tour",
    "rfsearch report runs/tour",
    "rfsearch analyze runs/tour",
    "rfsearch export runs/tour --format code",
    "rfsearch spaces pooling --backbone mynets:network",
}
TINY = {
    "plan.threads": 1, "plan.retrain_processes": 1, "plan.width": 0.25, "plan.warmup_epochs": 1,
    "plan.search_epochs": 1,
    "plan.adapt_epochs": 0, "plan.retrain_epochs": 1, "plan.effective_images": 2,
    "plan.latency_runs": 2, "digits.weights_images": 96, "digits.alpha_images": 64,
    "digits.selection_images": 32, "digits.test_images": 64, "recipe.batch_size": 32,
}  # fmt: skip
SMALLER = [word for key, value in TINY.items() for word in ("--set", f"{key}={value}")]
OTHERS = ("pip", "optuna-dashboard", "pytest")
STARTERS = ("torchrun", "srun")
GIVEN = "import torch; batch = example()"
"""What stands before the README's Python, which speaks of the reader's own things."""


def blocks(page):
    """(language, line, text) of every fenced block."""
    text = page.read_text()
    for match in re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.M | re.S):
        yield match[1], text[: match.start()].count("\n") + 2, match[2]


def commands(text):
    """The commands of a block, without what is said behind them."""
    parts = (part for line in text.splitlines() for part in line.split("&&"))
    return [words for part in parts if (words := shlex.split(part, comments=True))]


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """A reader's folder: files the pages speak of, and expensive verbs that only settle."""
    import rfsearch.engine.config
    from rfsearch.engine import compare_plan, whole

    for page in PAGES:
        for language, _, text in blocks(page):
            if language == "python" and (name := re.match(r"# (\w+\.py)\n", text)):
                (tmp_path / name[1]).write_text(text)
    shutil.copy(TOP / "search_spaces" / "pooling.toml", tmp_path / "mine.toml")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    carry_out = whole.whole

    def only_settled(request):
        rfsearch.engine.config.settle(request)
        return ""

    monkeypatch.setattr(rfsearch.engine.config, "_check_backbone", lambda _: None)
    monkeypatch.setattr(
        whole, "whole",
        lambda request: (carry_out if request.out == Path("runs/tour") else only_settled)(request),
    )  # fmt: skip
    monkeypatch.setattr(whole, "dry", only_settled)
    monkeypatch.setattr("rfsearch.engine.together.launch", lambda *_: 0)
    for verb in ("compare", "dry"):
        monkeypatch.setattr(
            f"rfsearch.engine.compare.{verb}",
            lambda request: str(compare_plan.settle_arms(request)),
        )

    def run(backbone, **options):
        only_settled(rfsearch.engine.config.Request(backbone=backbone, **options))
        return Path("runs/tour")

    monkeypatch.setattr(rfsearch, "run", run, raising=False)
    yield tmp_path
    for name in ("mynets", "mydata"):
        sys.modules.pop(name, None)


def typed(words):
    """A command of a page; what it says, or why it is wrong."""
    from rfsearch.cli import app

    line = shlex.join(words)
    verb, *rest = words[1:]
    if line in CARRIED_OUT or verb in ("run", "compare"):
        more = SMALLER if line in CARRIED_OUT and verb == "run" else []
        told = CliRunner().invoke(app, [verb, *rest, *more])
        assert told.exit_code == 0, f"{line}\n{told.output}{told.exception or ''}"
    else:
        get_command(app).commands[verb].make_context(verb, rest)


def check_shell(text):
    for words in commands(text):
        if words[0] in STARTERS or "=" in words[0]:
            words = words[words.index("rfsearch") :]
        if words[0] == "rfsearch":
            typed(words)
        elif words[0] == "python":
            assert (TOP / words[1]).is_file(), words
        else:
            assert words[0] in OTHERS, f"nobody checks {words}"


def example():
    """Images for the network of the tour."""
    taken = json.loads(Path("runs/tour/architecture.json").read_text())["input"]
    return torch.zeros(2, taken["channels"], *taken["image_size"])


@pytest.mark.slow
def test_what_the_pages_say_can_be_typed(reader):
    tour = TOP / "docs" / "tour.md"
    seen = set()
    for page in [tour, *(page for page in PAGES if page != tour)]:
        names = {"__name__": "page", "example": example}
        if page.parent == TOP:
            exec(GIVEN, names)
        for language, line, text in blocks(page):
            where = f"{page.relative_to(TOP)}, line {line}"
            try:
                if language == "sh":
                    check_shell(text)
                    seen |= {shlex.join(words) for words in commands(text)}
                elif language == "python":
                    exec(compile(text, where, "exec"), names)
            except BaseException as error:
                error.add_note(f"in {where}")
                raise
        if page == tour:
            (reader / "runs" / "NAME").symlink_to("tour")
    assert not CARRIED_OUT - seen, "on no page"


@pytest.mark.usefixtures("reader")
def test_a_mistake_on_a_page_is_seen():
    for wrong in (
        "run --backbone rfnet6 --budgt quick",
        "run --backbone rfnet6 --space poling",
        "run --backbone rfnet6 --set pmpl.treshold=1",
        "compare --strategies pmpll",
    ):
        with pytest.raises(AssertionError):
            check_shell(f"rfsearch {wrong}")
    for wrong in ("python docs/examples/none.py", "curl https://example.org"):
        with pytest.raises(AssertionError):
            check_shell(wrong)
    with pytest.raises(Exception, match="No such option"):
        check_shell("rfsearch export runs/NAME --fromat code")


every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@every_page
def test_no_block_is_overlooked(page):
    """Such as one that is indented; a drawing has no language."""
    fences = re.findall(r"^ *```(.*)", page.read_text(), re.M)
    assert set(fences[1::2]) <= {""}
    named = list(filter(None, fences[::2]))
    assert named == [language for language, _, _ in blocks(page)]
    assert set(named) <= {"sh", "python"}


@every_page
def test_links_lead_somewhere(page):
    for target, part in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", page.read_text()):
        if "://" not in target:
            other = page.parent / target if target else page
            assert other.exists(), target
            assert not part or part in anchors(other), f"{target}#{part}"


def anchors(page):
    """What its headings are linked by."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}
