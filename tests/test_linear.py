"""The problem as sparse matrices: the same routings, objective, limits and prices."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import (
    ORDINARY,
    SIZES,
    every_feasible_routing,
    every_routing,
    exact_value,
    routings,
    small_problems,
)

from dualroute import highs as highs_module
from dualroute.certificate import certify
from dualroute.highs import run_highs
from dualroute.instances import continuous
from dualroute.linear import Task, linear_form, use_of
from dualroute.problem import Prices, RoutingProblem, Rows, allowed_pairs, lagrangian
from dualroute.solver import Solution, SolveOptions, Status, Termination
from dualroute.testing import random_problem

ONE = np.ones((1, 1))
SOLVED = settings(max_examples=40)


def satisfies(form, x):
    """Whether columns keep all rows, in rational arithmetic."""
    dense = form.matrix.toarray()
    for coefficients, low, high in zip(dense, form.lower, form.upper, strict=True):
        used = sum((Fraction(c) for c, on in zip(coefficients, x, strict=True) if on), Fraction(0))
        if used > Fraction(high) or (low > -math.inf and used < Fraction(low)):
            return False
    return True


@given(small_problems(max_queries=3, sizes=SIZES, tolerance=0.0))
def test_binary_columns_that_keep_the_rows_are_the_feasible_routings(problem):
    form = linear_form(problem)
    nobody = np.full(problem.n_queries, -1)
    found = set()
    for x in itertools.product((0, 1), repeat=form.n_columns):  # at most 2**9
        if satisfies(form, x):
            routing = form.routing(np.array(x, float), nobody)
            assert form.columns_of(routing).tolist() == list(x)
            found.add(tuple(routing.tolist()))
    assert found == {tuple(routing.tolist()) for routing in every_feasible_routing(problem)}


@given(small_problems(sizes=SIZES))
def test_columns_are_the_allowed_pairs_in_order(problem):
    form = linear_form(problem)
    pairs = list(zip(form.query.tolist(), form.model.tolist(), strict=True))
    assert pairs == [tuple(pair) for pair in np.argwhere(allowed_pairs(problem)).tolist()]
    assert form.free.tolist() == list(range(problem.n_queries))
    assert form.matrix.shape == (problem.n_queries + problem.n_rows, form.n_columns)
    assert form.offset == 0.0


@given(small_problems(sizes=SIZES, palettes=ORDINARY))
def test_scaling_by_powers_of_two_loses_nothing(problem):
    form = linear_form(problem)
    for scale in (form.cost_scale, *form.row_scale):
        assert math.frexp(scale)[0] == 0.5  # a power of two
    objective = problem.objective[form.query, form.model]
    assert (form.cost / form.cost_scale).tolist() == objective.tolist()
    sizes = np.abs(form.cost[form.cost != 0])
    if sizes.size:
        assert 1 <= np.median(sizes) < 2
    for row, scale in zip(form.matrix[form.free.size :].toarray(), form.row_scale, strict=True):
        sizes = np.abs(row[row != 0])
        if sizes.size:
            assert 1 <= np.median(sizes) < 2
        else:
            assert scale == 1.0
    limits = form.upper[form.free.size :] / form.row_scale
    assert limits.tolist() == problem.target.tolist()


@given(problem=small_problems(), data=st.data())
def test_some_pairs_and_a_base_give_the_same_objective_and_limits(problem, data):
    n, m = problem.n_queries, problem.n_models
    some = data.draw(st.lists(st.booleans(), min_size=n * m, max_size=n * m))
    pairs = np.array(some).reshape(n, m)
    base = data.draw(routings(n, m))
    assume(problem.value(base) < math.inf)
    form = linear_form(problem, pairs, base)
    free = np.flatnonzero((pairs & allowed_pairs(problem)).any(axis=1))
    assert form.free.tolist() == free.tolist()
    for routing in every_routing(problem):
        fixed = np.setdiff1d(np.arange(n), free)
        on_pairs = (pairs & allowed_pairs(problem))[free, routing[free]].all()
        if not on_pairs or (routing[fixed] != base[fixed]).any():
            continue
        x = form.columns_of(routing)
        assert (form.matrix[: free.size] @ x == 1).all()
        assert form.routing(x, base).tolist() == routing.tolist()
        value = form.cost @ x / form.cost_scale + form.offset
        assert value == pytest.approx(problem.value(routing), abs=1e-12)
        left = (form.upper - form.matrix @ x)[free.size :] / form.row_scale
        assert left == pytest.approx(problem.target - problem.use(routing), abs=1e-10)


@given(problem=small_problems(), data=st.data())
def test_use_of_some_queries_and_of_the_others_is_the_whole(problem, data):
    routing = data.draw(routings(problem.n_queries, problem.n_models))
    cut = data.draw(st.integers(0, problem.n_queries))
    index = np.arange(problem.n_queries)
    parts = use_of(problem, routing, index[:cut]) + use_of(problem, routing, index[cut:])
    assert parts == pytest.approx(problem.use(routing), abs=1e-12)


def test_a_restricted_form_by_hand():
    # Query 1 stays on model 1, which costs 5 and takes 4 of 9 USD: 5 are left for query 0.
    budget = Rows("budget", np.array([[1.0, 4.0]]), np.array([9.0]))
    capacity = Rows("capacity", ONE, np.array([1.0, 1.0]), np.array([[0, 1]]))
    problem = RoutingProblem(np.array([[2.0, 3.0], [4.0, 5.0]]), (budget, capacity), tolerance=0.0)
    pairs = np.array([[True, True], [False, False]])
    form = linear_form(problem, pairs, np.array([0, 1]))
    assert form.free.tolist() == [0]
    assert form.offset == 5.0
    assert (form.upper[1:] / form.row_scale).tolist() == [5.0, 1.0, 0.0]
    assert (form.matrix[1:].toarray() / form.row_scale[:, None]).tolist() == [
        [1, 4],
        [1, 0],
        [0, 1],
    ]


def test_a_fractional_query_goes_where_most_of_it_is():
    problem = RoutingProblem(np.array([[0.0, 0.0, 0.0], [0.0, np.inf, 0.0], [0.0, 0.0, 0.0]]))
    pairs = np.array([[True, True, True], [True, True, True], [False, False, False]])
    form = linear_form(problem, pairs, np.array([0, 0, 2]))
    x = np.array([0.2, 0.5, 0.3, 0.1, 0.9])
    assert form.routing(x, np.array([0, 0, 2])).tolist() == [1, 2, 2]


def test_pairs_outside_every_pool_and_usage_of_zero_take_no_entry():
    rows = Rows("b", np.array([[0.0, 2.0, 4.0]]), np.array([3.0]), np.array([[0, 0, -1]]))
    form = linear_form(RoutingProblem(np.ones((2, 3)), (rows,)))
    assert form.matrix[2:].toarray().tolist() == [[0, 1, 0, 0, 1, 0]]  # 2 scaled to 1
    assert form.matrix.nnz == 6 + 2


def test_everything_fixed_leaves_no_columns():
    budget = Rows("budget", np.array([[1.0, 4.0]]), np.array([9.0]))
    problem = RoutingProblem(np.array([[2.0, 3.0]] * 2), (budget,), tolerance=0.0)
    form = linear_form(problem, np.zeros((2, 2), bool), np.array([0, 1]))
    assert form.n_columns == 0
    assert form.offset == 5.0
    assert form.upper.tolist() == [4.0]  # 9 - 1 - 4


# ---------------------------------------------------------------- solved


@SOLVED
@given(small_problems(planted=True, max_queries=4, sizes=SIZES, palettes=ORDINARY))
def test_the_integer_program_has_the_optimum_of_the_enumeration(problem):
    form = linear_form(problem)
    answer = run_highs(form, Task(integer=True))
    assert answer.termination is Termination.OPTIMAL
    routing = form.routing(answer.x, np.zeros(problem.n_queries, int))
    best = min(float(exact_value(problem, r)) for r in every_feasible_routing(problem))
    assert problem.value(routing) * form.cost_scale == pytest.approx(
        best * form.cost_scale, abs=1e-6
    )
    assert answer.best_bound * form.cost_scale == pytest.approx(best * form.cost_scale, abs=1e-6)


def runs_of(monkeypatch):
    """How often HiGHS runs from here on, one entry per run."""
    runs, wait = [], highs_module._wait
    monkeypatch.setattr(highs_module, "_wait", lambda *args: runs.append(None) or wait(*args))
    return runs


def test_an_optimum_comes_with_its_own_columns_whatever_the_start(monkeypatch):
    # Presolve settles this one, and HiGHS 1.16 then hands back some starts as they were given,
    # [1, 0, 0, 0, 2] of value 3 for one, beside the optimum's objective of 2.5.
    problem = random_problem(14_629, 5, 3, ties=True)
    form = linear_form(problem)
    starts = list(every_feasible_routing(problem))
    assert [1, 0, 0, 0, 2] in [start.tolist() for start in starts]
    runs = runs_of(monkeypatch)
    for start in starts:
        runs.clear()
        answer = run_highs(form, Task(integer=True, start=form.columns_of(start)))
        assert answer.termination is Termination.OPTIMAL
        assert answer.best_bound == 2.5
        found = form.routing(answer.x, start)
        assert problem.meets_target(found)
        assert problem.value(found) == 2.5
        assert len(runs) == 1 or problem.value(start) > 2.5  # asked again where it has to be


def test_a_gap_that_was_asked_for_is_not_taken_for_other_columns(monkeypatch):
    simulated = continuous(60, 3)
    form = linear_form(simulated.problem)
    runs = runs_of(monkeypatch)
    start = form.columns_of(simulated.hidden)
    answer = run_highs(form, Task(integer=True, start=start, options=SolveOptions(mip_rel_gap=0.9)))
    assert answer.termination is Termination.OPTIMAL
    assert len(runs) == 1
    value = simulated.problem.value(form.routing(answer.x, simulated.hidden))
    assert answer.best_bound < value <= simulated.problem.value(simulated.hidden)


@SOLVED
@given(small_problems(planted=True, sizes=SIZES, palettes=ORDINARY))
def test_row_duals_of_the_relaxation_are_prices_that_attain_its_value(problem):
    form = linear_form(problem)
    answer = run_highs(form, Task(integer=False))
    assert answer.termination is Termination.OPTIMAL
    prices = form.prices(problem, answer.row_dual)
    value = lagrangian(problem, prices).value
    assert value * form.cost_scale == pytest.approx(answer.best_bound * form.cost_scale, abs=1e-6)


@SOLVED
@given(problem=small_problems(planted=True, palettes=ORDINARY), data=st.data())
def test_the_value_of_a_restricted_program_counts_the_fixed_queries(problem, data):
    best = min(every_feasible_routing(problem), key=problem.value)
    free = data.draw(st.lists(st.booleans(), min_size=problem.n_queries))
    pairs = np.zeros(problem.objective.shape, bool)
    pairs[np.flatnonzero(free[: problem.n_queries])] = True
    assume(pairs.any())
    answer = run_highs(linear_form(problem, pairs, best), Task(integer=True))
    assert answer.best_bound == pytest.approx(problem.value(best), abs=1e-6)


def test_duals_by_hand():
    # Upgrading costs 3 USD and gains .25, .5, .75: with 9 - 3 = 6 USD the last two are bought
    # and one dollar more would buy a third of the first: price .25 / 3; with 7.5 USD, half of
    # the second is left to buy: price .5 / 3.
    quality = np.array([[0.5, 0.75], [0.5, 1.0], [0.25, 1.0]])
    for usd, price in ((10.0, 0.25 / 3), (7.5, 0.5 / 3), (13.0, 0.0)):
        budget = Rows("budget", np.array([[1.0, 4.0]]), np.array([usd]))
        problem = RoutingProblem(-quality, (budget,))
        form = linear_form(problem)
        answer = run_highs(form, Task(integer=False))
        assert form.prices(problem, answer.row_dual).vector[0] == pytest.approx(price, abs=1e-9)


@SOLVED
@given(small_problems(max_queries=3, sizes=SIZES, palettes=ORDINARY))
def test_duals_of_the_elastic_program_prove_infeasibility_when_it_pays(problem):
    answer = run_highs(linear_form(problem).elastic(), Task(integer=False))
    assert answer.termination is Termination.OPTIMAL
    form = linear_form(problem).elastic()
    ray = form.prices(problem, answer.row_dual)
    claim = Solution(Status.INFEASIBLE, Termination.INFEASIBLE, ray=ray)
    infeasible = certify(problem, claim).infeasible
    if any(True for _ in every_feasible_routing(problem)):
        assert answer.best_bound == pytest.approx(0, abs=1e-6)
        assert not infeasible
    if answer.best_bound > 1e-5:
        assert infeasible


def test_a_row_of_very_different_sizes_is_taken():
    # Two queries take next to nothing and one 1e7 of 2e7; every routing is feasible.
    budget = Rows("budget", np.array([[1e-9], [1e-9], [1e7]]), np.array([2e7]))
    problem = RoutingProblem(np.array([[1.0, 2.0]] * 3), (budget,))
    answer = run_highs(linear_form(problem), Task(integer=True))
    assert answer.best_bound == pytest.approx(3.0, abs=1e-6)


def test_the_elastic_program_of_a_part_counts_excess_alone():
    # The fixed query costs 5, which is no excess: two requests where one fits break it by 1.
    capacity = Rows("capacity", ONE, np.array([1.0]))
    problem = RoutingProblem(np.array([[5.0], [7.0]]), (capacity,))
    form = linear_form(problem, np.array([[False], [True]]), np.array([0, 0])).elastic()
    assert run_highs(form, Task(integer=False)).best_bound == pytest.approx(1.0, abs=1e-6)


def test_prices_are_of_the_rows_and_never_negative():
    capacity = Rows("capacity", ONE, np.array([1.0, 2.0]), np.array([[0, 1]]))
    problem = RoutingProblem(np.array([[1e-6, 4e-6]] * 3), (capacity,))
    form = linear_form(problem)
    duals = np.r_[np.full(3, 9.0), [-4.0, 1e-12]]
    prices = form.prices(problem, duals)
    assert isinstance(prices, Prices)
    assert prices.vector.tolist() == [4.0 / form.cost_scale, 0.0]
