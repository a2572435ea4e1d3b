import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from dualroute.cli import main
from dualroute.highs import QuietHighs

TABLE = """query_id,model,cost,quality,tenant,tokens
a,small,1,0.6,x,10
a,large,4,0.9,x,12
b,small,1,0.5,y,10
b,large,4,0.9,y,12
c,small,1,0.2,y,20
c,large,4,0.9,y,22
"""


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "table.csv").write_text(TABLE)
    return tmp_path / "table.csv"


@pytest.fixture
def run(capfd, monkeypatch):
    """Run one command in this process: exit status, standard output, standard error."""

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dualroute", *words])
        with pytest.raises(SystemExit) as left:
            main()
        return left.value.code, *capfd.readouterr()

    return call


def test_solve_answers_with_the_contract_of_its_json(table, run):
    # Small 1 USD, large 4 USD: 9 USD buy two upgrades, worth .3, .4 and .7: b and c, total 2.4.
    status, out, err = run(
        "solve", "table.csv", "--maximize", "quality", "--budget", "9", "--json", "-"
    )
    assert status == 0
    assert err == ""
    answer = json.loads(out)
    assert answer["status"] == "optimal"
    assert answer["termination"] == "optimal"
    assert "optimal" in answer["verdict"]
    assert answer["objective"] == pytest.approx(2.4, rel=1e-12)
    assert answer["certified_bound"] == pytest.approx(2.4, rel=1e-9)
    assert answer["certified_bound"] >= answer["objective"]
    assert answer["best_bound"] == pytest.approx(2.4, rel=1e-9)
    assert 0 <= answer["gap"] <= 1e-9
    assert answer["feasible"] is True
    assert (answer["n_queries"], answer["n_models"]) == (3, 2)
    assert answer["solver"] == "lagrangian"
    assert answer["seconds"] >= 0
    (limit,) = answer["limits"]
    assert (limit["name"], limit["use"], limit["limit"], limit["slack"]) == ("budget", 9, 9, 0)
    assert limit["unit"] == "cost"
    # Between the second upgrade (.4 for 3 USD) and the third (.3 for 3 USD).
    assert 0.1 - 1e-9 <= limit["price"] <= 0.4 / 3 + 1e-9
    small, large = answer["per_model"]
    assert (small["model"], small["queries"], small["cost"]) == ("small", 1, 1)
    assert (large["model"], large["queries"], large["cost"]) == ("large", 2, 8)
    assert large["quality"] == pytest.approx(1.8)


@pytest.mark.parametrize("solver", ["greedy", "highs", "lagrangian", "lambda", "subgradient"])
def test_every_solver_comes_with_a_certified_bound(table, run, solver):
    status, out, _ = run(
        "solve", "table.csv", "--minimize", "cost", "--quality-floor", "0.75",
        "--solver", solver, "--json", "-",
    )  # fmt: skip
    assert status == 0
    answer = json.loads(out)
    # Total 2.25 needs .95 above all-small (1.3): b and c give 1.1, so two upgrades, 9 USD.
    assert answer["objective"] == 9
    # The relaxation upgrades c, then 5/8 of b: 3 + 3 + 15/8 USD. A tree of prices proves 9.
    most = 9 if solver == "lagrangian" else 7.875
    assert 0 < answer["certified_bound"] <= most + 1e-9


def test_printed_report_names_verdict_limits_and_models(table, run):
    status, out, _ = run("solve", "table.csv", "--minimize", "cost", "--quality-floor", "0.75")
    assert status == 0
    for words in ("Certificate", "verdict", "certified bound", "quality_floor", ">=", "large"):
        assert words in out


def test_lambda_is_said_to_be_enough_where_no_capacity_binds(table, run):
    _, free, _ = run("solve", "table.csv", "--maximize", "quality", "--budget", "9")
    assert "single calibrated lambda does as well" in free
    _, bound, _ = run(
        "solve", "table.csv", "--maximize", "quality", "--budget", "9", "--capacity", "large=1"
    )
    assert "single calibrated lambda" not in bound


