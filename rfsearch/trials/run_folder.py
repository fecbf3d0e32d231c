"""The folder of one run: what its files are called, and writing them whole or not at all.

A file is written beside its place, brought to disk and then renamed into it. A process that is
killed leaves the old file or the new one, never a part; what remains beside it (``*.partial``) is
overwritten by the next write. ``history.jsonl`` and ``study.journal`` grow by lines instead: see
`rfsearch.trials.history`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rfsearch.errors import UserError

FORMAT = 1


@dataclass(frozen=True)
class RunFolder:
    """The files of a run by what they hold; none of them needs to exist yet."""

    path: Path

    @classmethod
    def existing(cls, path: str | Path) -> RunFolder:
        """The folder of a run that was begun, or a `UserError`."""
        folder = cls(Path(path))
        if not folder.path.is_dir():
            raise UserError(f"there is no folder {path}")
        if not folder.config.is_file():
            raise UserError(f"{path} is no run folder: it holds no {folder.config.name}")
        return folder

    def check_there(self) -> None:
        """A `UserError` where the folder was removed since it was begun: who then wrote on would
        make parts of it anew, hours long, which nothing can be made of."""
        if not self.config.exists():
            raise UserError(
                f"{self.path} was removed while this process was at work in it; begin again, "
                "or restore it and go on by --resume"
            )

    @property
    def config(self) -> Path:
        """Every setting resolved, the plan and their hash."""
        return self.path / "config.json"

    @property
    def environment(self) -> Path:
        """Versions, hardware, commit, data hash."""
        return self.path / "environment.json"

    @property
    def study(self) -> Path:
        """The Optuna study."""
        return self.path / "study.journal"

    @property
    def trials(self) -> Path:
        """One row per trial."""
        return self.path / "trials.csv"

    @property
    def history(self) -> Path:
        """One line per epoch."""
        return self.path / "history.jsonl"

    @property
    def architecture(self) -> Path:
        """The found architecture."""
        return self.path / "architecture.json"

    @property
    def layers(self) -> Path:
        """One row per call of a layer of the found network."""
        return self.path / "layers.csv"

    @property
    def plain_layers(self) -> Path:
        """The same of the plain backbone."""
        return self.path / "layers_plain.csv"

    @property
    def metrics(self) -> Path:
        """What the networks reach and cost."""
        return self.path / "metrics.json"

    @property
    def predictions(self) -> Path:
        """The predicted class of every test image by every network."""
        return self.path / "predictions.csv"

    @property
    def checkpoint(self) -> Path:
        """A folder with everything needed to go on bit for bit."""
        return self.path / "checkpoint"

    @property
    def weights(self) -> Path:
        """The retrained network."""
        return self.path / "model.safetensors"

    @property
    def plain_weights(self) -> Path:
        """The plain backbone."""
        return self.path / "plain.safetensors"

    @property
    def report(self) -> Path:
        """The page."""
        return self.path / "report.html"

    @property
    def export(self) -> Path:
        """A folder for exported networks."""
        return self.path / "export"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to; when the block ends well, its file takes the place of ``path``.

    The folder is made where it is missing. After an error ``path`` is as it was.

    Raises:
        UserError: ``path`` is a folder.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder, and a file of this name belongs there; move it away")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    try:
        yield partial
        _to_disk(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    _to_disk(path.parent)


def contents(folder: Path, only: Collection[str] | None = None) -> dict[str, bytes]:
    """The files of a folder by their names from there, or those that are of ``only`` or in a
    folder of it; of none, nothing."""
    files = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()]
    taken = (name for name in files if only is None or name.parts[0] in only)
    return {str(name): (folder / name).read_bytes() for name in taken}


def write_contents(folder: Path, files: dict[str, bytes]) -> None:
    """Each file whole; metrics.json, which says that a cell is done, last."""
    for name in sorted(files, key=lambda name: (name == "metrics.json", name)):
        with replacing(folder / name) as partial:
            partial.write_bytes(files[name])


def write_json(path: Path, record: Mapping[str, object]) -> None:
    """Write a record whole or not at all; ``"format"`` comes first, and NaN is refused."""
    text = json.dumps({"format": FORMAT, **record}, indent=2, allow_nan=False) + "\n"
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """The record of a file of the run folder, its format checked."""
    try:
        record = parsed(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"there is no file {path}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {error.lineno} is no JSON: {error.msg}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no JSON: it must be text in UTF-8") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; deep nesting
        raise UserError(f"{path} is JSON that cannot be read: {error}") from error
    found = record.get("format") if isinstance(record, dict) else None
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise UserError(f'{path} is none of ours: it must be a table with "format": {FORMAT}')
    if found > FORMAT:
        raise UserError(f"{path} has format {found}; this version reads up to {FORMAT}")
    return dict(record)


def parsed(text: str | bytes) -> Any:
    """What JSON says. Python would also read NaN and Infinity, which no file of a run holds.

    Raises:
        ValueError, RecursionError: it is none, or none that can be read.
    """
    return json.loads(text, parse_constant=_no_number)


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no number of JSON")


def _to_disk(path: Path) -> None:
    """Bring a file, or a folder's list of names, to disk."""
    if path.is_dir() and os.name == "nt":  # Windows opens no folders, and keeps names in order
        return
    handle = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
