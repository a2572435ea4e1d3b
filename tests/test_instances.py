import csv
import os
from pathlib import Path

import numpy as np
import pytest

from dualroute import registry
from dualroute.certificate import certify
from dualroute.errors import OptionError, TableError
from dualroute.instances import continuous, read_gap, read_mmkp, read_suite, tie_heavy
from dualroute.solver import SolveOptions
from dualroute.testing import optimum_of

# Agents 0 and 1, jobs 0, 1, 2. Costs 1 2 3 and 4 4 4; jobs take 2, 2, 2 at agent 0 (holds 4) and
# 1, 2, 3 at agent 1 (holds 3). Everything at agent 0 takes 6 of 4, so a job must go: job 0, 1 or 2
# costs 3, 2 or 1 more, and each fits at agent 1 alone. Best: job 2 there, 1 + 2 + 4 = 7.
GAP = """2 3
1 2 3   4 4
4
2 2 2
1 2 3
4 3
"""
# Two groups of two items, two resources that hold 5 and 4. Items: 10 (3, 1), 20 (4, 3) and
# 5 (1, 1), 9 (2, 2). Both best: 29, takes 6 of 5. 20 + 5 takes 5 and 4: 25, it fits; 10 + 9: 19.
KHAN = """
 2 2 2
 5 4
 1
 10.00 3 1
 20.00 4 3
 2
 5.0 1 1
 9.0 2 2
 Solutions by Exact Solution
 1 0 25.00
"""
HIREMATH_HILL = "7 2 2 2\n5 4\n1\n10 3 1\n20 4 3\n2\n5 1 1\n9 2 2\n"
# The same, but the second group has a third item of value 8 that takes 1 and 1: 20 + 8 = 28.
IRREGULAR = "2 2\n5 4\n2\n10 3 1\n20 4 3\n3\n5 1 1\n9 2 2\n8 1 1\n"


@pytest.fixture
def file(tmp_path):
    def write(text, name="instance.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write


def test_a_gap_is_routing_with_one_capacity_per_agent(file):
    problem = read_gap(file(GAP))
    assert problem.objective.tolist() == [[1, 4], [2, 4], [3, 4]]
    (capacity,) = problem.rows
    assert capacity.name == "capacity"
    assert capacity.usage.tolist() == [[2, 1], [2, 2], [2, 3]]
    assert capacity.limit.tolist() == [4, 3]
    assert capacity.pool.tolist() == [[0, 1]]
    assert not problem.maximize
    assert optimum_of(problem) == 7
    assert problem.keeps_limits(np.array([0, 0, 1]))


@pytest.mark.parametrize(
    ("text", "layout", "best"),
    [(KHAN, "khan", 25), (HIREMATH_HILL, "hiremath_hill", 25), (IRREGULAR, "irregular", 28)],
)
def test_an_mmkp_is_routing_under_one_budget_per_resource(file, text, layout, best):
    problem = read_mmkp(file(text), layout)
    assert problem.maximize
    assert [rows.limit.tolist() for rows in problem.rows] == [[5], [4]]
    assert problem.rows[0].usage[:, :2].tolist() == [[3, 4], [1, 2]]
    assert problem.reported(optimum_of(problem)) == best


def test_groups_of_fewer_items_forbid_the_rest(file):
    problem = read_mmkp(file(IRREGULAR), "irregular")
    assert problem.objective.tolist() == [[-10, -20, np.inf], [-5, -9, -8]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1: ends early, in the number of agents: 1 numbers are missing"),
        ("2 3\n1 2 3 4", "line 2: ends early, in the costs of 2 agents x 3 jobs: 2 numbers"),
        (GAP.replace("4 3", "4"), "line 6: ends early, in the capacities of 2 agents: 1 numbers"),
        (GAP.replace("2 2 2", "2 x 2"), "line 4: 'x' is no finite number, in what 3 jobs take"),
        (GAP.replace("2 2 2", "2 nan 2"), "line 4: 'nan' is no finite number"),
        (GAP + "9 9", "line 7: goes on after the last number its header asks for (2 more)"),
        (GAP.replace("2 3", "2.5 3", 1), "line 1: the number of agents is 2.5"),
        (GAP.replace("2 3", "0 3", 1), "line 1: the number of agents is 0; it is a whole number"),
        (GAP.replace("4 4\n", "1e200 4\n", 1), "the objective holds a value above 1e100"),
    ],
)
def test_what_is_wrong_with_a_gap_is_said_in_one_line(file, text, words):
    path = file(text)
    with pytest.raises(TableError) as error:
        read_gap(path)
    message = str(error.value)
    assert message.startswith(str(path))
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("layout", "text", "words"),
    [
        ("khan", KHAN.replace(" 2\n 5.0", " 3\n 5.0"), "line 7: found 3 where group 2 of 2"),
        ("khan", KHAN[: KHAN.index("9.0")], "ends early, in 2 items of group 2 x 2 resources: 3"),
        ("khan", KHAN.replace("9.0 2 2\n", ""), "'Solutions' is no finite number"),
        ("hiremath_hill", HIREMATH_HILL + "1", "goes on after the last number"),
        ("hiremath_hill", HIREMATH_HILL[2:], "line 5: found 20 where group 1 of 2"),
        ("irregular", IRREGULAR.replace("\n3\n", "\n4\n"), "in 4 items of group 2 x 2 resources"),
        ("irregular", IRREGULAR.replace("\n3\n", "\n0\n"), "the number of items of group 2 is 0"),
    ],
)
def test_what_is_wrong_with_an_mmkp_is_said_in_one_line(file, layout, text, words):
    path = file(text)
    with pytest.raises(TableError) as error:
        read_mmkp(path, layout)
    assert str(error.value).startswith(str(path))
    assert words in str(error.value)


