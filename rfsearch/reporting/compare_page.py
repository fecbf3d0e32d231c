"""The page of a comparison: one offline file, from the comparison's raw records alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rfsearch.reporting import (
    compare_data,
    compare_figures,
    compare_verdict,
    frames,
    quantities,
)
from rfsearch.reporting.charts import Chart, chart
from rfsearch.reporting.compare_records import CompareRecords, read
from rfsearch.reporting.quantities import MISSING, percent, points, signed
from rfsearch.reporting.tables import Cell, Table, operator, plain_text, table
from rfsearch.reporting.template import base, put, template


def write(folder: Path) -> Path:
    """Read, render and put ``report.html`` in place as a whole or not at all."""
    return put(render(read(folder)), folder / "report.html")


def render(records: CompareRecords) -> str:
    """The page as text."""
    return template("compare_page.html").render(_content(records))


def _content(records: CompareRecords) -> dict[str, Any]:
    results = compare_data.results(records)
    contrasts = compare_data.contrasts(records)
    rankings = compare_data.rankings(records)
    finals = compare_data.points(records)
    config = records.config
    return {
        "name": records.folder.resolve().name,
        "headline": compare_verdict.headline(contrasts, len(records.seeds)),
        "scores": compare_verdict.scores(results, records.metric),
        "intervals": compare_verdict.intervals(contrasts),
        "doubts": compare_verdict.doubts(
            results, rankings, contrasts, compare_data.trial_noises(records)
        ),
        "reduces": config.get("reduces", ""),
        "objectives": list(config["expected"].get("objectives", {}).values()),
        "dials": dials(records),
        "contrasts": contrast_table(records),
        "finals": finals_chart(results, records.metric),
        "results": result_table(results, records.metric),
        "pairs": pair_table(records),
        "anytime": anytime_chart(records),
        "metric": capital(records.metric),
        "pareto_charts": pareto_charts(finals, records.metric),
        "pareto": pareto_table(finals, records.metric),
        "latency": latency_chart(records),
        "ranks": rank_chart(rankings, records.metric),
        "rank_table": rank_table(rankings),
        "chosen": chosen_table(records),
        "budget": budget_table(records),
        "broken": broken_table(records),
        "settings": settings_table(records),
        "definition": definition_table(records),
        **base("page.css", "page.js"),
    }


def dials(records: CompareRecords) -> list[tuple[str, str]]:
    """What tells this comparison from others."""
    config = records.config
    frozen = config["definition"]
    height, width = frozen["image_size"]
    return [
        ("strategies", ", ".join(records.arms)),
        ("search seeds", ", ".join(map(str, records.seeds))),
        ("backbone", frozen["backbone"]),
        ("space", frozen["space"]),
        ("data", frozen["data"]),
        ("image size", f"{quantities.size(height, width)} px"),
        ("budget", config["budget"]),
        ("benchmark", config["hash"][:12]),
    ]


def contrast_table(records: CompareRecords) -> Table:
    """Every difference with its interval and adjusted p."""
    rows = [
        [one.arm, one.against, points(one.mean), f"{points(one.low)} to {points(one.high)}",
         one.num_seeds, f"{one.p:.3f}", f"{one.adjusted:.3f}", one.verdict]
        for one in compare_data.contrasts(records)
    ]  # fmt: skip
    caption = (
        f"Points of test {records.metric}, paired by search seed, retrainings of a seed averaged "
        "first; 95 % t interval; p two-sided, and after Holm over all rows. Below six search "
        "seeds no row says better or worse."
    )
    return table(caption, "finals.csv", ("arm", "against", "difference", "interval", "seeds", "p",
                 "p, Holm", "verdict"), "llrrrrrl", rows)  # fmt: skip


def result_table(results: Sequence[compare_data.ArmResult], metric: str) -> Table:
    """Scores of arms and controls."""
    rows = []
    for one in results:
        told = one.summary
        trials = MISSING if one.trials is None else " / ".join(map(str, one.trials))
        rows.append(
            [one.name, told.num, percent(told.mean), _sd(told.sd), percent(told.median),
             f"{percent(told.low_quartile)} to {percent(told.high_quartile)}",
             MISSING if one.improvement is None else f"{points(one.improvement)} %",
             quantities.seconds(one.search_seconds), trials, one.label]
        )  # fmt: skip
    caption = (
        f"Test {metric} over search seeds (of random networks: over networks). Relative "
        "improvement is against the mean of random networks. Trials: complete / pruned / failed."
    )
    columns = ("arm", "n", "mean", "sd", "median", "quartiles", "relative improvement",
               "search", "trials", "note")  # fmt: skip
    return table(caption, "finals.csv, cells/*/trials.csv", columns, "lrrrrrrrrl", rows)


def _sd(value: float | None) -> str:
    return MISSING if value is None else f"{100 * value:.1f}"


def pair_table(records: CompareRecords) -> Table:
    """McNemar within every seed."""
    rows = [
        [f"{one.first} and {one.second}", one.seed, one.only_first, one.only_second,
         f"{one.p:.3f}"]
        for one in compare_data.pairs(records)
    ]  # fmt: skip
    caption = (
        "McNemar's exact test of two trained networks (first retraining) on the same test images: "
        "images that only one of them predicts right. It speaks of these networks on other "
        "images, not of strategies."
    )
    columns = ("networks", "search seed", "only the first", "only the second", "p")
    return table(caption, "cells/*/predictions.csv", columns, "lrrrr", rows)


def finals_chart(results: Sequence[compare_data.ArmResult], metric: str) -> Chart:
    """Scores by arm and control."""
    parts = [f"{one.name} {percent(one.summary.mean)}" for one in results]
    return chart(
        "finals",
        f"Test {metric} of the final networks",
        f"Means: {'; '.join(parts)}.",
        compare_figures.finals(results, metric),
        note="A dot per search seed, its retrainings averaged; a bar at the mean.",
    )


def anytime_chart(records: CompareRecords) -> Chart:
    """Best so far against cost."""
    data = compare_data.anytime(records)
    rows = [
        [one.arm, f"{seconds:.1f}", percent(mean), f"{percent(low)} to {percent(high)}"]
        for one in data
        for seconds, mean, low, high in zip(one.seconds, one.mean, one.low, one.high, strict=True)
    ]
    parts = [f"{one.arm} ends at {percent(one.mean[-1])}" for one in data]
    numbers = table("Best score so far by cost.", "cells/*/trials.csv", ("arm", "seconds", "mean",
                    "range over seeds"), "lrrr", rows)  # fmt: skip
    return chart(
        "anytime",
        "Best selection score so far against seconds of search",
        f"{'; '.join(parts)}.",
        compare_figures.anytime(data, records.arms),
        numbers,
        note="Mean over search seeds; the band runs from the lowest to the highest. A score is "
        "what the search itself saw: of cheaply trained networks, or by a supernet's weights, "
        "where there is one point at the end. Levels of different kinds of arms do not compare; "
        "the final networks do.",
    )


def capital(words: str) -> str:
    """At the beginning of a heading.

    >>> capital("macro F1")
    'Macro F1'
    """
    return words[:1].upper() + words[1:]


ONE_SHOT = ("nni-darts", "nni-gumbel")
COSTS = {"macs": "multiply-adds", "params": "parameters", "latency": "latency, ms"}


def pareto_charts(points_: Sequence[compare_data.Point], metric: str) -> list[Chart]:
    """Score against every cost in which the networks differ."""
    found = []
    for measure, title in COSTS.items():
        values = {getattr(point, measure) for point in points_}
        if len(values) > 1:
            heading = f"{capital(metric)} against {title}"
            text = f"{heading}, {min(values):,.4g} to {max(values):,.4g}."
            figure = compare_figures.costs(points_, measure, title, metric)
            found.append(chart(f"cost-{measure}", heading, text, figure))
    return found


def pareto_table(points_: Sequence[compare_data.Point], metric: str) -> Table:
    """Every final network; those that none beats in all."""
    rows = [
        [Cell(point.cell, title=point.name), percent(point.score),
         quantities.count(point.macs), quantities.count(point.params), f"{point.latency:.2f}",
         quantities.count(point.window_ops), "none beats it" if point.efficient else ""]
        for point in sorted(points_, key=lambda one: -one.score)
    ]  # fmt: skip
    same = len({point.macs for point in points_}) == 1
    caption = (
        "Final networks, trainings averaged. Marked are those that no other one beats in "
        f"{metric}, MACs, parameters and latency together."
    )
    caption += " All have the same MACs, so MACs tell none apart." if same else ""
    columns = ("network", metric, "MACs", "parameters", "latency, ms", "window ops", "")
    return table(caption, "finals.csv", columns, "lrrrrrl", rows)


def latency_chart(records: CompareRecords) -> Chart | None:
    """Predicted against measured latency of whole networks."""
    data, told = compare_data.latency(records), records.latency
    if data is None or told is None:
        return None
    rows = [
        [" | ".join(held), f"{predicted:.2f}", f"{measured:.2f}",
         f"{points(predicted / measured - 1)} %"]
        for held, predicted, measured in zip(
            data.choices, data.predicted, data.measured, strict=True)
    ]  # fmt: skip
    numbers = table("Milliseconds of one image.", "latency.json",
                    ("network", "predicted", "measured", "error"), "lrrr", rows)  # fmt: skip
    ranked = data.agreement
    order = (
        f" Kendall's τ {signed(ranked.tau)} ({signed(ranked.low)} to {signed(ranked.high)})."
        if ranked
        else ""
    )
    return chart(
        "latency",
        "Latency: predicted from the table of operators, and measured",
        f"{quantities.plural(len(rows), 'whole network')}: mean error "
        f"{percent(data.error)} of the measured, mean bias {points(data.bias)} %.{order}",
        compare_figures.latency(data),
        numbers,
        note="Predicted: the plain network and the operator of every slot, each measured alone. "
        "Measured: by turns with the plain network, and told for a machine on which that takes "
        f"{data.plain:.2f} ms, as it did when the table was made. "
        f"Batch {told['batch']}, {quantities.plural(told['threads'], 'thread')}, "
        f"{told['device']}. On the dotted line both are equal.",
    )


def rank_chart(rankings: Sequence[compare_data.Ranking], metric: str) -> Chart | None:
    """Cheap scores against what the networks reach trained alone."""
    if not rankings:
        return None
    parts = [
        f"{one.predictor}: τ {signed(one.agreement.tau)}" for one in rankings if one.agreement
    ]
    return chart(
        "ranks",
        f"Cheap scores of the random networks against their {metric} trained alone",
        f"{'; '.join(parts)}.",
        compare_figures.ranks(rankings, metric),
        note="Supernets are taken before their first freeze; BatchNorm's statistics are estimated "
        "again for every network.",
    )


def rank_table(rankings: Sequence[compare_data.Ranking]) -> Table:
    """Kendall's τ and precision."""
    rows: list[list[Any]] = []
    for one in rankings:
        told = one.agreement
        if told is None:
            rows.append([one.predictor, len(one.scores), *[MISSING] * 4])
        else:
            rows.append(
                [one.predictor, told.num, signed(told.tau),
                 f"{signed(told.low)} to {signed(told.high)}",
                 f"{told.precision:.2f} at {told.k}", f"{told.chance:.2f}"]
            )  # fmt: skip
    caption = "Kendall's τ with a 95 % interval; precision at k is the share of the best k found."
    columns = ("score", "networks", "τ", "interval", "precision", "by chance")
    return table(caption, "cells/*/ranks.json, cells/sample*/metrics.json", columns, "lrrrrr",
                 rows)  # fmt: skip


