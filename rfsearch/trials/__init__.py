"""What happened in a run, in storage: the study of its trials, its history, its folder.

Reading and writing only; nothing here runs anything, so that a report can be made from the
folder alone. Optuna and pandas are imported by the functions that need them, when called.
"""

from rfsearch.trials.claim import Claim
from rfsearch.trials.history import History
from rfsearch.trials.run_folder import (
    RunFolder,
    contents,
    read_json,
    replacing,
    write_contents,
    write_json,
)
from rfsearch.trials.storage import Kept, journal, keep, kept
from rfsearch.trials.study import (
    load_study,
    open_study,
    read_trials,
    record,
    trials_frame,
    write_trials_csv,
)
from rfsearch.trials.trial import Trial

__all__ = [
    "Claim",
    "History",
    "Kept",
    "RunFolder",
    "Trial",
    "contents",
    "journal",
    "keep",
    "kept",
    "load_study",
    "open_study",
    "read_json",
    "read_trials",
    "record",
    "replacing",
    "trials_frame",
    "write_contents",
    "write_json",
    "write_trials_csv",
]
