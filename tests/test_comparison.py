"""Solvers side by side: rows, warnings about claims that do not stand, and what is written."""

import csv
import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from dualroute import registry
from dualroute.comparison import (
    Compared,
    Comparison,
    _judged,
    compare,
    comparison_csv,
    comparison_report,
    plot_comparison,
)
from dualroute.errors import OptionError
from dualroute.figures import check_figure
from dualroute.instances import continuous
from dualroute.report import print_report
from dualroute.solver import SolveOptions
from dualroute.testing import known_problems, optimum_of, random_problem

SOLVERS = ("lagrangian", "highs", "ortools:cp-sat", "greedy")


@pytest.fixture(scope="module")
def compared():
    problems = {"random": random_problem(4, 6, 3), "continuous": continuous(200, 4).problem}
    told = []
    options = SolveOptions(20.0, mip_rel_gap=1e-6)
    done = compare(problems, SOLVERS, seeds=(0, 1), options=options, tell=told.append)
    return problems, done, told


def test_one_row_for_each_solve(compared):
    problems, done, told = compared
    expected = [(p, s, seed) for p in problems for seed in (0, 1) for s in SOLVERS]
    assert [(row.problem, row.solver, row.seed) for row in done.rows] == expected
    assert len(told) == len(expected)
    assert done.warnings == ()
    for row in done.rows:
        assert row.error == ""
        assert row.refuted == ()
        assert row.answered
        problem = problems[row.problem]
        assert (row.n_queries, row.n_models) == (problem.n_queries, problem.n_models)
        assert row.certified_bound <= row.objective
        assert row.seconds >= row.build_seconds >= 0
        assert row.first_feasible <= row.seconds + 1e-9
        assert row.version.count(" ") == 1


def test_values_are_certified_and_times_follow_from_traces(compared):
    problems, done, _ = compared
    optimum = optimum_of(problems["random"])
    for row in done.rows:
        if row.problem == "random" and row.solver != "greedy":
            assert row.objective == pytest.approx(optimum, rel=1e-9)
        reached = [t for t, value, _ in row.trace if value < math.inf]
        assert row.first_feasible == reached[0]
        known = [t for t in row.within if not math.isnan(t)]
        assert known == sorted(known)
    continuous_rows = [row for row in done.rows if row.problem == "continuous"]
    assert all(not math.isnan(row.within[1]) for row in continuous_rows if row.solver != "greedy")
    # Integer backends have no prices: their bound comes from the native dual, and the row says so.
    bound_by = {row.solver: row.bound_by for row in continuous_rows}
    assert bound_by == {
        "lagrangian": "lagrangian",
        "highs": "highs",
        "ortools:cp-sat": "lagrangian",
        "greedy": "lagrangian",
    }


def test_contradictory_limits_are_an_answer():
    known = next(k for k in known_problems() if k.name == "too little room")
    done = compare({"little": known.problem}, ["lagrangian", "highs", "ortools:scip"])
    assert [row.infeasible for row in done.rows] == [True] * 3
    assert [row.status for row in done.rows] == ["infeasible"] * 3
    assert all(math.isnan(row.objective) for row in done.rows)
    assert done.warnings == ()


def row(solver, **changes):
    fresh = Compared("p", solver, 0, 3, 2, 1, status="optimal", objective=6.0, seconds=1.0)
    known = {"certified_bound": 6.0, "claimed_bound": 6.0, "optimal": True}
    return replace(fresh, **{**known, "trace": ((1.0, 6.0, 6.0),), **changes})


def judged(*rows, maximize=False):
    problem = replace(random_problem(1), maximize=maximize)
    return _judged(rows, {"p": problem})


def test_two_optima_that_differ_are_a_warning():
    done = judged(row("a"), row("b", objective=6.00001, certified_bound=6.00001))
    assert any("a and b both prove an optimum, of 6.0 and 6.00001" in w for w in done.warnings)
    assert judged(row("a"), row("b", objective=6.0 * (1 + 1e-10))).warnings == ()


def test_claims_that_a_routing_refutes_are_named():
    claim = {"optimal": False, "certified_bound": 5.0}
    done = judged(
        row("good"),
        row("bound", objective=7.0, claimed_bound=6.5, status="feasible", **claim),
        row("optimum", objective=7.0, claimed_bound=-math.inf, **claim),
        row("none", objective=math.nan, status="infeasible", claimed_bound=math.inf, **claim),
    )
    assert [r.refuted for r in done.rows] == [
        (),
        ("claims a bound of 6.5, and 6.0 is reached",),
        ("calls 7.0 optimal, and 6.0 is reached",),
        ("says infeasible, and there is a routing",),
    ]
    assert len(done.warnings) == 3
    assert done.warnings[0] == "p: bound (seed 0): claims a bound of 6.5, and 6.0 is reached"


