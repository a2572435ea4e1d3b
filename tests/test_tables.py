"""Tables on disk: what is read back, and what a person is told when a file is no good."""

import gzip
import io
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dualroute.errors import TableError
from dualroute.outcomes import Outcomes
from dualroute.tables import (
    Queries,
    outcomes_from_frame,
    read_outcomes,
    read_queries,
    read_routing,
    write_atomically,
    write_outcomes,
    write_queries,
    write_routing,
)

GOOD = b"""query_id,model,cost,quality,tenant,note
a,small,0.1,0.5,north,
a,large,0.4,0.75,north,x
b,small,0.2,0.25,south,nan
b,large,0.8,1,south,"two, with
a line"
"""


def written(folder, content, name="table.csv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def message_of(call):
    """The message of a TableError, which is one line whatever the file holds."""
    with pytest.raises(TableError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    assert "\r" not in message
    assert len(message) < 1000
    return message


def assert_equal(left, right):
    assert left.models == right.models
    assert left.queries.tolist() == right.queries.tolist()
    assert (left.cost, left.quality) == (right.cost, right.quality)
    assert list(left.columns) == list(right.columns)
    for name in left.columns:
        np.testing.assert_array_equal(left.columns[name], right.columns[name])
    assert {k: v.tolist() for k, v in left.attributes.items()} == {
        k: v.tolist() for k, v in right.attributes.items()
    }


# What is read --------------------------------------------------------------------------------


def test_long_table(tmp_path):
    outcomes = read_outcomes(written(tmp_path, GOOD), attributes=["tenant"])
    assert outcomes.models == ("small", "large")
    assert outcomes.queries.tolist() == ["a", "b"]
    assert outcomes.column("cost").tolist() == [[0.1, 0.4], [0.2, 0.8]]
    assert outcomes.column("quality").tolist() == [[0.5, 0.75], [0.25, 1.0]]
    assert outcomes.attribute("tenant").tolist() == ["north", "south"]
    assert set(outcomes.columns) == {"cost", "quality"}


def test_rows_in_any_order_keep_first_appearance(tmp_path):
    table = "query_id,model,cost\n7,y,1\n3,x,2\n3,y,3\n7,x,4\n"
    outcomes = read_outcomes(written(tmp_path, table))
    assert outcomes.queries.tolist() == ["7", "3"]
    assert outcomes.models == ("y", "x")
    assert outcomes.column("cost").tolist() == [[1, 4], [3, 2]]


def test_wide_table_with_a_number_per_query(tmp_path):
    table = "query_id,tokens,s|cost,s|quality,l|quality,l|cost,l|note\nq,12,1,.5,.75,2,?\n"
    outcomes = read_outcomes(written(tmp_path, table), columns=["tokens"])
    assert outcomes.models == ("s", "l")
    assert outcomes.column("cost").tolist() == [[1, 2]]
    assert outcomes.column("quality").tolist() == [[0.5, 0.75]]
    assert outcomes.column("tokens").tolist() == [[12]]


def test_only_the_last_bar_splits_a_wide_name(tmp_path):
    table = "query_id,a|b|cost,a|c|cost\nq,1,2\n"
    assert read_outcomes(written(tmp_path, table)).models == ("a|b", "a|c")


def test_roles_are_found_by_prefix_or_named(tmp_path):
    path = written(tmp_path, "query_id,model,cost_usd,judge,quality_v2\nq,m,3,0.5,1\n")
    found = read_outcomes(path)
    assert (found.cost, found.quality) == ("cost_usd", "quality_v2")
    named = read_outcomes(path, quality="judge", columns=["cost", "quality_v2"])
    assert (named.cost, named.quality) == ("cost_usd", "judge")
    assert list(named.columns) == ["cost_usd", "judge", "quality_v2"]
    assert named.column("quality").tolist() == [[0.5]]


def test_a_role_may_be_missing(tmp_path):
    outcomes = read_outcomes(written(tmp_path, "query_id,model,quality\nq,m,0.5\n"))
    assert list(outcomes.columns) == ["quality"]


@pytest.mark.parametrize(
    "mend",
    [
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: text.replace(b"\n", b"\r"),
        lambda text: text.replace(b",", b";"),
        lambda text: text.replace(b",", b"\t"),
        lambda text: text.replace(b",", b" , "),
        lambda text: text.replace(b"0.2,", b'" 0.2 ",'),
        lambda text: text.replace(b"b,small", b"\nb,small"),
        lambda text: b"\n\n" + text + b"\n\n",
        lambda text: text.rstrip(b"\n"),
        lambda text: text.replace(b"query_id", b'"query_id"'),
        gzip.compress,
        lambda text: gzip.compress(text[:40]) + gzip.compress(text[40:]),
    ],
    ids=[
        "BOM",
        "CRLF",
        "CR",
        "semicolons",
        "tabs",
        "spaces",
        "quoted number",
        "blank line",
        "blank edges",
        "no last line end",
        "quoted header",
        "gzip",
        "gzip of two members",
    ],
)
def test_dialects_read_as_the_plain_table(tmp_path, mend):
    plain = GOOD.replace(b'"two, with\na line"', b"two")
    expected = read_outcomes(written(tmp_path, plain, "plain.csv"))
    assert_equal(read_outcomes(written(tmp_path, mend(plain), "other.csv")), expected)


def test_content_counts_not_the_name(tmp_path):
    expected = read_outcomes(written(tmp_path, GOOD))
    pl.read_csv(GOOD).write_parquet(tmp_path / "really_parquet.csv.gz")
    assert_equal(read_outcomes(tmp_path / "really_parquet.csv.gz"), expected)
    assert_equal(read_outcomes(written(tmp_path, GOOD, "really_csv.parquet")), expected)
    packed = gzip.compress((tmp_path / "really_parquet.csv.gz").read_bytes())
    assert_equal(read_outcomes(written(tmp_path, packed, "packed")), expected)


def test_true_and_false_are_one_and_zero(tmp_path):
    table = "query_id,model,quality\na,m,True\nb,m,false\n"
    assert read_outcomes(written(tmp_path, table)).column("quality").tolist() == [[1], [0]]


def test_texts_of_many_lines_and_long_ones(tmp_path):
    texts = ['say "hi",\n\nthen go', "x" * 200_000, " spaced ", "é\r\nü"]
    frame = pl.DataFrame({"query_id": list("abcd"), "text": texts, "tenant": [1, 2, 1, 2]})
    frame.write_csv(tmp_path / "q.csv")
    queries = read_queries(tmp_path / "q.csv", attributes=["tenant"])
    assert queries.texts == tuple(texts)
    assert queries.ids.tolist() == list("abcd")
    assert queries.attributes["tenant"].tolist() == ["1", "2", "1", "2"]


def test_a_stray_quotation_mark_inside_a_cell(tmp_path):
    table = 'query_id,text\na,a 5" disk\nb,a 6" disk\n'
    assert read_queries(written(tmp_path, table)).texts == ('a 5" disk', 'a 6" disk')


def test_lines_of_a_text_file(tmp_path):
    content = b'\xef\xbb\xbfWhat is "this"?\r\n\n  \nAnd, that?'
    queries = read_queries(written(tmp_path, content, "queries.txt"))
    assert queries.texts == ('What is "this"?', "And, that?")
    assert queries.ids.tolist() == ["1", "2"]


def test_queries_without_names_are_counted(tmp_path):
    queries = read_queries(written(tmp_path, "text\none\ntwo\n"))
    assert queries.ids.tolist() == ["1", "2"]


def test_importing_outcomes_loads_no_table_library():
    code = "import sys, dualroute.outcomes; sys.exit('polars' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Round trip ----------------------------------------------------------------------------------

labels = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="\0|"), min_size=1
).filter(lambda text: text == text.strip() and text.isprintable())


