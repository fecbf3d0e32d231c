"""Formats: what is refused, what is warned of, and that nothing wrong is left behind."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from torch import nn

from rfsearch.backbones.slots import Slot, install
from rfsearch.errors import UserError
from rfsearch.exporting import FORMATS, Disagreement, ExportSettings, onnx_model, write
from rfsearch.exporting.folding import folded, pairs
from rfsearch.exporting.merging import merged
from rfsearch.exporting.windows import warning
from rfsearch.operators.replacements import Sum

PLAIN, FOLDED = ExportSettings(), ExportSettings(fold_bn=True)
HERE = all(map(importlib.util.find_spec, onnx_model.NEEDED))
needs_onnx = pytest.mark.skipif(not HERE, reason=f"needs {', '.join(onnx_model.NEEDED)}")
FORMS = [pytest.param(form, marks=needs_onnx) if form == "onnx" else form for form in FORMATS]


class Small(nn.Module):
    """A convolution that is read twice, two norms that fold and one that does not."""

    def __init__(self, kernel=3):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.BatchNorm2d(6)
        self.conv3, self.bn3 = nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6)
        self.pool, self.bn4 = nn.MaxPool2d(kernel, 1, kernel // 2), nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        y = self.conv3(x)
        x = self.bn3(y) + y
        return self.head(self.bn4(self.pool(x)).mean((2, 3)))


@pytest.fixture(scope="module")
def subject(make_subject):
    torch.manual_seed(0)
    return make_subject(Small())


@pytest.mark.parametrize("form", FORMS)
def test_what_is_written_and_told(form, subject, tmp_path):
    made = write(subject, form, tmp_path / "new" / "folder", PLAIN)
    files = {"torch": ["network.pt", "network.json"], "code": ["network.py", "network.pt"],
             "pt2": ["network.pt2"], "onnx": ["network.onnx"]}  # fmt: skip
    assert [file.name for file in made.files] == files[form]
    assert {file.name for file in (tmp_path / "new" / "folder").iterdir()} == set(files[form])
    assert made.agreement.difference <= 1e-5 < made.agreement.largest
    assert made.agreement.images == 8
    assert made.warning is None


@pytest.mark.parametrize("form", FORMS)
def test_what_differs_is_not_left_behind(form, subject, tmp_path):
    from dataclasses import replace

    other = Small()
    other.load_state_dict(subject.network.state_dict())
    with torch.no_grad():
        other.head.bias[1] += 0.01
    wrong = replace(subject, network=other.eval())
    with pytest.raises(Disagreement, match=r"differ by 0\.01"):
        write(wrong, form, tmp_path, PLAIN)
    assert list(tmp_path.iterdir()) == []


def test_nan_is_no_agreement(subject, tmp_path):
    from dataclasses import replace

    other = Small()
    other.load_state_dict(subject.network.state_dict())
    with torch.no_grad():
        other.head.bias[1] = float("nan")
    with pytest.raises(Disagreement):
        write(replace(subject, network=other.eval()), "code", tmp_path, PLAIN)


def test_norms_are_folded_where_they_alone_read(subject):
    assert list(pairs(subject)) == [("conv1", "bn1"), ("conv2", "bn2")]
    made = folded(subject)
    norms = [name for name, one in made.network.named_modules() if isinstance(one, nn.BatchNorm2d)]
    assert norms == ["bn3", "bn4"]
    assert isinstance(subject.network.bn1, nn.BatchNorm2d), "the network itself is left alone"
    images = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        before, after = subject.network(images), made.network(images)
    assert not torch.equal(before, after)
    assert (before - after).abs().max() < 1e-5


@pytest.mark.parametrize("form", ["code", "pt2"])
def test_folded_norms_agree_with_what_was_trained(form, subject, tmp_path):
    made = write(subject, form, tmp_path, FOLDED)
    assert made.agreement.difference <= 1e-5
    if form == "code":
        text = (tmp_path / "network.py").read_text()
        assert text.count("nn.BatchNorm2d(6)") == 2


@pytest.mark.parametrize("form", ["code", "pt2"])
def test_convolutions_that_are_added_become_one(form, make_subject, tmp_path):
    """Two dilations are a kernel of five; a convolution and a pool are left as they are."""
    torch.manual_seed(0)
    near, far = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 3, padding=2, dilation=2)
    mixed = Sum([nn.Conv2d(4, 4, 3, padding=1), nn.MaxPool2d(3, 1, 1)])
    network = nn.Sequential(Sum([near, far]), nn.BatchNorm2d(4), nn.ReLU(), mixed,
                            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))  # fmt: skip
    made = make_subject(network)
    kernels = [one.kernel_size for one in merged(made).network.modules()
               if isinstance(one, nn.Conv2d)]  # fmt: skip
    assert kernels == [(5, 5), (3, 3)]
    assert len(network[0].operators) == 2, "the network itself is left alone"
    told = write(made, form, tmp_path, ExportSettings(merge=True, fold_bn=True))
    assert told.agreement.difference <= 1e-5
    if form == "code":
        text = (tmp_path / "network.py").read_text()
        assert text.count("nn.Conv2d(") == 2
        assert "BatchNorm" not in text, "what has become one has a norm to fold"


class Active(nn.BatchNorm2d):
    """As timm's: a norm with what follows it inside."""

    def __init__(self, channels):
        super().__init__(channels)
        self.drop, self.act = nn.Identity(), nn.ReLU()

    def forward(self, x):
        return self.act(self.drop(super().forward(x)))