def test_the_users_sense_is_kept_in_judging():
    # Maximised: 6 is reached, so a bound of 5.5 (no more than that) is false; one of 7 is not.
    claim = {"optimal": False, "certified_bound": 7.0, "status": "feasible", "objective": 5.0}
    done = judged(
        row("good", certified_bound=6.0),
        row("false", claimed_bound=5.5, **claim),
        row("fair", claimed_bound=7.0, **claim),
        maximize=True,
    )
    assert [bool(r.refuted) for r in done.rows] == [False, True, False]


def test_a_solver_that_lies_is_found_out(monkeypatch, tmp_path):
    # A third party's solver in one file: it calls everything on the first model optimal.
    (tmp_path / "liar.py").write_text(
        "import numpy as np\n"
        "from dualroute.solver import Solution, Status, Termination\n"
        "class Liar:\n"
        "    '''Everything on the first model.'''\n"
        "    def solve(self, problem, options):\n"
        "        routed = np.zeros(problem.n_queries, np.intp)\n"
        "        bound = problem.value(routed) + 1.0\n"
        "        return Solution(Status.OPTIMAL, Termination.OPTIMAL, routed, best_bound=bound)\n"
    )
    meta = tmp_path / "liar-1.0.dist-info"
    meta.mkdir()
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: liar\nVersion: 1.0\n")
    (meta / "entry_points.txt").write_text("[dualroute.solvers]\nliar = liar:Liar\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    registry._points.cache_clear()
    try:
        broken = next(k for k in known_problems() if k.name == "least cost above a floor").problem
        free = next(k for k in known_problems() if k.name == "no limits").problem
        done = compare({"floor": broken, "free": free}, ["liar", "highs"])
    finally:
        registry._points.cache_clear()
    refuted = {(r.problem, r.solver): r.refuted for r in done.rows}
    assert refuted["floor", "liar"][0] == "its routing breaks a limit"
    assert "its bound is worse than its own routing" in refuted["free", "liar"]
    assert refuted["floor", "highs"] == refuted["free", "highs"] == ()
    assert any("liar" in line for line in done.warnings)


def test_a_solver_that_fails_is_a_row():
    done = compare({"p": random_problem(1)}, ["cvxpy:nosuch", "highs"])
    assert "CVXPY finds no solver 'NOSUCH'" in done.rows[0].error
    assert done.rows[1].answered
    assert not done.rows[0].answered


def test_nothing_to_compare():
    with pytest.raises(OptionError, match="nothing to compare"):
        compare({}, ["highs"])
    with pytest.raises(OptionError, match="no solver 'nosuch'"):
        compare({"p": random_problem(1)}, ["nosuch"])


def test_csv_and_json_hold_every_row(compared):
    _, done, _ = compared
    lines = list(csv.DictReader(io.StringIO(comparison_csv(done))))
    assert len(lines) == len(done.rows)
    for line, one in zip(lines, done.rows, strict=True):
        assert line["solver"] == one.solver
        assert float(line["objective"]) == one.objective
        assert line["within_1e-06"] == ("" if math.isnan(one.within[2]) else str(one.within[2]))
    values = json.loads(json.dumps(done.to_dict(), allow_nan=False))
    assert [r["solver"] for r in values["rows"]] == [r.solver for r in done.rows]
    assert values["rows"][0]["trace"][-1][0] == done.rows[0].trace[-1][0]


def test_the_report_names_versions_and_warnings(compared, capsys):
    _, done, _ = compared
    print_report(comparison_report(Comparison(done.rows, ("p: something is off",))), width=140)
    out = capsys.readouterr().out
    assert "random: 6 queries x 3 models" in out
    assert "ortools:cp-sat, seed 1" in out
    assert "highspy " in out
    assert "warning: p: something is off" in out


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_a_plot_is_written_whole(compared, tmp_path, suffix):
    _, done, _ = compared
    path = tmp_path / f"gaps{suffix}"
    plot_comparison(done, path)
    head = path.read_bytes()[:300]
    assert {".png": b"PNG", ".svg": b"<svg", ".pdf": b"%PDF"}[suffix] in path.read_bytes()[:900]
    assert head
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    if suffix == ".svg":
        assert b"ortools" in path.read_bytes() or b"<path" in path.read_bytes()


def test_a_plot_with_another_suffix_is_refused():
    with pytest.raises(OptionError, match=r"no figure; name it \.png"):
        check_figure("gaps.gif")


def test_rows_without_a_trace_can_be_drawn(tmp_path):
    done = Comparison((row("a", trace=(), objective=np.nan), row("b")), ())
    plot_comparison(done, tmp_path / "x.png")
    plot_comparison(Comparison((row("a", trace=()),), ()), tmp_path / "y.png")
    assert (tmp_path / "y.png").stat().st_size > 0