@st.composite
def tables(draw):
    """Outcomes with a further column, and a label per query."""
    queries = draw(st.lists(labels, min_size=1, max_size=6, unique=True))
    models = draw(st.lists(labels, min_size=1, max_size=4, unique=True))
    shape = (len(queries), len(models))

    def grid(low, high):
        number = st.floats(low, high, allow_nan=False, allow_infinity=False)
        count = len(queries) * len(models)
        return np.array(draw(st.lists(number, min_size=count, max_size=count))).reshape(shape)

    return Outcomes(
        models=tuple(models),
        columns={"cost_usd": grid(0, 1e12), "quality": grid(0, 1), "seconds": grid(-1e9, 1e9)},
        queries=np.array([*queries, None], object)[:-1],
        attributes={"tenant": np.array([draw(labels) for _ in queries], object)},
        cost="cost_usd",
    )


def long_frame(outcomes):
    n, m = outcomes.n_queries, outcomes.n_models
    return pl.DataFrame(
        {
            "query_id": np.repeat(outcomes.queries, m).tolist(),
            "model": list(outcomes.models) * n,
            **{name: grid.ravel() for name, grid in outcomes.columns.items()},
            "tenant": np.repeat(outcomes.attributes["tenant"], m).tolist(),
        }
    )


def wide_frame(outcomes):
    pairs = [(j, name) for j in range(outcomes.n_models) for name in outcomes.columns]
    numbers = {f"{outcomes.models[j]}|{name}": outcomes.columns[name][:, j] for j, name in pairs}
    labels_of = {
        "query_id": outcomes.queries.tolist(),
        "tenant": outcomes.attributes["tenant"].tolist(),
    }
    return pl.DataFrame(labels_of | numbers)


