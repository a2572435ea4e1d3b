import json

import pytest

from dualroute.demo import run_demo
from dualroute.report import demo_report, print_report


@pytest.fixture(scope="module")
def demo():
    return run_demo(800, n_history=800, seed=1)


def test_native_solver_and_highs_agree_on_the_predictions(demo):
    assert demo.plan.certificate.feasible
    assert demo.exact.certificate.feasible
    # Each is within its own proved gap of the same optimum (the higher the better).
    best = max(demo.plan.objective, demo.exact.objective)
    assert best <= min(demo.plan.certified_bound, demo.exact.certified_bound)
    assert demo.plan.certificate.mip_rel_gap < 1e-3


def test_the_optimum_on_the_truth_is_above_what_the_plan_realised(demo):
    # The plan keeps the same capacities; its cost on the truth may differ from the budget, so
    # compare with the bound at the plan's own prices of a budget that wide.
    budget = next(line for line in demo.clairvoyant.limits() if line.name == "budget")
    wider = max(0.0, demo.realised.cost - budget.limit) * budget.price
    reach = (demo.clairvoyant.certified_bound + wider) / demo.plan.outcomes.n_queries
    assert demo.realised.quality <= reach + 1e-3


def test_it_says_that_it_is_simulated_and_what_was_compared(demo, capsys):
    print_report(demo_report(demo))
    out = capsys.readouterr().out
    for words in ("simulated", "Certificate", "certified bound", "lambda rule", "highs",
                  "interval", "Knowing every answer"):  # fmt: skip
        assert words in out


def test_json_is_plain_and_complete(demo):
    answer = json.loads(json.dumps(demo.to_dict(), allow_nan=False))
    assert answer["simulated"] is True
    assert answer["highs"]["solver"] == "highs"
    assert answer["lambda"]["solver"] == "lambda"
    assert {line["name"] for line in answer["limits"]} == {"budget", "quality_floor", "capacity"}
    assert set(answer["against_lambda_at_equal_cost"]) >= {"difference", "low", "high", "level"}


def test_same_seed_same_plan():
    one, two = (run_demo(400, n_history=400, seed=1) for _ in range(2))
    assert one.plan.assignment.tolist() == two.plan.assignment.tolist()
    assert one.workload.texts == two.workload.texts
