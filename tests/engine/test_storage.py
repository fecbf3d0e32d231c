"""A study in a database: a real PostgreSQL server on loopback, and a password that is nowhere."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import quote

import pytest
from typer.testing import CliRunner

from rfsearch.cli import app
from rfsearch.errors import UserError
from rfsearch.trials import History, RunFolder, keep, kept, load_study
from rfsearch.trials.study import public

USER, PASSWORD = "studious", "hush/hush:9@9%"
TINY = {
    "plan.threads": 1,
    "plan.width": 0.25,
    "plan.trials": 3,
    "plan.proxy_epochs": 1,
    "plan.proxy_images": 32,
    "plan.retrain_epochs": 1,
    "plan.effective_images": 2,
    "plan.latency_runs": 2,
    "digits.weights_images": 64,
    "digits.alpha_images": 32,
    "digits.selection_images": 32,
    "digits.test_images": 32,
    "recipe.batch_size": 32,
    "pmpl.alpha_batch": 32,
}


def words(out, *more):
    settings = [word for key, value in TINY.items() for word in ("--set", f"{key}={value}")]
    return ["run", "--backbone", "rfnet6", "--strategy", "random", "--image-size", "16",
            "--out", str(out), "--device", "cpu", *settings, *more]  # fmt: skip


def program(name):
    """A program of the server, which Debian does not put on the path."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(found[-1]) if found else None)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="module")
def server():
    """The URL of a database of a server that this test starts, its password encoded; the server
    does not run as root."""
    if not (program("initdb") and program("postgres")):
        pytest.skip("PostgreSQL is not installed: apt install postgresql")
    pytest.importorskip(
        "psycopg", reason="psycopg is not installed: pip install 'psycopg[binary]'"
    )
    place = Path(tempfile.mkdtemp(prefix="rfsearch-pg-"))
    user = {"user": "postgres", "cwd": "/"} if os.geteuid() == 0 else {"cwd": "/"}
    if "user" in user:
        shutil.chown(place, "postgres")
    (place / "password").write_text(PASSWORD)
    (place / "password").chmod(0o644)
    port, data = free_port(), place / "data"
    made = [program("initdb"), "-D", str(data), "-U", USER, "-A", "scram-sha-256",
            f"--pwfile={place / 'password'}", "--no-sync"]  # fmt: skip
    subprocess.run(made, check=True, capture_output=True, **user)
    serve = [program("postgres"), "-D", str(data), "-p", str(port), "-h", "127.0.0.1",
             "-k", str(place), "-c", "fsync=off"]  # fmt: skip
    with (place / "log").open("w") as log:
        process = subprocess.Popen(serve, stdout=log, stderr=log, **user)
    url = f"postgresql://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/postgres"
    try:
        wait_for(url)
        yield url
    finally:
        process.send_signal(signal.SIGINT)  # at once, whoever is connected
        process.wait(30)
        shutil.rmtree(place, ignore_errors=True)


def wait_for(url):
    import time

    import psycopg

    for _ in range(300):
        try:
            psycopg.connect(url).close()
            return
        except psycopg.OperationalError:
            time.sleep(0.1)
    raise AssertionError("the server does not answer")


def invoke(monkeypatch, *arguments):
    """What the command line prints, and its exit code."""
    monkeypatch.setattr(sys, "argv", ["rfsearch", *arguments])
    done = CliRunner().invoke(app, list(arguments))
    return done.output + done.stderr, done.exit_code


def secret_in(text):
    """Whether the text holds the password, encoded or not, or the user."""
    return any(word in text for word in (PASSWORD, quote(PASSWORD, safe=""), USER))


