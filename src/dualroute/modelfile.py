r"""The integer program in files that any solver reads, and what a solver says of it read back.

Models are written as MPS [1]_ or CPLEX LP, with the numbers of the problem and no others: one
binary column per allowed pair, one row per query, one row per limit as stated. Solutions are read
as HiGHS, SCIP, CBC, Gurobi and MIPLIB write them; only the routing is taken from them, so that
`certify` can judge it whatever the solver claims.

References
----------
.. [1] Gay (1985), Electronic mail distribution of linear programming test problems, COAL
   Newsletter 13; read as free format, its fields apart by blanks.
"""

import csv
import gzip
import io
import re
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import numpy as np
import scipy.sparse as sp

from dualroute.arrays import Floats, Ints
from dualroute.errors import OptionError, ProblemError, TableError
from dualroute.linear import linear_form
from dualroute.problem import RoutingProblem
from dualroute.tables import write_atomically
from dualroute.tables.words import PathLike, reason, show, source_of

if TYPE_CHECKING:
    import highspy

_OBJECTIVE = "obj"
_LONGEST = 40  # of one label: CBC wants whole names of an LP below 100, and one may hold two
_ILLEGAL = re.compile(r"[^A-Za-z0-9_.]")
# What an LP reader could take for a number or a heading, or a row of ours for another.
_MISLEADING = re.compile(r"[0-9.]|[eE](?:[0-9.eE]|$)|x\.|query\.")
_HEADINGS = re.compile(
    r"bin|binar(y|ies)|bounds?|columns|end|endata|free|gen|generals?|inf|infinity|int|integers?"
    r"|lazy|max|maxim(um|i[sz]e)|min|minim(um|i[sz]e)|name|obj|objsense|ranges|rhs|rows|s\.t\."
    r"|sec|semis?|sos[12]?|st\.?|subject|such|that|to",
    re.IGNORECASE,
)
_PACKED = b"\x1f\x8b"
_CHOSEN = 0.5
_TINY = 1e-12  # the least that HiGHS can be told to keep
_INFINITE = 1e20  # what HiGHS takes for infinite


