import json
import math
import sys
from dataclasses import replace

import numpy as np
import pytest

from dualroute.bench import (
    Case,
    FrontierCase,
    PredictionCase,
    Run,
    ScaleOptions,
    ScaleRow,
    SuiteRow,
    bench_gap,
    bench_mmkp,
    bench_online,
    bench_predict,
    bench_scale,
    frontier_bench_report,
    growth,
    machine,
    measure,
    measure_frontier,
    measure_prediction,
    online_report,
    plain,
    plan_report,
    prediction_report,
    scale_report,
    suite_report,
    suites,
    summary,
)
from dualroute.bench.frontiers import SWEEPS
from dualroute.cli import _Progress, main
from dualroute.errors import OptionError, TableError
from dualroute.policy import UPDATES
from dualroute.report import print_report
from dualroute.solver import Progress, Solution, Status, Termination

# Derived in test_instances.py: the optimum is 7, and the relaxation's too (job 2 moves whole).
GAP = "2 3\n1 2 3\n4 4 4\n2 2 2\n1 2 3\n4 3\n"
# Jobs take 2 or 3, and the agents hold 2 and 3: room for one each, and there are three.
FULL = "2 3\n1 2 3\n4 4 4\n2 2 2\n2 2 3\n2 3\n"
# Also there: the optimum is 25.
MMKP = "2 2 2\n5 4\n1\n10 3 1\n20 4 3\n2\n5 1 1\n9 2 2\n"


@pytest.fixture
def gap(tmp_path):
    """A suite of one instance four times; what is said to be known differs."""
    (tmp_path / "gap.txt").write_text(GAP)
    (tmp_path / "best_known.csv").write_text(
        "instance,file,best_known,lower_bound,status\n"
        "right,gap.txt,7,7,optimal\nhigh,gap.txt,8,,best_known\n"
        "low,gap.txt,5,,wrong\nunknown,gap.txt,,,\n"
    )
    return tmp_path


@pytest.fixture
def mmkp(tmp_path):
    (tmp_path / "mmkp.txt").write_text(MMKP)
    (tmp_path / "best_known.csv").write_text(
        "instance,file,format,best_known\nright,mmkp.txt,khan,25\nlow,mmkp.txt,khan,20\n"
    )
    return tmp_path


@pytest.fixture
def run(capfd, monkeypatch):
    """Run one command in this process: exit status, standard output, standard error."""

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dualroute", *words])
        with pytest.raises(SystemExit) as left:
            main()
        return left.value.code, *capfd.readouterr()

    return call


@pytest.mark.parametrize("solver", ["lagrangian", "highs"])
def test_gap_rows_compare_with_what_is_known(gap, solver):
    told = []
    rows = bench_gap(gap, solver=solver, tell=told.append)
    assert [row.instance for row in rows] == ["right", "high", "low", "unknown"]
    assert len(told) == 4
    right, high, low, unknown = rows
    assert {row.objective for row in rows} == {7}
    assert right.certified_bound == pytest.approx(7, rel=1e-6)
    assert right.certified_bound <= 7
    assert right.gap_to_best_known == 0
    assert high.gap_to_best_known == -1 / 8
    assert low.gap_to_best_known == 2 / 5
    assert math.isnan(unknown.gap_to_best_known)
    # A bound of 7 contradicts a best known value of 5.
    assert [row.bound_valid for row in rows] == [True, True, False, None]
    assert right.solver == solver
    assert (right.status, right.best_known_status) == ("optimal", "optimal")
    assert 0 <= right.seconds < 10


def test_mmkp_rows_are_in_the_users_sense(mmkp):
    right, low = bench_mmkp(mmkp)
    assert right.objective == 25
    assert right.certified_bound >= 25
    assert (right.gap_to_best_known, right.bound_valid) == (0, True)
    assert (low.gap_to_best_known, low.bound_valid) == (-0.25, True)


