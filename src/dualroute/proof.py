r"""Trees of prices that prove how good a routing can be at most, and their checker.

A price vector bounds every routing from below (`dualroute.problem.lagrangian`); what is left
between that bound and the optimum is closed by branching (Land & Doig 1960,
doi:10.2307/1910129): on one query, into parts of the models it may still use. Each node of the
tree carries prices, and one rule is all there is to check (`dualroute.region`): a pair that no
routing below the cutoff can use is dropped; the node is closed when its bound reaches the cutoff
or a query has no open pair left. In place of prices, a *ray* weighs usage alone: where every
routing of the open pairs needs more than the limits hold, there is none.

That such a tree can be checked without the solver that grew it is the idea of VIPR (Cheung,
Gleixner & Steffy 2017, doi:10.1007/978-3-319-59250-3_13). Theirs derives linear inequalities in
rational arithmetic; here a node is one pass over the open pairs, in doubles rounded to the safe
side, so that the work is that of the search. Nothing here imports a solver.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Self, TypeAlias

import numpy as np

from dualroute.arrays import Bools, Floats, Ints
from dualroute.errors import TableError
from dualroute.lattice import implied_bound, implied_limits
from dualroute.problem import Prices, RoutingProblem, allowed_pairs
from dualroute.region import Region
from dualroute.rigour import fractions

VERSION = 1


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One node of a tree of prices.

    Attributes
    ----------
    vectors
        Which of the proof's vectors are applied here, in this order.
    query
        The query branched on; -1 at a leaf.
    parts
        Models of that query, one set per child; together they hold all that are still open.
    """

    vectors: tuple[int, ...] = ()
    query: int = -1
    parts: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Proof:
    """A tree of prices: a claim that no routing is below the cutoff, ready to be checked.

    Attributes
    ----------
    cutoff
        In minimised objective units; ``inf`` claims that no routing keeps the limits at all.
    vectors
        Shape ``(V, K)``, non-negative: prices in objective units per unit of each row, or rays.
    rays
        Shape ``(V,)``: which of the vectors weigh usage alone.
    nodes
        In preorder: a node, then the trees of its children in order.
    resolution
        Objectives are (nearly) multiples of this, in objective units; None if of nothing.
    steps
        Shape ``(K,)``: usage is (nearly) a multiple of this, in units of the row; 0 where of
        nothing, None if nowhere.
    """

    cutoff: float
    vectors: Floats
    rays: Bools
    nodes: tuple[Node, ...]
    resolution: float | None = None
    steps: Floats | None = None

    @property
    def n_leaves(self) -> int:
        """How many nodes have no children."""
        return sum(not node.parts for node in self.nodes)

    def to_plain(self) -> dict[str, Any]:
        """The proof as plain values for JSON; numbers come back exactly.

        A node is ``[vectors]``, or ``[vectors, query, parts]``.
        """
        return {
            "version": VERSION,
            "cutoff": self.cutoff if math.isfinite(self.cutoff) else None,
            "resolution": self.resolution,
            "steps": None if self.steps is None else self.steps.tolist(),
            "vectors": self.vectors.tolist(),
            "rays": np.flatnonzero(self.rays).tolist(),
            "nodes": [
                [list(node.vectors), node.query, [list(part) for part in node.parts]]
                if node.parts
                else [list(node.vectors)]
                for node in self.nodes
            ],
        }

    @classmethod
    def from_plain(cls, content: Any) -> Self:
        """A proof from plain values; whether it proves anything is for `check_proof` to say.

        Raises
        ------
        TableError
            Saying what of it cannot be read.
        """
        if not isinstance(content, dict) or type(content.get("version")) is not int:
            raise TableError("the proof has no version; give one written by dualroute")
        if content["version"] != VERSION:
            raise TableError(f"proof version {content['version']}; this program reads {VERSION}")
        cutoff, resolution = content.get("cutoff"), content.get("resolution")
        for name, value in (("cutoff", cutoff), ("resolution", resolution)):
            if value is not None and not _is_number(value):
                raise TableError(f"the proof's {name} is no number; write the plan again")
        steps = content.get("steps")
        if not (steps is None or (isinstance(steps, list) and all(map(_is_number, steps)))):
            raise TableError("the proof's steps are no list of numbers; write the plan again")
        vectors, rays = content.get("vectors"), content.get("rays")
        nodes = content.get("nodes")
        width = len(vectors[0]) if _is_list(vectors) and vectors else 0
        if not isinstance(vectors, list) or not all(_is_vector(v, width) for v in vectors):
            raise TableError("the proof's vectors are no lists of numbers of one length")
        if not isinstance(rays, list) or not all(
            type(v) is int and 0 <= v < len(vectors) for v in rays
        ):
            raise TableError("the proof's rays are no indices of its vectors")
        if not isinstance(nodes, list):
            raise TableError("the proof has no list of nodes; write the plan again")
        weighs = np.zeros(len(vectors), bool)
        weighs[rays] = True
        return cls(
            cutoff=math.inf if cutoff is None else float(cutoff),
            vectors=np.array(vectors, np.float64).reshape(len(vectors), width),
            rays=weighs,
            nodes=tuple(_node(k, entry) for k, entry in enumerate(nodes)),
            resolution=None if resolution is None else float(resolution),
            steps=None if steps is None else np.array(steps, np.float64),
        )


