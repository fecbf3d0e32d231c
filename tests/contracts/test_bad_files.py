"""Files of options that are wrong, one a line of a table: spaces, architectures, configurations,
plans, weights, checkpoints, run folders. Each is the user's mistake, told in one line or two that
name what is wrong; the command line turns that into exit code 2. Data are in `test_bad_data`.
"""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from rfsearch import spaces
from rfsearch.backbones import slots
from rfsearch.backbones.realise import realise
from rfsearch.engine.compare_plan import parse_arms, parse_seeds, stored_plans
from rfsearch.engine.config import Config, Request, checked_space, parse_caps, settle
from rfsearch.engine.export import subject_of
from rfsearch.engine.plan import Plan, named_plan
from rfsearch.engine.run import load
from rfsearch.engine.settings import parse
from rfsearch.engine.sizes import parse_size
from rfsearch.reporting import rewrite_report
from rfsearch.spaces import Architecture
from rfsearch.training import checkpoint
from rfsearch.trials import load_study, open_study

LONG = "9" * 5000
"""More digits than Python turns into a number."""
DEEP = 20_000
"""More brackets than anybody reads."""


def identified(cases):
    """Ids that say what is changed to what, and a number, for long values are cut."""
    return [f"{k}-{'.'.join(map(str, case[0]))}={case[1]!r}"[:60] for k, case in enumerate(cases)]


# ---- spaces

HEAD = 'description = "mine"\nform = "residual"\n'
POOL = "[[operators]]\nname = 'max_pool'\n"
SPACES = {
    "nothing": ("", "'description' is missing"),
    "no TOML": ("= 3", "malformed TOML"),
    "JSON": ('{"form": "residual"}', "malformed TOML"),
    "half": (HEAD + "[[operators]", "malformed TOML"),
    "twice": (HEAD + HEAD, "malformed TOML"),
    "zero byte": (HEAD + "\x00", "malformed TOML"),
    "no end of text": (HEAD + "x = '", "malformed TOML"),
    "a long number": (HEAD + POOL + f"kernel = {LONG}", "cannot be read"),
    "deep lists": ("a = " + "[" * DEEP, ["mine.toml", "TOML"]),
    "deep tables": ("a = " + "{a=" * DEEP, ["mine.toml", "TOML"]),
    "another key": (HEAD + "size = 3\n" + POOL + "kernel = 3", "unknown key 'size'"),
    "no form": ("description = 'd'\n" + POOL + "kernel = 3", "'form' is missing"),
    "another form": (
        "description = 'd'\nform = 'residul'\n" + POOL + "kernel = 3",
        "did you mean 'residual'",
    ),
    "form of a number": ("description = 'd'\nform = 3\n" + POOL, "form must be text"),
    "empty description": ("description = ''\nform = 'paper'\n" + POOL, "description must be text"),
    "no operator": (HEAD + "operators = []", "no operators"),
    "operators of a number": (HEAD + "operators = 3", "must be a list"),
    "one table": (HEAD + "[operators]\nname = 'ssp'", "must be a list"),
    "no name": (HEAD + "[[operators]]\nkernel = 3", ["line 3", "'name' is missing"]),
    "a name of a number": (HEAD + "[[operators]]\nname = 3", "name must be text"),
    "unknown operator": (HEAD + "[[operators]]\nname = 'maxpool'", "did you mean 'max_pool'"),
    "code": (HEAD + "[[operators]]\nname = '__import__(\"os\")'", "unknown operator"),
    "twice the same": (HEAD + (POOL + "kernel = 3\n") * 2, "'max 3' twice"),
    "no kernel": (HEAD + POOL, ["entry 1", "kernel"]),
    "another argument": (HEAD + POOL + "kernle = 3", "kernle"),
    "even": (HEAD + POOL + "kernel = 4", ["odd", "not 4"]),
    "negative": (HEAD + POOL + "kernel = -3", "not -3"),
    "zero": (HEAD + POOL + "kernel = 0", "not 0"),
    "a float": (HEAD + POOL + "kernel = 3.0", "not 3.0"),
    "text": (HEAD + POOL + "kernel = '3'", "not '3'"),
    "true": (HEAD + POOL + "kernel = true", "not True"),
    "not a number": (HEAD + POOL + "kernel = nan", "not nan"),
    "infinite": (HEAD + POOL + "kernel = inf", "not inf"),
    "beyond a float": (HEAD + POOL + "kernel = " + "9" * 400, "'kernel' must be a number"),
    "a date": (HEAD + POOL + "kernel = 1979-05-27", "'kernel' must be a number"),
    "a list": (HEAD + POOL + "kernel = [3]", "'kernel' must be a number"),
    "a table": (HEAD + POOL + "kernel = {a = 1}", "'kernel' must be a number"),
    "huge": (HEAD + POOL + "kernel = 99999", ["at most 511", "not 99999"]),
    "just too large": (HEAD + POOL + "kernel = 513", "at most 511"),
    "groups below one": (
        HEAD + "[[operators]]\nname = 'dw_rpw'\nkernel = 3\ngroups = -1",
        ["entry 1", "groups", "not -1"],
    ),
    "overlap of all": (
        HEAD + "[[operators]]\nname = 'dw_rpw'\nkernel = 3\ngroups = 2\noverlap = 1.0",
        ["entry 1", "overlap"],
    ),
    "replacement among operators": (HEAD + "[[operators]]\nname = 'dilated'", "'dilated'"),
    "replacements alone": (HEAD + "[[replacements]]\nname = 'dense'", "'operators' is missing"),
    "replacements in the paper's form": (
        "description = 'd'\nform = 'paper'\n"
        + POOL
        + "kernel = 3\n[[replacements]]\nname='dense'",
        "[[replacements]] stand beside residual",
    ),
    "dilation below one": (
        "description = 'd'\nform = 'replace'\n[[operators]]\nname = 'dilated'\ndilation = -1",
        ["dilation", "not -1"],
    ),
    "huge dilation": (
        "description = 'd'\nform = 'replace'\n[[operators]]\nname = 'dilated'\ndilation = 100000",
        ["dilation", "at most 511"],
    ),
    "huge replacement": (
        "description = 'd'\nform = 'replace'\n[[operators]]\nname = 'resized'\nkernel = 10000001",
        ["kernel", "at most 511"],
    ),
    "a map of another size": (
        "description = 'd'\nform = 'replace'\n[[operators]]\nname = 'resized'\nkernel = 4",
        "does not keep the map",
    ),
}