def test_a_solver_without_prices_is_judged_by_a_bound_all_the_same(mmkp):
    (row,) = bench_mmkp(mmkp, solver="greedy", only="right")
    assert row.solver == "greedy"
    assert 25 <= row.certified_bound < 29


def test_an_instance_without_a_routing_is_a_row(gap):
    (gap / "gap.txt").write_text(FULL)
    (row,) = bench_gap(gap, only="right")
    assert math.isnan(row.objective)
    assert math.isnan(row.gap_to_best_known)
    assert plain(row)["objective"] is None


def test_an_interrupt_ends_the_suite_and_loses_nothing(gap, monkeypatch):
    class Stopped:
        def solve(self, problem, options):
            return Solution(
                Status.FEASIBLE, Termination.INTERRUPTED, np.zeros(problem.n_queries, int)
            )

    load = suites.registry.load
    monkeypatch.setattr(
        suites.registry, "load", lambda g, name: Stopped if name == "stopped" else load(g, name)
    )
    rows = bench_gap(gap, solver="stopped")
    assert [row.instance for row in rows] == ["right"]


def test_files_are_read_before_time_is_spent(gap):
    (gap / "broken.txt").write_text("2 3\n1 2")
    with open(gap / "best_known.csv", "a") as table:
        table.write("broken,broken.txt,1,,\n")
    told = []
    with pytest.raises(TableError, match=r"broken\.txt, line 2: ends early"):
        bench_gap(gap, tell=told.append)
    assert told == []


ROW = SuiteRow("a", 7.0, 6.0, 7.0, 0.0, 1 / 7, 2.0, "s", 7.0, "optimal", "", "", True, False)


def test_a_summary_by_hand():
    rows = [
        ROW,
        replace(ROW, gap_to_best_known=0.03, status="feasible", bound_valid=False),
        replace(ROW, gap_to_best_known=-0.01, proved_optimal=True),
        replace(ROW, objective=math.nan, gap_to_best_known=math.nan, bound_valid=None),
    ]
    said = summary(rows)
    assert (said.instances, said.routed, said.improved) == (4, 3, 1)
    assert said.mean_gap_to_best_known == pytest.approx(0.02 / 3)
    assert said.largest_gap_to_best_known == 0.03
    assert (said.bounds, said.valid_bounds) == (3, 2)
    assert (said.proved_optimal, said.claimed_optimal) == (1, 3)
    assert said.seconds == 8
    assert math.isnan(summary([]).mean_gap_to_best_known)


def test_a_case_is_measured():
    options = ScaleOptions(gaps=(1e-3, 1e-6), highs_pairs=600, highs_time_limit=5, order="F")
    row = measure(Case("ties", 200, 3, 2, options))
    assert (row.kind, row.n_queries, row.n_models, row.n_limits) == ("ties", 200, 3, 2)
    # Cost and quality, the pool map and usage of the capacity, and the one pool of the floor.
    assert row.table_bytes == 2 * 200 * 3 * 4 + 3 * 4 + 4 + 4
    assert row.read_seconds > 0
    assert row.compile_seconds >= 0
    assert [one.gap_asked for one in row.runs] == [1e-3, 1e-6]
    for one in row.runs:
        assert one.gap <= 1e-2
        assert one.reads == one.seconds / row.read_seconds
    assert [one.start for one in row.again] == ["cold", "prices", "prices, routing"]
    for one in row.again:  # looser limits cost no more
        assert one.objective <= row.runs[0].objective * (1 + 1e-3)
    assert row.highs.solver == "highs"
    assert row.highs.objective == pytest.approx(row.runs[1].objective, rel=1e-3)
    assert row.highs_ratio == row.highs.seconds / row.runs[0].seconds
    assert row.answered


def test_every_case_has_a_process_of_its_own():
    told = []
    options = ScaleOptions(gaps=(1e-4,), highs_pairs=0)
    rows = bench_scale([300, 10**13], [1], ["continuous"], options=options, tell=told.append)
    small, huge = rows
    assert (small.n_queries, small.n_limits, small.error) == (300, 2, "")
    assert small.answered
    assert small.highs is None
    # 10^13 queries fit nowhere; the run goes on, and says so.
    assert huge.runs == ()
    assert "allocate" in huge.error.lower()
    assert not huge.answered
    assert any("failed" in line for line in told)
    print_report(scale_report(rows))


