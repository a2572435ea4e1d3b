import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as with_settings
from scipy.optimize import linprog
from strategies import every_feasible_routing, small_problems

from dualroute import (
    Budget,
    Capacity,
    OptionError,
    Outcomes,
    QualityFloor,
    RoutingError,
    RoutingProblem,
    SolveOptions,
    TableError,
    formulate,
    solve,
)
from dualroute.frontierreport import sensitivity_report, what_if_report
from dualroute.report import print_report
from dualroute.sensitivity import sensitivity
from dualroute.whatif import (
    AddModel,
    ChangeLimit,
    DropModel,
    ScalePrice,
    ScaleTraffic,
    what_if,
)

OUTCOMES = Outcomes.from_arrays(
    [[1.0, 4.0]] * 3, [[0.6, 0.9], [0.5, 0.9], [0.2, 0.9]], ["small", "large"]
)
EXACT = SolveOptions()


def relaxed(problem, limit):
    """The linear relaxation by HiGHS through scipy; infinite where it is infeasible."""
    n, m = problem.n_queries, problem.n_models
    allowed = np.isfinite(problem.objective)
    use = []
    for rows in problem.rows:
        usage = rows.signed(np.broadcast_to(rows.usage, (n, m)).astype(float))
        pool = np.broadcast_to(rows.pool, (n, m))
        use += [np.where(pool == r, usage, 0.0).ravel() for r in range(rows.n_pools)]
    found = linprog(
        np.where(allowed, problem.objective, 0.0).ravel(),
        A_ub=np.array(use) if use else None,
        b_ub=limit if use else None,
        A_eq=np.kron(np.eye(n), np.ones((1, m))),
        b_eq=np.ones(n),
        bounds=[(0, 1 if a else 0) for a in allowed.ravel()],
    )
    return found.fun if found.status == 0 else math.inf


def test_the_price_of_a_budget_holds_between_two_upgrades():
    # All small: 3 USD; each upgrade 3 more, for .7, .4, .3. At 8 USD the relaxation buys c and
    # two thirds of b: .4/3 a dollar, from 6 to 9. Whole queries: 2.0, and 8.08 USD buy no more.
    found = sensitivity(OUTCOMES, maximize="quality", limits=[Budget(8)], options=EXACT)
    (line,) = found.lines
    assert line.price == pytest.approx(0.4 / 3)
    assert (line.low, line.high) == pytest.approx((6, 9))
    assert line.low_exact
    assert line.high_exact
    assert line.step == pytest.approx(0.08)
    assert line.gain_low == 0
    assert line.gain_high <= 1e-12
    assert found.objective == pytest.approx(2.0)
    assert found.relaxation == pytest.approx(1.3 + 0.7 + 0.4 * 2 / 3)
    assert line.words == (
        "budget: 0.08 cost more gains nothing; price 0.133333 quality per cost, "
        "from a limit of 6 to 9"
    )


def test_a_request_more_buys_the_next_upgrade():
    found = sensitivity(
        OUTCOMES, maximize="quality", limits=[Capacity({"large": 1})], options=EXACT
    )
    (line,) = found.lines
    # The first request gained .7, the second gains .4: any price between is one at 1.
    assert line.gain_low == pytest.approx(0.4)
    assert line.gain_high == pytest.approx(0.4)
    assert line.low <= 1 <= line.high
    assert 0.4 - 1e-9 <= line.price <= 0.7 + 1e-9
    assert "1 request more gains 0.4 quality" in line.words


def test_a_floor_turns_back():
    # Cost 3 at 1.3; .7 more for 3, then .4 more for 3: at 1.8 the price is 3/.7, from 1.3 to 2.
    found = sensitivity(OUTCOMES, minimize="cost", limits=[QualityFloor(mean=0.6)], options=EXACT)
    (line,) = found.lines
    assert line.relation == ">="
    assert line.limit == pytest.approx(1.8)
    assert line.price == pytest.approx(3 / 0.7)
    assert (line.low, line.high) == pytest.approx((1.3, 2.0))


def test_an_idle_limit_is_worth_nothing_however_wide():
    found = sensitivity(OUTCOMES, maximize="quality", limits=[Budget(20)], options=EXACT)
    (line,) = found.lines
    assert line.price == 0
    assert line.low == pytest.approx(12)
    assert line.high == math.inf
    assert "gains nothing" in line.words
    assert "any higher" in line.words


