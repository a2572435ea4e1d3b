"""Every registered plug-in keeps its contract, and real tables are solved to proved optima."""

import os
import sys
import time
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualroute import registry
from dualroute.certificate import certify
from dualroute.formulation import (
    AllowedModels,
    Budget,
    Capacity,
    ContextWindow,
    MetricCap,
    MinShare,
    QualityFloor,
    ShareCap,
    formulate,
)
from dualroute.outcomes import Outcomes
from dualroute.predictors.mean import Mean
from dualroute.pricing import TokenPrices
from dualroute.problem import Prices
from dualroute.solver import Progress, Solution, SolveOptions, Status, Termination
from dualroute.solvers.greedy import Greedy
from dualroute.solvers.lagrangian import Lagrangian
from dualroute.solvers.via_highs import Highs
from dualroute.solvers.via_pyomo import Pyomo
from dualroute.tables import read_outcomes
from dualroute.testing import (
    check_limit,
    check_predictor,
    check_solver,
    known_problems,
    optimum_of,
    random_problem,
)

EXACT = ("cvxpy", "highs", "lagrangian", "ortools", "pyomo")
BASELINES = tuple(name for name in registry.names("solvers") if name not in EXACT)

TABLE = Outcomes.from_arrays(
    cost=[[0.1, 0.7], [0.2, 0.9], [0.3, 1.1], [0.1, 0.8]],
    quality=[[0.0, 1.0], [1.0, 1.0], [0.3, 0.7], [0.1, 0.9]],
    models=("small", "large"),
    columns={
        "input_tokens": [[100], [4_000], [700], [50]],
        "latency": [[0.5, 2.5]],
        "rent": [[1e90, 1.0]] * 4,
    },
    attributes={"tenant": ["a", "b", "a", "c"], "hour": [9, 9, 10, 10]},
)
LIMITS = {
    "budget": [
        Budget(2.0),
        Budget(2.0, by="tenant"),
        Budget({"b": 0.5, "a": 1.0}, by="tenant"),
        Budget(1e90, column="rent"),
    ],
    "quality_floor": [
        QualityFloor(mean=0.5),
        QualityFloor(total=2.0),
        QualityFloor(mean={"a": 0.7}, by="tenant"),
    ],
    "capacity": [
        Capacity(2),
        Capacity({"large": 1}),
        Capacity(5_000, column="input_tokens", by="hour"),
        Capacity({"large": 1, "small": 3}, by="hour"),
    ],
    "share_cap": [ShareCap(0.5), ShareCap({"large": 0.3}), ShareCap(0.5, by="hour")],
    "min_share": [MinShare(0.2), MinShare({"large": 0.25}), MinShare(0.5, by="hour")],
    "metric_cap": [MetricCap("latency", mean=1.5), MetricCap("latency", total=2.0, by="tenant")],
    "context_window": [ContextWindow(8_000), ContextWindow({"small": 512})],
    "allowed_models": [
        AllowedModels(["small"]),
        AllowedModels({"a": ["large"], "b": ["small", "large"]}, by="tenant"),
    ],
}


@pytest.mark.parametrize("name", registry.names("solvers"))
def test_solvers_keep_the_contract(name):
    check_solver(registry.load("solvers", name)(), exact=name in EXACT)


@pytest.mark.parametrize("name", ["ortools:scip", "ortools:highs", "cvxpy:scipy", "cvxpy:scip"])
def test_exact_variants_keep_the_contract(name):
    check_solver(registry.create("solvers", name), exact=True)


@pytest.mark.parametrize(
    "name",
    [
        "highs:lp",
        "highs:simplex",
        "highs:ipx",
        "highs:pdlp",
        "ortools:glop",
        "ortools:pdlp",
        "cvxpy:lp",
        "cvxpy:clarabel",
        "cvxpy:scs",
    ],
)
def test_relaxing_variants_keep_the_contract(name):
    check_solver(registry.create("solvers", name))


def test_solver_options_keep_the_contract():
    check_solver(Lagrangian(core_pairs=0))
    check_solver(Pyomo("appsi_highs"), exact=True)


@pytest.mark.parametrize("name", registry.names("predictors"))
def test_predictors_keep_the_contract(name):
    made = registry.create("predictors", name)
    if name == "priced":  # needs prices of the models of the contract's history
        models = ("small", "medium", "large")
        prices = TokenPrices(models, np.array([0.1, 1, 3]), np.array([0.2, 2, 15]), "by hand")
        made = replace(made, prices=prices)
    check_predictor(made)


