"""Progressive Meta-Pooling Learning (arXiv 2301.10038): learn α, freeze slot by slot, adapt.

The paper's: the relaxation, the two disjoint losses, freezing on the gap of the top two, the
deadline, adaptation. Ours: the four splits, the guards (minimum epochs, averaging, patience,
warm-up, still statistics), the null control, and what is trained and what α goes down by default.
In a mixture of six pools and an identity more identity is what is missing, whichever of them were
best alone; so α goes down the expected loss of one of them alone, which is what a slot keeps in
the end. And a step trains the weights in one network of the space, drawn whatever p is: that costs
less than a mixture, and what is drawn by p instead is trained more and looks better for that alone
(what each of them finds: reports/rfbench). In the paper's form it is drawn near the plain network
(``near``): sixteen pools in a row hardly train, and on networks that guess α can only follow noise
(reports/quick, reports/real). Behind residual branches an even draw trains, and finds more. At
the deadline a slot keeps its leader there; in the paper's form it keeps the plain operator unless
another leads that by the threshold, for a pool that leads by luck costs much.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rfsearch.backbones.supernet import Supernet
from rfsearch.errors import UserError
from rfsearch.operators.blend import one_draw
from rfsearch.seeds import stream
from rfsearch.strategies.field_price import growths, slope
from rfsearch.strategies.freezing import Watch, at_deadline, observe, ranked, unless_ahead
from rfsearch.strategies.pmpl_settings import PMPLSettings, of_own_loop
from rfsearch.training.alternate import AlphaDescent, Gradients, Objective
from rfsearch.training.fit import NotFinite
from rfsearch.training.randomness import seeded
from rfsearch.training.shares import ALONE, Shares


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
        self.settings = settings or of_own_loop(changed)
        self.settings.check_space(supernet.space)
        self.deadline = self.settings.deadline_in(supernet.space)
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
        self.set_blend(moving=False)
        self.alphas = AlphaDescent(
            supernet,
            self.settings.alpha_lr,
            (self.settings.alpha_beta1, self.settings.alpha_beta2),
            self.settings.alpha_weight_decay,
            shares,
        )

    def set_blend(self, *, moving: bool) -> None:
        """What a pass runs before α moves, plain networks where they are favoured at all, and from
        then on; `step` does it."""
        blend = self.settings.blend_in(self.supernet.space, moving=moving)
        for mixture in self.supernet.mixtures.values():
            mixture.blend = blend

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
        self.set_blend(moving=True)
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
            slot: self._chosen(slot, self.watches[slot].average or p[slot], self.deadline)
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
        if deadline == "plain":
            plain = self.supernet.space.plain_index
            assert plain is not None
            return unless_ahead(p, plain, self.settings.threshold)
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
        self.set_blend(moving=self.alpha_steps > 0)
        self.watches = {
            slot: Watch(tuple(average), winner, streak)
            for slot, (average, winner, streak) in state["watches"].items()
        }
        self.left = {}
        self.supernet.keep(state["kept"])
        self.alphas.optimizer.load_state_dict(state["alpha_optimizer"])
        self.losses, self.froze = list(state["losses"]), list(state["froze"])
        self.signs.set_state(state["signs"])


def _start_alphas(supernet: Supernet, scale: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for alpha in supernet.alphas().values():
        with torch.no_grad():
            alpha.copy_(torch.randn(alpha.shape, generator=generator) * scale)
