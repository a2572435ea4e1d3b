"""Tables on disk: outcomes, queries and routings, read from and written to files.

A table is CSV, TSV, either of them gzipped, or Parquet, told apart by content. Whatever is wrong
with one ends in a single line that names the file, the column, the row and the mend. Rows are
numbered as a spreadsheet does: in a text table the header is row 1 and a quoted cell of many
lines is one row; Parquet and data frames have no header row, so their data start at row 1.

Reading is vectorised. Only a text table that the fast reader cannot take, or that does not add
up, is gone through again record by record, to find the first row that is wrong.
"""

import codecs
import csv
import difflib
import gzip
import io
import os
import re
import secrets
import sys
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import narwhals as nw
import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from dualroute.arrays import Floats, Ints, Labels
from dualroute.errors import TableError
from dualroute.outcomes import Outcomes

PathLike: TypeAlias = str | os.PathLike[str]

_BOM = codecs.BOM_UTF8
_HEADER_BYTES = 1 << 24  # a header longer than this belongs to no table
_CHUNK_BYTES = 1 << 24
_QUOTE = 0x22
_SPREADSHEETS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
# A panic inside polars is no Exception, and a corrupt file can cause one.
_UNREADABLE = (
    pl.exceptions.PolarsError,
    pl.exceptions.PanicException,
    OSError,
    ValueError,
    TypeError,
)


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
    return _outcomes(_open(path), asked)


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
    return _outcomes(_FrameTable.of(frame), asked)


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
    source = _source(path)
    if source.lower().removesuffix(".gz").endswith(".txt"):
        texts = _lines(source, _content(path))
        if attributes:
            raise TableError(
                f"{source}: a .txt file has one query a line and no column {attributes[0]!r}; "
                f"give a CSV or Parquet file with a header"
            )
        return Queries(_counted(len(texts)), texts, {})
    table = _open(path)
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
        _distinct(rows, query, _codes(names)[0], names)
        ids = _strings(names)
    else:
        ids = _counted(rows.size)
    groups = {name: _strings(rows.optional_labels(name)) for name in attributes}
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
    table = _open(path)
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
            f"query {_show(asked[k])} is not in the table of outcomes{hint}; "
            f"drop the row, or add the query's outcomes",
        )
    _distinct(rows, query, places, asked, "routed twice; keep one of the rows")
    codes, names = _codes(chosen)
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
            f"(first: query {_show(first)}); add a row for each"
        )
    routing = np.empty(n, np.intp)
    routing[places] = picked
    return routing


def write_routing(
    path: PathLike,
    queries: ArrayLike,
    models: ArrayLike,
    extra: Mapping[str, ArrayLike] | None = None,
) -> None:
    """Write a routing as a table with columns ``query_id``, ``model`` and any others.

    Parameters
    ----------
    path
        Where to; a name that ends in ``.csv``, ``.csv.gz`` or ``.parquet``.
    queries, models
        Shape ``(n,)``, the names of the queries and of the models chosen for them.
    extra
        Further columns, each ``(n,)``.

    Raises
    ------
    TableError
        If the suffix is none of these, the lengths differ, or the file cannot be written.
    """
    _write_table(path, {"query_id": queries, "model": models, **(extra or {})})


def write_outcomes(path: PathLike, outcomes: Outcomes) -> None:
    """Write outcomes as a long table that `read_outcomes` reads: one row per query and model.

    Parameters
    ----------
    path
        Where to; a name that ends in ``.csv``, ``.csv.gz`` or ``.parquet``.
    outcomes
        ``n`` queries by ``m`` models; attributes become columns, the same in every row of a
        query.

    Raises
    ------
    TableError
        If the suffix is none of these, or the file cannot be written.
    """
    n, m = outcomes.n_queries, outcomes.n_models
    table: dict[str, ArrayLike] = {
        "query_id": np.repeat(outcomes.queries, m),
        "model": np.tile(np.asarray(outcomes.models, object), n),
    }
    for name, grid in outcomes.columns.items():
        table[name] = np.broadcast_to(grid, (n, m)).ravel()
    for name, labels in outcomes.attributes.items():
        table[name] = np.repeat(labels, m)
    _write_table(path, table)


