"""Every routing rule keeps the capacities, and does what its source says it does."""

import numpy as np
import pytest

from dualroute import Budget, Capacity, Outcomes, ProblemError, registry, solve
from dualroute.rule import Rule, Scene, means
from dualroute.rules.automaton import Automaton
from dualroute.rules.bandits import Stream
from dualroute.rules.blind import Blind
from dualroute.rules.calibrated_lambda import CalibratedLambda
from dualroute.rules.certified import Certified
from dualroute.rules.epsilon_greedy import EpsilonGreedy
from dualroute.rules.good_enough import GoodEnough
from dualroute.rules.linucb import LinUcb
from dualroute.rules.oracle import Oracle
from dualroute.rules.single import Single
from dualroute.rules.threshold import Threshold
from dualroute.rules.weighted import Weighted

COST = [[1.0, 4.0]] * 4
# Predicted gains of the second model: .3, .1, .6, -.2.
TOLD = [[0.5, 0.8], [0.7, 0.8], [0.2, 0.8], [0.9, 0.7]]
HISTORY = Outcomes.from_arrays([[1, 4]] * 4, [[1, 1], [0, 1], [0, 1], [1, 1]])
TEXTS = ["add one", "sort this list", "prove it", "say hello"]


def scene(told=TOLD, truth=None, capacity=(np.inf, np.inf), cost=COST, history=HISTORY, seed=0):
    truth = TOLD if truth is None else truth
    n = len(told)
    texts = [TEXTS[i % 4] for i in range(n)]
    return Scene(
        [TEXTS[i % 4] for i in range(history.n_queries)],
        history,
        texts,
        Outcomes.from_arrays(cost, told),
        Outcomes.from_arrays(cost, truth),
        np.array(capacity, float),
        seed,
    )


def random_scene(seed, n=40, m=4, crowd=None):
    draw = np.random.default_rng(seed)

    def table(size):
        return Outcomes.from_arrays(
            np.exp(draw.normal(size=(size, m)) + np.arange(m)),
            draw.random((size, m)),
            columns={"latency_s": draw.random((size, m))},
        )

    words = ["sum", "prove", "sort", "poem", "why"]
    texts = [" ".join(draw.choice(words, 3)) for _ in range(n + 30)]
    room = np.full(m, np.inf if crowd is None else np.ceil(crowd * n / m))
    return Scene(texts[n:], table(30), texts[:n], table(n), table(n), room, seed)


@pytest.mark.parametrize("crowd", [None, 1.0, 1.5])
@pytest.mark.parametrize("name", registry.names("rules"))
def test_every_rule_keeps_the_capacities_and_says_the_same_again(name, crowd):
    asked = random_scene(3, crowd=crowd)
    rule = registry.create("rules", name)
    assert isinstance(rule, Rule)
    routings = rule.routings(asked)
    assert len(routings) >= 1
    for routing in routings:
        assert routing.shape == (40,)
        assert (np.bincount(routing, minlength=4) <= asked.capacity).all()
    again = registry.create("rules", name).routings(asked)
    assert all((a == b).all() for a, b in zip(routings, again, strict=True))


def test_served_in_the_order_of_arrival():
    # All want model 1, which takes two: the first two to arrive get it.
    asked = scene(told=[[0.0, 1.0]] * 4, capacity=(np.inf, 2.9), seed=5)
    routed = asked.served(np.array([[1.0, 0.0]] * 4))
    first = np.random.default_rng(5).permutation(4)[:2]
    assert sorted(np.flatnonzero(routed == 1)) == sorted(first)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"capacity": (1, 2)}, "take 3 requests together, and there are 4"),
        ({"told": TOLD[:3], "cost": COST[:3], "truth": TOLD[:2]}, "one each for every query"),
    ],
)
def test_a_scene_that_does_not_fit(change, message):
    if "truth" in change:
        with pytest.raises(ProblemError, match=message):
            Scene(
                TEXTS,
                HISTORY,
                TEXTS[:3],
                Outcomes.from_arrays(COST[:3], TOLD[:3]),
                Outcomes.from_arrays(COST[:2], TOLD[:2]),
                np.array([9.0, 9]),
            )
        return
    with pytest.raises(ProblemError, match=message):
        scene(**change)


def test_threshold_goes_from_all_weak_to_all_strong_by_predicted_gain():
    routed = [one.tolist() for one in Threshold(steps=5).routings(scene())]
    # Weak is model 0 (cheapest), strong model 1 (better on the history); gains .3 .1 .6 -.2.
    assert routed == [[0, 0, 0, 0], [0, 0, 1, 0], [1, 0, 1, 0], [1, 1, 1, 0], [1, 1, 1, 1]]


def test_good_enough_takes_the_cheapest_that_reaches_the_floor():
    routed = {tuple(one.tolist()) for one in GoodEnough(steps=61).routings(scene())}
    # Floor .7: queries 1 and 3 stay small; at .8 the last one has .9 on the small model.
    assert (1, 0, 1, 0) in routed
    assert (0, 0, 0, 0) in routed
    # Floor .9: nobody but the last reaches it; the others get their best.
    assert (1, 1, 1, 0) in routed


