"""Lattices: what they imply holds for every routing, and a wrong step implies nothing."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import SIZES, every_routing, exact_excess, exact_value, small_problems

from dualroute.lattice import (
    find_resolution,
    find_steps,
    implied_limits,
    lattice_error,
    tightened,
)
from dualroute.problem import RoutingProblem, Rows
from dualroute.rigour import fractions

ONE = np.ones((1, 1))


def test_resolutions_are_found():
    def found(values):
        return find_resolution(RoutingProblem(np.array(values)))

    assert found([[3.0, 6.0], [9.0, np.inf]]) == 3.0
    assert found([[0.5, 1.0]]) == 0.5
    assert found([[0.000123, 0.000006]]) == pytest.approx(3e-6)
    assert found([[-0.6, -0.9], [-0.5, -0.2]]) == 0.1
    assert found([[math.pi, 1.0]]) is None
    assert found([[0.0, 0.0]]) is None
    assert found(np.array([[0.1]], np.float32)) is None


def test_whole_numbers_have_no_lattice_error():
    problem = RoutingProblem(np.array([[3.0, 6.0], [9.0, np.inf]]))
    assert lattice_error(problem, 3.0) == 0
    assert lattice_error(problem, 1.0) == 0
    assert lattice_error(problem, 2.0) >= 2  # one from each query


@given(problem=small_problems(sizes=SIZES), data=st.data())
def test_every_routing_is_near_the_lattice(problem, data):
    resolution = data.draw(st.sampled_from([1.0, 0.1, 1e-6, 1 / 3, 5e-324, 1e300]))
    error = lattice_error(problem, resolution)
    if error is None:
        return
    g = Fraction(resolution)
    for routing in every_routing(problem):
        value = exact_value(problem, routing)
        if value is not None:
            off = value - g * round(value / g)
            assert abs(off) <= error


@given(problem=small_problems(sizes=SIZES), data=st.data())
def test_every_routing_within_the_limits_is_within_those_the_lattice_implies(problem, data):
    k = problem.n_rows
    lattice = st.sampled_from([0.0, 1.0, 0.1, 1e-6, 1 / 3, 5e-324])
    steps = np.array(data.draw(st.lists(lattice, min_size=k, max_size=k)))
    stated = fractions(problem.limit)
    implied = implied_limits(problem, stated, steps)
    for routing in every_routing(problem):
        excess = exact_excess(problem, routing)
        if all(e <= 0 for e in excess):
            for e, b, tight in zip(excess, stated, implied, strict=True):
                assert b + e <= tight <= b


def test_seven_and_a_half_requests_are_seven():
    rooms = Rows("room", ONE, np.array([7.5, 3.0]), np.array([[0, 1]]))
    floor = Rows("floor", -np.array([[0.1, 0.3]]), np.array([-2.25]), at_least=True)
    problem = RoutingProblem(np.ones((9, 2)), (rooms, floor))
    steps = find_steps(problem)
    assert steps.tolist() == [1.0, 1.0, 0.1]
    assert tightened(problem, steps).limit[:2].tolist() == [7.0, 3.0]
    assert tightened(problem, steps).limit[2] == pytest.approx(-2.3, abs=1e-12)
