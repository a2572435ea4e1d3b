"""Rows in memory: cells as strings or as numbers within their rules, by the user's row number."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import polars as pl

from dualroute.arrays import Floats, Ints, Labels
from dualroute.errors import TableError
from dualroute.tables.words import show


@dataclass(frozen=True, slots=True)
class Rule:
    """What a column of numbers must keep, and how the user chooses another column."""

    low: float = -np.inf
    high: float = np.inf
    mend: str = ""
    option: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Wanted columns of a table, and the number a user sees for each row."""

    source: str
    frame: pl.DataFrame
    first: int
    numbered: Sequence[int] | None = None
    strip: bool = False

    @property
    def size(self) -> int:
        """How many."""
        return self.frame.height

    def row(self, k: int) -> int:
        """The number that the user sees for row `k`, counted from 0 here."""
        return k + self.first if self.numbered is None else self.numbered[k]

    def fail(self, column: str, k: int, problem: str) -> NoReturn:
        """Say what is wrong with one cell."""
        raise TableError(f"{self.source}: column {show(column)}, row {self.row(k)}: {problem}")

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

    def numbers(self, rules: Mapping[str, Rule]) -> dict[str, Floats]:
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

    def _numeric(self, name: str, rule: Rule) -> pl.Series:
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


def _wrong(cell: Any, rule: Rule) -> str:
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
        return f"found {show(text)}, which is no number; {mend}"
    if not np.isfinite(value):
        return f"found {text}; give a finite number, or drop the query"
    if "_" in text:
        return f"found {show(text)}, which is no number; write it in digits alone"
    return f"found {text}; {rule.mend}{rule.option}"


def _kind(column: pl.Series) -> str:
    return " ".join(str(column.dtype).split())[:60]


def codes_of(names: pl.Series) -> tuple[Ints, pl.Series]:
    """Position of every name among the distinct ones, in order of first appearance."""
    physical = names.cast(pl.Categorical).to_physical()
    first = physical.to_frame("code").with_row_index("at").unique("code", keep="first")
    first = first.sort("at")
    # Codes may belong to the whole process and start anywhere.
    codes = first["code"].to_numpy()
    rank = np.zeros(int(codes.max()) + 1, np.intp)
    rank[codes] = np.arange(first.height)
    return rank[physical.to_numpy()], names.gather(first["at"])


def strings(names: pl.Series) -> Labels:
    """An array of Python strings."""
    return np.array([*names.to_list(), None], object)[:-1]
