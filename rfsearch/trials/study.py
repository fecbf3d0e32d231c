"""The study of a run: its trials in Optuna's storage, owned by one process.

Requirements and choice. A run must survive ``kill -9`` at any byte, need no server, and be
readable by ``optuna-dashboard``. Optuna's journal file does this with two additions of ours: a
trial enters only when it is finished, so a kill leaves none in the state RUNNING for ever; and
the owner cuts a torn last line before it opens the file, for Optuna reads past it but would then
write its next line onto the torn one, which damages the journal for good. A database URL is taken
in place of the file where a team wants one.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from rfsearch.errors import UserError
from rfsearch.spaces import Architecture, Space
from rfsearch.trials.history import cut_torn_line
from rfsearch.trials.run_folder import replacing
from rfsearch.trials.trial import State, Trial

if TYPE_CHECKING:  # heavy, and needed only once a study is opened
    import optuna
    import pandas as pd

NAME = "rfsearch"

# Our word for the state of a trial → Optuna's.
STATES: dict[State, str] = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}

# What Optuna raises in the middle of a journal that it did not write so.
_DAMAGE = (ValueError, KeyError, TypeError, AttributeError, AssertionError, RecursionError)

# What `trials_frame` always has.
COLUMNS = ["number", "state", "score", "seconds"]


def open_study(where: str | Path, name: str = NAME) -> optuna.Study:
    """The study at a journal's path or a database URL, made where it is missing.

    For the owner alone: what a killed owner left behind (a torn line, a lock) is cleared away.
    """
    if not _is_url(where):
        path = Path(where)
        path.parent.mkdir(parents=True, exist_ok=True)
        cut_torn_line(path)
        _lock(path).unlink(missing_ok=True)
    return _study(where, name, create=True)


def load_study(where: str | Path, name: str = NAME) -> optuna.Study:
    """A study to read from; nothing is written, so its owner may be at work."""
    if not _is_url(where) and not Path(where).is_file():
        raise UserError(f"there is no study {where}")
    return _study(where, name, create=False)


def record(study: optuna.Study, trial: Trial, space: Space, *, pairs: bool = False) -> None:
    """Add a finished trial; one that is there already is left alone, so a resume may repeat it.

    Args:
        study: the owner's.
        trial: with one parameter per slot, the label of what the slot holds.
        space: gives the labels a slot may hold.
        pairs: slots may also hold two operators (``deadline = "pair"``); constant in a study,
            for Optuna wants every trial to have the same parameters.
    """
    import optuna

    with _answering():
        known = _recorded(study, trial.number)
    if known is not None:
        if known.architecture != trial.architecture:
            raise ValueError(f"trial {trial.number} is in the study with another architecture")
        return
    held = trial.architecture.labels
    may_hold = optuna.distributions.CategoricalDistribution(_labels(space, pairs))
    made = optuna.trial.create_trial(
        state=optuna.trial.TrialState[STATES[trial.state]],
        value=trial.score,
        params=dict(held),
        distributions=dict.fromkeys(held, may_hold),
        user_attrs=_attributes(trial),
    )
    with _answering():
        study.add_trial(made)


def read_trials(study: optuna.Study) -> tuple[Trial, ...]:
    """The recorded trials in the order of their numbers."""
    return tuple(trial for _, trial in sorted(_by_number(study).items()))


def trials_frame(study: optuna.Study) -> pd.DataFrame:
    """One row per trial: number, state, score, seconds, what each slot holds, the attributes."""
    import pandas as pd

    rows = [
        {
            "number": trial.number,
            "state": trial.state,
            "score": trial.score,
            "seconds": trial.seconds,
            **trial.architecture.labels,
            **trial.attributes,
        }
        for trial in read_trials(study)
    ]
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=COLUMNS)


def write_trials_csv(study: optuna.Study, path: Path) -> None:
    """`trials_frame` as a file, whole or not at all."""
    with replacing(path) as partial:
        trials_frame(study).to_csv(partial, index=False, lineterminator="\n")


def _study(where: str | Path, name: str, *, create: bool) -> optuna.Study:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it tells of every study and trial
    storage = _database(str(where)) if _is_url(where) else _journal(Path(where))
    with _undamaged(where):
        try:
            return optuna.load_study(study_name=name, storage=storage)
        except KeyError as error:
            if not create:
                raise UserError(f"{where} holds no study {name!r}") from error
            return optuna.create_study(study_name=name, storage=storage, direction="maximize")


@contextmanager
def _undamaged(where: str | Path) -> Iterator[None]:
    """A damaged journal is the user's to restore."""
    try:
        yield
    except _DAMAGE as error:
        if _is_url(where) or isinstance(error, UserError):
            raise
        raise UserError(f"{where} is damaged and must be restored: {error}") from error


