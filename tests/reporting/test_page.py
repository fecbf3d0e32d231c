"""The page: whole, offline, escaped, and readable without its charts."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from rfsearch.errors import UserError
from rfsearch.reporting import colours, figures, page, write_report
from rfsearch.reporting.records import read

HOSTILE = (
    '</script><script>alert("x")</script><img src=http://evil.example/x onerror=alert(1)>&"\''
)


class Page(HTMLParser):
    """Elements, links and text of a page; scripts and styles are kept apart."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.words, self.headings = [], [], []
        self._open = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._open = tag
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))

    def handle_endtag(self, tag):
        self._open = None if tag == self._open else self._open

    def handle_data(self, data):
        if self._open not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


ABSENT = Path("absent.csv")


@pytest.fixture(autouse=True, scope="module")
def short_plotly():
    """Pages without the five megabytes of plotly.js, which is slow to parse."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "script", lambda: "/* plotly */")
        yield


def parsed(folder, curves=ABSENT):
    return Page(page.render(read(folder), curves))


@pytest.fixture(scope="module")
def text(usual_run):
    """The page of a run with nothing unusual, which takes a second to make."""
    return page.render(read(usual_run), ABSENT)


@pytest.fixture(scope="module")
def usual(text):
    return Page(text)


@pytest.fixture(scope="module")
def with_null(usual_run, usual_null):
    return parsed(usual_run, usual_null)


def test_page_asks_the_network_for_nothing(usual):
    for tag, attributes in usual.elements:
        assert tag not in ("link", "iframe", "img", "object", "embed", "base", "form"), tag
        assert "src" not in attributes
        assert attributes.get("href", "#").startswith("#")
    (policy,) = [a["content"] for a in usual.all("meta") if a.get("http-equiv")]
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    style = colours.style_sheet() + Path(page.__file__).with_name("page.css").read_text()
    assert "url(" not in style
    assert "@import" not in style


def test_verdict_comes_first(make_run):
    found = parsed(make_run(found=(0.88,), plain=(0.90,), interval=(-0.035, -0.005)))
    main = found.text.index("The found network is worse here, 2.0 points below the plain one")
    assert main < 200  # after the title, the skip link and the brand
    assert "One seed" in found.text


def test_hostile_strings_stay_text(make_run, usual):
    operators = ["identity", HOSTILE, "max 5", "max 7", "avg 3", "avg 5", "avg 7"]
    folder = make_run(
        classes=(HOSTILE, *"123456789"),
        data=f"imagefolder:{HOSTILE}",
        hash=HOSTILE,
        operators=operators,
    )
    history = (folder / "history.jsonl").read_text()
    (folder / "history.jsonl").write_text(history.replace('"max 3"', json.dumps(HOSTILE)))
    environment = json.loads((folder / "environment.json").read_text())
    environment |= {"cpu": HOSTILE, "versions": {HOSTILE: HOSTILE}}
    (folder / "environment.json").write_text(json.dumps(environment))
    clean = [tag for tag, _ in usual.elements]
    found = parsed(folder)
    assert not found.all("img")
    assert [tag for tag, _ in found.elements].count("script") == clean.count("script")
    assert HOSTILE in "".join(found.words)


def test_hostile_slot_names_and_folder(tmp_path, make_run):
    folder = make_run("<b>&run")
    for name in ("architecture.json", "history.jsonl", "layers.csv", "layers_plain.csv"):
        text = (folder / name).read_text().replace("features.5.conv", "features.<i>5</i>.conv")
        (folder / name).write_text(text)
    found = parsed(folder)
    assert "<b>&run" in "".join(found.words)
    assert len(found.all("b")) == 1  # the brand
    assert tmp_path.exists()


def test_structure(with_null):
    found = with_null
    assert found.headings[0] == 1
    assert found.headings.count(1) == 1
    steps = zip(found.headings, found.headings[1:], strict=False)
    assert all(later <= earlier + 1 for earlier, later in steps)
    ids = [a["id"] for _, a in found.elements if "id" in a]
    assert len(ids) == len(set(ids))
    anchors = [a["href"][1:] for a in found.all("a")]
    assert set(anchors) <= set(ids)
    tags = [tag for tag, _ in found.elements]
    assert tags.count("caption") == tags.count("table") > 10
    assert all("scope" in a for a in found.all("th"))
    assert found.all("html")[0]["lang"] == "en"


def test_every_chart_has_words_and_numbers(with_null):
    found = with_null
    charts = [a for _, a in found.elements if a.get("class") == "chart"]
    assert len(charts) == 16 + 7
    assert all(a["role"] == "img" and len(a["aria-label"]) > 30 for a in charts)
    specs = [a for a in found.all("script") if a.get("class") == "spec"]
    assert len(specs) == len(charts)


def test_every_setting_and_version_is_on_the_page(usual_run, usual):
    text = usual.text
    config = json.loads((usual_run / "config.json").read_text())
    environment = json.loads((usual_run / "environment.json").read_text())
    for name in [*config["settings"], *config["plan"], *environment["versions"]]:
        assert name in text
    for value in (
        config["hash"],
        environment["data_hash"],
        environment["split_hash"],
        "width 0.5",
    ):
        assert value in text


def test_numbers_of_the_slot_table(usual):
    text = usual.text
    assert "slot operator kernel stride map before after before after before after" in text
    assert "2 max 3 3 2 16 11 19" in text


def test_null_curve_or_its_absence_is_said(usual, with_null):
    without = usual.text
    assert "No null curve is known for budget quick, backbone mobilenetv2" in without
    known = with_null.text
    assert "three seeds, 16 slots, 5 to 95 %" in known
    assert "No null curve" not in known


def test_a_changed_budget_is_said_and_has_no_null_curve(make_run, make_null):
    changed = parsed(make_run(changed=["plan.images=300"]), make_null()).text
    assert "plan.images=300" in changed
    assert "No null curve is known for budget quick with changes" in changed


def test_a_run_without_alpha_says_so(make_run):
    folder = make_run(strategy="random")
    lines = (folder / "history.jsonl").read_text().splitlines(keepends=True)
    kept = [line for line in lines if '"search"' not in line]
    (folder / "history.jsonl").write_text("".join(kept))
    text = parsed(folder).text
    assert "its strategy (random) leaves none" in text


def test_trials_are_shown_best_first(make_run, with_trials):
    usual, found = make_run("usual"), with_trials(make_run("tried"), 25)
    assert "Scores of trials" not in parsed(usual).text
    text = parsed(found).text
    assert "25 networks were each trained for four epochs on up to 1000 images" in text
    assert "its strategy" not in text
    assert "The 20 of 25 trials with the highest scores; failed: 1." in text
    table = text[text.index("The 20 of 25") :]
    first = table.index("23 73.0 % 1.5")  # of 50 + number; the last one failed
    assert first < table.index("22 72.0 % 1.5") < table.index("4 54.0 % 1.5")
    assert "3 53.0 % 1.5" not in table
    assert "found in its trial" in text
    assert "adapted in supernet" not in text
    assert "Loss during the search" not in text


def test_networks_scored_by_a_supernet_are_no_trainings(make_run, with_trials):
    text = parsed(with_trials(make_run(), 3, stage="scored")).text
    assert "Three networks were scored on the selection split with the weights of the" in text
    assert "The 2 of 3 trials with the highest scores; failed: 1." in text
    assert "adapted in supernet" in text


def test_no_predictions_no_classes(make_run):
    folder = make_run()
    (folder / "predictions.csv").unlink()
    assert "Accuracy by class" not in parsed(folder).text


def test_failure_modes_are_on_the_page(make_run):
    text = parsed(make_run(chosen=(0,) * 16)).text
    assert "Collapse to one operator: all 16 slots hold identity." in text


def test_no_permission_to_write(make_run, monkeypatch):
    folder = make_run()

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(UserError, match="Permission denied"):
        write_report(folder)


def test_same_folder_same_page(usual_run, text):
    assert page.render(read(usual_run), ABSENT) == text


def test_interval_picture_is_symmetric_about_zero(make_run):
    scale = page.scale(read(make_run(interval=(-0.02, 0.06))).difference)
    assert scale.zero == 0.5
    assert 0 < scale.low < 0.5 < scale.value < scale.high < 1


def test_a_page_is_made_again_without_torch(make_run):
    code = (
        "import sys\nfrom rfsearch.reporting import rewrite_report\nrewrite_report(sys.argv[1])\n"
        "sys.exit(', '.join({'torch', 'sklearn', 'scipy', 'optuna'} & {*sys.modules}) or 0)"
    )
    folder = make_run()
    done = subprocess.run(
        [sys.executable, "-c", code, folder], stderr=subprocess.PIPE, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert (folder / "report.html").exists()