def test_out_and_verify_agree(table, run):
    asked = ("--maximize", "quality", "--budget", "9")
    for name in ("plan.csv", "plan.csv.gz", "plan.parquet", "plan.json"):
        assert run("solve", "table.csv", *asked, "--out", name)[0] == 0
        status, out, _ = run("verify", "table.csv", name, *asked, "--json", "-")
        assert status == 0
        answer = json.loads(out)
        assert answer["objective"] == pytest.approx(2.4)
        assert answer["feasible"] is True
        # A JSON plan brings its own prices; a table of names gets the native dual's.
        assert answer["bound_by"] == ("given" if name == "plan.json" else "lagrangian")


def test_verify_names_the_broken_limit_and_by_how_much(table, run):
    (table.parent / "plan.csv").write_text("query_id,model\na,small\nb,large\nc,large\n")
    status, out, _ = run("verify", "table.csv", "plan.csv", "--maximize", "quality",
                         "--budget", "9", "--capacity", "large=1", "--json", "-")  # fmt: skip
    assert status == 1
    answer = json.loads(out)
    assert answer["feasible"] is False
    assert answer["objective"] is None
    assert "capacity of large is exceeded by 1 requests (2 against 1)" in answer["verdict"]


def test_contradictory_limits_are_explained_and_can_be_relaxed(table, run):
    # Cost 6 buys the upgrade that gains .7, quality 2.0; 2.3 needs two upgrades, cost 9.
    asked = ("solve", "table.csv", "--maximize", "quality", "--budget", "6", "--quality-total",
             "2.3", "--out", "plan.csv")  # fmt: skip
    status, out, err = run(*asked)
    assert status == 0
    assert "exclude each other; without any one of them the others can be kept" in out
    assert "budget: 6 cost allowed; with all others kept 9 are needed: raise it by 3 cost" in out
    assert "plan.csv is not written" in err
    status, out, _ = run(*asked, "--json", "-")
    answer = json.loads(out)
    assert answer["infeasibility_proved"]
    members = answer["diagnosis"]["conflict"]
    assert [(m["name"], m["limit"], m["attained"]) for m in members] == [
        ("budget", 6, 9),
        ("quality_floor", 2.3, pytest.approx(2.0)),
    ]
    status, out, _ = run(*asked, "--relax", "--json", "-")
    assert status == 0
    answer = json.loads(out)
    assert answer["feasible"]
    assert answer["objective"] == pytest.approx(2.0)
    assert [m["name"] for m in answer["given_up"]] == ["quality_floor"]
    assert (table.parent / "plan.csv").read_text().count("large") == 1
    status, out, _ = run(*asked, "--relax")
    assert "quality_floor is lowered by 0.3 quality, from 2.3 to 2." in out


def test_relax_gives_up_nothing_where_the_limits_can_be_kept(table, run):
    status, out, _ = run("solve", "table.csv", "--minimize", "cost", "--relax")
    assert status == 0
    assert "Every limit can be kept; nothing is given up." in out


def test_verify_asks_a_second_solver(table, run):
    (table.parent / "plan.csv").write_text("query_id,model\na,large\nb,large\nc,small\n")
    asked = ("--maximize", "quality", "--budget", "9", "--with", "ortools:scip")
    status, out, _ = run("verify", "table.csv", "plan.csv", *asked)
    assert status == 0
    # Upgrading a and b gains .3 + .4; b and c would gain .4 + .7.
    assert "ortools:scip finds one better by 0.4 quality (20 %)" in out
    assert "c: small (0.2), where large (0.9) would do" in out
    status, out, _ = run("verify", "table.csv", "plan.csv", *asked, "--json", "-")
    answer = json.loads(out)
    assert answer["cross_check"]["agrees"] is False
    assert answer["cross_check"]["plan"]["objective"] == pytest.approx(2.4)
    assert answer["costliest"][0]["query"] == "c"
    status, _, err = run("verify", "table.csv", "plan.csv", *asked[:4], "--with", "nosuch")
    assert status == 2
    assert "no solver 'nosuch'" in err