def test_a_norm_leaves_what_it_runs_behind_itself(make_subject, tmp_path):
    """Its activation, and an enhancer that a hook runs."""
    norm = nn.BatchNorm2d(4)
    install(norm, Slot("conv", "enhance", 4, 1, "after"), nn.MaxPool2d(3, 1, 1))
    network = nn.Sequential(nn.Conv2d(3, 4, 3), Active(4), nn.Conv2d(4, 4, 3), norm,
                            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))  # fmt: skip
    made = make_subject(network)
    assert len(list(pairs(made))) == 2
    write(made, "code", tmp_path, FOLDED)
    text = (tmp_path / "network.py").read_text()
    assert "BatchNorm" not in text
    assert "ReLU" in text
    assert "MaxPool2d" in text


def test_a_state_dict_is_not_folded(subject, tmp_path):
    with pytest.raises(UserError, match="fits no network"):
        write(subject, "torch", tmp_path, FOLDED)


def test_a_network_py_keeps_its_weights(subject, tmp_path):
    write(subject, "code", tmp_path, FOLDED)
    with pytest.raises(UserError, match=r"other weights .*--out"):
        write(subject, "torch", tmp_path, PLAIN)
    write(subject, "code", tmp_path, PLAIN)
    write(subject, "torch", tmp_path, PLAIN)


@pytest.mark.parametrize(("kernel", "told"), [(7, None), (9, "in many runtimes: pool (9×9)")])
def test_large_windows_are_warned_of(make_subject, kernel, told):
    found = warning(make_subject(Small(kernel)))
    assert found is None if told is None else found.endswith(told)


def test_formats_are_told(subject, tmp_path):
    with pytest.raises(UserError, match=r"unknown format 'onx'; did you mean 'onnx'\? Known: tor"):
        write(subject, "onx", tmp_path, PLAIN)


def test_libraries_that_are_missing_are_told(subject, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_model, "find_spec", lambda name: None if "r" in name else True)
    with pytest.raises(UserError, match=r"needs onnxscript, onnxruntime: pip install 'rfsearch\["):
        write(subject, "onnx", tmp_path, PLAIN)
    assert list(tmp_path.iterdir()) == []


@needs_onnx
def test_what_onnx_cannot_say_is_told(make_subject, tmp_path):
    class Odd(nn.Module):
        def forward(self, x):
            return torch.special.bessel_j0(x).sum((2, 3))

    with pytest.raises(UserError, match=r"has no form of .*bessel_j0.*--format pt2"):
        write(make_subject(Odd()), "onnx", tmp_path, PLAIN)


def test_a_network_that_fixes_its_batch_is_told(make_subject, tmp_path):
    class Two(nn.Module):
        def forward(self, x):
            return x.mean((2, 3)).reshape(2, 3)

    with pytest.raises(UserError):
        write(make_subject(Two()), "pt2", tmp_path, PLAIN)
