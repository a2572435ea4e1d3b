"""Tables in files and data frames: what they are, by content, and the wanted columns of each."""

import codecs
import csv
import difflib
import gzip
import io
import sys
import zlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import narwhals as nw
import numpy as np
import polars as pl

from dualroute.errors import TableError
from dualroute.tables.rows import Rows
from dualroute.tables.words import PathLike, listed, reason, show, source_of

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
class Table(ABC):
    """A header, and a way to read some of the columns below it."""

    source: str
    names: tuple[str, ...]

    def read(self, wanted: Sequence[str], numbers: Collection[str] = ()) -> Rows:
        """Columns by name; ``numbers`` come as numbers where the table lets them."""
        wanted = list(dict.fromkeys(wanted))
        for name in wanted:
            if self.names.count(name) > 1:
                places = [k + 1 for k, other in enumerate(self.names) if other == name]
                raise TableError(
                    f"{self.source}: column {show(name)} appears {len(places)} times in row 1, "
                    f"as columns {' and '.join(map(str, places))}; rename or remove all but one"
                )
        rows = self._read(wanted, numbers)
        if rows.size == 0:
            raise TableError(
                f"{self.source}: columns {listed(self.names)} but no rows; add rows below row 1"
            )
        return rows

    @abstractmethod
    def _read(self, wanted: Sequence[str], numbers: Collection[str]) -> Rows: ...

    def missing(self, name: str, option: str, known: Sequence[str] | None = None) -> NoReturn:
        """Say that a column is not there, what is, and the option that names another."""
        known = self.names if known is None else known
        by_case = {other.lower(): other for other in known}
        close = difflib.get_close_matches(name.lower(), list(by_case)[:1000], 1)
        hint = f"; did you mean {show(by_case[close[0]])}?" if close else ""
        raise TableError(
            f"{self.source}: no column {show(name)} in row 1; the table has "
            f"{listed(known)}{hint}; {option}"
        )

    def no_table(self, what: str, looked: str) -> NoReturn:
        """Say that none of the columns is there that make it what it is read as."""
        raise TableError(
            f"{self.source}: does not look like {what}: looked in row 1 for the columns {looked}, "
            f"found {listed(self.names)}; give a CSV or Parquet file with these columns"
        )


@dataclass(frozen=True, slots=True, eq=False)
class _TextTable(Table):
    body: bytes
    separator: str
    first: int

    @classmethod
    def of(cls, source: str, content: bytes, sought: Sequence[str]) -> "_TextTable":
        content = content.removeprefix(_BOM)
        if b"\n" not in content[:_HEADER_BYTES] and b"\r" in content[:_HEADER_BYTES]:
            content = content.replace(b"\r", b"\n")
        _check_text(source, content, sought)
        if not content or content.isspace():
            raise TableError(f"{source}: the file is empty; it needs a header in row 1 and rows")
        head = content[:_HEADER_BYTES].decode(errors="ignore")
        if head.lstrip()[:1] in ("{", "["):
            raise TableError(
                f"{source}: does not look like a table but like JSON: no columns in row 1, "
                f"found {show(head.strip())}; convert it to CSV or Parquet"
            )
        separator, names, row, end = _header(head, sought)
        body = content[end:]
        if body.endswith((b"\n\n", b"\r\n\r\n")):
            body = body.rstrip(b"\r\n")
        return cls(source, tuple(names), body, separator, row + 1)

    def _read(self, wanted: Sequence[str], numbers: Collection[str]) -> Rows:
        if not self.body or self.body.isspace():
            return Rows(self.source, pl.DataFrame({name: [] for name in wanted}), self.first)
        # A number that cannot be read still leaves the cells, to say which one it is.
        return self._fast(wanted, numbers) or self._fast(wanted, ()) or self._walk(wanted)

    def _fast(self, wanted: Sequence[str], numbers: Collection[str]) -> Rows | None:
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
        return Rows(self.source, frame.rename(places), self.first, strip=True)

    def _walk(self, wanted: Sequence[str]) -> Rows:
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
        return Rows(self.source, pl.DataFrame(columns), self.first, numbered, strip=True)

    def _ragged(self, row: int, record: list[str]) -> NoReturn:
        width = len(self.names)
        if any("\n" in cell for cell in record):
            mend = "close the quotation mark, or quote the cell"
        elif len(record) > width:
            mend = f"quote cells that hold {self.separator!r}, or remove the extra ones"
        else:
            mend = f"fill in what is missing, from column {show(self.names[len(record)])} on"
        raise TableError(
            f"{self.source}: row {row} has {len(record)} cells, but the header has {width} columns "
            f"(last: {show(self.names[-1])}); {mend}"
        )


