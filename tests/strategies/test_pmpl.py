"""PMPL on a search that takes a second: what moves, what rests, what stops and goes on."""

from __future__ import annotations

import copy
import gc
import itertools
import json
import types
from dataclasses import replace

import pytest
import torch

import tiny_task as tiny
from rfsearch.backbones.realise import realise
from rfsearch.data.images import Dataset, Images, SearchSplits
from rfsearch.errors import UserError
from rfsearch.operators import mixture as mixture_module
from rfsearch.operators.blend import Blend
from rfsearch.spaces import Architecture, Backbone, Input, Operator, Space, load_space
from rfsearch.strategies.freezing import Watch, ranked
from rfsearch.strategies.pmpl_search import Stages
from rfsearch.strategies.pmpl_settings import PMPLSettings
from rfsearch.training.recipe import Recipe


def copied(tensors):
    return {key: value.detach().clone() for key, value in tensors.items()}


def without_alpha(network):
    return copied({k: v for k, v in network.state_dict().items() if not k.endswith("alpha")})


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def batch(count=12, seed=5):
    images = tiny.images(count, seed)
    return images.pixels.float() / 255 - 0.5, images.labels


# ---- what a step moves


@pytest.mark.parametrize("form", ["residual", "paper"])
def test_an_alpha_step_moves_alpha_alone(form):
    pmpl = tiny.search(form=form)
    pmpl.supernet.train()
    weights, alphas = without_alpha(pmpl.supernet), copied(pmpl.supernet.alphas())
    pmpl.alpha_step(*batch())
    assert same(without_alpha(pmpl.supernet), weights), "weights or running statistics moved"
    for slot, alpha in pmpl.supernet.alphas().items():
        assert not torch.equal(alpha, alphas[slot]), slot
    assert all(weight.grad is None for weight in pmpl.supernet.weights())


@pytest.mark.parametrize("form", ["residual", "paper"])
def test_a_weight_step_leaves_alpha(form):
    pmpl = tiny.search(form=form)
    pmpl.supernet.train()
    weights, alphas = without_alpha(pmpl.supernet), copied(pmpl.supernet.alphas())
    pmpl.descent.step(*batch())
    assert same(copied(pmpl.supernet.alphas()), alphas)
    moved = {k for k, v in without_alpha(pmpl.supernet).items() if not torch.equal(v, weights[k])}
    named = {name for name, _ in pmpl.supernet.named_parameters()}
    # An attention's bias in front of a batch norm has no gradient, but weight decay.
    assert {n for n in named if not n.endswith("alpha")} - moved <= {
        name for name in named if name.endswith(".bias")
    } | {name for name in named if name.endswith("beta")}
    assert any(key.endswith("running_mean") for key in moved)


def test_alpha_rests_in_the_warmup_and_in_the_adaptation():
    pmpl = tiny.search(stages=(2, 1, 2))
    start = copied(pmpl.supernet.alphas())
    steps = []
    for stage in ("warmup", "warmup", "search", "adapt", "adapt"):
        before = copied(pmpl.supernet.alphas())
        record = pmpl.advance()
        assert record["stage"] == stage
        assert same(copied(pmpl.supernet.alphas()), before) == (stage != "search")
        assert (record["alpha_loss"] is None) == (stage != "search")
        steps.append(record["alpha_steps"])
    assert steps == [0, 0, 3, 3, 3]
    assert not same(copied(pmpl.supernet.alphas()), start)


def test_alpha_every_spares_steps():
    pmpl = tiny.search(stages=(0, 2, 0), alpha_every=2, progressive=False)
    assert [record["alpha_steps"] for record in tiny.records(pmpl)] == [2, 4]  # steps 0 and 2 of 3


def test_alphas_start_small_and_by_their_own_stream():
    first, second, other = (tiny.search(seed=seed) for seed in (0, 0, 1))
    assert same(copied(first.supernet.alphas()), copied(second.supernet.alphas()))
    assert not same(copied(first.supernet.alphas()), copied(other.supernet.alphas()))
    drawn = torch.cat([alpha.detach() for alpha in first.supernet.alphas().values()])
    assert 0.5e-3 < drawn.std() < 2e-3


