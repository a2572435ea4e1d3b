"""Margins learned from a record: what they are by hand, and how often they hold."""

import numpy as np
import pytest
from scipy.stats import norm

from dualroute import (
    Budget,
    Capacity,
    OptionError,
    Outcomes,
    ProblemError,
    QualityFloor,
    SolveOptions,
    route,
    solve,
)
from dualroute.evaluation import realised
from dualroute.guarantee import Margin, Record, needs_record, tighten
from dualroute.predictors.mean import Mean
from dualroute.routing import read_limits


def record(told, seen, cost=None):
    cost = np.tile([1.0, 4.0], (len(told), 1)) if cost is None else cost
    return Record(Outcomes.from_arrays(cost, told), Outcomes.from_arrays(cost, seen))


def floor_margin(held: Record, asked=0.6, n=100, **options) -> Margin:
    limits = [QualityFloor(mean=asked, confidence=0.9)]
    _, (margin,) = tighten(limits, held, n, minimize="cost", **options)
    return margin


def test_predictions_that_are_right_need_no_margin():
    told = np.tile([0.5, 0.9], (50, 1))
    limits, (margin,) = tighten(
        [QualityFloor(mean=0.6, confidence=0.9)], record(told, told), 10, minimize="cost"
    )
    assert limits == (QualityFloor(mean=0.6),)
    assert (margin.bias, margin.chance) == (0, 0)
    assert (margin.asked, margin.predicted, margin.n_record) == (0.6, 0.6, 50)


def test_a_promise_too_high_by_a_constant_is_taken_off():
    told = np.tile([0.5, 0.9], (50, 1))
    margin = floor_margin(record(told, told - 0.1))
    assert margin.bias == pytest.approx(0.1)
    assert margin.chance == pytest.approx(0, abs=1e-12)
    assert margin.predicted == pytest.approx(0.7)


def test_chance_is_the_normal_quantile_of_both_samples():
    # Every pair is told 1/2 and is 0 or 1 by turns: no bias, standard deviation .5 * sqrt(50/49).
    told = np.full((50, 2), 0.5)
    seen = np.tile([[0.0, 0.0], [1.0, 1.0]], (25, 1))
    margin = floor_margin(record(told, seen), asked=0.3, n=200)
    sd = 0.5 * np.sqrt(50 / 49)
    assert margin.bias == pytest.approx(0, abs=1e-12)
    assert margin.chance == pytest.approx(norm.ppf(0.9) * sd * np.sqrt(1 / 200 + 1 / 50))
    wider = floor_margin(record(told, seen), asked=0.3, n=200, method="bernstein")
    assert wider.chance > margin.chance


def test_a_record_that_is_too_pessimistic_gives_no_credit():
    # Outcomes are .1 above what was told, and .1 off that by turns: only the chance is left.
    told = np.tile([0.4, 0.8], (50, 1))
    off = np.tile([[0.0], [0.2]], (25, 1))
    margin = floor_margin(record(told, told + off), asked=0.5, n=100)
    assert margin.bias == pytest.approx(-0.1)
    assert margin.predicted == pytest.approx(0.5 + margin.chance)
    assert "+0 for what" in margin.words


def test_skewed_costs_have_a_wider_margin_that_holds():
    # Costs are gamma of shape .1 (skewness 6.3) about a mean that is told: what a batch of 100
    # costs on the only model, against what a record of 300 promised. By the normal quantile
    # some .90 of batches keep what .95 should.
    draw, kept, normal = np.random.default_rng(3), [], []
    flat = np.ones((300, 1))
    for _ in range(300):
        seen = draw.gamma(0.1, 10.0, (300, 1))
        held = Record(Outcomes.from_arrays(flat, flat), Outcomes.from_arrays(seen, flat))
        _, (margin,) = tighten([Budget(1e4, confidence=0.95)], held, 100, maximize="quality")
        excess = draw.gamma(0.1, 10.0, 100 * 20).reshape(20, 100).mean(axis=1) - 1.0
        kept.append((excess <= margin.bias + margin.chance).mean())
        wide = norm.ppf(0.95) * seen.std(ddof=1) * np.sqrt(1 / 100 + 1 / 300)
        normal.append((excess <= margin.bias + wide).mean())
    assert np.mean(normal) < 0.92 < np.mean(kept)
    assert np.mean(kept) == pytest.approx(0.95, abs=0.025)


def test_no_routing_of_the_record_is_an_error_not_a_margin_of_nothing():
    told = np.tile([0.5, 0.9], (50, 1))
    with pytest.raises(ProblemError, match=r"50 known queries .* no margin can be learned"):
        floor_margin(record(told, told - 0.1), asked=0.95)


def test_selection_is_in_the_bias():
    # Both models are right half the time; predictions are noise about that, so the best-looking
    # of two promises .5 + sd / sqrt(pi) where single predictions are off by nothing on average.
    draw = np.random.default_rng(0)
    told = np.clip(0.5 + 0.1 * draw.normal(size=(4000, 2)), 0, 1)
    seen = (draw.random((4000, 2)) < 0.5).astype(float)
    held = record(told, seen, cost=np.ones((4000, 2)))
    limits = [Budget(100.0, confidence=0.9), QualityFloor(mean=0.2, confidence=0.9)]
    _, margins = tighten(limits, held, 100, maximize="quality")
    assert abs((told - seen).mean()) < 0.01
    assert margins[1].bias == pytest.approx(0.1 / np.sqrt(np.pi), abs=0.02)
    assert margins[0].bias == 0


