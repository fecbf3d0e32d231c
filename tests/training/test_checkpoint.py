"""Checkpoints: whole or not there, and no code is run by reading one."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from rfsearch.errors import UserError
from rfsearch.training import checkpoint


def network(width=3):
    torch.manual_seed(width)
    return nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width))


STATE = {
    "epoch": 3,
    "watches": {"slot": ((0.25, 0.75), 1, 4)},
    "kept": {"slot": (1,)},
    "weights": torch.arange(5.0),
}


def test_round_trip(tmp_path):
    path = tmp_path / "deep" / "state.pt"
    assert checkpoint.load(path) is None
    checkpoint.save(path, STATE)
    found = checkpoint.load(path)
    assert torch.equal(found.pop("weights"), STATE["weights"])
    assert found == {key: value for key, value in STATE.items() if key != "weights"}
    assert [entry.name for entry in path.parent.iterdir()] == ["state.pt"]


class Unwritable:
    """Breaks off in the middle of being written."""

    def __reduce__(self):
        raise RuntimeError("killed")


def test_a_save_that_breaks_off_leaves_the_old_file(tmp_path):
    path = tmp_path / "state.pt"
    checkpoint.save(path, STATE)
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="killed"):
        checkpoint.save(path, {"weights": torch.zeros(1000), "then": Unwritable()})
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.pt"]


@pytest.mark.parametrize("writer", ["save", "save_weights"])
def test_a_kill_while_writing_leaves_the_old_file(tmp_path, monkeypatch, writer):
    path = tmp_path / "file"
    save = {
        "save": lambda: checkpoint.save(path, STATE),
        "save_weights": lambda: checkpoint.save_weights(path, network()),
    }[writer]
    save()
    before = path.read_bytes()

    def killed(target, _):
        with target.open("wb") as file:
            file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", killed)
    with pytest.raises(KeyboardInterrupt):
        save()
    assert path.read_bytes() == before


def test_a_torn_file_is_told(tmp_path):
    path = tmp_path / "state.pt"
    checkpoint.save(path, STATE)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match=r"state\.pt cannot be read .*delete it"):
        checkpoint.load(path)


class Malicious:
    """A pickle that writes a file when it is read."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_no_code_is_run_by_loading(tmp_path, how):
    path, trap = tmp_path / "state.pt", tmp_path / "trap"
    if how == "torch":
        torch.save({"weights": Malicious(trap)}, path)
    else:
        path.write_bytes(pickle.dumps({"weights": Malicious(trap)}))
    with pytest.raises(UserError, match=r"state\.pt cannot be read"):
        checkpoint.load(path)
    assert not trap.exists()
    if how == "torch":
        torch.load(path, weights_only=False)
        assert trap.exists(), "the trap works, so the check above means something"


def test_weights_round_trip(tmp_path):
    path, first = tmp_path / "model.safetensors", network().to(memory_format=torch.channels_last)
    first.train()(torch.randn(4, 1, 8, 8))
    checkpoint.save_weights(path, first)
    torch.manual_seed(1)
    second = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3))
    checkpoint.load_weights(path, second)
    for key, value in first.state_dict().items():
        assert torch.equal(second.state_dict()[key], value), key
    checkpoint.save_weights(tmp_path / "again", second)
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_weights_of_another_network_are_told(tmp_path):
    path = tmp_path / "model.safetensors"
    checkpoint.save_weights(path, network(3))
    for other in (network(4), nn.Sequential(nn.Conv2d(1, 3, 3)), nn.Linear(2, 2)):
        before = {key: value.clone() for key, value in other.state_dict().items()}
        with pytest.raises(UserError, match=r"model\.safetensors holds the weights of another"):
            checkpoint.load_weights(path, other)
        assert before.keys() == other.state_dict().keys()


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff" * 100], ids=len)
def test_a_file_that_holds_no_weights_is_told(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"model\.safetensors cannot be read as weights"):
        checkpoint.load_weights(path, network())


def test_missing_weights_are_told(tmp_path):
    with pytest.raises(UserError, match="cannot be read as weights"):
        checkpoint.load_weights(tmp_path / "none", network())
