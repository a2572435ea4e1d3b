"""General solvers behind the contract: honest numbers, live models, hard limits on time."""

import itertools
import math
import subprocess
import sys
import time
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import every_routing, exact_excess, exact_value, small_problems

from dualroute import registry
from dualroute.certificate import certify
from dualroute.errors import OptionError, RoutingError
from dualroute.exact import solve_exactly
from dualroute.highs import run_highs
from dualroute.instances import continuous
from dualroute.linear import Answer, Task, linear_form
from dualroute.problem import RoutingProblem, Rows, allowed_pairs
from dualroute.rounding import without_prices
from dualroute.solver import SolveOptions, Status, Termination
from dualroute.solvers import via_ortools
from dualroute.solvers.via_cvxpy import to_cvxpy
from dualroute.solvers.via_pyomo import to_pyomo
from dualroute.testing import optimum_of, random_problem

EXACT = ("lagrangian", "highs", "ortools:cp-sat", "ortools:scip", "pyomo", "cvxpy")
RELAXING = ("highs:lp", "ortools:glop", "ortools:pdlp", "cvxpy:lp", "cvxpy:clarabel")
QUALITY = np.array([[0.6, 0.9], [0.5, 0.9], [0.2, 0.9]])  # gains .3, .4, .7
ONE = np.ones((1, 1))


def floor_of(total, scale=1.0):
    return Rows("floor", QUALITY * scale, np.array([-total * scale]), at_least=True, sign=-1.0)


# Numbers that are hard on tolerances: name, problem, optimum. Small costs 1 and large 4 units;
# a floor of 1.95 asks for .65 above all-small's 1.3, which the last query's upgrade gives alone.
COST = np.array([[1.0, 4.0]] * 3)
CAPS = Rows("cap", ONE, np.array([3.0, 2.0]), np.arange(2)[None, :])
NEARLY = QUALITY * (1 + 1e-9 * np.arange(6).reshape(3, 2))
HARD = {
    "costs of 1e-7": (RoutingProblem(COST * 1e-7, (floor_of(1.95),)), 6e-7),
    "costs of 1e7": (RoutingProblem(COST * 1e7, (floor_of(1.95),)), 6e7),
    "a floor in units of 1e9": (RoutingProblem(COST, (floor_of(1.95, 1e9),)), 6.0),
    "a floor in units of 1e-9": (RoutingProblem(COST, (floor_of(1.95, 1e-9),)), 6.0),
    # Two rows that differ in the ninth digit ask for the same.
    "near-parallel rows": (
        RoutingProblem(
            COST,
            (floor_of(1.95), Rows("twin", NEARLY, np.array([-1.95]), at_least=True, sign=-1.0)),
        ),
        6.0,
    ),
    # A third model, better than all for nothing, is forbidden everywhere.
    "a model nobody may use": (
        RoutingProblem(
            np.column_stack([COST, np.full(3, np.inf)]),
            (
                Rows(
                    "floor",
                    np.column_stack([QUALITY, np.ones(3)]),
                    np.array([-1.95]),
                    at_least=True,
                    sign=-1.0,
                ),
            ),
        ),
        6.0,
    ),
    # 2 of 3 fit on the large model, and costs differ by a millionth of themselves: the dearest
    # large one is left out, so 4 + 4.000004 + 1.
    "costs that nearly tie": (
        RoutingProblem(
            np.array([[1.0, 4.0], [1.0, 4.000004], [1.0, 4.000008]]) * np.array([1.0, -1.0]),
            (CAPS,),
        ),
        -4.000008 - 4.000004 + 1.0,
    ),
}


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("case", HARD)
def test_claims_on_hard_numbers_against_exact_arithmetic(case, name):
    problem, optimum = HARD[case]
    exact = min(
        value
        for routing in every_routing(problem)
        if (value := exact_value(problem, routing)) is not None
        and all(excess <= 0 for excess in exact_excess(problem, routing))
    )
    assert float(exact) == pytest.approx(optimum, rel=1e-12)
    claim = registry.create("solvers", name).solve(problem, SolveOptions())
    assert claim.status is Status.OPTIMAL
    assert exact_value(problem, claim.assignment) == exact
    assert claim.best_bound <= float(exact) + 1e-8 * abs(float(exact))
    certificate = certify(problem, claim)
    assert certificate.feasible
    assert certificate.objective == float(exact)


@pytest.mark.parametrize("name", RELAXING)
@pytest.mark.parametrize("case", HARD)
def test_prices_of_relaxations_on_hard_numbers_bound_the_optimum(case, name):
    problem, optimum = HARD[case]
    claim = registry.create("solvers", name).solve(problem, SolveOptions())
    relaxed = run_highs(linear_form(problem), Task(integer=False)).best_bound
    certificate = certify(problem, claim)
    assert certificate.bound <= optimum
    # Interior points and first-order methods come near the relaxation's optimum.
    assert certificate.bound == pytest.approx(relaxed, rel=1e-4)


# CP-SAT's whole numbers -----------------------------------------------------------------------


