import numpy as np
import pytest

from dualroute import Outcomes, ProblemError
from dualroute.evaluation import at_equal_cost, realised

# Four queries; model 0 costs 1 and is right on the first two, model 1 costs 3 and is right on all
# but the first.
COST = [[1.0, 3.0]] * 4
QUALITY = [[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 1.0]]
OBSERVED = Outcomes.from_arrays(COST, QUALITY)
CHEAP, DEAR = np.zeros(4, int), np.ones(4, int)


def test_realised_cost_and_quality():
    held = realised(OBSERVED, np.array([0, 0, 1, 1]))
    assert held.cost == 8.0
    assert held.quality == 1.0


def test_rivals_are_mixed_to_the_same_cost():
    # All-cheap costs 4 at quality 1/2, all-dear 12 at 3/4. At 8 half of each: 5/8.
    compared = at_equal_cost(OBSERVED, np.array([0, 0, 1, 1]), [CHEAP, DEAR])
    assert compared.bracketed
    assert compared.cost == 8.0
    assert compared.quality == 1.0
    assert compared.rival_quality == pytest.approx(0.625)
    assert compared.difference == pytest.approx(0.375)
    assert compared.low <= compared.difference <= compared.high


def test_a_routing_against_itself_differs_by_nothing():
    compared = at_equal_cost(OBSERVED, CHEAP, [CHEAP, DEAR])
    assert (compared.difference, compared.low, compared.high) == (0, 0, 0)


def test_a_cost_no_rival_reaches_is_said():
    compared = at_equal_cost(OBSERVED, DEAR, [CHEAP])
    assert not compared.bracketed
    assert compared.difference == pytest.approx(0.25)


def test_same_seed_same_interval():
    routing = np.array([0, 0, 1, 1])
    one, two = (at_equal_cost(OBSERVED, routing, [CHEAP, DEAR], seed=3) for _ in range(2))
    assert one == two


def test_interval_covers_the_true_difference_about_as_often_as_it_says():
    # Truth: ours is right with .8, the rivals with .6 and .8 at costs on both sides, equal mix
    # .7: true difference .1. Nominal 90 %; 200 repetitions give a standard error of 2.1 points.
    generator = np.random.default_rng(5)
    n, hits = 400, 0
    for seed in range(200):
        chance = np.array([0.6, 0.8, 0.8])
        quality = (generator.uniform(size=(n, 3)) < chance).astype(float)
        observed = Outcomes.from_arrays(np.tile([1.0, 3.0, 2.0], (n, 1)), quality)
        ours, low, high = np.full(n, 2), np.zeros(n, int), np.ones(n, int)
        held = at_equal_cost(observed, ours, [low, high], seed=seed, resamples=400, level=0.9)
        hits += held.low <= 0.1 <= held.high
    assert 0.9 - 4 * 0.021 <= hits / 200 <= 0.9 + 4 * 0.021


def test_bad_requests_are_refused():
    with pytest.raises(ProblemError, match="no rival"):
        at_equal_cost(OBSERVED, CHEAP, [])
    with pytest.raises(ProblemError, match="4 queries"):
        realised(OBSERVED, np.zeros(3, int))


def test_resamples_pick_their_own_bracket():
    # Rivals cost 1, 1.95, 2.05 or 3 a query and are worth a quarter of that; ours costs 1 to 3,
    # 2 in the mean, and is worth .6. Mean cost over 200 has standard error .041, so one resample
    # in four needs another pair than the inner one; the difference .6 - cost/4 then has a 95 %
    # interval of width 2 x 1.96 x .041/4 = .04, where the inner pair alone allows .025.
    generator = np.random.default_rng(1)
    fixed = np.array([1.0, 1.95, 2.05, 3.0])
    cost = np.column_stack([np.tile(fixed, (200, 1)), generator.uniform(1, 3, 200)])
    quality = np.column_stack([np.tile(fixed / 4, (200, 1)), np.full(200, 0.6)])
    observed = Outcomes.from_arrays(cost, quality)
    rivals = [np.full(200, j) for j in range(4)]
    compared = at_equal_cost(observed, np.full(200, 4), rivals)
    assert compared.bracketed
    assert compared.bracketed_resamples == 1.0
    assert compared.difference == pytest.approx(0.6 - compared.cost / 200 / 4)
    assert 0.03 < compared.high - compared.low < 0.05
