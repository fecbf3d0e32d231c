"""One file that holds all a stopped run needs, whole or not there at all."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rfsearch.errors import UserError
from rfsearch.trials import replacing


def save(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values to ``path``: to a new name, then renamed."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    _write(path, buffer.getbuffer())


def _write(path: Path, content: bytes | memoryview) -> None:
    """Python writes, not torch: so a full disk is an OSError that says so."""
    with replacing(path) as partial:
        partial.write_bytes(content)


def load(path: Path) -> dict[str, Any] | None:
    """What `save` wrote, on the CPU; None where nothing was saved. No code is unpickled."""
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(
            f"{path} cannot be read ({type(error).__name__}); delete it to start its phase again"
        ) from error
    return state


def save_weights(path: Path, network: nn.Module) -> None:
    """The network's parameters and buffers as safetensors."""
    from safetensors.torch import save as serialise

    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    _write(path, serialise(state))


def load_weights(path: Path, network: nn.Module) -> None:
    """Fill ``network`` with the weights in ``path``."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        network.load_state_dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read as weights: {error}") from error
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise UserError(f"{path} holds the weights of another network: {reason}") from error
