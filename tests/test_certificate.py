"""What a certificate says is a theorem: checked against rational arithmetic and enumeration."""

import itertools
import math
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import (
    SIZES,
    every_routing,
    exact_excess,
    exact_optimum,
    exact_value,
    prices_for,
    routings,
    small_problems,
)

from dualroute.certificate import broken_limits, certify, gap_parts
from dualroute.errors import ProblemError
from dualroute.instances import tie_heavy
from dualroute.problem import Prices, RoutingProblem, Rows, lagrangian
from dualroute.solver import Solution, SolveOptions, Status, Termination
from dualroute.solvers.lagrangian import Lagrangian

ONE = np.ones((1, 1))
EACH = np.array([[0, 1]], np.int32)


def claim(assignment=None, prices=None, ray=None, **changes):
    """A claim of anything; nothing in it is believed."""
    return Solution(
        status=changes.pop("status", Status.UNKNOWN),
        termination=Termination.COMPLETED,
        assignment=None if assignment is None else np.array(assignment, np.intp),
        prices=prices,
        ray=ray,
        **changes,
    )


def priced(*families):
    return Prices(tuple(np.array(family, float) for family in families))


def capacities(n, *limits, unit="requests"):
    """``n`` queries at cost 0, and what each model can take of them."""
    m = len(limits)
    labels = tuple(f"m{j}" for j in range(m))
    rows = Rows("capacity", ONE, np.array(limits), np.arange(m)[None, :], labels, unit)
    return RoutingProblem(np.zeros((n, m)), (rows,))


# ---------------------------------------------------------------- the bound


@given(problem=small_problems(sizes=SIZES), data=st.data())
def test_the_bound_is_below_the_exact_optimum(problem, data):
    prices = data.draw(prices_for(problem))
    bound = certify(problem, claim(prices=prices)).bound
    optimum = exact_optimum(problem)
    if optimum is not None:
        assert Fraction(bound) <= optimum


@given(problem=small_problems(sizes=SIZES, planted=True), data=st.data())
def test_the_bound_is_below_the_exact_optimum_at_any_price(problem, data):
    prices = data.draw(prices_for(problem, smallest=-300, largest=290))
    bound = certify(problem, claim(prices=prices)).bound
    optimum = exact_optimum(problem)
    if optimum is not None:
        assert bound == -math.inf or Fraction(bound) <= optimum


@given(problem=small_problems(max_models=1, sizes=SIZES, planted=True), data=st.data())
def test_no_cancellation_lifts_the_bound_above_the_only_routing(problem, data):
    # One model: its routing is the optimum, and price * (use - limit) should vanish where the
    # limit is met exactly. What rounding leaves of it must not be added to the bound.
    prices = data.draw(prices_for(problem, smallest=-20, largest=20))
    routing = np.zeros(problem.n_queries, np.intp)
    certificate = certify(problem, claim(routing, prices))
    assert certificate.feasible
    assert certificate.bound <= certificate.objective


@given(problem=small_problems(sizes=SIZES), data=st.data())
def test_the_bound_never_exceeds_the_objective(problem, data):
    prices = data.draw(prices_for(problem))
    routing = data.draw(routings(problem.n_queries, problem.n_models))
    certificate = certify(problem, claim(routing, prices))
    assert certificate.bound <= certificate.objective
    assert certificate.gap >= 0
    assert certificate.feasible == problem.keeps_limits(routing)
    assert certificate.objective == (problem.value(routing) if certificate.feasible else math.inf)
    assert certificate.value == problem.value(routing)


@given(problem=small_problems(), data=st.data())
def test_the_proof_costs_no_more_than_rounding(problem, data):
    prices = data.draw(prices_for(problem))
    bound = certify(problem, claim(prices=prices)).bound
    size = 1 + problem.n_queries + prices.vector @ (np.abs(problem.limit) + problem.n_queries)
    assert bound == pytest.approx(lagrangian(problem, prices).value, abs=1e-14 * size)


def test_the_proof_costs_less_than_a_millionth_of_a_millionth():
    rng = np.random.default_rng(1)
    n, m = 10_000, 8
    budget = Rows("budget", rng.random((n, m)), np.array([0.3 * n]))
    capacity = Rows("capacity", ONE, np.full(m, n / m), np.arange(m)[None, :])
    problem = RoutingProblem(1 + rng.random((n, m)), (budget, capacity))
    prices = priced([0.7], rng.random(m) / 10)
    bound = certify(problem, claim(prices=prices)).bound
    value = lagrangian(problem, prices).value
    assert value - 1e-12 * abs(value) <= bound <= value + 1e-12 * abs(value)


