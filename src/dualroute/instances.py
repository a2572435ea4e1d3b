"""Benchmark problems: public GAP and MMKP instances from files, simulated tables for scaling runs.

The generalized assignment problem (GAP) is routing with one capacity per model and nothing else:
jobs are queries, agents are models. The multiple-choice multidimensional knapsack problem (MMKP)
is routing under several budgets: groups are queries, items are models. The simulated tables
resemble no real traffic; they are there to be large, seeded and certain to have a routing.
"""

import csv
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from dualroute.arrays import Floats, Ints, read_only
from dualroute.errors import OptionError, ProblemError, TableError
from dualroute.problem import RoutingProblem, Rows

Suite: TypeAlias = Literal["gap", "mmkp"]
Layout: TypeAlias = Literal["khan", "irregular", "hiremath_hill"]

_LAYOUTS: tuple[Layout, ...] = ("khan", "irregular", "hiremath_hill")
_VALUES = "best_known.csv"
_BOUND_COLUMN = {"gap": "lower_bound", "mmkp": "upper_bound"}
_BLOCK = 1 << 18  # pairs drawn at a time: temporaries of a few MB, however long the table
_SURE = (
    1 - 1e-9
)  # a floor this much below what the hidden routing reaches is kept, rounding and all


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """A public instance and what is known of it; all values in the user's sense.

    Attributes
    ----------
    name
        As its suite calls it.
    problem
        GAP is minimised, MMKP maximised (its objective stored negated).
    best_known
        Best value known: the least of a GAP, the largest of an MMKP; NaN if none is.
    bound
        Published bound that no routing beats: below `best_known` for a GAP, above it for an
        MMKP; infinite if none is known.
    status
        ``optimal`` where `best_known` is proved, or what the suite's table says.
    """

    name: str
    problem: RoutingProblem
    best_known: float
    bound: float
    status: str


# Files --------------------------------------------------------------------------------------


def read_suite(kind: Suite, directory: str | Path, only: str = "*") -> tuple[Instance, ...]:
    """Read instances and what is known of them from a folder.

    Parameters
    ----------
    kind
        ``"gap"`` or ``"mmkp"``.
    directory
        Holds ``best_known.csv`` with the columns ``instance``, ``file`` (relative to the
        folder), ``best_known`` and, for MMKP, ``format`` (a layout of `read_mmkp`); and
        ``lower_bound`` (GAP), ``upper_bound`` (MMKP) and ``status`` where they are known.
    only
        Pattern of the names wanted, such as ``"e*"``.

    Returns
    -------
    tuple of Instance
        In the order of the table.

    Raises
    ------
    TableError
        Naming the file, and what in it cannot be used.
    OptionError
        If no name fits the pattern.
    """
    if kind not in _BOUND_COLUMN:
        raise OptionError(f"no suite of kind {kind!r}; give 'gap' or 'mmkp'")
    folder = Path(directory)
    if not folder.is_dir():
        raise TableError(f"{folder}: no such folder; name the one that holds {_VALUES}")
    table = folder / _VALUES
    needed = ["instance", "file", "best_known"] + (["format"] if kind == "mmkp" else [])
    rows = list(_csv_rows(table, needed))
    wanted = [(line, row) for line, row in rows if fnmatchcase(row["instance"], only)]
    if not wanted:
        raise OptionError(f"{table}: none of its {len(rows)} instances is called {only!r}")
    return tuple(_instance(kind, folder, f"{table}, line {line}", row) for line, row in wanted)