@pytest.mark.parametrize("name", SPACES)
def test_a_wrong_space(name, tmp_path, told):
    text, named = SPACES[name]
    (tmp_path / "mine.toml").write_text(text)
    assert "mine.toml" in told(named, checked_space, str(tmp_path / "mine.toml"))


# ---- architectures

BACKBONE = {"width": 0.25, "channels": 1, "classes": 2, "stem": "small"}
INPUT = {"image_size": [32, 32], "channels": 1, "mean": [0.5], "std": [0.25]}


@pytest.fixture(scope="module")
def architecture():
    """A whole record: rfnet6, a pool behind every slot."""
    held = [{"name": "max_pool", "arguments": {"kernel": 3}}]
    backbone = spaces.Backbone("rfnet6", tuple(BACKBONE.items()))
    choices = [
        {"slot": slot.name, "form": "residual", "operators": held} for slot in slots(backbone)
    ]
    return {
        "format": 1,
        "backbone": backbone.to_json(),
        "space": "pooling",
        "choices": choices,
        "input": INPUT,
        "classes": ["ant", "bee"],
    }


ARGUMENTS = ("backbone", "arguments")
OPERATOR = ("choices", 0, "operators", 0)
KERNEL = (*OPERATOR, "arguments", "kernel")
ARCHITECTURES = [
    (["format"], 2, "has format 2; this version reads up to 1"),
    (["format"], ..., "format must be a whole number"),
    (["format"], -1, "format must be a whole number from 1 on"),
    (["space"], ..., "'space' is missing"),
    (["more"], 1, "unknown key 'more'"),
    (["backbone"], "rfnet6", "backbone must be a table"),
    (["backbone", "name"], "rfnet7", "did you mean 'rfnet6'"),
    (["backbone", "name"], "rf\nnet", "unknown backbone 'rf\\nnet'"),
    (["backbone", "name"], "staged", "unknown backbone 'staged'"),
    (["backbone"], {"name": "no.where:net", "arguments": {}}, "no module named 'no'"),
    (["backbone"], {"name": "math:nothing", "arguments": {}}, "no function called 'nothing'"),
    (["backbone"], {"name": "math:pi", "arguments": {}}, "a float, no function"),
    (["backbone"], {"name": "os:getcwd", "arguments": {}}, "a str, not a torch.nn.Module"),
    (["backbone", "arguments"], [], "backbone.arguments must be a table"),
    ([*ARGUMENTS, "width"], "wide", "width must be a finite number"),
    ([*ARGUMENTS, "width"], -1, "width must be above 0"),
    ([*ARGUMENTS, "width"], 0, "width must be above 0"),
    ([*ARGUMENTS, "width"], 1e9, "width must be above 0 and at most 64"),
    ([*ARGUMENTS, "width"], True, "width must be a finite number, not True"),
    ([*ARGUMENTS, "width"], None, "backbone.arguments.width must be"),
    ([*ARGUMENTS, "width"], 10**400, "backbone.arguments.width must be"),
    ([*ARGUMENTS, "channels"], -1, "channels must be a whole number"),
    ([*ARGUMENTS, "channels"], 2.5, "channels must be a whole number"),
    ([*ARGUMENTS, "channels"], 10**12, "channels must be at most"),
    ([*ARGUMENTS, "classes"], 0, "classes must be a whole number"),
    ([*ARGUMENTS, "classes"], "two", "classes must be a whole number"),
    ([*ARGUMENTS, "classes"], 10**13, "classes must be at most"),
    ([*ARGUMENTS, "stem"], "large", "unknown stem 'large'"),
    ([*ARGUMENTS, "blocks"], [1], "does not take these arguments"),
    (["choices"], {}, "choices must be a list"),
    (["choices", 0], "max 3", "choices[0] must be a table"),
    (["choices", 1, "slot"], "features.block1.conv.1.0", "is chosen twice"),
    (["choices", 1, "slot"], "features.99", "unknown slot 'features.99'"),
    (["choices", 1, "slot"], "__class__", "unknown slot '__class__'"),
    (["choices", 1, "form"], "paperr", "did you mean 'paper'"),
    (["choices", 1, "form"], "replace", "unknown operator in place of a convolution 'max_pool'"),
    (["choices", 1, "operators"], [], "must hold one operator or two"),
    ([*OPERATOR, "name"], "maxpool", "unknown operator 'maxpool'; did you mean 'max_pool'"),
    ([*OPERATOR, "name"], "../../max_pool", "unknown operator '../../max_pool'"),
    ([*OPERATOR, "arguments", "x"], 1, "'max_pool' does not take these arguments"),
    ([*OPERATOR, "arguments"], {}, "'max_pool' does not take these arguments"),
    (KERNEL, -3, "not -3"),
    (KERNEL, 4, "not 4"),
    (KERNEL, 10**6 + 1, "at most 511, not 1000001"),
    (KERNEL, 10**400 + 1, "'kernel' must be a number"),
    (KERNEL, 3.0, "not 3.0"),
    (KERNEL, None, "'kernel' must be a number"),
    (["input", "image_size"], [32], "image_size must be [height, width]"),
    (["input", "image_size"], [32, -32], "image_size must be a whole number"),
    (["input", "image_size"], [10**9, 10**9], "image_size must be at most 65536"),
    (["input", "channels"], 0, "channels must be a whole number from 1 on"),
    (["input", "channels"], 3, "3 channels need as many of mean"),
    (["input", "mean"], [10**400], "mean must be a finite number"),
    (["input", "mean"], ["half"], "mean must be a finite number"),
    (["input", "std"], [0], "std must be more than 0"),
    (["input", "std"], [-0.25], "std must be more than 0"),
    (["classes"], [1, 2], "classes must be text"),
    (["classes"], "ant", "classes must be a list"),
]


