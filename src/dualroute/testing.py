"""Rules every plug-in keeps, each suite one line in a test: ``check_solver(MySolver())``.

A broken rule raises `AssertionError` with one line that names it; nothing here needs pytest.
The small problems the rules are tried on are public too, with their optima and how to find
them by hand.
"""

import copy
import ctypes
import io
import itertools
import math
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, BinaryIO

import numpy as np

from dualroute.arrays import Floats, Ints
from dualroute.certificate import Certificate, certify
from dualroute.errors import ProblemError, RoutingError, TableError
from dualroute.formulation import (
    Budget,
    Capacity,
    Limit,
    MetricCap,
    MinShare,
    QualityFloor,
    Restriction,
    ShareCap,
    formulate,
)
from dualroute.outcomes import Outcomes
from dualroute.predictor import SPREAD, Predictor
from dualroute.problem import RoutingProblem, Rows
from dualroute.solver import Progress, Solution, SolveOptions, Solver, Status, Termination

_CLOSE = 1e-7  # how far a claim may be off, relative to its size
_LATE = 5.0  # seconds a solver may need to stop: generous, as machines differ
_ENUMERABLE = 4096
_HELD = (Status.OPTIMAL, Status.FEASIBLE)


# Problems -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """A problem whose answer is known.

    Attributes
    ----------
    name
        What it is about.
    problem
        Small enough to solve by hand.
    optimum
        Least objective, minimised (a maximised quality is negative); ``inf`` where no routing
        keeps the limits.
    contradictory
        Not even fractions of queries could keep the limits, so weights on the limits prove it.
    """

    name: str
    problem: RoutingProblem
    optimum: float
    contradictory: bool = False


def known_problems() -> tuple[Known, ...]:
    """Problems with known optima; how each is found is in the comments."""
    # Small costs 1, large 4; upgrading queries 0, 1, 2 gains .3, .4, .7 over 1.3 in all.
    quality = [[0.6, 0.9], [0.5, 0.9], [0.2, 0.9]]
    pair = Outcomes.from_arrays([[1, 4]] * 3, quality)
    micro = Outcomes.from_arrays([[1e-6, 4e-6]] * 3, quality)
    giga = Outcomes.from_arrays([[1e9, 4e9]] * 3, quality)
    # Four queries, costs 1, 2, 5, rooms 2, 2, 1. So either two small and two medium, or two,
    # one, one at cost 9, or one, two, one at cost 10. Against medium everywhere (2.3) the
    # small one loses .1, .2, .3, .5 and the large one gains .35, .1, .1, .1.
    three = Outcomes.from_arrays(
        [[1, 2, 5]] * 4,
        [[0.5, 0.6, 0.95], [0.4, 0.6, 0.7], [0.2, 0.5, 0.6], [0.1, 0.6, 0.7]],
    )
    rooms = Capacity({"m0": 2, "m1": 2, "m2": 1})
    tenants = Outcomes.from_arrays(
        [[1, 4]] * 4,
        [[0.6, 0.9], [0.5, 0.9], [0.2, 0.9], [0.8, 0.9]],
        attributes={"tenant": ["a", "a", "b", "b"]},
    )
    steps = Outcomes.from_arrays([[1, 2], [1, 3], [1, 4], [1, 5]], [[1, 1]] * 4)
    knapsack = Outcomes.from_arrays([[0, 6], [0, 5], [0, 5]], [[0, 0.7], [0, 0.5], [0, 0.5]])
    equal = Outcomes.from_arrays([[1, 2]] * 6, [[1, 1]] * 6)
    latency = Outcomes.from_arrays(
        [[1, 3], [2, 3], [1, 5]], [[1, 1]] * 3, columns={"latency": [[4, 1], [4, 1], [4, 1]]}
    )
    lone = Outcomes.from_arrays([[1, 2, 4]], [[0.3, 0.5, 0.9]])
    single = Outcomes.from_arrays([[1], [2], [3]], [[1], [1], [1]])
    return (
        # 9 buys two upgrades over 3: those that gain .4 and .7.
        Known(
            "most quality within a budget",
            formulate(pair, maximize="quality", limits=[Budget(9)]),
            -2.4,
        ),
        # 1.95 asks for .65 above 1.3: the upgrade that gains .7 does it alone.
        Known(
            "least cost above a floor",
            formulate(pair, minimize="cost", limits=[QualityFloor(total=1.95)]),
            6.0,
        ),
        Known(
            "least cost in millionths",
            formulate(micro, minimize="cost", limits=[QualityFloor(total=1.95)]),
            6e-6,
        ),
        # Cost 9 allows two, one, one: large takes query 0 (+.35), small the two that lose
        # least of the rest (.2 and .3): 2.15. Two small and two medium reach 2.0 only.
        Known(
            "budget and capacities at once",
            formulate(three, maximize="quality", limits=[Budget(9), rooms]),
            -2.15,
        ),
        # Above 2.12 two small and two medium (2.0, cost 6) fail, and that 2.15 costs 9.
        Known(
            "floor and capacities at once",
            formulate(three, minimize="cost", limits=[QualityFloor(total=2.12), rooms]),
            9.0,
        ),
        # Tenant a can upgrade both its queries (+.3, +.4), b none: 2.1 + .7. A shared budget
        # of 10 would have bought .4 and .7.
        Known(
            "a budget per group",
            formulate(
                tenants,
                maximize="quality",
                limits=[Budget({"a": 8, "b": 2}, by="tenant")],
            ),
            -2.8,
        ),
        # Two of four must leave the first model, at 1, 2, 3 or 4 more: 4 + 1 + 2.
        Known("a cap on shares", formulate(steps, minimize="cost", limits=[ShareCap(0.5)]), 7.0),
        # One query in four is owed to the second model: the one that costs 1 more.
        Known(
            "a share owed",
            formulate(steps, minimize="cost", limits=[MinShare({"m1": 0.25})]),
            5.0,
        ),
        # The third query may not take the small model, nor the first the large one.
        Known(
            "forbidden pairs",
            formulate(
                pair,
                minimize="cost",
                limits=[Capacity({"m1": 1})],
                allowed=np.array([[True, False], [True, True], [False, True]]),
            ),
            6.0,
        ),
        # Everybody on the cheaper model: 1 + 1 + 1.
        Known("no limits", formulate(pair, minimize="cost"), 3.0),
        # 3 buys the second model.
        Known("one query", formulate(lone, maximize="quality", limits=[Budget(3)]), -0.5),
        # There is no choice: 1 + 2 + 3, and room for exactly three.
        Known("one model", formulate(single, minimize="cost", limits=[Capacity(3)]), 6.0),
        # The best gain per cost (.7 for 6) leaves 4 unused; the other two cost 10, gain 1.
        Known(
            "a knapsack that misleads the greedy",
            formulate(knapsack, maximize="quality", limits=[Budget(10)]),
            -1.0,
        ),
        # Two fit on the cheap model, whichever: 2 * 1 + 4 * 2.
        Known(
            "equal queries",
            formulate(equal, minimize="cost", limits=[Capacity({"m0": 2})]),
            10.0,
        ),
        # Latencies 4 and 1, at most 6 in all: two queries must hurry, at 2, 1 or 4 more.
        Known(
            "a cap on a mean",
            formulate(latency, minimize="cost", limits=[MetricCap("latency", mean=2)]),
            7.0,
        ),
        # The small model is closed, so all take the large one at 4.
        Known(
            "a closed model", formulate(pair, minimize="cost", limits=[Capacity({"m0": 0})]), 12.0
        ),
        # Nothing is allowed, and everything takes a lot: no limit to measure the excess by.
        Known(
            "a budget of nothing",
            formulate(giga, maximize="quality", limits=[Budget(0)]),
            math.inf,
            contradictory=True,
        ),
        # Nothing costs less than 3.
        Known(
            "a budget below the cheapest",
            formulate(pair, maximize="quality", limits=[Budget(2)]),
            math.inf,
            contradictory=True,
        ),
        # Nothing is better than 2.7.
        Known(
            "a floor above the best",
            formulate(pair, minimize="cost", limits=[QualityFloor(total=2.8)]),
            math.inf,
            contradictory=True,
        ),
        # 6 buys one whole upgrade, so quality 2.0; no mix of upgrades does better.
        Known(
            "a budget and a floor that exclude each other",
            formulate(pair, minimize="cost", limits=[Budget(6), QualityFloor(total=2.3)]),
            math.inf,
            contradictory=True,
        ),
        # Three queries, two places.
        Known(
            "too little room",
            formulate(pair, minimize="cost", limits=[Capacity(1)]),
            math.inf,
            contradictory=True,
        ),
        # 8 buys one upgrade (2.0), or in fractions 1 2/3 of them (1.3 + .7 + .4 * 2/3 = 2.27).
        Known(
            "a floor only fractions reach",
            formulate(pair, maximize="quality", limits=[Budget(8), QualityFloor(total=2.2)]),
            math.inf,
        ),
        # Half a query fits on each model, and a query cannot be halved.
        Known(
            "half a place each", formulate(lone, minimize="cost", limits=[Capacity(0.5)]), math.inf
        ),
    )


def every_routing(problem: RoutingProblem) -> Iterator[Ints]:
    """All ``m**n`` routings of a tiny problem, whether or not they keep the limits."""
    for models in itertools.product(range(problem.n_models), repeat=problem.n_queries):
        yield np.array(models, np.intp)


def optimum_of(problem: RoutingProblem) -> float:
    """Least objective of a tiny problem by enumeration; ``inf`` if nothing keeps the limits."""
    kept = (r for r in every_routing(problem) if problem.keeps_limits(r))
    return min((problem.value(routing) for routing in kept), default=math.inf)


def random_problem(
    seed: int, n_queries: int = 5, n_models: int = 3, *, ties: bool = False
) -> RoutingProblem:
    """A seeded problem that some routing solves: limits of all forms around a hidden one.

    Parameters
    ----------
    seed
        Same seed, same problem.
    n_queries, n_models
        ``n`` and ``m``.
    ties
        Take numbers from a few dyadic levels, so that sums are exact and many pairs equal.

    Returns
    -------
    RoutingProblem
        A mixed selection of a budget, a floor, a capacity per model (some unlimited), a budget
        per group of queries (some in no group) and a pool per query and model; some pairs are
        forbidden.
    """
    draw = np.random.default_rng(seed)
    n, m = n_queries, n_models
    hidden = draw.integers(0, m, n)

    def numbers(*shape: int) -> Floats:
        if ties:
            return draw.choice([0.25, 0.5, 1.0], shape)
        return draw.lognormal(0.0, 1.0, shape)

    objective = numbers(n, m)
    objective[draw.random((n, m)) < 0.1] = np.inf
    objective[np.arange(n), hidden] = numbers(n)
    quality = draw.integers(0, 2, (n, m)) * 1.0 if ties else draw.random((n, m))
    groups = draw.integers(-1, 2, (n, 1))
    unlimited = np.where(draw.random((1, m)) < 0.3, -1, np.arange(m)[None, :])
    families = [
        Rows("budget", numbers(n, m), np.zeros(1)),
        Rows("floor", -quality, np.zeros(1), at_least=True),
        Rows("capacity", np.ones((1, 1)), np.zeros(m), unlimited),
        Rows("group budget", numbers(n, m), np.zeros(2), groups),
        Rows("token rate", numbers(n, 1), np.zeros(3), draw.integers(-1, 3, (n, m))),
    ]
    chosen = np.sort(draw.choice(len(families), draw.integers(1, 4), replace=False))
    rows = []
    for k in chosen:
        use = families[k].use(hidden)
        room = draw.choice([0.0, 0.125]) * np.abs(use)
        rows.append(replace(families[k], limit=use + room))
    return RoutingProblem(objective, tuple(rows))


# Solvers ------------------------------------------------------------------------------------


def check_solver(solver: Solver, *, exact: bool = False) -> None:
    """Hold a solver to the contract: no false claim, no broken limit, nothing lost or printed.

    Takes some seconds.

    Parameters
    ----------
    solver
        With the options it is to be checked with.
    exact
        Whether it must find every optimum here, and prove contradictions. A heuristic may
        say `Status.UNKNOWN`, but what it claims must hold.

    Raises
    ------
    AssertionError
        One line: the problem, and the rule broken on it.
    """
    _rule(isinstance(solver, Solver), "a solver has a method solve(problem, options)")
    _refuses_unknown_options(solver)
    for known in known_problems():
        _judge_known(solver, known, exact=exact)
    for seed in range(12):
        problem = random_problem(seed, n_queries=4 + seed % 2, ties=seed % 3 == 0)
        name = f"random_problem({seed}, n_queries={problem.n_queries}, ties={seed % 3 == 0})"
        _judge_known(solver, Known(name, problem, optimum_of(problem)), exact=exact)
    single = _in_float32(random_problem(1))
    _judge_known(solver, Known("a float32 table", single, optimum_of(single)), exact=exact)
    _repeats_itself(solver)
    _keeps_to_gaps(solver, exact=exact)
    _takes_starts(solver, exact=exact)
    _keeps_time(solver, exact=exact)


def _judge_known(solver: Solver, known: Known, *, exact: bool) -> None:
    name, problem, optimum = known.name, known.problem, known.optimum
    solution, certificate = _solved(solver, name, problem, SolveOptions())
    if optimum == math.inf:
        _rule(
            solution.status in (Status.INFEASIBLE, Status.UNKNOWN),
            f"{name}: no routing keeps the limits, yet the status is {solution.status}",
        )
        if known.contradictory and exact:
            _rule(
                solution.status is Status.INFEASIBLE and certificate.infeasible,
                f"{name}: the limits contradict each other; the status is {solution.status} and "
                f"its ray {'proves it' if certificate.infeasible else 'does not prove it'}",
            )
        if not known.contradictory:
            _rule(
                not certificate.infeasible or certificate.proof_nodes is not None,
                f"{name}: fractions keep the limits, so no ray can prove infeasibility",
            )
        return
    _rule(
        solution.status is not Status.INFEASIBLE and not certificate.infeasible,
        f"{name}: called infeasible, yet a routing keeps the limits",
    )
    room = _CLOSE * abs(optimum)
    for what, bound in (("claimed", solution.best_bound), ("certified", certificate.bound)):
        _rule(bound <= optimum + room, f"{name}: the {what} bound {bound} is above {optimum}")
    if solution.status is Status.OPTIMAL or exact:
        _rule(
            certificate.objective <= optimum + room,
            f"{name}: {solution.status} at {certificate.objective}; the optimum is {optimum}",
        )
    if exact:
        _rule(
            solution.status is Status.OPTIMAL,
            f"{name}: holds the optimum and says {solution.status}, not optimal",
        )


def _solved(
    solver: Solver, name: str, problem: RoutingProblem, options: SolveOptions
) -> tuple[Solution, Certificate]:
    """Solve under watch, and hold the claim to what is true of every claim."""
    reported: list[Progress] = []
    watched = replace(options, progress=reported.append)
    before = _bytes_of(problem), None if options.start is None else options.start.tobytes()
    with _silence(name):
        solution = solver.solve(problem, watched)
    after = _bytes_of(problem), None if options.start is None else options.start.tobytes()
    _rule(before == after, f"{name}: the solver wrote to the problem or to the start")
    _rule(isinstance(solution, Solution), f"{name}: solve returns a Solution")
    _rule(isinstance(solution.status, Status), f"{name}: the status is a Status")
    _rule(isinstance(solution.termination, Termination), f"{name}: termination is a Termination")
    _rule(not math.isnan(solution.best_bound), f"{name}: the claimed bound is NaN")
    _rule(solution.seconds >= 0, f"{name}: seconds is {solution.seconds}")
    held = solution.assignment is not None
    _rule(
        held == (solution.status in _HELD),
        f"{name}: the status is {solution.status} {'with' if held else 'without'} a routing",
    )
    certificate = certify(problem, solution)
    if held:
        _rule(certificate.feasible, f"{name}: {solution.status}, but {certificate.verdict}")
        _rule(
            certificate.bound <= certificate.objective,
            f"{name}: certified bound {certificate.bound} above {certificate.objective}",
        )
        room = _CLOSE * abs(certificate.objective)
        _rule(
            solution.best_bound <= certificate.objective + room,
            f"{name}: claimed bound {solution.best_bound} above its own routing's "
            f"{certificate.objective}",
        )
    best = min((line.objective for line in reported), default=math.inf)
    _rule(
        best == math.inf or certificate.objective <= best + 1e-6 * abs(best),
        f"{name}: told of a routing at {best} while running, and returned "
        f"{certificate.objective if held else 'none'}",
    )
    return solution, certificate


def _refuses_unknown_options(solver: Solver) -> None:
    kinds: tuple[type[Any], ...] = (type(solver), SolveOptions)
    for kind in kinds:
        try:
            kind(no_such_option=1)
        except TypeError:
            continue
        raise AssertionError(f"{kind.__name__}(no_such_option=1) is a TypeError")


def _repeats_itself(solver: Solver) -> None:
    name = "twice with one seed"
    problem = random_problem(5, n_queries=60, n_models=4, ties=True)
    one, other = (_solved(solver, name, problem, SolveOptions(seed=3))[0] for _ in range(2))
    _rule(
        one.status is other.status
        and one.best_bound == other.best_bound
        and _bytes(one.assignment) == _bytes(other.assignment)
        and _bytes(one.prices and one.prices.vector)
        == _bytes(other.prices and other.prices.vector),
        f"{name}: the answers differ",
    )


def _keeps_to_gaps(solver: Solver, *, exact: bool) -> None:
    name = "mip_rel_gap=0.2"
    problem = random_problem(7, n_queries=6)
    solution, certificate = _solved(solver, name, problem, SolveOptions(mip_rel_gap=0.2))
    if exact:
        allowed = 0.2 * abs(certificate.objective) * (1 + _CLOSE)
        _rule(
            solution.status in _HELD and certificate.objective - optimum_of(problem) <= allowed,
            f"{name}: {solution.status} at {certificate.objective}; the optimum is "
            f"{optimum_of(problem)}",
        )


def _takes_starts(solver: Solver, *, exact: bool) -> None:
    problem = random_problem(2)
    routings = list(every_routing(problem))
    kept = [routing for routing in routings if problem.keeps_limits(routing)]
    broken = [routing for routing in routings if not problem.keeps_limits(routing)]
    best = min(kept, key=problem.value)
    name = "started from the optimum"
    _, certificate = _solved(solver, name, problem, SolveOptions(start=best))
    if exact:
        _rule(
            certificate.objective <= problem.value(best) * (1 + _CLOSE),
            f"{name}: returned {certificate.objective}, worse than {problem.value(best)}",
        )
    _solved(
        solver, "started from a routing that breaks limits", problem, SolveOptions(start=broken[0])
    )
    for start in (best[:-1], np.full_like(best, problem.n_models), best.astype(float)):
        try:
            _solved(solver, "bad start", problem, SolveOptions(start=start))
        except ProblemError:
            continue
        raise AssertionError(
            "a start of the wrong length or type, or with a model that is not there, is a "
            "ProblemError (SolveOptions.checked_start raises it)"
        )


def _keeps_time(solver: Solver, *, exact: bool) -> None:
    problem, hidden = _large_problem()
    for start, limit in ((None, 0.5), (hidden, 0.5), (hidden, 1e-3)):
        name = f"10000 x 10 with time_limit={limit:g}" + (", started" if start is not None else "")
        begun = time.perf_counter()
        options = SolveOptions(time_limit=limit, start=start)
        solution, certificate = _solved(solver, name, problem, options)
        seconds = time.perf_counter() - begun
        _rule(seconds <= limit + _LATE, f"{name}: took {seconds:.1f} s")
        _rule(solution.status is not Status.INFEASIBLE, f"{name}: called infeasible")
        if exact and start is not None:
            _rule(
                certificate.objective <= problem.value(start) * (1 + _CLOSE),
                f"{name}: the start, at {problem.value(start)}, was lost or worsened",
            )


def _large_problem() -> tuple[RoutingProblem, Ints]:
    """Least cost of 10,000 queries above a floor, capacities binding; and a routing that fits."""
    draw = np.random.default_rng(0)
    n, m = 10_000, 10
    strength = np.linspace(0.2, 0.9, m)
    cost = np.exp(3 * strength) * draw.lognormal(0, 0.5, (n, m))
    quality = np.clip(strength + draw.normal(0, 0.2, (n, m)), 0, 1)
    hidden = np.arange(n) % m
    limits: list[Limit | Restriction] = [
        QualityFloor(total=float(quality[np.arange(n), hidden].sum()) - 1),
        Capacity(1.2 * n / m),
    ]
    return formulate(Outcomes.from_arrays(cost, quality), minimize="cost", limits=limits), hidden


def _in_float32(problem: RoutingProblem) -> RoutingProblem:
    rows = tuple(
        replace(rows, usage=rows.usage.astype(np.float32), limit=rows.limit * (1 + 1e-6) + 1e-6)
        for rows in problem.rows
    )
    return replace(problem, objective=problem.objective.astype(np.float32), rows=rows)


def _bytes_of(problem: RoutingProblem) -> tuple[bytes, ...]:
    grids = [grid for rows in problem.rows for grid in (rows.usage, rows.pool, rows.limit)]
    return tuple(grid.tobytes() for grid in (problem.objective, *grids))


# Predictors ---------------------------------------------------------------------------------

_TEXTS = (
    "add two and three",
    "prove that the sum of two even numbers is even",
    "translate this poem into French",
    "sort a list in python",
    "sort a list in python",
    "what is the capital of Peru",
    "write a haiku about the sea",
    "",
)
_STRANGE = (
    "",
    "   \n\t",
    "\N{GRINNING FACE}\N{ROCKET}" * 3,
    "xyzzy plugh",
    "\x00",
    "1234567890" * 10_000,
    "sort a list in python",
    "sort a list in python",
)


def check_predictor(predictor: Predictor) -> None:
    """Hold a predictor to the contract: any text gets a usable answer, the same every time.

    The object itself stays as it is; copies of it are fitted.

    Parameters
    ----------
    predictor
        Not fitted, with the options it is to be checked with.

    Raises
    ------
    AssertionError
        One line: the rule broken.
    """
    _rule(
        isinstance(predictor, Predictor),
        "a predictor has methods fit(texts, outcomes) and predict(texts)",
    )
    history = _history(len(_TEXTS))
    fresh = copy.deepcopy(predictor)
    _raises(RoutingError, lambda: fresh.predict(["a text"]), "predict before fit is a RoutingError")
    wrong: tuple[tuple[str, ...], ...] = (_TEXTS[:-1], (*_TEXTS, "one more"), ())
    for few in wrong:
        _raises(
            TableError,
            partial(copy.deepcopy(predictor).fit, few, history),
            f"fit on {len(few)} texts and {history.n_queries} outcomes is a TableError",
        )
    before = _table_bytes(history)
    with _silence("fit"):
        fitted = fresh.fit(_TEXTS, history)
    _rule(fitted is fresh, "fit returns the predictor itself")
    asked: tuple[tuple[str, ...], ...] = (_TEXTS, _STRANGE, ("",), _TEXTS[3:5])
    for texts in asked:
        what = f"predict of {len(texts)} texts"
        given = list(texts)
        with _silence(what):
            predicted = fresh.predict(given)
        _rule(given == list(texts), f"{what}: the list of texts was changed")
        _judge_outcomes(what, predicted, history, len(texts))
        again = copy.deepcopy(predictor).fit(_TEXTS, history).predict(texts)
        _rule(
            _table_bytes(predicted) == _table_bytes(again),
            f"{what}: fitting and predicting again gives other numbers",
        )
        for name, grid in predicted.columns.items():
            if len(texts) > 1 and grid.shape[0] > 1:
                _rule(
                    np.allclose(grid[-1], grid[-2]) or texts[-1] != texts[-2],
                    f"{what}: equal texts get different {name!r}",
                )
    _rule(_table_bytes(history) == before, "fit or predict wrote to the outcomes")
    alone = _history(1)
    with _silence("a history of one query"):
        predicted = copy.deepcopy(predictor).fit(["one text"], alone).predict(_STRANGE)
    _judge_outcomes("a history of one query", predicted, alone, len(_STRANGE))
    with _silence("a history of one text, repeated"):
        same = copy.deepcopy(predictor).fit(["one text"] * len(_TEXTS), history).predict(_STRANGE)
    _judge_outcomes("a history of one text, repeated", same, history, len(_STRANGE))


def _judge_outcomes(what: str, predicted: Outcomes, history: Outcomes, n: int) -> None:
    _rule(isinstance(predicted, Outcomes), f"{what}: predict returns Outcomes")
    _rule(predicted.models == history.models, f"{what}: the models are those learned from")
    _rule(
        set(history.columns)
        <= set(predicted.columns)
        <= {name + end for name in history.columns for end in ("", SPREAD)}
        and (predicted.cost, predicted.quality) == (history.cost, history.quality),
        f"{what}: the columns and their roles are those learned from, beside standard "
        f"deviations NAME{SPREAD}",
    )
    _rule(
        predicted.queries.tolist() == list(range(n)), f"{what}: queries are labelled 0 .. {n - 1}"
    )
    # Outcomes checks these too; a subclass or a later write might not.
    for name, grid in predicted.columns.items():
        _rule(bool(np.isfinite(grid).all()), f"{what}: column {name!r} is finite")
    cost, quality = predicted.column("cost"), predicted.column("quality")
    _rule(float(cost.min()) >= 0, f"{what}: costs are not negative")
    _rule(float(quality.min()) >= 0 and float(quality.max()) <= 1, f"{what}: quality is in [0, 1]")


def _history(n: int) -> Outcomes:
    draw = np.random.default_rng(0)
    return Outcomes(
        models=("small", "medium", "large"),
        columns={
            "usd": draw.lognormal(-8, 2, (n, 3)),
            "score": draw.integers(0, 2, (n, 3)).astype(np.float32),
            "input_tokens": draw.integers(1, 100, (n, 1)).astype(float),
            "output_tokens": draw.integers(1, 100, (n, 3)).astype(float),
            "latency": np.array([[0.5, 1.0, 4.0]]),
        },
        attributes={"tenant": np.array(["a", "b"] * n)[:n]},
        cost="usd",
        quality="score",
    )


# Limits -------------------------------------------------------------------------------------


def check_limit(limit: Limit | Restriction, outcomes: Outcomes) -> None:
    """Hold a limit or restriction to the contract: well-formed, repeatable, and what it says.

    Parameters
    ----------
    limit
        With `rows`, or with `allowed`, or both.
    outcomes
        A small table it applies to, with the columns and attributes it asks for.

    Raises
    ------
    AssertionError
        One line: the rule broken.
    """
    what = type(limit).__name__
    _rule(
        isinstance(limit, (Limit, Restriction)),
        f"{what}: a limit has rows(outcomes), a restriction allowed(outcomes)",
    )
    before = _table_bytes(outcomes)
    if isinstance(limit, Limit):
        with _silence(what):
            rows, again = limit.rows(outcomes), limit.rows(outcomes)
        _judge_rows(what, rows, again, outcomes)
    if isinstance(limit, Restriction):
        with _silence(what):
            grid, twin = limit.allowed(outcomes), limit.allowed(outcomes)
        _rule(
            isinstance(grid, np.ndarray) and grid.dtype == np.bool_,
            f"{what}: allowed is a boolean array",
        )
        _fits(f"{what}: allowed", grid.shape, outcomes)
        _rule(bool((grid == twin).all()), f"{what}: asked twice, allows other pairs")
    _rule(_table_bytes(outcomes) == before, f"{what}: wrote to the outcomes")
    with suppress(ProblemError):  # a restriction may leave a query without a model
        formulate(outcomes, minimize=next(iter(outcomes.columns)), limits=[limit])
    _rule(_table_bytes(outcomes) == before, f"{what}: shares memory that formulate wrote to")


def _judge_rows(what: str, rows: Rows, again: Rows, outcomes: Outcomes) -> None:
    _rule(isinstance(rows, Rows), f"{what}: rows returns Rows")
    _fits(f"{what}: usage", rows.usage.shape, outcomes)
    _fits(f"{what}: pool", rows.pool.shape, outcomes)
    _rule(
        bool(np.isfinite(rows.usage).all() and np.isfinite(rows.limit).all()),
        f"{what}: usage and limits are finite",
    )
    _rule(
        rows.pool.min() >= -1 and rows.pool.max() < rows.n_pools,
        f"{what}: pools are -1 .. {rows.n_pools - 1}",
    )
    _rule(bool(rows.name), f"{what}: the family has a name for reports")
    _rule(bool(rows.unit), f"{what}: the family has a unit for reports")
    _rule(
        len(rows.labels) == rows.n_pools or (rows.n_pools == 1 and not rows.labels),
        f"{what}: {len(rows.labels)} labels for {rows.n_pools} pools",
    )
    _rule(len(set(rows.labels)) == len(rows.labels), f"{what}: two pools have the same label")
    _rule(
        all(
            _bytes(getattr(rows, field)) == _bytes(getattr(again, field))
            for field in ("usage", "limit", "pool")
        )
        and rows.labels == again.labels,
        f"{what}: asked twice, gives other rows",
    )
    for routing in _some_routings(outcomes):
        used, meant = rows.use(routing).tolist(), _use_by_definition(rows, routing)
        _rule(
            used == meant, f"{what}: routing {routing.tolist()} uses {meant}, Rows.use says {used}"
        )


def _use_by_definition(rows: Rows, routing: Ints) -> list[float]:
    """Routing query ``i`` to model ``j`` takes ``usage[i, j]`` out of pool ``pool[i, j]``."""
    taken: list[list[float]] = [[] for _ in range(rows.n_pools)]
    for i, j in enumerate(routing.tolist()):
        grids = []
        for grid in (rows.usage, rows.pool):
            line = i if grid.shape[0] > 1 else 0
            column = j if grid.shape[1] > 1 else 0
            grids.append(grid[line, column].item())
        usage, pool = grids
        if pool >= 0:
            taken[pool].append(rows.sign * usage)
    return [math.fsum(numbers) for numbers in taken]


def _some_routings(outcomes: Outcomes) -> Iterator[Ints]:
    """All routings of a tiny table; of a larger one, one model for all and 32 seeded ones."""
    n, m = outcomes.n_queries, outcomes.n_models
    if n * math.log(m) <= math.log(_ENUMERABLE):
        yield from every_routing(RoutingProblem(np.zeros((n, m))))
        return
    yield from (np.full(n, j, np.intp) for j in range(m))
    draw = np.random.default_rng(0)
    yield from (draw.integers(0, m, n) for _ in range(32))


def _fits(what: str, shape: Sequence[int], outcomes: Outcomes) -> None:
    n, m = outcomes.n_queries, outcomes.n_models
    _rule(
        len(shape) == 2 and shape[0] in (1, n) and shape[1] in (1, m),
        f"{what} has shape {tuple(shape)}, which does not fit {n} queries x {m} models",
    )


# What all suites share ----------------------------------------------------------------------


def _rule(holds: bool, broken: str) -> None:
    """Raise even where Python strips ``assert``, and on one line."""
    if not holds:
        raise AssertionError(re.sub(r"\s+", " ", broken))


def _raises(kind: type[Exception], call: Callable[[], Any], rule: str) -> None:
    try:
        call()
    except kind:
        return
    except Exception as error:
        raise AssertionError(f"{rule}; found {type(error).__name__}: {error}") from error
    raise AssertionError(f"{rule}; nothing was raised")


def _bytes(array: Any) -> bytes:
    return b"" if array is None else np.asarray(array).tobytes()


def _table_bytes(outcomes: Outcomes) -> list[bytes]:
    return [_bytes(grid) for grid in (*outcomes.columns.values(), *outcomes.attributes.values())]


@contextmanager
def _silence(what: str) -> Iterator[None]:
    """Nothing may be printed, by Python or by a library below it, which writes to descriptors."""
    said = io.StringIO()
    with tempfile.TemporaryFile() as below:
        with redirect_stdout(said), redirect_stderr(said), _descriptors_to(below):
            yield
        below.seek(0)
        printed = said.getvalue() + below.read().decode(errors="replace")
    _rule(not printed, f"{what}: something is printed: {printed[:200]!r}")


@contextmanager
def _descriptors_to(file: BinaryIO) -> Iterator[None]:
    _flush()
    kept = [(descriptor, os.dup(descriptor)) for descriptor in (1, 2)]
    try:
        for descriptor, _ in kept:
            os.dup2(file.fileno(), descriptor)
        yield
    finally:
        _flush()
        for descriptor, copied in kept:
            os.dup2(copied, descriptor)
            os.close(copied)


def _flush() -> None:
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None:
            with suppress(OSError, ValueError):
                stream.flush()
    # C holds back what it prints to a file; without this it would show after we looked.
    with suppress(OSError, TypeError, AttributeError):
        ctypes.CDLL(None).fflush(None)