def test_files_that_are_none(tmp_path):
    with pytest.raises(TableError, match=r"absent\.txt: cannot be read"):
        read_gap(tmp_path / "absent.txt")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TableError, match=r"binary\.txt: is no text file"):
        read_gap(tmp_path / "binary.txt")
    with pytest.raises(OptionError, match="no layout 'free'"):
        read_mmkp(tmp_path / "binary.txt", "free")


@pytest.fixture
def suite(tmp_path, file):
    """A folder of two GAPs: the one above, and the same with nothing known of it."""
    file(GAP, "instances/one.txt")
    file(GAP, "instances/two.txt")
    file(
        "instance,file,best_known,lower_bound,status\n"
        "one,instances/one.txt,7,6.5,optimal\ntwo,instances/two.txt,,,\n",
        "best_known.csv",
    )
    return tmp_path


def test_a_suite_knows_what_is_known(suite):
    one, two = read_suite("gap", suite)
    assert (one.name, one.best_known, one.bound, one.status) == ("one", 7, 6.5, "optimal")
    assert np.isnan(two.best_known)
    assert two.bound == -np.inf
    assert [instance.name for instance in read_suite("gap", suite, "t*")] == ["two"]


def test_an_mmkp_suite_is_in_the_users_sense(tmp_path, file):
    file(KHAN, "khan/I.txt")
    file("instance,file,format,best_known,upper_bound\nI,khan/I.txt,khan,25,\n", "best_known.csv")
    (instance,) = read_suite("mmkp", tmp_path)
    assert (instance.best_known, instance.bound) == (25, np.inf)
    assert instance.problem.reported(optimum_of(instance.problem)) == 25


def test_a_suite_that_cannot_be_used(suite, file):
    with pytest.raises(TableError, match=r"no such folder; name the one that holds best"):
        read_suite("gap", suite / "absent")
    with pytest.raises(TableError, match=r"best_known\.csv: has no column 'format'"):
        read_suite("mmkp", suite)
    with pytest.raises(OptionError, match="none of its 2 instances is called 'three'"):
        read_suite("gap", suite, "three")
    with pytest.raises(OptionError, match="no suite of kind 'knapsack'"):
        read_suite("knapsack", suite)
    known = file("instance,file,best_known\none,instances/one.txt,seven\n", "best_known.csv")
    with pytest.raises(TableError, match="line 2, column best_known: 'seven' is no finite number"):
        read_suite("gap", suite)
    known.write_text("instance,file,best_known\none,instances/one.txt\n")
    with pytest.raises(TableError, match="line 2: has not as many cells"):
        read_suite("gap", suite)
    known.write_text("instance,file,best_known,format\none,instances/one.txt,7,free\n")
    with pytest.raises(TableError, match="line 2, column format: 'free' is none of khan"):
        read_suite("mmkp", suite)
    known.unlink()
    with pytest.raises(TableError, match=r"best_known\.csv: cannot be read"):
        read_suite("gap", suite)


