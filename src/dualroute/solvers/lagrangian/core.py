"""The core: the few pairs that a better routing could use, solved exactly in HiGHS.

A pair whose reduced cost exceeds ``objective - bound`` is in no better routing, for any prices
(the gap identity), so a program on the remaining pairs loses nothing. Where those are still
too many, `search` gives some of them.
"""

from dataclasses import dataclass, replace

import numpy as np

from dualroute.arrays import Bools, Ints
from dualroute.engines.local import LocalEngine
from dualroute.highs import run_highs
from dualroute.linear import Task, linear_form
from dualroute.problem import Prices, RoutingProblem
from dualroute.rounding import repair
from dualroute.solver import Clock, SolveOptions, Termination


@dataclass(frozen=True, slots=True, eq=False)
class CoreAnswer:
    """What the core gave.

    Attributes
    ----------
    assignment
        A routing that keeps every limit, or None.
    best_bound
        HiGHS's bound on the whole problem, ``-inf`` where the core was only a neighbourhood.
    complete
        Whether no pair of a better routing was left out.
    finished
        Whether HiGHS came to its end.
    interrupted
        Whether Ctrl-C ended it.
    """

    assignment: Ints | None
    best_bound: float
    complete: bool
    finished: bool = True
    interrupted: bool = False


def open_pairs(engine: LocalEngine, prices: Prices, base: Ints, gap: float) -> Bools:
    """The pairs that a routing better than a feasible one could use, shape ``(n, m)``."""
    return engine.core(engine.scaled(prices), _reach(engine, prices, base, gap))


def columns_of(pairs: Bools) -> int:
    """How many of them a program needs: a query with one pair is settled."""
    counts = pairs.sum(axis=1)
    return int(counts[counts > 1].sum())


def solve_pairs(
    problem: RoutingProblem,
    prices: Prices,
    pairs: Bools,
    *,
    base: Ints,
    feasible: bool,
    complete: bool,
    options: SolveOptions,
    clock: Clock,
) -> CoreAnswer:
    """The best routing on some pairs and those of a base, in HiGHS.

    Parameters
    ----------
    prices
        What repairs a routing that keeps the limits only up to HiGHS's tolerance.
    pairs
        Shape ``(n, m)``; changed.
    base
        A routing, shape ``(n,)``: where queries with one pair stay.
    feasible
        Whether `base` keeps every limit.
    complete
        Whether `pairs` holds every pair of a better routing.
    """
    pairs[np.arange(problem.n_queries), base] = True
    pairs[pairs.sum(axis=1) == 1] = False
    if not pairs.any():
        bound = problem.value(base) if complete and feasible else -np.inf
        return CoreAnswer(base if feasible else None, bound, complete)
    form = linear_form(problem, pairs, base)
    answer = run_highs(
        form,
        Task(
            integer=True,
            options=replace(options, time_limit=max(clock.left, 1e-3)),
            start=form.columns_of(base) if feasible else None,
        ),
    )
    routed = base if feasible else None
    if answer.x is not None:
        found = form.routing(answer.x, base)
        if not problem.meets_target(found):
            mended = repair(problem, found, prices, clock)
            found = found if mended is None else mended
        if problem.meets_target(found) and (
            routed is None or problem.value(found) < problem.value(routed)
        ):
            routed = found
    bound = -np.inf
    if complete:
        bound = answer.best_bound
        if answer.termination is Termination.INFEASIBLE:
            # Nothing better than the base; or, where that breaks a limit, nothing at all.
            bound = problem.value(base) if feasible else np.inf
    finished = answer.termination in (Termination.OPTIMAL, Termination.INFEASIBLE)
    return CoreAnswer(routed, bound, complete, finished, answer.interrupted)


def _reach(engine: LocalEngine, prices: Prices, base: Ints, gap: float) -> float:
    """The largest reduced cost of any pair in a better routing, and a hair more.

    More by what solvers may take beyond the limits for rounding, at the prices, and by the
    rounding of objective, bound and reduced costs themselves.
    """
    problem = engine.problem
    beyond = float(prices.vector @ (problem.target - problem.limit))
    return gap + beyond + 1e-12 * abs(problem.value(base))