def test_lambda_upgrades_by_gain_per_cost():
    routed = [one.tolist() for one in CalibratedLambda(steps=400).routings(scene())]
    assert routed[0] == [1, 1, 1, 0]
    assert [1, 0, 1, 0] in routed
    assert [0, 0, 1, 0] in routed
    assert routed[-1] == [0, 0, 0, 0]


def test_weighted_from_cost_alone_to_quality_alone():
    routed = [one.tolist() for one in Weighted(filter=0.0).routings(scene())]
    assert routed[0] == [0, 0, 0, 0]
    assert routed[-1] == [1, 1, 1, 0]


def test_weighted_filters_models_of_little_quality():
    # Means over the history are .5 and 1: the first model is out.
    routed = Weighted(filter=0.7).routings(scene())
    assert all(one.tolist() == [1, 1, 1, 1] for one in routed)


def test_single_models_and_where_they_spill():
    routed = [one.tolist() for one in Single().routings(scene())]
    assert routed == [[0, 0, 0, 0], [1, 1, 1, 1]]
    crowded = Single().routings(scene(capacity=(4, 1)))
    assert sorted(crowded[1].tolist()) == [0, 0, 0, 1]


def test_blind_mixtures_lie_on_the_line_between_models():
    many = scene(told=TOLD * 500, truth=TOLD * 500, cost=COST * 500)
    shares = [float((one == 1).mean()) for one in Blind(steps=5).routings(many)]
    assert shares == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1], abs=0.05)


def test_certified_by_hand():
    # Budgets of 7 buy one upgrade (query 2, +.6), of 10 a second (query 0, +.3).
    routed = {tuple(one.tolist()) for one in Certified(steps=40).routings(scene())}
    assert routed == {(0, 0, 0, 0), (0, 0, 1, 0), (1, 0, 1, 0), (1, 1, 1, 0)}


@pytest.mark.parametrize("crowd", [None, 1.5])
def test_no_rule_beats_the_certified_optimum_on_its_own_predictions(crowd):
    asked = random_scene(11, crowd=crowd)
    lines, quality, cost = np.arange(40), asked.told("quality"), asked.told("cost")
    room = [] if crowd is None else [Capacity(15)]  # 1.5 * 40 / 4
    short = 0
    for rule in (CalibratedLambda(9), GoodEnough(9), Threshold(5), Weighted(steps=5), Blind()):
        for routing in rule.routings(asked):
            held, paid = quality[lines, routing].sum(), cost[lines, routing].sum()
            limits = [Budget(paid * (1 + 1e-12)), *room]
            best = solve(asked.predicted, maximize="quality", limits=limits).objective
            assert best >= held - 1e-9
            short += best > held + 1e-3
    assert short > 10  # most are beaten, so the comparison is not empty


def test_the_oracle_sees_the_truth_and_the_plan_does_not():
    asked = scene(truth=(1 - np.array(TOLD)).tolist())
    told = Certified().routings(asked)[-1].tolist()
    known = Oracle().routings(asked)[-1].tolist()
    assert told == [1, 1, 1, 0]
    assert known == [0, 0, 0, 1]


@pytest.mark.parametrize("rule", [LinUcb(weights=(0.0,)), EpsilonGreedy(weights=(0.0,))])
def test_bandits_learn_the_better_model(rule):
    # The second model is right nine times in ten, the first once: learned within 200 queries.
    draw = np.random.default_rng(0)
    right = (draw.random((200, 2)) < [0.1, 0.9]).astype(float)
    history = Outcomes.from_arrays([[1, 4]] * 200, right)
    asked = scene(told=TOLD * 25, truth=right[:100].tolist(), cost=COST * 25, history=history)
    (routed,) = rule.routings(asked)
    assert (routed == 1).mean() > 0.85


def test_the_automaton_moves_to_the_better_model():
    right = np.tile([0.0, 1.0], (1000, 1))
    history = Outcomes.from_arrays([[1, 4]] * 1000, right)
    asked = scene(told=TOLD * 25, truth=right[:100].tolist(), cost=COST * 25, history=history)
    (routed,) = Automaton(weights=(0.0,)).routings(asked)
    assert (routed == 1).mean() > 0.95


def test_linucb_tells_texts_apart():
    # Model 0 is right on "sort this list", model 1 on "prove it".
    texts = ["sort this list", "prove it"] * 100
    right = np.tile([[1.0, 0.0], [0.0, 1.0]], (100, 1))
    history = Outcomes.from_arrays([[1, 1]] * 200, right)
    batch = Outcomes.from_arrays([[1, 1]] * 200, right)
    asked = Scene(texts, history, texts, batch, batch, np.full(2, np.inf))
    (routed,) = LinUcb(weights=(0.0,)).routings(asked)
    assert (routed == np.tile([0, 1], 100)).mean() > 0.95


def test_rewards_weigh_cost_in_the_dearest_models_mean():
    stream = Stream.of(scene(), 0.5)
    # Qualities less half of 1/4 and of 4/4.
    assert stream.history[0].tolist() == [1 - 0.125, 1 - 0.5]
    assert sorted(i for i, _ in stream.earlier()) == [0, 1, 2, 3]
    assert means(HISTORY, "quality").tolist() == [0.5, 1.0]