def _node(k: int, entry: Any) -> Node:
    if isinstance(entry, list) and len(entry) == 1 and _is_indices(entry[0]):
        return Node(tuple(entry[0]))
    if isinstance(entry, list) and len(entry) == 3:
        vectors, query, parts = entry
        parted = isinstance(parts, list) and len(parts) > 0 and all(map(_is_indices, parts))
        if _is_indices(vectors) and type(query) is int and parted:
            return Node(tuple(vectors), query, tuple(map(tuple, parts)))
    raise TableError(
        f"node {k} of the proof is neither [vectors] nor [vectors, query, parts]; write the plan "
        "again"
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and type(value) is not bool and abs(value) <= 1e300


def _is_list(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, list) for value in values)


def _is_vector(values: Any, width: int) -> bool:
    return isinstance(values, list) and len(values) == width and all(map(_is_number, values))


def _is_indices(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int for value in values)


def rooted(
    prices: Sequence[Prices],
    *,
    cutoff: float,
    resolution: float | None = None,
    steps: Floats | None = None,
) -> Proof:
    """A tree of one node: prices applied to the whole problem, one after the other.

    Parameters
    ----------
    prices
        At least one.
    steps
        Those of `tightened`, if the core is of a problem made so.
    """
    return Proof(
        cutoff=cutoff,
        vectors=np.array([one.vector for one in prices], np.float64),
        rays=np.zeros(len(prices), bool),
        nodes=(Node(tuple(range(len(prices)))),),
        resolution=resolution,
        steps=steps,
    )


def lift(proof: Proof | None, queries: Ints, first: Proof) -> Proof:
    """The proof of a whole problem from that of its core.

    Parameters
    ----------
    proof
        Of the core; None where what came first reaches the cutoff.
    queries
        The core's queries, by their numbers in the whole problem.
    first
        What left the core, as `rooted` gives it: one node, with the cutoff and the lattice of
        the whole problem.
    """
    if proof is None:
        return first
    before = len(first.vectors)
    nodes = [
        Node(
            tuple(v + before for v in node.vectors),
            int(queries[node.query]) if node.parts else -1,
            node.parts,
        )
        for node in proof.nodes
    ]
    nodes[0] = replace(nodes[0], vectors=first.nodes[0].vectors + nodes[0].vectors)
    return replace(
        first,
        vectors=np.concatenate([first.vectors, proof.vectors]),
        rays=np.concatenate([first.rays, proof.rays]),
        nodes=tuple(nodes),
    )


# The checker --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Checked:
    """What a proof proves.

    Attributes
    ----------
    bound
        No routing that keeps the limits is below this, in minimised objective units; ``inf``
        if there is none, ``-inf`` where the tree is not one.
    flaw
        Why the tree is not one, with the path of the node; empty if it is.
    short
        Where, if anywhere, a leaf does not reach the cutoff, and how many do not. The bound is
        then the least of those leaves: a weaker theorem, not a flaw.
    nodes, leaves
        Of the tree.
    """

    bound: float
    flaw: str
    short: str
    nodes: int
    leaves: int


