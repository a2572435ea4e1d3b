"""Price lists, and costs made of them and of tokens."""

import json
import os
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from dualroute import MissingDependencyError, Outcomes, TableError, read_outcomes, registry
from dualroute.predictors.mean import Mean
from dualroute.predictors.priced import Priced
from dualroute.pricing import (
    TokenPrices,
    genai_prices,
    litellm_prices,
    read_token_prices,
    token_prices,
)

SHEET = (
    "model,price_in_usd_per_mtok,price_out_usd_per_mtok,date\n"
    "a,1,4,2026-11-01\nb,0.5,2,2026-11-02\n"
)
BY_HAND = TokenPrices(("a", "b"), np.array([1.0, 0.5]), np.array([4.0, 2.0]), "by hand")


def sheet(tmp_path, text=SHEET, name="prices.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_prices_and_costs_by_hand(tmp_path):
    prices = token_prices(str(sheet(tmp_path)), ["b", "a"])
    assert prices.models == ("b", "a")
    assert prices.input.tolist() == [0.5, 1]
    assert prices.output.tolist() == [2, 4]
    assert prices.date == "2026-11-02"
    assert prices.words.endswith("prices.csv, 2026-11-02")
    # A million in and half a million out: .5 + 1 and 1 + 2.
    cost = prices.cost(np.array([[1e6]]), np.array([[5e5, 5e5]]))
    assert cost.tolist() == [[1.5, 3.0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model,input\na,1\n", "has the columns model, input; a price list has model"),
        ("model,input,output\na,1,lots\n", "line 2, column 'output': found 'lots'"),
        ("model,input,output\na,1,-3\n", "output price of 'a' is -3"),
        ("model,input,output\na,nan,3\n", "input price of 'a' is nan"),
        ("model,input,output\n", "holds no prices"),
    ],
)
def test_a_sheet_that_cannot_be_used(tmp_path, text, message):
    with pytest.raises(TableError, match=message):
        read_token_prices(sheet(tmp_path, text))


def test_an_unknown_model_and_a_missing_file(tmp_path):
    with pytest.raises(
        TableError, match="no price of model 'gpt-4o-mni'; did you mean gpt-4o-mini"
    ):
        TokenPrices(("gpt-4o-mini",), np.ones(1), np.ones(1), "list").take(["gpt-4o-mni"])
    with pytest.raises(TableError, match="cannot be read"):
        read_token_prices(tmp_path / "none.csv")
    with pytest.raises(TableError, match="2 input prices for 1 models"):
        TokenPrices(("a",), np.ones(2), np.ones(1), "list")


def test_the_list_of_genai_prices():
    names = ["gpt-4o-2024-08-06", "claude-3-5-sonnet-20240620", "openai/gpt-4o", "gemini-1.5-flash"]
    prices = genai_prices(names)
    assert prices.models == tuple(names)
    assert (prices.input > 0).all()
    assert ((prices.output / prices.input >= 3) & (prices.output / prices.input <= 6)).all()
    assert prices.input[0] == prices.input[2]
    assert date.fromisoformat(prices.date) <= date.today()
    assert prices.source.startswith("genai-prices ")
    with pytest.raises(TableError, match="no price of model 'no-such-thing-9z'"):
        token_prices("genai-prices", ["no-such-thing-9z"])


def test_the_table_of_litellm(tmp_path):
    table = {
        "sample_spec": {"input_cost_per_token": "as text"},
        "a": {"input_cost_per_token": 2e-6, "output_cost_per_token": 8e-6},
    }
    path = sheet(tmp_path, json.dumps(table), "litellm.json")
    prices = litellm_prices(["a"], path)
    assert (prices.input[0], prices.output[0]) == (pytest.approx(2), pytest.approx(8))
    assert token_prices(str(path), ["a"]).models == ("a",)
    with pytest.raises(TableError, match="no price of model 'sample_spec'"):
        litellm_prices(["sample_spec"], path)
    with pytest.raises(TableError, match="is no table of models"):
        litellm_prices(["a"], sheet(tmp_path, "[]", "list.json"))


def test_absent_packages(monkeypatch):
    monkeypatch.setitem(sys.modules, "genai_prices.data_snapshot", None)
    with pytest.raises(MissingDependencyError, match=r"dualroute\[prices\]"):
        genai_prices(["gpt-4o"])
    monkeypatch.setattr("dualroute.pricing.find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError, match="pip install litellm"):
        litellm_prices(["a"])


def log(tokens, out=((10.0, 20.0),), **columns):
    n = len(tokens)
    return Outcomes(
        ("a", "b"),
        {
            "quality": np.full((n, 2), 0.5),
            "input_tokens": np.asarray(tokens, float),
            "output_tokens": np.tile(out, (n, 1)),
            **columns,
        },
    )


def test_tokens_are_counted_and_priced():
    # Model a adds 7 tokens to every prompt and takes one for two characters; b one for each.
    texts = ["x" * k for k in (2, 4, 10, 30)]
    tokens = [[7 + len(text) / 2, len(text)] for text in texts]
    told = Priced(Mean(), BY_HAND).fit(texts, log(tokens)).predict(["y" * 20])
    assert told.column("input_tokens") == pytest.approx(np.array([[17.0, 20.0]]))
    # (17 * 1 + 10 * 4) and (20 * .5 + 20 * 2) millionths.
    assert told.column("cost") == pytest.approx(np.array([[57e-6, 50e-6]]))
    assert told.cost == "cost"


def test_a_log_with_costs_keeps_its_column_and_the_list_decides():
    texts = ["one", "two words", "three words here"]
    held = log([[5, 5]] * 3, cost=np.full((3, 2), 9.0))
    priced = Priced("mean", BY_HAND).fit(texts, held)
    assert (priced.predict(texts).column("cost") < 1e-3).all()
    assert priced.priced_by == "by hand"
    assert Priced.variant("mean").inner == "mean"
    assert registry.create("predictors", "priced:mean").inner == "mean"


def test_a_log_without_tokens_or_prices():
    table = Outcomes.from_arrays([[1, 2]], [[0, 1]], ["a", "b"])
    with pytest.raises(TableError, match="need the column 'input_tokens'"):
        Priced("mean", BY_HAND).fit(["x"], table)
    with pytest.raises(TableError, match="no price of model 'b'"):
        Priced("mean", BY_HAND.take(["a"])).fit(["x"], log([[1, 1]]))


def test_prices_and_tokens_give_the_costs_of_a_real_table():
    if "DUALROUTE_DATA" not in os.environ:
        pytest.skip("DUALROUTE_DATA does not name the directory of observed tables")
    folder = Path(os.environ["DUALROUTE_DATA"]) / "bfcl_2024_08"
    tokens = ["input_tokens", "output_tokens"]
    outcomes = read_outcomes(folder / "outcomes.csv.gz", columns=tokens)
    prices = token_prices(str(folder / "models.csv"), outcomes.models)
    cost = prices.cost(*(outcomes.column(name) for name in tokens))
    assert np.allclose(cost, outcomes.column("cost"), rtol=1e-9, atol=1e-15)