def write_queries(path: PathLike, queries: Queries) -> None:
    """Write texts as a table that `read_queries` reads: ``query_id``, ``text``, attributes.

    Raises
    ------
    TableError
        If the name ends in none of ``.csv``, ``.csv.gz`` and ``.parquet``, or the file cannot
        be written.
    """
    _write_table(path, {"query_id": queries.ids, "text": list(queries.texts), **queries.attributes})


def _write_table(path: PathLike, columns: Mapping[str, ArrayLike]) -> None:
    source = _source(path)
    low = source.lower()
    if not low.endswith((".csv", ".csv.gz", ".parquet")):
        raise TableError(f"{source}: unknown kind of file; end it in .csv, .csv.gz or .parquet")
    values = {name: np.asarray(column).tolist() for name, column in columns.items()}
    lengths = {name: len(column) for name, column in values.items()}
    if len(set(lengths.values())) > 1:
        raise TableError(f"{source}: columns of different lengths {lengths}; give one row each")
    frame = pl.DataFrame([pl.Series(name, column) for name, column in values.items()])

    def write(target: Path) -> None:
        if low.endswith(".parquet"):
            frame.write_parquet(target)
        elif low.endswith(".csv"):
            frame.write_csv(target)
        else:
            # Without a time stamp, the same table gives the same bytes.
            with target.open("wb") as file, gzip.GzipFile("", "wb", 6, file, mtime=0) as packed:
                packed.write(frame.write_csv().encode())

    write_atomically(path, write)


def write_atomically(path: PathLike, write: Callable[[Path], object]) -> None:
    """Write a file whole or not at all.

    Parameters
    ----------
    path
        Where the file belongs; replaced if it exists.
    write
        Writes to the path it is given: a new file beside the target, with the same suffix,
        moved into place once it is written and removed on any error or interrupt.

    Raises
    ------
    TableError
        If the folder does not exist or cannot be written to.
    """
    source = _source(path)
    try:
        _write_whole(source, Path(path), write)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise TableError(
            f"{source}: cannot be written ({_reason(error)}); choose another folder or free it"
        ) from None


def _write_whole(source: str, target: Path, write: Callable[[Path], object]) -> None:
    # A link keeps pointing where it pointed; a device (/dev/stdout) cannot be replaced.
    with suppress(OSError, RuntimeError):
        target = target.resolve()
    if target.is_dir():
        raise TableError(f"{source}: is a folder; give the name of a file in it")
    folder = target.parent
    if not folder.is_dir():
        raise TableError(f"{source}: the folder {folder} does not exist; create it first")
    if target.exists() and not target.is_file():
        write(target)
        return
    beside = folder / f".{secrets.token_hex(6)}{''.join(target.suffixes[-2:])[-16:]}"
    try:
        # Unlike tempfile, leaves the permissions to the user's umask.
        os.close(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        write(beside)
        beside.replace(target)
    finally:
        with suppress(OSError):
            beside.unlink()


# What was asked for, and the columns that hold it -------------------------------------------


@dataclass(frozen=True, slots=True)
class _Asked:
    cost: str | None
    quality: str | None
    columns: tuple[str, ...]
    attributes: tuple[str, ...]
    query: str
    model: str

    def roles(self, table: "_Table", names: Sequence[str]) -> dict[str, str]:
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
                    f"{_listed(candidates)}; pass --{role} NAME to choose one"
                )
            elif wanted:
                table.missing(own or role, f"name the {role} column with --{role}", names)
        return found

    def numbers(self, roles: Mapping[str, str]) -> list[str]:
        """The table's own names of every column of numbers to read, each once."""
        names = [*roles.values(), *(roles.get(name, name) for name in self.columns)]
        return list(dict.fromkeys(names))


