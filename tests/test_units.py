import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualroute.planes import Cut, UnitProblem, safe_bound
from dualroute.solver import Clock
from dualroute.units import Answer, solve_units

SEEDS = st.integers(0, 10**6)


def units(cost, *, opening=None, low=None, high=None, pool=None, held=(), switches=(), values=1):
    d = len(cost)
    return UnitProblem(
        cost=np.array(cost, float),
        opening=np.zeros(d) if opening is None else np.array(opening, float),
        low=np.zeros(d, np.int64) if low is None else np.array(low),
        high=np.full(d, 5) if high is None else np.array(high),
        pool=np.zeros((0, d)) if pool is None else np.array(pool, float),
        held=np.array(held, float),
        switches=tuple(switches),
        n_values=values,
    )


class Told:
    """Values that a function tells, relaxed or not."""

    def __init__(self, answer):
        self.answer = answer

    def bound(self, counts, accuracy):
        return self.answer(counts)

    def route(self, counts, *, patient=False):
        return self.answer(counts)

    def refusal(self, counts):
        return (Cut(-1, 1.0, np.zeros(counts.size)),) if self.answer(counts).refused else ()


class Hinges(Told):
    """Values that are the largest of some falling planes: convex, and known exactly."""

    def __init__(self, constants, slopes):
        super().__init__(self.planes)
        self.constants, self.slopes, self.asked = constants, slopes, 0  # (u, k), (u, k, d)

    def at(self, counts):
        return (self.constants - self.slopes @ counts).max(axis=1)

    def planes(self, counts):
        self.asked += 1
        planes = self.constants - self.slopes @ counts
        steepest = planes.argmax(axis=1)
        cuts = tuple(
            Cut(u, float(self.constants[u, k]), self.slopes[u, k]) for u, k in enumerate(steepest)
        )
        return Answer(self.at(counts), self.at(counts), cuts)


def solved(problem, values, gap=0.0, **more):
    return solve_units(problem, values, mip_rel_gap=gap, clock=Clock(60.0), **more)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS)
def test_no_point_of_the_box_lies_below_a_safe_bound(seed):
    draw = np.random.default_rng(seed)
    c, r = draw.integers(1, 6), draw.integers(1, 5)
    low = draw.integers(-3, 3, c).astype(float)
    high = low + draw.integers(0, 4, c)
    rows, cost = draw.normal(size=(r, c)), draw.normal(size=c)
    points = low + draw.random((200, c)) * (high - low)
    sides = (rows @ points[0]) - draw.exponential(0.1, r)
    bound = safe_bound(cost, rows, sides, draw.exponential(1.0, r), low, high)
    inside = (points @ rows.T >= sides).all(axis=1)
    assert inside[0]
    assert bound <= (points[inside] @ cost).min()


def test_weights_of_an_optimal_dual_give_the_optimum():
    # min x + y over x + 2 y >= 4 in [0, 10]^2: y = 2, value 2, and the row is worth 1/2.
    bound = safe_bound(
        np.array([1.0, 1.0]), np.array([[1.0, 2.0]]), np.array([4.0]), np.array([0.5]),
        np.zeros(2), np.full(2, 10.0),
    )  # fmt: skip
    assert bound == pytest.approx(2.0, rel=1e-12)
    assert bound <= 2.0


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_the_best_counts_are_those_of_listing_all(seed):
    draw = np.random.default_rng(seed)
    d, u, k = 3, 2, 4
    slopes = draw.integers(0, 5, (u, k, d)).astype(float)
    constants = draw.integers(5, 30, (u, k)).astype(float)
    pool = draw.integers(0, 3, (1, d)).astype(float)
    problem = units(
        draw.integers(0, 6, d),
        opening=draw.integers(0, 4, d),
        high=draw.integers(1, 4, d),
        pool=pool,
        held=[float(draw.integers(3, 8))],
        switches=[(0, 1, float(draw.integers(0, 3)))],
        values=u,
    )
    value = Hinges(constants, slopes)
    grid = np.stack(np.meshgrid(*(np.arange(h + 1) for h in problem.high), indexing="ij"), -1)
    every = [counts for counts in grid.reshape(-1, d) if problem.fits(counts)]
    best = min(problem.fixed_cost(one) + value.at(one).sum() for one in every)
    found = solved(problem, value)
    assert found.objective == pytest.approx(best, abs=1e-9)
    assert problem.fits(found.counts)
    assert found.bound <= best * (1 + 1e-12) + 1e-12
    assert found.bound == pytest.approx(best, rel=1e-8, abs=1e-8)


