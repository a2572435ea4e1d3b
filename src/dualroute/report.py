"""A plan for people: the certificate, every limit, and who does what, in short tables."""

import io
import math
import sys
from collections.abc import Iterable

import numpy as np
from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from dualroute.demo import Demo
from dualroute.routing import LimitLine, Plan

_MOST_LINES = 20
_NEAR = 1e-4
_LONGEST_NAME = 200
_NARROWEST = 118


def print_report(*parts: RenderableType, width: int = _NARROWEST) -> None:
    """Print report parts, at least so wide where the output is no terminal.

    Names are printed as they are: nothing in them is markup, and what would steer the terminal
    is replaced.
    """
    console = Console(highlight=False, markup=False, emoji=False)
    width = max(console.width, _NARROWEST) if console.is_terminal else width
    written = io.StringIO()
    page = Console(
        file=written,
        force_terminal=console.is_terminal,
        color_system="standard" if console.is_terminal else None,
        highlight=False,
        markup=False,
        emoji=False,
        width=width,
    )
    for part in parts:
        page.print(part)
    sys.stdout.write("\n".join(line.rstrip() for line in written.getvalue().splitlines()) + "\n")


def plan_report(plan: Plan) -> Group:
    """Everything about a plan: certificate, limits, split over models, and a remark."""
    parts: list[RenderableType] = [certificate_table(plan)]
    if plan.problem.rows:
        parts.append(limits_table(plan))
    if plan.assignment is not None:
        parts.append(models_table(plan))
    if plan.given and plan.costliest(1):
        parts.append(costliest_table(plan))
    parts += [Text(remark) for remark in remarks(plan)]
    return Group(*parts)


def certificate_table(plan: Plan) -> Table:
    """Objective, bound, gap and verdict."""
    problem, certificate = plan.problem, plan.certificate
    sense = "maximize" if problem.maximize else "minimize"
    table = Table(title="Certificate", title_justify="left", show_header=False, box=box.SIMPLE_HEAD)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("verdict", Text(plain(certificate.verdict), style="bold"))
    table.add_row("batch", f"{problem.n_queries} queries, {problem.n_models} models")
    if certificate.value < math.inf:
        label = "objective" if certificate.feasible else "objective, limits broken"
        value = number(problem.reported(certificate.value))
        table.add_row(label, f"{value}  ({sense} {problem.unit}, total over the batch)")
    if math.isfinite(certificate.bound):
        which = "at most" if problem.maximize else "at least"
        bound = number(plan.certified_bound)
        by = f"prices: {plan.bound_by}"
        if certificate.proof_nodes is not None:
            by = f"by a tree of {certificate.proof_nodes} nodes, {certificate.proof_leaves} leaves"
        table.add_row("certified bound", f"{bound}  (any routing: {which}; {by})")
    if certificate.feasible and math.isfinite(certificate.gap):
        relative = f"{certificate.mip_rel_gap:.2e} of the objective"
        split = f"regret {number(certificate.regret)} + idle limits {number(certificate.idle)}"
        if certificate.proof_nodes is not None:
            split += " at the prices"
        table.add_row("gap", f"{number(certificate.gap)}  ({relative}; {split})")
    if math.isfinite(plan.best_bound):
        table.add_row("solver's own bound", f"{number(plan.best_bound)}  (a claim)")
    solution = plan.solution
    if plan.given:
        table.add_row("routing", "given")
    else:
        table.add_row(
            "solver",
            f"{solution.solver}: claims {solution.status}, stopped on {solution.termination}, "
            f"{solution.seconds:.2f} s, {solution.iterations} iterations",
        )
    table.add_row("feasibility tolerance", f"{problem.tolerance:g} of each limit")
    return table