@with_settings(max_examples=60)
@given(problem=small_problems(planted=True, palettes=("ties", "decimals", "continuous")))
def test_intervals_and_gains_hold_by_enumeration_and_linprog(problem):
    if not problem.rows:
        return
    here = problem.limit
    value = relaxed(problem, here)
    best = min(problem.value(routing) for routing in every_feasible_routing(problem))
    found = sensitivity(problem, options=EXACT)
    size = 1e-6 * (1 + abs(value) + float(np.abs(here).sum()))
    assert problem.reported(found.relaxation) == pytest.approx(value, abs=size)
    signs = np.concatenate([np.full(r.n_pools, -1.0 if r.at_least else 1.0) for r in problem.rows])
    for row, (line, sign) in enumerate(zip(found.lines, signs, strict=True)):
        ends = sorted([sign * line.low, sign * line.high])

        def at(limit, row=row):
            moved = here.copy()
            moved[row] = limit
            return relaxed(problem, moved)

        def on_line(limit, row=row, line=line):
            return value - line.price * (limit - here[row])

        room = size * (1 + line.price)
        # Inside the interval the price is the slope; a solver's tolerance blurs its very ends.
        for end, exact in zip(ends, (line.low_exact, line.high_exact)[:: int(sign)], strict=True):
            if not exact:
                continue
            inside = here[row] + 0.999 * (min(end, here[row] + 10) - here[row])
            assert at(inside) == pytest.approx(on_line(inside), abs=room)
            if math.isfinite(end):
                outside = end + (0.01 if end >= here[row] else -0.01) * max(
                    1.0, abs(end - here[row])
                )
                if (at(outside) - on_line(outside)) <= -room:
                    pytest.fail("the relaxation is below its tangent")
        step = here.copy()
        step[row] += line.step
        looser = problem.with_limit(step)
        then = min(problem.value(routing) for routing in every_feasible_routing(looser))
        assert line.gain_low - 1e-9 * (1 + abs(best)) <= best - then
        assert best - then <= line.gain_high + 1e-9 * (1 + abs(best))