@given(outcomes=tables())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_round_trip_through_every_form(tmp_path, outcomes):
    asked = {"columns": ["seconds"], "attributes": ["tenant"]}
    for frame in (long_frame(outcomes), wide_frame(outcomes)):
        frame.write_csv(tmp_path / "t.csv")
        frame.write_csv(tmp_path / "t.tsv", separator="\t")
        (tmp_path / "t.csv.gz").write_bytes(gzip.compress((tmp_path / "t.csv").read_bytes()))
        frame.write_parquet(tmp_path / "t.parquet")
        for name in ("t.csv", "t.tsv", "t.csv.gz", "t.parquet"):
            assert_equal(read_outcomes(tmp_path / name, **asked), outcomes)
        assert_equal(outcomes_from_frame(frame, **asked), outcomes)
        assert_equal(outcomes_from_frame(frame.lazy(), **asked), outcomes)


# More of one separator in a name than the header has of the other.
@pytest.mark.parametrize("name", [";;", ";;;;;;;;", ",,,,,,,,", "a;model;b", '";";;', "a\t\t\t\tb"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_names_that_hold_separators_round_trip(tmp_path, name, separator):
    half = np.full((2, 1), 0.5)
    outcomes = Outcomes(
        models=(name,),
        columns={"cost_usd": half, "quality": half, "seconds": half},
        queries=np.array([name, "a"], object),
        attributes={"tenant": np.array([name, name], object)},
        cost="cost_usd",
    )
    path = tmp_path / "table.csv"
    for frame in (long_frame(outcomes), wide_frame(outcomes)):
        frame.write_csv(path, separator=separator)
        assert_equal(read_outcomes(path, columns=["seconds"], attributes=["tenant"]), outcomes)


@pytest.mark.parametrize("name", [";;;", ";;;;;;;;", "a\t\t\t\tb"])
def test_columns_whose_names_hold_separators_round_trip(tmp_path, name):
    half = np.full((1, 1), 0.5)
    group = {name: np.array(["x"], object)}
    queries = np.array(["a"], object)
    outcomes = Outcomes(("m",), {"cost": half, "quality": half}, queries, group)
    write_outcomes(tmp_path / "o.csv", outcomes)
    assert_equal(read_outcomes(tmp_path / "o.csv", attributes=[name]), outcomes)
    write_queries(tmp_path / "q.csv", Queries(queries, ("hi",), group))
    read = read_queries(tmp_path / "q.csv", attributes=[name])
    assert (read.texts, read.attributes[name].tolist()) == (("hi",), ["x"])
    write_routing(tmp_path / "r.csv", ["a"], ["m"], {name: [1]})
    assert read_routing(tmp_path / "r.csv", outcomes).tolist() == [0]


@given(content=st.binary(max_size=200) | st.text('qmo,;|"\n\r 1.\té', max_size=60).map(str.encode))
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@pytest.mark.parametrize("head", [b"", b"q,m,o\n", b"q,o|m,m|m\n", b"PAR1", b"\x1f\x8b"])
def test_any_bytes_are_read_or_refused_in_one_line(tmp_path, head, content):
    path = written(tmp_path, head + content)
    for read in (
        lambda: read_outcomes(path, query="q", model="m", cost="o"),
        lambda: read_outcomes(path, query="q", model="m", cost="m"),
        lambda: read_queries(path, query="q", text="m"),
    ):
        said = "table.csv"
        try:
            read()
        except TableError as error:
            said = str(error)
        assert "table.csv" in said
        assert "\n" not in said


# Bad files -----------------------------------------------------------------------------------

HEADER = "query_id,model,cost,quality\n"
ROWS = "a,s,1,.5\na,l,2,.6\nb,s,3,.7\nb,l,4,.8\n"


def spoilt(old, new):
    assert ROWS.count(old) == 1
    return HEADER + ROWS.replace(old, new)


def parquet(**columns):
    target = io.BytesIO()
    pl.DataFrame(columns, strict=False).write_parquet(target)
    return target.getvalue()


BAD = {
    "empty file": (b"", ["the file is empty", "header"]),
    "only white space": (b"\n \n", ["the file is empty"]),
    "header only": (HEADER, ["no rows", "'query_id', 'model'", "add rows"]),
    "PNG": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)), ["does not look like", "binary"]),
    "spreadsheet": (b"PK\x03\x04" + bytes(100), ["does not look like", "save it as CSV"]),
    "JSON": ('[{"query_id": "a",\n "model": "s"}]', ["does not look like", "JSON", "convert"]),
    "UTF-16": (GOOD.decode().encode("utf-16"), ["UTF-16", "save it as CSV in UTF-8"]),
    "prose": (
        "It was the best of times, it was the worst of times.\n" * 10,
        ["does not look like a table of outcomes", "'query_id', 'model'", "'It was the best"],
    ),
    "no query column": (
        "queryid,model,cost\na,s,1\n",
        ["no column 'query_id' in row 1", "did you mean 'queryid'", "--query"],
    ),
    "no model column": (
        "query_id,Models,cost\na,s,1\n",
        ["no column 'model'", "did you mean 'Models'", "--model", "MODEL|cost"],
    ),
    "no number": (
        "query_id,model,price\na,s,1\n",
        ["no column starts with 'cost'", "'price'", "--cost"],
    ),
    "two costs": (
        "query_id,model,cost_usd,cost_eur\na,s,1,2\n",
        ["'cost_usd', 'cost_eur'", "--cost"],
    ),
    "column twice": (
        "query_id,model,cost,cost\na,s,1,2\n",
        ["column 'cost'", "row 1", "3 and 4", "rename"],
    ),
    "empty cell": (spoilt("b,s,3", "b,s,"), ["column 'cost', row 4", "empty", "give a number"]),
    "NaN": (spoilt(".7", "NaN"), ["column 'quality', row 4", "found NaN", "finite"]),
    "inf": (spoilt("b,l,4", "b,l,-inf"), ["column 'cost', row 5", "found -inf", "finite"]),
    "too large": (spoilt("b,l,4", "b,l,1e999"), ["column 'cost', row 5", "1e999", "finite"]),
    "word": (spoilt("a,l,2", "a,l,abc"), ["column 'cost', row 3", "'abc'", "--cost"]),
    "decimal comma": (spoilt("b,s,3", 'b,s,"12,5"'), ["column 'cost', row 4", "'12,5'", "12.5"]),
    "percent": (spoilt(".7", "70%"), ["column 'quality', row 4", "'70%'", "divided by 100"]),
    "decimal comma under semicolons": (
        "query_id;model;cost\na;s;0,5\n",
        ["column 'cost', row 2", "'0,5'", "0.5"],
    ),
    "the topmost cell": (
        spoilt("2,.6\nb,s,3,.7", "2,x\nb,s,y,.7"),
        ["column 'quality', row 3", "'x'", "--quality"],
    ),
    "after a blank line": (spoilt("b,s,3", "\n\nb,s,x"), ["column 'cost', row 6", "'x'"]),
    "negative cost": (spoilt("a,l,2", "a,l,-2"), ["column 'cost', row 3", "-2", "negative"]),
    "percentages": (spoilt(".8", "80"), ["column 'quality', row 5", "80", "by 100"]),
    "pair twice": (
        HEADER + ROWS + "a,l,2,.6\n",
        ["column 'query_id', row 6", "'a'", "'l'", "row 3", "keep one"],
    ),
    "pair twice in place of another": (
        spoilt("b,l", "a,l"),
        ["row 5", "'a'", "'l'", "row 3", "keep one"],
    ),
    "pair missing": (
        HEADER + ROWS.replace("b,s,3,.7\n", ""),
        ["column 'model'", "'b'", "'s'", "1 of 4 pairs", "add the row, or drop"],
    ),
    "last pair missing": (
        HEADER + ROWS.replace("b,l,4,.8\n", ""),
        ["'b'", "'l'", "1 of 4 pairs"],
    ),
    "empty query": (spoilt("b,s", ",s"), ["column 'query_id', row 4", "empty", "name it"]),
    "blank query": (spoilt("b,s", "  ,s"), ["column 'query_id', row 4", "empty"]),
    "empty model": (spoilt("b,s", 'b,""'), ["column 'model', row 4", "empty", "name it"]),
    "too few cells": (spoilt("b,s,3,.7", "b,s,3"), ["row 4", "3 cells", "4 columns", "'quality'"]),
    "too many cells": (spoilt("b,s,3,.7", "b,s,3,.7,9"), ["row 4", "5 cells", "4 columns"]),
    "too few and too many": (
        spoilt("a,l,2,.6\nb,s,3,.7", "a,l,2\nb,s,3,.7,9"),
        ["row 3", "3 cells", "4 columns"],
    ),
    "too few, at a column not read": (
        "query_id,model,cost,note\na,s,1,x\nb,s,2\n",
        ["row 3", "3 cells", "'note'"],
    ),
    "open quotation mark": (spoilt("b,s,3", 'b,"s,3'), ["row 4", "close the quotation mark"]),
    "latin-1": (
        (HEADER + ROWS).replace("b,s", "b,sé").encode("latin-1"),
        ["column 'model', row 4", "0xe9", "UTF-8", "iconv"],
    ),
    "gzip cut short": (gzip.compress(GOOD)[:-12], ["incomplete gzip", "pack it again"]),
    "gzip with a flaw": (
        gzip.compress(GOOD)[:30] + b"\xff\xff" + gzip.compress(GOOD)[32:],
        ["damaged", "gzip", "pack it again"],
    ),
    "gzip of nothing": (gzip.compress(b""), ["the file is empty"]),
    "Parquet cut short": (parquet(query_id=["a"])[:-9], ["Parquet", "write it again"]),
    "Parquet of four bytes": (b"PAR1", ["Parquet", "write it again"]),
    "Parquet with a flaw": (
        b"PAR1" + b"\xa5" * 30 + parquet(query_id=["a"], model=["s"], cost=[1.0])[34:],
        ["Parquet", "write it again"],
    ),
    "Parquet of strings": (
        parquet(query_id=["a", "b"], model=["s", "s"], cost=["1.5", "x"]),
        ["column 'cost', row 2", "'x'", "--cost"],
    ),
    "Parquet of lists": (
        parquet(query_id=["a"], model=["s"], cost=[[1.5]]),
        ["column 'cost', row 1", "List", "give numbers"],
    ),
    "Parquet with a gap": (
        parquet(query_id=["a", "b"], model=["s", "s"], cost=[1.5, None]),
        ["column 'cost', row 2", "empty"],
    ),
    "Parquet without a name": (
        parquet(query_id=["a", None], model=["s", "s"], cost=[1.5, 2]),
        ["column 'query_id', row 2", "empty"],
    ),
    "Parquet without rows": (
        parquet(query_id=[], model=[], cost=[]),
        ["no rows", "'query_id'"],
    ),
    "wide without a quality": (
        "query_id,s|cost,s|quality,l|cost\na,1,.5,2\n",
        ["model 'l'", "'cost'", "none for 'quality'", "'l|quality'"],
    ),
    "wide with an empty cell": (
        "query_id,s|cost,l|cost\na,1,2\nb,1,\n",
        ["column 'l|cost', row 3", "empty"],
    ),
    "wide with a query twice": (
        "query_id,s|cost\na,1\nb,1\na,1\n",
        ["column 'query_id', row 4", "'a'", "rows 2 and 4", "twice"],
    ),
    "wide without names": ("id,s|cost\na,1\n", ["no column 'query_id'", "--query"]),
    "wide without a role": (
        "query_id,s|note\na,1\n",
        ["no column 'MODEL|cost'", "'s|note'", "'small|cost'"],
    ),
}


