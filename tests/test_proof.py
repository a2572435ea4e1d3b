"""Trees of prices: what the checker says is a theorem whatever it is given; `branch` reaches it."""

import json
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import (
    ORDINARY,
    SIZES,
    every_routing,
    exact_excess,
    exact_optimum,
    exact_value,
    prices_for,
    small_problems,
)

from dualroute.certificate import certify
from dualroute.errors import TableError
from dualroute.lattice import find_resolution, find_steps, least_step, tightened
from dualroute.problem import Prices, RoutingProblem, Rows, lagrangian
from dualroute.proof import Node, Proof, check_proof, lift, rooted, trimmed
from dualroute.region import core_of, core_problem
from dualroute.rigour import fractions
from dualroute.solver import Clock, Solution, SolveOptions, Status, Termination
from dualroute.solvers.lagrangian import Lagrangian
from dualroute.solvers.lagrangian.branch import Search, branch

ONE = np.ones((1, 1))


def eight_dollars():
    """The problem of docs/mathematics.md: three queries, two models, 8 USD; quality negated."""
    budget = Rows("budget", np.array([[1.0, 4.0]]), np.array([8.0]))
    objective = -np.array([[0.6, 0.9], [0.5, 0.9], [0.2, 0.9]])
    return RoutingProblem(objective, (budget,))


def tree(cutoff, nodes, vectors, rays=(), resolution=None):
    held = np.array(vectors, float).reshape(len(vectors), -1)
    marks = np.zeros(len(vectors), bool)
    marks[list(rays)] = True
    return Proof(cutoff, held, marks, tuple(Node(*node) for node in nodes), resolution)


# ---------------------------------------------------------------- the checker


@st.composite
def trees(draw, problem, *, depth=3):
    """Any tree of prices and rays, most of them foolish."""
    count = draw(st.integers(1, 3))
    drawn = [draw(prices_for(problem)).vector for _ in range(count)]
    rays = [v for v in range(count) if draw(st.integers(0, 3)) == 0]
    nodes = []

    def grow(left):
        vectors = tuple(draw(st.lists(st.integers(0, count - 1), max_size=2)))
        if left == 0 or draw(st.booleans()):
            nodes.append((vectors,))
            return
        query = draw(st.integers(0, problem.n_queries - 1))
        models = list(range(problem.n_models))
        if draw(st.integers(0, 9)) == 0:
            models = models[1:]  # one left out
        parts = draw(st.lists(st.integers(0, 1), min_size=len(models), max_size=len(models)))
        split = [tuple(j for j, p in zip(models, parts, strict=True) if p == k) for k in (0, 1)]
        nodes.append((vectors, query, tuple(split)))
        for _ in split:
            grow(left - 1)

    grow(depth)
    optimum = exact_optimum(problem)
    near = 0.0 if optimum is None else float(optimum)
    cutoff = draw(st.sampled_from([near, near + 0.1, near - 0.1, near * 1.5, 1e3, math.inf]))
    lattice = [0.0, 0.1, 0.5, 1.0, 1 / 3, 1e-6, 1e6]
    resolution = draw(st.sampled_from(lattice))
    k = problem.n_rows
    steps = np.array(draw(st.lists(st.sampled_from(lattice), min_size=k, max_size=k)))
    proof = tree(cutoff, nodes, drawn, rays, resolution or None)
    return replace(proof, steps=draw(st.sampled_from([None, steps])))


@given(problem=small_problems(sizes=SIZES), data=st.data())
@settings(max_examples=200)
def test_no_tree_proves_more_than_the_exact_optimum(problem, data):
    proof = data.draw(trees(problem))
    bound = check_proof(problem, proof).bound
    optimum = exact_optimum(problem)
    if optimum is not None:
        assert bound == -math.inf or Fraction(bound) <= optimum
    slim, checked = trimmed(problem, proof)
    assert checked.bound == bound
    assert check_proof(problem, slim).bound == bound or checked.flaw


