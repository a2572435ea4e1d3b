"""A plan of replicas for people: tables, sentences and a plot."""

import math
from pathlib import Path

import numpy as np
from rich.console import Group, RenderableType
from rich.text import Text

from dualroute.figures import empty_figure, write_figure
from dualroute.planning import ReplicaPlan
from dualroute.report import number, ruled_table, short


def replica_report(plan: ReplicaPlan) -> Group:
    """Counts of every period, what they cost, and what is proved."""
    if plan.counts is None:
        said = (
            "No counts within their limits serve all traffic: proved."
            if plan.infeasible
            else "No counts that serve all traffic were found in the time given."
        )
        return Group(Text(said))
    table = ruled_table("Replicas", ("period",), [one.model for one in plan.replicas])
    for name in ("queries", "fullest", "routing cost"):
        table.add_column(name, justify="right")
    for t, period in enumerate(plan.periods):
        queries, cost, fullest = _period(plan, t, period)
        table.add_row(
            period,
            *(str(count) for count in plan.counts[t].tolist()),
            f"{queries:.0f}",
            "" if math.isnan(fullest) else f"{100 * fullest:.0f} %",
            number(cost),
        )
    parts: list[RenderableType] = [table]
    unit = f" {plan.unit}" if plan.unit else ""
    routed = plan.objective - plan.replica_cost
    parts.append(
        Text(
            f"{number(plan.objective)}{unit} in all: {number(plan.replica_cost)} for replicas, "
            f"{number(routed)} for routing. "
            + (
                f"No plan costs less than {number(plan.certified_bound)}: proved, so this is "
                f"within {short(100 * plan.gap)} % of the best."
                if math.isfinite(plan.certified_bound)
                else "Nothing is proved yet about how far from the best it is."
            )
        )
    )
    if len(plan.scenarios) > 1:
        told = ", ".join(
            f"{name} ({100 * p:g} %) {number(cost)}"
            for p, (name, cost) in zip(
                plan.probabilities, plan.scenario_cost().items(), strict=True
            )
        )
        parts.append(Text(f"By scenario: {told}; the worst {number(plan.worst)}."))
    parts.append(
        Text(f"{plan.evaluations} counts tried, {plan.nodes} nodes, {plan.seconds:.1f} s.")
    )
    return Group(*parts)


def _period(plan: ReplicaPlan, t: int, period: str) -> tuple[float, float, float]:
    """Queries and routing cost of a period, expected, and the fullest model's use of capacity."""
    assert plan.counts is not None
    queries, cost, fullest = 0.0, 0.0, math.nan
    for scenario, chance in zip(plan.scenarios, plan.probabilities, strict=True):
        routed, weight = plan.plans[scenario, period], plan.weights[scenario, period]
        queries += chance * weight * routed.problem.n_queries
        cost += chance * weight * routed.objective
        assert routed.assignment is not None
        for r, one in enumerate(plan.replicas):
            if plan.counts[t, r]:
                mine = routed.assignment == routed.outcomes.model_index(one.model)
                taken = float(mine.sum())
                if one.column is not None:
                    grid = routed.outcomes.column(one.column)
                    shape = (routed.outcomes.n_queries, routed.outcomes.n_models)
                    column = routed.outcomes.model_index(one.model)
                    taken = float(np.broadcast_to(grid, shape)[mine, column].sum())
                held = one.size * plan.counts[t, r]
                fullest = float(np.fmax(fullest, weight * taken / held))
    return queries, cost, fullest


def plot_replicas(plan: ReplicaPlan, path: str | Path) -> None:
    """Draw the replicas of every period, stacked, above the queries they serve.

    Parameters
    ----------
    path
        ``.png``, ``.svg`` or ``.pdf``.

    Raises
    ------
    OptionError, MissingDependencyError
        If the name ends otherwise, or matplotlib is absent.
    """
    figure = empty_figure(path, 9.5, 5.6)
    above, below = figure.subplots(2, 1, height_ratios=(2.4, 1), sharex=True)
    where = np.arange(len(plan.periods))
    base = np.zeros(where.size)
    counts = np.zeros((where.size, len(plan.replicas))) if plan.counts is None else plan.counts
    for r, one in enumerate(plan.replicas):
        if counts[:, r].any():
            above.bar(where, counts[:, r], bottom=base, color=f"C{r % 10}", label=one.model,
                      width=0.85)  # fmt: skip
            base = base + counts[:, r]
    above.set(ylabel="replicas")
    above.grid(alpha=0.3, axis="y")
    handles, labels = above.get_legend_handles_labels()
    if handles:  # in the order they stand in
        above.legend(handles[::-1], labels[::-1], fontsize=8, loc="center left",
                     bbox_to_anchor=(1.0, 0.5))  # fmt: skip
    if plan.plans:
        for scenario in plan.scenarios:
            sizes = [
                plan.weights[scenario, period] * plan.plans[scenario, period].problem.n_queries
                for period in plan.periods
            ]
            below.plot(where, sizes, marker="o", markersize=3, label=scenario or None)
        if len(plan.scenarios) > 1:
            below.legend(fontsize=8)
    below.set(ylabel="queries", xlabel="period", ylim=(0, None))
    below.grid(alpha=0.3)
    step = max(1, where.size // 24)
    below.set_xticks(where[::step], plan.periods[::step])
    write_figure(figure, path)