# ---- which split moves what


def changed(splits, name):
    """The splits with one of them under other labels and pixels."""
    parts = {part: getattr(splits, part) for part in ("weights", "alpha", "selection")}
    old = parts[name]
    parts[name] = Images(255 - old.pixels, (old.labels + 1) % 3, old.sources)
    return SearchSplits(**parts)


def test_the_warmup_sees_the_weights_split_alone():
    data, found = SearchSplits(tiny.images(32, 1), tiny.images(12, 2), tiny.images(8, 3)), {}
    for name in ("none", "weights", "alpha", "selection"):
        splits = data if name == "none" else changed(data, name)
        pmpl = tiny.search(stages=(1, 1, 1), data=splits)
        pmpl.advance()
        found[name] = without_alpha(pmpl.supernet)
    assert not same(found["weights"], found["none"])
    assert same(found["alpha"], found["none"])
    assert same(found["selection"], found["none"])


def test_an_alpha_step_sees_the_alpha_split_alone():
    """From the same weights: one alpha step, then one weight step."""
    data, found = SearchSplits(tiny.images(16, 1), tiny.images(12, 2), tiny.images(8, 3)), {}
    for name in ("none", "weights", "alpha", "selection"):
        splits = data if name == "none" else changed(data, name)
        pmpl = tiny.search(stages=(0, 1, 1), data=splits, progressive=False)
        pmpl.advance()
        found[name] = copied(pmpl.supernet.alphas())
    assert not same(found["alpha"], found["none"])
    assert same(found["weights"], found["none"])
    assert same(found["selection"], found["none"])


# ---- freezing, end to end


@pytest.mark.parametrize("form", ["residual", "paper"])
@pytest.mark.parametrize("progressive", [True, False])
def test_whichever_candidate_wins_is_frozen(form, progressive):
    """Law 8 through the whole search: alpha set so that k wins in every slot."""
    for k, operator in enumerate(tiny.OPERATORS):
        pmpl = tiny.search(
            form=form, stages=(0, 1, 1), alpha_lr=1e-6, minimum_epochs=0, progressive=progressive
        )
        with torch.no_grad():
            for alpha in pmpl.supernet.alphas().values():
                alpha[k] += 2.0
        records = tiny.records(pmpl)
        frozen = [entry for record in records for entry in record["froze"]]
        assert len(frozen) == len(pmpl.supernet.slots)
        assert {tuple(entry["operators"]) for entry in frozen} == {(operator.label,)}
        assert {entry["alpha_step"] for entry in frozen} == {2 if progressive else 3}
        assert {entry["by"] for entry in frozen} == {"rule" if progressive else "deadline"}
        assert all(ranked(entry["p"])[0] == k for entry in frozen)
        assert set(map(tuple, records[-1]["frozen"].values())) == {(k,)}
        choices = pmpl.choices()
        assert [choice.slot for choice in choices] == list(pmpl.supernet.slots)
        assert {choice.operators for choice in choices} == {(operator,)}
        taken = Input((16, 16), 1, (0.5,), (0.25,))
        arguments = {"classes": 3, "channels": 1, "stem": "small", "width": 0.125}
        backbone = Backbone("resnet18", tuple(arguments.items()))
        described = Architecture(backbone, "tiny", choices, taken, ("a", "b", "c"))
        adapted = pmpl.network()
        network = realise(described).to(memory_format=torch.channels_last)
        network.load_state_dict(adapted.state_dict(), strict=True)
        x, _ = batch()
        assert torch.equal(network.eval()(x), adapted(x))


def test_different_slots_freeze_different_winners():
    pmpl = tiny.search(stages=(0, 1, 0), alpha_lr=1e-6, minimum_epochs=0)
    wanted = {slot: (i * 3 + 1) % 4 for i, slot in enumerate(pmpl.supernet.slots)}
    with torch.no_grad():
        for slot, alpha in pmpl.supernet.alphas().items():
            alpha[wanted[slot]] += 2.0
    tiny.records(pmpl)
    found = {choice.slot: choice.operators for choice in pmpl.choices()}
    assert found == {slot: (tiny.OPERATORS[k],) for slot, k in wanted.items()}