@given(problem=small_problems(), seed=st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_whole_numbers_let_every_routing_through_at_no_higher_cost(problem, seed):
    form = linear_form(problem)
    whole, scale = via_ortools._whole(form)
    for numbers in (whole.cost, whole.matrix.data, whole.upper[np.isfinite(whole.upper)]):
        assert (numbers == np.rint(numbers)).all()
        assert np.abs(numbers).sum() < 2.0**53
    draw = np.random.default_rng(seed)
    allowed = allowed_pairs(problem)
    routing = np.array([draw.choice(np.flatnonzero(line)) for line in allowed])
    x = form.columns_of(routing)
    exactly = [
        sum((Fraction(a) for a in line[x > 0].tolist()), Fraction(0))
        for line in (form.cost, *form.matrix.toarray())
    ]
    wholly = [
        sum((Fraction(a) for a in line[x > 0].tolist()), Fraction(0))
        for line in (whole.cost, *whole.matrix.toarray())
    ]
    assert wholly[0] <= exactly[0] * Fraction(scale)
    for before, after, limit, rounded in zip(
        exactly[1:], wholly[1:], form.upper, whole.upper, strict=True
    ):
        assert before > Fraction(float(limit)) or after <= Fraction(float(rounded))


def test_a_bound_of_cp_sat_is_one_of_the_problem_in_doubles():
    # Costs with 52 bits each: rounded down to 46, the scaled optimum lies below the true one.
    problem = continuous(40, 3, seed=3, dtype=np.float64).problem
    claim = registry.create("solvers", "ortools:cp-sat").solve(problem, SolveOptions(60))
    other = registry.create("solvers", "highs").solve(problem, SolveOptions(60))
    assert claim.status is Status.OPTIMAL
    assert problem.value(claim.assignment) == pytest.approx(problem.value(other.assignment), 1e-9)
    assert claim.best_bound <= problem.value(claim.assignment)
    assert claim.best_bound == pytest.approx(problem.value(claim.assignment), rel=1e-9)


@pytest.mark.parametrize("seed", [41, 301, 359, 443, 543, 963, 1083, 37045])
def test_cp_sat_does_not_lose_the_best_routing(seed):
    # With its presolve, OR-Tools 9.15 calls a worse routing optimal on each of these.
    problem = random_problem(seed, 5, 3)
    optimum = optimum_of(problem)
    claim = registry.create("solvers", "ortools:cp-sat").solve(problem, SolveOptions())
    assert problem.value(claim.assignment) == pytest.approx(optimum, rel=1e-9)
    assert claim.best_bound <= optimum + 1e-9 * abs(optimum)


# Time, ends and starts ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ortools:cp-sat", "ortools:scip", "pyomo", "cvxpy"])
def test_a_time_limit_ends_a_long_solve(name):
    problem = continuous(20_000, 8, seed=1).problem
    started = time.perf_counter()
    claim = registry.create("solvers", name).solve(problem, SolveOptions(2.0))
    assert time.perf_counter() - started < 15
    assert claim.termination is Termination.TIME_LIMIT
    if claim.assignment is not None:
        assert certify(problem, claim).feasible


def test_a_process_that_ignores_its_limit_is_killed_and_its_best_kept(monkeypatch):
    # A worker that tells of one routing and then sleeps; parent and child are both ours.
    problem = random_problem(3, 6, 3)
    form = linear_form(problem)
    known = registry.create("solvers", "highs").solve(problem, SolveOptions()).assignment
    x = form.columns_of(known)

    class Asleep:
        def call(self, request, *, seconds, heard):
            heard((x, float(form.cost @ x), -math.inf))
            from dualroute.worker import Reply

            return Reply(None, late=True)

    from dualroute.exact import run_apart

    claim = solve_exactly(
        problem,
        SolveOptions(5.0),
        name="asleep",
        search=lambda form, task: run_apart(Asleep(), "any", form, task),
    )
    assert claim.termination is Termination.TIME_LIMIT
    assert claim.status is Status.FEASIBLE
    assert claim.assignment.tolist() == known.tolist()


@pytest.mark.parametrize("name", ["ortools:scip", "ortools:cp-sat"])
def test_better_routings_are_told_with_bounds(name):
    problem = continuous(300, 4, seed=5).problem
    lines = []
    options = SolveOptions(20.0, mip_rel_gap=1e-3, progress=lines.append)
    claim = registry.create("solvers", name).solve(problem, options)
    optimum = registry.create("solvers", "lagrangian").solve(problem, SolveOptions()).best_bound
    assert lines
    assert lines[-1].objective >= optimum * (1 - 1e-9)
    assert min(line.objective for line in lines) == pytest.approx(
        problem.value(claim.assignment), rel=1e-6
    )
    assert all(line.best_bound <= problem.value(claim.assignment) + 1e-6 for line in lines)


@pytest.mark.parametrize("name", ["ortools:cp-sat", "ortools:scip", "pyomo"])
def test_a_start_is_used(name):
    problem = random_problem(11, 6, 3)
    best = registry.create("solvers", "highs").solve(problem, SolveOptions()).assignment
    claim = registry.create("solvers", name).solve(problem, SolveOptions(start=best))
    assert problem.value(claim.assignment) == pytest.approx(optimum_of(problem), rel=1e-9)


def test_a_backend_whose_routing_breaks_a_limit_is_mended():
    # Two of three fit on the cheap model; the answer puts all there.
    problem = RoutingProblem(
        np.array([[1.0, 2.0], [1.0, 3.0], [1.0, 5.0]]),
        (Rows("room", ONE, np.array([2.0, 3.0]), np.arange(2)[None, :]),),
    )

    def wrong(form, task):
        return Answer(Termination.OPTIMAL, form.columns_of(np.zeros(3, int)), 3.0)

    claim = solve_exactly(problem, SolveOptions(), name="wrong", search=wrong)
    assert claim.assignment.tolist() == [1, 0, 0]
    certificate = certify(problem, replace(claim, prices=without_prices(problem)))
    assert certificate.objective == 4.0


def test_names_that_are_not_there():
    with pytest.raises(OptionError, match="'lagrangian' has no variants"):
        registry.create("solvers", "lagrangian:fast")
    with pytest.raises(OptionError, match="one of cp-sat, scip, highs, glop, pdlp"):
        registry.create("solvers", "ortools:gurobi")
    with pytest.raises(OptionError, match="mode is 'qp'"):
        registry.create("solvers", "highs:qp")
    problem = random_problem(1)
    with pytest.raises(RoutingError, match="Pyomo finds no solver 'nosuch' here"):
        registry.create("solvers", "pyomo:nosuch").solve(problem, SolveOptions())
    with pytest.raises(RoutingError, match="CVXPY finds no solver 'NOSUCH' here; it has"):
        registry.create("solvers", "cvxpy:nosuch").solve(problem, SolveOptions())


@pytest.mark.parametrize("library", ["ortools", "pyomo", "cvxpy"])
def test_an_absent_library_is_told_with_what_to_install(library):
    code = (
        "import importlib.util as u\n"
        "find = u.find_spec\n"
        f"u.find_spec = lambda name, *a: None if name == {library!r} else find(name, *a)\n"
        "from dualroute import registry\n"
        f"print([e.problem for e in registry.entries('solvers') if e.name == {library!r}][0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"{library} is not installed; pip install 'dualroute[{library}]'" in done.stdout


# Live models ------------------------------------------------------------------------------------


def test_a_pyomo_model_can_be_solved_and_extended_by_its_user():
    import pyomo.environ as pyo
    from pyomo.contrib.solver.common.factory import SolverFactory

    problem, optimum = HARD["costs of 1e7"]
    names = ["a", "b", "c"]
    model = to_pyomo(problem, queries=names, models=["small", "large"])
    assert isinstance(model, pyo.ConcreteModel)
    SolverFactory("highs").solve(model, rel_gap=0.0)
    assert pyo.value(model.total) == pytest.approx(optimum)
    assert round(model.route["c", "large"].value) == 1
    # 2.35 asks for 1.05: gains .4 and .7, so two upgrades.
    model.ceiling["floor"] = -2.35
    SolverFactory("highs").solve(model, rel_gap=0.0)
    assert pyo.value(model.total) == pytest.approx(9e7)
    # A row of the user's own: the last query stays small, so nothing reaches 2.35.
    model.mine = pyo.Constraint(expr=model.route["c", "small"] == 1)
    model.ceiling["floor"] = -1.95
    SolverFactory("highs").solve(model, rel_gap=0.0)
    assert pyo.value(model.total) == pytest.approx(9e7)


def test_a_cvxpy_problem_can_be_solved_and_its_limits_moved():
    import cvxpy as cp

    problem, optimum = HARD["a model nobody may use"]
    live = to_cvxpy(problem)
    assert isinstance(live, cp.Problem)
    live.solve(solver=cp.HIGHS)
    assert live.value == pytest.approx(optimum)
    query, _ = np.nonzero(allowed_pairs(problem))
    assert query.size == live.variables()[0].size == 6
    live.parameters()[0].value = np.array([-2.35])
    live.solve(solver=cp.HIGHS)
    assert live.value == pytest.approx(9.0)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_live_models_have_the_optimum_of_the_problem(seed):
    import cvxpy as cp
    import pyomo.environ as pyo
    from pyomo.contrib.solver.common.factory import SolverFactory

    problem = random_problem(seed, 5, 3)
    optimum = optimum_of(problem)
    live = to_cvxpy(problem)
    live.solve(solver=cp.HIGHS, mip_rel_gap=0.0)
    assert live.value == pytest.approx(optimum, rel=1e-6)
    model = to_pyomo(problem)
    SolverFactory("highs").solve(model, rel_gap=0.0)
    assert pyo.value(model.total) == pytest.approx(optimum, rel=1e-6)


def test_backends_agree_with_each_other_on_random_problems():
    for seed, ties in itertools.product(range(6), (False, True)):
        problem = random_problem(seed, 6, 3, ties=ties)
        optimum = optimum_of(problem)
        for name in EXACT:
            claim = registry.create("solvers", name).solve(problem, SolveOptions())
            assert problem.value(claim.assignment) == pytest.approx(optimum, rel=1e-9), name