def chosen_table(records: CompareRecords) -> Table:
    """What every search chose, slot by slot."""
    found = compare_data.chosen(records)
    rows = [
        [f"{arm}, seed {seed}", *(operator(label) for label in labels)]
        for arm, seed, labels in found
    ]
    num = len(found[0][2])
    return table("What every search chose, slots in network order.", "finals.csv",
                 ("search", *(str(slot + 1) for slot in range(num))), "l" * (num + 1),
                 rows)  # fmt: skip


def budget_table(records: CompareRecords) -> Table:
    """What every arm was given, and what it spent."""
    rows = []
    searches = records.finals[records.finals["group"] == "search"].drop_duplicates("cell")
    for arm in records.config["arms"]:
        plan = arm["plan"]
        epochs = plan["warmup_epochs"] + plan["search_epochs"] + plan["adapt_epochs"]
        what = {"epochs": f"{epochs} epochs", "trials": f"{plan['trials']} trials",
                "both": f"{epochs} epochs, {plan['trials']} trials"}[arm["spends"]]  # fmt: skip
        trained = any(
            frames.has_own_trainings(search.history)
            for search in records.searches
            if search.arm == arm["name"]
        )
        proxy = f"{plan['proxy_epochs']} epochs on {plan['proxy_images']} images"
        spent = searches[searches["arm"] == arm["name"]]["search_seconds"]
        rows.append(
            [arm["name"], what, proxy if trained else MISSING,
             quantities.seconds(records.config["expected"]["search_seconds"]),
             quantities.seconds(float(spent.mean()))]
        )  # fmt: skip
    caption = (
        "One search: planned once by timing real steps, with training of supernets, trials, "
        "selection and proposals counted; final trainings are apart."
    )
    columns = ("arm", "plan", "cheap training of a trial", "planned", "measured, mean")
    return table(caption, "config.json, finals.csv", columns, "lllrr", rows)