@pytest.mark.parametrize(
    ("held_back", "epoch"),
    [({}, 2), ({"minimum_epochs": 2}, 4), ({"patience": 5}, 3), ({"threshold": 0.9}, 4)],
    ids=str,
)
def test_nothing_freezes_before_its_time(held_back, epoch):
    """Minimum epochs, patience and the threshold each hold a slot back; 3 alpha steps an epoch,
    from the second epoch on, and the deadline in the fourth."""
    eager = {"alpha_lr": 1e-6, "patience": 1, "minimum_epochs": 0}
    pmpl = tiny.search(stages=(1, 3, 0), **{**eager, **held_back})
    with torch.no_grad():
        for alpha in pmpl.supernet.alphas().values():
            alpha[1] += 2.0  # gap .6
    records = tiny.records(pmpl)
    assert [record["epoch"] for record in records if record["froze"]] == [epoch]


@pytest.mark.parametrize(("share", "first"), [(0.0, 2), (0.3, 4), (0.34, 5), (0.5, 5), (1.0, 7)])
def test_nothing_freezes_before_its_share_of_the_search(share, first):
    """Eager slots: behind a warm-up of one epoch so many of six, rounded up, pass by before."""
    pmpl = tiny.search(stages=(1, 6, 0), minimum_epochs=0, minimum_share=share, threshold=1e-6,
                       patience=1)  # fmt: skip
    froze = [record["epoch"] for record in tiny.records(pmpl) for _ in record["froze"]]
    assert min(froze) == first


def test_without_progress_nothing_freezes_before_the_deadline():
    pmpl = tiny.search(stages=(0, 3, 1), progressive=False, minimum_epochs=0, patience=1)
    records = tiny.records(pmpl)
    assert [len(record["froze"]) for record in records] == [0, 0, 8, 0]
    assert [len(record["frozen"]) for record in records] == [0, 0, 8, 8]


def test_the_deadline_may_keep_a_pair():
    pmpl = tiny.search(stages=(0, 1, 1), progressive=False, deadline="pair")
    records = tiny.records(pmpl)
    for choice in pmpl.choices():
        top = sorted(ranked(records[0]["average"][choice.slot])[:2])
        assert choice.operators == tuple(tiny.OPERATORS[k] for k in top)
    pmpl.network()(batch()[0])


@pytest.mark.parametrize("lead", [0.19, 0.21])
@pytest.mark.parametrize(
    ("form", "deadline", "cautious"),
    [
        ("paper", "auto", True),
        ("residual", "auto", False),
        ("residual", "plain", True),
        ("paper", "argmax", False),
    ],
)
def test_a_slot_stays_plain_unless_another_is_ahead_of_that(form, deadline, cautious, lead):
    pmpl = tiny.search(form=form, stages=(0, 1, 0), deadline=deadline, threshold=0.2)
    plain, other = pmpl.supernet.space.operators.index(pmpl.supernet.space.plain), 1
    for watch in pmpl.pmpl.watches:
        pmpl.pmpl.watches[watch] = Watch((0.4 - lead / 2, 0.4 + lead / 2, 0.2))
    pmpl.pmpl.alpha_steps = 1
    pmpl.pmpl.finish()
    kept = {mixture.kept for mixture in pmpl.supernet.mixtures.values()}
    assert kept == {(plain if cautious and lead < 0.2 else other,)}


def test_a_plain_deadline_needs_a_plain_operator():
    pool = Operator("max_pool", (("kernel", 3),))
    with pytest.raises(UserError, match=r"pools has no operator identity.*deadline=argmax"):
        PMPLSettings(deadline="plain").check_space(Space("pools", "paper", (pool,)))
    assert PMPLSettings().deadline_in(Space("pools", "paper", (pool,))) == "argmax"
    masked = PMPLSettings(select="masking")
    assert masked.deadline_in(load_space("pmpl")) == "argmax"
    with pytest.raises(UserError, match=r"masking keeps one of two.*deadline=argmax"):
        PMPLSettings(select="masking", deadline="plain")