@pytest.mark.parametrize(("content", "fragments"), BAD.values(), ids=BAD)
def test_a_bad_file_is_named_with_its_mend(tmp_path, content, fragments):
    path = written(tmp_path, content)
    message = message_of(lambda: read_outcomes(path))
    assert message.startswith(f"{path}: ")
    for fragment in fragments:
        assert fragment in message
    packed = written(tmp_path, gzip.compress(path.read_bytes()), "packed.csv.gz")
    if path.read_bytes()[:2] != b"\x1f\x8b":
        again = message_of(lambda: read_outcomes(packed))
        assert again.removeprefix(str(packed)) == message.removeprefix(str(path))


def test_a_path_that_is_no_file(tmp_path):
    assert "no such file; check the path" in message_of(lambda: read_outcomes(tmp_path / "x.csv"))
    assert "is a folder" in message_of(lambda: read_outcomes(tmp_path))
    assert "check the path" in message_of(lambda: read_outcomes("a\0b"))
    assert "check the path" in message_of(lambda: read_outcomes("a\nb.csv"))


@pytest.mark.parametrize(
    ("asked", "fragments"),
    [
        ({"cost": "price"}, ["no column 'price'", "--cost"]),
        ({"quality": "qualty"}, ["did you mean 'quality'", "--quality"]),
        ({"columns": ["seconds"]}, ["no column 'seconds'"]),
        ({"columns": ["tenant"]}, ["column 'tenant', row 2", "'north'", "no number"]),
        ({"attributes": ["tennant"]}, ["no column 'tennant'", "did you mean 'tenant'"]),
        ({"attributes": ["cost"]}, ["column 'cost', row 3", "query 'a'", "'0.4'", "row 2"]),
        ({"query": "id"}, ["no column 'id'", "--query"]),
    ],
)
def test_a_column_asked_for_must_be_there(tmp_path, asked, fragments):
    path = written(tmp_path, GOOD)
    message = message_of(lambda: read_outcomes(path, **asked))
    assert all(fragment in message for fragment in [str(path), *fragments]), message