def test_options_out_of_range():
    for wrong in ({"gaps": ()}, {"dtype": "float16"}, {"order": "K"}, {"highs_pairs": -1},
                  {"threads": 0}, {"time_limit": 0.0}, {"gaps": (-1.0,)}):  # fmt: skip
        with pytest.raises(OptionError):
            ScaleOptions(**wrong)
    with pytest.raises(OptionError, match="no kind 'real'; the kinds are continuous, ties"):
        bench_scale([10], [2], ["real"])
    with pytest.raises(OptionError, match="at least 1"):
        bench_scale([0], [2])
    with pytest.raises(OptionError, match="no solver 'absent'"):
        bench_scale([10], [2], options=ScaleOptions(solver="absent"))


def timed(n, m, k, seconds, gap=1e-9):
    run = Run("s", 1e-6, seconds, 1.0, 0.0, gap, gap, 1.0, "optimal", "optimal", 9, {})
    return ScaleRow("ties", n, m, k, "float32", "C", 1, runs=(run,))


def test_growth_finds_the_exponents_times_were_made_with():
    rows = [timed(n, m, m + 1, 1e-7 * n**1.1 * m**0.9) for n in (10**3, 10**5) for m in (4, 16)]
    # This one stopped short of its gap: its time says nothing.
    (fit,) = growth([*rows, timed(10**6, 4, 5, 1e-9, gap=1e-3)])
    assert (fit.kind, fit.gap_asked, fit.runs) == ("ties", 1e-6, 4)
    assert fit.in_queries == pytest.approx(1.1)
    assert fit.in_models == pytest.approx(0.9)
    assert math.isnan(fit.in_limits)
    (fit,) = growth([timed(10**4, 4, k, 2.0 * k**0.5) for k in (1, 5, 100)])
    assert fit.in_limits == pytest.approx(0.5)
    assert math.isnan(fit.in_queries)
    assert growth([]) == []


def test_the_machine_is_told():
    found = machine()
    assert found.cpus >= 1
    assert found.versions["numpy"] == np.__version__
    assert found.commit is None or len(found.commit.removesuffix("+changes")) == 40
    json.dumps(plain(found), allow_nan=False)


def test_bench_gap_on_the_command_line(gap, run):
    status, out, err = run("bench", "gap", str(gap), "--only", "[rh]*", "--json", "-")
    assert status == 0
    assert err.count("\n") == 2
    answer = json.loads(out)
    assert answer["summary"]["routed"] == 2
    assert answer["machine"]["versions"]["python"]
    right, high = answer["rows"]
    assert {"instance", "objective", "certified_bound", "best_known", "gap_to_best_known", "gap",
            "seconds", "solver"} <= set(right)  # fmt: skip
    assert (right["objective"], high["gap_to_best_known"]) == (7, -0.125)


def test_bench_prints_a_table_and_a_summary(mmkp, run):
    status, out, _ = run("bench", "mmkp", str(mmkp), "--time-limit", "5")
    assert status == 0
    assert "-25.0000 %" in out
    assert "2 of 2 routed" in out
    assert "Bounds on the right side of it: 2 of 2" in out.replace("\n", " ")


