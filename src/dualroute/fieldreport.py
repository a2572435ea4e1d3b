"""A field test for people: tables, sentences and a plot."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.text import Text

from dualroute.evaluation import EqualCost
from dualroute.fieldtest import FieldTest, RuleLine
from dualroute.figures import empty_figure, write_figure
from dualroute.report import plain, ruled_table, short

_NAMED = {"certified": "C2", "lambda": "black", "oracle": "C9"}  # drawn boldly


def field_report(test: FieldTest) -> Group:
    """Predictions, curves, rules and the regret split."""
    parts: list[RenderableType] = [_head(test), _forecast(test), _curves(test)]
    if test.rules:
        parts.append(_rules(test))
        parts += [Text(line) for line in _verdicts(test)]
    if test.split is not None:
        parts += [Text(line) for line in _split(test)]
    return Group(*parts)


def plot_field_test(test: FieldTest, path: str | Path) -> None:
    """Draw cost against quality: single models, every rule's hull, and the calibration.

    Parameters
    ----------
    path
        ``.png``, ``.svg`` or ``.pdf``.

    Raises
    ------
    OptionError, MissingDependencyError
        If the name ends otherwise, or matplotlib is absent.
    """
    figure = empty_figure(path, 11.5, 5.2)
    left, right = figure.subplots(1, 2, width_ratios=(2.2, 1))
    costs = [cost for cost, _ in test.singles.values()]
    left.scatter(
        costs,
        [quality for _, quality in test.singles.values()],
        color="0.55",
        s=18,
        zorder=3,
        label="single models" + (", without capacity" if _crowded(test) else ""),
    )
    drawn = [line for line in test.rules if line.curve is not None and line.rule != "single"]
    for number, line in enumerate(sorted(drawn, key=lambda one: one.rule)):
        assert line.curve is not None
        hull = line.curve.hull
        far = max(*costs, float(hull.cost[-1]))
        known = line.rule in _NAMED
        left.plot(
            [*hull.cost, far],
            [*hull.quality, hull.quality[-1]],
            color=_NAMED.get(line.rule, f"C{number % 10}"),
            linestyle="-" if known else ("--", ":", "-.")[number % 3],
            linewidth=2 if known else 1.2,
            marker="o" if len(hull.cost) == 1 else None,
            markersize=4,
            label=line.rule,
        )
    if not drawn:
        hull = test.predicted_curve.hull
        left.plot(hull.cost, hull.quality, color="C0", label="lambda rule on the predictions")
    left.set(xlabel="realised cost per query", ylabel="realised mean quality", xscale="log")
    left.grid(alpha=0.3)
    left.legend(fontsize=8, ncols=2, loc="lower right")
    for told_line in test.forecast:
        if told_line.calibration is not None:
            told, seen = np.array(told_line.calibration.bins).T
            right.plot([0, 1], [0, 1], color="0.7", linewidth=1)
            right.plot(told, seen, marker="o", markersize=4, color="C0")
            right.set_title(f"calibration: ECE {told_line.calibration.ece:.3f}", fontsize=10)
    right.set(xlabel="predicted quality", ylabel="realised quality", xlim=(0, 1), ylim=(0, 1))
    right.grid(alpha=0.3)
    crowd = "" if not _crowded(test) else f", each taking {test.capacity[0]:g} requests"
    figure.suptitle(
        f"{test.n_queries} queries, {test.n_models} models{crowd}; "
        f"{plain(test.predictor)} learned from {test.n_history}",
        fontsize=11,
    )
    write_figure(figure, path)


def _crowded(test: FieldTest) -> bool:
    return bool(np.isfinite(test.capacity).any())


def _head(test: FieldTest) -> Text:
    crowd = "no capacity binds"
    if _crowded(test):
        crowd = f"each model takes {test.capacity[0]:g} requests"
    return Text(
        f"{plain(test.predictor)} learned from {test.n_history} queries in "
        f"{test.fit_seconds:.1f} s and predicted {test.n_queries} x {test.n_models} in "
        f"{test.predict_seconds:.1f} s; {crowd}."
        + (f" Costs by the prices of {plain(test.prices)}." if test.prices else "")
    )


def _forecast(test: FieldTest) -> Any:
    table = ruled_table(
        "Predictions against what happened", ("column",), ("explained", "bias", "Brier", "ECE")
    )
    for line in test.forecast:
        judged = line.calibration
        table.add_row(
            plain(line.column),
            f"{100 * line.explained:.1f} %",
            f"{100 * line.bias:+.1f} %",
            "" if judged is None else f"{judged.brier:.4f}",
            "" if judged is None else f"{judged.ece:.4f}",
        )
    table.caption = "explained: of the variance about each model's mean"
    table.caption_justify = "left"
    return table


def _curves(test: FieldTest) -> Any:
    table = ruled_table(
        "Average improvement in quality (AIQ), no limit", ("rule",), ("AIQ", "95 %")
    )
    curve = test.predicted_curve
    table.add_row("single models, mixed", f"{test.singles_aiq:.4f}", "")
    table.add_row(
        f"lambda rule on {plain(test.predictor)}",
        f"{curve.aiq.value:.4f}",
        f"{curve.aiq.low:.4f} to {curve.aiq.high:.4f}",
    )
    table.add_row(
        "the same, over its own range",
        f"{curve.aiq_own.value:.4f}",
        f"{curve.aiq_own.low:.4f} to {curve.aiq_own.high:.4f}",
    )
    table.add_row("knowing every answer", f"{test.oracle_aiq:.4f}", "")
    if test.recovered is not None:
        apgr = test.recovered.apgr
        table.add_row("APGR", f"{apgr.value:.4f}", f"{apgr.low:.4f} to {apgr.high:.4f}")
        for asked, share in test.recovered.cpt.items():
            table.add_row(f"CPT {100 * asked:g} %", f"{100 * share:.1f} %", "")
    table.caption = "mean height of the hull between the cheapest and the dearest model's mean cost"
    table.caption_justify = "left"
    return table


def _rules(test: FieldTest) -> Any:
    title = "Rules against the certified plan at equal realised cost (quality points, 95 %)"
    headings = [f"at {short(cost)}" for cost in test.costs]
    table = ruled_table(title, ("rule",), (*headings, "predicted gap", "AIQ"))
    for line in sorted(test.rules, key=_rank):
        if line.curve is None:
            table.add_row(plain(line.rule), plain(line.problem), *[""] * 4)
            continue
        table.add_row(
            plain(line.rule),
            *(_difference(one, line.rule) for one in line.against),
            "-" if math.isnan(line.gap) else f"{100 * max(line.gap, 0.0):.2f}",
            f"{line.curve.aiq.value:.4f}",
        )
    table.caption = (
        "*: no certified plan costs as little, or as much; predicted gap: points that the "
        "certified plan of the same predicted cost has more"
    )
    table.caption_justify = "left"
    return table


def _rank(line: RuleLine) -> tuple[bool, float]:
    return line.curve is None, -line.curve.aiq.value if line.curve is not None else 0.0


def _difference(one: EqualCost, rule: str) -> str:
    if rule == "certified":
        return f"{one.quality:.4f}"
    star = "" if one.bracketed else "*"
    return f"{100 * one.difference:+.1f} [{100 * one.low:+.1f}, {100 * one.high:+.1f}]{star}"


def _verdicts(test: FieldTest) -> list[str]:
    """What the lambda rule says of joint optimization, in words."""
    line = next((one for one in test.rules if one.rule == "lambda" and one.curve is not None), None)
    if line is None:
        return []
    better = [one for one in line.against if one.bracketed and one.high < 0]
    worse = [one for one in line.against if one.bracketed and one.low > 0]
    if not better and not worse:
        return [
            "The lambda rule is not told apart from the certified plan at any of these costs: "
            "joint optimization gains nothing that this batch could show."
        ]
    parts = []
    if better:
        gains = " and ".join(f"{-100 * one.difference:.1f}" for one in better)
        parts.append(f"joint optimization gains {gains} points over the lambda rule")
    if worse:
        losses = " and ".join(f"{100 * one.difference:.1f}" for one in worse)
        parts.append(f"the lambda rule is better by {losses} points")
    return [f"At {len(better) + len(worse)} of {len(line.against)} costs {', and '.join(parts)}."]


def _split(test: FieldTest) -> list[str]:
    split = test.split
    assert split is not None
    broken = [name for name, kept in split.kept.items() if not kept]
    lines = [
        "Where the objective is lost, per query on what happened: without any limit "
        f"{short(split.unlimited)}; the optimum under the limits for one who knows every answer "
        f"{short(split.truth)} (certified to {split.truth_gap:.1e}); the plan made on predictions "
        f"{short(split.plan)}, where they promised {short(split.predicted)}; of that the solver "
        f"lost at most {split.solver_gap:.1e}."
    ]
    if broken:
        lines.append(
            f"On what happened the plan breaks {', '.join(map(plain, broken))}: predictions are "
            "not outcomes; give the limit a confidence."
        )
    return lines
