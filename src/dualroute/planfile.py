"""Plans on disk: a routing as a table, or routing, prices and proof together as JSON."""

import gzip
import json
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dualroute.arrays import Ints
from dualroute.errors import TableError
from dualroute.outcomes import Outcomes
from dualroute.problem import Prices, RoutingProblem
from dualroute.proof import Node, Proof
from dualroute.routing import Plan
from dualroute.tables import write_atomically, write_routing

_FORMAT = "dualroute plan"
_VERSION = 2
_READ = (1, 2)  # 1 has no proof
_SUFFIXES = (".csv", ".csv.gz", ".parquet", ".json", ".json.gz")
_PACKED = b"\x1f\x8b"


def check_suffix(path: str) -> None:
    """Raise `TableError` unless a plan can be written under this name."""
    if not path.lower().endswith(_SUFFIXES):
        raise TableError(f"{path}: a plan is written as {', '.join(_SUFFIXES)}; choose one")


def write_plan(path: str, plan: Plan) -> None:
    """Write a plan's routing; as JSON, its prices and proof too. All of it or nothing.

    Raises
    ------
    TableError
        If the name has another suffix, or the file cannot be written.
    """
    check_suffix(path)
    if not is_plan_file(path):
        write_routing(path, plan.outcomes.queries, plan.routed)
        return
    prices = plan.solution.prices
    content = {
        "format": _FORMAT,
        "version": _VERSION,
        "verdict": plan.certificate.verdict,
        "routing": dict(
            zip(map(str, plan.outcomes.queries.tolist()), plan.routed.tolist(), strict=True)
        ),
        "prices": None
        if prices is None
        else {
            rows.name: values.tolist()
            for rows, values in zip(plan.problem.rows, prices.values, strict=True)
        },
    }
    text = json.dumps(content, indent=1, allow_nan=False)
    proof = plan.solution.proof
    if proof is not None and plan.certificate.proof_nodes is not None:
        # On one line: a tree of some size would be all line breaks.
        held = {
            "models": list(plan.outcomes.models),
            "limits": _limits(plan.problem),
            "tree": proof.to_plain(),
        }
        packed = json.dumps(held, separators=(",", ":"), allow_nan=False)
        text = f'{text[:-2]},\n "proof": {packed}\n}}'
    data = (text + "\n").encode()
    if path.lower().endswith(".gz"):
        data = gzip.compress(data, mtime=0)
    write_atomically(path, lambda target: target.write_bytes(data))


def is_plan_file(path: str) -> bool:
    """Whether a file is meant to be a JSON plan, by its name."""
    return path.lower().endswith((".json", ".json.gz"))


def read_plan(
    path: str, outcomes: Outcomes, problem: RoutingProblem
) -> tuple[Ints, Prices | None, Proof | None]:
    """Routing, shape ``(n,)``, prices and proof of a JSON plan, for these outcomes and limits.

    Prices come back only where the plan has them for every limit of the problem, and a proof
    only where it prices the same limits; its queries and models are found by name.

    Raises
    ------
    TableError
        If the file is no such plan, or routes other queries or models than the table's.
    """
    content = _content(path)
    routing = content["routing"]
    index = {name: j for j, name in enumerate(outcomes.models)}
    names = list(map(str, outcomes.queries.tolist()))
    missing = [name for name in names if name not in routing]
    if missing:
        raise TableError(
            f"{path}: {len(missing)} of {len(names)} queries are not routed (first: "
            f"{missing[0]!r}); route every query of the table"
        )
    if len(routing) > len(names):
        known = set(names)
        strange = next(name for name in routing if name not in known)
        raise TableError(f"{path}: routes query {strange!r}, which the table does not have")
    unknown = next((name for name in names if routing[name] not in index), None)
    if unknown is not None:
        raise TableError(
            f"{path}: query {unknown!r} goes to model {routing[unknown]!r}, which the table does "
            "not have"
        )
    assignment = np.array([index[routing[name]] for name in names], np.intp)
    held = content.get("prices") or {}
    values = [np.asarray(held.get(rows.name, ()), np.float64) for rows in problem.rows]
    fits = [v.shape == (rows.n_pools,) for v, rows in zip(values, problem.rows, strict=True)]
    prices = Prices(tuple(values)) if held and all(fits) else None
    return assignment, prices, _proof(path, content, names, index, problem)


