"""What a file from somebody else may do: be read, or be refused. Nothing in it is run."""

from __future__ import annotations

import ast
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import rfsearch
from rfsearch import data
from rfsearch.engine.export import subject_of
from rfsearch.engine.run import load
from rfsearch.errors import UserError
from rfsearch.reporting import rewrite_report, template
from rfsearch.training import checkpoint
from rfsearch.trials import History, load_study, open_study, read_json

TOP = Path(rfsearch.__file__).parent
SOURCES = sorted(TOP.rglob("*.py"))


class Trap:
    """A pickle that makes a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def by_torch(file, trap):
    torch.save({"weights": trap}, file)


def by_torch_of_old(file, trap):
    torch.save({"weights": trap}, file, _use_new_zipfile_serialization=False)


def by_pickle(file, trap):
    file.write_bytes(pickle.dumps({"weights": trap}))


def by_numpy(file, trap):
    with file.open("wb") as open_:
        np.save(open_, np.array([trap], object), allow_pickle=True)


WRITERS = (by_torch, by_torch_of_old, by_pickle, by_numpy)


def of_arrays(folder):
    (folder / "images.csv").write_text(
        "path,label\n" + "".join(f"file.npy,{k % 2}\n" for k in range(12))
    )
    return data.load(f"csv:{folder / 'images.csv'}")


def of_images(folder):
    for label in "ab":
        (folder / "photos" / label).mkdir(parents=True)
        for k in range(6):
            (folder / "photos" / label / f"{k}.png").write_bytes((folder / "file").read_bytes())
    return data.load(f"imagefolder:{folder / 'photos'}")


def of_cifar(folder):
    place = folder / "cifar-10-batches-py"
    place.mkdir()
    names = [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch", "batches.meta"]
    for name in names:
        (place / name).write_bytes((folder / "file").read_bytes())
    return data.load(f"cifar10:{folder}")


def of_sheets(folder):
    (folder / "train_000.webp").write_bytes((folder / "file").read_bytes())
    (folder / "train_labels.npy").write_bytes((folder / "file").read_bytes())
    return data.load(f"cifar10:{folder}")


def of_fashion(folder):
    place = folder / "FashionMNIST" / "processed"
    place.mkdir(parents=True)
    for name in ("training.pt", "test.pt"):
        (place / name).write_bytes((folder / "file").read_bytes())
    return data.load(f"fashionmnist:{folder}")


def of_run(folder):
    """A run folder in which every file is such a one but config.json."""
    (folder / "config.json").write_text('{"format": 1}')
    for name in ("architecture.json", "metrics.json", "history.jsonl", "model.safetensors"):
        (folder / name).write_bytes((folder / "file").read_bytes())
    for read in (load, subject_of, rewrite_report):
        with pytest.raises(UserError):
            read(folder)
    raise UserError("all three refuse it")


READERS = {
    "checkpoint": lambda folder: checkpoint.load(folder / "file"),
    "weights": lambda folder: checkpoint.load_weights(folder / "file", nn.Linear(1, 1)),
    "study": lambda folder: open_study(folder / "file"),
    "study to read": lambda folder: load_study(folder / "file"),
    "record": lambda folder: read_json(folder / "file"),
    "history": lambda folder: History(folder / "file").read() or read_json(folder / "file"),
    "arrays": of_arrays,
    "images": of_images,
    "cifar10": of_cifar,
    "cifar10 as sheets": of_sheets,
    "fashionmnist": of_fashion,
    "run": of_run,
}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("reader", READERS)
def test_a_pickle_is_not_run(reader, writer, tmp_path):
    """Under every name under which a file is read; and the trap works where it is unpickled."""
    trap = tmp_path / "sprung"
    writer(tmp_path / "file", Trap(trap))
    (tmp_path / "file.npy").write_bytes((tmp_path / "file").read_bytes())
    with pytest.raises(UserError):
        READERS[reader](tmp_path)
    assert not trap.exists()


@pytest.mark.parametrize("writer", WRITERS)
def test_the_trap_works(writer, tmp_path):
    trap = tmp_path / "sprung"
    writer(tmp_path / "file", Trap(trap))
    if writer is by_numpy:
        np.load(tmp_path / "file", allow_pickle=True)
    elif writer is by_pickle:
        pickle.loads((tmp_path / "file").read_bytes())
    else:
        torch.load(tmp_path / "file", weights_only=False)
    assert trap.exists()


RUNS_CODE = {
    "data/factory.py": "import_module",  # package.module:factory, the one place for user's code
    "exporting/source.py": "exec",  # what it has just written itself, to try it
}
"""File → what it alone may call."""


WATCHED = {"load", "open", "exec", "eval", "import_module", "__import__"}
LEFT_OUT = {
    *("pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle"),
    *("requests", "urllib.request", "http", "socket", "ftplib"),
}
SUSPECT = re.compile(
    r"(torch|np|numpy)\.load|Image\.open|import_module|__import__|(?<![.\w])(eval|exec)\(|"
    r"(import|from) urllib|" + "|".join(f"(import|from) {name}" for name in LEFT_OUT)
)
"""Modules without any of these are not looked at more closely, which takes time."""


def called(tree):
    """Name of the function, and the call, of every call of a name that is watched."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            last = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if last in WATCHED:
                yield ast.unparse(node.func), node


def imported(tree):
    """The modules that a module names, and their packages."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            yield from (name, name.split(".")[0])


def test_no_load_path_unpickles():
    """Every call that could is told not to; nothing else that runs code is called at all."""
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        if not SUSPECT.search(text):
            continue
        tree = ast.parse(text)
        name = path.relative_to(TOP).as_posix()
        for function, call in called(tree):
            told = {one.arg: ast.unparse(one.value) for one in call.keywords}
            where = (name, call.lineno)
            if function == "torch.load":
                assert told.get("weights_only") == "True", where
            elif function in ("np.load", "numpy.load"):
                assert told.get("allow_pickle") == "False", where
            elif function == "Image.open":
                assert "formats" in told, where
            elif function in ("exec", "eval", "import_module", "__import__"):
                assert RUNS_CODE.get(name) == function, where
        assert not LEFT_OUT & set(imported(tree)), name


def test_templates_escape_all_they_are_given():
    """Autoescape is on for each; two things are put in as they are: our JSON and our own files."""
    folder = Path(template.__file__).parent
    trusted = {("macros.html", "chart.spec|safe")}
    for path in folder.glob("*.html"):
        text = path.read_text(encoding="utf-8")
        found = {
            (path.name, part.split("}}")[0].strip())
            for part in text.split("{{")
            if "|safe" in part.split("}}")[0]
        }
        assert found <= trusted, path.name
        assert "autoescape" not in text
    assert template.template("base.html").environment.autoescape is True
    assert template.inline_json({"</script>": "<!--"}) == '{"\\u003c/script>":"\\u003c!--"}'


def test_pages_ask_nobody_for_anything():
    folder = Path(template.__file__).parent
    for path in [*folder.glob("*.html"), *folder.glob("*.css"), *folder.glob("*.js")]:
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        for word in (
            "http:",
            "https:",
            "url(",
            "@import",
            "fetch(",
            "XMLHttp",
            "innerHTML",
            "src=",
        ):
            assert word not in text, (path.name, word)
    base = (folder / "base.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in base