def test_a_million_lines_of_prose_are_refused_quickly(tmp_path):
    path = written(tmp_path, "It was the best of times, it was the worst of times.\n" * 10**6)
    start = time.perf_counter()
    message = message_of(lambda: read_outcomes(path))
    assert time.perf_counter() - start < 5  # 0.1 s where written: no row is parsed
    assert "does not look like a table" in message


def test_parquet_numbers_as_strings_are_read(tmp_path):
    path = written(tmp_path, parquet(query_id=[1, 2], model=["s", "s"], cost=[" 1.5", "2e-3"]))
    outcomes = read_outcomes(path)
    assert outcomes.column("cost").tolist() == [[1.5], [0.002]]
    assert outcomes.queries.tolist() == ["1", "2"]


def test_data_frames(tmp_path):
    frame = pl.DataFrame({"query_id": [1, 2], "model": ["s", "s"], "cost": [1.5, -2]})
    message = message_of(lambda: outcomes_from_frame(frame))
    assert "data frame: column 'cost', row 2" in message
    assert "no usable data frame" in message_of(lambda: outcomes_from_frame([1, 2]))


def test_pandas_frames():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    table = {"query_id": [1, 1], "model": ["s", "l"], "cost": [1.5, 2], "x": [object(), None]}
    outcomes = outcomes_from_frame(pandas.DataFrame(table))
    assert outcomes.column("cost").tolist() == [[1.5, 2]]
    assert outcomes.queries.tolist() == ["1"]
    mixed = pandas.DataFrame(table | {"cost": [1.5, "x"]})
    assert "column 'cost', row 2: found 'x'" in message_of(lambda: outcomes_from_frame(mixed))


