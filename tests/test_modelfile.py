"""Models in files and back: other solvers find the same optimum; what they write is read."""

import csv
import gzip
import re

import highspy
import numpy as np
import pyscipopt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import every_routing, small_problems

from dualroute.certificate import certify
from dualroute.errors import OptionError, ProblemError, TableError
from dualroute.highs import QuietHighs
from dualroute.modelfile import Names, read_solution, to_highs, write_map, write_model
from dualroute.problem import RoutingProblem, Rows
from dualroute.solver import Solution, Status, Termination

LEGAL = re.compile(r"[A-Za-z_](?<![eE](?=[0-9.]))[A-Za-z0-9_.]*")
OPTIMUM = highspy.HighsModelStatus.kOptimal
SUFFIXES = (".mps", ".lp", ".mps.gz", ".lp.gz")
# Of these, sums differ by a tenth or by rounding: no solver's tolerance changes what is feasible.
PALETTES = ("ties", "decimals")
ROUNDING = 5e-7


def eight_dollars(usd=8.0):
    """Small model 1 USD, large 4 USD; the third query may not go to the large one.

    8 USD buy one upgrade (all-small costs 3): query 1 gains .4 and query 0 gains .3, so the
    optimum is small, large, small with quality .6 + .9 + .2 = 1.7, stored negated.
    """
    budget = Rows("budget", np.array([[1.0, 4.0]]), np.array([usd]), unit="USD")
    capacity = Rows(
        "capacity",
        np.ones((1, 1)),
        np.array([3.0, 3.0]),
        np.array([[0, 1]]),
        labels=("small", "gpt-4.1"),
    )
    quality = np.array([[0.6, 0.9], [0.5, 0.9], [0.2, -np.inf]])
    return RoutingProblem(
        -quality, (budget, capacity), ("small", "gpt-4.1"), maximize=True, unit="quality"
    )


def read_by_highs(path):
    model = QuietHighs()
    model.silent()
    # HiGHS leaves out smaller entries, 1e-9 by default.
    model.setOptionValue("small_matrix_value", 1e-12)
    assert model.readModel(str(path)) == highspy.HighsStatus.kOk
    return model


def solved(model):
    model.setOptionValue("mip_rel_gap", 0.0)
    model.setOptionValue("mip_abs_gap", 1e-9)
    model.run()
    return model


def best_value(problem):
    """Least objective of the routings that exceed no limit by more than rounding."""
    values = [
        problem.value(routing)
        for routing in every_routing(problem)
        if (problem.excess(routing) <= ROUNDING).all()
    ]
    return min((value for value in values if value < np.inf), default=None)


def contents(model):
    """Everything of a model of HiGHS, by names."""
    lp = model.getLp()
    matrix = lp.a_matrix_
    by_row = matrix.format_ == highspy.MatrixFormat.kRowwise
    held = {}
    for k in range(len(matrix.start_) - 1):
        for t in range(matrix.start_[k], matrix.start_[k + 1]):
            row, column = (k, matrix.index_[t]) if by_row else (matrix.index_[t], k)
            held[lp.row_names_[row], lp.col_names_[column]] = matrix.value_[t]
    return {
        "cost": dict(zip(lp.col_names_, lp.col_cost_, strict=True)),
        "bounds": [list(lp.col_lower_), list(lp.col_upper_)],
        "rows": dict(
            zip(lp.row_names_, zip(lp.row_lower_, lp.row_upper_, strict=True), strict=True)
        ),
        "matrix": held,
        "integer": [kind == highspy.HighsVarType.kInteger for kind in lp.integrality_],
    }


