"""Where the study of a run is kept: the journal in its folder, or a database of a team.

A database's URL holds a user and a password, so it is written nowhere and shown nowhere: the run
folder keeps the kind of database, its place, and the name of the study (``storage.json``).
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rfsearch.errors import UserError
from rfsearch.trials.run_folder import RunFolder, read_json, write_json
from rfsearch.trials.study import load_study, open_study, public, reach

if TYPE_CHECKING:
    import optuna

FILE = "storage.json"


@dataclass(frozen=True)
class Kept:
    """A study by its name, in the database at a URL or in the journal at a path."""

    where: str | Path = field(repr=False)
    study: str

    def open(self) -> optuna.Study:
        """To write to, for its owner; made where it is missing."""
        return open_study(self.where, self.study)

    def load(self) -> optuna.Study:
        """To read from."""
        return load_study(self.where, self.study)

    def reach(self) -> None:
        """Open the database and leave it as it is, or a `UserError`."""
        reach(str(self.where))

    def of_cell(self, cell: str, folder: RunFolder) -> Kept:
        """The study of one cell of a comparison: of its own name in the same database, or the
        journal in its folder."""
        if isinstance(self.where, Path):
            return Kept(folder.study, self.study)
        return replace(self, study=f"{self.study}/{cell}")

    def __str__(self) -> str:
        place = self.where.name if isinstance(self.where, Path) else public(self.where)
        return f"study {self.study} in {place}"


def journal(folder: RunFolder) -> Kept:
    """The study in the folder."""
    return Kept(folder.study, "rfsearch")


def kept(folder: RunFolder, url: str | None) -> Kept:
    """Where the study of a folder is, begun or not.

    Args:
        url: as it was given; it must lead to where the folder says that its study is.
    """
    path = folder.path / FILE
    if not path.exists():
        return journal(folder) if url is None else _checked(folder, url)
    record = read_json(path)
    if url is None or public(url) != record["storage"]:
        where = f"not in {public(url)}; give" if url else "which is to be given"
        raise UserError(
            f"{folder.path} keeps its study in {record['storage']}, {where} by --storage or "
            "RFSEARCH_STORAGE"
        )
    return Kept(url, str(record["study"]))


def keep(folder: RunFolder, url: str | None) -> Kept:
    """The same for a folder that is begun now: in a database its study has a name of its own."""
    found = kept(folder, url)
    if url is not None and not (folder.path / FILE).exists():
        name = f"rfsearch-{folder.path.name}-{secrets.token_hex(4)}"
        write_json(folder.path / FILE, {"storage": public(url), "study": name})
        found = Kept(url, name)
    return found


def _checked(folder: RunFolder, url: str) -> Kept:
    """A database that answers; its study is named when the folder is made."""
    if "://" not in url:
        raise UserError(
            "--storage takes the URL of a database, as in postgresql://USER:PASSWORD@HOST/NAME"
        )
    if folder.study.exists() or (folder.path / "cells").exists():
        raise UserError(
            f"{folder.path} was begun with its study in the folder; leave out --storage, or name "
            "another folder by --out"
        )
    return Kept(url, "rfsearch")