def test_rounded_charges_are_not_credited_to_the_bound():
    # One model, so its routing is the optimum: -.3 + .1 + .2, 2.8e-17 in doubles. Usage 3 - 1 - 2
    # is the limit 0. At price .1 the charge 3 * .1 rounds up to .3 + 5.6e-17, so that the priced
    # pairs add up to 5.6e-17: twice the optimum, were the rounding not taken off.
    rows = Rows("balance", np.array([[3.0], [-1.0], [-2.0]]), np.array([0.0]))
    problem = RoutingProblem(np.array([[-0.3], [0.1], [0.2]]), (rows,))
    prices = priced([0.1])
    optimum = exact_optimum(problem)
    assert optimum == Fraction(-0.3) + Fraction(0.1) + Fraction(0.2)
    assert lagrangian(problem, prices).value > optimum
    assert Fraction(certify(problem, claim(prices=prices)).bound) <= optimum


@given(
    usage=st.lists(st.integers(-1000, 1000).map(float), min_size=1, max_size=20),
    price=st.integers(1, 1000).map(lambda k: k / 1000),
)
def test_charges_that_cancel_the_objective_leave_the_bound_valid(usage, price):
    # Usage adds up to the limit 0 exactly, and every pair is priced at 0 up to rounding.
    usage = np.array([*usage, -sum(usage)])[:, None]
    problem = RoutingProblem(-(price * usage), (Rows("balance", usage, np.array([0.0])),))
    bound = certify(problem, claim(prices=priced([price]))).bound
    assert Fraction(bound) <= exact_value(problem, np.zeros(usage.size, int))


def test_a_huge_floor_and_tiny_costs_leave_the_bound_valid():
    # Quality counted in tokens: every routing gives 3e15 of it, exactly the floor. Costs 1e-7.
    floor = Rows("quality_floor", np.full((1, 1), -1e15), np.array([-3e15]), at_least=True)
    problem = RoutingProblem(np.array([[1e-7, 2e-7]] * 3), (floor,))
    optimum = 3 * Fraction(1e-7)
    for price in (0.0, 1e-23, 1e-7, 1 / 3, 1e7, 1e200):
        assert Fraction(certify(problem, claim(prices=priced([price]))).bound) <= optimum


@pytest.mark.parametrize("price", [1e300, 1e308])
@pytest.mark.parametrize("limit", [1e10, 20.0])
@pytest.mark.parametrize("routing", [None, [0, 0]])
def test_prices_too_large_to_add_up_prove_little_rather_than_fail(price, limit, routing):
    # Two requests of 10 at cost 1: price * limit, or the charges, leave the range of doubles.
    problem = RoutingProblem(np.ones((2, 1)), (Rows("b", np.full((1, 1), 10.0), [limit]),))
    certificate = certify(problem, claim(routing, priced([price])))
    assert certificate.bound <= 2
    assert certificate.feasible == (routing is not None)


def test_without_prices_nothing_is_proved():
    problem = capacities(2, 1.0, 1.0)
    certificate = certify(problem, claim([0, 1]))
    assert certificate.bound == -math.inf
    assert certificate.gap == math.inf
    assert math.isnan(certificate.regret)
    assert math.isnan(certificate.idle)
    assert not certificate.proved_optimal


# ---------------------------------------------------------------- the tolerance


def test_a_routing_that_uses_up_tolerance_pays_for_it_in_its_bound():
    # Model 0: objective 1, usage 1 + 5e-10 of a limit of 1: kept within 1e-9. Model 1:
    # objective 5, usage 0. At price 3: min(1 + 3 + 1.5e-9, 5) - 3 = 1 + 1.5e-9, above the
    # objective 1 of the accepted routing; at its own limit 1 + 5e-10 it is 1 again.
    use = 1 + 5e-10
    limit = Rows("budget", np.array([[use, 0.0]]), np.array([1.0]))
    problem = RoutingProblem(np.array([[1.0, 5.0]]), (limit,))
    alone = certify(problem, claim(prices=priced([3])))
    assert alone.bound == pytest.approx(1 + 1.5e-9, abs=1e-13)
    certificate = certify(problem, claim([0], priced([3])))
    assert certificate.feasible
    assert certificate.excess[0].tolist() == [use - 1]
    assert certificate.bound <= certificate.objective == 1.0
    assert alone.bound - certificate.bound == pytest.approx(3 * (use - 1), rel=1e-4)
    assert certificate.proved_optimal
    # The routing that keeps the limit as it stands keeps the stricter bound.
    assert certify(problem, claim([1], priced([3]))).bound == alone.bound