@pytest.mark.parametrize(
    ("content", "fragments"),
    [
        ("query_id,question\na,b\n", ["no column 'text'", "'question'", "--text"]),
        ("query_id,text\na,hi\na,ho\n", ["column 'query_id', row 3", "'a'", "rows 2 and 3"]),
        ("query_id,text\na,hi\nb,\n", ["column 'text', row 3", "empty", "drop"]),
        ("query_id,text\na,hi\n,ho\n", ["column 'query_id', row 3", "empty"]),
        ("query_id,text\na,hi, you\n", ["row 2", "3 cells", "quote cells"]),
        ("query_id,text\na,caf\xe9\n".encode("latin-1"), ["column 'text', row 2", "UTF-8"]),
    ],
)
def test_bad_queries(tmp_path, content, fragments):
    path = written(tmp_path, content)
    message = message_of(lambda: read_queries(path))
    assert all(fragment in message for fragment in [str(path), *fragments]), message


def test_bad_text_files(tmp_path):
    blank = written(tmp_path, " \n\n", "blank.txt")
    assert "holds no query" in message_of(lambda: read_queries(blank))
    binary = written(tmp_path, b"a\0b", "binary.txt")
    assert "binary" in message_of(lambda: read_queries(binary))
    lines = written(tmp_path, "a\nb", "lines.txt")
    assert "'tenant'" in message_of(lambda: read_queries(lines, attributes=["tenant"]))


