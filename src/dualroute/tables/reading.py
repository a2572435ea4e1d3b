"""Outcomes, queries and routings from tables."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import polars as pl

from dualroute.arrays import Floats, Ints, Labels
from dualroute.errors import TableError
from dualroute.outcomes import Outcomes
from dualroute.tables.files import FrameTable, Table, content_of, lines_of, open_table
from dualroute.tables.rows import Rows, Rule, codes_of, strings
from dualroute.tables.words import PathLike, listed, show, source_of


@dataclass(frozen=True, slots=True, eq=False)
class Queries:
    """Texts to be routed.

    Attributes
    ----------
    ids
        Shape ``(n,)``, distinct strings.
    texts
        ``n`` texts.
    attributes
        Name to array ``(n,)`` of strings, for limits per group.
    """

    ids: Labels
    texts: tuple[str, ...]
    attributes: Mapping[str, Labels]


def read_outcomes(
    path: PathLike,
    *,
    cost: str | None = None,
    quality: str | None = None,
    columns: Sequence[str] = (),
    attributes: Sequence[str] = (),
    query: str = "query_id",
    model: str = "model",
) -> Outcomes:
    """Outcomes of ``n`` queries on ``m`` models, from a long or a wide table.

    A long table has one row per query and model (``query_id, model, cost, quality, ..``); a wide
    one has one row per query and a column per model and number (``query_id, small|cost,
    small|quality, ..``). Columns that nobody asks for are not read. Queries and models keep the
    order in which they first appear.

    Parameters
    ----------
    path
        CSV, TSV (gzipped or not) or Parquet.
    cost, quality
        The table's own names for the two roles. When not given: the column called ``cost``,
        else the only one whose name starts with ``cost``; likewise ``quality``. A table may
        lack a role that is not asked for.
    columns
        Further columns of numbers to read; the words ``cost`` and ``quality`` stand for the
        roles. In a wide table, a column without a model gives a grid ``(n, 1)``.
    attributes
        Columns of labels that belong to the query, such as ``tenant``; read as strings.
    query, model
        The columns that hold the query's and the model's name.

    Returns
    -------
    Outcomes
        Grids ``(n, m)`` under the table's own column names; ``queries`` and ``attributes`` are
        arrays of strings.

    Raises
    ------
    TableError
        If the file cannot be read, or a cell, row or column cannot be used; one line naming
        the file, the column, the row and what to do.
    """
    asked = _Asked(cost, quality, tuple(columns), tuple(attributes), query, model)
    return _outcomes(open_table(path, [query, model]), asked)


def outcomes_from_frame(
    frame: Any,
    *,
    cost: str | None = None,
    quality: str | None = None,
    columns: Sequence[str] = (),
    attributes: Sequence[str] = (),
    query: str = "query_id",
    model: str = "model",
) -> Outcomes:
    """Outcomes from a data frame of any library that narwhals knows (pandas, polars, pyarrow).

    Parameters
    ----------
    frame
        A long or wide table, as in `read_outcomes`.
    cost, quality, columns, attributes, query, model
        As in `read_outcomes`.

    Returns
    -------
    Outcomes
        As from `read_outcomes`.

    Raises
    ------
    TableError
        As from `read_outcomes`; the file is called "data frame", and its first row is row 1.
    """
    asked = _Asked(cost, quality, tuple(columns), tuple(attributes), query, model)
    return _outcomes(FrameTable.of(frame), asked)


def read_queries(
    path: PathLike,
    *,
    query: str = "query_id",
    text: str = "text",
    attributes: Sequence[str] = (),
) -> Queries:
    """Texts from a table, or from a ``.txt`` file with one query a line.

    Parameters
    ----------
    path
        CSV, TSV (gzipped or not) or Parquet; or a name that ends in ``.txt`` or ``.txt.gz``,
        whose blank lines are skipped.
    query
        The column that holds the query's name; without a column ``query_id``, and in a
        ``.txt`` file, queries are called ``1 .. n``.
    text
        The column that holds the text.
    attributes
        Columns of labels, such as ``tenant``; read as strings.

    Returns
    -------
    Queries
        In the order of the file.

    Raises
    ------
    TableError
        If the file cannot be read, a column is missing, a text or a name is empty, or a name
        appears twice.
    """
    source = source_of(path)
    if source.lower().removesuffix(".gz").endswith(".txt"):
        texts = lines_of(source, content_of(path))
        if attributes:
            raise TableError(
                f"{source}: a .txt file has one query a line and no column {attributes[0]!r}; "
                f"give a CSV or Parquet file with a header"
            )
        return Queries(_counted(len(texts)), texts, {})
    table = open_table(path, [query, text])
    named = query in table.names
    if text not in table.names:
        option = "name it with --text, or give a .txt file with one query a line"
        table.missing(text, option)
    if not named and query != "query_id":
        table.missing(query, "name it with --query")
    wanted = [*([query] if named else []), text, *attributes]
    for name in attributes:
        if name not in table.names:
            table.missing(name, "attributes are read from the table's own columns")
    rows = table.read(wanted)
    texts_of = rows.labels(text, "write the query's text, or drop the row", strip=False)
    if named:
        names = rows.labels(query, "give every query a name of its own")
        _distinct(rows, query, codes_of(names)[0], names)
        ids = strings(names)
    else:
        ids = _counted(rows.size)
    groups = {name: strings(rows.optional_labels(name)) for name in attributes}
    return Queries(ids, tuple(texts_of.to_list()), groups)


def read_routing(
    path: PathLike,
    outcomes: Outcomes,
    *,
    query: str = "query_id",
    model: str = "model",
) -> Ints:
    """The model chosen for every query, from a plan made by anyone.

    Parameters
    ----------
    path
        CSV, TSV (gzipped or not) or Parquet, with one row per query, in any order; columns
        other than the two are not read.
    outcomes
        The table that was routed: ``n`` queries, ``m`` models.
    query, model
        The columns that hold the query's and the model's name.

    Returns
    -------
    numpy.ndarray
        Shape ``(n,)``, model indices in the order of ``outcomes.queries``.

    Raises
    ------
    TableError
        If the file cannot be read, names a query or model that the outcomes lack, routes a
        query twice, or leaves one out.
    """
    table = open_table(path, [query, model])
    if query not in table.names and model not in table.names:
        table.no_table("a routing", f"{query!r}, {model!r}")
    for name, option in ((query, "--query"), (model, "--model")):
        if name not in table.names:
            table.missing(name, f"name it with {option}")
    rows = table.read([query, model])
    asked = rows.labels(query, "name the query")
    chosen = rows.labels(model, "name the model that answers the query")
    n = outcomes.n_queries
    position = {str(name): i for i, name in enumerate(outcomes.queries.tolist())}
    places = np.fromiter((position.get(name, -1) for name in asked), np.intp, rows.size)
    if (places < 0).any():
        k = int(np.argmax(places < 0))
        close = difflib.get_close_matches(asked[k], list(position)[:10_000], 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        rows.fail(
            query,
            k,
            f"query {show(asked[k])} is not in the table of outcomes{hint}; "
            f"drop the row, or add the query's outcomes",
        )
    _distinct(rows, query, places, asked, "routed twice; keep one of the rows")
    codes, names = codes_of(chosen)
    known = {name: j for j, name in enumerate(outcomes.models)}
    to_model = np.array([known.get(name, -1) for name in names], np.intp)
    picked: Ints = to_model[codes]
    if (picked < 0).any():
        k = int(np.argmax(picked < 0))
        try:
            outcomes.model_index(chosen[k])
        except TableError as error:
            rows.fail(model, k, str(error))
    if rows.size < n:
        left = np.ones(n, bool)
        left[places] = False
        first = outcomes.queries[int(np.argmax(left))]
        raise TableError(
            f"{table.source}: column {query!r} leaves out {n - rows.size} of {n} queries "
            f"(first: query {show(first)}); add a row for each"
        )
    routing = np.empty(n, np.intp)
    routing[places] = picked
    return routing


# What was asked for, and the columns that hold it -------------------------------------------


@dataclass(frozen=True, slots=True)
class _Asked:
    cost: str | None
    quality: str | None
    columns: tuple[str, ...]
    attributes: tuple[str, ...]
    query: str
    model: str

    def roles(self, table: Table, names: Sequence[str]) -> dict[str, str]:
        """Role to the table's own name, for the roles that the table has."""
        found = {}
        for role, own in (("cost", self.cost), ("quality", self.quality)):
            wanted = own is not None or role in self.columns
            candidates = [name for name in names if name.lower().startswith(role)]
            if own is not None:
                candidates = [own] if own in names else []
            elif role in names:
                candidates = [role]
            if len(candidates) == 1:
                found[role] = candidates[0]
            elif candidates:
                raise TableError(
                    f"{table.source}: several columns could be the {role}: "
                    f"{listed(candidates)}; pass --{role} NAME to choose one"
                )
            elif wanted:
                table.missing(own or role, f"name the {role} column with --{role}", names)
        return found

    def numbers(self, roles: Mapping[str, str]) -> list[str]:
        """The table's own names of every column of numbers to read, each once."""
        names = [*roles.values(), *(roles.get(name, name) for name in self.columns)]
        return list(dict.fromkeys(names))