def test_a_frozen_slot_runs_one_operator_and_its_alpha_rests(monkeypatch):
    pmpl = tiny.search(stages=(1, 3, 1), patience=1, threshold=0.9)  # nothing settles by itself
    pmpl.advance()
    slots = list(pmpl.supernet.slots)
    pmpl.supernet.keep({slots[0]: (2,), slots[1]: (0,)})
    calls, pyramids = {}, []
    real = mixture_module.max_pyramid
    monkeypatch.setattr(
        mixture_module, "max_pyramid", lambda x, k: pyramids.append(k) or real(x, k)
    )
    for slot, mixture in pmpl.supernet.mixtures.items():
        mixture.fuse = False  # compiled code calls no operator that could be counted
        for k, operator in enumerate(mixture.operators):
            operator.register_forward_hook(
                lambda *_, key=(slot, k): calls.__setitem__(key, calls.get(key, 0) + 1)
            )
    before = copied(pmpl.supernet.alphas())
    pmpl.advance()
    forwards = 3 + 3  # weight steps and alpha steps of an epoch
    assert {k: n for (slot, k), n in calls.items() if slot == slots[0]} == {2: forwards}
    assert not any(slot == slots[1] for slot, _ in calls), "identity is no branch"
    for slot in slots[2:]:  # the open slots run all, max-pools as a pyramid
        assert {k: n for (s, k), n in calls.items() if s == slot} == {2: forwards, 3: forwards}
    assert len(pyramids) == forwards * len(slots[2:])
    after = copied(pmpl.supernet.alphas())
    assert [torch.equal(after[slot], before[slot]) for slot in slots[:3]] == [True, True, False]
    pmpl.supernet.keep(dict.fromkeys(slots, (1,)))
    pyramids.clear()
    calls.clear()
    record = pmpl.advance()
    assert pyramids == []
    assert set(calls) == {(slot, 1) for slot in slots}
    assert record["alpha_loss"] is None
    assert record["alpha_steps"] == 3


def test_the_log_of_a_freeze():
    pmpl = tiny.search()
    records = tiny.records(pmpl)
    entries = [(record, entry) for record in records for entry in record["froze"]]
    assert sorted(entry["slot"] for _, entry in entries) == sorted(pmpl.supernet.slots)
    for record, entry in entries:
        assert entry["epoch"] == record["epoch"]
        assert 0 < entry["alpha_step"] <= record["alpha_steps"]
        assert sum(entry["p"]) == pytest.approx(1, abs=1e-5)
        assert min(entry["loss_before"], entry["loss_after"]) > 0
    json.dumps(records, allow_nan=False)


def test_losses_around_freezes_are_of_one_drawn_network():
    """From one pass to the next it changes in the slot that froze, to what that keeps."""
    pmpl, seen = tiny.search(relaxation="alone", mixing="even", progressive=False).pmpl, []
    whole, before = pmpl.supernet, torch.get_rng_state()

    def loss(_):
        seen.append([m.kept or (int(m.weights.argmax()),) for m in whole.mixtures.values()])
        return torch.ones(())

    pmpl.step(lambda _: torch.zeros(()))
    pmpl.finish(loss)
    assert torch.equal(torch.get_rng_state(), before)
    kept = [mixture.kept for mixture in whole.mixtures.values()]
    assert len(seen) == 1 + len(kept)
    assert seen == [kept[:number] + seen[0][number:] for number in range(len(seen))]
    assert len(set(seen[0])) > 1, "dull"


# ---- one candidate alone


@pytest.mark.parametrize("mixing", ["all", "even"])
@pytest.mark.parametrize("form", ["residual", "paper"])
def test_slots_take_turns_and_pass_over_the_frozen(form, mixing):
    pmpl = tiny.search(form=form, relaxation="alone", mixing=mixing, threshold=0.99)
    pmpl.supernet.train()
    slots = list(pmpl.supernet.slots)
    pmpl.supernet.keep({slots[1]: (0,)})
    weights, moved = without_alpha(pmpl.supernet), []
    for _ in range(len(slots)):
        before = copied(pmpl.supernet.alphas())
        pmpl.alpha_step(*batch())
        after = pmpl.supernet.alphas()
        moved.append([slot for slot in slots if not torch.equal(after[slot], before[slot])])
    open_slots = [slot for slot in slots if slot != slots[1]]
    assert moved == [[slot] for slot in (*open_slots, open_slots[0])]
    assert same(without_alpha(pmpl.supernet), weights), "weights or running statistics moved"
    assert all(mixture.weights is None for mixture in pmpl.supernet.mixtures.values())


