import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualroute import Outcomes, ProblemError
from dualroute.curve import Hull, lambda_routings, lambda_value, multipliers

POINTS = st.lists(
    st.tuples(st.integers(0, 50).map(float), st.integers(0, 50).map(float)), min_size=1, max_size=12
)


def test_hull_by_hand():
    # (3, 1) costs more than (2, 2) for less; (1, 1) lies on the line from (0, 0) to (2, 2).
    hull = Hull.of(np.array([3.0, 0, 1, 2, 6]), np.array([1.0, 0, 1, 2, 3]))
    assert hull.cost.tolist() == [0, 2, 6]
    assert hull.quality.tolist() == [0, 2, 3]
    assert hull.at(4.0) == 2.5
    assert hull.at(9.0) == 3.0
    # Triangle of 2, then a trapezium of (2 + 3) / 2 * 4 = 10, then 2 at 3: 18 over 8.
    assert hull.mean(0, 8) == pytest.approx(18 / 8)


def test_nothing_is_reached_below_the_first_corner():
    hull = Hull.of(np.array([2.0]), np.array([0.5]))
    assert hull.at(1.0) == 0
    # Nothing from 0 to 2, one half from 2 to 4.
    assert hull.mean(0, 4) == pytest.approx(0.25)
    assert hull.mean(0, 1) == 0
    assert hull.mean(3, 3) == 0.5


def test_no_point_no_hull():
    with pytest.raises(ProblemError, match="at least one point"):
        Hull.of(np.empty(0), np.empty(0))


@given(points=POINTS)
def test_hull_lies_above_all_points_and_is_concave_and_rising(points):
    cost, quality = np.array(points).T
    hull = Hull.of(cost, quality)
    assert (hull.at(cost) >= quality - 1e-9).all()
    slopes = np.diff(hull.quality) / np.diff(hull.cost)
    assert (np.diff(hull.cost) > 0).all()
    assert (slopes > 0).all()
    assert (np.diff(slopes) < 1e-9).all()
    assert set(zip(hull.cost, hull.quality, strict=True)) <= set(points)


@given(points=POINTS)
def test_mean_height_is_the_average_of_many_heights(points):
    cost, quality = np.array(points).T
    hull = Hull.of(cost, quality)
    heights = hull.at(np.linspace(0, 50, 200_001))
    assert hull.mean(0, 50) == pytest.approx(heights.mean(), abs=2e-3)


def test_lambda_rule_from_the_best_to_the_cheapest():
    # Query 0 gains .5 for 1, query 1 gains .1 for 2: at prices between .05 and .5 only query 0.
    table = Outcomes.from_arrays([[1, 2], [1, 3]], [[0.2, 0.7], [0.5, 0.6]])
    routed = [one.tolist() for one in lambda_routings(table)]
    assert routed == [[1, 1], [1, 0], [0, 0]]
    assert multipliers(table.column("cost"))[0] == 0


def test_value_of_predictions_is_that_of_their_routings():
    # Predictions in the wrong order choose the worse model at every price but the greatest.
    observed = Outcomes.from_arrays([[1, 3]] * 2, [[0.0, 1.0], [1.0, 0.0]])
    perfect = lambda_value(observed.column("quality"), observed.column("cost"), observed)
    # One query upgraded costs 4 in all and both are right: 1 from cost 2 on, 1/2 at 1, linear.
    assert perfect == pytest.approx((0.75 + 1.0) / 2)
    wrong = lambda_value(1 - observed.column("quality"), observed.column("cost"), observed)
    assert wrong == pytest.approx(0.5)


def test_without_a_cost_the_best_predicted_model_counts():
    observed = Outcomes(("a", "b"), {"quality": np.array([[0.0, 1.0], [1.0, 0.0]])})
    assert lambda_value(observed.column("quality"), np.zeros((2, 2)), observed) == 1