def _outcomes(table: Table, asked: _Asked) -> Outcomes:
    known = table.names
    for_model = [name for name in known if "|" in name]
    if asked.model in known and asked.query in known:
        return _long(table, asked)
    if asked.query in known and for_model:
        return _wide(table, asked)
    if for_model and asked.model not in known:
        table.missing(asked.query, "name the column of query names with --query")
    roles = [n for n in known if n.lower().startswith(("cost", "quality"))]
    if asked.query not in known and asked.model not in known and not roles:
        looked = f"{asked.query!r}, {asked.model!r} (long) or {asked.query!r}, 'MODEL|cost' (wide)"
        table.no_table("a table of outcomes", looked)
    if asked.query not in known:
        table.missing(asked.query, "name the column of query names with --query")
    return table.missing(
        asked.model,
        "name the column of model names with --model, or give columns such as 'MODEL|cost'",
    )


def _long(table: Table, asked: _Asked) -> Outcomes:
    labels = {asked.query, asked.model}
    roles = asked.roles(table, [name for name in table.names if name not in labels])
    numbers = asked.numbers(roles)
    _require(table, numbers, asked.attributes)
    wanted = [asked.query, asked.model, *numbers, *asked.attributes]
    rows = table.read(wanted, set(numbers) - labels - set(asked.attributes))
    mend = "name it, or drop the row"
    names = rows.labels(asked.query, mend), rows.labels(asked.model, mend)
    values = rows.numbers({name: _rule(name, roles) for name in numbers})
    (of_query, queries), (of_model, models) = codes_of(names[0]), codes_of(names[1])
    n, m, size = len(queries), len(models), rows.size
    pair = of_query.astype(np.int64) * m + of_model
    # As many rows as pairs, and every pair reached: then each has exactly one row.
    complete = size == n * m
    if complete:
        reached = np.zeros(size, bool)
        reached[pair] = True
        complete = bool(reached.all())
    if not complete:
        _unpaired(rows, pair, queries, models, asked)
    grids: dict[str, Floats] = {}
    for name in numbers:
        grid = np.empty(size, values[name].dtype)
        grid[pair] = values.pop(name)
        grids[name] = grid.reshape(n, m)
    first = np.empty(n, np.intp)
    first[of_query[::-1]] = np.arange(size - 1, -1, -1)
    groups = {}
    for name in asked.attributes:
        column = rows.optional_labels(name)
        codes = codes_of(column)[0]
        differs = codes != codes[first][of_query]
        if differs.any():
            k = int(np.argmax(differs))
            before = int(first[of_query[k]])
            rows.fail(
                name,
                k,
                f"query {show(queries[int(of_query[k])])} has {show(column[k])} here and "
                f"{show(column[before])} in row {rows.row(before)}; give a query one value",
            )
        groups[name] = strings(column.gather(first))
    return _assemble(queries, models, grids, groups, roles)


