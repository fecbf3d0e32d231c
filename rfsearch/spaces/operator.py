"""One candidate operator, by name."""

from __future__ import annotations

from dataclasses import dataclass

from rfsearch.errors import UserError
from rfsearch.spaces import checks

Scalar = int | float | str | bool

# How figures and tables call the operators that stand in them most often.
SHORT_NAMES = {"max_pool": "max", "avg_pool": "avg"}


@dataclass(frozen=True)
class Operator:
    """An operator's name and its arguments, which are kept sorted by name.

    Whether the name and the arguments mean anything is known to `rfsearch.operators` alone.

    >>> Operator("max_pool", (("kernel", 3),)).label
    'max 3'
    """

    name: str
    arguments: tuple[tuple[str, Scalar], ...] = ()

    def __post_init__(self) -> None:
        given = [name for name, _ in self.arguments]
        if len(set(given)) < len(given):
            raise UserError(f"operator {self.name!r} is given an argument twice: {given}")
        object.__setattr__(self, "arguments", tuple(sorted(self.arguments)))

    @property
    def label(self) -> str:
        """A short name for tables and figures, such as ``max 3``; `Space` keeps it unique."""
        words = [SHORT_NAMES.get(self.name, self.name)]
        for name, value in self.arguments:
            words.append(f"{value}" if name == "kernel" else f"{name}={value}")
        return " ".join(words)

    def to_json(self) -> dict[str, object]:
        """``{"name", "arguments": {}}``."""
        return {"name": self.name, "arguments": dict(self.arguments)}

    @classmethod
    def from_json(cls, record: object, where: str = "operator") -> Operator:
        """The inverse of `to_json`; ``where`` begins the message about a wrong record."""
        fields = checks.table(record, where, ("name", "arguments"))
        arguments = checks.any_table(fields["arguments"], f"{where}.arguments")
        return cls.from_arguments(fields["name"], arguments, where)

    @classmethod
    def from_arguments(cls, name: object, arguments: dict[str, object], where: str) -> Operator:
        """An operator from a name and arguments that were read from a file."""
        pairs = [
            (key, checks.scalar(value, f"{where}, argument {key!r}"))
            for key, value in arguments.items()
        ]
        return cls(checks.text(name, f"{where}: name"), tuple(pairs))
