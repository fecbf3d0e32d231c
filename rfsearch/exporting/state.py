"""``torch``: the state dict alone, with input size, normalisation and class names beside it."""

from __future__ import annotations

import copy
import io
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from rfsearch.errors import UserError
from rfsearch.exporting.agreement import Agreement, checked
from rfsearch.exporting.subject import Subject
from rfsearch.trials import replacing


def write(subject: Subject, folder: Path) -> tuple[tuple[Path, ...], Agreement]:
    """network.pt and network.json.

    Raises:
        UserError: a network.py lies there whose weights are others.
    """
    state, path = state_of(subject.network), folder / "network.pt"
    _check_beside(folder, state)
    with replacing(folder / "network.json") as about, replacing(path) as weights:
        about.write_text(subject.record_text(), encoding="utf-8")
        weights.write_bytes(serialised(state))
        agreement = checked(subject, "network.pt", filled(subject.network, weights))
    return (path, folder / "network.json"), agreement


def state_of(network: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, each in storage of its own."""
    return {name: one.detach().cpu().clone() for name, one in network.state_dict().items()}


def serialised(state: Mapping[str, Tensor]) -> bytes:
    """As ``torch.load(..., weights_only=True)`` reads it."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    return buffer.getvalue()


def filled(network: nn.Module, path: Path) -> nn.Module:
    """A copy of the network that has nothing but what is in the file."""
    fresh = copy.deepcopy(network)
    with torch.no_grad():
        for one in fresh.state_dict().values():
            one.zero_()
    fresh.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return fresh.eval()


def _check_beside(folder: Path, state: Mapping[str, Tensor]) -> None:
    """network.pt is of both formats; it must not be taken from a network.py that needs another."""
    path = folder / "network.pt"
    if not (folder / "network.py").exists() or not path.exists():
        return
    before = torch.load(path, map_location="cpu", weights_only=True)
    if set(before) != set(state):
        raise UserError(
            f"{folder / 'network.py'} was exported with other weights (folded norms or "
            "constants), which this network.pt would replace; name another folder by --out"
        )