@pytest.mark.parametrize("name", ["model.mps", "model.lp.gz"])
def test_an_exported_model_comes_back_as_a_certified_plan(table, run, name):
    asked = ("--maximize", "quality", "--budget", "9")
    status, out, err = run("export", "table.csv", name, *asked, "--map", "map.csv")
    assert (status, out) == (0, "")
    assert f"wrote {name}: 3 queries, 1 limits; minimised" in err
    assert "x.c.large,column,c,large" in (table.parent / "map.csv").read_text()
    other = QuietHighs()
    other.readModel(str(table.parent / name))
    other.run()
    for style in (0, 1):
        other.writeSolution(str(table.parent / "theirs.sol"), style)
        status, out, _ = run("verify", "table.csv", "theirs.sol", *asked, "--json", "-")
        assert status == 0
        answer = json.loads(out)
        assert answer["objective"] == pytest.approx(2.4)
        assert answer["solver"] == "given"


def test_a_model_or_solution_that_is_none_is_refused(table, run):
    asked = ("--maximize", "quality", "--budget", "9")
    status, _, err = run("export", "table.csv", "model.txt", *asked)
    assert status == 2
    assert "model.txt: a model is written as .mps, .lp" in err
    (table.parent / "wrong.sol").write_text("hello\n")
    status, _, err = run("verify", "table.csv", "wrong.sol", *asked)
    assert status == 2
    assert "no solution file of HiGHS, SCIP, CBC, Gurobi or MIPLIB" in err


def test_compare_writes_what_it_is_asked_for(table, run):
    asked = ("--maximize", "quality", "--budget", "9", "--solvers", "lagrangian, highs,greedy")
    status, out, err = run("compare", "table.csv", *asked, "--csv", "rows.csv", "--json",
                           "rows.json", "--plot", "gaps.svg", "--seeds", "0,1")  # fmt: skip
    assert status == 0
    assert "table: 3 queries x 2 models, 1 limits" in out
    assert "highs, seed 1" in out
    assert err.count("table  ") == 6
    answer = json.loads((table.parent / "rows.json").read_text())
    assert all(row["objective"] == pytest.approx(2.4) for row in answer["rows"])
    assert answer["warnings"] == []
    assert answer["machine"]["versions"]["dualroute"]
    assert (table.parent / "rows.csv").read_text().count("\n") == 7
    assert "<svg" in (table.parent / "gaps.svg").read_text()


def test_compare_refuses_before_it_spends_time(table, run):
    asked = ("table.csv", "--minimize", "cost")
    for words, said in (
        (("--solvers", "highs,nosuch"), "no solver 'nosuch'"),
        (("--solvers", "highs:nosuch"), "mode is 'nosuch'"),
        (("--plot", "gaps.gif"), "no figure"),
        (("--csv", "absent/rows.csv"), "absent"),
        (("--seeds", "a"), "--seeds is 'a'"),
    ):
        status, out, err = run("compare", *asked, *words)
        assert status == 2
        assert said in err
        assert out == ""


def test_contradictory_limits_are_answered_with_a_proof(table, run):
    status, out, _ = run(
        "solve", "table.csv", "--minimize", "cost", "--capacity", "1", "--json", "-"
    )
    assert status == 0
    answer = json.loads(out)
    assert answer["status"] == "infeasible"
    assert answer["infeasibility_proved"] is True
    # Three queries, and two models that take one each.
    assert answer["needed"] == pytest.approx(3)
    assert answer["held"] == pytest.approx(2)
    status, out, _ = run("solve", "table.csv", "--minimize", "cost", "--capacity", "1")
    assert "infeasible, proved" in out


@pytest.mark.parametrize("solver", ["highs", "lagrangian"])
def test_integer_infeasibility_is_proved_by_a_tree_or_not_at_all(
    tmp_path, run, monkeypatch, solver
):
    # Two tokens must be split evenly over two models that hold one each, by a single query:
    # half and half does it in the relaxation, no routing does.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("query_id,model,cost,tokens\nq,a,1,2\nq,b,1,2\n")
    (tmp_path / "l.toml").write_text('[[limit]]\ntype = "capacity"\ncolumn = "tokens"\nlimit = 1\n')
    status, out, _ = run("solve", "t.csv", "--minimize", "cost", "--limits", "l.toml",
                         "--solver", solver, "--json", "-")  # fmt: skip
    answer = json.loads(out)
    if solver == "lagrangian":
        assert status == 0
        assert answer["infeasibility_proved"] is True
        assert answer["proof_nodes"] >= 1
    else:
        assert status == 1
        assert answer["infeasibility_proved"] is False
        assert answer["verdict"].startswith("no routing")
        assert "prove" in answer["verdict"]