@given(problem=small_problems(max_queries=4), data=st.data())
def test_a_narrowed_region_proves_the_same(problem, data):
    # Forty copies of a query that one model answers leave the core to the tree: settled once.
    m = problem.n_models
    only = np.full((40, m), np.inf)
    only[:, 0] = 1.0
    padded = RoutingProblem(
        np.vstack([problem.objective, only]),
        tuple(
            replace(
                rows,
                usage=np.vstack(
                    [np.broadcast_to(rows.usage, problem.objective.shape), np.ones((40, m))]
                ),
                pool=np.vstack(
                    [np.broadcast_to(rows.pool, problem.objective.shape), np.zeros((40, m), int)]
                ),
                limit=rows.limit + 40.0 * (np.arange(rows.n_pools) == 0),
            )
            for rows in problem.rows
        ),
    )
    if data.draw(st.booleans()):  # the same numbers, held as a floor holds them
        turned = (replace(rows, usage=-rows.usage, sign=-rows.sign) for rows in padded.rows)
        padded = replace(padded, rows=tuple(turned))
    proof = data.draw(trees(problem))
    shifted = replace(proof, cutoff=proof.cutoff + 40.0)
    bound = check_proof(padded, shifted).bound
    optimum = padded_optimum(padded, problem)
    if optimum is not None and bound > -math.inf:
        assert Fraction(bound) <= optimum


def padded_optimum(padded, problem):
    """Least exact objective within the exact limits; every query added is on model 0."""
    best = None
    for routing in every_routing(problem):
        whole = np.r_[routing, np.zeros(40, np.int64)]
        value = exact_value(padded, whole)
        if value is not None and all(e <= 0 for e in exact_excess(padded, whole)):
            best = value if best is None else min(best, value)
    return best


def test_a_tree_without_a_branch_is_the_lagrangian():
    problem = eight_dollars()
    proof = tree(0.0, [((0,),)], [[0.4 / 3]])
    checked = check_proof(problem, proof)
    assert checked.bound == pytest.approx(-2.2666666667)
    assert "1 of 1 leaves stop short of the cutoff (first: node root)" in checked.short


VALID = [((0,), 1, ((1,), (0,))), ((1,),), ((), 0, ((1,), (0,))), ((1,),), ((2,),)]


def valid():
    """For `eight_dollars`; found by hand, as docs/mathematics.md tells."""
    return tree(-2.05, VALID, [[0.4 / 3], [0.4], [0.0]], resolution=0.1)


def test_the_tree_of_the_documentation_proves_the_optimum():
    checked = check_proof(eight_dollars(), valid())
    assert checked.flaw == ""
    assert checked.short == ""
    assert -2.0 - 1e-15 <= checked.bound <= -2.0
    assert (checked.nodes, checked.leaves) == (5, 3)


@pytest.mark.parametrize(
    ("change", "flaw"),
    [
        ({"nodes": tuple(Node(*n) for n in VALID[:2])}, "node root.1 is missing"),
        ({"nodes": tuple(Node(*n) for n in VALID[:4])}, "node root.1.1 is missing"),
        ({"nodes": tuple(Node(*n) for n in [*VALID, VALID[1]])}, "1 nodes belong to no branch"),
        (
            {"nodes": (Node((0,), 1, ((1,),)), Node((1,)))},
            "node root leaves out model 0 of query 1, which is still open",
        ),
        (
            {"nodes": (Node((0,), 3, ((1,), (0,))), Node((1,)), Node((2,)))},
            "node root branches on query 3 of 3",
        ),
        (
            {"nodes": (Node((0,), 1, ((1,), (0, 2))), Node((1,)), Node((2,)))},
            "node root gives query 1 a model that is not there",
        ),
        ({"nodes": (Node((7,)),)}, "node root names vector 7, which is not there"),
        ({"nodes": ()}, "node root is missing"),
        ({"cutoff": math.nan}, "the cutoff is no number"),
        ({"vectors": np.array([[0.1, 0.0]] * 3)}, "the vectors price 2 limits, and there are 1"),
        ({"vectors": np.array([[0.1], [-0.1], [0.1]])}, "a price is negative or not finite"),
        ({"vectors": np.zeros((2, 1))}, "the vectors are no (V, K) array with a mark for each"),
        ({"steps": np.ones(2)}, "the steps of usage are not one for each of 1 limits"),
        ({"steps": np.array([-1.0])}, "a step of usage is negative or not finite"),
    ],
)
def test_what_is_no_tree_is_told_with_its_node(change, flaw):
    checked = check_proof(eight_dollars(), replace(valid(), **change))
    assert checked.bound == -math.inf
    assert checked.flaw == flaw


