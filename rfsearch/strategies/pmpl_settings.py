"""The dials and guards of Progressive Meta-Pooling Learning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from rfsearch.errors import UserError, unknown
from rfsearch.operators.blend import MIXINGS, Blend
from rfsearch.setting import check, setting
from rfsearch.spaces import Space
from rfsearch.training.alternate import ALPHA_LOSSES

NULLS = ("off", "signs", "labels")
DEADLINES = ("auto", "plain", "argmax", "pair")
SELECTORS = ("alpha", "masking")
RELAXATIONS = ("alone", "mixed")
NEAR = ("auto", "always", "never")


@dataclass(frozen=True, kw_only=True)
class PMPLSettings:
    """Every dial and guard of the search; the report prints them all."""

    alpha_lr: float = setting(
        0.1, "Adam's step on alpha (PMPL's code: 3e-4 over many epochs)", above=0
    )
    alpha_beta1: float = setting(
        0.5, "Adam's first beta for alpha (PMPL's code)", least=0, below=1
    )
    alpha_beta2: float = setting(
        0.999, "Adam's second beta for alpha (PMPL's code)", least=0, below=1
    )
    alpha_weight_decay: float = setting(
        1e-3, "Adam's weight decay for alpha (PMPL's code)", least=0
    )
    alpha_loss: str = setting(
        "calibrated", "plain (PMPL), or calibrated: at the best temperature", among=ALPHA_LOSSES
    )
    relaxation: str = setting(
        "alone",
        "what alpha goes down: alone, the expected loss of one candidate of a slot alone, a slot "
        "a step (ours), or mixed, the loss of the mixture (PMPL)",
        among=RELAXATIONS,
    )
    field_price: float = setting(
        0.0,
        "loss that a candidate has to save for each share of its map that it widens the field",
        least=0,
    )
    alpha_init: float = setting(1e-3, "alpha starts at N(0, 1) times this (PMPL's code)", least=0)
    alpha_batch: int = setting(16, "images of an alpha step", least=2)
    alpha_every: int = setting(2, "weight steps for one alpha step", least=1)
    progressive: bool = setting(True, "freeze slots as they settle; false waits for the deadline")
    threshold: float = setting(
        0.2, "freeze when the averaged top-two gap reaches this (PMPL)", least=0
    )
    minimum_epochs: int = setting(5, "epochs with alpha moving before the first freeze", least=0)
    minimum_share: float = setting(
        0.5,
        "share of the epochs with alpha moving before the first freeze, where that is more",
        least=0,
        most=1,
    )
    average: float = setting(0.8, "weight of the past in the average of p", least=0, below=1)
    patience: int = setting(
        5, "alpha steps of a slot in a row for which the gap must hold", least=1
    )
    select: str = setting(
        "alpha", "what keeps one of a slot's top two: alpha, or masking each", among=SELECTORS
    )
    mixing: str = setting(
        "even",
        "candidates of a slot in a step: all (PMPL), subset, sampled (one, by Gumbel), or even "
        "(one, whatever alpha is)",
        among=MIXINGS,
    )
    near: str = setting(
        "auto",
        "whether mixing=even stays near the plain network: always, never, or auto, in the paper's "
        "form alone, whose networks hardly train when they are drawn evenly",
        among=NEAR,
    )
    plain_share: float = setting(
        0.8,
        "how often a slot is left plain near the plain network, where the warm-up leaves all of "
        "them so, before one of its operators is drawn evenly",
        above=0,
        below=1,
    )
    subset: int = setting(2, "candidates of a slot in a step under mixing=subset", least=2)
    candidate_norms: bool = setting(
        True, "residual form: a BatchNorm for each candidate; false has one over their sum"
    )
    deadline: str = setting(
        "auto",
        "what open slots keep at the end: argmax, pair (PMPL), plain (the plain operator unless "
        "another leads it by the threshold), or auto: plain in the paper's form, else argmax",
        among=DEADLINES,
    )
    null: str = setting(
        "off",
        "null control: off, signs (random sign of each slot's gradient), "
        "or labels (alpha split's labels permuted: a diagnostic)",
        among=NULLS,
    )

    def __post_init__(self) -> None:
        check(self, "pmpl")
        self._check_mixture()
        self._check_masking()

    def _check_mixture(self) -> None:
        if self.relaxation == "alone" and (self.mixing == "subset" or not self.candidate_norms):
            raise UserError(
                "pmpl.mixing=subset and pmpl.candidate_norms=false change the mixture that alpha "
                "goes down; use pmpl.relaxation=mixed with them, and pmpl.mixing=all or subset"
            )
        if self.relaxation == "mixed" and self.mixing == "even":
            raise UserError(
                "pmpl.relaxation=mixed goes down the loss of a mixture, and pmpl.mixing=even has "
                "none; use pmpl.mixing=all with it"
            )
        if self.near == "always" and self.mixing != "even":
            raise UserError(
                f"pmpl.mixing={self.mixing} does not draw evenly, so pmpl.near=always changes "
                "nothing in it; use pmpl.mixing=even"
            )

    def _check_masking(self) -> None:
        if self.select == "masking" and self.deadline not in ("auto", "argmax"):
            raise UserError("pmpl.select=masking keeps one of two; use pmpl.deadline=argmax")
        if self.select == "masking" and self.field_price:
            raise UserError(
                "pmpl.select=masking compares losses, and pmpl.field_price is no part of them; "
                "use pmpl.select=alpha"
            )

    @property
    def blend(self) -> Blend | None:
        """How candidates are mixed where it is not as usual, when none is favoured."""
        blend = Blend(self.mixing, self.subset, self.candidate_norms)
        usual = self.mixing == "all" and self.candidate_norms
        return None if usual else blend

    def check_space(self, space: Space) -> None:
        """An error where they do not go with a space: in a slot that may be enhanced or replaced
        two operators may be of two kinds; and not every space has one that is plain."""
        partly = self.blend is not None and self.mixing != "even"
        if space.replacing and (self.deadline == "pair" or partly):
            raise UserError(
                f"space {space.name} enhances or replaces, by choice: its candidates are all "
                "mixed at every step, or one is drawn evenly, and one is kept; use "
                "pmpl.mixing=all or even, pmpl.deadline=argmax and one norm for each candidate"
            )
        if space.plain_index is None:
            self._check_without_plain(space)

    def _check_without_plain(self, space: Space) -> None:
        missing = f"space {space.name} has no operator {space.plain.label}"
        if self.deadline == "plain":
            raise UserError(
                f"{missing}, which pmpl.deadline=plain keeps; use pmpl.deadline=argmax, or a "
                "space that has it"
            )
        if self.near == "always":
            raise UserError(
                f"{missing}, by which pmpl.near=always leaves a slot plain; use pmpl.near=auto, "
                "or a space that has it"
            )

    def blend_in(self, space: Space, *, moving: bool) -> Blend | None:
        """`blend` in a space, before α moves or from then on: near its plain network if so set."""
        blend, plain = self.blend, space.plain_index
        wanted = self.near == "always" or (self.near == "auto" and space.form == "paper")
        if not (wanted and blend and blend.mixing == "even") or plain is None:
            return blend
        share = self.plain_share if moving else 1.0
        return replace(blend, plain=plain, plain_share=share)

    def deadline_in(self, space: Space) -> str:
        """What open slots keep in a space: `deadline`, and which that is under ``auto``."""
        if self.deadline != "auto":
            return self.deadline
        cautious = space.form == "paper" and space.plain_index is not None
        return "plain" if cautious and self.select == "alpha" else "argmax"


OF_THE_LOOP = {
    "alpha_batch": "how large the batches of an alpha step are",
    "alpha_every": "how often `step` is called",
    "alpha_loss": "the loss that `step` is given",
    "minimum_share": "`minimum_epochs`, for only you know how many there will be",
}
"""Settings of `PMPLSettings` that are decided by who writes the loop."""


def of_own_loop(changed: Mapping[str, float | str | bool]) -> PMPLSettings:
    """Settings by name for a loop that has no command line around it."""
    known = {item.name: item.default for item in fields(PMPLSettings)}
    for name, value in changed.items():
        if name in OF_THE_LOOP:
            raise UserError(f"PMPL takes no {name}: in your own loop it is {OF_THE_LOOP[name]}")
        if name not in known:
            raise unknown(
                "setting of PMPL", name, (key for key in known if key not in OF_THE_LOOP)
            )
        kind = type(known[name])
        fits = isinstance(value, (int, float) if kind is float else kind)
        if not fits or isinstance(value, bool) != (kind is bool):
            raise UserError(f"PMPL's {name} must be {kind.__name__}, not {value!r}")
    settings = PMPLSettings(**changed)  # type: ignore[arg-type]
    if settings.select == "masking":
        raise UserError("select=masking scores on images of its own, which `rfsearch run` has")
    if settings.null == "labels":
        raise UserError("null=labels is yours to do: permute the targets that `step` sees")
    return settings
