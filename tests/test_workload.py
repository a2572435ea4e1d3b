"""The simulated workload: it meets its public figures, and is the same every time."""

import csv
import os
import subprocess
import sys
from importlib.resources import files

import numpy as np
import pytest

from dualroute.errors import OptionError
from dualroute.workload import figures, simulate

N = 40_000


@pytest.fixture(scope="module")
def large():
    return simulate(N, seed=11)


def test_every_figure_names_its_sources_and_date():
    text = files("dualroute").joinpath("data", "model_figures.csv").read_text("utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    assert len(rows) == len(figures()) == 8 * 5
    assert all(value for row in rows for value in row.values())
    assert len({(row["model"], row["kind"]) for row in rows}) == len(rows)


def test_accuracies_agree_with_the_table(large):
    # Abilities are solved so that the expectation is the table's accuracy p; a mean of k
    # independent 0/1 draws has standard error sqrt(p (1 - p) / k).
    quality = large.outcomes.column("quality")
    for figure in figures():
        drawn = quality[large.kinds == figure.kind, large.outcomes.model_index(figure.model)]
        error = np.sqrt(figure.accuracy * (1 - figure.accuracy) / drawn.size)
        assert abs(drawn.mean() - figure.accuracy) < 4 * error, figure


def test_output_tokens_agree_with_the_table(large):
    tokens = large.outcomes.column("output_tokens")
    for figure in figures():
        drawn = tokens[large.kinds == figure.kind, large.outcomes.model_index(figure.model)]
        error = drawn.std() / np.sqrt(drawn.size)
        assert abs(drawn.mean() - figure.mean_output_tokens) < 4 * error + 0.5, figure  # rounding


def test_cost_is_tokens_times_price(large):
    table = large.outcomes
    prices = {figure.model: (figure.price_in, figure.price_out) for figure in figures()}
    for j, model in enumerate(table.models):
        price_in, price_out = prices[model]
        tokens_in = table.column("input_tokens")[:, 0]
        tokens_out = table.column("output_tokens")[:, j]
        expected = (tokens_in * price_in + tokens_out * price_out) / 1e6
        assert np.array_equal(table.column("cost")[:, j], expected)


def test_tokens_are_counted_from_the_text(large):
    # Four characters a token, rounded up.
    assert large.outcomes.column("input_tokens").shape == (N, 1)
    assert large.outcomes.column("input_tokens")[7, 0] == -(-len(large.texts[7]) // 4)


def test_models_are_right_and_wrong_on_the_same_queries(large):
    # Independent models of these accuracies would agree by chance alone: phi = 0.
    for kind in np.unique(large.kinds):
        phi = np.corrcoef(large.outcomes.column("quality")[large.kinds == kind].T)
        assert phi[np.triu_indices(len(phi), 1)].min() > 0.1


def test_what_looks_hard_is_hard(large):
    assert large.difficulty.mean() == pytest.approx(0, abs=0.03)
    hard = large.difficulty > 0
    quality = large.outcomes.column("quality").mean(axis=1)
    for kind in np.unique(large.kinds):
        of_kind = large.kinds == kind
        assert quality[of_kind & ~hard].mean() > quality[of_kind & hard].mean() + 0.05


def test_the_text_shows_the_difficulty(large):
    # Number of sentences of a word problem: place, steps, question.
    of_kind = np.flatnonzero(large.kinds == "arithmetic")
    sentences = np.array([large.texts[i].count(". ") for i in of_kind])
    assert np.corrcoef(sentences, large.difficulty[of_kind])[0, 1] > 0.99


def test_few_texts_occur_twice():
    texts = simulate(10_000).texts
    assert len(set(texts)) > 9_950
    assert all(text.strip() for text in texts)


def test_same_seed_same_workload():
    one, two, other = simulate(500, seed=3), simulate(500, seed=3), simulate(500, seed=4)
    assert one.texts == two.texts != other.texts
    for name in one.outcomes.columns:
        first, second = one.outcomes.column(name), two.outcomes.column(name)
        assert first.tobytes() == second.tobytes()
    for name in one.outcomes.attributes:
        assert np.array_equal(one.outcomes.attribute(name), two.outcomes.attribute(name))


def test_another_process_and_thread_count_draw_the_same():
    code = (
        "import hashlib; from dualroute.workload import simulate; w = simulate(300, seed=5);"
        "h = hashlib.sha256('|'.join(w.texts).encode());"
        "[h.update(w.outcomes.column(c).tobytes()) for c in w.outcomes.columns];"
        "print(h.hexdigest())"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "OPENBLAS_NUM_THREADS": threads, "PYTHONHASHSEED": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "2")
    }
    assert len(seen) == 1


def test_leaving_a_model_out_changes_nothing_for_the_others():
    full = simulate(200, seed=1)
    names = (full.outcomes.models[5], full.outcomes.models[0])
    part = simulate(200, seed=1, models=names)
    assert part.texts == full.texts
    assert part.outcomes.models == names
    for column in ("cost", "quality", "output_tokens"):
        expected = full.outcomes.column(column)[:, [5, 0]]
        assert np.array_equal(part.outcomes.column(column), expected)


def test_one_query():
    workload = simulate(1)
    assert len(workload.texts) == workload.outcomes.n_queries == 1
    assert workload.outcomes.queries.tolist() == ["q000000"]


def test_the_note_says_simulated_and_when():
    note = simulate(2).note
    assert "simulated" in note
    assert "2024-08-11" in note
    assert "\n" not in note


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({"n_queries": 0}, "0 queries"),
        ({"n_queries": 5, "seed": -1}, "seed -1"),
        ({"n_queries": 5, "models": ["gpt-9"]}, "gpt-9"),
        ({"n_queries": 5, "models": []}, "no model"),
    ],
)
def test_unusable_arguments(arguments, found):
    with pytest.raises(OptionError, match=found):
        simulate(**arguments)