def test_with_tolerance_zero_the_same_routing_is_refused():
    limit = Rows("budget", np.array([[1 + 5e-10, 0.0]]), np.array([1.0]))
    problem = RoutingProblem(np.array([[1.0, 5.0]]), (limit,), tolerance=0.0)
    certificate = certify(problem, claim([0], priced([3])))
    assert not certificate.feasible
    assert certificate.objective == math.inf


def test_one_request_too_many_of_ten_million_makes_the_objective_infinite():
    # 20 hours of 500_000 requests; the table counts requests by the hour.
    usage = np.full((20, 1), 500_000.0)
    usage[13] += 1
    rows = Rows("capacity", usage, np.array([1e7]), unit="requests")
    problem = RoutingProblem(np.full((20, 1), 2.0), (rows,))
    certificate = certify(problem, claim(np.zeros(20), priced([0])))
    assert certificate.objective == math.inf
    assert certificate.value == 40.0
    assert certificate.excess[0].tolist() == [1.0]
    assert certificate.use[0].tolist() == [10_000_001.0]
    assert certificate.verdict == (
        "not feasible: capacity is exceeded by 1 requests (10000001 against 10000000)"
    )


# ---------------------------------------------------------------- the gap in two parts


@given(problem=small_problems(), data=st.data())
def test_gap_parts_add_up_to_the_gap(problem, data):
    prices = data.draw(prices_for(problem))
    bound = lagrangian(problem, prices).value
    size = 1 + prices.vector @ (np.abs(problem.limit) + problem.n_queries)
    for routing in every_routing(problem):
        if problem.keeps_limits(routing):
            regret, idle = gap_parts(problem, routing, prices)
            assert regret >= 0
            assert idle >= -2e-9 * size
            gap = problem.value(routing) - bound
            assert regret + idle == pytest.approx(gap, abs=1e-12 * size)


def test_gap_parts_by_hand():
    # Price 2 on model 0, which holds 1 request: pairs cost 1 + 2 and 4, so model 0 is cheaper
    # by 1. Both on model 1: 2 of regret, and 2 * 1 for the request that stays unused.
    rows = Rows("capacity", ONE, np.array([1.0]), np.array([[0, -1]]))
    problem = RoutingProblem(np.array([[1.0, 4.0]] * 2), (rows,))
    certificate = certify(problem, claim([1, 1], priced([2])))
    assert (certificate.regret, certificate.idle) == pytest.approx((2.0, 2.0), rel=1e-14)
    assert certificate.objective - certificate.bound == pytest.approx(4.0, abs=1e-13)


# ---------------------------------------------------------------- verdicts


def two_models(tolerance=1e-9):
    """Cost 1 or 3 for each of two queries; model 0 takes one request."""
    rows = Rows("capacity", ONE, np.array([1.0]), np.array([[0, -1]]), ("small",), "requests")
    return RoutingProblem(np.array([[1.0, 3.0]] * 2), (rows,), tolerance=tolerance)


def test_a_proved_optimum_is_called_optimal():
    # Price 2 makes both models cost 3: 6 - 2 * 1 = 4, the cost of one on each.
    certificate = certify(two_models(), claim([0, 1], priced([2])))
    assert certificate.objective == 4.0
    assert certificate.proved_optimal
    assert certificate.verdict.startswith("optimal, proved to within")
    assert 4 - 1e-12 < certificate.bound <= 4


def test_a_routing_short_of_its_bound_is_called_so():
    # Price 1: 2 * min(1 + 1, 3) - 1 = 3 against 4, a quarter of the objective.
    certificate = certify(two_models(), claim([0, 1], priced([1])))
    assert certificate.verdict == "feasible, proved within 25 % of the optimum"
    assert certificate.mip_rel_gap == pytest.approx(0.25)
    assert not certificate.proved_optimal


def test_an_objective_of_zero_has_no_relative_gap():
    rows = Rows("capacity", ONE, np.array([1.0]), np.array([[0, -1]]))
    problem = RoutingProblem(np.array([[-1.0, 0.0]]), (rows,))
    certificate = certify(problem, claim([1], priced([0.5])))
    assert certificate.verdict == "feasible, proved within 1 of the optimum"
    assert certificate.mip_rel_gap == math.inf