def test_limits_from_toml_and_mixed_objective(table, run):
    (table.parent / "limits.toml").write_text(
        '[[limit]]\ntype = "capacity"\nlimit = 1\nby = "tenant"\n'
        '[[limit]]\ntype = "metric_cap"\ncolumn = "tokens"\nmean = 16\n'
    )
    status, out, _ = run("solve", "table.csv", "--minimize", "cost + 0.5*tokens",
                         "--limits", "limits.toml", "--json", "-")  # fmt: skip
    assert status == 0
    answer = json.loads(out)
    # Tenant y's two queries must take different models; a goes small. Small and large differ by
    # 3 + 0.5 * 2 on each: 6 + 10 * 1 for a, b small, c large (or the other way round).
    assert answer["objective"] == pytest.approx((1 + 5) + (1 + 5) + (4 + 11))
    assert {line["pool"] for line in answer["limits"]} >= {"small, tenant=x", "large, tenant=y"}


def test_route_predicts_from_texts(table, run):
    (table.parent / "history.csv").write_text(
        "query_id,model,cost,quality,text\n"
        "h1,small,1,1,add two numbers\nh1,large,4,1,add two numbers\n"
        "h2,small,1,0,prove the theorem\nh2,large,4,1,prove the theorem\n"
    )
    (table.parent / "new.txt").write_text("add two numbers\nprove the theorem\n")
    status, out, err = run("route", "new.txt", "--history", "history.csv", "--maximize", "quality",
                           "--capacity", "1", "--out", "plan.csv", "--json", "-")  # fmt: skip
    assert status == 0
    assert "predicting 2 queries" in err
    assert json.loads(out)["n_queries"] == 2
    # One query each: the theorem goes to the model that proved it.
    assert (table.parent / "plan.csv").read_text() == "query_id,model\n1,small\n2,large\n"


def test_history_texts_from_a_file_of_their_own(table, run):
    (table.parent / "texts.csv").write_text("query_id,text\nc,gamma\na,alpha\nb,beta\n")
    (table.parent / "new.txt").write_text("alpha\n")
    words = ("route", "new.txt", "--history", "table.csv", "--history-queries", "texts.csv",
             "--minimize", "cost")  # fmt: skip
    assert run(*words)[0] == 0
    (table.parent / "texts.csv").write_text("query_id,text\na,alpha\nb,beta\n")
    status, _, err = run(*words)
    assert status == 2
    assert "texts.csv: 1 queries of the history have no text (first: 'c')" in err


BAD = [
    ("missing column", TABLE.replace("cost", "price", 1), ["--cost", "row 1", "'price'"]),
    ("not a number", TABLE.replace("b,small,1", "b,small,NaN"), ["column 'cost'", "row 4"]),
    ("negative cost", TABLE.replace("b,small,1", "b,small,-1"), ["column 'cost'", "row 4", "-1"]),
    ("percentages", TABLE.replace("1,0.5", "1,50"), ["column 'quality'", "row 4", "100"]),
    ("duplicate pair", TABLE + "a,small,1,0.6,x,10\n", ["row 8", "row 2", "'small'"]),
    ("missing pair", TABLE.replace("c,large,4,0.9,y,22\n", ""), ["'c'", "'large'", "1 of 6"]),
    ("empty", "", ["empty"]),
    ("no table", "just\nsome\nprose\n", ["query_id"]),
]


