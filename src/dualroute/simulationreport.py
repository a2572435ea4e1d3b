"""What a simulation found, for people: tables and a figure."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dualroute.figures import empty_figure, write_figure
from dualroute.simulation import Simulation

if TYPE_CHECKING:
    from rich.console import RenderableType


def simulation_report(result: Simulation) -> "RenderableType":
    """What a simulation found, for people: one table for every order of arrival."""
    from rich.console import Group
    from rich.text import Text

    from dualroute.report import plain, ruled_table, short

    over = max((one.worst for one in result.offline_broken), default=0.0)
    head = (
        f"{result.n_queries} queries, {result.n_models} models, {result.seeds} streams per order; "
        f"prices from {plain(result.prices_from)}. The plan of all queries together reaches "
        f"{100 * result.offline_ratio:.2f} % of the certified optimum on the truth"
        + (f", and breaks a limit by {100 * over:.2f} %." if over > 0 else ".")
    )
    if result.outage is not None:
        gone = result.outage
        head += f" {plain(gone.model)} is out from {gone.start:.0%} to {gone.stop:.0%}."
    parts: list[RenderableType] = [Text(head)]
    headings = ("% of optimum", "95 % of streams", "cost", "quality", "refused", "us", "broken")
    for order in dict.fromkeys(line.order for line in result.lines):
        table = ruled_table(f"Arrival: {order}", ("rule",), headings)
        for line in sorted(
            (one for one in result.lines if one.order == order), key=lambda one: -one.ratio.value
        ):
            broken = [
                f"{plain(one.name)} {one.share:.0%}, by {100 * one.mean:.2f} %"
                for one in line.broken
                if one.share > 0
            ]
            table.add_row(
                plain(line.policy),
                f"{100 * line.ratio.value:.2f}",
                f"{100 * line.ratio.low:.2f} to {100 * line.ratio.high:.2f}",
                "-" if line.cost is None else short(line.cost.value),
                "-" if line.quality is None else f"{line.quality.value:.4f}",
                f"{line.refused:.1f}",
                f"{line.microseconds[0]:.0f}",
                "; ".join(broken) or "-",
            )
        table.caption = "broken: limits exceeded, in how many of the streams, and by how much there"
        table.caption_justify = "left"
        parts.append(table)
    return Group(*parts)


def plot_simulation(result: Simulation, path: str | Path) -> None:
    """Draw realised cost against quality, and the use of the tightest limit over the stream.

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
    left, right = figure.subplots(1, 2)
    policies = list(dict.fromkeys(line.policy for line in result.lines))
    orders = list(dict.fromkeys(line.order for line in result.lines))
    colour = {name: f"C{k % 10}" for k, name in enumerate(policies)}
    marker = dict(zip(orders, "os^vD*" * len(orders), strict=False))
    stroke = dict(zip(orders, ("-", "--", ":", "-.") * len(orders), strict=False))
    for line in result.lines:
        words = f"{line.policy}, {line.order}"
        if line.cost is not None and line.quality is not None:
            left.errorbar(
                line.cost.value,
                line.quality.value,
                xerr=[[line.cost.value - line.cost.low], [line.cost.high - line.cost.value]],
                yerr=[
                    [line.quality.value - line.quality.low],
                    [line.quality.high - line.quality.value],
                ],
                color=colour[line.policy],
                marker=marker[line.order],
                markersize=6,
                linewidth=0.8,
                linestyle="",
                label=words,
            )
        moments = np.linspace(0, 100, line.path.size)
        right.plot(
            moments,
            100 * line.path,
            color=colour[line.policy],
            linestyle=stroke[line.order],
            linewidth=1.2,
        )
    if result.offline_cost is not None and result.offline_quality is not None:
        left.scatter(
            [result.offline_cost],
            [result.offline_quality],
            color="black",
            marker="*",
            s=90,
            zorder=3,
            label="plan of all queries",
        )
    right.axhline(100, color="0.6", linewidth=1)
    if result.outage is not None:
        right.axvspan(100 * result.outage.start, 100 * result.outage.stop, color="0.9")
    left.set(xlabel="realised total cost", ylabel="realised mean quality")
    right.set(xlabel="% of the stream", ylabel=f"% of {result.tightest or 'no limit'} used")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    if left.get_legend_handles_labels()[0]:
        left.legend(fontsize=7, ncols=2)
    figure.suptitle(
        f"{result.n_queries} queries, {result.n_models} models, {result.seeds} streams per order",
        fontsize=11,
    )
    write_figure(figure, path)
