"""Progressive Meta-Pooling Learning (arXiv 2301.10038): learn α, freeze slot by slot, adapt.

The paper's: the relaxation, the two disjoint losses, freezing on the gap of the top two, the
deadline, adaptation. Ours: the four splits, the guards (minimum epochs, averaging, patience,
warm-up, still statistics), the null control, and what is trained and what α goes down by default.
In a mixture of six pools and an identity more identity is what is missing, whichever of them were
best alone; so α goes down the expected loss of one of them alone, which is what a slot keeps in
the end. And a step trains the weights in one network of the space, drawn evenly: that costs less
than a mixture, and what is drawn by p instead is trained more and looks better for that alone
(what each of them finds: reports/rfbench).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from rfsearch.backbones.supernet import Supernet
from rfsearch.errors import UserError, unknown
from rfsearch.operators.blend import MIXINGS, Blend, one_draw
from rfsearch.seeds import stream
from rfsearch.spaces import Space
from rfsearch.strategies.field_price import growths, slope
from rfsearch.strategies.freezing import Watch, at_deadline, observe, ranked
from rfsearch.training.alternate import ALPHA_LOSSES, AlphaDescent, Gradients, Objective
from rfsearch.training.fit import NotFinite
from rfsearch.training.randomness import seeded
from rfsearch.training.recipe import setting
from rfsearch.training.shares import ALONE, Shares

NULLS = ("off", "signs", "labels")
DEADLINES = ("argmax", "pair")
SELECTORS = ("alpha", "masking")
RELAXATIONS = ("alone", "mixed")


@dataclass(frozen=True, kw_only=True)
class PMPLSettings:
    """Every dial and guard of the search; the report prints them all."""

    alpha_lr: float = setting(0.1, "Adam's step on alpha (PMPL's code: 3e-4 over many epochs)")
    alpha_beta1: float = setting(0.5, "Adam's first beta for alpha (PMPL's code)")
    alpha_beta2: float = setting(0.999, "Adam's second beta for alpha (PMPL's code)")
    alpha_weight_decay: float = setting(1e-3, "Adam's weight decay for alpha (PMPL's code)")
    alpha_loss: str = setting("calibrated", "plain (PMPL), or calibrated: at the best temperature")
    relaxation: str = setting(
        "alone",
        "what alpha goes down: alone, the expected loss of one candidate of a slot alone, a slot "
        "a step (ours), or mixed, the loss of the mixture (PMPL)",
    )
    field_price: float = setting(
        0.0, "loss that a candidate has to save for each share of its map that it widens the field"
    )
    alpha_init: float = setting(1e-3, "alpha starts at N(0, 1) times this (PMPL's code)")
    alpha_batch: int = setting(16, "images of an alpha step")
    alpha_every: int = setting(2, "weight steps for one alpha step")
    progressive: bool = setting(True, "freeze slots as they settle; false waits for the deadline")
    threshold: float = setting(0.2, "freeze when the averaged top-two gap reaches this (PMPL)")
    minimum_epochs: int = setting(5, "epochs with alpha moving before the first freeze")
    minimum_share: float = setting(
        0.5, "share of the epochs with alpha moving before the first freeze, where that is more"
    )
    average: float = setting(0.8, "weight of the past in the average of p")
    patience: int = setting(5, "alpha steps of a slot in a row for which the gap must hold")
    select: str = setting("alpha", "what keeps one of a slot's top two: alpha, or masking each")
    mixing: str = setting(
        "even",
        "candidates of a slot in a step: all (PMPL), subset, sampled (one, by Gumbel), or even "
        "(one, whatever alpha is)",
    )
    subset: int = setting(2, "candidates of a slot in a step under mixing=subset")
    candidate_norms: bool = setting(
        True, "residual form: a BatchNorm for each candidate; false has one over their sum"
    )
    deadline: str = setting("argmax", "what open slots keep at the end: argmax, or pair (PMPL)")
    null: str = setting(
        "off",
        "null control: off, signs (random sign of each slot's gradient), "
        "or labels (alpha split's labels permuted: a diagnostic)",
    )

    def __post_init__(self) -> None:
        if not 0 <= self.minimum_share <= 1:
            raise UserError(f"pmpl.minimum_share must be from 0 to 1, not {self.minimum_share}")
        if self.alpha_loss not in ALPHA_LOSSES:
            raise unknown("pmpl.alpha_loss", self.alpha_loss, ALPHA_LOSSES)
        if self.alpha_batch < 2:
            raise UserError(f"pmpl.alpha_batch must be 2 or more, not {self.alpha_batch}")
        for name in ("alpha_lr", "alpha_every", "patience"):
            if getattr(self, name) <= 0:
                raise UserError(f"pmpl.{name} must be more than 0, not {getattr(self, name)}")
        for name in ("alpha_beta1", "alpha_beta2", "average"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"pmpl.{name} must be in [0, 1), not {getattr(self, name)}")
        for name in ("alpha_init", "alpha_weight_decay", "minimum_epochs", "threshold",
                     "field_price"):  # fmt: skip
            if getattr(self, name) < 0:
                raise UserError(f"pmpl.{name} must be 0 or more, not {getattr(self, name)}")
        if self.null not in NULLS:
            raise unknown("pmpl.null", self.null, NULLS)
        if self.deadline not in DEADLINES:
            raise unknown("pmpl.deadline", self.deadline, DEADLINES)
        if self.select not in SELECTORS:
            raise unknown("pmpl.select", self.select, SELECTORS)
        if self.mixing not in MIXINGS:
            raise unknown("pmpl.mixing", self.mixing, MIXINGS)
        if self.relaxation not in RELAXATIONS:
            raise unknown("pmpl.relaxation", self.relaxation, RELAXATIONS)
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
        if self.subset < 2:
            raise UserError(f"pmpl.subset must be 2 or more, not {self.subset}")
        if self.select == "masking" and self.deadline == "pair":
            raise UserError("pmpl.select=masking keeps one of two; use pmpl.deadline=argmax")
        if self.select == "masking" and self.field_price:
            raise UserError(
                "pmpl.select=masking compares losses, and pmpl.field_price is no part of them; "
                "use pmpl.select=alpha"
            )

    @property
    def blend(self) -> Blend | None:
        """How candidates are mixed where it is not as usual."""
        blend = Blend(self.mixing, self.subset, self.candidate_norms)
        usual = self.mixing == "all" and self.candidate_norms
        return None if usual else blend

    def check_space(self, space: Space) -> None:
        """An error where they do not go with a space: in a slot that may be enhanced or replaced
        two operators may be of two kinds."""
        partly = self.blend is not None and self.mixing != "even"
        if space.replacing and (self.deadline == "pair" or partly):
            raise UserError(
                f"space {space.name} enhances or replaces, by choice: its candidates are all "
                "mixed at every step, or one is drawn evenly, and one is kept; use "
                "pmpl.mixing=all or even, pmpl.deadline=argmax and one norm for each candidate"
            )


OF_THE_LOOP = {
    "alpha_batch": "how large the batches of an alpha step are",
    "alpha_every": "how often `step` is called",
    "alpha_loss": "the loss that `step` is given",
    "minimum_share": "`minimum_epochs`, for only you know how many there will be",
}
"""Settings of `PMPLSettings` that are decided by who writes the loop."""


class PMPL:
    """α and freezing: `step` on a batch, `end_epoch`, and `finish` at the deadline.

    The weights are trained by somebody else, by turns with α and on other images: `rfsearch run`
    does so (`pmpl_search`), and so may a loop of one's own, with any loss::

        search = rfsearch.PMPL(supernet, threshold=0.3)
        search.step(lambda net: loss(net(images), targets))

    The weights' optimizer is given ``supernet.weights()``, which has no α in it.

    Args:
        supernet: on its device.
        settings: all of them; or some, by name, in ``changed``.
        seed: of α's start, of the null control, and of what α steps and freezes draw.
        loss_without: slot and candidate → loss without it, for ``select="masking"``.
        shares: the processes that have this search in common.

    Raises:
        UserError: no supernet; a setting that there is not, or that is the loop's own.
    """

    def __init__(
        self,
        supernet: Supernet,
        settings: PMPLSettings | None = None,
        *,
        seed: int = 0,
        loss_without: Callable[[str, int], float] | None = None,
        shares: Shares = ALONE,
        **changed: float | str | bool,
    ) -> None:
        if not isinstance(supernet, Supernet):
            raise UserError(
                f"PMPL takes what rfsearch.supernet returns, not a {type(supernet).__name__}"
            )
        self.supernet = supernet
        self.settings = settings or _of_own_loop(changed)
        self.settings.check_space(supernet.space)
        self.seed = seed
        self.loss_without = loss_without
        self.shares = shares
        self.epoch = 0
        self.moved = 0
        self.alpha_steps = 0
        self.watches = {slot: Watch() for slot in supernet.slots}
        self.left: dict[str, Tensor] = {}
        self.growths: dict[str, Tensor] = {}
        self._begin_epoch()
        _start_alphas(supernet, self.settings.alpha_init, stream(seed, "alpha"))
        for mixture in supernet.mixtures.values():
            mixture.blend = self.settings.blend
        self.alphas = AlphaDescent(
            supernet,
            self.settings.alpha_lr,
            (self.settings.alpha_beta1, self.settings.alpha_beta2),
            self.settings.alpha_weight_decay,
            shares,
        )

    def _begin_epoch(self) -> None:
        self.losses: list[float] = []
        self.froze: list[dict[str, Any]] = []
        self.signs = torch.Generator().manual_seed(stream(self.seed, "signs", self.epoch))

    def step(self, loss: Objective) -> float | None:
        """Move α by one batch that the weights are not trained on, and freeze what has settled.

        Args:
            loss: the supernet → a scalar tensor. It is called several times, without gradients
                under ``relaxation="alone"``; BatchNorm has the batch's own statistics while the
                supernet is in training mode, and its running ones stay.

        Returns:
            What α went down, or None where no slot is open any more.

        Raises:
            NotFinite: the loss or its gradient is no finite number.
            UserError: somebody else has moved α; processes that have this search in common
                would freeze different operators.
        """
        if not self.supernet.open_slots:
            return None
        self._check_alphas()
        with seeded(stream(self.seed, "draws", self.alpha_steps)):
            found, gradients = self.gradients(loss)
        told = float(found)
        if not math.isfinite(told):
            raise NotFinite(f"the loss of alpha is {told} in its step {self.alpha_steps + 1}")
        if not all(bool(gradient.isfinite().all()) for gradient in gradients.values()):
            step = self.alpha_steps + 1
            raise NotFinite(f"the gradient of alpha is not finite in its step {step}")
        self.alphas.step(self.null(gradients))
        self.alpha_steps += 1
        self.left = {
            s: alpha.detach().cpu().clone() for s, alpha in self.supernet.alphas().items()
        }
        p = self.probabilities
        for slot in gradients:
            self.watches[slot] = observe(
                self.watches[slot], p[slot], self.settings.average, self.settings.threshold
            )
        ready = self._ready(gradients)
        self._check_common(ready)
        self._freeze(ready, "rule", loss)
        self.losses.append(told)
        return told

    def _check_alphas(self) -> None:
        """An error where somebody else has moved α since the last step: the usual mistake."""
        for slot in self.supernet.open_slots:
            alpha = self.supernet.mixture(slot).alpha.detach().cpu()
            if slot in self.left and not torch.equal(self.left[slot], alpha):
                raise UserError(
                    f"alpha of slot {slot} has moved between two steps of the search; give the "
                    "weights' optimizer supernet.weights(), not supernet.parameters()"
                )

    def gradients(self, loss: Objective) -> tuple[Tensor, Gradients]:
        """The loss that α goes down, and the gradient of it and of the price of fields by the α of
        all open slots, or of the one whose turn it is."""
        if self.settings.relaxation == "mixed":
            found, gradients = self.alphas.gradients(loss)
        else:
            slots = self.supernet.open_slots
            found, gradients = self.alphas.alone(slots[self.alpha_steps % len(slots)], loss)
        return found, self._priced(gradients, loss) if self.settings.field_price else gradients

    def _priced(self, gradients: Gradients, loss: Objective) -> Gradients:
        if not self.growths:
            self.growths = growths(self.supernet, lambda: self._loss(loss))
        alphas = self.supernet.alphas()
        return {
            slot: gradient + self.settings.field_price * slope(alphas[slot], self.growths[slot])
            for slot, gradient in gradients.items()
        }

    def null(self, gradients: Gradients) -> Gradients:
        """The gradients, each slot's with a random sign in the null control."""
        if self.settings.null != "signs":
            return gradients
        signs = torch.randint(0, 2, (len(gradients),), generator=self.signs) * 2 - 1
        return {s: g * int(sign) for (s, g), sign in zip(gradients.items(), signs, strict=True)}

    def end_epoch(self) -> dict[str, Any]:
        """Tell of the epoch: the mean loss of α, p and its average by slot, what froze.

        Raises:
            UserError: processes that have this search in common froze different operators.
        """
        self._check_common({})
        told = {
            "epoch": self.epoch + 1,
            "alpha_loss": sum(self.losses) / len(self.losses) if self.losses else None,
            "alpha_steps": self.alpha_steps,
            "p": self.probabilities,
            "average": {slot: list(watch.average) for slot, watch in self.watches.items()},
            "frozen": {s: list(m.kept) for s, m in self.supernet.mixtures.items() if m.kept},
            "froze": self.froze,
        }
        self.epoch += 1
        self.moved += self.alpha_steps > 0
        self._begin_epoch()
        return told

    def _check_common(self, ready: Mapping[str, Sequence[int]]) -> None:
        """Processes freeze the same: from where they differ on, each would train another network,
        and wait for messages that the others do not send."""
        labels = self.supernet.space.labels
        kept = {slot: mixture.kept for slot, mixture in self.supernet.mixtures.items()}
        chosen = {slot: " + ".join(labels[k] for k in indices) or "all operators"
                for slot, indices in {**kept, **ready}.items()}  # fmt: skip
        if differing := self.shares.differing(chosen):
            slot, told = next(iter(differing.items()))
            each = ", ".join(f"{text} in process {rank}" for rank, text in enumerate(told))
            more = f"; so do {len(differing) - 1} other slots" if len(differing) > 1 else ""
            raise UserError(
                f"the processes have come apart in epoch {self.epoch + 1}: slot {slot} keeps "
                f"{each}{more}. Go on by --resume on machines that are alike"
            )

    def finish(self, loss: Objective | None = None) -> None:
        """The deadline: every slot that is still open keeps what the setting ``deadline`` says.

        Args:
            loss: as in `step`; what every freeze did to it is told by `end_epoch`.

        Raises:
            UserError: α has never moved, so that nothing was chosen.
        """
        if self.supernet.open_slots and not self.alpha_steps:
            raise UserError("nothing was searched: call step(loss) before finish(), each epoch")
        p = self.probabilities
        kept = {
            slot: self._chosen(slot, self.watches[slot].average or p[slot], self.settings.deadline)
            for slot in self.supernet.open_slots
        }
        self._freeze(kept, "deadline", loss)

    def _ready(self, slots: Iterable[str]) -> dict[str, tuple[int, ...]]:
        if not self.settings.progressive or self.moved < self.settings.minimum_epochs:
            return {}
        watches = {slot: self.watches[slot] for slot in slots}
        ready = {s: w for s, w in watches.items() if w.streak >= self.settings.patience}
        return {s: self._chosen(s, w.average, "argmax") for s, w in ready.items()}

    def _chosen(self, slot: str, p: Sequence[float], deadline: str) -> tuple[int, ...]:
        """What a slot that is ready keeps."""
        without = self.loss_without
        if self.settings.select == "alpha" or without is None:
            return at_deadline(p, deadline)
        return (max(ranked(p)[:2], key=lambda k: without(slot, k)),)

    def _freeze(self, kept: dict[str, tuple[int, ...]], by: str, loss: Objective | None) -> None:
        """Freeze these slots and log each with the batch's loss before and after; where a pass
        runs one network, of a network drawn once for all of them."""
        if not kept:
            return
        drawn = seeded(stream(self.seed, "freeze", self.alpha_steps))
        with drawn, one_draw(self.supernet.mixtures.values()):
            self._keep(kept, by, loss)

    def _keep(self, kept: dict[str, tuple[int, ...]], by: str, loss: Objective | None) -> None:
        before = self._loss(loss)
        for slot, indices in kept.items():
            p = self.probabilities[slot]
            self.supernet.keep({slot: indices})
            after = self._loss(loss)
            labels_of = [self.supernet.space.operators[k].label for k in indices]
            self.froze.append(
                {
                    "slot": slot,
                    "by": by,
                    "operators": labels_of,
                    "epoch": self.epoch + 1,
                    "alpha_step": self.alpha_steps,
                    "p": p,
                    "loss_before": before,
                    "loss_after": after,
                }
            )
            before = after

    @torch.no_grad()
    def _loss(self, loss: Objective | None) -> float | None:
        if loss is None:
            return None
        with seeded(stream(self.seed, "freeze", self.alpha_steps)):
            return float(self.alphas.loss(loss))

    @property
    def probabilities(self) -> dict[str, list[float]]:
        """Slot → p = softmax(α), (K,)."""
        return {
            slot: alpha.detach().softmax(0).tolist()
            for slot, alpha in self.supernet.alphas().items()
        }

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on, beside the supernet's own state, which has α."""
        return {
            "epoch": self.epoch,
            "moved": self.moved,
            "alpha_steps": self.alpha_steps,
            "watches": {s: (w.average, w.winner, w.streak) for s, w in self.watches.items()},
            "kept": {slot: mixture.kept for slot, mixture in self.supernet.mixtures.items()},
            "alpha_optimizer": self.alphas.optimizer.state_dict(),
            "losses": list(self.losses),
            "froze": list(self.froze),
            "signs": self.signs.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken; the supernet's own state is loaded beside it."""
        self.epoch, self.moved = state["epoch"], state["moved"]
        self.alpha_steps = state["alpha_steps"]
        self.watches = {
            slot: Watch(tuple(average), winner, streak)
            for slot, (average, winner, streak) in state["watches"].items()
        }
        self.left = {}
        self.supernet.keep(state["kept"])
        self.alphas.optimizer.load_state_dict(state["alpha_optimizer"])
        self.losses, self.froze = list(state["losses"]), list(state["froze"])
        self.signs.set_state(state["signs"])


def _of_own_loop(changed: Mapping[str, float | str | bool]) -> PMPLSettings:
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


def _start_alphas(supernet: Supernet, scale: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for alpha in supernet.alphas().values():
        with torch.no_grad():
            alpha.copy_(torch.randn(alpha.shape, generator=generator) * scale)