@pytest.mark.parametrize("progressive", [True, False])
def test_whichever_wins_alone_is_frozen(progressive):
    """Law 8 again: every slot steps three times, on a loss that says nothing."""
    for k, operator in enumerate(tiny.OPERATORS):
        pmpl = tiny.search(relaxation="alone", minimum_epochs=0, progressive=progressive).pmpl
        with torch.no_grad():
            for alpha in pmpl.supernet.alphas().values():
                alpha[k] += 2.0
        for _ in range(3 * len(pmpl.supernet.slots)):
            pmpl.step(lambda _: torch.zeros(()))
        pmpl.finish()
        assert len(pmpl.froze) == len(pmpl.supernet.slots)
        assert {tuple(entry["operators"]) for entry in pmpl.froze} == {(operator.label,)}
        assert {entry["by"] for entry in pmpl.froze} == {"rule" if progressive else "deadline"}


def test_alpha_goes_to_what_is_best_alone(monkeypatch):
    """Not to what a mixture lacks: the loss is least where candidate 2 stands alone."""
    pmpl = tiny.search(relaxation="alone", stages=(0, 6, 0), progressive=False)
    mixtures = pmpl.supernet.mixtures

    def loss(*_):
        alone = [k for mixture in mixtures.values() for k in mixture.alone()]
        assert len(alone) == 1, "one slot at a time"
        return torch.tensor(abs(alone[0] - 2.0))

    monkeypatch.setattr(pmpl.pmpl.alphas, "loss", loss)
    monkeypatch.setattr(pmpl, "_close", lambda: None)
    tiny.records(pmpl)
    steps = 6 * 3
    assert steps >= 2 * len(mixtures)
    assert {ranked(p)[0] for p in pmpl.pmpl.probabilities.values()} == {2}


def test_the_log_tells_the_expected_loss():
    pmpl = tiny.search(relaxation="alone", stages=(0, 1, 0))
    assert tiny.records(pmpl)[0]["alpha_loss"] > 0


# ---- null controls


def test_signs_flip_the_gradients_and_keep_their_size():
    pmpl = tiny.search(null="signs")
    pmpl.supernet.train()
    pmpl.pmpl.signs = torch.Generator().manual_seed(0)
    images, labels = batch()
    flips = []
    for _ in range(40):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            _, gradients = pmpl.alpha_gradients(images, labels)
        turned = pmpl.pmpl.null(gradients)
        assert list(turned) == list(gradients)
        for slot, gradient in gradients.items():
            assert torch.equal(turned[slot], gradient) or torch.equal(turned[slot], -gradient)
            flips.append(float(torch.equal(turned[slot], -gradient)))
    assert 0.4 < sum(flips) / len(flips) < 0.6
    by_slot = torch.tensor(flips).view(40, -1)
    assert 0 < by_slot[0].mean() < 1, "every slot has a sign of its own"


def test_no_null_changes_no_gradient():
    pmpl = tiny.search()
    gradients = {"slot": torch.ones(3)}
    assert pmpl.pmpl.null(gradients)["slot"] is gradients["slot"]


def test_permuted_labels_leave_everything_else():
    pmpl, plain = tiny.search(null="labels"), tiny.search()
    told, given = pmpl.alternation.alpha, pmpl.splits.alpha
    assert torch.equal(told.pixels, given.pixels)
    assert not torch.equal(told.labels, given.labels)
    assert torch.equal(told.labels.sort().values, given.labels.sort().values)
    assert torch.equal(plain.alternation.alpha.labels, given.labels)
    assert torch.equal(tiny.search(null="labels").alternation.alpha.labels, told.labels)