def test_a_budget_is_tightened_by_what_is_spent_beyond_predictions():
    told = np.tile([0.5, 0.9], (40, 1))
    predicted = Outcomes.from_arrays(np.tile([1.0, 4.0], (40, 1)), told)
    observed = Outcomes.from_arrays(np.tile([1.5, 4.5], (40, 1)), told)
    limits, (margin,) = tighten(
        [Budget(30.0, confidence=0.95)], Record(predicted, observed), 10, maximize="quality"
    )
    # Half a dollar a query, ten queries: 25 of 30 are left.
    assert limits[0].total == pytest.approx(25.0)
    assert limits[0].confidence is None
    assert (margin.limit, margin.asked, margin.predicted) == ("budget", 3.0, pytest.approx(2.5))


def test_totals_and_capacities_are_brought_to_the_size_of_the_record():
    # 40 queries known, 10 to route: capacity 5 of ten is 20 of forty, a total of 6 is 24.
    told = np.tile([0.5, 0.9], (40, 1))
    limits, (margin,) = tighten(
        [QualityFloor(total=6.0, confidence=0.9), Capacity({"m1": 5})],
        record(told, told - 0.05),
        10,
        minimize="cost",
    )
    assert margin.predicted == pytest.approx(0.65)
    assert limits[0].total == pytest.approx(6.5)
    assert limits[1] == Capacity({"m1": 5})


@pytest.mark.parametrize("confidence", [0.9, 0.99])
def test_a_floor_holds_about_as_often_as_it_says(confidence):
    # Simulated: qualities drawn, predictions with an error of their own, a new record each time.
    hits, draw, better = 0, np.random.default_rng(7), np.array([-0.1, 0.0, 0.2])
    for _ in range(100):
        chance = np.clip(draw.beta(2, 2, size=(600, 3)) + better, 0.02, 0.98)
        told = np.clip(chance + 0.15 * draw.normal(size=chance.shape), 0, 1)
        seen = (draw.random(chance.shape) < chance).astype(float)
        cost = np.tile([1.0, 2.0, 5.0], (600, 1))
        known, batch = np.arange(400), np.arange(400, 600)
        held = record(told[known], seen[known], cost[known])
        limits, _ = tighten(
            [QualityFloor(mean=0.5, confidence=confidence)], held, 200, minimize="cost"
        )
        plan = solve(
            Outcomes.from_arrays(cost[batch], told[batch]),
            minimize="cost",
            limits=limits,
            options=SolveOptions(mip_rel_gap=1e-3),
        )
        truth = Outcomes.from_arrays(cost[batch], seen[batch])
        hits += realised(truth, plan.assignment).quality >= 0.5
    # Standard error of a share near .9 over 100: three points; without a margin it is about .2.
    assert hits >= 100 * confidence - 7


def test_route_learns_the_margin_from_the_history():
    draw = np.random.default_rng(2)
    texts = [f"question {i % 7} of {i}" for i in range(120)]
    seen = (draw.random((120, 2)) < [0.4, 0.9]).astype(float)
    history = Outcomes.from_arrays(np.tile([1.0, 4.0], (120, 1)), seen)
    # Every query is predicted alike, so that only the limit tells: a coarse gap will do.
    options = SolveOptions(mip_rel_gap=0.05)
    common = {"minimize": "cost", "predictor": Mean(), "options": options}
    loose = route(
        texts[:50], history, history_texts=texts, limits=[QualityFloor(mean=0.7)], **common
    )
    firm = route(
        texts[:50],
        history,
        history_texts=texts,
        limits=[QualityFloor(mean=0.7, confidence=0.9)],
        **common,
    )
    (margin,) = firm.margins
    assert loose.margins == ()
    assert firm.objective > loose.objective
    assert firm.limits()[0].limit == pytest.approx(50 * margin.predicted)
    assert firm.to_dict()["margins"][0]["confidence"] == 0.9
    assert "90 % of batches" in margin.words


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: QualityFloor(mean=0.5, confidence=1.0), "no chance is certain"),
        (lambda: QualityFloor(mean=0.5, confidence=0.3), "between 0.5 and 1"),
        (lambda: Budget({"a": 1.0}, by="tenant", confidence=0.9), "of the whole batch"),
        (lambda: Record(Outcomes.from_arrays([[1]], [[1]]), Outcomes.from_arrays([[1]], [[1]])),
         "one query tells no margin"),
        (lambda: tighten([Budget(1.0, confidence=0.9)], record([[0.5, 1]] * 3, [[0.5, 1]] * 3), 3,
                         maximize="quality", method="exact"), "'normal' or 'bernstein'"),
    ],
)  # fmt: skip
def test_what_cannot_be_promised(make, message):
    with pytest.raises((OptionError, ProblemError), match=message):
        make()


def test_a_confidence_without_a_record_is_refused():
    table = Outcomes.from_arrays([[1, 4]], [[0.5, 0.9]])
    limits = [QualityFloor(mean=0.5, confidence=0.9)]
    assert needs_record(limits)
    assert not needs_record([QualityFloor(mean=0.5), Capacity(3)])
    with pytest.raises(OptionError, match=r"use route\(\)"):
        solve(table, minimize="cost", limits=limits)


def test_a_confidence_in_a_file_of_limits(tmp_path):
    path = tmp_path / "limits.toml"
    path.write_text('[[limit]]\ntype = "quality_floor"\nmean = 0.8\nconfidence = 0.95\n')
    assert read_limits(path) == (QualityFloor(mean=0.8, confidence=0.95),)
