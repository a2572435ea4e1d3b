"""The native solver: what its engine computes, how far its dual gets, and how it stops."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualroute.certificate import certify
from dualroute.engines.local import Cuts, LocalEngine
from dualroute.errors import OptionError, ProblemError
from dualroute.formulation import Budget, Capacity, QualityFloor, formulate
from dualroute.instances import tie_heavy
from dualroute.outcomes import Outcomes
from dualroute.problem import Prices, RoutingProblem, lagrangian
from dualroute.solver import Clock, SolveOptions, Status, Termination
from dualroute.solvers import lagrangian as package
from dualroute.solvers.lagrangian import Lagrangian
from dualroute.solvers.lagrangian import core as core_module
from dualroute.solvers.lagrangian.ascent import Box, ascend
from dualroute.solvers.lagrangian.focus import focus, narrowed, whole_focus
from dualroute.solvers.lagrangian.polish import Mix, polish
from dualroute.solvers.lagrangian.samples import ascend_samples
from dualroute.solvers.via_highs import Highs
from dualroute.testing import known_problems, optimum_of, random_problem

SEEDS = st.integers(0, 2**32 - 1)
FOREVER = Clock(math.inf)


def priced(seed, n=6, m=3, *, ties=False):
    """A random problem, its engine, and prices of the size that prices have."""
    problem = random_problem(seed, n, m, ties=ties)
    prices = np.random.default_rng(seed).exponential(0.3, problem.n_rows)
    return problem, LocalEngine(problem), prices


def by_finite_differences(function, at, step):
    """Central differences of a function of K prices, one column per price."""
    columns = []
    for k in range(at.size):
        up, down = at.copy(), at.copy()
        up[k] += step
        down[k] -= step
        columns.append((function(up) - function(down)) / (2 * step))
    return np.array(columns)


def polished(engine, start=None, **changed):
    problem = engine.problem
    start = np.zeros(problem.n_rows) if start is None else start
    settings = {
        "ceiling": math.inf,
        "relative": 1e-12,
        "clock": FOREVER,
        "box": Box.up_to(1e4, problem.n_rows),
        "radius": 0.1,
    }
    return polish(engine, start, **{**settings, **changed})


def tight(n=200, m=4, seed=0, *, levels=None):
    """Least cost above a floor with capacities that bind; with ``levels``, full of ties."""
    draw = np.random.default_rng(seed)
    strength = np.linspace(0.3, 0.9, m)
    if levels:
        cost = draw.choice(np.arange(1, levels + 1), (n, m)) * (1.0 + np.arange(m))
        quality = (draw.random((n, m)) < strength) * 1.0
    else:
        cost = draw.lognormal(0, 0.5, (n, m)) * (1.0 + np.arange(m))
        quality = np.clip(strength + draw.normal(0, 0.2, (n, m)), 0, 1)
    fitting = quality[np.arange(n), np.arange(n) % m].sum()
    limits = [QualityFloor(total=float(fitting)), Capacity(math.ceil(1.2 * n / m))]
    return formulate(Outcomes.from_arrays(cost, quality), minimize="cost", limits=limits)


# One pass ------------------------------------------------------------------------------------


@given(seed=SEEDS, temperature=st.sampled_from([0.05, 0.3, 1.0]))
@settings(max_examples=40, deadline=None)
def test_gradient_and_hessian_are_those_of_the_smoothed_dual(seed, temperature):
    _, engine, prices = priced(seed)
    prices = prices + 1e-3  # a price below zero is read as zero, which has no derivative
    here = engine.evaluate(prices, temperature)

    def smoothed(at):
        return engine.evaluate(at, temperature).smoothed

    def gradient(at):
        return engine.evaluate(at, temperature).gradient

    step = 1e-5 * temperature
    sizes = 1.0 + np.abs(here.gradient).max()
    np.testing.assert_allclose(
        here.gradient, by_finite_differences(smoothed, prices, step), rtol=1e-4, atol=1e-5 * sizes
    )
    curvature = np.abs(here.hessian).max()
    np.testing.assert_allclose(
        here.hessian,
        by_finite_differences(gradient, prices, step),
        rtol=1e-3,
        atol=1e-5 * (curvature + 1.0),
    )
    np.testing.assert_allclose(here.hessian, here.hessian.T, atol=1e-12 * (curvature + 1.0))
    assert np.linalg.eigvalsh(here.hessian).max(initial=0.0) <= 1e-9 * curvature + 1e-12


@given(seed=SEEDS, m=st.integers(1, 4), ties=st.booleans(), exponent=st.integers(-6, 1))
@settings(max_examples=60, deadline=None)
def test_softmin_is_below_the_dual_by_at_most_log_m(seed, m, ties, exponent):
    # Softmin of m numbers at heat h lies between their minimum less h log m and their minimum.
    # Scaled, n queries share a heat of `temperature`, the same for any n.
    problem, engine, prices = priced(seed, m=m, ties=ties)
    temperature = 10.0**exponent
    here = engine.evaluate(prices, temperature)
    room = 1e-12 * (1 + abs(here.value) + float(prices @ np.abs(engine.limit)))
    assert here.smoothed <= here.value + room
    assert here.value <= here.smoothed + temperature * math.log(m) + room
    direct = lagrangian(problem, engine.prices(prices)).value * engine.value_scale
    assert here.value == pytest.approx(direct, rel=1e-10, abs=room)


@given(seed=SEEDS, ties=st.booleans(), blocks=st.integers(1, 7))
@settings(max_examples=60, deadline=None)
def test_cuts_support_the_dual(seed, ties, blocks):
    _, engine, prices = priced(seed, n=7, ties=ties)
    edges = np.linspace(0, 7, blocks + 1).astype(int)
    cuts = engine.cuts(prices, edges)

    def plane(at):
        return cuts.cost.sum() + cuts.use.sum(axis=0) @ at - engine.limit @ at

    room = 1e-10 * (1 + abs(cuts.value) + float(np.abs(cuts.use).sum()))
    assert cuts.value == pytest.approx(plane(prices), abs=room)
    draw = np.random.default_rng(seed)
    for _ in range(10):
        other = prices * draw.choice([0.0, 0.5, 1.0, 2.0], prices.size) + draw.exponential(0.1)
        assert engine.evaluate(other, 1.0).value <= plane(other) + room * (1 + other.max(initial=0))


@given(seed=SEEDS)
@settings(max_examples=30, deadline=None)
def test_scaled_prices_return_to_what_they_were(seed):
    problem, engine, prices = priced(seed)
    np.testing.assert_allclose(engine.scaled(engine.prices(prices)), prices, rtol=1e-14)
    own = Prices.of(problem, prices)
    np.testing.assert_allclose(engine.prices(engine.scaled(own)).vector, own.vector, rtol=1e-14)


def test_scale_of_a_worked_example():
    # Costs 1 and 4 average 2.5; three queries: a whole batch costs 7.5, which scales to 1.
    # A budget of 9, used up, scales to 1: a scaled price of 1 is 7.5 / 9 per unit of budget.
    outcomes = Outcomes.from_arrays([[1, 4]] * 3, [[0.5, 0.9]] * 3)
    engine = LocalEngine(formulate(outcomes, minimize="cost", limits=[Budget(9)]))
    assert engine.value_scale == pytest.approx(1 / 7.5)
    assert engine.limit.tolist() == pytest.approx([1.0])
    assert engine.prices(np.array([1.0])).vector.tolist() == pytest.approx([7.5 / 9])
    # At that price the small model costs 1 + 7.5 / 9 a query, and 9 units are taken off again.
    assert engine.evaluate(np.ones(1), 1.0).value == pytest.approx((3 + 3 * 7.5 / 9 - 7.5) / 7.5)


# The dual optimum -----------------------------------------------------------------------------


@given(seed=SEEDS, n=st.integers(1, 40), m=st.integers(1, 5), ties=st.booleans())
@settings(max_examples=60, deadline=None)
def test_polish_reaches_the_linear_relaxation(seed, n, m, ties):
    # Geoffrion (1974): the best Lagrangian bound is the value of the linear relaxation.
    problem = random_problem(seed, n, m, ties=ties)
    engine = LocalEngine(problem)
    relaxed = Highs(mode="lp").solve(problem, SolveOptions()).best_bound
    reached = polished(engine)
    assert reached.exact
    assert reached.value / engine.value_scale == pytest.approx(relaxed, rel=1e-9)
    bound = lagrangian(problem, engine.prices(reached.scaled)).value
    assert bound == pytest.approx(relaxed, rel=1e-9)


@pytest.mark.parametrize("levels", [None, 1, 3])
@pytest.mark.parametrize("seed", range(3))
def test_solver_certifies_the_relaxation_bound_ties_or_not(levels, seed):
    problem = tight(seed=seed, levels=levels)
    relaxed = Highs(mode="lp").solve(problem, SolveOptions()).best_bound
    solution = Lagrangian().solve(problem, SolveOptions())
    certificate = certify(problem, solution)
    assert certificate.proved_optimal
    prices_alone = certify(problem, replace(solution, proof=None)).bound
    assert prices_alone == pytest.approx(relaxed, rel=1e-9)
    assert prices_alone <= relaxed * (1 + 1e-12)
    exact = Highs().solve(problem, SolveOptions(time_limit=20))
    assert solution.status is Status.OPTIMAL
    assert certificate.objective == pytest.approx(certify(problem, exact).objective, rel=1e-9)


def test_ascent_comes_close_on_continuous_tables():
    problem = tight(n=3_000)
    engine = LocalEngine(problem)
    seen = []
    climbed = ascend(
        engine,
        np.zeros(problem.n_rows),
        clock=FOREVER,
        tell=lambda scaled, value: seen.append(value),
    )
    relaxed = Highs(mode="lp").solve(problem, SolveOptions()).best_bound
    assert climbed.value / engine.value_scale == pytest.approx(relaxed, rel=1e-4)
    assert seen == sorted(seen)
    assert max(seen) == climbed.value


def test_votes_of_the_polish_name_allowed_models():
    problem = tight(levels=3)
    reached = polished(LocalEngine(problem))
    assert reached.mix.votes(0).shape == (200,)
    assert np.isfinite(problem.value(reached.mix.votes(8)))


def test_a_mix_of_many_is_dealt_out_by_its_shares():
    # Three planes in one block of 1,000 queries: all on model 0, 1 and 2, in parts 5 : 3 : 2.
    cuts = tuple(Cuts(np.zeros(1), np.zeros((1, 1)), 0.0, np.full(1_000, j)) for j in range(3))
    mix = Mix(np.array([[0.5], [0.3], [0.2]]), cuts, np.array([0, 1_000]), 3)
    assert (mix.votes(1_000) == 0).all()
    dealt = np.bincount(mix.votes(10), minlength=3)
    np.testing.assert_allclose(dealt, [500, 300, 200], atol=5)


# Large tables ---------------------------------------------------------------------------------


def focused(problem):
    """The place where a large problem is settled, and the best bound told on the way."""
    engine = LocalEngine(problem)
    sampled = ascend_samples(engine, np.zeros(problem.n_rows), seed=0, clock=FOREVER)
    bounds = []
    place = focus(engine, sampled, clock=FOREVER, told=lambda prices, bound: bounds.append(bound))
    return place, max(bounds)


def test_a_box_of_prices_leaves_few_queries_and_the_same_dual():
    problem = tight(n=40_000)
    place, bound = focused(problem)
    assert place.part is not None
    assert place.part.free.size < 0.2 * problem.n_queries
    draw = np.random.default_rng(0)
    for _ in range(5):
        scaled = place.box.low + draw.random(problem.n_rows) * (place.box.high - place.box.low)
        prices = place.engine.prices(scaled)
        inner = lagrangian(place.engine.problem, prices).value + place.settled_cost
        assert inner == pytest.approx(lagrangian(problem, prices).value, rel=1e-11)
    assert bound == pytest.approx(lagrangian(problem, place.prices).value, rel=1e-11)


def test_what_a_place_settles_is_part_of_every_routing_of_it():
    problem = tight(n=40_000)
    place, _ = focused(problem)
    base = lagrangian(place.engine.problem, place.prices).assignment
    inner = narrowed(place, base, 500, seed=0)
    assert inner.engine.problem.n_queries == 500
    routing = np.random.default_rng(1).integers(0, 4, 500)
    whole = inner.whole(routing)
    assert problem.value(whole) == pytest.approx(
        inner.engine.problem.value(routing) + inner.settled_cost, rel=1e-12
    )
    np.testing.assert_allclose(
        problem.excess(whole), inner.engine.problem.excess(routing), atol=1e-8
    )


def test_a_small_table_is_its_own_place():
    problem = tight()
    everything = whole_focus(LocalEngine(problem), np.zeros(problem.n_rows))
    assert everything.whole(np.zeros(200, int)).size == 200
    assert focused(problem)[0].part is None


def test_many_queries_are_certified_with_the_bound_of_the_relaxation():
    # Highs in its place would take minutes; the dual's own certificate tells the quality.
    problem = tight(n=40_000)
    solution = Lagrangian(core_pairs=0).solve(problem, SolveOptions())
    certificate = certify(problem, solution)
    assert certificate.feasible
    assert certificate.mip_rel_gap < 1e-6


# Contradictions -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "known", [k for k in known_problems() if k.contradictory], ids=lambda known: known.name
)
def test_contradictory_limits_get_a_ray_that_proves_it(known):
    solution = Lagrangian().solve(known.problem, SolveOptions())
    assert solution.status is Status.INFEASIBLE
    assert solution.termination is Termination.INFEASIBLE
    assert solution.best_bound == math.inf
    certificate = certify(known.problem, solution)
    assert certificate.infeasible
    assert "infeasible, proved" in certificate.verdict


@given(seed=SEEDS, ties=st.booleans(), shrink=st.just(0.0) | st.floats(1e-3, 0.6))
@settings(max_examples=40, deadline=None)
def test_a_ray_is_found_exactly_when_the_relaxation_has_no_solution(seed, ties, shrink):
    problem = random_problem(seed, 8, 3, ties=ties)
    rows = tuple(replace(r, limit=r.limit - shrink * np.abs(r.limit)) for r in problem.rows)
    problem = replace(problem, rows=rows)
    relaxed = Highs(mode="lp").solve(problem, SolveOptions())
    solution = Lagrangian().solve(problem, SolveOptions())
    by_ray = certify(problem, replace(solution, proof=None)).infeasible
    assert by_ray == (relaxed.status is Status.INFEASIBLE)
    # A tree may prove more: that whole queries cannot keep what fractions could.
    if not by_ray and certify(problem, solution).infeasible:
        assert optimum_of(problem) == math.inf


# Stopping early -------------------------------------------------------------------------------


class Interrupter:
    """A progress callback that presses Ctrl-C at its k-th call, and keeps what it was told."""

    def __init__(self, at):
        self.at, self.lines = at, []

    def __call__(self, line):
        self.lines.append(line)
        if len(self.lines) == self.at:
            raise KeyboardInterrupt


@pytest.mark.parametrize("levels", [None, 3])
def test_an_interruption_loses_nothing(levels):
    problem = tight(levels=levels)
    told = Interrupter(at=0)
    Lagrangian().solve(problem, SolveOptions(progress=told))
    assert any(line.objective < math.inf for line in told.lines)
    held = 0
    for k in range(1, len(told.lines) + 1):
        stop = Interrupter(at=k)
        solution = Lagrangian().solve(problem, SolveOptions(progress=stop))
        last = stop.lines[-1]
        certificate = certify(problem, solution)
        assert solution.termination is Termination.INTERRUPTED
        assert solution.best_bound >= last.best_bound
        assert certificate.bound >= last.best_bound - 1e-9 * abs(last.best_bound)
        if last.objective == math.inf:
            assert solution.status is Status.UNKNOWN
            assert solution.assignment is None
        else:
            held += 1
            assert certificate.feasible
            assert certificate.objective == pytest.approx(last.objective, rel=1e-12)
    assert held > 0


def test_an_interruption_keeps_the_start():
    problem = tight()
    start = Lagrangian(core_pairs=0).solve(problem, SolveOptions()).assignment
    stop = Interrupter(at=1)
    solution = Lagrangian().solve(problem, SolveOptions(start=start, progress=stop))
    certificate = certify(problem, solution)
    assert solution.termination is Termination.INTERRUPTED
    assert certificate.feasible
    assert certificate.objective <= problem.value(start)


@pytest.mark.parametrize("time_limit", [1e-6, 1e-2, 0.2])
def test_a_time_limit_returns_what_is_held(time_limit):
    problem = tight(n=5_000, levels=3)
    start = np.arange(5_000) % 4  # what the limits were built around
    solution = Lagrangian().solve(problem, SolveOptions(time_limit=time_limit, start=start))
    certificate = certify(problem, solution)
    assert certificate.feasible
    assert certificate.objective <= problem.value(start)
    assert certificate.bound > -math.inf
    assert solution.seconds < time_limit + 3
    if solution.status is not Status.OPTIMAL:
        assert solution.termination is Termination.TIME_LIMIT


def test_without_a_core_no_integer_program_is_solved(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("HiGHS was asked for an integer program")

    problem = tight()  # continuous: the dual leaves a gap
    with monkeypatch.context() as patched:
        patched.setattr(core_module, "run_highs", refuse)
        patched.setattr(package, "settle", refuse)
        solution = Lagrangian(core_pairs=0).solve(problem, SolveOptions())
    certificate = certify(problem, solution)
    assert certificate.feasible
    assert not certificate.proved_optimal
    assert solution.status is Status.FEASIBLE
    assert solution.termination is Termination.COMPLETED
    assert (
        solution.best_bound
        <= certify(problem, Lagrangian().solve(problem, SolveOptions())).objective
    )


def test_a_core_too_small_for_all_pairs_still_improves():
    problem = tight(n=400)
    plain = certify(problem, Lagrangian(core_pairs=0).solve(problem, SolveOptions()))
    solution = Lagrangian(core_pairs=40).solve(problem, SolveOptions())
    small = certify(problem, solution)
    assert small.feasible
    assert small.objective <= plain.objective
    assert solution.best_bound <= small.objective


def test_options_out_of_range_are_refused():
    for options in ({"core_pairs": -1}, {"core_time_limit": 0.0}, {"core_time_limit": math.nan}):
        with pytest.raises(OptionError):
            Lagrangian(**options)


@pytest.mark.parametrize("n", [300, 20_000])
def test_prices_of_an_earlier_solve_are_a_start(n):
    problem = tight(n=n)
    solver = Lagrangian(core_pairs=0)
    cold = solver.solve(problem, SolveOptions())
    warm = solver.solve(problem, SolveOptions(prices=cold.prices))
    bounds = [certify(problem, solution).bound for solution in (cold, warm)]
    assert bounds[1] == pytest.approx(bounds[0], rel=1e-9)
    assert certify(problem, warm).feasible


def test_prices_of_another_problem_are_refused():
    problem = tight()
    with pytest.raises(ProblemError, match="prices have shapes"):
        Lagrangian().solve(problem, SolveOptions(prices=Prices((np.ones(1),))))


def test_a_long_table_is_searched_for_lattices_where_a_gap_is_left():
    # 0/1 quality in a floor that is no whole number: only its lattice closes the gap.
    stated = tie_heavy(24_000, 4, seed=3).problem
    problem = RoutingProblem(stated.objective, stated.rows[:1])
    assert problem.limit[0] != np.rint(problem.limit[0])
    claim = Lagrangian().solve(problem, SolveOptions(time_limit=30))
    certificate = certify(problem, claim)
    assert claim.termination == Termination.OPTIMAL
    assert certificate.proved_optimal
    assert certificate.proof_nodes == 1
    alone = certify(problem, replace(claim, proof=None))
    assert not alone.proved_optimal
