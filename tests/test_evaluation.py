import numpy as np
import pytest

from dualroute import Outcomes, ProblemError
from dualroute.evaluation import (
    at_equal_cost,
    gap_recovered,
    mean_quality,
    optimal_selections,
    realised,
    tradeoff,
)

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


def test_tradeoff_by_hand():
    # All-cheap: 1 a query at 1/2; the two hard ones dear: 2 at 1; all-dear: 3 at 3/4. The hull
    # rises from (1, 1/2) to (2, 1) and stays: 3/4 on average over the first half, 1 over the rest.
    mixed = np.array([0, 0, 1, 1])
    curve = tradeoff(OBSERVED, [CHEAP, mixed, DEAR], resamples=50)
    assert curve.hull.cost.tolist() == [1, 2]
    assert curve.aiq.value == pytest.approx((0.75 + 1) / 2)
    assert curve.aiq_own.value == pytest.approx(0.75)
    assert curve.aiq.low <= curve.aiq.value <= curve.aiq.high
    with pytest.raises(ProblemError, match="no routing"):
        tradeoff(OBSERVED, [])


def test_interval_of_the_average_covers_the_truth():
    # One routing, right with .7: AIQ is its quality. 100 batches, nominal 90 %: 3 points of error.
    hits, generator = 0, np.random.default_rng(1)
    for seed in range(100):
        quality = (generator.uniform(size=(300, 2)) < 0.7).astype(float)
        observed = Outcomes.from_arrays(np.tile([1.0, 3.0], (300, 1)), quality)
        found = tradeoff(observed, [np.zeros(300, int)], seed=seed, resamples=300, level=0.9).aiq
        hits += found.low <= 0.7 <= found.high
    assert 80 <= hits <= 98


def test_gap_recovered_by_hand():
    # Weak right on 0 and 1, strong on 1, 2, 3: gap 1/4. Calling the strong one for 2, then for 2
    # and 3, then for all but 0 gives 3/4, 1, 1 and for all 3/4.
    steps = [[0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1], [0, 1, 1, 1], [1, 1, 1, 1]]
    found = gap_recovered(OBSERVED, [np.array(s) for s in steps], resamples=50)
    # PGR 0, 1, 2, 2, 1 at shares 0, 1/4, .., 1: trapezia .5 + 1.5 + 2 + 1.5 over 4.
    assert found.apgr.value == pytest.approx(5.5 / 4)
    assert found.cpt == {0.5: pytest.approx(0.125), 0.8: pytest.approx(0.2)}


def test_calling_the_strong_model_at_random_recovers_half():
    draw = np.random.default_rng(0)
    quality = (draw.random((20_000, 2)) < [0.5, 0.8]).astype(float)
    observed = Outcomes.from_arrays(np.tile([1.0, 3.0], (20_000, 1)), quality)
    order = draw.permutation(20_000)
    routings = [(order < share * 20_000).astype(int) for share in np.linspace(0, 1, 11)]
    found = gap_recovered(observed, routings, resamples=50)
    assert found.apgr.value == pytest.approx(0.5, abs=0.02)
    assert found.cpt[0.5] == pytest.approx(0.5, abs=0.05)


def test_gap_needs_two_models_that_differ():
    with pytest.raises(ProblemError, match="3 models"):
        gap_recovered(Outcomes.from_arrays([[1, 2, 3]], [[0, 1, 1]]), [np.array([0])])
    with pytest.raises(ProblemError, match="equally good"):
        gap_recovered(Outcomes.from_arrays([[1, 2]], [[1, 1]]), [np.array([0])])


def test_optimal_selections_by_hand():
    # Best models: 0; either (0 is cheaper); 1; 1.
    assert optimal_selections(OBSERVED, CHEAP) == (0.5, 0.5)
    assert optimal_selections(OBSERVED, DEAR) == (0.75, 0.5)
    assert optimal_selections(OBSERVED, np.array([0, 0, 1, 1])) == (1, 1)


def test_mean_quality_with_its_interval():
    quality, cost = mean_quality(OBSERVED, DEAR, resamples=200)
    assert (quality.value, cost.value) == (0.75, 3)
    assert quality.low <= 0.75 <= quality.high
    assert (cost.low, cost.high) == (3, 3)
    assert str(cost) == "3.0000 [3.0000, 3.0000]"


def test_resamples_without_a_gap_leave_an_interval_of_numbers():
    # Of four queries the strong model wins two and loses one: drawn anew, it often wins nothing.
    quality = np.array([[0, 1], [1, 0], [0, 1], [1, 1]])
    observed = Outcomes.from_arrays(np.ones((4, 2)), quality)
    apgr = gap_recovered(observed, [np.zeros(4, int), np.ones(4, int)]).apgr
    assert (apgr.value, apgr.low, apgr.high) == pytest.approx((0.5, 0.5, 0.5))