def _outcomes(table: "_Table", asked: _Asked) -> Outcomes:
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


def _long(table: "_Table", asked: _Asked) -> Outcomes:
    labels = {asked.query, asked.model}
    roles = asked.roles(table, [name for name in table.names if name not in labels])
    numbers = asked.numbers(roles)
    _require(table, numbers, asked.attributes)
    wanted = [asked.query, asked.model, *numbers, *asked.attributes]
    rows = table.read(wanted, set(numbers) - labels - set(asked.attributes))
    mend = "name it, or drop the row"
    names = rows.labels(asked.query, mend), rows.labels(asked.model, mend)
    values = rows.numbers({name: _rule(name, roles) for name in numbers})
    (of_query, queries), (of_model, models) = _codes(names[0]), _codes(names[1])
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
        codes = _codes(column)[0]
        differs = codes != codes[first][of_query]
        if differs.any():
            k = int(np.argmax(differs))
            before = int(first[of_query[k]])
            rows.fail(
                name,
                k,
                f"query {_show(queries[int(of_query[k])])} has {_show(column[k])} here and "
                f"{_show(column[before])} in row {rows.row(before)}; give a query one value",
            )
        groups[name] = _strings(column.gather(first))
    return _assemble(queries, models, grids, groups, roles)


def _wide(table: "_Table", asked: _Asked) -> Outcomes:
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
                f"{table.source}: model {_show(model)} has a column for {have[0]!r} but none for "
                f"{lacks[0]!r}; add the column {f'{model}|{lacks[0]}'!r}, or drop the model"
            )
    rules = {f"{j}|{name}": _rule(name, roles) for j in models for name in per_model}
    rules |= {name: _rule(name, roles) for name in per_query}
    wanted = [asked.query, *rules, *asked.attributes]
    rows = table.read(wanted, rules.keys() - {asked.query, *asked.attributes})
    names = rows.labels(asked.query, "name the query, or drop the row")
    values = rows.numbers(rules)
    _distinct(rows, asked.query, _codes(names)[0], names)
    grids: dict[str, Floats] = {}
    for name in numbers:
        parts = [f"{j}|{name}" for j in models] if name in metrics else [name]
        dtype = np.result_type(*(values[part] for part in parts))
        grids[name] = np.empty((rows.size, len(parts)), dtype)
        for j, part in enumerate(parts):
            grids[name][:, j] = values.pop(part)
    groups = {name: _strings(rows.optional_labels(name)) for name in asked.attributes}
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
        queries=_strings(queries),
        attributes=groups,
        cost=roles.get("cost", "cost"),
        quality=roles.get("quality", "quality"),
    )


def _require(
    table: "_Table",
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
            f"{_listed(table.names)}; name them with --cost and --quality"
        )


def _unpaired(
    rows: "_Rows",
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
            f"query {_show(queries[i])} and model {_show(models[j])} already have row "
            f"{rows.row(before)}; keep one of the two",
        )
    gaps = np.flatnonzero(present != np.arange(present.size))
    i, j = divmod(int(gaps[0]) if gaps.size else present.size, m)
    pairs = len(queries) * m
    raise TableError(
        f"{rows.source}: column {asked.model!r}, no row for query {_show(queries[i])} and model "
        f"{_show(models[j])} ({pairs - present.size} of {pairs} pairs are missing); add the "
        f"row, or drop the query or the model"
    )