def expected(problem, names):
    """The same, told from the definition of the problem."""
    n, m = problem.objective.shape
    cost, matrix = {}, {}
    rows = {f"query.{name}": (1.0, 1.0) for name in names.query_names}
    limits = dict(zip(names.limit_names, problem.limit.tolist(), strict=True))
    rows |= {name: (-np.inf, limit) for name, limit in limits.items()}
    for i in range(n):
        for j in range(m):
            if problem.objective[i, j] == np.inf:
                continue
            column = f"x.{names.query_names[i]}.{names.model_names[j]}"
            cost[column] = float(problem.objective[i, j])
            matrix[f"query.{names.query_names[i]}", column] = 1.0
            start = 0
            for family in problem.rows:
                usage, pool = (
                    np.broadcast_to(g, (n, m))[i, j] for g in (family.usage, family.pool)
                )
                if pool >= 0 and usage != 0:
                    matrix[names.limit_names[start + pool], column] = family.sign * float(usage)
                start += family.n_pools
    return {
        "cost": cost,
        "bounds": [[0.0] * len(cost), [1.0] * len(cost)],
        "rows": rows,
        "matrix": matrix,
        "integer": [True] * len(cost),
    }


# ---------------------------------------------------------------- models


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_tiny_model_is_what_it_says_and_has_its_optimum(tmp_path, suffix):
    problem = eight_dollars()
    path = tmp_path / f"model{suffix}"
    write_model(problem, path)
    model = read_by_highs(path)
    x = {"x.q0.small": -0.6, "x.q0.gpt_4.1": -0.9, "x.q1.small": -0.5, "x.q1.gpt_4.1": -0.9}
    assert contents(model)["cost"] == {**x, "x.q2.small": -0.2}
    assert contents(model) == expected(problem, Names.of(problem))
    assert solved(model).getModelStatus() == OPTIMUM
    assert model.getInfo().objective_function_value == pytest.approx(-1.7)


@settings(max_examples=60)
@given(
    problem=small_problems(palettes=("ties", "decimals", "continuous"), sizes=(1e-7, 1.0, 1e7)),
    kind=st.sampled_from(["mps", "lp"]),
)
def test_every_number_reads_back_as_the_same_double(tmp_path_factory, problem, kind):
    path = tmp_path_factory.mktemp("model") / f"model.{kind}"
    write_model(problem, path)
    assert contents(read_by_highs(path)) == expected(problem, Names.of(problem))


@settings(max_examples=60)
@given(problem=small_problems(), kind=st.sampled_from(["mps", "lp"]))
def test_every_number_stands_in_the_file_as_the_same_double(tmp_path_factory, problem, kind):
    # Read without a solver: 1e-273 beside 1 as well, which solvers leave out.
    path = tmp_path_factory.mktemp("model") / f"model.{kind}"
    write_model(problem, path)
    wanted = expected(problem, Names.of(problem))
    sides = [high for _, high in wanted["rows"].values()]
    if kind == "mps":
        lines = [line.split() for line in path.read_text().splitlines()]
        entries = {(w[1], w[0]): float(w[2]) for w in lines if w[0].startswith("x.")}
        assert {c: v for (row, c), v in entries.items() if row == "obj"} == wanted["cost"]
        assert {k: v for k, v in entries.items() if k[0] != "obj"} == wanted["matrix"]
        assert [float(w[2]) for w in lines if w[0] == "RHS" and len(w) == 3] == sides
        return
    row, found = None, {}
    given_sides = []
    for line in path.read_text().splitlines():
        words = line.split()
        if line.endswith(":"):
            row = words[0][:-1]
        elif len(words) == 3 and words[0] in "+-":
            found[row, words[2]] = float(words[0] + words[1])
        elif words[0] in ("=", "<="):
            given_sides.append(float(words[1]))
    assert {c: v for (name, c), v in found.items() if name == "obj"} == wanted["cost"]
    assert {k: v for k, v in found.items() if k[0] != "obj" and v != 0} == wanted["matrix"]
    assert given_sides == sides