@pytest.mark.parametrize("name", registry.names("limits"))
def test_limits_keep_the_contract(name):
    for limit in LIMITS[name]:
        assert isinstance(limit, registry.load("limits", name))
        check_limit(limit, TABLE)


def test_known_optima_agree_with_enumeration():
    for known in known_problems():
        assert optimum_of(known.problem) == pytest.approx(known.optimum, rel=1e-12), known.name


@pytest.mark.parametrize("name", EXACT)
def test_nine_dollars_buy_two_upgrades(name):
    # Small model 1 USD, large 4 USD: all-small costs 3, so 9 USD buys two upgrades.
    # Upgrading query i gains .3, .4, .7 quality: take queries 1 and 2, total 2.4.
    quality = [[0.6, 0.9], [0.5, 0.9], [0.2, 0.9]]
    outcomes = Outcomes.from_arrays([[1, 4]] * 3, quality)
    problem = formulate(outcomes, maximize="quality", limits=[Budget(9)])
    solution = registry.load("solvers", name)().solve(problem, SolveOptions())
    assert solution.assignment.tolist() == [0, 1, 1]
    assert certify(problem, solution).objective == pytest.approx(-2.4)  # minimised


@pytest.mark.parametrize("name", EXACT)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 6), m=st.integers(1, 3), ties=st.booleans())
@settings(max_examples=60, deadline=None)
def test_exact_solvers_find_the_optimum(name, seed, n, m, ties):
    problem = random_problem(seed, n, m, ties=ties)
    solution = registry.load("solvers", name)().solve(problem, SolveOptions())
    certificate = certify(problem, solution)
    assert solution.status is Status.OPTIMAL
    assert certificate.objective == pytest.approx(optimum_of(problem), rel=1e-9)
    assert certificate.bound <= certificate.objective


@pytest.mark.parametrize("name", registry.names("solvers"))
@given(
    seed=st.integers(0, 2**32 - 1), ties=st.booleans(), shrink=st.just(0.0) | st.floats(1e-3, 1.0)
)
@settings(max_examples=40, deadline=None)
def test_no_claim_is_false_on_limits_that_may_exclude_each_other(name, seed, ties, shrink):
    problem = random_problem(seed, 5, 3, ties=ties)
    tighter = tuple(
        replace(rows, limit=rows.limit - shrink * np.abs(rows.limit)) for rows in problem.rows
    )
    problem = replace(problem, rows=tighter)
    optimum = optimum_of(problem)
    solution = registry.load("solvers", name)().solve(problem, SolveOptions())
    certificate = certify(problem, solution)
    assert certificate.feasible == (solution.status in (Status.OPTIMAL, Status.FEASIBLE))
    if optimum == np.inf:
        assert not certificate.feasible
        return
    assert not certificate.infeasible
    assert solution.status is not Status.INFEASIBLE
    assert solution.best_bound <= optimum + 1e-7 * abs(optimum)
    assert certificate.bound <= certificate.objective


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("scale", [1e-9, 1e-5, 1e6])
def test_units_do_not_matter(name, scale):
    # USD or millionths of a USD, queries or millions of them: the same routing is best.
    for seed in range(10):
        problem = random_problem(seed, 6, 3)
        rescaled = replace(
            problem,
            objective=problem.objective * scale,
            rows=tuple(
                replace(rows, usage=rows.usage * scale, limit=rows.limit * scale)
                for rows in problem.rows
            ),
        )
        solution = registry.load("solvers", name)().solve(rescaled, SolveOptions())
        assert certify(rescaled, solution).objective == pytest.approx(
            optimum_of(problem) * scale, rel=1e-8
        )


@pytest.mark.parametrize("name", registry.names("solvers"))
def test_what_the_tolerance_forgives_is_not_infeasible(name):
    # All-small costs 3; a budget of 3 less 1e-10 of itself counts as kept up to 1e-9 of it.
    outcomes = Outcomes.from_arrays([[1, 4]] * 3, [[0.6, 0.9], [0.5, 0.9], [0.2, 0.9]])
    problem = formulate(outcomes, maximize="quality", limits=[Budget(3 * (1 - 1e-10))])
    assert problem.keeps_limits(np.zeros(3, int))
    solution = registry.load("solvers", name)().solve(problem, SolveOptions())
    assert solution.status is not Status.INFEASIBLE
    assert not certify(problem, solution).infeasible