def limits_table(plan: Plan) -> Table:
    """Every limit with use, slack and price; the tightest first where there are many."""
    lines = list(plan.limits())
    shown = _most_telling(lines)
    title = "Limits"
    if len(shown) < len(lines):
        title += f" ({len(shown)} of {len(lines)}, broken and dearest first; all in --json)"
    weighed = plan.certificate.infeasible and plan.certificate.proof_nodes is None
    worth = "weight" if weighed else "price"
    table = ruled_table(title, ("limit",), ("use", "", "limit", "slack", worth, "exact excess"))
    table.add_column("unit", overflow="fold")
    for line in shown:
        table.add_row(
            plain(f"{line.name} {line.pool}".strip()),
            short(line.use),
            line.relation,
            short(line.limit),
            short(line.slack),
            short(line.price),
            number(line.excess) if line.excess > 0 else short(line.excess),
            plain(line.unit),
            style="bold red" if line.kept is False else None,
        )
    meaning = "of the proof, per" if weighed else f"{plan.problem.unit} per"
    table.caption = f"{worth}: {meaning} unit of the limit"
    table.caption_justify = "left"
    return table


def models_table(plan: Plan) -> Table:
    """Queries, cost and quality per model."""
    lines = plan.per_model()
    table = ruled_table("Models", ("model",), ("queries", "share", "cost", "mean quality"))
    total = sum(line.queries for line in lines)
    for line in sorted(lines, key=lambda line: -line.queries):
        if line.queries:
            table.add_row(
                plain(line.model),
                str(line.queries),
                f"{100 * line.queries / total:.1f} %",
                "" if line.cost is None else short(line.cost),
                "" if line.quality is None else f"{line.quality / line.queries:.4f}",
            )
    idle = sum(line.queries == 0 for line in lines)
    if idle:
        table.caption = f"{idle} further models get no query"
        table.caption_justify = "left"
    return table


def costliest_table(plan: Plan) -> Table:
    """The choices that cost most against the prices, in words."""
    table = ruled_table("Costliest choices at the prices", ("choice",), ("regret",))
    unit = plan.problem.unit
    for line in plan.costliest():
        table.add_row(
            plain(
                f"{line.query}: {line.model} ({short(line.objective)}), where "
                f"{line.better} ({short(line.better_objective)}) would do"
            ),
            short(line.regret),
        )
    table.caption = f"in {unit}; regret: with limits charged at their prices, adds up to the gap"
    table.caption_justify = "left"
    return table


def remarks(plan: Plan) -> list[str]:
    """What a reader should know beside the numbers."""
    said = [margin.words for margin in plan.margins]
    if plan.priced_by:
        said.append(f"Costs are predicted with {plan.priced_by}.")
    if _one_lambda_does(plan):
        said.append("No capacity binds: a single calibrated lambda does as well here.")
    if plan.certificate.infeasible and plan.certificate.proof_nodes is None:
        said.append(_contradiction(plan))
    return said


