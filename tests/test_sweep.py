"""Compiled passes against plain ones: the same numbers, whatever the form of the limits."""

from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import mixed_problem

from dualroute.engines.local import LocalEngine
from dualroute.problem import (
    Prices,
    lagrangian,
    regrets,
)
from dualroute.sweep import Sweeper, total

SEEDS = st.integers(0, 2**32 - 1)


def chunks(problem, prices, *, compiled, edges=None, threads=1):
    return Sweeper(problem, threads, compiled).sweep(prices, lambda chunk: chunk, edges)


@given(seed=SEEDS)
@settings(max_examples=60, deadline=None)
def test_the_compiled_pass_is_the_plain_pass(seed):
    problem, prices = mixed_problem(seed)
    edges = np.array([0, 1, 64, 70, 150])
    pairs = zip(
        chunks(problem, prices, compiled=True, edges=edges),
        chunks(problem, prices, compiled=False, edges=edges),
        strict=True,
    )
    for fast, plain in pairs:
        assert (fast.start, fast.stop) == (plain.start, plain.stop)
        np.testing.assert_allclose(fast.best, plain.best, rtol=1e-13, atol=1e-13)
        np.testing.assert_allclose(fast.second, plain.second, rtol=1e-13, atol=1e-13)
        # Equal costs may be added up in another order: then either model is a cheapest one.
        differ = np.flatnonzero(fast.chosen != plain.chosen)
        assert (plain.second[differ] - plain.best[differ] < 1e-12).all()
        if differ.size == 0:
            np.testing.assert_allclose(fast.use, plain.use, rtol=1e-12, atol=1e-12)
            assert fast.cost == pytest.approx(plain.cost, rel=1e-12)
        assert fast.value == pytest.approx(plain.value, rel=1e-12, abs=1e-12)


@given(seed=SEEDS, relative=st.sampled_from([0.0, 1e-3]))
@settings(max_examples=60, deadline=None)
def test_the_compiled_lower_ends_are_the_plain_ones(seed, relative):
    problem, prices = mixed_problem(seed)
    several = [prices, Prices.of(problem, 2 * prices.vector)]
    radius = np.random.default_rng(seed).exponential(0.02, (2, problem.n_rows))
    shares = np.array([relative, 0.0])
    fast, plain = (
        Sweeper(problem, compiled=compiled).sweep_below(several, radius, shares, list)
        for compiled in (True, False)
    )
    riding = Sweeper(problem, compiled=True).riding
    for quick, slow in zip(chain(*fast), chain(*plain), strict=True):
        pairs = np.arange(quick.start, quick.stop), quick.chosen
        np.testing.assert_array_equal(quick.cost, problem.objective[pairs])
        if riding is not None:
            usage = np.broadcast_to(problem.rows[riding].usage, problem.objective.shape)
            np.testing.assert_array_equal(quick.use, usage[pairs])
        np.testing.assert_allclose(quick.low, slow.low, rtol=1e-13, atol=1e-13)
        np.testing.assert_allclose(quick.second, slow.second, rtol=1e-13, atol=1e-13)
        differ = quick.chosen != slow.chosen
        assert (slow.second - slow.low)[differ].max(initial=0.0) < 1e-12


@given(seed=SEEDS, margin=st.sampled_from([0.0, 0.05]))
@settings(max_examples=60, deadline=None)
def test_the_compiled_box_pass_is_the_plain_one(seed, margin):
    problem, prices = mixed_problem(seed)
    radius = np.random.default_rng(seed).exponential(0.02, problem.n_rows)
    fast = Sweeper(problem, compiled=True)

    def found(sweeper, shift=0.0):
        return sweeper.sweep_box(prices, radius, margin + shift, lambda chunk: chunk)

    def settled(chunks):
        return np.concatenate([c.settled for c in chunks])

    # A query at the very edge may be rounded to either side; pools that depend on the query
    # are taken apart whether or not two models share one.
    plain = Sweeper(problem, compiled=False)
    quick, slow = found(fast), found(plain)
    assert (settled(quick) <= settled(found(plain, -1e-12))).all()
    if fast.signs:
        assert (settled(found(plain, 1e-12)) <= settled(quick)).all()
    if (settled(quick) == settled(slow)).all():
        np.testing.assert_allclose(
            total([c.use for c in quick]), total([c.use for c in slow]), atol=1e-11
        )
        assert sum(c.cost for c in quick) == pytest.approx(sum(c.cost for c in slow))