@settings(max_examples=40)
@given(problem=small_problems(palettes=PALETTES), kind=st.sampled_from(["mps", "lp"]))
def test_a_model_read_back_has_the_optimum_of_all_routings(tmp_path_factory, problem, kind):
    folder = tmp_path_factory.mktemp("model")
    write_model(problem, folder / f"model.{kind}")
    model = solved(read_by_highs(folder / f"model.{kind}"))
    best = best_value(problem)
    found = model.getModelStatus() == OPTIMUM
    assert found == (best is not None)
    for style in (0, 1, 4):
        path = folder / f"{style}.sol"
        assert model.writeSolution(str(path), style) == highspy.HighsStatus.kOk
        if not found:
            with pytest.raises(TableError, match="the solver found the model infeasible"):
                read_solution(path, problem)
            continue
        routing = read_solution(path, problem)
        columns = model.getLp().col_names_
        taken = [c for c, x in zip(columns, model.getSolution().col_value, strict=True) if x > 0.5]
        assert Names.of(problem).columns(np.arange(routing.size), routing) == taken
        assert problem.value(routing) == pytest.approx(best, abs=1e-6)


@settings(max_examples=25)
@given(problem=small_problems(palettes=PALETTES), kind=st.sampled_from(["mps", "lp"]))
def test_a_second_solver_finds_the_same_optimum(tmp_path_factory, problem, kind):
    folder = tmp_path_factory.mktemp("model")
    write_model(problem, folder / f"model.{kind}")
    model = pyscipopt.Model()
    model.hideOutput()
    model.readProblem(str(folder / f"model.{kind}"))
    model.setParam("limits/gap", 0.0)
    model.optimize()
    best = best_value(problem)
    assert (model.getStatus() == "optimal") == (best is not None)
    if best is not None:
        model.writeBestSol(str(folder / "scip.sol"))
        routing = read_solution(folder / "scip.sol", problem)
        assert problem.value(routing) == pytest.approx(best, abs=1e-6)


@settings(max_examples=30)
@given(problem=small_problems(palettes=PALETTES))
def test_a_live_model_is_the_written_one(tmp_path_factory, problem):
    path = tmp_path_factory.mktemp("model") / "model.mps"
    write_model(problem, path)
    model = to_highs(problem)
    assert contents(model) == contents(read_by_highs(path))
    best = best_value(problem)
    assert (solved(model).getModelStatus() == OPTIMUM) == (best is not None)
    if best is not None:
        assert model.getInfo().objective_function_value == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_relaxed_model_buys_fractions(tmp_path, suffix):
    # 5 USD beyond all-small buy upgrades of 3 USD: one of query 1 (+.4) and 2/3 of one of
    # query 0 (+.2), so 1.3 + .4 + .2 = 1.9.
    problem = eight_dollars()
    write_model(problem, tmp_path / f"model{suffix}", relaxed=True)
    for model in (read_by_highs(tmp_path / f"model{suffix}"), to_highs(problem, relaxed=True)):
        assert solved(model).getInfo().objective_function_value == pytest.approx(-1.9)
        model.writeSolution(str(tmp_path / "raw.sol"), 0)
        assert read_solution(tmp_path / "raw.sol", problem).tolist() == [1, 1, 0]  # above a half
        model.writeSolution(str(tmp_path / "pretty.sol"), 1)
        assert read_solution(tmp_path / "pretty.sol", problem).tolist() == [1, 1, 0]


def test_what_is_read_can_be_certified(tmp_path):
    problem = eight_dollars()
    solved_model = solved(to_highs(problem))
    solved_model.writeSolution(str(tmp_path / "highs.sol"), 0)
    routing = read_solution(tmp_path / "highs.sol", problem)
    solution = Solution(Status.FEASIBLE, Termination.OPTIMAL, routing)
    assert problem.reported(certify(problem, solution).objective) == pytest.approx(1.7)


def test_a_live_model_prints_nothing(capfd):
    solved(to_highs(eight_dollars()))
    assert capfd.readouterr() == ("", "")