def ruled_table(title: str, left: Iterable[str], right: Iterable[str]) -> Table:
    """A table under a title, words to the left and numbers to the right."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in left:
        table.add_column(heading, overflow="fold")
    for heading in right:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def plain(name: str) -> str:
    """A name without characters that would steer a terminal, and of bearable length."""
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)
    return shown if len(shown) <= _LONGEST_NAME else shown[: _LONGEST_NAME - 3] + "..."


def short(value: float) -> str:
    """Six significant digits."""
    return "-" if math.isnan(value) else f"{value:.6g}"


def number(value: float) -> str:
    """Up to ten significant digits, without an exponent where that is short."""
    if math.isnan(value):
        return "-"
    return f"{value:.10g}"


def _one_lambda_does(plan: Plan) -> bool:
    """Whether the plan is all but optimal with room at every model and one priced limit at most.

    Its bound is then reached with that one price, so the lambda rule at it reaches the same, up
    to about one query.
    """
    certificate, prices = plan.certificate, plan.solution.prices
    near = certificate.mip_rel_gap <= _NEAR and certificate.proof_nodes is None
    if not (certificate.feasible and near and prices is not None and plan.problem.rows):
        return False
    priced = 0
    families = zip(plan.problem.rows, certificate.excess, prices.values, strict=True)
    for rows, excess, price in families:
        if rows.pool.shape[1] > 1:  # a query can turn to another pool: the capacity of a model
            if price.any() or not (excess < 0).all():
                return False
        else:
            priced += int(np.count_nonzero(price))
    return priced <= 1


def _contradiction(plan: Plan) -> str:
    """Why no routing keeps the limits, in words: what every routing needs, and what there is."""
    weighing = [line for line in plan.limits() if line.price > 0]
    needed, held = plan.certificate.needed, plan.certificate.held
    names = list(dict.fromkeys(line.name for line in weighing))
    alike = len(names) == 1 and min(line.price for line in weighing) > 1 - 1e-9
    if not alike:
        return (
            f"Weighted as above, every routing uses at least {short(needed)} of "
            f"{_joined(names)} (a floor counts negative), and the limits hold {short(held)}: "
            "widen them, or allow more models."
        )
    which = f"{names[0]} {weighing[0].pool}".strip() if len(weighing) == 1 else names[0]
    if weighing[0].relation == ">=":
        return (
            f"No routing reaches more than {short(-needed)} of {which}, and {short(-held)} is "
            "asked: lower it, or allow more models."
        )
    return (
        f"Every routing uses at least {short(needed)} of {which}, which holds {short(held)}"
        f"{' together' if len(weighing) > 1 else ''}: widen it, or allow more models."
    )


def _most_telling(lines: list[LimitLine]) -> list[LimitLine]:
    if len(lines) <= _MOST_LINES:
        return lines
    ranked = sorted(lines, key=lambda line: (line.kept is not False, -line.price * abs(line.limit)))
    kept = set(map(id, ranked[:_MOST_LINES]))
    return [line for line in lines if id(line) in kept]


def _joined(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def demo_report(demo: Demo) -> Group:
    """The demo: its plan, and the plan beside HiGHS, the lambda rule and the truth."""
    plan, truth = demo.plan, demo.clairvoyant
    n = plan.outcomes.n_queries
    parts: list[RenderableType] = [Text(demo.workload.note), plan_report(plan)]
    table = ruled_table(
        "The same predictions, other solvers (predicted totals)",
        ("solver",),
        ("predicted quality", "certified gap", "seconds", "stopped on"),
    )
    labels = ("lagrangian (ours)", "highs (exact MILP)", "lambda rule (excused from the floor)")
    for label, one in zip(labels, (plan, demo.exact, demo.rival), strict=True):
        gap = one.certificate.mip_rel_gap
        table.add_row(
            label,
            number(round(one.objective, 6)),
            f"{gap:.1e}" if math.isfinite(gap) else "-",
            f"{one.solution.seconds:.2f}",
            str(one.solution.termination),
        )
    parts.append(table)
    parts += [Text(line) for line in _realised_lines(demo)]
    if truth.certificate.feasible and demo.realised is not None:
        parts.append(
            Text(
                f"Knowing every answer beforehand would allow {truth.objective / n:.4f} under the "
                "same limits: prediction error costs "
                f"{truth.objective / n - demo.realised.quality:.4f}, "
                f"the solver's gap at most {plan.certificate.gap / n:.1e}."
            )
        )
    return Group(*parts)


def _realised_lines(demo: Demo) -> list[str]:
    """Ours beside HiGHS and the lambda rule on the simulated truth, at equal cost."""
    lines = []
    if demo.realised is not None:
        words = (
            f"On the simulated truth the plan costs {demo.realised.cost:.4f} USD at mean quality "
        )
        words += f"{demo.realised.quality:.4f}"
        if demo.exact_realised is not None:
            words += (
                f"; HiGHS's costs {demo.exact_realised.cost:.4f} USD at "
                f"{demo.exact_realised.quality:.4f}"
            )
        lines.append(words + ".")
    rival = demo.against_rival
    if rival is not None:
        verdict = "better" if rival.low > 0 else "worse" if rival.high < 0 else "not told apart"
        equal = "At equal realised cost" if rival.bracketed else "Against its nearest cost"
        lines.append(
            f"{equal} the lambda rule reaches {rival.rival_quality:.4f}: ours is "
            f"{rival.difference:+.4f} ({100 * rival.level:g} % interval {rival.low:+.4f} to "
            f"{rival.high:+.4f}: {verdict})."
        )
    return lines