@pytest.mark.parametrize(("n", "seed"), [(12, 1), (600, 2), (600, 3)])
def test_beyond_the_ends_the_relaxation_leaves_the_line(n, seed):
    rng = np.random.default_rng(seed)
    problem = formulate(
        Outcomes.from_arrays(rng.uniform(1, 9, (n, 3)), rng.uniform(0, 1, (n, 3))),
        maximize="quality",
        limits=[Budget(10 / 3 * n), Capacity(n // 2)],
    )
    value = relaxed(problem, problem.limit)
    found = sensitivity(problem)
    for row, line in enumerate(found.lines):
        assert line.low_exact
        assert line.high_exact
        for end, past in ((line.low, -1e-3), (line.high, 1e-3)):
            if not math.isfinite(end):
                continue
            for limit, leaves in ((end, False), (end + past * max(1, abs(end)), True)):
                moved = problem.limit
                moved[row] = limit
                above = relaxed(problem, moved) - (value - line.price * (limit - line.limit))
                assert (above > 1e-7) == leaves


def test_equal_queries_are_too_many_ties_to_list_and_ends_are_found_from_afar():
    # All are upgraded alike, one after the other: the price is one from none to all of them.
    n = 6000
    outcomes = Outcomes.from_arrays(np.tile([1.0, 4.0], (n, 1)), np.tile([0.5, 0.9], (n, 1)))
    found = sensitivity(outcomes, maximize="quality", limits=[Budget(2.0 * n)])
    (line,) = found.lines
    assert line.price == pytest.approx(0.4 / 3)
    assert (line.low, line.high) == pytest.approx((1.0 * n, 4.0 * n), rel=1e-5)


def test_a_search_cut_short_says_so():
    rng = np.random.default_rng(2)
    cost, quality = rng.uniform(1, 9, (300, 4)), rng.uniform(0, 1, (300, 4))
    # Each query twice, hardly dearer the second time: what ties and what does not is not told.
    outcomes = Outcomes.from_arrays(np.vstack([cost, cost * (1 + 1e-10)]), np.tile(quality, (2, 1)))
    found = sensitivity(outcomes, maximize="quality", limits=[Budget(1800)], evaluations=1)
    (line,) = found.lines
    assert not line.low_exact
    assert not line.high_exact
    assert "at least" in line.words
    assert "at most" in line.words
    assert line.low <= 1800 <= line.high


def test_what_if_solves_each_variant():
    mid = AddModel("mid", {"cost": 2, "quality": [0.7, 0.8, 0.8]})
    old = Budget(8)
    found = what_if(
        OUTCOMES,
        [mid, DropModel("large"), ScalePrice("large", 0.5), ScaleTraffic(2),
         ChangeLimit(old, Budget(10)), [DropModel("small"), ChangeLimit(old, None)]],
        maximize="quality",
        limits=[old],
        options=EXACT,
    )  # fmt: skip
    # 8 USD: b and c on mid leave 3 for a... 1+2+4 = 7 buys .6+.8+.9 = 2.3, 2+2+4 = 8 buys
    # .7+.8+.9 and either order of b and c: 2.4, or .7+.9+.8; a large: .9+.8+.8 = 2.5.
    # Twice the traffic on the same 8 USD: one upgrade less at 4 USD each half: 2 x 1.3.
    reached = [variant.objective for variant in found.variants]
    assert found.base.objective == pytest.approx(2.0)
    assert reached == pytest.approx([2.5, 1.3, 2.7, 2.6, 2.4, 2.7])
    for variant in found.variants:
        assert variant.plan.certificate.proved_optimal
        assert variant.change_low <= variant.objective - 2.0 <= variant.change_high
    assert found.variants[0].plan.outcomes.models == ("small", "large", "mid")


def test_a_variant_that_cannot_be_is_one():
    found = what_if(OUTCOMES, [ChangeLimit(None, Capacity(1))], maximize="quality", options=EXACT)
    (variant,) = found.variants
    assert variant.plan.status == "infeasible"
    assert math.isnan(variant.change_low)
    json.dumps(found.to_dict(), allow_nan=False)


def test_differences_of_the_optima_are_certified():
    rng = np.random.default_rng(3)
    outcomes = Outcomes.from_arrays(rng.uniform(1, 9, (200, 4)), rng.uniform(0, 1, (200, 4)))
    limits = [Budget(700), Capacity(80)]
    rough = SolveOptions(mip_rel_gap=1e-2)
    changes = [ScalePrice("m3", 0.7), ScaleTraffic(0.5), DropModel("m0")]
    found = what_if(outcomes, changes, maximize="quality", limits=limits, options=rough)
    base = solve(outcomes, maximize="quality", limits=limits)
    cheaper = Outcomes.from_arrays(
        outcomes.column("cost") * [1, 1, 1, 0.7], outcomes.column("quality")
    )
    changed = solve(cheaper, maximize="quality", limits=limits)
    half = solve(outcomes, maximize="quality", limits=[Budget(1400), Capacity(160)])
    pairs = zip(found.variants, (changed.objective, 0.5 * half.objective), strict=False)
    for variant, truth in pairs:
        assert variant.change_low <= truth - base.objective + 1e-6
        assert truth - base.objective - 1e-6 <= variant.change_high


def test_json_and_reports(capsys):
    found = sensitivity(OUTCOMES, maximize="quality", limits=[Budget(8), Capacity(3)])
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["lines"][0]["words"].startswith("budget: ")
    print_report(sensitivity_report(found))
    shown = capsys.readouterr().out
    assert "budget: 0.08 cost more" in shown
    assert "2 further limits have a price of 0" in shown
    told = what_if(OUTCOMES, [DropModel("large")], maximize="quality")
    print_report(what_if_report(told))
    assert "drop large" in capsys.readouterr().out


PROBLEM = RoutingProblem(np.ones((2, 2)))


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        (lambda: sensitivity(PROBLEM, minimize="cost"), OptionError, "give it alone"),
        (lambda: sensitivity(OUTCOMES), OptionError, "exactly one of minimize"),
        (lambda: sensitivity(PROBLEM, evaluations=0), OptionError, "evaluations is 0"),
        (
            lambda: sensitivity(OUTCOMES, minimize="cost", limits=[Capacity(1)]),
            OptionError,
            "no routing keeps the limits",
        ),
        (
            lambda: what_if(OUTCOMES, [AddModel("mid", {"cost": 2})], minimize="cost"),
            TableError,
            "'mid' to add has no column 'quality'",
        ),
        (
            lambda: what_if(
                OUTCOMES, [AddModel("mid", {"cost": [2, 3], "quality": 0})], minimize="cost"
            ),
            TableError,
            "give one number, or one for each of the 3 queries",
        ),
        (
            lambda: what_if(OUTCOMES, [AddModel("large", {"cost": 2, "quality": 0})],
                            minimize="cost"),
            TableError,
            "'large' is named twice",
        ),
        (lambda: what_if(OUTCOMES, [DropModel("huge")], minimize="cost"), TableError, "no model"),
        (lambda: ScalePrice("large", 0), OptionError, "ScalePrice factor is 0"),
        (lambda: ScaleTraffic(-1), OptionError, "ScaleTraffic factor is -1"),
        (
            lambda: what_if(OUTCOMES, [ChangeLimit(Budget(9), None)], minimize="cost"),
            OptionError,
            "is none of the limits",
        ),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_error(asked, error, words):
    with pytest.raises(error, match=words) as told:
        asked()
    assert isinstance(told.value, RoutingError)
    assert "\n" not in str(told.value)