@pytest.mark.parametrize(("path", "value", "named"), ARCHITECTURES, ids=identified(ARCHITECTURES))
def test_a_wrong_architecture(path, value, named, architecture, told, changed):
    record = json.loads(json.dumps(changed(architecture, path, value)))
    told(named, lambda: realise(Architecture.from_json(record, "architecture.json")))


def test_choices_in_another_order_than_the_networks(architecture, told):
    realise(Architecture.from_json(architecture))  # as it is, it is well
    turned = {**architecture, "choices": architecture["choices"][::-1]}
    named = ["'features.block5.conv.1.0'", "'features.block6.conv.1.0'", "network order"]
    told(named, lambda: realise(Architecture.from_json(turned)))


# ---- configurations, plans, words of the command line


@pytest.fixture(scope="module")
def config():
    """config.json of a run."""
    return json.loads(json.dumps(settle(Request(backbone="rfnet6")).to_json()))


CONFIGS = [
    (["backbone"], None, "backbone must be text"),
    (["backbone"], ..., "misses or adds backbone"),
    (["more"], 1, "misses or adds more"),
    (["mo\nre"], 1, "'mo\\nre'"),
    (["strategy"], 3, "strategy must be text"),
    (["space"], [], "space must be text"),
    (["data"], {}, "data must be text"),
    (["budget"], "", "budget must be text"),
    (["device"], False, "device must be text"),
    (["seed"], "0", "seed must be int, not '0'"),
    (["seed"], 1.5, "seed must be int, not 1.5"),
    (["seed"], True, "seed must be int, not True"),
    (["pretrained"], 1, "pretrained must be bool, not 1"),
    (["image_size"], 48, "image_size must be [height, width]"),
    (["image_size"], [48], "image_size must be [height, width]"),
    (["image_size"], [48, -48], "image_size must be a whole number"),
    (["image_size"], ["48", "48"], "image_size must be a whole number"),
    (["operators"], "identity", "operators must be a list"),
    (["operators"], [3], "operators must be text"),
    (["changed"], None, "changed must be a list"),
    (["caps"], 3, "caps must be a list"),
    (["caps"], [3], "caps must be a list"),
    (["caps"], [["macs"]], "[measure, limit]"),
    (["caps"], [["macs", "many"]], "caps must be a finite number"),
    (["plan"], None, "plan must be a table"),
    (["plan"], [], "plan must be a table"),
    (["plan", "width"], ..., "misses or adds width"),
    (["plan", "widht"], 1, "misses or adds widht"),
    (["plan", "width"], "half", "plan.width must be float"),
    (["plan", "width"], 0, "plan.width must be more than 0"),
    (["plan", "width"], float("inf"), "plan.width must be a finite number"),
    (["plan", "images"], 1.5, "plan.images must be int"),
    (["plan", "images"], -1, "plan.images must be 0 or more"),
    (["plan", "images"], 2**63, "plan.images must be a whole number of 64 bits"),
    (["plan", "threads"], 10**6, "plan.threads must be from 0 to 1024"),
    (["plan", "search_epochs"], 0, "plan.search_epochs must be 1 or more"),
    (["plan", "retrain_seeds"], True, "plan.retrain_seeds must be int"),
    (["plan", "layout"], "rows", "plan.layout 'rows'"),
    (["plan", "kernels"], 3, "plan.kernels must be str"),
    (["settings"], None, "settings must be a table"),
    (["settings"], {}, "miss or add"),
    (["settings", "recipe.lr"], ..., "miss or add recipe.lr"),
    (["settings", "recipe.lrr"], 1, "miss or add recipe.lrr"),
    (["settings", "recipe.lr"], "fast", "recipe.lr must be float"),
    (["settings", "recipe.lr"], True, "recipe.lr must be float"),
    (["settings", "recipe.lr"], float("nan"), "recipe.lr must be a finite number"),
    (["settings", "recipe.batch_size"], 32.5, "recipe.batch_size must be int"),
    (["settings", "recipe.batch_size"], 10**30, "recipe.batch_size must be a whole number of 64"),
    (["settings", "pmpl.progressive"], 1, "pmpl.progressive must be bool"),
    (["settings", "pmpl.deadline"], 1, "pmpl.deadline must be str"),
]


