"""The examples are run as they stand: seconds each."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch

EXAMPLES = sorted((Path(__file__).parents[2] / "docs" / "examples").glob("*.py"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Lightning's advice on workers, and its own deprecations
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_gives_a_plain_network_that_has_learned(path, capsys):
    network = runpy.run_path(str(path))["main"]().eval()
    said = dict(line.rsplit(" ", 1) for line in capsys.readouterr().out.splitlines()[-1:])
    if "accuracy" in said:
        assert float(said["accuracy"]) > 0.9
    else:
        assert float(said["loss"]) < 0.3
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    assert not any(type(one).__module__.startswith("rfsearch") for one in network.modules())