@pytest.mark.parametrize(
    "change",
    [
        {"vectors": np.array([[0.4 / 3], [0.3], [0.0]])},  # a worse price
        {"vectors": np.zeros((3, 1))},
        {"cutoff": -1.0},  # claims more than is so
        {"cutoff": math.inf},
        {"resolution": 1.0},  # tenths are not whole
        {"resolution": 0.25},
        {"resolution": None},
        {"resolution": -1.0},
        {"rays": np.ones(3, bool)},
    ],
)
def test_a_spoilt_tree_proves_at_most_what_is_so(change):
    checked = check_proof(eight_dollars(), replace(valid(), **change))
    assert checked.bound <= -2.0
    assert checked.flaw == ""


def test_limits_wider_than_the_proof_was_made_for_weaken_it():
    # For 9 USD the optimum is 2.4.
    checked = check_proof(eight_dollars(), valid(), [Fraction(9)])
    assert checked.bound <= -2.4
    assert checked.short


def test_a_tree_of_a_hundred_thousand_nodes_is_walked_without_recursion():
    problem = RoutingProblem(np.zeros((2, 2)))
    deep = [((), 0, ((0, 1), ()))] * 50_000
    closed = [((),)] * 50_001
    checked = check_proof(problem, tree(1.0, [*deep, *closed], [[]]))
    assert checked.flaw == ""
    assert checked.nodes == 100_001


# ---------------------------------------------------------------- branch and bound


def best_routing(problem):
    """Least objective of the routings that keep every target; None if none does."""
    values = [problem.value(r) for r in every_routing(problem) if problem.meets_target(r)]
    return min(values, default=None)


def claim(answer, **changes):
    return Solution(
        Status.UNKNOWN,
        Termination.COMPLETED,
        assignment=answer.assignment,
        proof=answer.proof,
        **changes,
    )


@given(problem=small_problems(palettes=ORDINARY))
def test_branch_finds_the_enumerated_optimum_and_proves_it(problem):
    resolution = find_resolution(problem)
    answer = branch(problem, resolution=resolution)
    optimum = best_routing(problem)
    limits = fractions(problem.target)
    checked = check_proof(problem, answer.proof, limits)
    assert checked.flaw == ""
    assert answer.complete
    if optimum is None:
        assert answer.assignment is None
        assert checked.bound == math.inf
        return
    assert problem.value(answer.assignment) == optimum
    step = least_step(problem, optimum, None)
    assert optimum - step * (1 + 1e-9) <= checked.bound <= optimum
    assert answer.bound == checked.bound
    certificate = certify(problem, claim(answer))
    assert certificate.feasible
    assert optimum - step * (1 + 1e-9) <= certificate.bound <= certificate.objective
    assert certificate.proof_nodes == checked.nodes


@given(problem=small_problems(sizes=SIZES))
def test_what_branch_says_holds_on_any_numbers(problem):
    answer = branch(problem, max_nodes=200)
    optimum = best_routing(problem)
    checked = check_proof(problem, answer.proof, fractions(problem.target))
    assert checked.flaw == ""
    for bound in (checked.bound, answer.bound):
        assert optimum is None or bound <= optimum
    if answer.assignment is not None:
        assert problem.meets_target(answer.assignment)


def gap_like(seed, n=20, m=4, *, tightness=0.8):
    rng = np.random.default_rng(seed)
    weight = rng.integers(5, 26, (n, m)).astype(float)
    cost = rng.integers(10, 51, (n, m)).astype(float)
    limit = np.full(m, np.floor(tightness * weight.mean() * n / m))
    return RoutingProblem(cost, (Rows("room", weight, limit, np.arange(m)[None, :]),))