def _wide(table: Table, asked: _Asked) -> Outcomes:
    # "small|cost": the last bar counts, as a model's name may hold one.
    split = [name.rpartition("|") for name in table.names if "|" in name]
    metrics = list(dict.fromkeys(metric for _, _, metric in split))
    plain = [name for name in table.names if "|" not in name and name != asked.query]
    roles = asked.roles(table, metrics)
    numbers = asked.numbers(roles)
    per_model = [name for name in numbers if name in metrics]
    per_query = [name for name in numbers if name not in metrics]
    _require(table, per_query, asked.attributes, [*plain, *metrics])
    if not per_model:
        table.missing("MODEL|cost", "give every model a column, such as 'small|cost'")
    models = tuple(dict.fromkeys(model for model, _, metric in split if metric in per_model))
    for model in models:
        have = [metric for metric in per_model if f"{model}|{metric}" in table.names]
        lacks = [metric for metric in per_model if metric not in have]
        if lacks:
            raise TableError(
                f"{table.source}: model {show(model)} has a column for {have[0]!r} but none for "
                f"{lacks[0]!r}; add the column {f'{model}|{lacks[0]}'!r}, or drop the model"
            )
    rules = {f"{j}|{name}": _rule(name, roles) for j in models for name in per_model}
    rules |= {name: _rule(name, roles) for name in per_query}
    wanted = [asked.query, *rules, *asked.attributes]
    rows = table.read(wanted, rules.keys() - {asked.query, *asked.attributes})
    names = rows.labels(asked.query, "name the query, or drop the row")
    values = rows.numbers(rules)
    _distinct(rows, asked.query, codes_of(names)[0], names)
    grids: dict[str, Floats] = {}
    for name in numbers:
        parts = [f"{j}|{name}" for j in models] if name in metrics else [name]
        dtype = np.result_type(*(values[part] for part in parts))
        grids[name] = np.empty((rows.size, len(parts)), dtype)
        for j, part in enumerate(parts):
            grids[name][:, j] = values.pop(part)
    groups = {name: strings(rows.optional_labels(name)) for name in asked.attributes}
    return _assemble(names, models, grids, groups, roles)