def check_proof(
    problem: RoutingProblem, proof: Proof, limits: Sequence[Fraction] | None = None
) -> Checked:
    """Walk a tree of prices and say what it proves, whoever made it.

    Parameters
    ----------
    problem
        The whole problem.
    limits
        What the routings are to keep, ``K`` numbers; the problem's limits if not given.

    Returns
    -------
    Checked
        The bound is a theorem about the numbers in the table: never above the exact optimum of
        the routings that keep the limits.

    Notes
    -----
    The first vectors run over the whole table. Once most queries have one open pair left,
    these are summed once and the walk goes on with the others, so a leaf costs a pass over the
    core. No recursion; a tree may have a hundred thousand nodes.
    """
    return _Walk(problem, proof, limits).run()


def trimmed(
    problem: RoutingProblem, proof: Proof, limits: Sequence[Fraction] | None = None
) -> tuple[Proof, Checked]:
    """The proof without what its own cutoff makes needless, and what it proves.

    A search drops pairs under the incumbent of the moment. A later one lowers the cutoff, and
    what was dropped under the higher is dropped under the lower; so the tree stands, and where
    a node now closes earlier, what is below it goes.
    """
    walk = _Walk(problem, proof, limits)
    checked = walk.run()
    return (proof if checked.flaw else walk.kept()), checked


@dataclass(slots=True, eq=False)
class _Kept:
    """A node as the walk found it: its children that are not empty.

    Of the vectors, those that dropped or closed something, or only raised the bound.
    """

    vectors: list[tuple[int, bool]] = field(default_factory=list)
    query: int = -1
    children: list[tuple[tuple[int, ...], "_Kept"]] = field(default_factory=list)


_Path: TypeAlias = tuple[Any, int] | None


@dataclass(slots=True, eq=False)
class _Task:
    """A node to come: where it works, its open pairs (None: all that are allowed), its bound."""

    region: Region
    pairs: Bools | None
    bound: float
    path: _Path
    kept: _Kept
    parent: _Kept | None = None
    part: tuple[int, ...] = ()
    closed: bool = False


class _FlawError(Exception):
    """The tree is not one; the message says why."""