def test_a_row_that_nothing_takes_from_is_kept(tmp_path):
    # Its limit of -1 makes the model infeasible, as it makes the problem.
    nothing = Rows("nothing", np.ones((1, 1)), np.array([-1.0]), np.array([[-1]]))
    problem = RoutingProblem(np.ones((1, 2)), (nothing,))
    for suffix in SUFFIXES:
        write_model(problem, tmp_path / f"model{suffix}")
        model = solved(read_by_highs(tmp_path / f"model{suffix}"))
        assert model.getLp().row_names_ == ["query.q0", "nothing"]
        assert model.getModelStatus() == highspy.HighsModelStatus.kInfeasible


def test_comments_tell_what_is_negated(tmp_path):
    floor = Rows("floor", -np.ones((1, 1)), np.array([-1.0]), at_least=True)
    problem = RoutingProblem(-np.ones((1, 1)), (floor,), maximize=True, unit="qualité\nsum")
    write_model(problem, tmp_path / "model.lp")
    lines = (tmp_path / "model.lp").read_bytes().decode("ascii").splitlines()
    assert lines[:3] == [
        "\\ dualroute: 1 queries, 1 models",
        "\\ minimised: qualit\\xe9\\nsum; the user maximises: all of it is negated",
        '\\ negated, as the user asked for "at least": floor',
    ]


def test_the_same_model_gives_the_same_bytes_packed_or_not(tmp_path):
    for kind in ("mps", "lp"):
        for name in (f"a.{kind}", f"a.{kind}.gz", f"b.{kind}.gz"):
            write_model(eight_dollars(), tmp_path / name)
        packed = (tmp_path / f"a.{kind}.gz").read_bytes()
        assert packed == (tmp_path / f"b.{kind}.gz").read_bytes()
        assert gzip.decompress(packed) == (tmp_path / f"a.{kind}").read_bytes()


def test_an_unknown_suffix_or_folder_leaves_nothing_behind(tmp_path):
    with pytest.raises(TableError, match=r"model\.sav: a model is written as \.mps, \.lp, "):
        write_model(eight_dollars(), tmp_path / "model.sav")
    with pytest.raises(TableError, match=r"map\.txt: a map is written as \.csv or \.csv\.gz"):
        write_map(tmp_path / "map.txt", eight_dollars())
    with pytest.raises(TableError, match="does not exist; create it first"):
        write_model(eight_dollars(), tmp_path / "none" / "model.mps")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("objective", "usage", "limit"), [(1e20, 1, 1), (1, 1e15, 1), (1, 1, 1e20)]
)
def test_highs_does_not_get_what_it_would_not_solve(objective, usage, limit):
    rows = Rows("huge", np.array([[usage]]), np.array([limit]))
    with pytest.raises(OptionError, match="HiGHS rejects the model: a usage of 1e15 or more, or"):
        to_highs(RoutingProblem(np.array([[objective]]), (rows,)))


# ---------------------------------------------------------------- names


def test_names_say_what_they_stand_for():
    names = Names.of(eight_dollars(), queries=["größe 1", "a b", "a-b"])
    assert names.query_names == ("gro_e_1", "a_b", "a_b_2")
    assert names.columns(np.array([0, 2]), np.array([1, 0])) == [
        "x.gro_e_1.gpt_4.1",
        "x.a_b_2.small",
    ]
    assert names.rows == [
        *("query.gro_e_1", "query.a_b", "query.a_b_2"),
        *("budget", "capacity.small", "capacity.gpt_4.1"),
    ]


def test_a_number_that_is_taken_is_passed_over():
    names = Names(("a b", "a-b", "a_b_2", "a/b"), ("m",))
    assert names.query_names == ("a_b", "a_b_3", "a_b_2", "a_b_4")