def _proof(
    path: str,
    content: dict[str, Any],
    names: list[str],
    index: dict[str, int],
    problem: RoutingProblem,
) -> Proof | None:
    """The plan's proof, in the numbers of this table and these limits."""
    held = content.get("proof")
    if held is None or content["version"] == 1:
        return None
    if not isinstance(held, dict):
        raise TableError(f"{path}: the plan's proof holds no tree; write it again with --out")
    models, limits = held.get("models"), held.get("limits")
    if not isinstance(models, list) or not isinstance(limits, list):
        raise TableError(f"{path}: the plan's proof does not name its models and limits")
    try:
        proof = Proof.from_plain(held.get("tree"))
    except TableError as error:
        raise TableError(f"{path}: {error}") from None
    # Limits are matched by family and pool; pairs that repeat, by their order.
    wanted = _limits(problem)
    if limits != wanted:
        places = {str(limit): k for k, limit in enumerate(limits)}
        same = sorted(map(str, limits)) == sorted(map(str, wanted))
        if not same or len(places) < len(limits):
            return None
        if proof.vectors.size:
            order = [places[str(limit)] for limit in wanted]
            if proof.vectors.shape[1] != len(order):
                return None
            proof = replace(proof, vectors=proof.vectors[:, order])
            if proof.steps is not None and proof.steps.size == len(order):
                proof = replace(proof, steps=proof.steps[order])
    query_of = {name: i for i, name in enumerate(names)}
    queries = [query_of.get(name, -1) for name in content["routing"]]
    translated = [index.get(model, -1) if isinstance(model, str) else -1 for model in models]
    if queries == list(range(len(names))) and translated == list(range(len(index))):
        return proof
    nodes = tuple(
        Node(
            node.vectors,
            _at(queries, node.query) if node.parts else -1,
            # What the table does not have cannot be routed to.
            tuple(
                tuple(j for j in (_at(translated, j) for j in part) if j >= 0)
                for part in node.parts
            ),
        )
        for node in proof.nodes
    )
    return replace(proof, nodes=nodes)


def _at(numbers: list[int], k: int) -> int:
    return numbers[k] if 0 <= k < len(numbers) else -1


def _limits(problem: RoutingProblem) -> list[list[str]]:
    """Every limit as family and pool."""
    return [
        [rows.name, rows.labels[r] if rows.labels else str(r)]
        for rows in problem.rows
        for r in range(rows.n_pools)
    ]


def _are_prices(values: Any) -> bool:
    return isinstance(values, list) and all(
        isinstance(p, int | float) and not isinstance(p, bool) and 0 <= p <= 1e100 for p in values
    )


def _content(path: str) -> dict[str, Any]:
    try:
        data = Path(path).read_bytes()
        if data[:2] == _PACKED:
            data = gzip.decompress(data)
        content = json.loads(data.decode("utf-8"))
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise TableError(f"{path}: not whole gzip ({error}); write the plan again") from None
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({error.strerror}); check the name") from None
    except (ValueError, RecursionError) as error:
        raise TableError(
            f"{path}: not valid JSON ({error}); give a plan written by --out"
        ) from None
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise TableError(f"{path}: no plan of dualroute's; give one written by --out, or a table")
    if content.get("version") not in _READ or type(content["version"]) is not int:
        raise TableError(
            f"{path}: plan version {content.get('version')!r}; this program reads "
            f"{_READ[0]} to {_READ[-1]}"
        )
    routing, prices = content.get("routing"), content.get("prices") or {}
    if not isinstance(routing, dict) or not all(isinstance(m, str) for m in routing.values()):
        raise TableError(f"{path}: the plan holds no routing; write it again with --out")
    if not isinstance(prices, dict) or not all(map(_are_prices, prices.values())):
        raise TableError(f"{path}: the plan's prices are no lists of numbers of at least 0")
    return content