class _Walk:
    def __init__(
        self, problem: RoutingProblem, proof: Proof, limits: Sequence[Fraction] | None
    ) -> None:
        self._problem, self._proof = problem, proof
        self._limits = fractions(problem.limit) if limits is None else list(limits)
        self._root = _Kept()
        self._least = math.inf
        self._n_short, self._first_short = 0, ""
        self._position = 0

    def run(self) -> Checked:
        proof = self._proof
        flaw = ""
        try:
            self._check_vectors()
            self._walk()
        except _FlawError as error:
            flaw = str(error)
        bound = -math.inf
        if not flaw:
            bound = implied_bound(min(self._least, proof.cutoff), proof.resolution, self._problem)
        short = ""
        if self._n_short and not flaw:
            short = f"{self._n_short} of {proof.n_leaves} leaves stop short of the cutoff (first: "
            short += f"node {self._first_short})"
        return Checked(bound, flaw, short, len(proof.nodes), proof.n_leaves)

    def _check_vectors(self) -> None:
        proof, k = self._proof, self._problem.n_rows
        vectors = proof.vectors
        if math.isnan(proof.cutoff):
            raise _FlawError("the cutoff is no number")
        if vectors.ndim != 2 or proof.rays.shape != vectors.shape[:1]:
            raise _FlawError("the vectors are no (V, K) array with a mark for each")
        if len(vectors) and vectors.shape[1] != k:
            raise _FlawError(f"the vectors price {vectors.shape[1]} limits, and there are {k}")
        if not (np.isfinite(vectors).all() and (vectors >= 0).all()):
            raise _FlawError("a price is negative or not finite")
        if proof.steps is not None:
            if proof.steps.shape != (k,):
                raise _FlawError(f"the steps of usage are not one for each of {k} limits")
            if not (np.isfinite(proof.steps).all() and (proof.steps >= 0).all()):
                raise _FlawError("a step of usage is negative or not finite")

    def _next(self, path: _Path) -> Node:
        if self._position == len(self._proof.nodes):
            raise _FlawError(f"node {_named(path)} is missing")
        self._position += 1
        return self._proof.nodes[self._position - 1]

    def _walk(self) -> None:
        limits = self._limits
        if self._proof.steps is not None:
            limits = implied_limits(self._problem, limits, self._proof.steps)
        region = Region.whole(self._problem, limits)
        stack = [_Task(region, None, -math.inf, None, self._root)]
        while stack:
            task = stack.pop()
            node = self._next(task.path)
            pairs = self._apply(task, node)
            if pairs is None:
                self._skip(node, task.path)
                if task.parent is not None and task.kept.vectors:
                    task.parent.children.append((task.part, task.kept))
                continue
            if task.parent is not None:
                task.parent.children.append((task.part, task.kept))
            if node.parts:
                stack += reversed(self._branch(task, node, pairs))
            elif task.bound < self._proof.cutoff:
                self._least = min(self._least, task.bound)
                self._n_short += 1
                self._first_short = self._first_short or _named(task.path)
        if self._position < len(self._proof.nodes):
            raise _FlawError(f"{len(self._proof.nodes) - self._position} nodes belong to no branch")

    def _apply(self, task: _Task, node: Node) -> Bools | None:
        """Apply the node's vectors; its open pairs, or None once it is closed."""
        proof, pairs = self._proof, task.pairs
        if task.closed:
            return None
        for v in node.vectors:
            if not 0 <= v < len(proof.vectors):
                raise _FlawError(f"node {_named(task.path)} names vector {v}, which is not there")
            left = task.region.settle(
                pairs, proof.vectors[v], proof.cutoff, ray=bool(proof.rays[v])
            )
            if left.dropped or left.bound > task.bound:
                task.kept.vectors.append((v, left.dropped))
            task.bound = max(task.bound, left.bound)
            task.region, pairs = left.region, left.pairs
            if pairs is None:
                return None
        return allowed_pairs(self._problem) if pairs is None else pairs

    def _branch(self, task: _Task, node: Node, pairs: Bools) -> list[_Task]:
        n, m = self._problem.n_queries, self._problem.n_models
        if not 0 <= node.query < n:
            raise _FlawError(f"node {_named(task.path)} branches on query {node.query} of {n}")
        row, models = task.region.open_models(pairs, node.query)
        held = np.zeros(m, bool)
        tasks = []
        for k, part in enumerate(node.parts):
            mine = np.zeros(m, bool)
            if any(not 0 <= j < m for j in part):
                raise _FlawError(
                    f"node {_named(task.path)} gives query {node.query} a model that is not there"
                )
            mine[list(part)] = True
            held |= mine
            closed = not mine[models].any()
            left = pairs
            if row >= 0 and not closed:
                left = pairs.copy()
                left[row] &= mine
            tasks.append(
                _Task(
                    task.region,
                    left,
                    task.bound,
                    path=(task.path, k),
                    kept=_Kept(),
                    parent=task.kept,
                    part=part,
                    closed=closed,
                )
            )
        missing = models[~held[models]]
        if missing.size:
            raise _FlawError(
                f"node {_named(task.path)} leaves out model {missing[0]} of query {node.query}, "
                "which is still open"
            )
        task.kept.query = node.query
        return tasks

    def _skip(self, node: Node, path: _Path) -> None:
        """Pass over the tree below a closed node."""
        waiting = len(node.parts)
        while waiting:
            waiting += len(self._next(path).parts) - 1

    def kept(self) -> Proof:
        """The tree without what did nothing; where no leaf stops short, a bound does nothing."""
        proof = self._proof
        nodes: list[Node] = []
        number: dict[int, int] = {}
        stack = [self._root]
        while stack:
            node = stack.pop()
            vectors = list(node.vectors)
            while len(node.children) == 1:  # the other parts were empty: no branch
                node = node.children[0][1]
                vectors += node.vectors
            needed = [v for v, useful in vectors if useful or self._n_short]
            used = tuple(number.setdefault(v, len(number)) for v in needed)
            if node.children:
                parts = tuple(part for part, _ in node.children)
                nodes.append(Node(used, node.query, parts))
                stack += [child for _, child in reversed(node.children)]
            else:
                nodes.append(Node(used))
        order = list(number)
        return replace(
            proof, vectors=proof.vectors[order], rays=proof.rays[order], nodes=tuple(nodes)
        )


def _named(path: _Path) -> str:
    """A node by the child numbers that lead to it from the root."""
    steps = []
    while path is not None:
        path, k = path
        steps.append(str(k))
    return ".".join(["root", *reversed(steps)])