def test_a_broken_limit_is_named_with_the_amount():
    certificate = certify(two_models(), claim([0, 0], priced([2])))
    assert not certificate.feasible
    assert certificate.verdict == (
        "not feasible: capacity of small is exceeded by 1 requests (2 against 1)"
    )
    assert certificate.gap == math.inf
    assert broken_limits(two_models(), certificate) == [
        "capacity of small is exceeded by 1 requests (2 against 1)"
    ]


def test_a_missed_floor_is_told_in_the_users_sense():
    floor = Rows("quality_floor", np.full((1, 1), -0.25), [-0.75], unit="quality", at_least=True)
    problem = RoutingProblem(np.zeros((2, 1)), (floor,))
    verdict = certify(problem, claim([0, 0])).verdict
    assert verdict == "not feasible: quality_floor is missed by 0.25 quality (0.5 against 0.75)"


def test_a_forbidden_pair_and_every_broken_limit_are_told():
    problem = capacities(3, 1.0, 1.0)
    problem = replace(problem, objective=np.array([[0, 0], [0, 0], [0, np.inf]]))
    verdict = certify(problem, claim([0, 1, 1], priced([1, 1]))).verdict
    assert verdict == (
        "not feasible: it uses a pair that is not allowed; capacity of m1 is exceeded by 1 "
        "requests (2 against 1)"
    )


@pytest.mark.parametrize(
    ("solution", "verdict"),
    [
        (claim([0, 1]), "feasible; nothing is proved about its distance from the optimum"),
        (claim(), "no routing found, and none is proved impossible"),
        (claim(prices=priced([1])), "no routing found, and none is proved impossible"),
        (
            claim(status=Status.INFEASIBLE, solver="highs"),
            "no routing: highs reports the limits infeasible, which is not proved here "
            "(their linear relaxation may have a solution)",
        ),
        (
            claim(status=Status.INFEASIBLE),
            "no routing: the solver reports the limits infeasible, which is not proved here "
            "(their linear relaxation may have a solution)",
        ),
    ],
)
def test_less_than_a_proof_is_told_apart(solution, verdict):
    certificate = certify(two_models(), solution)
    assert certificate.verdict == verdict
    assert not certificate.infeasible


def test_prices_alone_give_a_bound():
    certificate = certify(two_models(), claim(prices=priced([2])))
    assert certificate.bound == pytest.approx(4.0, abs=1e-13)
    assert certificate.objective == math.inf
    assert not certificate.feasible


# ---------------------------------------------------------------- infeasibility


@pytest.mark.parametrize("status", [Status.INFEASIBLE, Status.UNKNOWN])
def test_too_little_capacity_is_proved_by_equal_weights(status):
    # 5 queries, room for 2 + 2: weights 1 and 1 charge 5 and allow 4.
    certificate = certify(capacities(5, 2.0, 2.0), claim(ray=priced([1, 1]), status=status))
    assert certificate.infeasible
    assert certificate.bound == math.inf
    assert certificate.verdict == "infeasible, proved: no routing keeps these limits together"


def test_a_ray_that_proves_nothing_is_rejected():
    for problem, ray in (
        (capacities(5, 2.0, 3.0), [1, 1]),  # enough for all
        (capacities(5, 2.0, 2.0), [1, 0]),  # only one model looked at
        (capacities(5, 2.0, 2.0), [0, 0]),
    ):
        certificate = certify(problem, claim(ray=priced(ray), status=Status.INFEASIBLE))
        assert not certificate.infeasible
        assert "not proved" in certificate.verdict


def test_limits_at_odds_by_less_than_the_tolerance_are_not_called_infeasible():
    # One query on each model uses 1 of 1 - 1e-10: within 1e-9, so that routing is accepted.
    problem = capacities(2, 1.0, 1 - 1e-10)
    ray = priced([1, 1])
    certificate = certify(problem, claim([0, 1], ray=ray))
    assert certificate.feasible
    assert not certificate.infeasible
    assert certify(replace(problem, tolerance=0.0), claim(ray=ray)).infeasible
    assert certify(capacities(2, 1.0, 1 - 1e-8), claim(ray=ray)).infeasible


def test_forbidden_pairs_take_part_in_the_proof():
    # Model 1 has room for everyone, but two of three queries may not go there.
    problem = capacities(3, 1.0, 3.0)
    ray = priced([1, 0])
    assert not certify(problem, claim(ray=ray)).infeasible
    objective = np.array([[0, np.inf], [0, np.inf], [0, 0]])
    assert certify(replace(problem, objective=objective), claim(ray=ray)).infeasible