def broken_table(records: CompareRecords) -> Table:
    """Pruned and failed trials, one by one."""
    rows = [
        [f"{arm}, seed {seed}", number, state, held, quantities.seconds(seconds)]
        for arm, seed, number, state, held, seconds in compare_data.broken(records)
    ]
    return table(f"Trials that were stopped early or failed: {len(rows)}.", "cells/*/trials.csv",
                 ("search", "trial", "state", "network", "took"), "lrllr", rows)  # fmt: skip


def settings_table(records: CompareRecords) -> Table:
    """Every strategy's own settings."""
    arms = records.config["arms"]
    keys = sorted({key for arm in arms for key in arm["settings"]})
    rows = [[key, *(plain_text(arm["settings"].get(key)) for arm in arms)] for key in keys]
    caption = (
        "Settings of the strategies; an arm uses those of its own kind. Nothing was tuned on "
        "this benchmark: sampling takes its libraries' defaults, pmpl its own."
    )
    if any(arm["strategy"] in ONE_SHOT for arm in arms):
        caption += (
            " NNI's one-shot searches take pmpl.alpha_lr and pmpl.alpha_batch of these and have "
            "NNI's defaults for the rest: Adam with betas 0.5 and 0.999 and weight decay 0.001, "
            "a Gumbel temperature from 1 to 0.33."
        )
    return table(caption, "config.json", ("setting", *(arm["name"] for arm in arms)),
                 "l" * (1 + len(arms)), rows)  # fmt: skip


def definition_table(records: CompareRecords) -> Table:
    """The frozen benchmark."""
    frozen = records.config["definition"]
    rows = []
    for key, value in frozen.items():
        if isinstance(value, dict):
            rows += [[f"{key}: {name}", plain_text(one)] for name, one in value.items()]
        else:
            rows.append([key, plain_text(value)])
    caption = f"The frozen benchmark; results with another hash are refused. {_hash(records)}"
    return table(caption, "config.json", ("what", "value"), "ll", rows)


def _hash(records: CompareRecords) -> str:
    return f"sha256 {records.config['hash']}."
