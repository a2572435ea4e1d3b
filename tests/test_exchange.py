"""Local search: it keeps every limit, never makes worse, and misses no move of one or two."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualroute.engines.local import LocalEngine
from dualroute.exchange import Exchange, exchange
from dualroute.problem import Prices, RoutingProblem, Rows, lagrangian
from dualroute.rounding import without_prices
from dualroute.solver import Clock, SolveOptions
from dualroute.solvers.lagrangian.search import search
from dualroute.testing import every_routing, optimum_of, random_problem

SEEDS = st.integers(0, 2**32 - 1)


def prices_of(problem, seed):
    draw = np.random.default_rng(seed)
    vector = draw.exponential(1.0, problem.n_rows) * draw.choice([0.0, 1.0], problem.n_rows)
    return Prices.of(problem, vector)


def assigned(cost, size, capacity):
    """A generalised assignment problem: model ``j`` holds ``capacity[j]``."""
    pool = np.arange(len(capacity))[None, :]
    rows = Rows("capacity", np.array(size, float), np.array(capacity, float), pool)
    return RoutingProblem(np.array(cost, float), (rows,))


def hard(n=60, m=6, seed=0):
    """Capacities that nine tenths fill, and cost that falls as size grows (type D)."""
    draw = np.random.default_rng(seed)
    size = draw.integers(1, 101, (n, m)).astype(float)
    cost = 111 - size + draw.integers(-10, 11, (n, m))
    return assigned(cost, size, np.full(m, np.floor(0.8 * size.sum() / m / m)))


def moves(problem, routing, most):
    """All routings that differ from one in at most ``most`` queries."""
    for queries in itertools.combinations(range(problem.n_queries), most):
        for models in itertools.product(range(problem.n_models), repeat=most):
            moved = routing.copy()
            moved[list(queries)] = models
            yield moved


@given(seed=SEEDS, n=st.integers(1, 12), m=st.integers(1, 4), ties=st.booleans())
@settings(max_examples=60, deadline=None)
def test_every_limit_is_kept_and_nothing_gets_worse(seed, n, m, ties):
    problem = random_problem(seed, n, m, ties=ties)
    start = np.random.default_rng(seed).integers(0, m, n)
    given_start = start.copy()
    found = exchange(problem, start, prices_of(problem, seed), seed=seed)
    assert (start == given_start).all()
    if problem.meets_target(start):
        assert problem.value(found) <= problem.value(start)
    if found is not None:
        assert problem.meets_target(found)
        again = exchange(problem, start, prices_of(problem, seed), seed=seed)
        assert again.tolist() == found.tolist()


@given(seed=SEEDS, ties=st.booleans())
@settings(max_examples=40, deadline=None)
def test_no_move_of_two_queries_is_left(seed, ties):
    problem = random_problem(seed, 5, 3, ties=ties)
    prices = prices_of(problem, seed)
    kept = [r for r in every_routing(problem) if problem.meets_target(r)]
    for start in kept[:: max(1, len(kept) // 5)]:
        found = exchange(problem, start, prices, cycles=0)
        value = problem.value(found)
        room = 1e-8 * (1 + abs(value))
        for moved in moves(problem, found, 2):
            assert problem.value(moved) >= value - room or not problem.meets_target(moved)


def test_a_swap_where_no_single_move_fits():
    # Each model holds one query, and each query is on the other's cheap model.
    problem = assigned([[1, 2], [2, 1]], [[1, 1], [1, 1]], [1, 1])
    found = exchange(problem, np.array([1, 0]), without_prices(problem), cycles=0)
    assert found.tolist() == [0, 1]


def test_a_cycle_of_three_where_no_pair_helps():
    # One query to a model. From 0 -> 1, 1 -> 2, 2 -> 0 at 2 each, all may step back to their
    # own model at 1; any two that swap put one of them on a model that costs it 9.
    cost = [[1, 2, 9], [9, 1, 2], [2, 9, 1]]
    problem = assigned(cost, np.ones((3, 3)), [1, 1, 1])
    start = np.array([1, 2, 0])
    free = without_prices(problem)
    assert exchange(problem, start, free, cycles=0).tolist() == start.tolist()
    assert exchange(problem, start, free).tolist() == [0, 1, 2]


def test_small_problems_are_solved_from_routings_that_break_limits():
    for seed in range(12):
        problem = random_problem(seed, 6, 3)
        wish = lagrangian(problem, without_prices(problem)).assignment
        found = exchange(problem, wish, without_prices(problem))
        assert found is not None
        assert problem.value(found) <= optimum_of(problem) * (1 + 1e-9) + 1e-9


def test_a_tight_assignment_is_found_from_one_overfull_model():
    problem = hard()
    found = exchange(problem, np.zeros(60, int), without_prices(problem), cycles=3)
    assert found is not None
    assert problem.keeps_limits(found)


@given(seed=st.integers(0, 10_000), exponent=st.sampled_from([-60, -20, 20]))
@settings(max_examples=20, deadline=None)
def test_units_of_the_objective_do_not_change_the_search(seed, exponent):
    problem = random_problem(seed, 8, 3)
    scaled = replace(problem, objective=problem.objective * 2.0**exponent)
    start = lagrangian(problem, without_prices(problem)).assignment
    prices = prices_of(problem, seed)
    one = exchange(problem, start, prices)
    two = exchange(scaled, start, Prices.of(scaled, prices.vector * 2.0**exponent))
    assert (one is None) == (two is None)
    assert one is None or one.tolist() == two.tolist()


def test_better_routings_found_elsewhere_are_taken_up():
    problem = hard()
    local = Exchange(problem, without_prices(problem), np.zeros(60, int))
    assert local.objective == math.inf
    found = exchange(problem, np.zeros(60, int), without_prices(problem), cycles=3)
    assert local.go_on_from(found)
    assert not local.go_on_from(found)
    local.advance(calls=5)
    assert local.objective <= problem.value(found)


def test_a_budget_in_tenths_at_tolerance_zero():
    # Ten times the double nearest 0.1 is a hair over 1: nine queries fit.
    usage = np.array([[0.1, 0.0]] * 10)
    rows = Rows("budget", usage, np.array([1.0]))
    problem = RoutingProblem(np.array([[0.0, 1.0]] * 10), (rows,), tolerance=0.0)
    found = exchange(problem, np.ones(10, int), without_prices(problem))
    assert problem.value(found) == 1.0


def test_without_limits_every_query_takes_its_cheapest_model():
    problem = RoutingProblem(np.array([[2.0, 1.0], [1.0, 2.0]]))
    assert exchange(problem, np.array([0, 1]), without_prices(problem)).tolist() == [1, 0]


def test_an_expired_clock_changes_nothing():
    problem = hard()
    start = exchange(problem, np.zeros(60, int), without_prices(problem), cycles=3)
    found = exchange(problem, start, without_prices(problem), Clock(1e-9))
    assert found.tolist() == start.tolist()


# The search of the native solver --------------------------------------------------------------


class Offers:
    """What a search offered, each checked when it came."""

    def __init__(self, problem):
        self.problem, self.values, self.phases = problem, [], []

    def __call__(self, routing, phase):
        assert self.problem.meets_target(routing)
        self.values.append(self.problem.value(routing))
        self.phases.append(phase)


def searched(problem, base, *, prices=None, seconds=math.inf, options=None, bound=-math.inf):
    offers = Offers(problem)
    answer = search(
        LocalEngine(problem),
        prices or without_prices(problem),
        base=base,
        feasible=problem.meets_target(base),
        bound=bound,
        options=options or SolveOptions(),
        clock=Clock(seconds),
        offer=offers,
    )
    assert offers.values == sorted(set(offers.values), reverse=True)
    return answer, offers


@given(seed=SEEDS, ties=st.booleans())
@settings(max_examples=40, deadline=None)
def test_search_settles_small_problems(seed, ties):
    problem = random_problem(seed, 5, 3, ties=ties)
    base = np.random.default_rng(seed).integers(0, 3, 5)
    held = problem.value(base) if problem.meets_target(base) else math.inf
    answer, offers = searched(problem, base)
    optimum = optimum_of(problem)
    assert min([held, *offers.values]) == pytest.approx(optimum, rel=1e-9, abs=1e-9)
    assert answer.complete
    assert answer.best_bound <= optimum + 1e-6 * (1 + abs(optimum))


def test_search_takes_an_optimum_that_presolve_finds():
    # HiGHS 1.16 hands back the start here, beside the optimum's objective.
    problem = random_problem(14_629, 5, 3, ties=True)
    base = np.array([1, 0, 0, 0, 2])
    assert problem.meets_target(base)
    _, offers = searched(problem, base)
    assert offers.values[-1] == optimum_of(problem) == 2.5


def test_search_says_when_no_routing_keeps_the_limits():
    problem = assigned([[1, 2], [2, 1]], [[2, 2], [1, 1]], [1, 1])
    answer, offers = searched(problem, np.array([0, 1]))
    assert answer.complete
    assert answer.best_bound == math.inf
    assert offers.values == []


@pytest.mark.parametrize("seconds", [0.01, 0.5])
def test_search_keeps_to_its_clock(seconds):
    problem = hard(200, 10)
    clock = Clock(seconds)
    searched(problem, np.zeros(200, int), seconds=seconds)
    assert clock.seconds < seconds + 3


def test_search_stops_at_the_gap_asked_for():
    problem = hard()
    start = exchange(problem, np.zeros(60, int), without_prices(problem), cycles=3)
    value = problem.value(start)
    _, offers = searched(problem, start, bound=0.9 * value, options=SolveOptions(mip_rel_gap=0.2))
    assert offers.values == []
    _, offers = searched(
        problem, start, bound=0.97 * value, options=SolveOptions(mip_rel_gap=0.02), seconds=5
    )
    assert offers.values


def test_programs_and_exchanges_both_take_part():
    # Too large for HiGHS to settle at once. A unit of size is worth about a unit of cost here.
    problem = hard(200, 10)
    prices = Prices.of(problem, np.ones(10))
    base = lagrangian(problem, prices).assignment
    _, offers = searched(problem, base, prices=prices, seconds=3)
    assert {"exchange", "program"} & set(offers.phases)
    assert math.isfinite(offers.values[-1])