@pytest.mark.parametrize(("content", "fragments"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_bad_tables_end_in_one_line(tmp_path, run, monkeypatch, content, fragments):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.csv").write_text(content)
    status, out, err = run("solve", "bad.csv", "--minimize", "cost", "--quality-floor", "0.5",
                           "--out", "plan.csv")  # fmt: skip
    assert status == 2
    assert out == ""
    assert err.startswith("dualroute: bad.csv: ")
    assert err.count("\n") == 1
    for fragment in fragments:
        assert fragment in err
    assert not (tmp_path / "plan.csv").exists()


USAGE = [
    (("solve", "table.csv"), "exactly one of --minimize and --maximize"),
    (("solve", "table.csv", "--minimize", "cost", "--maximize", "quality"), "exactly one"),
    (("solve", "absent.csv", "--minimize", "cost"), "absent.csv: no such file"),
    (("solve", "table.csv", "--minimize", "latency"), "table.csv: no column 'latency'"),
    (("solve", "table.csv", "--minimize", "cost +"), "cannot read the objective"),
    (("solve", "table.csv", "--minimize", "cost", "--capacity", "larg=2"), "did you mean large"),
    (
        ("solve", "table.csv", "--minimize", "cost", "--capacity", "x"),
        "--capacity: 'x' is no number",
    ),
    (
        ("solve", "table.csv", "--minimize", "cost", "--capacity", "1", "--capacity", "2"),
        "two capac",
    ),
    (("solve", "table.csv", "--maximize", "quality", "--budget", "-9"), "--budget"),
    (("solve", "table.csv", "--maximize", "quality", "--budget", "nan"), "--budget"),
    (("solve", "table.csv", "--minimize", "cost", "--quality-floor", "1.5"), "--quality-floor"),
    (("solve", "table.csv", "--minimize", "cost", "--time-limit", "0"), "time_limit"),
    (("solve", "table.csv", "--minimize", "cost", "--gap", "-1"), "mip_rel_gap"),
    (("solve", "table.csv", "--minimize", "cost", "--solver", "oracle"), "no solver 'oracle'"),
    (("solve", "table.csv", "--minimize", "cost", "--feasibility-tolerance", "2"), "tolerance"),
    (("solve", "table.csv", "--minimize", "cost", "--out", "absent/p.csv"), "absent"),
    (("solve", "table.csv", "--minimize", "cost", "--out", "p.xlsx"), "p.xlsx"),
    (("solve", "table.csv", "--minimize", "cost", "--limits", "absent.toml"), "absent.toml"),
    (("solve", "table.csv", "--minimize", "cost", "--limits", "table.csv"), "not valid TOML"),
    (("solve", "table.csv", "--frobnicate"), "--frobnicate"),
    (("solve",), "TABLE"),
    (("solv",), "solv"),
    (("verify", "table.csv", "table.csv", "--minimize", "cost"), "table.csv"),
    (("route", "table.csv", "--history", "table.csv", "--minimize", "cost"), "table.csv"),
    (("demo", "--queries", "0"), "--queries"),
]


@pytest.mark.parametrize(("words", "fragment"), USAGE, ids=[" ".join(u[0]) for u in USAGE])
def test_unusable_requests_end_in_one_line(table, run, words, fragment):
    status, out, err = run(*words)
    assert status == 2
    assert out == ""
    assert err.startswith("dualroute: ")
    assert err.count("\n") == 1
    assert fragment in err


@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        ("limit = 2\n", "one [[limit]] table per limit"),
        ('[[limit]]\ntype = "capacity"\nlimi = 2\n', "limit 1: capacity has no field 'limi'"),
        ('[[limit]]\ntype = "budget"\n', "limit 1"),
        ("[[limit]]\nlimit = 2\n", "has no type"),
        ('[[limit]]\ntype = "speed"\n', "no limit 'speed'"),
        ('[[limit]]\ntype = "capacity"\nlimit = "two"\n', "give a number"),
        ('[[limit]]\ntype = "capacity"\nlimit = { huge = 2 }\n', "no model 'huge'"),
        ('[[limit]]\ntype = "capacity"\nlimit = 2\nby = "hour"\n', "'hour'"),
    ],
)
def test_bad_limit_files_end_in_one_line(table, run, content, fragment):
    (table.parent / "limits.toml").write_text(content)
    status, _, err = run("solve", "table.csv", "--minimize", "cost", "--limits", "limits.toml")
    assert status == 2
    assert err.count("\n") == 1
    assert fragment in err


def test_list_names_everything_registered(run):
    status, out, _ = run("list", "--json", "-")
    assert status == 0
    found = json.loads(out)
    assert {"greedy", "highs", "lagrangian", "lambda", "subgradient"} <= {
        entry["name"] for entry in found["solvers"]
    }
    assert all(entry["available"] and entry["summary"] for entry in found["solvers"])
    assert {"retrieval", "mean"} <= {entry["name"] for entry in found["predictors"]}
    assert {"budget", "quality_floor"} <= {entry["name"] for entry in found["limits"]}