@given(seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_what_a_box_settles_stays_settled_all_over_it(seed):
    problem, prices = mixed_problem(seed)
    draw = np.random.default_rng(seed)
    radius = draw.exponential(0.02, problem.n_rows)
    margin = 0.01
    found = Sweeper(problem, compiled=True).sweep_box(prices, radius, margin, lambda chunk: chunk)
    settled = np.flatnonzero(np.concatenate([c.settled for c in found]))
    chosen = np.concatenate([c.chosen for c in found])[settled]
    for _ in range(10):
        moved = prices.vector + radius * draw.choice([-1.0, 1.0], problem.n_rows)
        if (moved < 0).any():
            continue
        reduced = regrets(problem, Prices.of(problem, moved))[settled]
        assert (reduced[np.arange(settled.size), chosen] == 0).all()
        reduced[np.arange(settled.size), chosen] = np.inf
        assert (reduced.min(axis=1, initial=np.inf) > margin).all()


@given(seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_what_a_routing_takes_is_the_same_compiled_and_plain(seed):
    problem, _ = mixed_problem(seed)
    routed = np.random.default_rng(seed).integers(-1, 5, problem.n_queries).astype(np.int32)
    routed[(routed > 0) & ~np.isfinite(problem.objective[np.arange(routed.size), routed])] = 0
    (cost, use), (plain_cost, plain_use) = (
        Sweeper(problem, compiled=compiled).use_of(routed) for compiled in (True, False)
    )
    assert cost == pytest.approx(plain_cost)
    np.testing.assert_allclose(use, plain_use, atol=1e-11)


def test_threads_change_no_digit():
    problem, prices = mixed_problem(7, n=20_000, m=8)
    one, two = (chunks(problem, prices, compiled=True, threads=t) for t in (1, 2))
    assert len(one) > 1
    for a, b in zip(one, two, strict=True):
        assert a.value == b.value
        assert (a.use == b.use).all()
        assert (a.chosen == b.chosen).all()


def test_what_a_family_is_charged_with_its_sign_turned_back_is_the_same():
    problem, prices = mixed_problem(3)
    turned = replace(
        problem,
        rows=tuple(replace(r, usage=-r.usage, sign=-r.sign) for r in problem.rows),
    )
    for one, other in zip(
        chunks(problem, prices, compiled=True), chunks(turned, prices, compiled=True), strict=True
    ):
        assert (one.best == other.best).all()
        assert (one.use == other.use).all()


@given(seed=SEEDS, heat=st.sampled_from([1e-3, 0.1, 1.0]))
@settings(max_examples=40, deadline=None)
def test_the_compiled_softening_is_the_plain_one(seed, heat):
    problem, prices = mixed_problem(seed, n=40)
    fast, plain = (LocalEngine(problem, compiled=compiled) for compiled in (True, False))
    here, there = (each.evaluate(fast.scaled(prices), heat) for each in (fast, plain))
    assert here.near_ties == there.near_ties
    for name in ("value", "smoothed", "gradient", "hessian"):
        np.testing.assert_allclose(getattr(here, name), getattr(there, name), rtol=1e-9, atol=1e-9)


@given(seed=SEEDS, compiled=st.booleans(), step=st.sampled_from([0.0, 0.003, 0.1]))
@settings(max_examples=60, deadline=None)
def test_a_survey_leaves_the_part_that_a_look_at_every_query_leaves(seed, compiled, step):
    problem, prices = mixed_problem(seed)
    engine = LocalEngine(problem, compiled=compiled)
    draw = np.random.default_rng(seed)
    here, survey = engine.survey(engine.scaled(prices), 0.01)
    assert here.value == engine.evaluate(engine.scaled(prices), 0.01).value
    centre = prices.vector * (1 + step * draw.uniform(-1, 1, problem.n_rows))
    scaled = engine.scaled(Prices.of(problem, centre))
    radius = 0.01 * draw.random(problem.n_rows) * scaled
    margin = 0.001 * draw.choice([0.0, 1.0])
    near, every = (each.part(scaled, radius, margin) for each in (survey, engine))
    # A look lets every model's charge move by itself, also by limits that charge all models of a
    # query alike; the survey may know better, never worse.
    assert np.isin(near.free, every.free).all()
    both = np.setdiff1d(np.arange(problem.n_queries), every.free)
    assert (near.settled[both] == every.settled[both]).all()
    known = np.setdiff1d(every.free, near.free)
    at = Prices.of(
        problem, engine.prices(scaled + radius * draw.uniform(-1, 1, radius.size)).vector
    )
    above = regrets(problem, at)
    above[np.arange(problem.n_queries), near.settled] = np.inf
    assert (above[known].min(axis=1, initial=np.inf) > margin).all()
    for part in (near, every):
        if part.free.size:
            bound = lagrangian(part.problem, at).value + part.cost
            assert bound == pytest.approx(lagrangian(problem, at).value)
