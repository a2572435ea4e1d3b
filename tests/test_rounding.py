"""Rounding: whatever it returns keeps every limit, and improving never makes worse."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualroute import rounding
from dualroute.formulation import Budget, Capacity, QualityFloor, formulate
from dualroute.outcomes import Outcomes
from dualroute.problem import Prices, RoutingProblem, Rows, lagrangian
from dualroute.rounding import improve, repair, without_prices
from dualroute.solver import Clock
from dualroute.testing import every_routing, optimum_of, random_problem

SEEDS = st.integers(0, 2**32 - 1)


def drawn(problem, seed):
    """Any routing, allowed or not, and any prices."""
    draw = np.random.default_rng(seed)
    routing = draw.integers(0, problem.n_models, problem.n_queries)
    vector = draw.exponential(1.0, problem.n_rows) * draw.choice([0.0, 1.0], problem.n_rows)
    return routing, Prices.of(problem, vector)


def allowed_wish(problem, prices):
    return lagrangian(problem, prices).assignment


@given(seed=SEEDS, n=st.integers(1, 30), m=st.integers(1, 5), ties=st.booleans())
@settings(max_examples=80, deadline=None)
def test_repair_keeps_every_limit(seed, n, m, ties):
    problem = random_problem(seed, n, m, ties=ties)
    wish, prices = drawn(problem, seed)
    given_routing = wish.copy()
    for start in (wish, allowed_wish(problem, prices)):
        routed = repair(problem, start, prices)
        assert routed is None or problem.keeps_limits(routed)
        assert routed is None or routed.shape == (n,)
    assert (wish == given_routing).all()


@given(seed=SEEDS, shrink=st.floats(0.0, 1.0))
@settings(max_examples=60, deadline=None)
def test_repair_finds_nothing_where_there_is_nothing(seed, shrink):
    problem = random_problem(seed)
    rows = tuple(replace(r, limit=r.limit - shrink * np.abs(r.limit)) for r in problem.rows)
    problem = replace(problem, rows=rows)
    _, prices = drawn(problem, seed)
    routed = repair(problem, allowed_wish(problem, prices), prices)
    assert routed is None or optimum_of(problem) <= problem.value(routed)


@given(seed=SEEDS, ties=st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_feasible_routing_is_left_as_it_is(seed, ties):
    problem = random_problem(seed, ties=ties)
    kept = next(r for r in every_routing(problem) if problem.keeps_limits(r))
    _, prices = drawn(problem, seed)
    assert repair(problem, kept, prices).tolist() == kept.tolist()


@given(seed=SEEDS, ties=st.booleans(), tolerance=st.sampled_from([0.0, 1e-9, 1e-3]))
@settings(max_examples=60, deadline=None)
def test_improve_never_worsens_and_keeps_limits(seed, ties, tolerance):
    problem = replace(random_problem(seed, 5, 3, ties=ties), tolerance=tolerance)
    for routing in every_routing(problem):
        if not problem.keeps_limits(routing):
            continue
        before = routing.copy()
        better = improve(problem, routing)
        assert problem.keeps_limits(better)
        assert problem.value(better) <= problem.value(routing)
        assert (routing == before).all()


@given(seed=SEEDS, n=st.integers(1, 30), ties=st.booleans())
@settings(max_examples=60, deadline=None)
def test_nothing_is_exceeded_at_tolerance_zero(seed, n, ties):
    problem = replace(random_problem(seed, n, 4, ties=ties), tolerance=0.0)
    wish, prices = drawn(problem, seed)
    for start in (wish, allowed_wish(problem, prices)):
        routed = repair(problem, start, prices)
        if routed is not None:
            assert (problem.excess(routed) <= 0).all()
            assert (problem.excess(improve(problem, routed)) <= 0).all()


def test_tenths_add_up_at_tolerance_zero():
    # Ten times the double nearest 0.1 is a hair over 1, and 1.0 is what plain summation and a
    # rounded sum both say; at tolerance 0 only nine fit.
    usage = np.array([[0.1, 0.0]] * 10)
    problem = RoutingProblem(
        np.array([[0.0, 1.0]] * 10), (Rows("budget", usage, np.array([1.0])),), tolerance=0.0
    )
    everyone = np.zeros(10, int)
    assert not problem.keeps_limits(everyone)
    routed = improve(problem, repair(problem, everyone, without_prices(problem)))
    assert problem.value(routed) == 1.0
    assert improve(problem, np.ones(10, int)).sum() == 1
    lenient = replace(problem, tolerance=1e-9)
    assert lenient.keeps_limits(everyone)
    assert repair(lenient, everyone, without_prices(lenient)).sum() == 0


def test_repair_sheds_the_query_that_loses_least():
    # One place on the cheap model; leaving it costs 3, 1 and 2 more: query 0 stays.
    outcomes = Outcomes.from_arrays([[1, 4], [1, 2], [1, 3]], [[1, 1]] * 3)
    problem = formulate(outcomes, minimize="cost", limits=[Capacity({"m0": 1})])
    routed = repair(problem, np.zeros(3, int), without_prices(problem))
    assert routed.tolist() == [0, 1, 1]


def test_repair_raises_quality_where_a_unit_of_it_is_cheapest():
    # From .6 + .5 + .2 = 1.3 up to 1.9 at 3 a query: the last gains .7 at once.
    outcomes = Outcomes.from_arrays([[1, 4]] * 3, [[0.6, 0.9], [0.5, 0.9], [0.2, 0.9]])
    problem = formulate(outcomes, minimize="cost", limits=[QualityFloor(total=1.9)])
    routed = repair(problem, np.zeros(3, int), without_prices(problem))
    assert routed.tolist() == [0, 0, 1]


def test_improve_spends_what_a_budget_has_left():
    # 9 buys two upgrades over 3; the gains are .3, .4 and .7.
    outcomes = Outcomes.from_arrays([[1, 4]] * 3, [[0.6, 0.9], [0.5, 0.9], [0.2, 0.9]])
    problem = formulate(outcomes, maximize="quality", limits=[Budget(9)])
    assert improve(problem, np.zeros(3, int)).tolist() == [0, 1, 1]


def test_a_limit_of_zero_is_measured_by_what_is_used():
    # No token may be spent, and every answer of the first model takes 1e10 of them.
    usage = Rows("tokens", np.array([[1e10, 0.0], [2e10, 0.0]]), np.zeros(1))
    problem = RoutingProblem(np.array([[1.0, 2.0], [1.0, 3.0]]), (usage,))
    routed = repair(problem, np.zeros(2, int), without_prices(problem))
    assert routed.tolist() == [1, 1]
    forced = replace(problem, objective=np.array([[1.0, 2.0], [1.0, np.inf]]))
    assert repair(forced, np.zeros(2, int), without_prices(forced)) is None


def test_no_limits_nothing_to_mend():
    problem = RoutingProblem(np.array([[2.0, 1.0], [1.0, 2.0]]))
    routing = np.array([0, 1])
    assert repair(problem, routing, without_prices(problem)).tolist() == [0, 1]
    assert improve(problem, routing).tolist() == [1, 0]


def test_a_forbidden_pair_is_not_returned():
    # Query 0 may only take the first model; the routing handed in says otherwise.
    problem = RoutingProblem(np.array([[5.0, np.inf], [1.0, 1.0]]))
    routed = repair(problem, np.array([1, 0]), without_prices(problem))
    assert routed is None or problem.value(routed) < math.inf


def test_an_expired_clock_stops_at_once_and_breaks_nothing():
    problem = random_problem(0, 2_000, 5)
    wish = allowed_wish(problem, without_prices(problem))
    expired = Clock(1e-9)
    routed = repair(problem, wish, without_prices(problem), expired)
    assert routed is None or problem.keeps_limits(routed)
    assert expired.seconds < 2
    kept = repair(problem, wish, without_prices(problem))
    if kept is not None:
        assert problem.keeps_limits(improve(problem, kept, expired))


@pytest.mark.parametrize("n", [500, 5_000])
def test_repair_succeeds_on_real_shapes(n):
    # A floor and capacities with a fifth to spare: routings that fit are plenty.
    draw = np.random.default_rng(n)
    strength = np.linspace(0.3, 0.9, 6)
    cost = draw.lognormal(0, 0.5, (n, 6)) * np.exp(3 * strength)
    quality = (draw.random((n, 6)) < strength) * 1.0
    limits = [QualityFloor(total=0.6 * n), Capacity(math.ceil(n / 5))]
    problem = formulate(Outcomes.from_arrays(cost, quality), minimize="cost", limits=limits)
    free = without_prices(problem)
    routed = repair(problem, allowed_wish(problem, free), free)
    assert routed is not None
    assert problem.keeps_limits(routed)
    better = improve(problem, routed)
    assert problem.keeps_limits(better)
    assert problem.value(better) <= problem.value(routed)


@given(seed=st.integers(0, 10_000), exponent=st.sampled_from([-20, 20, 40]))
@settings(max_examples=40, deadline=None)
def test_units_of_a_limit_do_not_change_the_repair(seed, exponent):
    problem = random_problem(seed, 12, 3)
    scaled = replace(
        problem,
        rows=tuple(
            replace(r, usage=r.usage * 2.0**exponent, limit=r.limit * 2.0**exponent)
            for r in problem.rows
        ),
    )
    wish = lagrangian(problem, without_prices(problem)).assignment
    one = repair(problem, wish, without_prices(problem))
    two = repair(scaled, wish, without_prices(scaled))
    assert (one is None) == (two is None)
    assert one is None or one.tolist() == two.tolist()


@given(seed=SEEDS, n=st.integers(1, 30), m=st.integers(1, 5), ties=st.booleans())
@settings(max_examples=60, deadline=None)
def test_compiled_passes_give_the_same_routings(seed, n, m, ties):
    problem = random_problem(seed, n, m, ties=ties)
    wish, prices = drawn(problem, seed)
    found = []
    for many in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rounding, "many", lambda _, many=many: many)
            routed = repair(problem, wish, prices)
            found.append((routed, None if routed is None else improve(problem, routed)))
    (compiled, better), (plain, plainly_better) = found
    assert np.array_equal(compiled, plain)
    assert np.array_equal(better, plainly_better)
