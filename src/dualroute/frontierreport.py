"""Frontiers, sensitivities and variants for people: short tables, and a plot."""

import math
from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from dualroute.figures import empty_figure, write_figure
from dualroute.frontier import Frontier, Spot
from dualroute.report import number, plain, ruled_table, short
from dualroute.sensitivity import Sensitivity
from dualroute.whatif import WhatIf


def frontier_report(frontier: Frontier) -> Group:
    """Every point, what was solved and what was filled, and the rules to compare with."""
    swept = f"{plain(frontier.limit)} {frontier.relation}"
    table = ruled_table(
        f"Frontier: {frontier.sense} {plain(frontier.unit)}, swept {plain(frontier.limit)}",
        (),
        (swept, "objective", "certified bound", "gap", "mean cost", "mean quality", "price"),
    )
    table.add_column("status")
    for point in frontier.points:
        table.add_row(
            short(point.value),
            number(point.objective),
            number(point.certified_bound),
            "-" if math.isnan(point.gap) else f"{point.gap:.1e}",
            "-" if point.mean_cost is None else short(point.mean_cost),
            "-" if point.mean_quality is None else f"{point.mean_quality:.4f}",
            short(point.price),
            point.status if point.solved else f"{point.status}, filled",
        )
    parts: list[RenderableType] = [table]
    if frontier.singles:
        others = ruled_table(
            "For comparison, whatever the limits", ("rule",), ("mean cost", "mean quality")
        )
        for spot in frontier.singles:
            others.add_row(plain(spot.name), short(spot.mean_cost), f"{spot.mean_quality:.4f}")
        for spot in _some(frontier.lambda_curve):
            others.add_row(plain(spot.name), short(spot.mean_cost), f"{spot.mean_quality:.4f}")
        corners = ", ".join(plain(spot.name) for spot in frontier.blind)
        others.caption = f"zero router: mixtures of {corners}"
        others.caption_justify = "left"
        parts.append(others)
    solved = sum(point.solved for point in frontier.points)
    parts.append(
        Text(
            f"{solved} points solved, {len(frontier.points) - solved} filled from prices and "
            f"routings of the others; {frontier.solves} solves in {frontier.seconds:.2f} s "
            f"by {plain(frontier.solver)}; price: {plain(frontier.unit)} per unit of "
            f"{plain(frontier.limit_unit)}."
        )
    )
    return Group(*parts)


def sensitivity_report(found: Sensitivity) -> Group:
    """One sentence per limit that is worth something, and how many are worth nothing."""
    gap = "" if math.isnan(found.gap) else f", gap {found.gap:.1e}"
    head = f"{found.sense} {plain(found.unit)}: {number(found.objective)} ({found.status}{gap})"
    told = [line for line in found.lines if line.price > 0]
    idle = len(found.lines) - len(told)
    parts = [Text(head), *(Text(plain(line.words)) for line in told)]
    if idle:
        parts.append(Text(f"{idle} further limits have a price of 0"))
    return Group(*parts)


def what_if_report(found: WhatIf) -> Group:
    """Base and variants, a line each."""
    table = ruled_table(
        f"What if: {found.sense} {plain(found.unit)}",
        ("variant", "status"),
        ("objective", "certified bound", "change, at least", "at most", "mean cost",
         "mean quality"),
    )  # fmt: skip
    for one in (found.base, *found.variants):
        told = one.to_dict()
        cost, quality = told["mean_cost"], told["mean_quality"]
        table.add_row(
            plain(one.words),
            one.plan.status,
            number(one.objective),
            number(one.certified_bound),
            "" if one is found.base else short(one.change_low),
            "" if one is found.base else short(one.change_high),
            "-" if cost is None else short(cost),
            "-" if quality is None else f"{quality:.4f}",
        )
    return Group(table)


def plot_frontier(frontier: Frontier, path: str | Path) -> None:
    """Draw mean quality over mean cost: certified points, single models, and the simple rules.

    Without both columns, the objective over the swept limit, with its certified bound.

    Parameters
    ----------
    path
        ``.png``, ``.svg`` or ``.pdf``.

    Raises
    ------
    OptionError, MissingDependencyError
        As `dualroute.figures.check_figure` does.
    """
    figure = empty_figure(path, 6.4, 4.4)
    panel = figure.subplots()
    routed = [point for point in frontier.points if not math.isnan(point.objective)]
    if frontier.singles:
        panel.plot(
            [point.mean_cost for point in routed if point.mean_cost is not None],
            [point.mean_quality for point in routed if point.mean_quality is not None],
            marker="o",
            markersize=3,
            label="certified frontier",
        )
        for spots, name, style in (
            (frontier.lambda_curve, "one lambda, no other limits", "--"),
            (frontier.blind, "zero router", ":"),
        ):
            cost, quality = _drawn(spots)
            panel.plot(cost, quality, linestyle=style, label=name)
        panel.plot(*_drawn(frontier.singles), "k^", markersize=4, label="single models")
        panel.set(xlabel="mean cost", ylabel="mean quality")
        if all(spot.mean_cost > 0 for spot in frontier.singles):  # prices differ by decades
            panel.set(xscale="log")
    else:
        values = [point.value for point in routed]
        panel.plot(values, [point.objective for point in routed], marker="o", markersize=3,
                   label="certified frontier")  # fmt: skip
        bounds = [point.certified_bound for point in routed]
        panel.plot(values, bounds, linestyle="--", label="certified bound")
        panel.set(xlabel=f"{frontier.limit} ({frontier.limit_unit})", ylabel=frontier.unit)
    panel.grid(alpha=0.3)
    panel.legend()
    write_figure(figure, path)


_SHOWN = 8  # points of the lambda curve in a table


def _some(spots: tuple[Spot, ...]) -> tuple[Spot, ...]:
    return spots[:: max(1, -(-len(spots) // _SHOWN))]


def _drawn(spots: tuple[Spot, ...]) -> tuple[list[float], list[float]]:
    return [spot.mean_cost for spot in spots], [spot.mean_quality for spot in spots]
