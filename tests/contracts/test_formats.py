"""What every entry of FORMATS keeps: the files give the outputs of the network, any N, where this
package cannot be imported, and say which images the network takes and what its classes are."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys

import pytest
import torch

from rfsearch import backbones, spaces
from rfsearch.backbones import BACKBONES
from rfsearch.backbones.realise import realise
from rfsearch.exporting import FORMATS, ExportSettings, Subject, write
from rfsearch.exporting.onnx_model import NEEDED
from rfsearch.spaces import Architecture, Backbone, Choice, Input
from tests.exporting.conftest import stirred

SIDE, CHANNELS = 32, 2
CLASSES = ("one", "two", "three")
BATCHES = (1, 4)
"""Unlike those that the command tries."""

STRANGER = """
import json, sys
for name in ("rfsearch", "torchvision", "timm"):
    sys.modules[name] = None  # importing it raises from here on
import torch

def code(folder):
    sys.path.insert(0, folder)
    sys.modules.pop("network", None)
    import network
    sys.path.pop(0)
    about = dict(image_size=network.IMAGE_SIZE, channels=network.CHANNELS, mean=network.MEAN,
                 std=network.STD)
    made = network.load(folder + "/network.pt")
    assert not made.training
    return made, about, network.CLASSES

def pt2(folder):
    extra = {"network.json": ""}
    made = torch.export.load(folder + "/network.pt2", extra_files=extra).module()
    about = json.loads(extra["network.json"])
    return made, about["input"], about["classes"]

def onnx(folder):
    import onnxruntime
    made = onnxruntime.InferenceSession(folder + "/network.onnx")
    about = made.get_modelmeta().custom_metadata_map
    assert [one.name for one in made.get_inputs()] == ["images"]
    run = lambda images: torch.from_numpy(made.run(["logits"], {"images": images.numpy()})[0])
    told = {key: json.loads(about[key]) for key in ("image_size", "channels", "mean", "std")}
    return run, told, json.loads(about["classes"])

given = torch.load(sys.argv[1], weights_only=True)
for folder, form, images, expected, about, classes in json.loads(sys.argv[2]):
    made, told, names = globals()[form](folder)
    assert json.loads(json.dumps(told)) == about, (told, about)
    assert list(names) == classes
    for key_in, key_out in zip(images, expected):
        with torch.no_grad():
            found = made(given[key_in])
        gap = (found - given[key_out]).abs().max()
        assert gap <= 1e-4 * given[key_out].abs().max(), (folder, form, gap)
    print(folder, form)
"""


def architecture(name):
    """Every candidate of a space by turns, slot by slot; another space for every backbone."""
    arguments = {"classes": len(CLASSES), "channels": CHANNELS, "stem": "small", "width": 0.25}
    backbone = Backbone(name, tuple(arguments.items()))
    space = spaces.load_space(("pmpl", "pooling")[list(BACKBONES).index(name) % 2])
    slots = [slot.name for slot in backbones.slots(backbone)]
    turns = itertools.cycle(space.operators)
    choices = [Choice(slot, space.form, (next(turns),)) for slot in slots]
    taken = Input((SIDE, SIDE), CHANNELS, (0.5, 0.4), (0.25, 0.2))
    return Architecture(backbone, space.name, tuple(choices), taken, CLASSES)


def subject(made):
    """A network of an architecture, no branch of which is idle."""
    torch.manual_seed(0)
    network = stirred(realise(made)).eval()
    return Subject("a-run", network, network, made.input, made.classes)


CASES = {name: architecture(name) for name in BACKBONES}
JOBS = {
    name: [("code", False)] if name != "rfnet6" else [(form, False) for form in FORMATS]
    for name in BACKBONES
} | {"resnet18": [("code", True), ("pt2", False)]}
"""Backbone → formats, and whether norms are folded: every backbone as code, one in all."""


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """All cases in all formats, as far as their libraries are here, and one process that has not
    got this package and reads them all."""
    place = tmp_path_factory.mktemp("formats")
    tensors, jobs = {}, []
    for name, made in CASES.items():
        one = subject(made)
        for size in BATCHES:
            key = f"{name}-{size}"
            tensors[f"{key}-in"] = torch.randn(size, CHANNELS, SIDE, SIDE)
            with torch.no_grad():
                tensors[f"{key}-out"] = one.network(tensors[f"{key}-in"])
        for form, fold in JOBS[name]:
            if form in runnable():
                folder = place / f"{name}-{form}-{fold}"
                write(one, form, folder, ExportSettings(fold_bn=fold))
                keys = [[f"{name}-{size}-{end}" for size in BATCHES] for end in ("in", "out")]
                jobs.append([str(folder), form, *keys, about(made), list(CLASSES)])
    torch.save(tensors, place / "tensors.pt")
    command = [sys.executable, "-W", "ignore", "-c", STRANGER, str(place / "tensors.pt"),
               json.dumps(jobs)]  # fmt: skip
    done = subprocess.run(command, cwd=place, capture_output=True, text=True)
    return jobs, done


def about(made):
    return json.loads(json.dumps(made.input.to_json()))


def runnable():
    forms = [form for form in FORMATS if form != "torch"]
    from importlib.util import find_spec

    return forms if all(map(find_spec, NEEDED)) else [form for form in forms if form != "onnx"]


@pytest.mark.slow
def test_a_stranger_gets_the_same_outputs(exported):
    jobs, done = exported
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(jobs)


@pytest.mark.slow
def test_onnx_is_among_them(exported):
    jobs, _ = exported
    if "onnx" not in runnable():
        pytest.skip(f"needs {', '.join(NEEDED)}")
    assert {job[1] for job in jobs} == {"code", "pt2", "onnx"}


@pytest.mark.parametrize("name", list(BACKBONES))
def test_the_state_dict_rebuilds_the_network(name, tmp_path):
    made = architecture(name)
    one = subject(made)
    write(one, "torch", tmp_path, ExportSettings())
    state = torch.load(tmp_path / "network.pt", weights_only=True)
    network = realise(made)
    network.load_state_dict(state)
    images = torch.randn(3, CHANNELS, SIDE, SIDE)
    with torch.no_grad():
        assert torch.equal(network.eval()(images), one.network(images))
    told = json.loads((tmp_path / "network.json").read_text())
    assert told["input"] == about(made)
    assert told["classes"] == list(CLASSES)