def test_bench_says_so_where_no_routing_is_found(gap, run):
    (gap / "gap.txt").write_text(FULL)
    status, out, _ = run("bench", "gap", str(gap), "--only", "right", "--json", "-")
    assert status == 1
    (row,) = json.loads(out)["rows"]
    assert row["objective"] is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["gap", "absent"], "absent: no such folder; name the one that holds best_known.csv"),
        (["gap", "."], "best_known.csv: cannot be read"),
        (["mmkp", ".", "--solver", "absent"], "no solver 'absent'"),
        (["gap", ".", "--time-limit", "0"], "time_limit is 0.0; give seconds above 0"),
        (["scale", "--queries", "1e3,many"], "--queries is '1e3,many'; write"),
        (["scale", "--models", "2.5"], "--models is '2.5'; write whole numbers"),
        (["scale", "--queries", "inf"], "--queries is 'inf'; write whole numbers"),
        (["scale", "--kinds", "real"], "no kind 'real'"),
        (["scale", "--order", "K"], "order 'K'"),
        (["knapsack"], "No such command 'knapsack'"),
    ],
)
def test_unusable_input_is_one_line_and_status_2(tmp_path, monkeypatch, run, words, said):
    monkeypatch.chdir(tmp_path)
    status, out, err = run("bench", *words)
    assert status == 2
    assert out == ""
    assert said in err
    assert err.count("\n") == 1


def test_bench_scale_on_the_command_line(run, tmp_path):
    file = tmp_path / "scale.json"
    status, out, err = run(
        "bench", "scale", "--queries", "1e2,2e2", "--models", "3", "--kinds", "ties",
        "--limits", "1", "--gaps", "1e-3", "--json", str(file),
    )  # fmt: skip
    assert status == 0
    assert "Simulated tables: ties" in out
    assert "time grows as" in out
    assert "ties: 100 queries x 3 models, 1 limits" in err
    answer = json.loads(file.read_text())
    assert [row["n_queries"] for row in answer["rows"]] == [100, 200]
    assert answer["rows"][0]["runs"][0]["phases"] is not None
    assert answer["rows"][0]["highs"]["solver"] == "highs"
    assert [fit["kind"] for fit in answer["growth"]] == ["ties"]


def test_reports_of_nothing_are_no_error():
    print_report(
        suite_report([]), scale_report([]), prediction_report([]), online_report([]),
        frontier_bench_report([]), plan_report([]),
    )  # fmt: skip


def test_a_predictor_is_measured():
    row = measure_prediction(PredictionCase("retrieval", 60, 90, 11))
    assert (row.predictor, row.n_history, row.n_queries, row.n_models) == ("retrieval", 60, 90, 11)
    assert min(row.fit_seconds, row.predict_seconds, row.encode_seconds) > 0
    # Sixty texts span fewer directions than are asked for, each a float32.
    assert 0 < row.vector_bytes <= 60 * 256 * 4
    assert row.vector_bytes % (60 * 4) == 0
    assert row.error == ""


def test_predictors_are_measured_in_processes_of_their_own():
    told = []
    rows = bench_predict(["mean", "retrieval"], [10**13, 50], 40, 2, tell=told.append)
    assert [row.n_history for row in rows] == [10**13, 10**13, 50, 50]
    assert all("allocate" in row.error.lower() for row in rows[:2])
    assert math.isnan(rows[2].encode_seconds)  # means need no embedding
    assert rows[3].encode_seconds > 0
    assert sum("failed" in line for line in told) == 2


def test_a_policy_is_measured_with_every_update():
    told = []
    rows = bench_online(n_queries=60, models=[3, 1], tell=told.append)
    assert [(row.update, row.n_models) for row in rows] == [
        (update, m) for m in (3, 1) for update in UPDATES
    ]
    assert len(told) == 6
    for row in rows:
        assert (row.n_queries, row.n_limits) == (60, row.n_models + 1)
        assert 0 < row.route[0] <= row.route[1]
        assert 0 < row.observe[0] <= row.observe[1]
        assert 0 <= row.stopped <= 1
        assert row.per_second > 0