def _distinct(
    rows: "_Rows",
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
        rows.fail(column, k, f"query {_show(names[k])} is {problem} ({where})")


# Rows in memory -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Rule:
    """What a column of numbers must keep, and how the user chooses another column."""

    low: float = -np.inf
    high: float = np.inf
    mend: str = ""
    option: str = ""


def _rule(name: str, roles: Mapping[str, str]) -> _Rule:
    if name == roles.get("cost"):
        mend = "a cost cannot be negative; correct it"
        return _Rule(0.0, np.inf, mend, ", or name another column with --cost")
    if name == roles.get("quality"):
        mend = "a quality lies in [0, 1]; divide percentages by 100"
        return _Rule(0.0, 1.0, mend, ", or name another column with --quality")
    return _Rule()


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Wanted columns of a table, and the number a user sees for each row."""

    source: str
    frame: pl.DataFrame
    first: int
    numbered: Sequence[int] | None = None
    strip: bool = False

    @property
    def size(self) -> int:
        return self.frame.height

    def row(self, k: int) -> int:
        return k + self.first if self.numbered is None else self.numbered[k]

    def fail(self, column: str, k: int, problem: str) -> NoReturn:
        raise TableError(f"{self.source}: column {_show(column)}, row {self.row(k)}: {problem}")

    def labels(self, name: str, mend: str, *, strip: bool = True) -> pl.Series:
        """Strings, none of them blank."""
        column = self._text(name)
        if strip and self.strip:
            column = column.str.strip_chars()
            blank = column.is_null() | (column == "")
        else:
            blank = column.is_null() | (column.str.strip_chars() == "")
        if blank.any():
            self.fail(name, int(blank.arg_true()[0]), f"the cell is empty; {mend}")
        return column

    def optional_labels(self, name: str) -> pl.Series:
        """Strings, where an empty cell is a label like any other."""
        return self._text(name).fill_null("")

    def _text(self, name: str) -> pl.Series:
        column = self.frame[name]
        if column.dtype.is_nested() or column.dtype == pl.Object:
            self.fail(name, 0, f"holds values of type {_kind(column)}; give text or whole numbers")
        return column.cast(pl.String, strict=False)

    def numbers(self, rules: Mapping[str, _Rule]) -> dict[str, Floats]:
        """Finite numbers within their rules; the topmost cell that is none is an error."""
        values: dict[str, Floats] = {}
        faults: list[tuple[int, str]] = []
        for name, rule in rules.items():
            column = self._numeric(name, rule)
            if column.null_count() == 0:
                found = column.to_numpy()
                # min and max carry NaN, so one pass each tells that all is well.
                low, high = float(found.min()), float(found.max())
                if -np.inf < low and high < np.inf and low >= rule.low and high <= rule.high:
                    values[name] = found
                    continue
            found = column.fill_null(np.nan).to_numpy()
            usable = np.isfinite(found) & (found >= rule.low) & (found <= rule.high)
            faults.append((int(np.argmin(usable)), name))
        if faults:
            k, name = min(faults)
            self.fail(name, k, _wrong(self.frame[name][k], rules[name]))
        return values

    def _numeric(self, name: str, rule: _Rule) -> pl.Series:
        column = self.frame[name]
        kind = column.dtype
        if kind in (pl.Float32, pl.Float64):
            return column
        if kind.is_numeric() or kind == pl.Boolean or kind == pl.Null:
            return column.cast(pl.Float64)
        if kind != pl.String:
            self.fail(name, 0, f"holds values of type {_kind(column)}; give numbers{rule.option}")
        text = column.str.strip_chars()
        number = text.cast(pl.Float64, strict=False)
        if number.null_count():
            low = text.str.to_lowercase()
            number = number.zip_with((low != "true").fill_null(True), pl.Series([1.0]))
            number = number.zip_with((low != "false").fill_null(True), pl.Series([0.0]))
        return number


def _wrong(cell: Any, rule: _Rule) -> str:
    text = "" if cell is None else str(cell).strip()
    if not text:
        return "the cell is empty; give a number, or drop the query"
    try:
        value = float(text)
    except ValueError:
        if re.fullmatch(r"[+-]?\d*,\d+", text):
            mend = f"write the decimal point, {text.replace(',', '.')}"
        elif re.fullmatch(r"[+-]?[\d.]+ ?%", text):
            mend = "write a plain number, a percentage divided by 100"
        else:
            mend = f"give a number{rule.option}"
        return f"found {_show(text)}, which is no number; {mend}"
    if not np.isfinite(value):
        return f"found {text}; give a finite number, or drop the query"
    if "_" in text:
        return f"found {_show(text)}, which is no number; write it in digits alone"
    return f"found {text}; {rule.mend}{rule.option}"


def _codes(names: pl.Series) -> tuple[Ints, pl.Series]:
    """Position of every name among the distinct ones, in order of first appearance."""
    physical = names.cast(pl.Categorical).to_physical()
    first = physical.to_frame("code").with_row_index("at").unique("code", keep="first")
    first = first.sort("at")
    # Codes may belong to the whole process and start anywhere.
    codes = first["code"].to_numpy()
    rank = np.zeros(int(codes.max()) + 1, np.intp)
    rank[codes] = np.arange(first.height)
    return rank[physical.to_numpy()], names.gather(first["at"])


def _strings(names: pl.Series) -> Labels:
    return np.array([*names.to_list(), None], object)[:-1]


def _counted(n: int) -> Labels:
    return np.array([*map(str, range(1, n + 1)), None], object)[:-1]


# Files --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Table(ABC):
    """A header, and a way to read some of the columns below it."""

    source: str
    names: tuple[str, ...]

    def read(self, wanted: Sequence[str], numbers: Collection[str] = ()) -> _Rows:
        """Columns by name; ``numbers`` come as numbers where the table lets them."""
        wanted = list(dict.fromkeys(wanted))
        for name in wanted:
            if self.names.count(name) > 1:
                places = [k + 1 for k, other in enumerate(self.names) if other == name]
                raise TableError(
                    f"{self.source}: column {_show(name)} appears {len(places)} times in row 1, "
                    f"as columns {_joined(places)}; rename or remove all but one"
                )
        rows = self._read(wanted, numbers)
        if rows.size == 0:
            raise TableError(
                f"{self.source}: columns {_listed(self.names)} but no rows; add rows below row 1"
            )
        return rows

    @abstractmethod
    def _read(self, wanted: Sequence[str], numbers: Collection[str]) -> _Rows: ...

    def missing(self, name: str, option: str, known: Sequence[str] | None = None) -> NoReturn:
        known = self.names if known is None else known
        by_case = {other.lower(): other for other in known}
        close = difflib.get_close_matches(name.lower(), list(by_case)[:1000], 1)
        hint = f"; did you mean {_show(by_case[close[0]])}?" if close else ""
        raise TableError(
            f"{self.source}: no column {_show(name)} in row 1; the table has "
            f"{_listed(known)}{hint}; {option}"
        )

    def no_table(self, what: str, looked: str) -> NoReturn:
        raise TableError(
            f"{self.source}: does not look like {what}: looked in row 1 for the columns {looked}, "
            f"found {_listed(self.names)}; give a CSV or Parquet file with these columns"
        )


@dataclass(frozen=True, slots=True, eq=False)
class _TextTable(_Table):
    body: bytes
    separator: str
    first: int

    @classmethod
    def of(cls, source: str, content: bytes) -> "_TextTable":
        content = content.removeprefix(_BOM)
        if b"\n" not in content[:_HEADER_BYTES] and b"\r" in content[:_HEADER_BYTES]:
            content = content.replace(b"\r", b"\n")
        _check_text(source, content)
        if not content or content.isspace():
            raise TableError(f"{source}: the file is empty; it needs a header in row 1 and rows")
        head = content[:_HEADER_BYTES].decode(errors="ignore")
        if head.lstrip()[:1] in ("{", "["):
            raise TableError(
                f"{source}: does not look like a table but like JSON: no columns in row 1, "
                f"found {_show(head.strip())}; convert it to CSV or Parquet"
            )
        # The separator that splits the header furthest; a comma when none does.
        headers = [(separator, *_header(source, head, separator)) for separator in ",;\t"]
        separator, names, row, end = max(headers, key=lambda found: len(found[1]))
        body = content[end:]
        if body.endswith((b"\n\n", b"\r\n\r\n")):
            body = body.rstrip(b"\r\n")
        return cls(source, tuple(name.strip() for name in names), body, separator, row + 1)

    def _read(self, wanted: Sequence[str], numbers: Collection[str]) -> _Rows:
        if not self.body or self.body.isspace():
            return _Rows(self.source, pl.DataFrame({name: [] for name in wanted}), self.first)
        # A number that cannot be read still leaves the cells, to say which one it is.
        return self._fast(wanted, numbers) or self._fast(wanted, ()) or self._walk(wanted)

    def _fast(self, wanted: Sequence[str], numbers: Collection[str]) -> _Rows | None:
        if len(self.names) == 1 and (b"\n\n" in self.body or b"\n\r\n" in self.body):
            return None
        places = {f"column_{self.names.index(name) + 1}": name for name in wanted}
        schema = {
            f"column_{k + 1}": pl.Float64 if name in numbers else pl.String
            for k, name in enumerate(self.names)
        }
        try:
            frame = pl.read_csv(
                self.body,
                has_header=False,
                columns=list(places),
                schema=schema,
                separator=self.separator,
            )
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
            return None
        # The fast reader cuts long rows and fills short ones without a word.
        if _separators(self.body, self.separator) != (len(self.names) - 1) * frame.height:
            return None
        # Nor does it keep the text of an empty cell, of " 0.5" or of 1e999.
        for place, name in places.items():
            if name in numbers and not (
                frame[place].null_count() == 0 and frame[place].is_finite().all()
            ):
                return None
        return _Rows(self.source, frame.rename(places), self.first, strip=True)

    def _walk(self, wanted: Sequence[str]) -> _Rows:
        """Every record as strings, with its true row; a ragged one is an error."""
        width = len(self.names)
        places = [self.names.index(name) for name in wanted]
        cells: list[list[str]] = [[] for _ in wanted]
        numbered: list[int] = []
        row = self.first - 1
        try:
            for row, record in enumerate(_records(self.body, self.separator), self.first):
                if not record:
                    continue
                if len(record) != width:
                    self._ragged(row, record)
                numbered.append(row)
                for column, place in zip(cells, places, strict=True):
                    column.append(record[place])
        except csv.Error as error:
            raise TableError(f"{self.source}: row {row + 1}: {error}; correct the row") from None
        columns = [pl.Series(n, c, pl.String) for n, c in zip(wanted, cells, strict=True)]
        return _Rows(self.source, pl.DataFrame(columns), self.first, numbered, strip=True)

    def _ragged(self, row: int, record: list[str]) -> NoReturn:
        width = len(self.names)
        if any("\n" in cell for cell in record):
            mend = "close the quotation mark, or quote the cell"
        elif len(record) > width:
            mend = f"quote cells that hold {self.separator!r}, or remove the extra ones"
        else:
            mend = f"fill in what is missing, from column {_show(self.names[len(record)])} on"
        raise TableError(
            f"{self.source}: row {row} has {len(record)} cells, but the header has {width} columns "
            f"(last: {_show(self.names[-1])}); {mend}"
        )


@dataclass(frozen=True, slots=True, eq=False)
class _ParquetTable(_Table):
    place: Path | bytes

    @classmethod
    def of(cls, source: str, place: Path | bytes) -> "_ParquetTable":
        with _parquet_of(source):
            names = tuple(_scan(place).collect_schema().names())
        return cls(source, names, place)

    def _read(self, wanted: Sequence[str], numbers: Collection[str]) -> _Rows:
        with _parquet_of(self.source):
            return _Rows(self.source, _scan(self.place).select(wanted).collect(), 1)


@dataclass(frozen=True, slots=True, eq=False)
class _FrameTable(_Table):
    frame: nw.DataFrame[Any]

    @classmethod
    def of(cls, frame: Any) -> "_FrameTable":
        source = "data frame"
        try:
            wrapped = nw.from_native(frame)
            eager = wrapped.collect() if isinstance(wrapped, nw.LazyFrame) else wrapped
            names = tuple(str(name) for name in eager.columns)
        except Exception as error:
            raise TableError(
                f"{source}: {type(frame).__name__} is no usable data frame ({_reason(error)}); "
                f"give one of pandas, polars or pyarrow"
            ) from None
        return cls(source, names, eager)

    def _read(self, wanted: Sequence[str], numbers: Collection[str]) -> _Rows:
        try:
            chosen = self.frame.select(*wanted)
            try:
                frame = chosen.to_polars()
            except Exception:
                # pandas without pyarrow, or a column of mixed types: cell by cell.
                frame = pl.DataFrame([_mixed(name, chosen[name].to_list()) for name in wanted])
        except Exception as error:
            raise TableError(
                f"{self.source}: columns {_listed(wanted)} cannot be read ({_reason(error)}); "
                f"give each column values of one type"
            ) from None
        return _Rows(self.source, frame, 1)


def _open(path: PathLike) -> _Table:
    """The table in a file, by its content."""
    source = _source(path)
    place = Path(path)
    if place.is_file():
        with suppress(OSError), place.open("rb") as file:
            if file.read(4) == b"PAR1":
                return _ParquetTable.of(source, place)
    content = _content(path)
    if content[:4] == b"PAR1":
        return _ParquetTable.of(source, content)
    return _TextTable.of(source, content)


def _content(path: PathLike) -> bytes:
    """Bytes of a file, unpacked."""
    source = _source(path)
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise TableError(f"{source}: no such file; check the path") from None
    except IsADirectoryError:
        raise TableError(f"{source}: is a folder; give the name of a file in it") from None
    except (OSError, ValueError) as error:
        raise TableError(f"{source}: cannot be read ({_reason(error)}); check the path") from None
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise TableError(
                f"{source}: damaged or incomplete gzip file ({_reason(error)}); pack it again"
            ) from None
    if not content:
        raise TableError(f"{source}: the file is empty; it needs a header in row 1 and rows")
    return content


def _check_text(source: str, content: bytes) -> None:
    """Refuse what is no UTF-8 text, at the first cell that is not."""
    if content.startswith(_SPREADSHEETS):
        raise TableError(
            f"{source}: does not look like a table but like a spreadsheet or zip archive: no "
            f"columns in row 1; save it as CSV"
        )
    if b"\0" in content[:_HEADER_BYTES]:
        raise TableError(
            f"{source}: does not look like a table but like a binary or UTF-16 file: no columns "
            f"in row 1; save it as CSV in UTF-8, or as Parquet"
        )
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        # In pieces: a decoded text can take four times the bytes.
        for start in range(0, len(content), _CHUNK_BYTES):
            decoder.decode(content[start : start + _CHUNK_BYTES])
        decoder.decode(b"", final=True)
        return
    except UnicodeDecodeError:
        pass
    try:
        content.decode()
    except UnicodeDecodeError as error:
        row, column, names = 1, 0, [""]
        with suppress(csv.Error):
            head = content[: error.start + 1].decode("latin-1").encode()
            separator = max(
                ",;\t", key=content[:_HEADER_BYTES].partition(b"\n")[0].decode("latin-1").count
            )
            for row, record in enumerate(_records(head, separator), 1):
                names = names if row > 1 else record
                column = len(record) - 1
        name = names[column] if 0 <= column < len(names) else ""
        raise TableError(
            f"{source}: column {_show(name)}, row {row}: byte 0x{content[error.start]:02x} is not "
            f"UTF-8; save the file as UTF-8, with iconv -f LATIN1 -t UTF-8 for instance"
        ) from None


def _lines(source: str, content: bytes) -> tuple[str, ...]:
    content = content.removeprefix(_BOM)
    if content[:4] == b"PAR1":
        raise TableError(f"{source}: a Parquet file called .txt; rename it to end in .parquet")
    _check_text(source, content)
    text = content.decode().replace("\r\n", "\n").replace("\r", "\n")
    lines = tuple(line for line in text.split("\n") if line and not line.isspace())
    if not lines:
        raise TableError(f"{source}: the file holds no query; write one a line")
    return lines


def _header(source: str, head: str, separator: str) -> tuple[list[str], int, int]:
    """The first record that is not blank, its row, and the bytes up to its end."""
    end = 0

    def lines() -> Iterator[str]:
        nonlocal end
        for line in io.StringIO(head, newline=""):
            end += len(line.encode())
            yield line

    row = 0
    try:
        for row, record in enumerate(csv.reader(lines(), delimiter=separator), 1):
            if any(cell.strip() for cell in record):
                return record, row, end
    except csv.Error:
        pass
    return [head[:80]], row, end


def _records(body: bytes, separator: str) -> Iterator[list[str]]:
    text = io.TextIOWrapper(io.BytesIO(body), encoding="utf-8", newline="")
    before = csv.field_size_limit(sys.maxsize)  # the texts of queries can be long
    try:
        yield from csv.reader(text, delimiter=separator)
    finally:
        csv.field_size_limit(before)


def _separators(body: bytes, separator: str) -> int:
    """Number of separators outside quotation marks; -1 if the marks do not pair up."""
    if b'"' not in body:
        return body.count(separator.encode())
    text = np.frombuffer(body, np.uint8)
    mark = ord(separator)
    quotes = np.flatnonzero(text == _QUOTE)
    if quotes.size % 2:
        return -1
    opening, closing = quotes[::2], quotes[1::2]
    before = text[opening[opening > 0] - 1]
    after = text[closing[closing < text.size - 1] + 1]
    if not np.isin(before, (mark, _QUOTE, 10)).all():
        return -1
    if not np.isin(after, (mark, _QUOTE, 10, 13)).all():
        return -1
    found = np.flatnonzero(text == mark)
    return int(np.count_nonzero(np.searchsorted(quotes, found) % 2 == 0))


def _mixed(name: str, cells: Sequence[Any]) -> pl.Series:
    try:
        return pl.Series(name, cells)
    except (TypeError, pl.exceptions.PolarsError):
        return pl.Series(name, [None if cell is None else str(cell) for cell in cells])


def _scan(place: Path | bytes) -> pl.LazyFrame:
    return pl.scan_parquet(
        io.BytesIO(place) if isinstance(place, bytes) else place,
        glob=False,
        hive_partitioning=False,
    )


@contextmanager
def _parquet_of(source: str) -> Iterator[None]:
    try:
        yield
    except _UNREADABLE as error:
        raise TableError(
            f"{source}: damaged or incomplete Parquet file ({_reason(error)}); write it again"
        ) from None


# Words --------------------------------------------------------------------------------------


def _source(path: PathLike) -> str:
    source = str(path)
    return source if source.isprintable() else repr(source)


def _show(value: Any, most: int = 60) -> str:
    """A cell or name on one line, cut where it gets long."""
    text = str(value)
    return repr(text if len(text) <= most else text[: most - 2] + "..")


def _listed(names: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(_show(name, 40) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def _joined(numbers: Sequence[int]) -> str:
    return " and ".join(map(str, numbers))


def _kind(column: pl.Series) -> str:
    return " ".join(str(column.dtype).split())[:60]


def _reason(error: BaseException) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    line = next((part.strip() for part in text.splitlines() if part.strip()), "")
    return (line or type(error).__name__)[:120]