@pytest.mark.parametrize("changes", [{"mixing": "subset"}, {"candidate_norms": False}], ids=str)
def test_another_mixture_needs_alpha_to_see_it(changes):
    with pytest.raises(UserError, match=r"relaxation=mixed with them, and pmpl\.mixing=all"):
        PMPLSettings(relaxation="alone", **changes)
    PMPLSettings(relaxation="mixed", **{"mixing": "all", **changes})


def test_the_loss_of_a_mixture_needs_one():
    with pytest.raises(UserError, match=r"mixing=even has none; use pmpl\.mixing=all"):
        PMPLSettings(relaxation="mixed")


EVEN = {"relaxation": "alone", "mixing": "even"}
NEAR = {**EVEN, "near": "always", "plain_share": 0.5}


@pytest.mark.parametrize("form", ["residual", "paper"])
def test_near_plain_the_warm_up_is_plain_and_later_a_share_of_it(form):
    search = tiny.search(form=form, progressive=False, **NEAR)
    space, mixtures = search.supernet.space, search.supernet.mixtures.values()
    plain = space.operators.index(space.plain)

    def drawn():
        return [mixture.blend.draw(mixture.alpha)[0][0] for mixture in mixtures for _ in range(50)]

    assert set(drawn()) == {plain}
    assert search.advance()["stage"] == "warmup"
    assert set(drawn()) == {plain}
    search.advance()
    found = drawn()
    assert set(found) == set(range(len(space.operators)))
    assert 0.5 < found.count(plain) / len(found) < 0.85  # 0.5 + 0.5 / 3 or less
    again = tiny.search(form=form, progressive=False, **NEAR)
    again.load_state_dict(search.state_dict())
    assert [one.blend for one in again.supernet.mixtures.values()] == [m.blend for m in mixtures]


@pytest.mark.parametrize(("form", "near"), [("residual", 0), ("paper", 1.0), ("replace", 0)])
def test_draws_are_near_in_the_papers_form_alone(form, near):
    operators = (Operator("conv"), Operator("pf_max", (("kernel", 3),)))
    given = {"operators": operators} if form == "replace" else {}
    search = tiny.search("rfnet6", form=form, **given, **EVEN)
    assert {one.blend for one in search.supernet.mixtures.values()} == {
        Blend("even", plain_share=near)
    }


@pytest.mark.parametrize("form", ["residual", "paper", "replace"])
def test_draws_are_even_where_no_operator_is_plain(form):
    name = "pf_max" if form == "replace" else "max_pool"
    pools = tuple(Operator(name, (("kernel", kernel),)) for kernel in (3, 5))
    search = tiny.search("rfnet6", form=form, operators=pools, **EVEN)
    assert {one.blend for one in search.supernet.mixtures.values()} == {Blend("even")}


def test_always_near_needs_even_draws_and_a_plain_operator():
    with pytest.raises(UserError, match=r"mixing=all does not draw evenly"):
        PMPLSettings(mixing="all", near="always")
    settings = PMPLSettings(near="always")
    with pytest.raises(UserError, match=r"space pools has no operator identity"):
        settings.check_space(Space("pools", "residual", (Operator("max_pool", (("kernel", 3),)),)))
    with pytest.raises(UserError, match=r"space kernels has no operator conv"):
        settings.check_space(load_space("kernels"))


def test_unknown_words_are_the_users_mistake():
    with pytest.raises(UserError, match=r"pmpl\.null 'sign'; did you mean 'signs'"):
        PMPLSettings(null="sign")
    with pytest.raises(UserError, match=r"pmpl\.deadline 'both'.*argmax, pair"):
        PMPLSettings(deadline="both")


def test_stages_follow_each_other():
    stages = Stages(1, 2, 1)
    assert [stages.of(epoch) for epoch in range(4)] == ["warmup", "search", "search", "adapt"]
    assert stages.epochs == 4


# ---- stopped and resumed