def test_a_search_that_narrows_proves_the_whole():
    # A budget and a floor leave few queries open once a good routing is held.
    rng = np.random.default_rng(5)
    cost = rng.integers(1, 400, (120, 3)).astype(float)
    floor = Rows("floor", rng.random((120, 3)), np.array([-80.0]), at_least=True, sign=-1.0)
    problem = RoutingProblem(cost, (floor,))
    answer = branch(problem, resolution=1.0)
    assert answer.complete
    checked = check_proof(problem, answer.proof, fractions(problem.target))
    assert checked.flaw == checked.short == ""
    assert checked.bound == answer.bound == problem.value(answer.assignment)
    assert len(answer.proof.nodes[0].vectors) >= 1


def test_an_older_weaker_cutoff_leaves_a_tree_that_still_stands():
    # Started without an incumbent, pairs are dropped under the cutoffs of the moment, all above
    # the last. The tree proves the last one, and is smaller once what that closes is cut away.
    found = []
    for seed in range(5):
        problem = gap_like(seed)
        answer = branch(problem, resolution=1.0, offer=found.append)
        assert answer.complete
        assert answer.bound == problem.value(answer.assignment)
        started = branch(problem, resolution=1.0, incumbent=answer.assignment)
        assert started.bound == answer.bound
    assert len(found) > 5


@given(problem=small_problems(palettes=ORDINARY), data=st.data())
def test_a_mutated_proof_proves_at_most_the_exact_optimum(problem, data):
    proof = branch(problem, resolution=find_resolution(problem)).proof
    nodes = list(proof.nodes)
    k = data.draw(st.integers(0, len(nodes) - 1))
    change = data.draw(st.sampled_from(["gone", "twice", "parts", "part", "bare", "none"]))
    if change == "gone":
        del nodes[k]
    elif change == "twice":
        nodes.insert(k, nodes[k])
    elif change == "parts":
        nodes[k] = replace(nodes[k], parts=nodes[k].parts[::-1])
    elif change == "part":
        nodes[k] = replace(nodes[k], parts=tuple(part[1:] for part in nodes[k].parts))
    elif change == "bare":
        nodes[k] = replace(nodes[k], vectors=())
    factor = data.draw(st.sampled_from([1.0, 0.5, 1.001, 3.0]))
    rays = data.draw(st.sampled_from([proof.rays, ~proof.rays]))
    raised = proof.cutoff + data.draw(st.sampled_from([0.0, 1e-6, 0.3, 10.0]))
    resolution = data.draw(st.sampled_from([proof.resolution, 0.25, 7.0]))
    spoilt = Proof(raised, factor * proof.vectors, rays, tuple(nodes), resolution)
    # Tighter limits: a theorem about fewer routings.
    shift = data.draw(st.sampled_from([0.0, 0.5]))
    limits = [b - Fraction(shift) for b in fractions(problem.limit)]
    bound = check_proof(problem, spoilt, limits).bound
    values = [
        exact_value(problem, routing)
        for routing in every_routing(problem)
        if all(e + Fraction(shift) <= 0 for e in exact_excess(problem, routing))
    ]
    optimum = min((value for value in values if value is not None), default=None)
    assert optimum is None or bound == -math.inf or Fraction(bound) <= optimum


def test_an_objective_to_beat_is_enough():
    problem = gap_like(1)
    best = branch(problem, resolution=1.0)
    again = branch(problem, resolution=1.0, objective=best.bound)
    assert again.complete
    assert again.assignment is None or problem.value(again.assignment) == best.bound
    assert again.bound == best.bound


def test_a_stopped_search_proves_its_weaker_bound():
    problem = gap_like(3, n=40, m=5)
    answer = branch(problem, resolution=1.0, max_nodes=10)
    assert not answer.complete
    checked = check_proof(problem, answer.proof, fractions(problem.target))
    assert checked.short
    assert checked.bound == answer.bound > -math.inf
    assert branch(problem, resolution=1.0, clock=Clock(1e-9)).nodes == 0


