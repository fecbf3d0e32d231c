"""An architecture: one choice per slot of a backbone, as plain frozen data.

It is everything needed to build the network again, and goes to JSON and back unchanged:

    {"format": 1, "backbone": {"name", "arguments"}, "space",
     "choices": [{"slot", "form", "operators": [{"name", "arguments"}]}],
     "input": {"image_size": [h, w], "channels", "mean", "std"}, "classes": [...]}

Choices stand in network order; arguments are sorted by name; nothing depends on a hash seed.
"""

from __future__ import annotations

from dataclasses import dataclass

from rfsearch.errors import UserError, unknown
from rfsearch.spaces import checks
from rfsearch.spaces.operator import Operator, Scalar

FORMAT = 1
LARGEST = {"side": 2**16, "channels": 2**16, "classes": 2**20}
"""More pixels a side, channels or classes are a mistake in a file."""

# How operators stand at a slot: on a residual branch (ours) or followed by a norm and h-swish
# (the paper's), both behind its convolution; or in the place of the convolution.
FORMS = ("residual", "paper", "replace")
PLAIN = {"residual": (Operator("identity"),), "replace": (Operator("conv"),)}
"""What leaves a slot as the plain network has it; in the paper's form nothing does."""

# Arguments of a backbone may also be lists (blocks, strides), which are tuples while in memory.
Value = Scalar | tuple["Value", ...]


@dataclass(frozen=True)
class Choice:
    """What a slot holds: one operator, or two that are added (PMPL's ``deadline = "pair"``)."""

    slot: str
    form: str
    operators: tuple[Operator, ...]

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise unknown("form", self.form, FORMS)
        if len(self.operators) not in (1, 2) or len(set(self.operators)) < len(self.operators):
            labels = [operator.label for operator in self.operators]
            raise UserError(f"slot {self.slot!r} must hold one operator or two, not {labels}")

    @property
    def label(self) -> str:
        """``max 3``, or ``max 3 + avg 5`` for two."""
        return " + ".join(operator.label for operator in self.operators)

    @property
    def is_plain(self) -> bool:
        """Whether the slot is as the plain network has it."""
        return self.operators == PLAIN.get(self.form)

    def to_json(self) -> dict[str, object]:
        """``{"slot", "form", "operators"}``."""
        operators = [operator.to_json() for operator in self.operators]
        return {"slot": self.slot, "form": self.form, "operators": operators}

    @classmethod
    def from_json(cls, record: object, where: str = "choice") -> Choice:
        """The inverse of `to_json`."""
        fields = checks.table(record, where, ("slot", "form", "operators"))
        records = checks.sequence(fields["operators"], f"{where}.operators")
        operators = [
            Operator.from_json(operator, f"{where}.operators[{index}]")
            for index, operator in enumerate(records)
        ]
        slot = checks.text(fields["slot"], f"{where}.slot")
        form = checks.text(fields["form"], f"{where}.form")
        with checks.standing(where):
            return cls(slot, form, tuple(operators))


@dataclass(frozen=True)
class Backbone:
    """A backbone's name and the arguments it is built with, kept sorted by name."""

    name: str
    arguments: tuple[tuple[str, Value], ...] = ()

    def __post_init__(self) -> None:
        given = [name for name, _ in self.arguments]
        if len(set(given)) < len(given):
            raise UserError(f"backbone {self.name!r} is given an argument twice: {given}")
        object.__setattr__(self, "arguments", tuple(sorted(self.arguments)))

    def to_json(self) -> dict[str, object]:
        """``{"name", "arguments": {}}``; tuples become lists."""
        return {"name": self.name, "arguments": {key: _thaw(v) for key, v in self.arguments}}

    @classmethod
    def from_json(cls, record: object, where: str = "backbone") -> Backbone:
        """The inverse of `to_json`."""
        fields = checks.table(record, where, ("name", "arguments"))
        arguments = checks.any_table(fields["arguments"], f"{where}.arguments")
        pairs = [(key, _freeze(v, f"{where}.arguments.{key}")) for key, v in arguments.items()]
        return cls(checks.text(fields["name"], f"{where}.name"), tuple(pairs))