@pytest.mark.parametrize(
    "settings",
    [
        {"threshold": 0.15},
        {"null": "signs", "deadline": "pair", "threshold": 0.15},
        {"form": "paper"},
        {"relaxation": "alone", "threshold": 1e-6, "patience": 1},
        {"relaxation": "alone", "mixing": "even", "threshold": 1e-6, "patience": 1},
        {
            "relaxation": "alone",
            "mixing": "even",
            "near": "always",
            "threshold": 1e-6,
            "patience": 1,
        },
        {"field_price": 0.02, "threshold": 0.2},
    ],
    ids=["residual", "signs", "paper", "alone", "even", "near", "price"],
)
def test_stopped_at_any_epoch_equals_never_stopped(tmp_path, settings):
    """One epoch from each state leads to the next: so does the whole way, by induction."""
    never = tiny.search("rfnet6", **settings)
    states = [copy.deepcopy(never.state_dict())]
    records = []
    while not never.finished:
        records.append(timeless(never.advance()))
        torch.save(never.state_dict(), tmp_path / "state.pt")
        states.append(torch.load(tmp_path / "state.pt", weights_only=True))
    assert 0 < len(records[2]["frozen"]) < len(never.supernet.slots), "dull: freeze some early"
    for epoch, (state, following) in enumerate(itertools.pairwise(states)):
        resumed = tiny.search("rfnet6", **settings)
        resumed.load_state_dict(state)
        assert timeless(resumed.advance()) == records[epoch], f"stopped after epoch {epoch}"
        assert alike(resumed.state_dict(), following), f"stopped after epoch {epoch}"
    assert resumed.finished
    assert resumed.watches == never.watches
    assert resumed.choices() == never.choices()
    assert same(resumed.network().state_dict(), never.network().state_dict())


def timeless(record):
    return {key: value for key, value in record.items() if "seconds" not in key}