def test_json_file_is_written_whole_and_text_still_printed(table, run):
    status, out, _ = run("solve", "table.csv", "--minimize", "cost", "--json", "answer.json")
    assert status == 0
    assert "Certificate" in out
    assert json.loads((table.parent / "answer.json").read_text())["objective"] == 3


def test_names_are_printed_as_they_are(table, run):
    odd = TABLE.replace("small", "[/]").replace("large", "[red]x\x1b[31m[/red]")
    (table.parent / "odd.csv").write_text(odd)
    status, out, _ = run("solve", "odd.csv", "--minimize", "cost", "--quality-floor", "0.75")
    assert status == 0
    assert "[/]" in out
    assert "[red]x\N{REPLACEMENT CHARACTER}[31m[/red]" in out


def test_a_plan_that_is_not_there_is_not_written_and_that_is_said(table, run):
    (table.parent / "old.csv").write_text("kept")
    status, _, err = run("solve", "table.csv", "--minimize", "cost", "--capacity", "1",
                         "--out", "old.csv")  # fmt: skip
    assert status == 0
    assert err == "dualroute: old.csv is not written: there is no routing that keeps the limits\n"
    assert (table.parent / "old.csv").read_text() == "kept"


def test_a_full_disk_ends_in_one_line(table, run):
    (table.parent / "full.csv").symlink_to("/dev/full")
    status, _, err = run("solve", "table.csv", "--minimize", "cost", "--out", "full.csv")
    assert status == 2
    assert err.startswith("dualroute: full.csv: cannot be written")
    assert err.count("\n") == 1


def test_the_lambda_solver_does_not_call_itself_enough_where_models_are_full(table, run):
    status, out, _ = run("solve", "table.csv", "--minimize", "cost", "--capacity", "small=2",
                         "--solver", "lambda")  # fmt: skip
    assert status == 0
    assert "single calibrated lambda" not in out


def test_version(run):
    assert run("--version")[:2] == (0, "0.1.0\n")