def test_a_point_in_a_query_cannot_make_two_columns_one():
    # Joined by points, ("a", "b.c") and ("a.b", "c") would both be x.a.b.c.
    names = Names(("a", "a.b"), ("b.c", "c"))
    columns = names.columns(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]))
    assert columns == ["x.a.b.c", "x.a.c", "x.a_b.b.c", "x.a_b.c"]


@pytest.mark.parametrize(
    "name", ["free", "END", "st", "s.t.", "obj", "inf", "e5", "E.1", "e", "7 days", ".5", "x.q0.m0"]
)
def test_limits_that_mean_something_to_a_reader_are_renamed(tmp_path, name):
    row = Rows(name, np.array([[0.0, 1.0]]), np.array([0.0]))
    problem = RoutingProblem(np.array([[1.0, 0.0]]), (row, row))
    first, second = Names.of(problem).limit_names
    assert first.startswith("limit.")
    assert second == f"{first}_2"
    for suffix in (".mps", ".lp"):
        write_model(problem, tmp_path / f"model{suffix}")
        model = solved(read_by_highs(tmp_path / f"model{suffix}"))
        assert model.getLp().row_names_ == ["query.q0", first, second]
        assert model.getInfo().objective_function_value == 1.0  # the cheap model is shut


LABELS = st.one_of(
    st.text(max_size=60),
    st.sampled_from(
        ["a b", "a-b", "a_b", "a_b_2", "a.b", "", "e5", "end", "x" * 300, "é", "e\u0301"]
    ),
)


@given(queries=st.lists(LABELS, max_size=8), models=st.lists(LABELS, max_size=8), data=st.data())
def test_names_are_legal_and_all_different(queries, models, data):
    limits = data.draw(st.lists(st.one_of(LABELS, st.tuples(LABELS, LABELS).map(".".join))))
    names = Names(tuple(queries), tuple(models), tuple(limits))
    pairs = np.indices((len(queries), len(models))).reshape(2, -1)
    for group in (names.columns(*pairs), names.rows):
        assert len(set(group)) == len(group)
        assert all(LEGAL.fullmatch(name) and len(name) <= 100 for name in group)
        assert not any(re.match(r"[eE]([0-9.]|$)", name) for name in group)


def test_many_equal_labels_are_numbered_in_no_time():
    names = Names(("a",) * 200_000, ("m",))  # quadratic, this would take hours
    assert names.query_names[-1] == "a_200000"


def test_labels_that_do_not_fit_are_refused(tmp_path):
    problem = eight_dollars()
    with pytest.raises(ProblemError, match="labels for 2 queries, 2 models and 3 limits; the prob"):
        Names.of(problem, queries=["a", "b"])
    other = Names(("a",), ("b",))
    for use in (
        lambda: write_model(problem, tmp_path / "model.mps", names=other),
        lambda: write_map(tmp_path / "map.csv", problem, other),
        lambda: to_highs(problem, other),
        lambda: read_solution(tmp_path / "any.sol", problem, other),
    ):
        with pytest.raises(ProblemError, match=r"the problem has 3, 2 and 3"):
            use()


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_the_map_leads_back_to_the_labels(tmp_path, suffix):
    problem = eight_dollars()
    path = tmp_path / f"map{suffix}"
    write_map(path, problem, Names.of(problem, queries=["größe 1", 'say "a, b"', 7]))
    content = path.read_bytes()
    text = (gzip.decompress(content) if suffix.endswith(".gz") else content).decode()
    rows = {row.pop("name"): row for row in csv.DictReader(text.splitlines())}
    told = {name: {k: v for k, v in row.items() if v} for name, row in rows.items()}
    assert told == {
        "obj": {"kind": "objective", "unit": "quality", "negated": "yes"},
        "x.gro_e_1.small": {"kind": "column", "query": "größe 1", "model": "small"},
        "x.gro_e_1.gpt_4.1": {"kind": "column", "query": "größe 1", "model": "gpt-4.1"},
        "x.say__a__b_.small": {"kind": "column", "query": 'say "a, b"', "model": "small"},
        "x.say__a__b_.gpt_4.1": {"kind": "column", "query": 'say "a, b"', "model": "gpt-4.1"},
        "x.7.small": {"kind": "column", "query": "7", "model": "small"},
        "query.gro_e_1": {"kind": "query", "query": "größe 1"},
        "query.say__a__b_": {"kind": "query", "query": 'say "a, b"'},
        "query.7": {"kind": "query", "query": "7"},
        "budget": {"kind": "limit", "limit": "budget", "unit": "USD"},
        "capacity.small": {"kind": "limit", "limit": "capacity", "pool": "small"},
        "capacity.gpt_4.1": {"kind": "limit", "limit": "capacity", "pool": "gpt-4.1"},
    }