@pytest.mark.parametrize(("path", "value", "named"), CONFIGS, ids=identified(CONFIGS))
def test_a_wrong_configuration(path, value, named, config, told, changed):
    told(["c.json", named], Config.from_json, changed(config, path, value), "c.json")


VALUES = [
    ("recipe.lr", 0, "recipe.lr must be more than 0"),
    ("recipe.clip", -1, "recipe.clip must be more than 0"),
    ("recipe.momentum", 1, "recipe.momentum must be 0 or more and below 1"),
    ("recipe.weight_decay", -1, "recipe.weight_decay must be 0 or more"),
    ("recipe.class_weights", "even", "recipe.class_weights 'even'"),
    ("recipe.batch_size", 1, "recipe.batch_size must be 2 or more"),
    ("metric.name", "acuracy", "did you mean 'accuracy'"),
    ("pmpl.deadline", "never", "pmpl.deadline 'never'"),
    ("pmpl.null", "noise", "pmpl.null 'noise'"),
    ("pmpl.patience", 0, "pmpl.patience must be 1 or more"),
    ("pmpl.subset", 1, "pmpl.subset must be 2 or more"),
    ("digits.canvas", 1, "canvas"),
    ("slots.include", "features.\x00", "features."),
    ("backbone.stem", "tiny", "backbone.stem"),
    ("compare.samples", 0, "compare.samples must be 1 or more"),
]