def _csv_rows(path: Path, needed: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.DictReader(_text(path).splitlines())
    missing = [name for name in needed if name not in (reader.fieldnames or ())]
    if missing:
        raise TableError(f"{path}: has no column {missing[0]!r}; it needs {', '.join(needed)}")
    for row in reader:
        if None in row.values() or None in row:
            raise TableError(
                f"{path}, line {reader.line_num}: has not as many cells as the header names"
            )
        yield reader.line_num, row


def _instance(kind: Suite, folder: Path, where: str, row: dict[str, str]) -> Instance:
    def number(column: str, absent: float) -> float:
        text = row.get(column, "")
        if not text.strip():
            return absent
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise TableError(f"{where}, column {column}: {text!r} is no finite number")
        return value

    path = folder / row["file"]
    if kind == "gap":
        problem = read_gap(path)
    else:
        if row["format"] not in _LAYOUTS:
            known = ", ".join(_LAYOUTS)
            raise TableError(f"{where}, column format: {row['format']!r} is none of {known}")
        problem = read_mmkp(path, row["format"])
    return Instance(
        name=row["instance"],
        problem=problem,
        best_known=number("best_known", math.nan),
        bound=number(_BOUND_COLUMN[kind], math.inf if problem.maximize else -math.inf),
        status=row.get("status", ""),
    )


def read_gap(path: str | Path) -> RoutingProblem:
    """Read a generalized assignment problem: least cost, a capacity per agent.

    The file holds numbers and white space: ``m`` agents and ``n`` jobs, then for every agent
    its ``n`` costs, for every agent what each job takes, and the ``m`` capacities.

    Returns
    -------
    RoutingProblem
        Jobs are queries, agents models; one family of rows, ``capacity``.

    Raises
    ------
    TableError
        If the file ends early or late, or holds something else than numbers.
    """
    numbers = _Numbers(path)
    m, n = numbers.count("the number of agents"), numbers.count("the number of jobs")
    cost = numbers.take(m * n, f"the costs of {m} agents x {n} jobs").reshape(m, n)
    takes = numbers.take(m * n, f"what {n} jobs take at {m} agents").reshape(m, n)
    limit = numbers.take(m, f"the capacities of {m} agents")
    numbers.end()
    agents = tuple(f"agent{j}" for j in range(m))
    pool = np.arange(m, dtype=np.int32)[None, :]
    with numbers.about():
        usage = np.ascontiguousarray(takes.T)
        capacity = Rows("capacity", usage, limit, pool, agents, "resource")
        return RoutingProblem(np.ascontiguousarray(cost.T), (capacity,), agents, unit="cost")


def read_mmkp(path: str | Path, layout: Layout) -> RoutingProblem:
    """Read a multiple-choice multidimensional knapsack problem: most value, several resources.

    Parameters
    ----------
    path
        A file of numbers and white space.
    layout
        ``"khan"``: groups, items a group, resources; capacities; every group its number, then
        a value and its resources for each item; what follows the last group is ignored.
        ``"hiremath_hill"``: the same after a number of the problem, and nothing may follow.
        ``"irregular"``: groups, resources; capacities; every group its number of items.

    Returns
    -------
    RoutingProblem
        Groups are queries, items models; one family of one row per resource. Where groups
        differ in size, pairs that do not exist are forbidden.

    Raises
    ------
    TableError
        If the file ends early or late, or holds something else than numbers.
    """
    if layout not in _LAYOUTS:
        raise OptionError(f"no layout {layout!r}; the layouts are {', '.join(_LAYOUTS)}")
    numbers = _Numbers(path)
    if layout == "hiremath_hill":
        numbers.count("the number of the problem", least=0)
    n = numbers.count("the number of groups")
    each = None if layout == "irregular" else numbers.count("the number of items of a group")
    k = numbers.count("the number of resources")
    limit = numbers.take(k, f"the capacities of {k} resources")
    groups = []
    for g in range(1, n + 1):
        if each is None:
            size = numbers.count(f"the number of items of group {g}")
        else:
            size = each
            found = numbers.count(f"the number of group {g}", least=0)
            if found != g:
                raise numbers.error(f"found {found} where group {g} of {n} should begin")
        items = numbers.take(size * (k + 1), f"{size} items of group {g} x {k} resources")
        groups.append(items.reshape(size, k + 1))
    if layout != "khan":
        numbers.end()
    m = max(len(items) for items in groups)
    objective = np.full((n, m), np.inf)
    usage = np.zeros((k, n, m))
    for g, items in enumerate(groups):
        objective[g, : len(items)] = -items[:, 0]
        usage[:, g, : len(items)] = items[:, 1:].T
    items_of = tuple(f"item{j}" for j in range(m))
    with numbers.about():
        rows = tuple(Rows(f"resource {r + 1}", usage[r], limit[r : r + 1]) for r in range(k))
        return RoutingProblem(objective, rows, items_of, maximize=True, unit="value")


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({error.strerror}); check the name") from None
    except UnicodeDecodeError:
        raise TableError(f"{path}: is no text file; check the name") from None


class _Numbers:
    """The numbers of a file, taken one after the other; every error names file and line."""

    __slots__ = ("_next", "_path", "_text", "_words")

    def __init__(self, path: str | Path) -> None:
        self._path = path
        self._text = _text(path)
        self._words = self._text.split()
        self._next = 0

    def take(self, count: int, what: str) -> Floats:
        """The next numbers, shape ``(count,)``."""
        words = self._words[self._next : self._next + count]
        try:
            values = np.array(words, np.float64)
        except ValueError:
            values = np.array([_number(word) for word in words])
        strange = np.flatnonzero(~np.isfinite(values))
        if strange.size:
            self._next += int(strange[0]) + 1
            raise self.error(f"{self._words[self._next - 1]!r} is no finite number, in {what}")
        self._next += len(words)
        if len(words) < count:
            raise self.error(f"ends early, in {what}: {count - len(words)} numbers are missing")
        return values

    def count(self, what: str, least: int = 1) -> int:
        """The next number, which counts something."""
        value = float(self.take(1, what)[0])
        if value != int(value) or value < least:
            raise self.error(f"{what} is {value:g}; it is a whole number of at least {least}")
        return int(value)

    def end(self) -> None:
        """Refuse a file that goes on."""
        more = len(self._words) - self._next
        if more:
            self._next += 1
            raise self.error(f"goes on after the last number its header asks for ({more} more)")

    def error(self, problem: str) -> TableError:
        """What is wrong, with the file and the line of the number last taken."""
        ends = np.cumsum([len(line.split()) for line in self._text.splitlines()])
        line = 1 + int(np.searchsorted(ends, self._next - 1, side="right"))
        return TableError(f"{self._path}, line {line}: {problem}")

    @contextmanager
    def about(self) -> Iterator[None]:
        """Begin the message of a problem that contradicts itself with its file."""
        try:
            yield
        except ProblemError as error:
            raise TableError(f"{self._path}: {error}") from None


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return math.nan


# Simulated tables ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Simulated:
    """A simulated problem: nothing in it was observed.

    Attributes
    ----------
    problem
        Least cost above quality floors, within capacities.
    hidden
        A routing that keeps every limit, drawn with the table, shape ``(n,)``.
    """

    problem: RoutingProblem
    hidden: Ints


def continuous(
    n_queries: int,
    n_models: int,
    seed: int = 0,
    *,
    n_limits: int | None = None,
    dtype: Any = np.float32,
    order: Literal["C", "F"] = "C",
) -> Simulated:
    """Simulate a table without ties: lognormal costs, clipped normal qualities.

    Models go from cheap and weak to dear and strong. The quality floor is what a hidden routing
    reaches that prefers strong models a little; capacities are 1.2 to 1.5 times the even share,
    so that several bind.

    Parameters
    ----------
    n_queries, n_models
        ``n`` and ``m``.
    seed
        Same arguments, same table; `order` changes no number.
    n_limits
        ``K``, at least 1; ``m + 1`` if not given. The first is a quality floor, the next ``m``
        are the capacities of the models, cheapest first; more than that split the floor by
        groups of queries.
    dtype
        float32 or float64.
    order
        How tables lie in memory: ``"C"`` query by query, ``"F"`` model by model.

    Raises
    ------
    OptionError
        If a number is out of range.
    """
    _check(n_queries, n_models, seed, n_limits, dtype, order)
    streams = _streams(seed)
    strength = np.linspace(0.0, 1.0, n_models, dtype=dtype)
    mean = np.log(1e-4) + np.log(dtype(100.0)) * strength

    def draw(size: int) -> tuple[Floats, Floats]:
        length = streams[0].standard_normal((size, 1), dtype)
        cost = streams[0].standard_normal((size, n_models), dtype)
        cost *= dtype(0.4)
        cost += mean + dtype(0.6) * length
        np.exp(cost, out=cost)
        difficulty = streams[1].standard_normal((size, 1), dtype)
        quality = streams[1].standard_normal((size, n_models), dtype)
        quality *= dtype(0.1)
        quality += dtype(0.45) + dtype(0.4) * strength - dtype(0.15) * difficulty
        np.clip(quality, 0.0, 1.0, out=quality)
        return cost, quality

    room = streams[2].uniform(1.2, 1.5, n_models)
    return _simulated(
        n_queries, n_models, n_limits, draw, room, streams[3], dtype, order, unit="USD"
    )


def tie_heavy(
    n_queries: int,
    n_models: int,
    seed: int = 0,
    *,
    n_limits: int | None = None,
    dtype: Any = np.float32,
    order: Literal["C", "F"] = "C",
) -> Simulated:
    """Simulate a table as logs are: right or wrong, three price levels, whole tokens.

    A query has as many input and output tokens whoever answers it; a model has one of three
    price levels, output at four times the price of input. All costs are exact in float32, and
    a great many pairs are equal. Capacities are 1.5 times the even share.

    Parameters
    ----------
    n_queries, n_models, seed, n_limits, dtype, order
        As in `continuous`.

    Raises
    ------
    OptionError
        If a number is out of range.
    """
    _check(n_queries, n_models, seed, n_limits, dtype, order)
    streams = _streams(seed)
    strength = np.linspace(0.0, 1.0, n_models, dtype=dtype)
    levels = np.array([0.25, 2.0, 16.0], dtype)  # USD per 10^6 input tokens
    price = levels[np.arange(n_models) * 3 // n_models]

    def draw(size: int) -> tuple[Floats, Floats]:
        tokens = streams[0].integers(20, 2000, (size, 1), dtype=np.int32)
        tokens += 4 * streams[0].integers(1, 800, (size, 1), dtype=np.int32)
        # What is hard for one model is hard for all, as in logs: few pairs contradict that.
        difficulty = streams[1].random((size, 1), dtype)
        luck = streams[1].random((size, n_models), dtype)
        luck *= dtype(0.3)
        right = luck + difficulty < dtype(0.4) + dtype(0.65) * strength
        return price * tokens.astype(dtype), right.astype(dtype)

    room = np.full(n_models, 1.5)
    return _simulated(
        n_queries, n_models, n_limits, draw, room, streams[3], dtype, order, unit="micro-USD"
    )


def _check(
    n_queries: int, n_models: int, seed: int, n_limits: int | None, dtype: Any, order: str
) -> None:
    if n_queries < 1 or n_models < 1 or seed < 0 or (n_limits is not None and n_limits < 1):
        raise OptionError(
            f"{n_queries} queries, {n_models} models, {n_limits} limits, seed {seed}; give at "
            "least 1 of each and a seed of at least 0"
        )
    if dtype not in (np.float32, np.float64) or order not in ("C", "F"):
        raise OptionError(f"dtype {dtype}, order {order!r}; give float32 or float64, and C or F")


def _streams(seed: int) -> list[np.random.Generator]:
    # One stream for each thing drawn: a change in one leaves the others as they are.
    return [np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(4)]


def _simulated(
    n: int,
    m: int,
    n_limits: int | None,
    draw: Callable[[int], tuple[Floats, Floats]],
    room: Floats,
    choose: np.random.Generator,
    dtype: Any,
    order: Literal["C", "F"],
    unit: str,
) -> Simulated:
    """Fill a table block by block, and set its limits so that a hidden routing keeps them."""
    k = m + 1 if n_limits is None else n_limits
    n_floors, n_capacities = max(1, k - m), min(k - 1, m)
    cost = np.empty((n, m), dtype, order)
    lack = np.empty((n, m), dtype, order)  # quality, negated: what a floor counts
    hidden = np.empty(n, np.int16)
    group = np.zeros((n if n_floors > 1 else 1, 1), np.int32)
    floor, routed = np.zeros(n_floors), np.zeros(m)
    shares = np.cumsum(0.85 + 0.3 * np.linspace(0.0, 1.0, m))
    step = max(1, _BLOCK // m)
    for start in range(0, n, step):
        part = slice(start, min(start + step, n))
        size = part.stop - part.start
        cost[part], quality = draw(size)
        np.negative(quality, out=lack[part])
        hidden[part] = np.searchsorted(shares, shares[-1] * choose.random(size), side="right")
        if n_floors > 1:
            group[part, 0] = choose.integers(0, n_floors, size, dtype=np.int32)
        reached = quality[np.arange(size), hidden[part]]
        codes = group[part, 0] if n_floors > 1 else np.zeros(size, np.int32)
        floor += np.bincount(codes, reached, n_floors)
        routed += np.bincount(hidden[part], minlength=m)
    names = tuple(f"group{g}" for g in range(n_floors)) if n_floors > 1 else ()
    rows = [
        Rows("quality_floor", lack, -_SURE * floor, group, names, unit="quality", at_least=True)
    ]
    if n_capacities:
        # The hidden routing fits by its draw but for chance; where it does not, room is made.
        limit = np.maximum(np.ceil(room * n / m), routed)[:n_capacities]
        pool = np.full((1, m), -1, np.int32)
        pool[0, :n_capacities] = np.arange(n_capacities)
        labels = tuple(f"m{j}" for j in range(n_capacities))
        rows.append(Rows("capacity", np.ones((1, 1), dtype), limit, pool, labels, "requests"))
    return Simulated(RoutingProblem(cost, tuple(rows), unit=unit), read_only(hidden))
