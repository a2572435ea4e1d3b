"""A table of outcomes: what it refuses, in which words, and what it leaves alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import small_outcomes

from dualroute.errors import TableError
from dualroute.outcomes import Outcomes

COST = [[1.0, 4.0], [2.0, 3.0], [0.5, 6.0]]
QUALITY = [[0.5, 0.9], [0.4, 0.8], [1.0, 0.0]]


def table(**changes):
    """Three queries, two models."""
    return Outcomes.from_arrays(
        **{"cost": COST, "quality": QUALITY, "models": ["small", "large"], **changes}
    )


def with_value(grid, i, j, value):
    return [
        [value if (i, j) == (a, b) else x for b, x in enumerate(row)] for a, row in enumerate(grid)
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"cost": with_value(COST, 2, 0, np.nan)},
            "column 'cost', query 2, model 'small': found nan; give a finite number",
        ),
        (
            {"quality": with_value(QUALITY, 0, 1, np.inf)},
            "column 'quality', query 0, model 'large': found inf; give a finite number",
        ),
        (
            {"cost": with_value(COST, 1, 1, -2.0)},
            "column 'cost', query 1, model 'large': found -2; a cost cannot be negative",
        ),
        (
            {"quality": with_value(QUALITY, 1, 0, 1.2)},
            r"column 'quality', query 1, model 'small': found 1\.2; a quality lies in \[0, 1\]; "
            "divide percentages by 100",
        ),
        (
            {"quality": with_value(QUALITY, 1, 0, -0.1)},
            r"column 'quality', query 1, model 'small': found -0\.1; a quality lies in",
        ),
        (
            {"cost": [[1.0, -1.0]]},
            "column 'cost', every query, model 'large': found -1",
        ),
        (
            {"cost": [[1.0], [1.0], [-1.0]], "queries": ["a", "b", "c"]},
            "column 'cost', query c, every model: found -1",
        ),
        (
            {"columns": {"latency": [[0.1, np.nan]]}},
            "column 'latency', every query, model 'large': found nan",
        ),
        ({"cost": [[1.0, 2.0, 3.0]]}, r"column 'cost' has shape \(1, 3\), which does not fit"),
        ({"cost": [[1.0, 2.0]] * 2}, r"column 'cost' has shape \(2, 2\), which does not fit 3"),
        ({"cost": [1.0, 2.0]}, r"column 'cost' has shape \(2,\); give queries x models"),
        ({"cost": np.empty((0, 2))}, r"column 'cost' has shape \(0, 2\)"),
        ({"cost": [["a", "b"]]}, "column 'cost' holds values that are no numbers"),
        ({"cost": [[1.0], [1.0, 2.0]]}, "column 'cost' holds values that are no numbers"),
        ({"models": ["small", "small"]}, "model 'small' is named twice"),
        ({"models": ["small"]}, r"column 'cost' has shape \(3, 2\), which does not fit"),
        ({"queries": [7, 8]}, "2 query labels for 3 queries; give one each"),
        (
            {"attributes": {"tenant": ["a", "b"]}},
            r"attribute 'tenant' has shape \(2,\); give one value for each of the 3 queries",
        ),
    ],
)
def test_a_value_that_cannot_be_used_is_named(changes, message):
    with pytest.raises(TableError, match=message):
        table(**changes)


def test_a_table_needs_a_model_and_a_column():
    with pytest.raises(TableError, match="at least one model and one column"):
        Outcomes(models=("a",), columns={})
    with pytest.raises(TableError, match="at least one model and one column"):
        Outcomes(models=(), columns={"cost": np.ones((1, 1))})


def test_arrays_are_read_only_and_the_users_own_stay_writeable_and_unchanged():
    cost, quality = np.array(COST), np.array(QUALITY)
    labels, tenant = np.array(["x", "y", "z"]), np.array([1, 1, 2])
    outcomes = table(cost=cost, quality=quality, queries=labels, attributes={"tenant": tenant})
    held = [*outcomes.columns.values(), outcomes.queries, outcomes.attribute("tenant")]
    for array in held:
        with pytest.raises(ValueError, match="read-only"):
            array[0] = array[0]
    for mine, before in ((cost, COST), (quality, QUALITY)):
        assert mine.flags.writeable
        assert mine.tolist() == before
    assert labels.flags.writeable
    assert tenant.flags.writeable


def test_float32_stays_and_other_numbers_become_float64():
    outcomes = table(
        cost=np.array(COST, np.float32),
        quality=[[True, False]],
        columns={"tokens": [[3], [1], [2]]},
    )
    assert outcomes.column("cost").dtype == np.float32
    assert outcomes.column("quality").dtype == np.float64
    assert outcomes.column("tokens").dtype == np.float64
    assert outcomes.column("quality").tolist() == [[1.0, 0.0]]


def test_queries_and_models_are_numbered_when_they_have_no_names():
    outcomes = Outcomes.from_arrays(cost=COST, quality=QUALITY)
    assert outcomes.models == ("m0", "m1")
    assert outcomes.queries.tolist() == [0, 1, 2]
    assert (outcomes.n_queries, outcomes.n_models) == (3, 2)


def test_labels_alone_can_say_how_many_queries_there_are():
    outcomes = Outcomes.from_arrays(
        cost=[[1, 4]], quality=[[0.5, 0.9]], queries=["a", "b", "c", "d"]
    )
    assert outcomes.n_queries == 4
    assert outcomes.take(np.array([3, 0])).queries.tolist() == ["d", "a"]


def test_taking_queries_keeps_their_order_labels_and_groups():
    outcomes = table(
        queries=["x", "y", "z"],
        columns={"latency": [[0.1, 0.2]], "tokens": [[10], [20], [30]]},
        attributes={"tenant": ["a", "b", "c"]},
    )
    taken = outcomes.take(np.array([2, 0]))
    assert taken.queries.tolist() == ["z", "x"]
    assert taken.column("cost").tolist() == [[0.5, 6.0], [1.0, 4.0]]
    assert taken.column("latency").tolist() == [[0.1, 0.2]]
    assert taken.column("tokens").tolist() == [[30], [10]]
    assert taken.attribute("tenant").tolist() == ["c", "a"]
    assert taken.models == outcomes.models
    assert outcomes.n_queries == 3


@given(outcomes=small_outcomes(), data=st.data())
def test_taking_queries_reads_the_same_numbers(outcomes, data):
    n, shape = outcomes.n_queries, (outcomes.n_queries, outcomes.n_models)
    queries = np.array(data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=n)))
    taken = outcomes.take(queries)
    for name, grid in outcomes.columns.items():
        found = np.broadcast_to(taken.column(name), (queries.size, shape[1]))
        assert (found == np.broadcast_to(grid, shape)[queries]).all()


def test_roles_name_columns_of_any_name():
    outcomes = Outcomes(
        models=("a", "b"),
        columns={"usd": np.array(COST), "score": np.array(QUALITY)},
        cost="usd",
        quality="score",
    )
    assert outcomes.name_of("cost") == "usd"
    assert outcomes.name_of("usd") == "usd"
    assert outcomes.column("quality").tolist() == QUALITY
    with pytest.raises(TableError, match="no column 'latency'; the table has 'usd', 'score'"):
        outcomes.column("latency")


def test_roles_carry_their_range_with_them():
    with pytest.raises(TableError, match=r"column 'usd'.*a cost cannot be negative"):
        Outcomes(models=("a",), columns={"usd": np.array([[-1.0]])}, cost="usd")
    with pytest.raises(TableError, match=r"column 'score'.*a quality lies in \[0, 1\]"):
        Outcomes(models=("a",), columns={"score": np.array([[90.0]])}, quality="score")
    # Any other column may hold any finite number.
    assert table(columns={"profit": [[-5.0, 700.0]]}).column("profit").tolist() == [[-5, 700]]


def test_an_unknown_name_is_answered_with_those_that_exist():
    outcomes = table(attributes={"tenant": ["a", "b", "c"]})
    assert outcomes.model_index("large") == 1
    with pytest.raises(TableError, match=r"no model 'lagre' in the table; did you mean large"):
        outcomes.model_index("lagre")
    with pytest.raises(TableError, match=r"no model 'zzzz'.*did you mean small, large"):
        outcomes.model_index("zzzz")
    with pytest.raises(TableError, match=r"no attribute 'hour'.*the table has 'tenant'"):
        outcomes.attribute("hour")
    with pytest.raises(TableError, match="the table has none"):
        table().attribute("hour")