@pytest.mark.parametrize(("key", "value", "named"), VALUES)
def test_a_setting_out_of_its_range(key, value, named, told):
    told(named, settle, Request(backbone="rfnet6", assignments=(f"{key}={value}",)))


WORDS = [
    (parse, ["recipe.lr"], "KEY=VALUE"),
    (parse, [""], "KEY=VALUE"),
    (parse, ["=" * 9], "unknown setting ''"),
    (parse, ["recipe.lr=" + LONG], "recipe.lr"),
    (parse, ["recipe.lr=1e999"], "is not a number"),
    (parse, ["recipe.batch_size=" + LONG], "recipe.batch_size"),
    (parse, ["recipe.batch_size=" + "9" * 30], "64 bits"),
    (parse, ["recipe.batch_size=١.٥"], "is not a whole number"),
    (parse, ["recipe.lr=0x10"], "is not a number"),
    (parse_size, "", "neither pixels a side"),
    (parse_size, "wide", "neither pixels a side"),
    (parse_size, "64x", "neither pixels a side"),
    (parse_size, "-64", "neither pixels a side"),
    (parse_size, "6.4", "neither pixels a side"),
    (parse_size, "0x64", "at least one pixel"),
    (parse_size, "1x2x3", "3 sides"),
    (parse_size, LONG, "neither pixels a side"),
    (parse_size, (64, True), "neither pixels a side"),
    (lambda text: parse_caps(text, None, None), "many", "--max-macs"),
    (lambda text: parse_caps(text, None, None), "-3M", "--max-macs"),
    (lambda text: parse_caps(text, None, None), LONG, "--max-macs"),
    (lambda text: parse_caps(None, text, None), "0", "--max-params"),
    (lambda text: parse_caps(None, text, None), "3X", "--max-params"),
    (lambda text: parse_caps(None, None, text), "8", "--max-latency"),
    (lambda text: parse_caps(None, None, text), "8 parsecs", "--max-latency"),
    (lambda text: named_plan("rfnet6", text), "quik", "unknown budget 'quik'"),
    (lambda text: named_plan("rfnet6", text), "-4h", "unknown budget"),
    (lambda text: named_plan("rfnet6", text), LONG + "h", "unknown budget"),
    (lambda text: named_plan("rfnet6", text), "4d", "unknown budget"),
    (parse_seeds, "", "--seeds takes one seed or more"),
    (parse_seeds, "0,0", "each once"),
    (parse_seeds, "one", "whole numbers"),
    (parse_seeds, LONG, "whole numbers"),
    (parse_arms, ",", "--strategies names none"),
    (parse_arms, "pmpl,pmpl", "'pmpl' twice"),
    (parse_arms, "pmlp", "did you mean 'pmpl'"),
    (parse_arms, "pmpl:threshold", "no KEY=VALUE"),
    (parse_arms, "pmpl:a:b", "no KEY=VALUE"),
    (lambda record: Plan.from_json(record, "p.json"), None, "p.json: plan must be a table"),
    (lambda record: Plan.from_json(record, "p.json"), {1: 2}, "p.json: plan"),
]


@pytest.mark.parametrize(("function", "given", "named"), WORDS, ids=range(len(WORDS)))
def test_a_wrong_word(function, given, named, told):
    told(named, function, given)


# ---- JSON, whatever is in it