def alike(first, second):
    """Whether two states are the same, down to the last bit of the last tensor."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(alike(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(alike, first, second))
    return first == second


def test_another_seed_is_another_search():
    first, second = (tiny.records(tiny.search(seed=seed, stages=(0, 1, 0))) for seed in (0, 1))
    assert first != second


def test_a_search_leaves_the_callers_random_numbers():
    torch.manual_seed(3)
    expected = torch.rand(4)
    pmpl = tiny.search(stages=(0, 1, 0))
    torch.manual_seed(3)
    tiny.records(pmpl)
    pmpl.score(pmpl.network())
    assert torch.equal(torch.rand(4), expected)


def test_mobilenetv2_is_searched_too():
    pmpl = tiny.search("mobilenetv2", form="paper", stages=(0, 1, 1))
    tiny.records(pmpl)
    assert len(pmpl.choices()) == 16
    assert 0 <= pmpl.score(pmpl.network()) <= 1


def test_a_search_learns():
    pmpl = tiny.search(stages=(1, 8, 2))
    records = tiny.records(pmpl)
    assert records[-1]["loss"] < 0.6 * records[0]["loss"]
    assert pmpl.score(pmpl.network()) > 0.5


# ---- weights of classes


@pytest.mark.parametrize("loss", ["plain", "calibrated"])
def test_rare_classes_weigh_as_much_in_the_loss_of_alpha(loss):
    """By repeating the images of each class until all classes are as many."""
    recipe = Recipe(batch_size=16, class_weights="balanced")
    few = tiny.splits(48, 36, 20)
    labels = few.alpha.labels
    keep = torch.cat([torch.where(labels == k)[0][:count] for k, count in enumerate((8, 4, 2))])
    few = replace(few, alpha=few.alpha.take(keep))
    criterion = tiny.search(data=few, recipe=recipe, alpha_loss=loss).criterion
    logits = torch.randn(14, 3, generator=torch.Generator().manual_seed(0))
    logits[:4, 0] += 3  # right, and of a class that is frequent
    told = float(criterion(logits, few.alpha.labels))
    as_many = torch.tensor([*range(8), *range(8, 12), *range(8, 12), *(4 * (12, 13))])
    plain = tiny.search(data=few, alpha_loss=loss).criterion
    assert told == pytest.approx(
        float(plain(logits[as_many], few.alpha.labels[as_many])), rel=1e-5
    )
    assert told != pytest.approx(float(plain(logits, few.alpha.labels)), rel=1e-3)


# ---- masking


def test_a_masked_candidate_is_one_that_alpha_never_takes():
    pmpl = tiny.search(select="masking")
    slot, alpha = next(iter(pmpl.supernet.alphas().items()))
    with torch.no_grad():
        alpha.copy_(torch.tensor([0.3, -0.2, 0.5, 0.1]))
        pmpl.supernet.mixture(slot).gamma.fill_(1.0)
        told = pmpl.loss_without(slot, 2)
        as_it_is = pmpl.loss_without(next(iter(list(pmpl.supernet.alphas())[1:])), 0)
        alpha[2] = -1e9
    images = pmpl.splits.selection
    pixels = (images.pixels.float() / 255 - 0.5) / 0.25
    with torch.no_grad():
        expected = float(pmpl.pmpl.alphas.loss(pmpl.objective(pixels, images.labels)))
    assert told == pytest.approx(expected, rel=1e-6)
    assert told != as_it_is
    assert pmpl.supernet.mixture(slot).weights is None


def test_masking_keeps_the_one_of_the_top_two_that_is_missed_more(monkeypatch):
    """The third is never kept, however much it would be missed."""
    pmpl = tiny.search(select="masking", progressive=False, stages=(0, 1, 0))
    missed = {0: 0.1, 1: 0.2, 2: 0.4, 3: 0.3}
    monkeypatch.setattr(pmpl.pmpl, "loss_without", lambda _, k: missed[k])
    tiny.finish(pmpl)
    for slot, mixture in pmpl.supernet.mixtures.items():
        top = ranked(pmpl.watches[slot].average)[:2]
        assert mixture.kept == (max(top, key=missed.__getitem__),)
    assert len({mixture.kept for mixture in pmpl.supernet.mixtures.values()}) > 1


# ---- law 7


def reachable_tensors(root):
    """All tensors that any chain of references leads to, closures and generators included.

    Modules of code, classes and functions' globals are the program, not the object, and end a
    chain; a function's own cells and defaults do not.
    """
    seen, todo, tensors = set(), [root], []
    while todo:
        item = todo.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, torch.Tensor):
            tensors.append(item)
            todo += [item.grad] if item.grad is not None else []
            continue
        if isinstance(item, types.ModuleType | type | str | bytes | int | float):
            continue
        if isinstance(item, types.FunctionType):
            todo += [*(item.__closure__ or ()), *(item.__defaults__ or ()), item.__dict__]
            continue
        todo += gc.get_referents(item)
    return tensors


def storages(tensors):
    return {tensor.untyped_storage().data_ptr() for tensor in tensors if tensor.numel()}


def test_nothing_leads_from_a_search_to_the_test_split():
    """With one storage for all splits, as a careless loader would cut them, it must be seen."""
    test = tiny.images(20, 4)
    data = tiny.splits(48, 36, 20)
    whole = Dataset(
        *("tiny", "", ("a", "b", "c"), 1, (16, 16), (0.5,), (0.25,), False, data, test, "", "")
    )
    pmpl = tiny.search(data=whole.search, stages=(0, 1, 1))
    tiny.records(pmpl)
    pmpl.score(pmpl.network())
    forbidden = storages([test.pixels, test.labels, test.sources])
    for root in (whole.search, pmpl):
        found = reachable_tensors(root)
        assert storages([data.weights.pixels]) <= storages(found), "the walk sees nothing"
        assert not storages(found) & forbidden
    held = {id(thing) for thing in (test, whole)}
    assert not held & {id(thing) for thing in vars(pmpl).values()}


def test_the_walk_of_law_7_can_see():
    test = tiny.images(20, 4)
    forbidden = storages([test.pixels])
    pmpl = tiny.search()
    for hidden in (lambda: test, iter([test.pixels[3:]]), {"deep": [(test,)]}):
        pmpl.alternation.hidden = hidden
        assert storages(reachable_tensors(pmpl)) & forbidden
    pmpl.alternation.hidden = None
    assert not storages(reachable_tensors(pmpl)) & forbidden