def test_two_machines_are_cheaper_than_queues():
    # V(y) = max(12 - 5 y, 4 - y): y = 0, 1, 2, 3 cost 12, 7 + 3, 2 + 6, 1 + 9: two are best.
    value = Hinges(np.array([[12.0, 4.0]]), np.array([[[5.0], [1.0]]]))
    found = solved(units([3.0]), value)
    assert found.counts.tolist() == [2]
    assert found.objective == 8
    assert found.bound == pytest.approx(8, rel=1e-9)


def test_counts_that_serve_nobody_are_proved_so():
    def nobody(counts):
        return Answer(np.array([math.inf]), np.array([math.inf]), ())

    found = solved(units([1.0]), Told(nobody))
    assert found.counts is None
    assert found.bound == math.inf


def test_what_is_served_only_by_more_than_the_pool_holds_is_infeasible():
    # Three units are needed and the pool holds two: every count in it is shown to be too few.
    def three(counts):
        if counts[0] >= 3:
            return Answer(np.zeros(1), np.zeros(1), (Cut(0, 0.0, np.zeros(1)),))
        return Answer(np.array([math.inf]), np.array([math.inf]), (Cut(-1, 3.0, np.ones(1)),))

    found = solved(units([1.0], pool=[[1.0]], held=[2.0]), Told(three))
    assert found.counts is None
    assert found.bound == math.inf


def test_time_that_is_up_leaves_a_bound_and_counts():
    value = Hinges(np.array([[12.0, 4.0]]), np.array([[[5.0], [1.0]]]))
    found = solve_units(units([3.0]), value, mip_rel_gap=0.0, clock=Clock(1e-9))
    assert found.bound <= 8 <= found.objective
    assert value.asked >= 1


def test_what_is_not_known_is_not_proved():
    # No routing was found and nothing was bounded: that is no proof that there is none.
    def silent(counts):
        return Answer(np.array([math.inf]), np.array([-math.inf]), ())

    found = solve_units(units([1.0], high=[1]), Told(silent), mip_rel_gap=0.0, clock=Clock(5.0))
    assert found.counts is None
    assert found.bound < math.inf


def test_time_is_up_after_the_first_answer_and_its_planes_still_bound():
    value = Hinges(np.array([[12.0, 4.0]]), np.array([[[5.0], [1.0]]]))
    cuts = (Cut(0, 12.0, np.array([5.0])), Cut(0, 4.0, np.array([1.0])))
    found = solve_units(units([3.0]), value, mip_rel_gap=0.0, clock=Clock(1e-9), cuts=cuts)
    assert 4 < found.bound <= 8


def test_ctrl_c_leaves_what_was_found():
    class Interrupted(Hinges):
        routed = False

        def route(self, counts, *, patient=False):
            self.routed = True
            return super().route(counts)

        def bound(self, counts, accuracy):
            if self.routed:
                raise KeyboardInterrupt
            return super().bound(counts, accuracy)

    value = Interrupted(np.array([[12.0, 4.0]]), np.array([[[5.0], [1.0]]]))
    found = solve_units(units([3.0]), value, mip_rel_gap=0.0, clock=Clock(60.0))
    assert found.interrupted
    assert found.counts is not None
    assert found.bound <= 8 <= found.objective


def test_counts_far_below_what_is_needed_are_left_by_one_cut():
    def ten(counts):
        if counts.sum() >= 10:
            return Answer(np.zeros(1), np.zeros(1), (Cut(0, 0.0, np.zeros(2)),))
        return Answer(np.array([math.inf]), np.array([math.inf]), (Cut(-1, 10.0, np.ones(2)),))

    found = solved(units([1.0, 2.0], high=[8, 8]), Told(ten))
    assert found.counts.tolist() == [8, 2]
    assert found.objective == 12
    assert found.bound == pytest.approx(12, rel=1e-9)


def test_after_the_time_few_counts_are_routed():
    class Unroutable(Hinges):
        routed = 0

        def route(self, counts, *, patient=False):
            self.routed += 1
            return Answer(np.array([math.inf]), np.array([-math.inf]), ())

    value = Unroutable(np.array([[12.0, 4.0]]), np.array([[[5.0], [1.0]]]))
    found = solve_units(units([3.0]), value, mip_rel_gap=0.0, clock=Clock(1e-9))
    assert found.counts is None
    assert value.routed <= 4
