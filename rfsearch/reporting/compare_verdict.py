"""What a comparison showed, in sentences that carry no more than its numbers do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rfsearch.reporting.compare_data import PLAIN, RANDOM_NETWORKS, ArmResult, Ranking
from rfsearch.reporting.compare_statistics import LEAST_SEEDS, TOO_FEW, Contrast
from rfsearch.reporting.quantities import percent, plural, points, signed, spelled
from rfsearch.reporting.trial_noise import TrialNoise

NAMES = {"random": "random search", RANDOM_NETWORKS: "the mean of random networks",
         PLAIN: "the plain backbone"}  # fmt: skip
WIDE = 0.02
"""Standard deviation of plain's score above which a budget is doubted."""


def headline(contrasts: Sequence[Contrast], num_seeds: int) -> str:
    """The verdict, or that there is none."""
    if not contrasts:
        return "Nothing was compared: no arm may have a verdict."
    if num_seeds < LEAST_SEEDS:
        return (
            f"Too few seeds for a verdict: {plural(num_seeds, 'search seed')}, and "
            f"{spelled(LEAST_SEEDS)} are needed to say better or worse."
        )
    told = [one for one in contrasts if one.verdict in ("better", "worse")]
    if not told:
        return "No strategy is told apart from random search, random networks or plain."
    parts = [f"{one.arm} is {one.verdict} than {_name(one.against)}" for one in told]
    return f"{'; '.join(parts)}."


def intervals(contrasts: Sequence[Contrast]) -> list[str]:
    """One sentence per arm, against the first reference it has (random search, if that is an
    arm): the difference and its interval. All references stand in the table."""
    first = {one.arm: one for one in reversed(contrasts)}
    shown = [one for one in contrasts if first[one.arm] is one]
    return [
        f"{one.arm} against {_name(one.against)}: {points(one.mean)} points "
        f"({points(one.low)} to {points(one.high)}), {one.verdict}."
        for one in shown
    ]


def scores(results: Sequence[ArmResult], metric: str) -> str:
    """Means of arms, random networks and plain, in one sentence."""
    wanted = [one for one in results if one.group == "search"]
    wanted += [one for one in results if one.name in (RANDOM_NETWORKS, PLAIN)]
    parts = [f"{one.name} {percent(one.summary.mean)}" for one in wanted]
    return f"Mean test {metric}: {', '.join(parts)}."


def doubts(
    results: Sequence[ArmResult],
    rankings: Sequence[Ranking],
    contrasts: Sequence[Contrast],
    noises: Mapping[str, Sequence[TrialNoise]],
) -> list[str]:
    """What to know before trusting the numbers."""
    found = [f"{one.name} is {one.label}: it gets no verdict." for one in results if one.label]
    searched = [one for one in results if one.group == "search" and one.search_seconds]
    if searched:
        spent = [one.search_seconds or 0.0 for one in searched]
        if max(spent) > 1.25 * min(spent):
            named = ", ".join(f"{one.name} {one.search_seconds:.0f} s" for one in searched)
            found.append(
                f"The searches were planned at equal cost and measured at {named}: they are not "
                "equal within a quarter."
            )
    found += _ranks_like_chance(rankings)
    found += [told for arm, noise in noises.items() for told in _trials_alike(arm, noise)]
    if any(one.verdict == TOO_FEW for one in contrasts):
        found.append(
            "Intervals over so few seeds are wide and rest on the normality of the differences."
        )
    found += _trained_briefly(results)
    failed = [(one.name, one.trials[2]) for one in results if one.trials and one.trials[2]]
    found += [f"Of the trials of {name}, {spelled(count)} failed." for name, count in failed]
    return found


def _trained_briefly(results: Sequence[ArmResult]) -> list[str]:
    """One sentence where trainings of plain lie apart: by longer ones of ours they came together,
    and gains went (reports/longer)."""
    apart = next((one.summary.sd for one in results if one.name == PLAIN), None)
    if apart is None or apart <= WIDE:
        return []
    return [
        f"Trainings of plain lie {100 * apart:.1f} points apart (sd): networks trained so "
        "briefly may differ in how fast they learn and not in what they reach. Try a larger "
        "plan.retrain_epochs."
    ]


def _trials_alike(arm: str, noises: Sequence[TrialNoise]) -> list[str]:
    """One sentence of an arm some of whose searches tried networks and told none apart."""
    alike = [one for one in noises if not one.told_apart]
    if not alike:
        return []
    widest = max(alike, key=lambda one: one.sd)
    where = f"{len(alike)} of {len(noises)} searches" if len(noises) > 1 else "the search"
    return [
        f"In {where} by {arm} the scores of trials lie no further apart than luck (at most "
        f"{widest.words}), so what was kept there is luck."
    ]


def _ranks_like_chance(rankings: Sequence[Ranking]) -> list[str]:
    """One sentence of all cheap scores whose interval of τ holds no more than chance."""
    known = [one for one in rankings if one.agreement is not None]
    weak = [(one.predictor, one.agreement) for one in known if one.agreement.low <= 0]  # type: ignore[union-attr]
    if not weak:
        return []
    taus = sorted(told.tau for _, told in weak if told is not None)
    reach = signed(taus[0]) if len(taus) == 1 else f"{signed(taus[0])} to {signed(taus[-1])}"
    which = f"the {weak[0][0]}" if len(weak) == 1 else f"{len(weak)} of {len(known)} cheap scores"
    verb = "does" if len(weak) == 1 else "do"
    return [
        f"Within the interval of τ, {which} {verb} not rank networks better than chance: "
        f"τ {reach} ({plural(len(rankings[0].scores), 'network')})."
    ]


def _name(reference: str) -> str:
    return NAMES.get(reference, reference)