@pytest.mark.parametrize("kind", ["gap", "mmkp"])
def test_published_solutions_have_their_published_values(kind):
    folder = os.environ.get("DUALROUTE_DATA")
    if not folder:
        pytest.skip("DUALROUTE_DATA is not set: the folder that holds gap/ and mmkp/")
    directory = Path(folder) / kind
    with open(directory / "best_known.csv", encoding="utf-8", newline="") as table:
        published = {
            row["instance"]: row["verified_solution_value"] for row in csv.DictReader(table)
        }
    instances = read_suite(kind, directory)
    assert len(instances) == len(published) == {"gap": 78, "mmkp": 69}[kind]
    checked = 0
    for instance in instances:
        sign = -1 if instance.problem.maximize else 1
        assert sign * instance.bound <= sign * instance.best_known
        solution = directory / "reference_solutions" / f"{instance.name}.sol"
        if solution.exists():
            routing = np.array(solution.read_text().split(), int)
            assert instance.problem.keeps_limits(routing), instance.name
            value = instance.problem.reported(instance.problem.value(routing))
            assert value == pytest.approx(float(published[instance.name]), rel=1e-12)
            checked += 1
    assert checked >= 60


GENERATORS = pytest.mark.parametrize("generate", [continuous, tie_heavy])


def table_of(simulated):
    problem = simulated.problem
    grids = [problem.objective, *(g for rows in problem.rows for g in (rows.usage, rows.pool))]
    return [*grids, problem.limit, simulated.hidden]


@GENERATORS
def test_the_same_seed_gives_the_same_table_in_any_order(generate):
    # Long enough for several blocks.
    one, other = generate(40_000, 8, seed=3), generate(40_000, 8, seed=3, order="F")
    assert all(np.array_equal(a, b) for a, b in zip(table_of(one), table_of(other), strict=True))
    assert one.problem.objective.flags.c_contiguous
    assert other.problem.objective.flags.f_contiguous
    assert other.problem.rows[0].usage.flags.f_contiguous
    assert not np.array_equal(one.problem.objective, generate(40_000, 8, seed=4).problem.objective)


@GENERATORS
@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 6), (7, 3), (500, 16), (100_000, 4)])
@pytest.mark.parametrize("n_limits", [None, 1, 2, 120])
def test_the_hidden_routing_keeps_every_limit(generate, n, m, n_limits):
    simulated = generate(n, m, n_limits=n_limits)
    assert simulated.problem.n_rows == (m + 1 if n_limits is None else n_limits)
    assert simulated.problem.meets_target(simulated.hidden)


@GENERATORS
def test_tables_are_float32_and_small_beside_what_limits_need(generate):
    problem = generate(50_000, 16, n_limits=100).problem
    assert problem.objective.dtype == problem.rows[0].usage.dtype == np.float32
    table = problem.objective.nbytes + problem.rows[0].usage.nbytes
    assert sum(grid.nbytes for rows in problem.rows for grid in (rows.usage, rows.pool)) < table
    assert generate(10, 3, dtype=np.float64).problem.objective.dtype == np.float64


@GENERATORS
def test_floor_and_several_capacities_bind(generate):
    problem = generate(5000, 12, seed=1).problem
    solution = registry.load("solvers", "lagrangian")().solve(
        problem, SolveOptions(mip_rel_gap=1e-4)
    )
    assert certify(problem, solution).feasible
    floor, capacity = solution.prices.values
    assert floor[0] > 0
    assert np.count_nonzero(capacity) >= 3


def test_ties_are_many_and_costs_exact():
    problem = tie_heavy(5000, 9, seed=2).problem
    assert set(np.unique(problem.rows[0].usage)) == {-1.0, 0.0}
    assert np.array_equal(problem.objective * 4, np.rint(problem.objective * 4))
    # Nine models at three price levels: each query meets three costs.
    assert max(len(set(row)) for row in problem.objective.tolist()) == 3


def test_continuous_tables_have_no_ties():
    problem = continuous(2000, 6).problem
    assert len(np.unique(problem.objective)) > 0.99 * problem.objective.size
    assert 0 <= -problem.rows[0].usage.max() <= -problem.rows[0].usage.min() <= 1


@GENERATORS
def test_numbers_out_of_range(generate):
    with pytest.raises(OptionError, match="0 queries"):
        generate(0, 3)
    with pytest.raises(OptionError, match="at least 1 of each"):
        generate(5, 3, n_limits=0)
    with pytest.raises(OptionError, match="order 'K'"):
        generate(5, 3, order="K")
    with pytest.raises(OptionError, match="float32 or float64"):
        generate(5, 3, dtype=np.int32)
