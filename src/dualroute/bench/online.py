"""How long a policy takes to route one query, and how many it routes a second from a table."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from dualroute.arrays import Floats
from dualroute.bench.suites import Tell, silent
from dualroute.errors import OptionError
from dualroute.formulation import Budget, Capacity, Limit
from dualroute.outcomes import Outcomes
from dualroute.policy import UPDATES, Policy, Update
from dualroute.routing import solve
from dualroute.solver import SolveOptions

if TYPE_CHECKING:
    from rich.console import Group

_PLANNED = 2_000  # queries of the plan that the prices are from
_CROWD = 1.5  # even shares that each model takes
_OPTIONS = SolveOptions(mip_rel_gap=1e-3, time_limit=300.0)


@dataclass(frozen=True, slots=True)
class OnlineRow:
    """What one way to move prices took, with one number of models.

    Attributes
    ----------
    update
        As in `Policy`.
    n_queries, n_models, n_limits
        Of the stream: a budget and a capacity for each model.
    route, observe
        Microseconds of a decision, and of its correction by what the query really took: the
        median and the 99th percentile.
    stopped
        Share of the decisions that a hard stop changed; those take longer.
    per_second
        Queries a second of `Stream.route_batch` on the whole table.
    """

    update: str
    n_queries: int
    n_models: int
    n_limits: int
    route: tuple[float, float]
    observe: tuple[float, float]
    stopped: float
    per_second: float


def bench_online(
    updates: Sequence[Update] = UPDATES,
    models: Sequence[int] = (16,),
    n_queries: int = 10_000,
    *,
    seed: int = 0,
    tell: Tell = silent,
) -> list[OnlineRow]:
    """Measure decisions on simulated tables, one query at a time and by the table.

    Parameters
    ----------
    updates
        Ways to move prices, as `Policy` names them.
    models
        Numbers of models.
    n_queries
        Of the stream.
    seed
        Of the tables.
    tell
        Called with a line before each case.

    Returns
    -------
    list of OnlineRow
        Models by models, in the order asked.

    Raises
    ------
    OptionError
        If there is no such update, or a number is below 1.
    """
    unknown = [update for update in updates if update not in UPDATES]
    if unknown or not updates:
        found = repr(unknown[0]) if unknown else "none"
        raise OptionError(f"update of prices: found {found}; choose among {', '.join(UPDATES)}")
    if min(n_queries, *models, 1) < 1:
        raise OptionError("give at least one query and one model")
    rows = []
    for m in models:
        history, stream = _table(_PLANNED, m, seed), _table(n_queries, m, seed + 1)
        spend = 1.01 * _PLANNED * float(history.column("cost").mean())
        limits: list[Limit] = [Budget(spend), Capacity(math.ceil(_CROWD * _PLANNED / m))]
        plan = solve(history, maximize="quality", limits=limits, options=_OPTIONS)
        policy = Policy.of(plan, horizon=n_queries)
        for update in updates:
            tell(f"{update}: {n_queries} queries x {m} models, {m + 1} limits")
            rows.append(_measured(replace(policy, update=update), stream))
    return rows


def _measured(policy: Policy, table: Outcomes) -> OnlineRow:
    """Route a table query by query, then again all at once."""
    n = table.n_queries
    columns = {name: table.column(name) for name in policy.columns}
    routed, observed, stopped = np.zeros(n), np.zeros(n), 0
    stream = policy.start(table.models)
    for i in range(n):
        told = {name: grid[i] for name, grid in columns.items()}
        begun = time.perf_counter()
        decision = stream.route(told)
        answered = time.perf_counter()
        seen = {name: 1.05 * float(values[decision.model]) for name, values in told.items()}
        known = time.perf_counter()
        stream.observe(decision, seen)
        observed[i] = time.perf_counter() - known
        routed[i] = answered - begun
        stopped += decision.stopped
    stream = policy.start(table.models)
    begun = time.perf_counter()
    stream.route_batch(table)
    took = time.perf_counter() - begun
    return OnlineRow(
        update=policy.update,
        n_queries=n,
        n_models=table.n_models,
        n_limits=sum(account.limit.size for account in policy.accounts),
        route=_microseconds(routed),
        observe=_microseconds(observed),
        stopped=stopped / n,
        per_second=n / took,
    )


def _microseconds(seconds: Floats) -> tuple[float, float]:
    median, high = 1e6 * np.percentile(seconds, [50, 99])
    return float(median), float(high)


def _table(n: int, m: int, seed: int) -> Outcomes:
    """A simulated table: dearer models are better, on average."""
    draw = np.random.default_rng(seed)
    strength = np.linspace(0.3, 0.9, m)
    quality = np.clip(strength + draw.normal(0, 0.2, (n, m)), 0, 1)
    return Outcomes.from_arrays(np.exp(3 * strength + draw.normal(0, 0.3, (n, m))), quality)


def online_report(rows: Sequence[OnlineRow]) -> "Group":
    """Decisions of policies for people: a line for each case."""
    from rich.console import Group
    from rich.text import Text

    from dualroute.report import ruled_table

    table = ruled_table("Simulated streams", ("update",), _ONLINE_HEADINGS)
    for row in rows:
        table.add_row(
            row.update,
            f"{row.n_queries} x {row.n_models}",
            f"{row.n_limits}",
            *(f"{value:.1f}" for value in (*row.route, *row.observe)),
            f"{row.stopped:.1%}",
            f"{row.per_second:.0f}",
        )
    note = "route, observe: microseconds of a decision and of its correction"
    return Group(table, Text(note))


_ONLINE_HEADINGS = ("stream", "limits", "route", "99 %", "observe", "99 %", "stopped",
                    "of a table, /s")  # fmt: skip