# ---------------------------------------------------------------- solutions

SCIP = """\
solution status: optimal solution found
objective value:                                 -1.7
x.q1.gpt_4.1                                        1 \t(obj:-0.9)
x.q0.small                                          1 \t(obj:-0.6)
x.q2.small                                          1 \t(obj:-0.2)
"""
CBC = """\
Optimal - objective value -1.70000000
      0 x.q0.small                      1                    -0.6
      1 x.q0.gpt_4.1                    0                    -0.9
**    2 x.q1.small          1.1102230e-16                    -0.5
      3 x.q1.gpt_4.1           0.99999999                    -0.9
      4 x.q2.small                      1                    -0.2
"""
CBC_ALL = CBC.replace(
    "70000000\n",
    "70000000\n      0 query.q0          1     0\n      3 budget            6     0\n",
)
GUROBI = """\
# Solution for model dualroute
# Objective value = -1.7
x.q0.small 1
x.q0.gpt_4.1 0
x.q1.small -0
x.q1.gpt_4.1 9.9999999999e-01
x.q2.small 1
"""
MIPLIB = """\
=obj=           -1.7
x.q0.small         1
x.q1.gpt_4.1       1
x.q2.small         1
"""
HIGHS = """\
Model status
Time limit reached

# Primal solution values
Feasible
Objective -1.7
# Columns 5
x.q0.small 1
x.q0.gpt_4.1 0
x.q1.small 0
x.q1.gpt_4.1 1
x.q2.small 1
# Rows 6
query.q0 1
query.q1 1
query.q2 1
budget 6
capacity.small 2
capacity.gpt_4.1 1

# Dual solution values
None
"""
FORMS = {
    "scip": SCIP,
    "scip, best only": SCIP.partition("\n")[2],
    "cbc": CBC,
    "cbc, rows too": CBC_ALL,
    "gurobi": GUROBI,
    "gurobi, short": GUROBI.partition("\n")[2],
    "miplib": MIPLIB,
    "highs": HIGHS,
}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_the_routing_is_read_from_every_form(tmp_path, text):
    path = tmp_path / "solution.sol"
    for content in (
        text.encode(),
        text.replace("\n", "\r\n").encode(),
        gzip.compress(text.encode()),
    ):
        path.write_bytes(content)
        routing = read_solution(path, eight_dollars())
        assert routing.tolist() == [0, 1, 0]
        assert routing.dtype == np.intp


@pytest.mark.parametrize(
    "text",
    [
        "solution status: infeasible\nno solution available\n",
        "Infeasible - objective value -0.70000000\n      0 x.q0.small      1      0\n",
        "Integer infeasible - objective value 0.00000000\n",
        "=infeas=\n",
        "Model status\nInfeasible\n\n# Primal solution values\nNone\n",
    ],
)
def test_an_infeasible_model_has_no_routing(tmp_path, text):
    path = tmp_path / "solution.sol"
    path.write_text(text)
    with pytest.raises(
        TableError, match=r"solution\.sol: the solver found the model infeasible \("
    ):
        read_solution(path, eight_dollars())