@pytest.mark.parametrize(
    "content",
    [
        '"routing": {"a": ["s"], "b": "small", "c": "small"}, "prices": null',
        '"routing": {"a": "small", "b": "small", "c": "small"}, "prices": [1]',
        '"routing": {"a": "small", "b": "small", "c": "small"}, "prices": {"budget": ["x"]}',
        '"routing": {"a": "small", "b": "small", "c": "small"}, "prices": {"budget": [-1]}',
        '"routing": {"a": "small", "b": "small"}',
        '"routing": {"a": "small", "b": "small", "c": "small", "d": "small"}',
        '"routing": {"a": "small", "b": "small", "c": "huge"}',
    ],
)
def test_bad_plan_files_end_in_one_line(table, run, content):
    text = '{"format": "dualroute plan", "version": 1, ' + content + "}"
    (table.parent / "plan.json").write_text(text)
    status, _, err = run("verify", "table.csv", "plan.json", "--minimize", "cost")
    assert status == 2
    assert err.startswith("dualroute: plan.json: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("solver", ["highs", "lagrangian"])
def test_ctrl_c_returns_the_best_so_far_certified(tmp_path, solver):
    # Generalized assignment of type D (Chu & Beasley 1997): cost falls as usage grows, and the
    # capacities are tight; at this size no solver proves the optimum within minutes.
    generator = np.random.default_rng(0)
    n, m = 200, 20
    tokens = generator.integers(1, 101, size=(n, m))
    cost = 111 - tokens + generator.integers(-10, 11, size=(n, m))
    lines = ["query_id,model,cost,tokens"]
    lines += [f"q{i},m{j},{cost[i, j]},{tokens[i, j]}" for i in range(n) for j in range(m)]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "limits.toml").write_text(
        f'[[limit]]\ntype = "capacity"\ncolumn = "tokens"\nlimit = {0.8 * tokens.sum() / m / m}\n'
    )
    words = ["solve", "t.csv", "--minimize", "cost", "--limits", "limits.toml"]
    process = subprocess.Popen(
        [sys.executable, "-c", "from dualroute.cli import main; main()", *words,
         "--solver", solver, "--time-limit", "100", "--json", "-"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    time.sleep(8)
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert time.monotonic() - started < 40  # numba ends a compilation before it hears
    assert err == b""
    answer = json.loads(out)
    assert answer["termination"] == "interrupted"
    assert answer["feasible"]
    assert answer["objective"] >= answer["certified_bound"] > 0
    assert process.returncode == 0


@pytest.mark.parametrize("name", ["plan.json", "plan.json.gz"])
def test_a_proof_travels_with_the_plan_and_is_checked(table, run, name):
    # 8 USD: the tree of docs/mathematics.md proves 2.0, where prices alone prove 2.2667.
    from dualroute.formulation import Budget
    from dualroute.planfile import write_plan
    from dualroute.proof import Node, Proof
    from dualroute.routing import verify
    from dualroute.tables import read_outcomes

    both = ((1,), (0,))
    nodes = (Node((0,), 1, both), Node((1,)), Node((), 0, both), Node((1,)), Node((2,)))
    vectors = np.array([[0.4 / 3], [0.4], [0.0]])
    proof = Proof(-2.05, vectors, np.zeros(3, bool), nodes, resolution=0.1)
    outcomes = read_outcomes("table.csv")
    routing = np.array([0, 0, 1])
    plan = verify(outcomes, routing, maximize="quality", limits=[Budget(8)], proof=proof)
    write_plan(name, plan)
    header, *lines = TABLE.splitlines()
    (table.parent / "turned.csv").write_text("\n".join([header, *reversed(lines)]) + "\n")
    for path in ("table.csv", "turned.csv"):  # queries and models are found by name
        words = ("verify", path, name, "--maximize", "quality", "--budget", "8", "--json", "-")
        status, out, _ = run(*words)
        answer = json.loads(out)
        assert status == 0
        assert answer["proved_optimal"] is True
        assert (answer["proof_nodes"], answer["proof_leaves"]) == (5, 3)
        assert answer["proof_flaw"] is None
    # For another budget the same tree proves what it may, and 2.4 is the optimum.
    status, out, _ = run(
        "verify", "table.csv", name, "--maximize", "quality", "--budget", "9", "--json", "-"
    )
    assert status == 0
    assert json.loads(out)["certified_bound"] >= 2.4 - 1e-12
    status, out, _ = run("verify", "table.csv", name, "--maximize", "quality", "--budget", "8")
    assert "by a tree of 5 nodes, 3 leaves" in out
    if name.endswith("gz"):
        return
    torn = json.loads((table.parent / name).read_text())
    torn["proof"]["tree"]["nodes"].pop()
    (table.parent / "torn.json").write_text(json.dumps(torn))
    status, out, _ = run(
        "verify", "table.csv", "torn.json", "--maximize", "quality", "--budget", "8", "--json", "-"
    )
    assert status == 0
    answer = json.loads(out)
    assert answer["proved_optimal"] is False
    assert answer["proof_flaw"] == "node root.1.1 is missing"
    torn["proof"]["tree"]["nodes"][0] = "first"
    (table.parent / "torn.json").write_text(json.dumps(torn))
    status, _, err = run("verify", "table.csv", "torn.json", "--maximize", "quality")
    assert status == 2
    assert err.count("\n") == 1
    assert "torn.json: node 0 of the proof is neither" in err


def test_a_plan_of_the_first_version_is_read(table, run):
    plan = {"format": "dualroute plan", "version": 1, "routing": dict.fromkeys("abc", "small")}
    (table.parent / "old.json").write_text(json.dumps(plan))
    status, out, _ = run(
        "verify", "table.csv", "old.json", "--maximize", "quality", "--budget", "3", "--json", "-"
    )
    assert status == 0
    assert json.loads(out)["objective"] == pytest.approx(1.3)


def test_a_torn_gzip_plan_is_told(table, run):
    (table.parent / "plan.json.gz").write_bytes(b"\x1f\x8b\x08\x00torn")
    status, _, err = run("verify", "table.csv", "plan.json.gz", "--maximize", "quality")
    assert status == 2
    assert "not whole gzip" in err