def test_bench_online_on_the_command_line(run, tmp_path):
    file = tmp_path / "online.json"
    words = ("bench", "online", "--updates", "fixed", "--models", "2,3", "--queries", "50")
    status, out, err = run(*words, "--json", str(file))
    assert status == 0
    assert "50 x 3" in out
    assert "fixed: 50 queries x 3 models, 4 limits" in err
    answer = json.loads(file.read_text())
    assert [row["n_models"] for row in answer["rows"]] == [2, 3]
    assert answer["machine"]["cpus"] > 0
    for flag, value, said in (
        ("--updates", "sgd", "found 'sgd'; choose among mirror, queue, fixed"),
        ("--queries", "1,2", "one number"),
        ("--models", "0", "at least one"),
    ):
        status, _, err = run(*words, flag, value)
        assert (status, err.count("\n")) == (2, 1)
        assert said in err


def test_bench_predict_on_the_command_line(run, tmp_path):
    file = tmp_path / "predict.json"
    words = ("bench", "predict", "--predictors", "mean", "--history", "1e2", "--queries", "2e2")
    status, out, err = run(*words, "--models", "3", "--json", str(file))
    assert status == 0
    assert "200 x 3" in out
    assert "learning from 100, predicting 200 x 3" in err
    (row,) = json.loads(file.read_text())["rows"]
    assert (row["predictor"], row["n_models"]) == ("mean", 3)
    assert row["encode_seconds"] is None
    for wrong, said in (("--models", "at least one"), ("--queries", "one number")):
        status, _, err = run(*words, wrong, {"--models": "0", "--queries": "1,2"}[wrong])
        assert (status, err.count("\n")) == (2, 1)
        assert said in err


@pytest.mark.parametrize("sweep", SWEEPS)
def test_a_frontier_is_measured_beside_a_cold_solve(sweep):
    row = measure_frontier(FrontierCase(sweep, 200, 3, points=4, gap=1e-2))
    assert (row.sweep, row.n_queries, row.solved + row.filled) == (sweep, 200, 4)
    assert row.largest_gap <= 1e-2
    assert min(row.ratio, row.seconds, row.cold_seconds) > 0
    assert row.passes_ratio == row.passes / row.cold_passes


def test_bench_frontier_on_the_command_line(run, tmp_path):
    file = tmp_path / "frontier.json"
    words = ("bench", "frontier", "--sweeps", "budget", "--queries", "1e2", "--points", "3")
    status, out, err = run(*words, "--models", "3", "--gap", "1e-2", "--json", str(file))
    assert status == 0
    assert "100 x 3" in out
    assert "budget: 3 points, 100 queries x 3 models" in err
    (row,) = json.loads(file.read_text())["rows"]
    assert (row["sweep"], row["error"]) == ("budget", "")
    status, _, err = run("bench", "frontier", "--sweeps", "speed")
    assert (status, err.count("\n")) == (2, 1)
    assert "no sweep 'speed'" in err


@pytest.mark.parametrize(("maximize", "words"), [(False, "objective -2 "), (True, "objective 2 ")])
def test_progress_is_in_the_users_sense(capsys, maximize, words):
    with _Progress(maximize=maximize) as progress:
        progress.show(Progress("polish", -2.0, -2.5, 1.0))
    shown = capsys.readouterr().err
    assert words in shown
    assert f"bound {2.5 if maximize else -2.5} " in shown
    assert "polish" in shown
    assert "gap 2.5e-01" in shown


def test_a_day_of_replicas_is_planned_and_measured(run, tmp_path):
    file = tmp_path / "plan.json"
    words = ("bench", "plan", "--queries", "60", "--periods", "2", "--models", "3")
    status, out, err = run(*words, "--counts", "own,same", "--gap", "1e-2", "--json", str(file))
    assert status == 0
    assert "2 x 60 x 3" in out
    assert "the same counts" in err
    own, same = json.loads(file.read_text())["rows"]
    assert own["certified_bound"] <= own["objective"] <= same["objective"] * (1 + 1e-2)
    assert max(own["gap"], same["gap"]) <= 1e-2
    assert min(own["seconds"], same["evaluations"]) > 0
    for wrong, given, said in (("--counts", "other", "own, same"), ("--models", "0", "one model")):
        status, _, err = run(*words, wrong, given)
        assert (status, err.count("\n")) == (2, 1)
        assert said in err