@dataclass(frozen=True, slots=True, eq=False)
class Names:
    """Labels of queries, models and limits, and the names they have in a model file.

    Names are legal in MPS and LP alike: letters, digits, ``_`` and ``.``, at most 100 of them,
    no two the same. Labels are cut after 40 characters, and numbered where that, or replacing
    other characters, makes them equal.

    Attributes
    ----------
    queries, models
        ``n`` and ``m`` labels, as the user wrote them.
    limits
        ``K`` texts: the family's name, and the pool's behind a point where there are several.
    query_names, model_names
        What stands for them in the name of a column, ``x.<query>.<model>``.
    limit_names
        Names of the ``K`` coupling rows.
    """

    queries: tuple[str, ...]
    models: tuple[str, ...]
    limits: tuple[str, ...] = ()
    query_names: tuple[str, ...] = field(init=False)
    model_names: tuple[str, ...] = field(init=False)
    limit_names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Make the names."""
        # Without a point in the query's part, a column's name comes apart in one way only.
        queries = [_legal(label).replace(".", "_") for label in self.queries]
        limits = map(_legal_row, self.limits)
        object.__setattr__(self, "query_names", _distinct(queries))
        object.__setattr__(self, "model_names", _distinct(map(_legal, self.models)))
        object.__setattr__(self, "limit_names", _distinct(limits))

    @classmethod
    def of(
        cls,
        problem: RoutingProblem,
        queries: Iterable[object] = (),
        models: Iterable[object] = (),
    ) -> "Names":
        """Names for a problem.

        Parameters
        ----------
        problem
            ``n`` queries, ``m`` models.
        queries
            ``n`` labels, of any type with a text; ``q0, q1, ..`` if not given.
        models
            ``m`` labels; the problem's own if not given.

        Raises
        ------
        ProblemError
            If there are more or fewer labels than queries or models.
        """
        names = cls(
            tuple(map(str, queries)) or tuple(f"q{i}" for i in range(problem.n_queries)),
            tuple(map(str, models)) or problem.models,
            tuple(
                f"{rows.name}.{rows.labels[r] if rows.labels else r}"
                if rows.n_pools > 1
                else ".".join([rows.name, *rows.labels])
                for rows in problem.rows
                for r in range(rows.n_pools)
            ),
        )
        names.check(problem)
        return names

    def check(self, problem: RoutingProblem) -> None:
        """Raise `ProblemError` unless there is a label for all there is in the problem."""
        found = len(self.queries), len(self.models), len(self.limits)
        wanted = problem.n_queries, problem.n_models, problem.n_rows
        if found != wanted:
            raise ProblemError(
                "labels for {} queries, {} models and {} limits".format(*found)
                + "; the problem has {}, {} and {}".format(*wanted)
            )

    def columns(self, query: Ints, model: Ints) -> list[str]:
        """Names of the columns of pairs ``(query[t], model[t])``."""
        queries = [f"x.{name}." for name in self.query_names]
        pairs = zip(query.tolist(), model.tolist(), strict=True)
        return [queries[i] + self.model_names[j] for i, j in pairs]

    @property
    def rows(self) -> list[str]:
        """Names of all rows: ``query.<query>`` for every query, then the limits."""
        return [*(f"query.{name}" for name in self.query_names), *self.limit_names]


@dataclass(frozen=True, slots=True, eq=False)
class _Program:
    """The problem on its allowed pairs, unscaled: ``c`` columns, ``n + K`` rows."""

    query: Ints
    model: Ints
    cost: Floats
    matrix: sp.csr_array
    limit: Floats
    columns: list[str]
    rows: list[str]


def write_model(
    problem: RoutingProblem, path: PathLike, *, names: Names | None = None, relaxed: bool = False
) -> None:
    """Write a problem as an integer program for another solver; all of it or nothing.

    Every number is written so that it reads back as the same double; nothing is scaled, removed
    or tightened, and limits are as stated, without the problem's tolerance. The objective is
    minimised, also where the user maximises: it then is the negated one, as a comment says.

    Parameters
    ----------
    problem
        ``n`` queries, ``m`` models.
    path
        Ends in ``.mps`` or ``.lp``, or either with ``.gz``.
    names
        Made from the problem if not given.
    relaxed
        Whether columns are continuous between 0 and 1; binary otherwise.

    Raises
    ------
    TableError
        If the name has another suffix, or the file cannot be written.
    ProblemError
        If the names are not of this problem.
    """
    source = source_of(path)
    kind = source.lower().removesuffix(".gz")
    if not kind.endswith((".mps", ".lp")):
        raise TableError(
            f"{source}: a model is written as .mps, .lp, .mps.gz or .lp.gz; choose one"
        )
    program = _program(problem, names)
    lines = (_mps if kind.endswith(".mps") else _lp)(program, _about(problem), relaxed)
    _write(path, lambda file: file.writelines(lines))


def write_map(path: PathLike, problem: RoutingProblem, names: Names | None = None) -> None:
    """Write what every name of a model file stands for, as a table.

    Its columns are ``name``; ``kind`` (``objective``, ``column``, ``query`` or ``limit``);
    ``query`` and ``model``, labels as the user wrote them; ``limit`` and ``pool``; ``unit``; and
    ``negated``, which is ``yes`` where the user maximises or asked for "at least".

    Parameters
    ----------
    path
        Ends in ``.csv`` or ``.csv.gz``.
    problem, names
        What `write_model` was given.

    Raises
    ------
    TableError
        If the name has another suffix, or the file cannot be written.
    ProblemError
        If the names are not of this problem.
    """
    source = source_of(path)
    if not source.lower().endswith((".csv", ".csv.gz")):
        raise TableError(f"{source}: a map is written as .csv or .csv.gz; choose one")
    names = Names.of(problem) if names is None else names
    program = _program(problem, names)

    def lines() -> Iterator[Sequence[str]]:
        yield "name", "kind", "query", "model", "limit", "pool", "unit", "negated"
        yield _OBJECTIVE, "objective", "", "", "", "", problem.unit, _yes(problem.maximize)
        pairs = zip(program.query.tolist(), program.model.tolist(), strict=True)
        for name, (i, j) in zip(program.columns, pairs, strict=True):
            yield name, "column", names.queries[i], names.models[j], "", "", "", ""
        for name, label in zip(program.rows, names.queries, strict=False):
            yield name, "query", label, "", "", "", "", ""
        limits = iter(names.limit_names)
        for rows in problem.rows:
            for r in range(rows.n_pools):
                pool = rows.labels[r] if rows.labels else str(r) if rows.n_pools > 1 else ""
                negated = _yes(rows.at_least)
                yield next(limits), "limit", "", "", rows.name, pool, rows.unit, negated

    _write(path, lambda file: csv.writer(file, lineterminator="\n").writerows(lines()))


def to_highs(
    problem: RoutingProblem, names: Names | None = None, *, relaxed: bool = False
) -> "highspy.Highs":
    """The integer program as a live model of HiGHS, to be changed, solved or asked.

    It is what `write_model` writes, held to HiGHS's own options: it stops at a relative gap of
    1e-4 unless told otherwise, and leaves out entries of limits that are at most 1e-12 in size.
    It prints nothing until ``output_flag`` is set.

    Parameters
    ----------
    problem, names, relaxed
        As for `write_model`.

    Raises
    ------
    ProblemError
        If the names are not of this problem.
    OptionError
        If HiGHS rejects the model.
    """
    import highspy

    from dualroute.highs import QuietHighs

    program = _program(problem, names)
    count, (n_rows, _) = len(program.columns), program.matrix.shape
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = count, n_rows
    lp.col_cost_ = np.asarray(program.cost, np.float64)
    lp.col_lower_, lp.col_upper_ = np.zeros(count), np.ones(count)
    ones = np.ones(problem.n_queries)
    lp.row_lower_ = np.r_[ones, np.full(problem.n_rows, -np.inf)]
    lp.row_upper_ = np.r_[ones, program.limit]
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.num_col_, lp.a_matrix_.num_row_ = count, n_rows
    lp.a_matrix_.start_ = program.matrix.indptr.astype(np.int32)
    lp.a_matrix_.index_ = program.matrix.indices.astype(np.int32)
    lp.a_matrix_.value_ = program.matrix.data
    if not relaxed:
        lp.integrality_ = [highspy.HighsVarType.kInteger] * count
    lp.col_names_, lp.row_names_ = program.columns, program.rows
    model = QuietHighs()
    model.silent()
    model.setOptionValue("small_matrix_value", _TINY)
    # An infinite cost or limit it would take without a word, and solve something else.
    largest = float(np.abs(np.r_[program.cost, program.limit]).max())
    if largest >= _INFINITE or model.passModel(lp) == highspy.HighsStatus.kError:
        raise OptionError(
            "HiGHS rejects the model: a usage of 1e15 or more, or an objective or limit of 1e20 or "
            "more in size; give them in larger units"
        )
    return model


def read_solution(path: PathLike, problem: RoutingProblem, names: Names | None = None) -> Ints:
    """The routing in another solver's solution file.

    A query goes to the model whose column is above 0.5. Statuses and objectives of the file
    prove nothing and are not checked; `certify` measures the routing itself.

    Parameters
    ----------
    path
        As HiGHS (raw, pretty or sparse), SCIP, CBC or Gurobi write it, or as MIPLIB keeps it;
        told apart by content, gzipped or not.
    problem
        What the model was written from.
    names
        What the model was written with; made from the problem if not given.

    Returns
    -------
    numpy.ndarray
        Shape ``(n,)``, one model index per query.

    Raises
    ------
    TableError
        If the file is in none of these forms, reports no solution, names columns that the model
        does not have, or leaves a query without exactly one model.
    ProblemError
        If the names are not of this problem.
    """
    names = Names.of(problem) if names is None else names
    names.check(problem)
    source = source_of(path)
    status, found = _solution(source, _lines(path))
    if "infeas" in status.lower():
        raise TableError(
            f"{source}: the solver found the model infeasible (status: {show(status)}), so there "
            "is no routing to read; loosen a limit"
        )
    if not found:
        told = f" (status: {show(status)})" if status else ""
        raise TableError(
            f"{source}: holds no values of columns{told}; let the solver run until it has a "
            "solution, and write that"
        )
    query, model, value = _pairs(source, found, problem, names)
    chosen = value > _CHOSEN
    counts = np.bincount(query[chosen], minlength=problem.n_queries)
    wrong = np.flatnonzero(counts != 1)
    if wrong.size:
        i = wrong[0]
        own = np.flatnonzero((query == i) & (value != 0))
        columns = names.columns(query[own], model[own])
        held = [f"{c} = {v:g}" for c, v in zip(columns, value[own].tolist(), strict=True)]
        most = 4
        shown = ", ".join(held[:most]) + (", .." if len(held) > most else "")
        what = f"{counts[i]} columns" if counts[i] else "no column"
        raise TableError(
            f"{source}: query {show(names.queries[i])} has {what} above {_CHOSEN} "
            f"({shown or 'none of its columns is nonzero'}), the first of {wrong.size} that "
            "do not have exactly one; solve the model with binary columns, not relaxed, and "
            "write a whole solution"
        )
    routing = np.empty(problem.n_queries, np.intp)
    routing[query[chosen]] = model[chosen]
    return routing


# ---------------------------------------------------------------- names


def _legal(label: str) -> str:
    return _replaced(label) or "_"


def _replaced(label: str) -> str:
    if not label.isascii():
        label = unicodedata.normalize("NFKD", label)
        label = "".join(c for c in label if not unicodedata.combining(c))
    return _ILLEGAL.sub("_", label)[:_LONGEST]


def _legal_row(limit: str) -> str:
    # A family's name and a pool's, each cut for itself.
    name = ".".join(map(_replaced, limit.split(".")))[: 2 * _LONGEST] or "_"
    if _MISLEADING.match(name) or _HEADINGS.fullmatch(name):
        return f"limit.{name}"
    return name


def _distinct(names: Iterable[str]) -> tuple[str, ...]:
    """The names, those that are not the first of their kind numbered from 2."""
    names = list(names)
    taken = set(names)
    if len(taken) == len(names):
        return tuple(names)
    seen: dict[str, int] = {}
    distinct = []
    for name in names:
        number = seen.get(name, 0) + 1
        given = name
        if number > 1:
            while (given := f"{name}_{number}") in taken:
                number += 1
            taken.add(given)
        seen[name] = number
        distinct.append(given)
    return tuple(distinct)


def _yes(fact: bool) -> str:
    return "yes" if fact else ""


# ---------------------------------------------------------------- writing


def _program(problem: RoutingProblem, names: Names | None) -> _Program:
    names = Names.of(problem) if names is None else names
    names.check(problem)
    form = linear_form(problem, scaled=False)
    return _Program(
        query=form.query,
        model=form.model,
        cost=form.cost + 0.0,  # no -0.0
        matrix=form.matrix,
        limit=form.upper[problem.n_queries :] + 0.0,
        columns=names.columns(form.query, form.model),
        rows=names.rows,
    )


def _about(problem: RoutingProblem) -> list[str]:
    """Comments for the head of a file, in ASCII and one line each."""
    unit = ascii(problem.unit)[1:-1][:_LONGEST] or "objective"
    negated = "; the user maximises: all of it is negated" if problem.maximize else ""
    floors = [ascii(rows.name)[1:-1] for rows in problem.rows if rows.at_least]
    about = [f"dualroute: {problem.n_queries} queries, {problem.n_models} models"]
    about.append(f"minimised: {unit}{negated}")
    about += [f'negated, as the user asked for "at least": {name[:_LONGEST]}' for name in floors]
    return about


def _mps(program: _Program, about: Sequence[str], relaxed: bool) -> Iterator[str]:
    yield from (f"* {line}\n" for line in about)
    yield f"NAME dualroute FREE\nROWS\n N {_OBJECTIVE}\n"
    n_limits = program.limit.size
    n = len(program.rows) - n_limits
    yield from (f" E {name}\n" for name in program.rows[:n])
    yield from (f" L {name}\n" for name in program.rows[n:])
    yield "COLUMNS\n"
    if not relaxed:
        yield " MARKER 'MARKER' 'INTORG'\n"
    by_column = program.matrix.tocsc()
    by_column.sort_indices()
    rows = [program.rows[r] for r in by_column.indices.tolist()]
    values, ends = by_column.data.tolist(), by_column.indptr.tolist()
    for c, (name, cost) in enumerate(zip(program.columns, program.cost.tolist(), strict=True)):
        yield f" {name} {_OBJECTIVE} {cost!r}\n"
        for t in range(ends[c], ends[c + 1]):
            yield f" {name} {rows[t]} {values[t]!r}\n"
    if not relaxed:
        yield " MARKER 'MARKER' 'INTEND'\n"
    yield "RHS\n"
    yield from (f" RHS {name} 1.0\n" for name in program.rows[:n])
    limits = zip(program.rows[n:], program.limit.tolist(), strict=True)
    yield from (f" RHS {name} {limit!r}\n" for name, limit in limits)
    yield "BOUNDS\n"
    bound = " UP BND {} 1.0\n" if relaxed else " BV BND {}\n"
    yield from map(bound.format, program.columns)
    yield "ENDATA\n"


def _lp(program: _Program, about: Sequence[str], relaxed: bool) -> Iterator[str]:
    # One term a line: no reader's longest line is ever reached.
    yield from (f"\\ {line}\n" for line in about)
    yield f"Minimize\n {_OBJECTIVE}:\n"
    yield from map(_term, program.cost.tolist(), program.columns)
    yield "Subject To\n"
    columns = [program.columns[c] for c in program.matrix.indices.tolist()]
    values, ends = program.matrix.data.tolist(), program.matrix.indptr.tolist()
    n = len(program.rows) - program.limit.size
    sides = ["= 1.0"] * n + [f"<= {limit!r}" for limit in program.limit.tolist()]
    for r, (name, side) in enumerate(zip(program.rows, sides, strict=True)):
        yield f" {name}:\n"
        if ends[r] == ends[r + 1]:  # a row that nothing takes from; the format wants a term
            yield _term(0.0, program.columns[0])
        yield from map(_term, values[ends[r] : ends[r + 1]], columns[ends[r] : ends[r + 1]])
        yield f"  {side}\n"
    yield "Bounds\n" if relaxed else "Binaries\n"
    line = " 0 <= {} <= 1\n" if relaxed else " {}\n"
    yield from map(line.format, program.columns)
    yield "End\n"


def _term(value: float, column: str) -> str:
    return f"  - {-value!r} {column}\n" if value < 0 else f"  + {value!r} {column}\n"


def _write(path: PathLike, fill: Callable[[TextIO], object]) -> None:
    packed = str(path).lower().endswith(".gz")

    def write(target: Path) -> None:
        with _opened(target, packed) as file:
            fill(file)

    write_atomically(path, write)


@contextmanager
def _opened(target: Path, packed: bool) -> Iterator[TextIO]:
    if not packed:
        with target.open("w", encoding="utf-8", newline="") as file:
            yield file
        return
    # Without a time stamp, the same model gives the same bytes.
    with (
        target.open("wb") as raw,
        gzip.GzipFile("", "wb", 6, raw, mtime=0) as inner,
        io.TextIOWrapper(inner, encoding="utf-8", newline="") as file,
    ):
        yield file


# ---------------------------------------------------------------- reading


def _lines(path: PathLike) -> list[str]:
    source = source_of(path)
    try:
        content = Path(path).read_bytes()
        if content[:2] == _PACKED:
            content = gzip.decompress(content)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise TableError(f"{source}: not whole gzip ({reason(error)}); write it again") from None
    except OSError as error:
        raise TableError(f"{source}: cannot be read ({reason(error)}); check the name") from None
    # Names are ASCII; whatever else a file holds is then no column of the model.
    lines = content.decode("utf-8", "replace").splitlines()
    lines = [line.strip() for line in lines]
    if not any(lines):
        raise TableError(f"{source}: the file is empty; have the solver write its solution again")
    return lines


def _solution(source: str, lines: list[str]) -> tuple[str, list[tuple[str, str]]]:
    """Status as the solver words it, and name and value of every column of the file."""
    first = next(line for line in lines if line)
    if first == "Model status":
        after = [line for line in lines if line][1:2]
        # Reduced costs stand under a heading of the same name.
        dual = lines.index("# Dual solution values") if "# Dual solution values" in lines else None
        return "".join(after), _fields(source, _section(lines[:dual], "# Columns"), _two)
    if first == "Columns" and any(line.startswith("Index") for line in lines[:5]):
        told = (line.partition(":")[2] for line in lines if line.startswith("Model status:"))
        found = _fields(source, _section(lines, "Columns")[1:], _pretty)
        # Without a solution, HiGHS leaves the field of the value blank.
        return next(told, "").strip(), [pair for pair in found if _is_number(pair[1])]
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line]
    if first.startswith(("solution status:", "objective value:", "no solution")):  # SCIP
        told = (line.partition(":")[2] for line in lines if line.startswith("solution status:"))
        heads = ("solution status:", "objective value:", "no solution")
        body = [(k, line) for k, line in numbered if not line.startswith(heads)]
        return next(told, "").strip(), _fields(source, body, _two)
    if first.startswith(("# Solution for model", "# Objective value")):  # Gurobi
        body = [(k, line) for k, line in numbered if not line.startswith("#")]
        return "", _fields(source, body, _two)
    if first.startswith(("=obj=", "=infeas=")):  # MIPLIB
        body = [(k, line) for k, line in numbered if not line.startswith("=")]
        return "infeasible" if first.startswith("=inf") else "", _fields(source, body, _two)
    if " - objective value " in f"{first} ":  # CBC
        return first.rpartition(" - objective value")[0], _fields(source, numbered[1:], _cbc)
    raise TableError(
        f"{source}: begins with {show(first)}, which is no solution file of HiGHS, SCIP, CBC, "
        "Gurobi or MIPLIB; write the solution with one of them, column names included"
    )


def _section(lines: list[str], head: str) -> list[tuple[int, str]]:
    """The lines under a heading, numbered, up to the next heading or blank line."""
    start = next((k for k, line in enumerate(lines) if line.startswith(head)), len(lines))
    body = []
    for number, line in enumerate(lines[start + 1 :], start + 2):
        if not line or line.startswith("#") or line == "Rows":
            break
        body.append((number, line))
    return body


def _fields(
    source: str, body: list[tuple[int, str]], pick: Callable[[list[str]], tuple[str, str]]
) -> list[tuple[str, str]]:
    found = []
    for number, line in body:
        try:
            found.append(pick(line.split()))
        except IndexError:
            raise TableError(
                f"{source}: line {number}: found {show(line)} where a column and its value belong; "
                "write the solution again, column names included"
            ) from None
    return found


def _two(words: list[str]) -> tuple[str, str]:
    return words[0], words[1]


def _pretty(words: list[str]) -> tuple[str, str]:
    """Index, status (none of a MIP), lower, upper, value, dual (none of a MIP), type, name."""
    return words[-1], words[3 if _is_number(words[1]) else 4]


def _cbc(words: list[str]) -> tuple[str, str]:
    """Index, name, value, reduced cost; behind stars where CBC thinks a bound is broken."""
    return (words[2], words[3]) if words[0] == "**" else (words[1], words[2])


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _pairs(
    source: str, found: list[tuple[str, str]], problem: RoutingProblem, names: Names
) -> tuple[Ints, Ints, Floats]:
    """Query, model and value behind every column of a file."""
    query_of = {name: i for i, name in enumerate(names.query_names)}
    model_of = {name: j for j, name in enumerate(names.model_names)}
    rows = set(names.rows)  # CBC can be told to list them before the columns
    pairs, values, unknown = [], [], []
    for name, text in found:
        part = name.split(".", 2)
        pair = None
        if len(part) == 3 and part[0] == "x":
            i, j = query_of.get(part[1]), model_of.get(part[2])
            if i is not None and j is not None and np.isfinite(problem.objective[i, j]):
                pair = i, j
        if pair is None:
            if name not in rows:
                unknown.append(name)
            continue
        try:
            values.append(float(text))
        except ValueError:
            raise TableError(
                f"{source}: column {show(name)} has the value {show(text)}; give a number"
            ) from None
        pairs.append(pair)
    if unknown:
        raise TableError(
            f"{source}: {len(unknown)} of {len(found)} names are no columns of this model (first: "
            f"{show(unknown[0])}); names are those of the exported map: read with the labels, and "
            "for the problem, that the model was written with"
        )
    query, model = np.array(pairs, np.intp).reshape(-1, 2).T
    return query, model, np.array(values, np.float64)