def _journal(path: Path) -> optuna.storages.BaseStorage:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    # The default lock is a symbolic link, which not every file system has.
    backend = JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path)))
    with _undamaged(path):
        return JournalStorage(backend)


def _database(url: str) -> optuna.storages.BaseStorage:
    """One that does not answer is told of without its URL, which may hold a password; nor is it
    told with what its library raised, whose own words may hold it too.

    A connection is open while it is used alone: hours pass between two trials.
    """
    from optuna.storages import RDBStorage, get_storage
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.pool import NullPool

    try:
        if url.startswith("redis"):
            return get_storage(url)
        return get_storage(RDBStorage(url, engine_kwargs={"poolclass": NullPool}))
    except (SQLAlchemyError, ImportError, ValueError) as error:
        kind = url.partition("://")[0]
        reason = _without_secrets((str(error).splitlines() or [""])[0], url)
    raise UserError(f"the {kind} storage cannot be opened: {reason}")


def reach(url: str) -> None:
    """A database that can be opened, or a `UserError`."""
    _database(url)


def public(url: str) -> str:
    """A database's kind and place: its URL without user, password and query.

    >>> public("postgresql://anna:secret@db.example:5432/studies?sslpassword=b@c")
    'postgresql://db.example:5432/studies'
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parts = make_url(url)
    except (ArgumentError, ValueError):  # what is wrong is told where it is opened
        return f"{url.partition('://')[0]}://…"
    host = (parts.host or "").rpartition("@")[2]  # of a password with a bare @
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.drivername}://{host}{port}/{parts.database or ''}"


def _without_secrets(text: str, url: str) -> str:
    """The text without the URL's user, password and query, encoded or not, nor parts of them where
    they hold characters that a URL must not; the longest first."""
    authority = url.partition("://")[2].rpartition("@")[0]
    query = url.partition("?")[2]
    pieces = re.split("[:/@&=?]", authority) + re.split("[&=@]", query)
    whole = [url, authority, query, authority.partition(":")[2]]
    secrets = {form for one in (*whole, *pieces) for form in (one, unquote(one))}
    for secret in sorted(secrets - {""}, key=len, reverse=True):
        text = text.replace(secret, "…")
    return text


@contextmanager
def _answering() -> Iterator[None]:
    """A database that answers no more is told of in a line."""
    from optuna.exceptions import StorageInternalError

    try:
        yield
    except StorageInternalError as error:
        first = (str(error.__cause__ or error).splitlines() or [""])[0]
        raise UserError(
            f"the study's database does not answer: {first}; nothing is lost, go on by --resume"
        ) from None


def _lock(journal: Path) -> Path:
    return journal.with_name(f"{journal.name}.lock")


def _is_url(where: str | Path) -> bool:
    return isinstance(where, str) and "://" in where


def _labels(space: Space, pairs: bool) -> list[str]:
    """What a slot may hold; the operators of a pair stand in the order of the space."""
    both = itertools.combinations(space.labels, 2) if pairs else ()
    return [*space.labels, *(" + ".join(pair) for pair in both)]


def _attributes(trial: Trial) -> dict[str, object]:
    """What a trial is beyond Optuna's own fields, checked to be plain JSON."""
    attributes = {
        "number": trial.number,
        "seconds": trial.seconds,
        "architecture": trial.architecture.to_json(),
        "attributes": dict(trial.attributes),
    }
    json.dumps(attributes, allow_nan=False)
    return attributes


def _recorded(study: optuna.Study, number: int) -> Trial | None:
    """The trial of this number alone: to read all, each time that one is added, would make long
    studies slow."""
    trials = study.get_trials(deepcopy=False)
    found = [frozen for frozen in trials if frozen.user_attrs.get("number") == number]
    return _trial(found[-1]) if found else None


def _by_number(study: optuna.Study) -> dict[int, Trial]:
    trials = (_trial(frozen) for frozen in study.get_trials(deepcopy=False))
    return {trial.number: trial for trial in trials}


def _trial(frozen: optuna.trial.FrozenTrial) -> Trial:
    ours: dict[str, State] = {theirs: state for state, theirs in STATES.items()}
    kept = frozen.user_attrs
    try:
        return Trial(
            number=kept["number"],
            architecture=Architecture.from_json(kept["architecture"], f"trial {frozen.number}"),
            score=frozen.value,
            seconds=kept["seconds"],
            state=ours[frozen.state.name],
            attributes=kept["attributes"],
        )
    except KeyError as error:
        raise UserError(
            f"trial {frozen.number} of the study is none of ours: no {error}"
        ) from error