@pytest.mark.parametrize("seed", [1, 3, 4])
def test_a_search_gone_on_with_ends_where_one_left_alone_does(seed):
    # Five nodes in a turn, and from the second on an objective found elsewhere to beat.
    problem = gap_like(seed, n=24, m=4)
    alone = branch(problem, resolution=1.0)
    optimum = problem.value(alone.assignment)
    search, bounds = Search(problem, resolution=1.0), []
    for turn in range(1, 1000):
        answer = search.go_on(Clock(math.inf), 5 * turn)
        checked = check_proof(problem, answer.proof, fractions(problem.target))
        assert checked.flaw == ""
        assert checked.bound == answer.bound <= optimum
        bounds.append(answer.bound)
        if answer.complete:
            break
        search.beat(optimum + 1.0)
    assert answer.bound == optimum
    assert problem.value(answer.assignment) == optimum
    assert bounds == sorted(bounds)
    assert len(bounds) > 1


def test_ctrl_c_loses_nothing():
    problem = gap_like(3, n=40, m=5)
    held = []

    def interrupt(routing):
        held.append(routing)
        raise KeyboardInterrupt

    answer = branch(problem, resolution=1.0, offer=interrupt)
    assert answer.interrupted
    assert answer.assignment is held[0]
    assert check_proof(problem, answer.proof, fractions(problem.target)).flaw == ""


def test_a_gap_asked_for_ends_the_search_sooner():
    problem = gap_like(3, n=40, m=5)
    answer = branch(problem, options=SolveOptions(mip_rel_gap=0.05))
    whole = branch(problem, resolution=1.0, incumbent=answer.assignment)
    value = problem.value(answer.assignment)
    assert value * 0.95 - 1e-9 <= answer.bound <= problem.value(whole.assignment)
    assert answer.nodes < whole.nodes


def test_infeasibility_of_whole_numbers_is_proved():
    # Two queries of weight 2 in two rooms of 3 and 1: halves fit, whole ones do not.
    rooms = Rows("room", np.full((1, 1), 2.0), np.array([3.0, 1.0]), np.array([[0, 1]]))
    problem = RoutingProblem(np.ones((2, 2)), (rooms,))
    answer = branch(problem)
    assert answer.assignment is None
    assert answer.proof.cutoff == math.inf
    certificate = certify(problem, claim(answer))
    assert certificate.infeasible
    assert certificate.bound == math.inf
    assert certificate.verdict.startswith("infeasible, proved")


# ---------------------------------------------------------------- the whole problem


def batch(n=3000, m=6, seed=0):
    rng = np.random.default_rng(seed)
    quality = np.round(rng.random((n, m)) * np.linspace(0.6, 1.0, m), 3)
    cost = np.round(1e-3 * rng.random((n, m)) * 4.0 ** np.arange(m), 6)
    floor = Rows("floor", quality, np.array([-0.7 * n]), at_least=True, sign=-1.0)
    capacity = Rows("capacity", ONE, np.full(m, 1.5 * n / m), np.arange(m)[None, :])
    return RoutingProblem(cost, (floor, capacity))


def test_the_proof_of_a_core_lifts_to_the_whole():
    problem = batch()
    solution = Lagrangian(core_pairs=0).solve(problem, SolveOptions())
    resolution = find_resolution(problem)
    assert resolution == pytest.approx(1e-6)
    best, prices = solution.assignment, solution.prices
    before = certify(problem, solution)
    assert not before.proved_optimal

    objective = problem.value(best)
    step = least_step(problem, objective, resolution)
    steps = find_steps(problem)
    assert steps.tolist() == pytest.approx([1e-3, *[1.0] * 6])
    core = core_of(tightened(problem, steps), [prices], objective - step)
    assert core is not None
    region, pairs = core
    assert region.queries.size < 300
    answer = branch(
        core_problem(region, pairs),
        prices=prices,
        objective=objective - float(region.offset),
        resolution=resolution,
        step=step,
    )
    assert answer.complete
    if answer.assignment is not None:
        best = region.routing(answer.assignment)
        assert problem.meets_target(best)
        assert problem.value(best) < objective
    cutoff = problem.value(best) - step
    first = rooted([prices], cutoff=cutoff, resolution=resolution, steps=steps)
    proof = lift(answer.proof, region.queries, first)
    certificate = certify(problem, replace(solution, assignment=best, proof=proof))
    assert certificate.proof_flaw == ""
    assert certificate.proved_optimal
    assert certificate.proof_nodes == len(proof.nodes)
    assert "optimal, proved" in certificate.verdict
    assert "by a tree of" in certificate.verdict