@pytest.mark.slow
def test_a_study_in_postgresql_stopped_and_resumed_and_no_secret_left(
    server, tmp_path, monkeypatch
):
    folder, told = tmp_path / "run", []
    real = History.append

    def stopping(self, record):
        if record.get("epoch") == 2:
            raise KeyboardInterrupt
        real(self, record)

    with monkeypatch.context() as patch:
        patch.setattr(History, "append", stopping)
        output, code = invoke(monkeypatch, *words(folder, "--storage", server))
    told.append(output)
    assert code == 130
    assert "--storage URL --resume" in output

    output, code = invoke(monkeypatch, *words(folder, "--resume"))
    told.append(output)
    assert code == 2
    assert "keeps its study in postgresql://127.0.0.1:" in output
    assert "--storage or RFSEARCH_STORAGE" in output

    wrong = server.replace(quote(PASSWORD, safe=""), quote(f"{PASSWORD}x", safe=""))
    output, code = invoke(monkeypatch, *words(folder, "--resume", "--storage", wrong))
    told.append(output)
    assert code == 2
    assert "the postgresql storage cannot be opened" in output

    monkeypatch.setenv("RFSEARCH_STORAGE", server)
    output, code = invoke(monkeypatch, *words(folder, "--resume"))
    told.append(output)
    assert code == 0, output
    assert "in postgresql://127.0.0.1:" in output

    name = json.loads((folder / "storage.json").read_text())["study"]
    study = load_study(server, name)
    assert [trial.user_attrs["number"] for trial in study.trials] == [0, 1, 2]
    assert study.best_value is not None
    assert not (folder / "study.journal").exists()
    assert len((folder / "trials.csv").read_text().splitlines()) == 4
    for text in told:
        assert not secret_in(text)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {"config.json", "report.html", "trials.csv", "storage.json"} < {p.name for p in files}
    for path in files:
        assert not secret_in(path.read_bytes().decode("latin-1")), path


HOSTILE = (
    "postgresql://anna:s3cret@127.0.0.1:1/studies",
    "postgresql://anna:s3cret@host:notaport/studies",
    "postgresql://anna:s3/cret@ho:st/studies",
    "postgresql://anna:s3%2Fcret@127.0.0.1:1/studies?sslpassword=s3cret",
    "oracl://anna:s3cret@host/name",
    "postgresql://anna:x@s3cret@127.0.0.1:1/studies",  # the host that is looked for has a part
)


@pytest.mark.parametrize("url", HOSTILE)
def test_a_database_that_cannot_be_opened_keeps_its_secrets(url, tmp_path, monkeypatch):
    output, code = invoke(monkeypatch, *words(tmp_path / "run", "--storage", url))
    assert code == 2
    assert "storage cannot be opened" in output
    assert "s3" not in output
    assert "anna" not in output
    assert not (tmp_path / "run").exists()


def test_what_is_shown_of_a_url():
    assert public(HOSTILE[3]) == "postgresql://127.0.0.1:1/studies"
    assert public("mysql://a:b@c@db:3306/x") == "mysql://db:3306/x"
    assert public("postgresql://db/x?password=a@b") == "postgresql://db/x"
    assert public("postgresql://a:b@db:port/x") == "postgresql://…"
    assert public("sqlite:////tmp/a.db") == "sqlite:////tmp/a.db"


def test_a_study_stays_where_it_was_begun(tmp_path):
    url = f"sqlite:///{tmp_path}/team.db"
    one, other = RunFolder(tmp_path / "one"), RunFolder(tmp_path / "other")
    first = keep(one, url)
    assert first.study.startswith("rfsearch-one-")
    assert keep(one, url) == first
    assert keep(other, url).study != first.study, "of one database"
    assert first.of_cell("plain-0", other).study == f"{first.study}/plain-0"
    assert url not in repr(first)
    with pytest.raises(UserError, match=r"keeps its study in sqlite:.*which is to be given"):
        kept(one, None)
    with pytest.raises(UserError, match=r"keeps its study in sqlite:.*not in sqlite:///else"):
        kept(one, "sqlite:///else.db")
    with pytest.raises(UserError, match="--storage takes the URL of a database"):
        keep(RunFolder(tmp_path / "third"), "team.db")
    journal = RunFolder(tmp_path / "journal")
    journal.path.mkdir()
    assert keep(journal, None).where == journal.study
    journal.study.touch()
    with pytest.raises(UserError, match="leave out --storage"):
        keep(journal, url)