def _assemble(
    queries: pl.Series,
    models: Sequence[str] | pl.Series,
    grids: Mapping[str, Floats],
    groups: Mapping[str, Labels],
    roles: Mapping[str, str],
) -> Outcomes:
    return Outcomes(
        models=tuple(models),
        columns=grids,
        queries=strings(queries),
        attributes=groups,
        cost=roles.get("cost", "cost"),
        quality=roles.get("quality", "quality"),
    )


def _require(
    table: Table,
    numbers: Sequence[str],
    attributes: Sequence[str],
    known: Sequence[str] | None = None,
) -> None:
    for name in numbers:
        if name not in (known or table.names):
            table.missing(name, "correct the name, or add the column", known)
    for name in attributes:
        if name not in table.names:
            table.missing(name, "correct the name, or add the column")
    if not numbers and known is None:
        raise TableError(
            f"{table.source}: no column starts with 'cost' or 'quality'; the table has "
            f"{listed(table.names)}; name them with --cost and --quality"
        )


def _unpaired(
    rows: Rows,
    pair: Ints,
    queries: pl.Series,
    models: pl.Series,
    asked: _Asked,
) -> NoReturn:
    """Say which pair has two rows, or none; never expands to all pairs."""
    m = len(models)
    order = np.argsort(pair, kind="stable")
    present = pair[order]
    again = np.flatnonzero(present[1:] == present[:-1]) + 1
    if again.size:
        at = int(again[np.argmin(order[again])])
        k, before = int(order[at]), int(order[at - 1])
        i, j = divmod(int(pair[k]), m)
        rows.fail(
            asked.query,
            k,
            f"query {show(queries[i])} and model {show(models[j])} already have row "
            f"{rows.row(before)}; keep one of the two",
        )
    gaps = np.flatnonzero(present != np.arange(present.size))
    i, j = divmod(int(gaps[0]) if gaps.size else present.size, m)
    pairs = len(queries) * m
    raise TableError(
        f"{rows.source}: column {asked.model!r}, no row for query {show(queries[i])} and model "
        f"{show(models[j])} ({pairs - present.size} of {pairs} pairs are missing); add the "
        f"row, or drop the query or the model"
    )


def _distinct(
    rows: Rows,
    column: str,
    codes: Ints,
    names: pl.Series,
    problem: str = "named twice; give every query one row",
) -> None:
    order = np.argsort(codes, kind="stable")
    again = np.flatnonzero(codes[order][1:] == codes[order][:-1]) + 1
    if again.size:
        at = int(again[np.argmin(order[again])])
        k, before = int(order[at]), int(order[at - 1])
        where = f"rows {rows.row(before)} and {rows.row(k)}"
        rows.fail(column, k, f"query {show(names[k])} is {problem} ({where})")


def _rule(name: str, roles: Mapping[str, str]) -> Rule:
    if name == roles.get("cost"):
        mend = "a cost cannot be negative; correct it"
        return Rule(0.0, np.inf, mend, ", or name another column with --cost")
    if name == roles.get("quality"):
        mend = "a quality lies in [0, 1]; divide percentages by 100"
        return Rule(0.0, 1.0, mend, ", or name another column with --quality")
    return Rule()


def _counted(n: int) -> Labels:
    return np.array([*map(str, range(1, n + 1)), None], object)[:-1]