def test_what_only_whole_queries_break_is_never_proved_by_a_ray():
    # One query takes 2 from the pool of its model, which holds 1: half on each would fit, so
    # min(2a, 2b) <= a + b for all weights and none proves that no whole routing exists.
    rows = Rows("tokens", np.full((1, 1), 2.0), np.array([1.0, 1.0]), EACH)
    problem = RoutingProblem(np.zeros((1, 2)), (rows,))
    assert exact_optimum(problem) is None
    weights = (0.0, 1e-300, 0.1, 0.5, 1.0, 3.0, 1e10, 1e300)
    for ray in itertools.product(weights, repeat=2):
        assert not certify(problem, claim(ray=priced(ray))).infeasible


@given(problem=small_problems(sizes=SIZES), data=st.data())
def test_infeasibility_is_proved_only_where_no_routing_is_accepted(problem, data):
    ray = data.draw(prices_for(problem, smallest=-8, largest=8))
    if certify(problem, claim(ray=ray)).infeasible:
        assert not any(problem.keeps_limits(routing) for routing in every_routing(problem))


# ---------------------------------------------------------------- the claim itself


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        (np.array([0]), r"the routing has shape \(1,\)"),
        (np.array([0.0, 1.0]), r"\(float64\); give one model index for each of the 2 queries"),
        (np.array([0, 2]), "the routing names models 0 to 2; there are models 0 to 1"),
        (np.array([-1, 0]), "the routing names models -1 to 0"),
    ],
)
def test_a_routing_that_does_not_fit_is_refused(assignment, message):
    with pytest.raises(ProblemError, match=message):
        certify(two_models(), replace(claim(), assignment=assignment))


@pytest.mark.parametrize("assignment", [None, [0, 1]])
@pytest.mark.parametrize(
    "prices", [priced(), priced([1], [1]), priced([1, 2]), priced([-1]), priced([math.nan])]
)
def test_prices_and_rays_that_do_not_fit_are_refused(assignment, prices):
    with pytest.raises(ProblemError, match="price"):
        certify(two_models(), claim(assignment, prices))
    with pytest.raises(ProblemError, match="price"):
        certify(two_models(), claim(assignment, ray=prices))


@given(problem=small_problems(sizes=SIZES))
def test_feasible_means_every_excess_is_within_tolerance(problem):
    for routing in every_routing(problem):
        certificate = certify(problem, claim(routing))
        exact = exact_excess(problem, routing)
        found = np.concatenate([np.empty(0), *certificate.excess]).tolist()
        assert found == [float(excess) for excess in exact]
        # One rounding of the excess and of the tolerance lie between these two.
        room = [Fraction(problem.tolerance) * abs(Fraction(b)) for b in problem.limit.tolist()]
        slip = Fraction(2) ** -51
        allowed = exact_value(problem, routing) is not None
        pairs = list(zip(exact, room, strict=True))
        if allowed and all(e <= r * (1 - slip) for e, r in pairs):
            assert certificate.feasible
        if certificate.feasible:
            assert allowed
            assert all(e <= r * (1 + slip) for e, r in pairs)


def test_a_certificate_is_computed_without_any_solver():
    code = """
import sys
import dualroute.certificate
solvers = ("highspy", "scipy.optimize", "ortools", "pyomo", "cvxpy", "dualroute.solvers",
           "dualroute.highs")
print([name for name in sys.modules if name.startswith(solvers)])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("weight", [1e200, 1e308])
def test_weights_that_leave_the_range_of_doubles_prove_nothing(weight):
    # Ten are reached where five are asked; charges of 1e308 x 10 overflow.
    floor = Rows("floor", np.array([[-10.0]]), np.array([-5.0]), at_least=True)
    problem = RoutingProblem(np.array([[1.0]]), (floor,))
    ray = Prices((np.array([weight]),))
    held = Solution(Status.INFEASIBLE, Termination.INFEASIBLE, assignment=np.array([0]), ray=ray)
    certificate = certify(problem, held)
    assert not certificate.infeasible
    assert certificate.feasible


def test_nothing_to_pay_is_proved_optimal():
    certificate = certify(RoutingProblem(np.zeros((3, 2))), claim([0, 1, 0], Prices(())))
    assert certificate.objective == certificate.bound == 0
    assert certificate.proved_optimal


def test_threads_change_no_digit_of_a_certificate():
    problem = tie_heavy(20_000, 5, seed=2).problem
    claim = Lagrangian().solve(problem, SolveOptions(mip_rel_gap=1e-4))
    one, two = (certify(problem, claim, threads=threads) for threads in (1, 2))
    assert one.bound == two.bound > 0
    assert (one.value, one.regret, one.verdict) == (two.value, two.regret, two.verdict)