# The suites themselves: what breaks a rule is found, and the message says which. ------------


@dataclass(frozen=True)
class Loud:
    def solve(self, problem, options):
        os.write(2, b"Running HiGHS")
        return Greedy().solve(problem, options)


@dataclass(frozen=True)
class Talkative:
    def solve(self, problem, options):
        print("solving", file=sys.stdout)  # noqa: T201
        return Greedy().solve(problem, options)


@dataclass(frozen=True)
class Boastful:
    def solve(self, problem, options):
        return replace(Greedy().solve(problem, options), status=Status.OPTIMAL)


@dataclass(frozen=True)
class Careless:
    def solve(self, problem, options):
        routing = np.zeros(problem.n_queries, int)
        return Solution(Status.FEASIBLE, Termination.COMPLETED, routing)


@dataclass(frozen=True)
class Overbounding:
    def solve(self, problem, options):
        solution = Greedy().solve(problem, options)
        if solution.assignment is None:
            return solution
        return replace(solution, best_bound=problem.value(solution.assignment) + 1e-3)


@dataclass(frozen=True)
class Forgetful:
    def solve(self, problem, options):
        solution = Greedy().solve(problem, options)
        if solution.assignment is not None and options.progress is not None:
            value = problem.value(solution.assignment)
            options.progress(Progress("search", value, -np.inf, 0.0))
        return replace(solution, status=Status.UNKNOWN, assignment=None)


@dataclass(frozen=True)
class Defeatist:
    def solve(self, problem, options):
        return Solution(Status.INFEASIBLE, Termination.INFEASIBLE)


@dataclass(frozen=True)
class Scribbling:
    def solve(self, problem, options):
        solution = Greedy().solve(problem, options)
        base = problem.objective
        while isinstance(base.base, np.ndarray):
            base = base.base
        base *= 2
        return solution


@dataclass(frozen=True)
class Moody:
    def solve(self, problem, options):
        prices = Prices.of(problem, np.full(problem.n_rows, time.perf_counter()))
        return replace(Greedy().solve(problem, options), prices=prices)


class Lenient(Greedy):
    def __init__(self, **options):
        pass