TEXTS = {
    "nothing": (b"", "line 1 is no JSON"),
    "half": (b'{"format": 1,', "line 1 is no JSON"),
    "two": (b"{} {}", "is no JSON"),
    "no UTF-8": (b'{"format": 1, "x": "\xff"}', "UTF-8"),
    "a mark in front": (b'\xef\xbb\xbf{"format": 1}', "is no JSON"),
    "a list": (b"[]", "none of ours"),
    "null": (b"null", "none of ours"),
    "no format": (b"{}", "none of ours"),
    "format of text": (b'{"format": "1"}', "none of ours"),
    "format true": (b'{"format": true}', "none of ours"),
    "format of none": (b'{"format": 1e400}', "none of ours"),
    "a newer format": (b'{"format": 2}', "format 2; this version reads up to 1"),
    "a much newer format": (b'{"format": 99999999999999999999}', "this version reads up to 1"),
    "not a number": (b'{"format": 1, "x": NaN}', "NaN is no number of JSON"),
    "infinite": (b'{"format": 1, "x": -Infinity}', "-Infinity is no number of JSON"),
    "a long number": (f'{{"format": 1, "x": {LONG}}}'.encode(), "cannot be read"),
    "deep": (b'{"format": 1, "x": ' + b"[" * 200_000, "cannot be read"),
    "pickled": (b"\x80\x04\x95\x05\x00\x00\x00", "UTF-8"),
}
READERS = {
    "a plan": lambda path: settle(Request(backbone="rfnet6", plan=path)),
    "a plan to compare by": lambda path: stored_plans(path, {}),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", TEXTS)
def test_json_that_is_none_of_ours(name, reader, tmp_path, told):
    text, named = TEXTS[name]
    (tmp_path / "config.json").write_bytes(text)
    told(["config.json", named], READERS[reader], tmp_path / "config.json")


@pytest.mark.parametrize("name", TEXTS)
def test_a_run_folder_of_such_json(name, tmp_path, told):
    """To load, to export and to report from; with such an architecture, and such a config."""
    text, named = TEXTS[name]
    (tmp_path / "config.json").write_bytes(text)
    told(["config.json", named], subject_of, tmp_path)
    told("config.json", rewrite_report, tmp_path)
    (tmp_path / "architecture.json").write_bytes(text)
    told(["architecture.json", named], load, tmp_path)


LINES = {
    "no JSON": b"{]\n",
    "a list": b"[]\n",
    "no UTF-8": b'{"a": "\xff"}\n',
    "not a number": b'{"loss": NaN}\n',
    "a long number": f'{{"a": {LONG}}}\n'.encode(),
    "deep": b"[" * 200_000 + b"\n",
}


@pytest.mark.parametrize("name", LINES)
def test_a_history_of_other_lines(name, tmp_path, told):
    from rfsearch.trials import History

    (tmp_path / "history.jsonl").write_bytes(b"{}\n" + LINES[name])
    told("history.jsonl, line 2", History(tmp_path / "history.jsonl").read)


STUDIES = {
    "a record": b"{}\n",
    "text": b"hello\n",
    "a newer operation": b'{"op_code": 999, "worker_id": "a"}\n',
    "a list": b"[1]\n",
    "bytes": b"\x80\x04\xff\n",
    "deep": b"[" * 200_000 + b"\n",
}


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("open_", [open_study, load_study])
def test_a_study_of_other_lines(name, open_, tmp_path, told):
    (tmp_path / "study.journal").write_bytes(STUDIES[name])
    told("study.journal", open_, tmp_path / "study.journal")


# ---- weights and checkpoints


def network(width=3):
    return nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width))


def saved(path, **tensors):
    from safetensors.torch import save_file

    save_file(tensors, path)


WEIGHTS = {
    "nothing": (lambda path: path.write_bytes(b""), "cannot be read as weights"),
    "text": (lambda path: path.write_bytes(b"hello, world" * 9), "cannot be read as weights"),
    "a huge header": (
        lambda path: path.write_bytes((2**62).to_bytes(8, "little") + b"{}"),
        "cannot be read as weights",
    ),
    "torch's": (lambda path: torch.save(network().state_dict(), path), "read as weights"),
    "a folder": (lambda path: path.mkdir(), "cannot be read as weights"),
    "of another width": (
        lambda path: checkpoint.save_weights(path, network(4)),
        "another network",
    ),
    "of another kind": (
        lambda path: checkpoint.save_weights(path, nn.Linear(2, 2)),
        "another network",
    ),
    "with more": (
        lambda path: saved(path, **network().state_dict(), more=torch.ones(1)),
        "another network",
    ),
    "with less": (lambda path: saved(path, some=torch.ones(1)), "another network"),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_wrong_weights(name, tmp_path, told):
    write, named = WEIGHTS[name]
    write(tmp_path / "model.safetensors")
    told(
        ["model.safetensors", named],
        checkpoint.load_weights,
        tmp_path / "model.safetensors",
        network(),
    )


CHECKPOINTS = {
    "nothing": b"",
    "text": b"hello",
    "a zip of nothing": b"PK\x05\x06" + bytes(18),
    "an old pickle": b"cos\nsystem\n(S'true'\ntR.",
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_wrong_checkpoint(name, tmp_path, told):
    (tmp_path / "state.pt").write_bytes(CHECKPOINTS[name])
    told(["state.pt", "delete it"], checkpoint.load, tmp_path / "state.pt")