FRACTIONAL = GUROBI.replace("x.q0.small 1", "x.q0.small 0.5").replace("4.1 0\n", "4.1 0.5\n")
BAD = {
    "empty": ("\n \n", "the file is empty; have the solver write its solution again"),
    "no form": ("<?xml?>\n<CPLEXSolution>", "begins with '<?xml?>', which is no solution file of "),
    "no values": (
        "solution status: time limit reached\nno solution available\n",
        "holds no values of columns (status: 'time limit reached'); let the solver run until",
    ),
    "no values, no status": ("=obj= 1\n", "holds no values of columns; let the solver run"),
    "fractions": (
        FRACTIONAL,
        "query 'q0' has no column above 0.5 (x.q0.small = 0.5, x.q0.gpt_4.1 = 0.5), the first of "
        "1 that do not have exactly one; solve the model with binary columns, not relaxed",
    ),
    "cut off": (
        SCIP[: SCIP.index("x.q0")],
        "query 'q0' has no column above 0.5 (none of its columns is nonzero), the first of 2",
    ),
    "two models": (
        GUROBI.replace("4.1 0\n", "4.1 1\n"),
        "query 'q0' has 2 columns above 0.5 (x.q0.small = 1, x.q0.gpt_4.1 = 1), the first of 1",
    ),
    "another model's": (
        GUROBI.replace("x.q0.", "y"),
        "2 of 5 names are no columns of this model (first: 'ysmall'); names are those of the "
        "exported map",
    ),
    "a forbidden pair": (
        MIPLIB.replace("x.q2.small", "x.q2.gpt_4.1"),
        "1 of 3 names are no columns of this model (first: 'x.q2.gpt_4.1')",
    ),
    "no number": (
        MIPLIB.replace("x.q0.small         1", "x.q0.small one"),
        "column 'x.q0.small' has the value 'one'; give a number",
    ),
    "half a line": (
        MIPLIB.replace("x.q0.small         1", "x.q0.small"),
        "line 2: found 'x.q0.small' where a column and its value belong",
    ),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD)
def test_a_file_that_cannot_be_used_is_told_in_one_line(tmp_path, text, message):
    path = tmp_path / "solution.sol"
    path.write_text(text)
    with pytest.raises(TableError) as caught:
        read_solution(path, eight_dollars())
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


def test_labels_name_the_query_that_is_wrong(tmp_path):
    problem = eight_dollars()
    names = Names.of(problem, queries=["größe 1", "a b", "a-b"])
    path = tmp_path / "solution.sol"
    path.write_text("=obj= 0\nx.gro_e_1.small 1\nx.a_b.small 1\n")
    with pytest.raises(TableError, match="query 'a-b' has no column above"):
        read_solution(path, problem, names)
    path.write_text("=obj= 0\nx.gro_e_1.small 1\nx.a_b.small 1\nx.a_b_2.small 1\n")
    assert read_solution(path, problem, names).tolist() == [0, 0, 0]


def test_a_missing_or_damaged_file_is_told(tmp_path):
    with pytest.raises(TableError, match=r"none\.sol: cannot be read \(No such file"):
        read_solution(tmp_path / "none.sol", eight_dollars())
    (tmp_path / "cut.sol").write_bytes(gzip.compress(SCIP.encode())[:-9])
    with pytest.raises(TableError, match=r"cut\.sol: not whole gzip"):
        read_solution(tmp_path / "cut.sol", eight_dollars())


def test_highs_without_a_solution_is_told_apart_from_one_that_is_infeasible(tmp_path):
    problem = eight_dollars()
    for style in (0, 1):
        model = to_highs(problem)  # written before it has run
        model.writeSolution(str(tmp_path / "early.sol"), style)
        with pytest.raises(TableError, match=r"holds no values of columns \(status: 'Not Set'\)"):
            read_solution(tmp_path / "early.sol", problem)