@pytest.mark.parametrize(
    ("solver", "rule"),
    [
        (Loud(), "printed: 'Running HiGHS'"),
        (Talkative(), "printed: 'solving"),
        (Boastful(), "optimal at .*; the optimum is"),
        (Careless(), "feasible, but not feasible: "),
        (Overbounding(), "bound .* is above|above its own"),
        (Forgetful(), "and returned none"),
        (Defeatist(), "called infeasible"),
        (Scribbling(), "wrote to the problem"),
        (Moody(), "the answers differ"),
        (Lenient(), "no_such_option"),
        (object(), "has a method solve"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_broken_rule_is_named(solver, rule):
    with pytest.raises(AssertionError, match=rule) as raised:
        check_solver(solver)
    assert "\n" not in str(raised.value)


def test_heuristics_are_not_exact():
    with pytest.raises(AssertionError, match="says feasible, not optimal"):
        check_solver(Greedy(), exact=True)


class ColdMean(Mean):
    def predict(self, texts):
        return Outcomes.from_arrays(np.ones((len(texts), 3)), np.ones((len(texts), 3)))


class NewMean(Mean):
    def fit(self, texts, outcomes):
        return Mean().fit(texts, outcomes)


@pytest.mark.parametrize(
    ("predictor", "rule"),
    [(ColdMean(), "before fit"), (NewMean(), "returns the predictor itself")],
)
def test_a_broken_predictor_is_named(predictor, rule):
    with pytest.raises(AssertionError, match=rule):
        check_predictor(predictor)


@dataclass(frozen=True)
class Unlabelled:
    def rows(self, outcomes):
        return replace(Capacity(2).rows(outcomes), labels=())


def test_a_broken_limit_is_named():
    with pytest.raises(AssertionError, match="0 labels for 2 pools"):
        check_limit(Unlabelled(), TABLE)


# Real tables: optima found by two solvers that share no code, money in USD x 1000. ----------

TABLES = {
    "zeroeval": "cost_usd",
    "bfcl_2024_08": "cost_usd",
    "routellm": "cost_usd",
    "llmrouter_ulab": "cost_usd_nominal",
}
CHEAPEST = [
    ("zeroeval", 1965, None, 79.406410),
    ("zeroeval", 1965, 100, 246.635740),
    ("bfcl_2024_08", 1539, None, 99.432800),
    ("bfcl_2024_08", 1539, 53, 767.285530),
    ("routellm", 12445, None, 2625.378600),
    ("routellm", 12445, 10753, 3628.720000),
    ("llmrouter_ulab", 3204.37928, 776, 145.019200),
]
BEST = [
    ("bfcl_2024_08", 1499.5572, 53, 1662),
    ("llmrouter_ulab", 319.56984, 776, 3874.059022),
]
REAL = [("cheapest", *case) for case in CHEAPEST] + [("best", *case) for case in BEST]
real_table = pytest.mark.parametrize(("aim", "table", "limit", "cap", "optimum"), REAL)


@cache
def outcomes_of(table):
    folder = os.environ.get("DUALROUTE_DATA")
    if not folder:
        pytest.skip("DUALROUTE_DATA is not set: the folder that holds zeroeval/, routellm/, ..")
    read = read_outcomes(Path(folder) / table / "outcomes.csv.gz", cost=TABLES[table])
    return Outcomes.from_arrays(read.column("cost") * 1000, read.column("quality"), read.models)


@cache
def real_problem(aim, table, limit, cap):
    limits = [] if cap is None else [Capacity(cap)]
    if aim == "cheapest":
        limits.append(QualityFloor(total=limit))
        return formulate(outcomes_of(table), minimize="cost", limits=limits)
    limits.append(Budget(limit))
    return formulate(outcomes_of(table), maximize="quality", limits=limits)


@cache
def relaxation(aim, table, limit, cap):
    return Highs(mode="lp").solve(real_problem(aim, table, limit, cap), SolveOptions()).best_bound


@real_table
@pytest.mark.parametrize("name", ["highs", "lagrangian"])  # the other exact ones may take minutes
def test_real_tables_are_solved_to_proved_optima(name, aim, table, limit, cap, optimum):
    problem = real_problem(aim, table, limit, cap)
    solution = registry.load("solvers", name)().solve(problem, SolveOptions())
    certificate = certify(problem, solution)
    assert solution.status is Status.OPTIMAL
    assert problem.reported(certificate.objective) == pytest.approx(optimum, rel=1e-9)
    assert certificate.proved_optimal
    if name == "lagrangian":
        lp = relaxation(aim, table, limit, cap)
        assert certificate.bound == pytest.approx(lp, rel=1e-6)


@real_table
@pytest.mark.parametrize("name", BASELINES)
def test_baselines_claim_nothing_false_on_real_tables(name, aim, table, limit, cap, optimum):
    problem = real_problem(aim, table, limit, cap)
    solution = registry.load("solvers", name)().solve(problem, SolveOptions())
    certificate = certify(problem, solution)
    least = -optimum if problem.maximize else optimum
    assert certificate.feasible == (solution.status is Status.FEASIBLE)
    assert solution.status in (Status.FEASIBLE, Status.UNKNOWN)
    assert certificate.objective >= least - 1e-9 * abs(least)
    assert max(solution.best_bound, certificate.bound) <= least + 1e-7 * abs(least)


@pytest.mark.parametrize("name", registry.names("solvers"))
def test_the_tolerance_is_not_there_to_be_used_up(name):
    # Nine USD less 5e-10 of it: two upgrades (9 USD) would count as kept, yet the answer for the
    # limit as stated is one upgrade, the one that gains .7.
    outcomes = Outcomes.from_arrays([[1, 4]] * 3, [[0.6, 0.9], [0.5, 0.9], [0.2, 0.9]])
    problem = formulate(outcomes, maximize="quality", limits=[Budget(9 * (1 - 5e-10))])
    assert problem.keeps_limits(np.array([0, 1, 1]))
    solution = registry.load("solvers", name)().solve(problem, SolveOptions())
    assert problem.excess(solution.assignment).max() <= 1e-12 * 9
    assert problem.value(solution.assignment) == pytest.approx(-2.0)
