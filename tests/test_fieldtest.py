"""A field test on simulated traffic, in Python and on the command line."""

import csv
import json
import math
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from dualroute import Budget, Capacity, Outcomes, TableError
from dualroute.cli import app, main
from dualroute.fieldreport import field_report, plot_field_test
from dualroute.fieldtest import field_test
from dualroute.report import print_report
from dualroute.workload import simulate

WHOLE = simulate(700, seed=5)
LOG, BATCH = np.arange(400), np.arange(400, 700)
TEXTS = [WHOLE.texts[i] for i in BATCH]
KNOWN = [WHOLE.texts[i] for i in LOG]
RULES = ("single", "blind", "lambda", "certified", "oracle")


def tried(**options):
    options = {"predictor": "retrieval", "rules": RULES, "resamples": 100, **options}
    return field_test(TEXTS, WHOLE.outcomes.take(BATCH), KNOWN, WHOLE.outcomes.take(LOG), **options)


@pytest.fixture(scope="module")
def crowded():
    limits = [Budget(0.4), Capacity(60)]
    return tried(capacity=1.5, maximize="quality", limits=limits)


def test_order_of_what_is_known(crowded):
    assert crowded.singles_aiq <= crowded.oracle_aiq
    assert crowded.predicted_aiq.value <= crowded.oracle_aiq
    by_name = {line.rule: line for line in crowded.rules}
    assert set(by_name) == set(RULES)
    # The oracle is the optimum on the truth within the same capacities.
    for line in crowded.rules:
        assert line.curve.aiq.value <= by_name["oracle"].curve.aiq.value + 1e-3
        assert line.gap >= -1e-9
        assert len(line.against) == 3
    assert by_name["certified"].gap == pytest.approx(0, abs=1e-5)
    assert by_name["certified"].against[1].difference == 0
    assert by_name["oracle"].cheapest_best > by_name["single"].cheapest_best
    assert crowded.capacity.tolist() == [math.ceil(1.5 * 300 / 8)] * 8


def test_the_regret_is_split_in_order(crowded):
    split = crowded.split
    assert split.unlimited >= split.truth >= split.plan - 1e-9
    assert split.solver_gap < 1e-3
    assert set(split.kept) == {"budget", "capacity"}
    assert split.kept["capacity"]


def test_report_and_json(crowded, capsys):
    print_report(field_report(crowded), width=140)
    shown = capsys.readouterr().out
    for words in ("AIQ", "oracle", "each model takes 57 requests", "Where the objective is lost"):
        assert words in shown
    values = json.loads(json.dumps(crowded.to_dict(), allow_nan=False))
    assert values["aiq"]["oracle"] == crowded.oracle_aiq
    assert [line["rule"] for line in values["rules"]] == list(RULES)
    assert values["rules"][2]["points"]
    assert values["regret"]["kept"]["capacity"] is True


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_plot(crowded, tmp_path, suffix):
    path = tmp_path / f"rules{suffix}"
    plot_field_test(crowded, path)
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG") if suffix == ".png" else b"<svg" in content


def test_without_rules_only_predictions_are_judged(tmp_path):
    test = tried(rules=(), predictor="mean")
    assert test.rules == ()
    assert test.split is None
    assert test.report is None
    quality = next(line for line in test.forecast if line.calibration is not None)
    assert quality.explained < 0.05  # means explain nothing about the means
    plot_field_test(test, tmp_path / "none.svg")


def test_two_models_have_a_gap_to_recover():
    two = Outcomes.from_arrays(
        np.tile([1.0, 4.0], (300, 1)), np.random.default_rng(0).random((300, 2)) * [0.5, 1.0]
    )
    test = field_test(TEXTS, two, TEXTS, two, predictor="mean", rules=(), resamples=50)
    # Predicted alike, so the strong model is called at random: half the gap, give or take.
    assert test.recovered.apgr.value == pytest.approx(0.5, abs=0.15)


def test_tables_that_do_not_fit():
    other = Outcomes.from_arrays([[1, 2]], [[0, 1]], ["x", "y"])
    with pytest.raises(TableError, match="different models"):
        field_test(TEXTS, WHOLE.outcomes.take(BATCH), ["t"], other)
    with pytest.raises(TableError, match="3 texts for 300 queries"):
        field_test(TEXTS[:3], WHOLE.outcomes.take(BATCH), KNOWN, WHOLE.outcomes.take(LOG))


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A long table of 120 simulated queries, with a text and a fold for each."""
    path = tmp_path_factory.mktemp("field") / "log.csv"
    outcomes = WHOLE.outcomes.take(np.arange(120))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        names = ("cost", "quality", "input_tokens", "output_tokens")
        writer.writerow(["query_id", "model", *names, "text", "fold"])
        grids = [np.broadcast_to(outcomes.column(name), (120, 8)) for name in names]
        for i in range(120):
            for j, model in enumerate(outcomes.models):
                numbers = [repr(float(grid[i, j])) for grid in grids]
                writer.writerow([f"q{i}", model, *numbers, WHOLE.texts[i], i % 4])
    return path


def run(*words):
    return CliRunner().invoke(app, ["evaluate", *map(str, words)])


def test_command_line(table, tmp_path):
    words = ["--holdout", "fold=2,3", "--predictor", "retrieval", "--resamples", 50]
    rules = ["--rules", "lambda,certified", "--crowd", 2, "--maximize", "quality", "--budget", 0.2]
    plot = tmp_path / "rules.png"
    done = run(table, *words, *rules, "--plot", plot, "--json", "-")
    assert done.exit_code == 0, done.output
    values = json.loads(done.stdout)
    assert values["n_history"] == values["n_queries"] == 60
    assert values["predictor"] == "retrieval"
    assert values["regret"]["solver_gap"] < 1e-3
    assert plot.stat().st_size > 1000


def test_costs_by_a_price_list_on_the_command_line(table, tmp_path):
    prices = tmp_path / "prices.csv"
    models = WHOLE.outcomes.models
    prices.write_text("model,input,output\n" + "".join(f"{m},1,2\n" for m in models))
    words = ["--holdout", "fold=3", "--predictor", "mean", "--rules", "none", "--prices", prices]
    done = run(table, *words, "--json", "-")
    assert done.exit_code == 0, done.output
    values = json.loads(done.stdout)
    assert values["prices"].endswith("prices.csv")
    assert {line["column"] for line in values["forecast"]} >= {"input_tokens", "output_tokens"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "exactly one of --history and --holdout"),
        (["--holdout", "fold"], "write COLUMN=VALUE"),
        (["--holdout", "fold=9"], "no query has fold = '9'; there are 0, 1, 2, 3"),
        (["--holdout", "fold=0,1,2,3"], "none is left to learn"),
        (["--holdout", "fold=3", "--rules", "magic"], "no rule 'magic'"),
        (["--holdout", "fold=3", "--crowd", "0.5"], "cannot take the batch"),
        (["--holdout", "fold=3", "--budget", "1"], "limits need an objective"),
        (["--holdout", "fold=3", "--predictor", "nobody"], "no predictor 'nobody'"),
        (["--holdout", "fold=3", "--predictor", "mean", "--embedding", "tfidf"], "reads no text"),
        (["--holdout", "fold=3", "--plot", "rules.txt"], "png"),
        (["--holdout", "fold=3", "--resamples", "0"], "--resamples is 0"),
    ],
)
def test_what_cannot_be_evaluated(table, capsys, monkeypatch, words, message):
    monkeypatch.setattr(sys, "argv", ["dualroute", "evaluate", str(table), *words])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert message in capsys.readouterr().err