# Routings ------------------------------------------------------------------------------------


@pytest.fixture
def outcomes():
    ones = np.full((3, 2), 0.5)
    return Outcomes.from_arrays(ones, ones, ["small", "large"], queries=["a", "b", "c"])


@pytest.mark.parametrize("name", ["plan.csv", "plan.csv.gz", "plan.parquet"])
def test_a_routing_round_trips_in_any_order(tmp_path, outcomes, name):
    path = tmp_path / name
    write_routing(path, ["c", "a", "b"], ["large", "small", "large"], {"regret": [0.5, 0, 1]})
    assert read_routing(path, outcomes).tolist() == [0, 1, 1]
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_integer_queries_match_their_strings(tmp_path):
    half = np.full((2, 1), 0.5)
    outcomes = Outcomes.from_arrays(half, half, ["m"])
    write_routing(tmp_path / "p.csv", outcomes.queries, ["m", "m"])
    assert read_routing(tmp_path / "p.csv", outcomes).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("rows", "fragments"),
    [
        ("a,small\nb,small\nz,small\n", ["column 'query_id', row 4", "'z'", "not in the table"]),
        ("a,small\nb,smal\nc,large\n", ["column 'model', row 3", "'smal'", "did you mean small"]),
        ("a,small\nc,large\n", ["leaves out 1 of 3", "'b'", "add a row"]),
        ("a,small\nb,small\nc,large\nb,large\n", ["row 5", "'b'", "rows 3 and 5", "twice"]),
        ("a,small\nb,\nc,large\n", ["column 'model', row 3", "empty"]),
    ],
)
def test_bad_routings(tmp_path, outcomes, rows, fragments):
    path = written(tmp_path, "query_id,model\n" + rows)
    message = message_of(lambda: read_routing(path, outcomes))
    assert all(fragment in message for fragment in [str(path), *fragments]), message


