"""Outcomes, queries and routings to files, each whole or not at all."""

import gzip
import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from dualroute.errors import TableError
from dualroute.outcomes import Outcomes
from dualroute.tables.reading import Queries
from dualroute.tables.words import PathLike, reason, source_of


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
    source = source_of(path)
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
    source = source_of(path)
    try:
        _write_whole(source, Path(path), write)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise TableError(
            f"{source}: cannot be written ({reason(error)}); choose another folder or free it"
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