def test_prices_alone_may_be_the_whole_proof():
    problem = eight_dollars()
    prices = Prices((np.array([0.4 / 3]),))
    cutoff = lagrangian(problem, prices).value - 1e-9
    assert core_of(problem, [prices], cutoff) is None
    proof = lift(None, np.empty(0, int), rooted([prices], cutoff=cutoff))
    assert check_proof(problem, proof).bound == cutoff


# ---------------------------------------------------------------- certify


def test_a_broken_tree_is_told_and_counts_for_nothing():
    problem = eight_dollars()
    broken = replace(valid(), nodes=valid().nodes[:2])
    solution = Solution(
        Status.OPTIMAL,
        Termination.OPTIMAL,
        assignment=np.array([0, 0, 1]),
        prices=Prices((np.array([0.4 / 3]),)),
        proof=broken,
    )
    certificate = certify(problem, solution)
    assert certificate.bound == pytest.approx(-2.2666666667)
    assert certificate.proof_nodes is None
    assert certificate.proof_flaw == "node root.1 is missing"
    assert certificate.verdict.endswith(
        "; the tree that came with it proves nothing: node root.1 is missing"
    )
    mended = certify(problem, replace(solution, proof=valid()))
    assert mended.proved_optimal
    assert mended.verdict.endswith("of the objective, by a tree of 5 nodes")


@given(problem=small_problems(), data=st.data())
def test_a_certificate_with_any_tree_stays_below_its_objective(problem, data):
    proof = data.draw(trees(problem))
    routing = data.draw(st.sampled_from(list(every_routing(problem))[:50]))
    solution = Solution(Status.FEASIBLE, Termination.COMPLETED, assignment=routing, proof=proof)
    certificate = certify(problem, solution)
    assume(certificate.feasible)
    assert certificate.bound <= certificate.objective
    assert not certificate.infeasible


# ---------------------------------------------------------------- on disk


@given(problem=small_problems(), data=st.data())
def test_a_proof_comes_back_from_json_as_it_was(problem, data):
    proof = data.draw(trees(problem))
    text = json.dumps(proof.to_plain(), allow_nan=False)
    back = Proof.from_plain(json.loads(text))
    assert back.cutoff == proof.cutoff
    assert back.resolution == proof.resolution
    assert back.vectors.tolist() == proof.vectors.tolist()
    assert back.rays.tolist() == proof.rays.tolist()
    assert [(n.vectors, n.query, n.parts) for n in back.nodes] == [
        (n.vectors, n.query, n.parts) for n in proof.nodes
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 9}, "proof version 9; this program reads 1"),
        ({"version": None}, "no version"),
        ({"cutoff": "low"}, "cutoff is no number"),
        ({"cutoff": 1e999}, "cutoff is no number"),
        ({"resolution": True}, "resolution is no number"),
        ({"vectors": [[0.1], [0.1, 0.2]]}, "lists of numbers of one length"),
        ({"vectors": {}}, "lists of numbers of one length"),
        ({"vectors": [[None]]}, "lists of numbers of one length"),
        ({"rays": [3]}, "rays are no indices"),
        ({"rays": [True]}, "rays are no indices"),
        ({"rays": None}, "rays are no indices"),
        ({"nodes": None}, "no list of nodes"),
        ({"nodes": [[0]]}, "node 0 of the proof is neither"),
        ({"nodes": [[[0]], [[0], 1, []]]}, "node 1 of the proof is neither"),
        ({"nodes": [[[0], 1.5, [[0]]]]}, "node 0 of the proof is neither"),
        ({"nodes": [[[True]]]}, "node 0 of the proof is neither"),
    ],
)
def test_what_is_no_proof_is_told_in_one_line(change, words):
    with pytest.raises(TableError, match=words) as told:
        Proof.from_plain({**valid().to_plain(), **change})
    assert "\n" not in str(told.value)


def test_neither_a_list_nor_nothing_is_a_proof():
    for content in ([], None, "tree", 3):
        with pytest.raises(TableError):
            Proof.from_plain(content)