def test_a_routing_needs_its_columns(tmp_path, outcomes):
    path = written(tmp_path, "query_id,choice\na,small\n")
    assert "no column 'model'" in message_of(lambda: read_routing(path, outcomes))
    path = written(tmp_path, "some prose\n")
    assert "does not look like a routing" in message_of(lambda: read_routing(path, outcomes))


# Writing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, OSError(28, "No space left")])
def test_nothing_is_left_half_written(tmp_path, error):
    path = written(tmp_path, "before")

    def write(target):
        target.write_text("half")
        raise error

    with pytest.raises(TableError if isinstance(error, OSError) else error):
        write_atomically(path, write)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_writing_replaces_the_file_a_link_points_to(tmp_path):
    path = written(tmp_path, "before")
    link = tmp_path / "link.csv"
    link.symlink_to(path)
    write_atomically(link, lambda target: target.write_text("after"))
    assert link.is_symlink()
    assert path.read_text() == "after"


def test_writing_to_a_device():
    write_atomically(os.devnull, lambda target: target.write_text("gone"))
    assert not Path(os.devnull).is_file()


def test_where_nothing_can_be_written(tmp_path):
    rows = (["a"], ["m"])
    path = tmp_path / "no" / "plan.csv"
    assert f"{tmp_path / 'no'} does not exist; create it" in message_of(
        lambda: write_routing(path, *rows)
    )
    assert "is a folder" in message_of(lambda: write_atomically(tmp_path, Path.touch))
    message = message_of(lambda: write_routing(tmp_path / "plan.xlsx", *rows))
    assert "end it in .csv, .csv.gz or .parquet" in message
    message = message_of(lambda: write_routing(tmp_path / "plan.csv", ["a"], []))
    assert "different lengths" in message
    assert list(tmp_path.iterdir()) == []


# Real tables ---------------------------------------------------------------------------------


@pytest.mark.skipif("DUALROUTE_DATA" not in os.environ, reason="DUALROUTE_DATA names no folder")
@pytest.mark.parametrize(
    ("name", "label", "cost"),
    [
        ("zeroeval", "benchmark", "cost_usd"),
        ("bfcl_2024_08", "category", "cost_usd"),
        ("routellm", "benchmark", "cost_usd"),
        ("llmrouter_ulab", "benchmark", "cost_usd_nominal"),
    ],
)
def test_real_tables(name, label, cost):
    folder = Path(os.environ["DUALROUTE_DATA"]) / name
    outcomes = read_outcomes(folder / "outcomes.csv.gz", columns=["input_tokens"])
    queries = read_queries(folder / "queries.csv.gz", attributes=[label, "fold"])
    assert outcomes.queries.tolist() == queries.ids.tolist()
    assert (outcomes.cost, outcomes.quality) == (cost, "quality")
    frame = pl.read_csv(folder / "outcomes.csv.gz", infer_schema_length=None)
    assert outcomes.n_queries * outcomes.n_models == frame.height
    assert outcomes.column("cost").sum() == pytest.approx(frame[cost].sum())