@dataclass(frozen=True)
class Input:
    """The images a network takes: (N, channels, *image_size), normalised by mean and std."""

    image_size: tuple[int, int]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.channels:
                raise UserError(f"{self.channels} channels need as many of {name}, not {values}")
        if min(self.std) <= 0:
            raise UserError(f"std must be more than 0 in every channel, not {min(self.std)}")

    def to_json(self) -> dict[str, object]:
        """``{"image_size": [h, w], "channels", "mean", "std"}``."""
        return {
            "image_size": list(self.image_size),
            "channels": self.channels,
            "mean": list(self.mean),
            "std": list(self.std),
        }

    @classmethod
    def from_json(cls, record: object, where: str = "input") -> Input:
        """The inverse of `to_json`."""
        fields = checks.table(record, where, ("image_size", "channels", "mean", "std"))
        size = checks.size(fields["image_size"], f"{where}.image_size", LARGEST["side"])
        channels = checks.positive(fields["channels"], f"{where}.channels", LARGEST["channels"])
        mean = _numbers(fields["mean"], f"{where}.mean")
        std = _numbers(fields["std"], f"{where}.std")
        with checks.standing(where):
            return cls(size, channels, mean, std)


@dataclass(frozen=True)
class Architecture:
    """A backbone, what its slots hold in network order, the images it takes and its classes."""

    backbone: Backbone
    space: str
    choices: tuple[Choice, ...]
    input: Input
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        slots = [choice.slot for choice in self.choices]
        twice = [slot for index, slot in enumerate(slots) if slot in slots[:index]]
        if twice:
            raise UserError(f"slot {twice[0]!r} is chosen twice")

    @property
    def labels(self) -> dict[str, str]:
        """Slot → what it holds, such as ``max 3``, in network order."""
        return {choice.slot: choice.label for choice in self.choices}

    def to_json(self) -> dict[str, object]:
        """The record at the head of this module."""
        return {
            "format": FORMAT,
            "backbone": self.backbone.to_json(),
            "space": self.space,
            "choices": [choice.to_json() for choice in self.choices],
            "input": self.input.to_json(),
            "classes": list(self.classes),
        }

    @classmethod
    def from_json(cls, record: object, where: str = "architecture") -> Architecture:
        """The inverse of `to_json`; ``where`` (a file) begins the message about a wrong record."""
        known = ("format", "backbone", "space", "choices", "input", "classes")
        # Before the keys: a newer format may have others.
        checks.format_number(checks.any_table(record, where).get("format"), where, FORMAT)
        fields = checks.table(record, where, known)
        records = checks.sequence(fields["choices"], f"{where}: choices")
        choices = [
            Choice.from_json(choice, f"{where}: choices[{index}]")
            for index, choice in enumerate(records)
        ]
        backbone = Backbone.from_json(fields["backbone"], f"{where}: backbone")
        space = checks.text(fields["space"], f"{where}: space")
        taken = Input.from_json(fields["input"], f"{where}: input")
        classes = _texts(fields["classes"], f"{where}: classes")
        with checks.standing(where):
            return cls(backbone, space, tuple(choices), taken, classes)


def _freeze(value: object, where: str) -> Value:
    """Lists become tuples, at every depth."""
    if isinstance(value, list | tuple):
        return tuple(_freeze(part, where) for part in value)
    return checks.scalar(value, where)


def _thaw(value: Value) -> object:
    """Tuples become lists, at every depth."""
    return [_thaw(part) for part in value] if isinstance(value, tuple) else value


def _numbers(value: object, where: str) -> tuple[float, ...]:
    return tuple(checks.number(part, where) for part in checks.sequence(value, where))


def _texts(value: object, where: str) -> tuple[str, ...]:
    return tuple(checks.text(part, where) for part in checks.sequence(value, where))