@dataclass(frozen=True, slots=True, eq=False)
class _ParquetTable(Table):
    place: Path | bytes

    @classmethod
    def of(cls, source: str, place: Path | bytes) -> "_ParquetTable":
        with _parquet_of(source):
            names = tuple(_scan(place).collect_schema().names())
        return cls(source, names, place)

    def _read(self, wanted: Sequence[str], numbers: Collection[str]) -> Rows:
        with _parquet_of(self.source):
            return Rows(self.source, _scan(self.place).select(wanted).collect(), 1)


@dataclass(frozen=True, slots=True, eq=False)
class FrameTable(Table):
    """A data frame of any library that narwhals knows."""

    frame: nw.DataFrame[Any]

    @classmethod
    def of(cls, frame: Any) -> "FrameTable":
        """The table in a data frame; a lazy one is collected."""
        source = "data frame"
        try:
            wrapped = nw.from_native(frame)
            eager = wrapped.collect() if isinstance(wrapped, nw.LazyFrame) else wrapped
            names = tuple(str(name) for name in eager.columns)
        except Exception as error:
            raise TableError(
                f"{source}: {type(frame).__name__} is no usable data frame ({reason(error)}); "
                f"give one of pandas, polars or pyarrow"
            ) from None
        return cls(source, names, eager)

    def _read(self, wanted: Sequence[str], numbers: Collection[str]) -> Rows:
        try:
            chosen = self.frame.select(*wanted)
            try:
                frame = chosen.to_polars()
            except Exception:
                # pandas without pyarrow, or a column of mixed types: cell by cell.
                frame = pl.DataFrame([_mixed(name, chosen[name].to_list()) for name in wanted])
        except Exception as error:
            raise TableError(
                f"{self.source}: columns {listed(wanted)} cannot be read ({reason(error)}); "
                f"give each column values of one type"
            ) from None
        return Rows(self.source, frame, 1)


def open_table(path: PathLike, sought: Sequence[str]) -> Table:
    """The table in a file, by its content; columns `sought`, the surest first, tell its header."""
    source = source_of(path)
    place = Path(path)
    if place.is_file():
        with suppress(OSError), place.open("rb") as file:
            if file.read(4) == b"PAR1":
                return _ParquetTable.of(source, place)
    content = content_of(path)
    if content[:4] == b"PAR1":
        return _ParquetTable.of(source, content)
    return _TextTable.of(source, content, sought)


def content_of(path: PathLike) -> bytes:
    """Bytes of a file, unpacked."""
    source = source_of(path)
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise TableError(f"{source}: no such file; check the path") from None
    except IsADirectoryError:
        raise TableError(f"{source}: is a folder; give the name of a file in it") from None
    except (OSError, ValueError) as error:
        raise TableError(f"{source}: cannot be read ({reason(error)}); check the path") from None
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise TableError(
                f"{source}: damaged or incomplete gzip file ({reason(error)}); pack it again"
            ) from None
    if not content:
        raise TableError(f"{source}: the file is empty; it needs a header in row 1 and rows")
    return content


def _check_text(source: str, content: bytes, sought: Sequence[str] = ()) -> None:
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
            separator, *_ = _header(content[:_HEADER_BYTES].decode("latin-1"), sought)
            for row, record in enumerate(_records(head, separator), 1):
                names = names if row > 1 else record
                column = len(record) - 1
        name = names[column] if 0 <= column < len(names) else ""
        raise TableError(
            f"{source}: column {show(name)}, row {row}: byte 0x{content[error.start]:02x} is not "
            f"UTF-8; save the file as UTF-8, with iconv -f LATIN1 -t UTF-8 for instance"
        ) from None


def lines_of(source: str, content: bytes) -> tuple[str, ...]:
    """Lines of a text that are not blank, at least one."""
    content = content.removeprefix(_BOM)
    if content[:4] == b"PAR1":
        raise TableError(f"{source}: a Parquet file called .txt; rename it to end in .parquet")
    _check_text(source, content)
    text = content.decode().replace("\r\n", "\n").replace("\r", "\n")
    lines = tuple(line for line in text.split("\n") if line and not line.isspace())
    if not lines:
        raise TableError(f"{source}: the file holds no query; write one a line")
    return lines


def _header(head: str, sought: Sequence[str]) -> tuple[str, list[str], int, int]:
    """The separator; the names in the header, its row, and the bytes up to its end.

    Names of models and attributes may hold more separators than the header has, so what counts
    is which one leaves the columns sought whole. Among equals it is the one that splits the
    header furthest, and a comma where none does.
    """
    headers = [(separator, *_first_record(head, separator)) for separator in ",;\t"]
    return max(headers, key=lambda found: ([name in found[1] for name in sought], len(found[1])))


def _first_record(head: str, separator: str) -> tuple[list[str], int, int]:
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
            record = [cell.strip() for cell in record]
            if any(record):
                return record, row, end
    except csv.Error:
        pass
    return [head[:80].strip()], row, end


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
            f"{source}: damaged or incomplete Parquet file ({reason(error)}); write it again"
        ) from None
