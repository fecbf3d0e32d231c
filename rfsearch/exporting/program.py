"""``pt2``: a ``torch.export`` program, with its record as the extra file ``network.json``."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from rfsearch.analysis.capture import silence
from rfsearch.exporting.agreement import Agreement, checked
from rfsearch.exporting.subject import Subject
from rfsearch.trials import replacing

RECORD = "network.json"
"""``extra = {"network.json": ""}; torch.export.load(path, extra_files=extra)`` reads it."""


def write(subject: Subject, folder: Path) -> tuple[tuple[Path, ...], Agreement]:
    """network.pt2."""
    path, buffer = folder / "network.pt2", io.BytesIO()
    with silence():
        torch.export.save(subject.program, buffer, extra_files={RECORD: subject.record_text()})
    with replacing(path) as partial:
        partial.write_bytes(buffer.getvalue())
        with silence():
            module: Any = torch.export.load(io.BytesIO(partial.read_bytes())).module()
        agreement = checked(subject, path.name, module)
    return (path,), agreement
