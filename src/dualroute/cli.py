"""The command line: every command reads, calls one function of the package, and prints.

Nothing of the package but this module and its errors is imported before a command runs, so
that ``--help`` answers at once.
"""

import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeAlias, cast

import typer

from dualroute.errors import OptionError, RoutingError

if TYPE_CHECKING:
    from dualroute.bench import SuiteRow
    from dualroute.formulation import Limit, Restriction
    from dualroute.outcomes import Outcomes
    from dualroute.problem import Prices
    from dualroute.proof import Proof
    from dualroute.routing import Plan
    from dualroute.solver import Progress, SolveOptions

app = typer.Typer(
    name="dualroute",
    help="Decide which language model answers which query, and prove how good the decision is.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

bench = typer.Typer(rich_markup_mode=None)
app.add_typer(bench, name="bench", help="Run public benchmark suites and scaling runs.")

# Bad options and arguments: the base of the one such error that typer names in public.
_USAGE_ERRORS: Any = typer.BadParameter.__mro__[2]


class Exit(IntEnum):
    """Exit status of every command."""

    ANSWERED = 0
    NOTHING_FOUND = 1
    UNUSABLE_INPUT = 2
    INTERRUPTED = 130


_TIME_LIMIT = 60.0
_EXPLAIN_SECONDS = 5.0  # at least, to say why no routing keeps the limits
_WIDE = 140  # columns of a comparison
_Objectives: TypeAlias = tuple[str | Mapping[str, float] | None, str | Mapping[str, float] | None]

TablePath = Annotated[
    str,
    typer.Argument(metavar="TABLE", help="Outcomes: CSV, CSV.gz or Parquet, long or wide."),
]
Minimize = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="What to minimise: a column, or 'cost + 0.002*latency'."),
]
Maximize = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="What to maximise, instead of --minimize.")
]
BudgetUsd = Annotated[
    float | None,
    typer.Option("--budget", metavar="USD", help="Total cost of the batch, in the column's unit."),
]
FloorMean = Annotated[
    float | None,
    typer.Option("--quality-floor", metavar="MEAN", help="Least mean quality, in [0, 1]."),
]
FloorTotal = Annotated[
    float | None, typer.Option("--quality-total", metavar="SUM", help="Least total quality.")
]
CapacityList = Annotated[
    list[str] | None,
    typer.Option(
        "--capacity", metavar="N|MODEL=N", help="Requests each model takes, or one model; repeat."
    ),
]
LimitsFile = Annotated[
    str | None,
    typer.Option("--limits", metavar="FILE.toml", help="Further limits, one [[limit]] each."),
]
CostColumn = Annotated[
    str | None, typer.Option("--cost", metavar="COLUMN", help="The table's cost column.")
]
QualityColumn = Annotated[
    str | None, typer.Option("--quality", metavar="COLUMN", help="The table's quality column.")
]
QueryColumn = Annotated[
    str, typer.Option("--query", metavar="COLUMN", help="The column of query names.")
]
ModelColumn = Annotated[
    str, typer.Option("--model", metavar="COLUMN", help="The column of model names.")
]
PredictorName = Annotated[
    str, typer.Option("--predictor", metavar="NAME", help="A predictor; see 'dualroute list'.")
]
EmbeddingName = Annotated[
    str | None,
    typer.Option(
        "--embedding", metavar="NAME[:DIR]", help="What makes vectors of texts; see 'list'."
    ),
]
PricesSource = Annotated[
    str | None,
    typer.Option(
        "--prices",
        metavar="SOURCE",
        help="Costs from prices and tokens: genai-prices, litellm, or a CSV of prices.",
    ),
]
Confidence = Annotated[
    float | None,
    typer.Option(
        metavar="P", help="Chance that floor and budget given here hold on what really happens."
    ),
]
SolverName = Annotated[
    str, typer.Option("--solver", metavar="NAME", help="A solver; see 'dualroute list'.")
]
Gap = Annotated[
    float, typer.Option("--gap", metavar="REL", help="Stop at this gap, relative to the objective.")
]
TimeLimit = Annotated[
    float,
    typer.Option("--time-limit", metavar="SECONDS", help="Stop then with the best so far."),
]
Seed = Annotated[int, typer.Option("--seed", help="Same seed, same answer.")]
Threads = Annotated[int, typer.Option("--threads", help="Most threads a solver may use.")]
Tolerance = Annotated[
    float,
    typer.Option(
        "--feasibility-tolerance", metavar="REL", help="Relative to each limit; 0 for exactness."
    ),
]
Out = Annotated[
    str | None,
    typer.Option(
        "--out", metavar="PLAN", help="Write the routing: .csv, .csv.gz, .parquet, or .json."
    ),
]
Relax = Annotated[
    bool,
    typer.Option("--relax", help="Where the limits exclude each other, break them least."),
]
Json = Annotated[
    str | None,
    typer.Option("--json", metavar="FILE|-", help="Write JSON there; '-' prints nothing else."),
]
SuiteFolder = Annotated[
    str, typer.Argument(metavar="DIR", help="The folder that holds best_known.csv.")
]
Only = Annotated[
    str, typer.Option("--only", metavar="PATTERN", help="Instances wanted, such as 'e*'.")
]
InstanceTime = Annotated[
    float, typer.Option("--time-limit", metavar="SECONDS", help="For each instance.")
]


def _version(wanted: bool) -> None:
    if wanted:
        from dualroute import __version__

        typer.echo(__version__)
        raise typer.Exit()


@app.callback()
def _options_of_all(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


@app.command()
def demo(
    queries: Annotated[int, typer.Option(help="Queries in the batch.")] = 5000,
    history: Annotated[int, typer.Option(help="Queries in the log learned from.")] = 6000,
    predictor: Annotated[str, typer.Option(help="A predictor; see 'dualroute list'.")] = (
        "retrieval"
    ),
    save: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Write the tables there, to try other commands."),
    ] = None,
    seed: Seed = 0,
    json: Json = None,
) -> None:
    """Run the main job on an embedded, simulated workload: from texts to a certificate."""
    from dualroute import registry
    from dualroute.demo import run_demo
    from dualroute.report import demo_report, print_report

    if queries < 1 or history < 1:
        raise OptionError("--queries and --history are at least 1")
    _usable(None, json, "lagrangian", 0.0)
    registry.load("predictors", predictor)
    done = run_demo(queries, n_history=history, seed=seed, predictor=predictor, tell=_note)
    if save is not None:
        done.save(Path(save))
        _note(f"wrote history.csv, queries.csv and truth.csv to {save}")
    _emit(json, done.to_dict(), lambda: print_report(demo_report(done)))
    _leave(done.plan)


@app.command()
def solve(
    table: TablePath,
    minimize: Minimize = None,
    maximize: Maximize = None,
    budget: BudgetUsd = None,
    quality_floor: FloorMean = None,
    quality_total: FloorTotal = None,
    capacity: CapacityList = None,
    limits: LimitsFile = None,
    cost: CostColumn = None,
    quality: QualityColumn = None,
    query: QueryColumn = "query_id",
    model: ModelColumn = "model",
    solver: SolverName = "lagrangian",
    gap: Gap = 0.0,
    time_limit: TimeLimit = _TIME_LIMIT,
    seed: Seed = 0,
    threads: Threads = 1,
    feasibility_tolerance: Tolerance = 1e-9,
    relax: Relax = False,
    out: Out = None,
    policy: Annotated[
        str | None,
        typer.Option(metavar="FILE.json", help="Write the plan's prices as an online policy."),
    ] = None,
    horizon: Annotated[
        float | None,
        typer.Option(metavar="N", help="Queries the policy is for; as many as here if not given."),
    ] = None,
    json: Json = None,
) -> None:
    """Route a table of outcomes under limits, with a certificate."""
    from dualroute import routing

    _usable(out, json, solver, feasibility_tolerance)
    if horizon is not None and policy is None:
        raise OptionError("--horizon is of a policy; give --policy FILE.json with it")
    least, most = _objectives(minimize, maximize)
    progress = _Progress(maximize=most is not None)
    options = _options(gap, time_limit, seed, threads, progress)
    asked = _limits(budget, quality_floor, quality_total, capacity, limits)
    outcomes = _outcomes(table, (least, most), asked, cost, quality, query, model)
    with _about(table), progress:
        plan = routing.solve(
            outcomes,
            minimize=least,
            maximize=most,
            limits=asked,
            solver=solver,
            options=options,
            tolerance=feasibility_tolerance,
        )
    if policy is not None and plan.assignment is not None:
        from dualroute.policy import Policy
        from dualroute.policyfile import write_policy

        write_policy(policy, Policy.of(plan, horizon=horizon))
    _finish_infeasible(plan, solver, options, out, json, relax=relax)


@app.command()
def route(
    queries: Annotated[
        str, typer.Argument(metavar="QUERIES", help="Texts: a table with a text column, or .txt.")
    ],
    history: Annotated[
        str, typer.Option(metavar="TABLE", help="Observed outcomes of earlier queries.")
    ],
    history_queries: Annotated[
        str | None,
        typer.Option(metavar="QUERIES", help="Their texts, where TABLE has no text column."),
    ] = None,
    text: Annotated[str, typer.Option(metavar="COLUMN", help="The column of texts.")] = "text",
    predictor: PredictorName = "hybrid",
    embedding: EmbeddingName = None,
    prices: PricesSource = None,
    minimize: Minimize = None,
    maximize: Maximize = None,
    budget: BudgetUsd = None,
    quality_floor: FloorMean = None,
    quality_total: FloorTotal = None,
    confidence: Confidence = None,
    capacity: CapacityList = None,
    limits: LimitsFile = None,
    cost: CostColumn = None,
    quality: QualityColumn = None,
    query: QueryColumn = "query_id",
    model: ModelColumn = "model",
    solver: SolverName = "lagrangian",
    gap: Gap = 0.0,
    time_limit: TimeLimit = _TIME_LIMIT,
    seed: Seed = 0,
    threads: Threads = 1,
    feasibility_tolerance: Tolerance = 1e-9,
    relax: Relax = False,
    out: Out = None,
    json: Json = None,
) -> None:
    """Route texts: predict from a history, then solve; the certificate is of the predictions."""
    from dualroute import routing
    from dualroute.tables import read_queries

    _usable(out, json, solver, feasibility_tolerance)
    least, most = _objectives(minimize, maximize)
    progress = _Progress(maximize=most is not None)
    options = _options(gap, time_limit, seed, threads, progress)
    asked = _limits(budget, quality_floor, quality_total, capacity, limits, confidence)
    learner = _predictor(predictor, embedding, prices, progress)
    groups = _attributes(asked)
    batch = read_queries(queries, query=query, text=text, attributes=groups)
    with_text = [text] if history_queries is None else []
    tokens = [] if prices is None else ["input_tokens", "output_tokens"]
    reading = (cost, quality, query, model)
    log = _outcomes(history, (least, most), asked, *reading, with_text, tokens)
    if history_queries is None:
        log_texts = log.attribute(text).tolist()
    else:
        log_texts = _texts_of(log, history_queries, query, text)
    _note(f"predicting {len(batch.texts)} queries from a log of {log.n_queries}")
    with _about(history), progress:
        plan = routing.route(
            batch.texts,
            log,
            history_texts=log_texts,
            queries=batch.ids,
            attributes=batch.attributes,
            predictor=learner,
            minimize=least,
            maximize=most,
            limits=asked,
            solver=solver,
            options=options,
            tolerance=feasibility_tolerance,
        )
    _finish_infeasible(plan, solver, options, out, json, relax=relax)


@app.command()
def frontier(
    table: TablePath,
    sweep: Annotated[
        str,
        typer.Option(
            metavar="LIMIT",
            help="budget, quality_floor, quality_total, capacity, capacity:MODEL or cap:COLUMN.",
        ),
    ],
    points: Annotated[
        str, typer.Option(metavar="N|V,V,..", help="How many values, or the values.")
    ] = "50",
    minimize: Minimize = None,
    maximize: Maximize = None,
    budget: BudgetUsd = None,
    quality_floor: FloorMean = None,
    quality_total: FloorTotal = None,
    capacity: CapacityList = None,
    limits: LimitsFile = None,
    cost: CostColumn = None,
    quality: QualityColumn = None,
    query: QueryColumn = "query_id",
    model: ModelColumn = "model",
    solver: SolverName = "lagrangian",
    gap: Annotated[float, typer.Option(metavar="REL", help="What points are certified to.")] = 1e-4,
    time_limit: TimeLimit = _TIME_LIMIT,
    seed: Seed = 0,
    threads: Threads = 1,
    plot: Annotated[
        str | None, typer.Option(metavar="FILE", help="Draw it: .png, .svg or .pdf.")
    ] = None,
    json: Json = None,
) -> None:
    """Sweep one limit, every point certified; single models and lambda beside."""
    from dualroute import frontier as swept
    from dualroute.figures import check_figure
    from dualroute.frontierreport import frontier_report, plot_frontier
    from dualroute.report import print_report

    _usable(None, json, solver, 0.0)
    if plot is not None:
        check_figure(plot)
    aims = _objectives(minimize, maximize)
    asked = _limits(budget, quality_floor, quality_total, capacity, limits)
    moved = swept.parse_sweep(sweep)
    values = _list("--points", points)
    progress = _Progress(maximize=aims[1] is not None)
    outcomes = _outcomes(table, aims, [*asked, moved], cost, quality, query, model)
    with _about(table), progress:
        found = swept.frontier(
            outcomes,
            sweep=moved,
            points=int(values[0]) if "," not in points and values[0].is_integer() else values,
            minimize=aims[0],
            maximize=aims[1],
            limits=asked,
            solver=solver,
            options=_options(gap, time_limit, seed, threads, None),
            tell=progress.counting("points") if progress.wanted else None,
        )
    if plot is not None:
        plot_frontier(found, plot)
    _emit(json, found.to_dict(), lambda: print_report(frontier_report(found), width=_WIDE))
    known = any(point.status != "unknown" for point in found.points)
    raise typer.Exit(Exit.ANSWERED if known else Exit.NOTHING_FOUND)


@app.command()
def sensitivity(
    table: TablePath,
    minimize: Minimize = None,
    maximize: Maximize = None,
    budget: BudgetUsd = None,
    quality_floor: FloorMean = None,
    quality_total: FloorTotal = None,
    capacity: CapacityList = None,
    limits: LimitsFile = None,
    cost: CostColumn = None,
    quality: QualityColumn = None,
    query: QueryColumn = "query_id",
    model: ModelColumn = "model",
    time_limit: TimeLimit = _TIME_LIMIT,
    seed: Seed = 0,
    json: Json = None,
) -> None:
    """Tell what each limit is worth, how far its price holds, and what one unit more gains."""
    from dualroute import sensitivity as told
    from dualroute.frontierreport import sensitivity_report
    from dualroute.report import print_report

    _usable(None, json, None, 0.0)
    aims = _objectives(minimize, maximize)
    asked = _limits(budget, quality_floor, quality_total, capacity, limits)
    outcomes = _outcomes(table, aims, asked, cost, quality, query, model)
    with _about(table):
        found = told.sensitivity(
            outcomes,
            minimize=aims[0],
            maximize=aims[1],
            limits=asked,
            options=_options(0.0, time_limit, seed, 1, None),
        )
    _emit(json, found.to_dict(), lambda: print_report(sensitivity_report(found), width=_WIDE))


@app.command()
def plan(
    table: TablePath,
    replicas: Annotated[
        str, typer.Option(metavar="FILE.toml", help="What one replica of each model takes.")
    ],
    period: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Divides queries into periods; one if not given."),
    ] = None,
    scenario: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Divides them into scenarios of demand.")
    ] = None,
    weight: Annotated[
        float, typer.Option(metavar="N", help="Queries that each row stands for.")
    ] = 1.0,
    minimize: Annotated[str, typer.Option(metavar="COLUMN", help="Priced as replicas.")] = "cost",
    quality_floor: FloorMean = None,
    capacity: CapacityList = None,
    limits: LimitsFile = None,
    cost: CostColumn = None,
    quality: QualityColumn = None,
    query: QueryColumn = "query_id",
    model: ModelColumn = "model",
    gap: Annotated[float, typer.Option(metavar="REL", help="Stop at this gap.")] = 1e-3,
    time_limit: TimeLimit = _TIME_LIMIT,
    seed: Seed = 0,
    threads: Threads = 1,
    plot: Annotated[
        str | None, typer.Option(metavar="FILE", help="Draw it: .png, .svg or .pdf.")
    ] = None,
    json: Json = None,
) -> None:
    """Plan capacity: how many replicas of each model, by period, at least total cost."""
    from dualroute.figures import check_figure
    from dualroute.planning import Traffic, plan_replicas, read_replicas, traffic_by
    from dualroute.planreport import plot_replicas, replica_report
    from dualroute.report import print_report

    _usable(None, json, None, 0.0)
    if plot is not None:
        check_figure(plot)
    least, _ = _objectives(minimize, None)
    assert least is not None
    asked = _limits(None, quality_floor, None, capacity, limits)
    wanted = read_replicas(replicas)
    if scenario is not None and period is None:
        raise OptionError("--scenario needs --period: the column that divides a day")
    progress = _Progress(maximize=False)
    options = _options(gap, time_limit, seed, threads, progress)
    also = [one.column for one in wanted.replicas if one.column is not None]
    groups = [name for name in (period, scenario) if name is not None]
    outcomes = _outcomes(table, (least, None), asked, cost, quality, query, model, groups, also)
    with _about(table), progress:
        if period is None:
            traffic = [Traffic("all", outcomes, weight=weight)]
        else:
            traffic = traffic_by(outcomes, period, scenario, weight=weight)
        found = plan_replicas(
            traffic,
            wanted.replicas,
            minimize=least,
            limits=asked,
            gpus=wanted.gpus,
            constant=wanted.constant,
            probabilities=wanted.probabilities,
            options=options,
        )
    if plot is not None:
        plot_replicas(found, plot)
    _emit(json, found.to_dict(), lambda: print_report(replica_report(found), width=_WIDE))
    answered = found.counts is not None or found.infeasible
    raise typer.Exit(Exit.ANSWERED if answered else Exit.NOTHING_FOUND)


@app.command()
def simulate(
    table: TablePath,
    observed: Annotated[
        str | None,
        typer.Option(metavar="TABLE", help="What really happened; TABLE itself if not given."),
    ] = None,
    history: Annotated[
        str | None,
        typer.Option(metavar="TABLE", help="Predictions of earlier queries: prices come from."),
    ] = None,
    policies: Annotated[
        str | None, typer.Option(metavar="NAME,..", help="Rules; all if not given.")
    ] = None,
    orders: Annotated[
        str, typer.Option(metavar="NAME,..", help="Of arrival.")
    ] = "random,by-difficulty,bursts",
    seeds: Annotated[int, typer.Option(help="Streams in each order.")] = 10,
    kind: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="What tells the kinds of bursts apart.")
    ] = None,
    outage: Annotated[
        str | None,
        typer.Option(metavar="MODEL=FROM,TO", help="A model down in part of the stream, 0 to 1."),
    ] = None,
    minimize: Minimize = None,
    maximize: Maximize = None,
    budget: BudgetUsd = None,
    quality_floor: FloorMean = None,
    quality_total: FloorTotal = None,
    capacity: CapacityList = None,
    limits: LimitsFile = None,
    cost: CostColumn = None,
    quality: QualityColumn = None,
    query: QueryColumn = "query_id",
    model: ModelColumn = "model",
    seed: Seed = 0,
    plot: Annotated[
        str | None, typer.Option(metavar="FILE", help="Draw it: .png, .svg or .pdf.")
    ] = None,
    json: Json = None,
) -> None:
    """Replay a table as a stream, routed one query at a time by online rules."""
    from dualroute.figures import check_figure
    from dualroute.report import print_report
    from dualroute.simulation import Outage, simulate_stream
    from dualroute.simulationreport import plot_simulation, simulation_report

    _usable(None, json, None, 0.0)
    if plot is not None:
        check_figure(plot)
    aims = _objectives(minimize, maximize)
    asked = _limits(budget, quality_floor, quality_total, capacity, limits)
    down = None
    if outage is not None:
        named, _, span = outage.rpartition("=")
        times = _list("--outage", span) if named else []
        if len(times) != 2:
            raise OptionError(f"--outage is {outage!r}; write MODEL=FROM,TO, as small=0.4,0.6")
        down = Outage(named, *times)
    further = [kind] if kind is not None else []
    reading = (aims, asked, cost, quality, query, model)
    told = _outcomes(table, *reading, further)
    seen = told if observed is None else _outcomes(observed, *reading)
    known = None if history is None else _outcomes(history, *reading)
    with _about(table):
        result = simulate_stream(
            told,
            seen,
            minimize=aims[0],
            maximize=aims[1],
            limits=asked,
            history=known,
            policies=None if policies is None else [one.strip() for one in policies.split(",")],
            orders=[one.strip() for one in orders.split(",")],
            seeds=seeds,
            seed=seed,
            kind=kind,
            outage=down,
        )
    if plot is not None:
        plot_simulation(result, plot)
    _emit(json, result.to_dict(), lambda: print_report(simulation_report(result), width=_WIDE))


@app.command()
def verify(
    table: TablePath,
    plan: Annotated[
        str,
        typer.Argument(
            metavar="PLAN",
            help="A routing: a table of query and model, the .json that --out wrote, or the .sol "
            "of a solver that was given an exported model.",
        ),
    ],
    minimize: Minimize = None,
    maximize: Maximize = None,
    budget: BudgetUsd = None,
    quality_floor: FloorMean = None,
    quality_total: FloorTotal = None,
    capacity: CapacityList = None,
    limits: LimitsFile = None,
    cost: CostColumn = None,
    quality: QualityColumn = None,
    query: QueryColumn = "query_id",
    model: ModelColumn = "model",
    with_: Annotated[
        str | None,
        typer.Option("--with", metavar="NAME", help="Solve again by this solver, and compare."),
    ] = None,
    time_limit: TimeLimit = _TIME_LIMIT,
    feasibility_tolerance: Tolerance = 1e-9,
    json: Json = None,
) -> None:
    """Check anybody's routing: which limits hold, and how far from optimal it can be."""
    from rich.text import Text

    from dualroute import routing
    from dualroute.crosscheck import cross_check
    from dualroute.formulation import formulate
    from dualroute.planfile import is_plan_file, read_plan
    from dualroute.report import plan_report, print_report
    from dualroute.tables import read_routing

    _usable(None, json, with_, feasibility_tolerance)
    least, most = _objectives(minimize, maximize)
    progress = _Progress(maximize=most is not None)
    options = _options(0.0, time_limit, 0, 1, progress)
    asked = _limits(budget, quality_floor, quality_total, capacity, limits)
    outcomes = _outcomes(table, (least, most), asked, cost, quality, query, model)
    prices: Prices | None = None
    proof: Proof | None = None
    with _about(table):
        problem = formulate(outcomes, minimize=least, maximize=most, limits=asked)
    if is_plan_file(plan):
        assignment, prices, proof = read_plan(plan, outcomes, problem)
    elif plan.lower().endswith((".sol", ".sol.gz")):
        from dualroute.modelfile import Names, read_solution

        names = Names.of(problem, outcomes.queries, outcomes.models)
        assignment = read_solution(plan, problem, names)
    else:
        assignment = read_routing(plan, outcomes, query=query, model=model)
    with _about(table), progress:
        checked = routing.verify(
            outcomes,
            assignment,
            prices=prices,
            proof=proof,
            minimize=least,
            maximize=most,
            limits=asked,
            options=options,
            tolerance=feasibility_tolerance,
        )
    if with_ is None:
        _finish(checked, None, json)
        return
    with progress:
        opinion = cross_check(checked, with_, options)
    values = {**checked.to_dict(), "cross_check": opinion.to_dict()}
    _emit(json, values, lambda: print_report(plan_report(checked), Text(opinion.words)))
    _leave(checked)


@app.command()
def export(
    table: TablePath,
    model_file: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="Where to write: .mps or .lp, also with .gz."),
    ],
    minimize: Minimize = None,
    maximize: Maximize = None,
    budget: BudgetUsd = None,
    quality_floor: FloorMean = None,
    quality_total: FloorTotal = None,
    capacity: CapacityList = None,
    limits: LimitsFile = None,
    cost: CostColumn = None,
    quality: QualityColumn = None,
    query: QueryColumn = "query_id",
    model: ModelColumn = "model",
    map_file: Annotated[
        str | None,
        typer.Option("--map", metavar="FILE.csv", help="Write what every name stands for."),
    ] = None,
    relaxed: Annotated[bool, typer.Option("--relaxed", help="The linear relaxation.")] = False,
) -> None:
    """Write the integer program for another solver; 'verify' reads what that one finds."""
    from dualroute.formulation import formulate
    from dualroute.modelfile import Names, write_map, write_model

    least, most = _objectives(minimize, maximize)
    asked = _limits(budget, quality_floor, quality_total, capacity, limits)
    outcomes = _outcomes(table, (least, most), asked, cost, quality, query, model)
    with _about(table):
        problem = formulate(outcomes, minimize=least, maximize=most, limits=asked)
    names = Names.of(problem, outcomes.queries, outcomes.models)
    write_model(problem, model_file, names=names, relaxed=relaxed)
    _note(f"wrote {model_file}: {problem.n_queries} queries, {problem.n_rows} limits; minimised")
    if map_file is not None:
        write_map(map_file, problem, names)
        _note(f"wrote {map_file}")


@app.command()
def compare(
    tables: Annotated[
        list[str],
        typer.Argument(metavar="TABLE...", help="Outcomes, each a problem under the same limits."),
    ],
    solvers: Annotated[
        str,
        typer.Option(metavar="A,B,..", help="Names, also of variants: ortools:scip, cvxpy:scipy."),
    ] = "lagrangian,highs",
    seeds: Annotated[str, typer.Option(metavar="S,S,..", help="Each solver runs with each.")] = "0",
    minimize: Minimize = None,
    maximize: Maximize = None,
    budget: BudgetUsd = None,
    quality_floor: FloorMean = None,
    quality_total: FloorTotal = None,
    capacity: CapacityList = None,
    limits: LimitsFile = None,
    cost: CostColumn = None,
    quality: QualityColumn = None,
    query: QueryColumn = "query_id",
    model: ModelColumn = "model",
    gap: Gap = 0.0,
    time_limit: TimeLimit = _TIME_LIMIT,
    threads: Threads = 1,
    feasibility_tolerance: Tolerance = 1e-9,
    csv: Annotated[
        str | None, typer.Option("--csv", metavar="FILE", help="Write a line for each solve.")
    ] = None,
    plot: Annotated[
        str | None,
        typer.Option("--plot", metavar="FILE", help="Draw gap over time: .png, .svg or .pdf."),
    ] = None,
    json: Json = None,
) -> None:
    """Solve by several solvers, each in a process of its own, and check what they claim."""
    from dualroute import comparison, registry
    from dualroute.bench import machine, plain
    from dualroute.figures import check_figure
    from dualroute.formulation import formulate
    from dualroute.report import print_report
    from dualroute.tables import write_atomically

    names = [name.strip() for name in solvers.split(",")]
    for path in (csv, plot):
        _usable(None, path, names[0], feasibility_tolerance)
    _usable(None, json, names[0], feasibility_tolerance)
    for name in names:
        registry.create("solvers", name)
    if plot is not None:
        check_figure(plot)
    least, most = _objectives(minimize, maximize)
    options = _options(gap, time_limit, 0, threads, None)
    asked = _limits(budget, quality_floor, quality_total, capacity, limits)
    problems = {}
    for table in tables:
        outcomes = _outcomes(table, (least, most), asked, cost, quality, query, model)
        with _about(table):
            problems[_label(table, tables)] = formulate(
                outcomes,
                minimize=least,
                maximize=most,
                limits=asked,
                tolerance=feasibility_tolerance,
            )
    done = comparison.compare(
        problems, names, seeds=_whole_list("--seeds", seeds), options=options, tell=_note
    )
    if csv is not None:
        text = comparison.comparison_csv(done)
        write_atomically(csv, lambda part: part.write_text(text, encoding="utf-8"))
    if plot is not None:
        comparison.plot_comparison(done, plot)
    values = {"machine": plain(machine()), **done.to_dict()}
    _emit(json, values, lambda: print_report(comparison.comparison_report(done), width=_WIDE))
    answered = any(row.answered for row in done.rows)
    raise typer.Exit(Exit.ANSWERED if answered else Exit.NOTHING_FOUND)


@app.command()
def evaluate(
    table: TablePath,
    history: Annotated[
        str | None, typer.Option(metavar="TABLE", help="Outcomes of earlier queries to learn from.")
    ] = None,
    holdout: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN=V,V,..",
            help="Instead of --history: queries with these values are judged, the others learned.",
        ),
    ] = None,
    queries: Annotated[
        str | None,
        typer.Option(metavar="QUERIES", help="Texts, where TABLE has no text column."),
    ] = None,
    history_queries: Annotated[
        str | None, typer.Option(metavar="QUERIES", help="Texts of the history, likewise.")
    ] = None,
    text: Annotated[str, typer.Option(metavar="COLUMN", help="The column of texts.")] = "text",
    predictor: PredictorName = "hybrid",
    embedding: EmbeddingName = None,
    prices: PricesSource = None,
    rules: Annotated[
        str, typer.Option(metavar="A,B,..", help="Routing rules, 'all' or 'none'; see 'list'.")
    ] = "all",
    crowd: Annotated[
        float | None,
        typer.Option(metavar="X", help="Each model takes X times the even share of the batch."),
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="A further column to predict; repeat."),
    ] = None,
    minimize: Minimize = None,
    maximize: Maximize = None,
    budget: BudgetUsd = None,
    quality_floor: FloorMean = None,
    quality_total: FloorTotal = None,
    capacity: CapacityList = None,
    limits: LimitsFile = None,
    cost: CostColumn = None,
    quality: QualityColumn = None,
    query: QueryColumn = "query_id",
    model: ModelColumn = "model",
    time_limit: TimeLimit = _TIME_LIMIT,
    resamples: Annotated[int, typer.Option(help="Of the bootstrap, for every interval.")] = 1000,
    seed: Seed = 0,
    plot: Annotated[
        str | None,
        typer.Option("--plot", metavar="FILE", help="Draw cost against quality: .png, .svg, .pdf."),
    ] = None,
    json: Json = None,
) -> None:
    """Learn from a history, route a later batch by many rules, judge all on what happened."""
    from dualroute import registry
    from dualroute.fieldreport import field_report, plot_field_test
    from dualroute.fieldtest import field_test
    from dualroute.figures import check_figure
    from dualroute.report import print_report

    _usable(None, json, None, 0.0)
    _usable(None, plot, None, 0.0)
    if plot is not None:
        check_figure(plot)
    if (history is None) == (holdout is None):
        raise OptionError("give exactly one of --history and --holdout")
    if resamples < 1:
        raise OptionError(f"--resamples is {resamples}; give 1 or more")
    if crowd is not None and not crowd >= 1:
        raise OptionError(f"--crowd is {crowd:g}; below 1 the models cannot take the batch")
    aims: _Objectives = (None, None)
    if minimize is not None or maximize is not None:
        aims = _objectives(minimize, maximize)
    asked = _limits(budget, quality_floor, quality_total, capacity, limits)
    if asked and aims == (None, None):
        raise OptionError("limits need an objective: give --minimize or --maximize")
    names = None if rules == "all" else [] if rules == "none" else rules.split(",")
    for name in names or ():
        registry.create("rules", name.strip())
    progress = _Progress(maximize=aims[1] is not None)
    learner = _predictor(predictor, embedding, prices, progress)
    also = [*(also or ()), *([] if prices is None else ["input_tokens", "output_tokens"])]
    column, _, values = (holdout or "").partition("=")
    further = [] if queries is not None else [text]
    if holdout is not None and not (column and values):
        raise OptionError(f"--holdout is {holdout!r}; write COLUMN=VALUE,VALUE,.. as fold=7,8,9")
    held = [column] if holdout is not None and queries is None else []
    reading = (aims, asked, cost, quality, query, model)
    batch = _outcomes(table, *reading, [*further, *held], also)
    labels: list[str] = []
    if queries is not None:
        texts = _texts_of(batch, queries, query, text)
        labels = _texts_of(batch, queries, query, column) if column else []
    else:
        texts = batch.attribute(text).tolist()
        labels = [str(value) for value in batch.attribute(column).tolist()] if column else []
    if history is not None:
        log = _outcomes(history, *reading, [text] if history_queries is None else [], also)
        if history_queries is None:
            log_texts = log.attribute(text).tolist()
        else:
            log_texts = _texts_of(log, history_queries, query, text)
    else:
        batch, texts, log, log_texts = _held_out(batch, texts, labels, column, values.split(","))
    with _about(table), progress:
        test = field_test(
            texts,
            batch,
            log_texts,
            log,
            predictor=learner,
            name=predictor,
            rules=names if names is None else [name.strip() for name in names],
            capacity=crowd,
            minimize=aims[0],
            maximize=aims[1],
            limits=asked,
            options=_options(1e-6, time_limit, seed, 1, None),
            seed=seed,
            resamples=resamples,
            tell=_note,
        )
    if plot is not None:
        plot_field_test(test, plot)
    _emit(json, test.to_dict(), lambda: print_report(field_report(test), width=_WIDE))


def _predictor(name: str, embedding: str | None, prices: str | None, progress: "_Progress") -> Any:
    """The predictor asked for, with the embedding and the price list asked for."""
    from dataclasses import replace

    from dualroute import registry
    from dualroute.predictors.priced import Priced

    made = registry.create("predictors", name)
    if embedding is not None:
        if not hasattr(made, "embedding"):
            raise OptionError(f"--embedding: the predictor {name!r} reads no text by one")
        encoder = registry.create("embeddings", embedding)
        if progress.wanted and hasattr(encoder, "progress"):
            encoder.progress = progress.counting("texts encoded")
        made = replace(made, embedding=encoder)
    if progress.wanted and hasattr(made, "progress"):
        made.progress = progress.counting("steps of learning done")
    return made if prices is None else Priced(made, prices)


def _held_out(
    whole: "Outcomes", texts: list[str], labels: list[str], column: str, values: list[str]
) -> tuple["Outcomes", list[str], "Outcomes", list[str]]:
    """Batch and history of one table: queries with some values of a column, and the others."""
    import numpy as np

    wanted = {value.strip() for value in values}
    strange = wanted - set(labels)
    if strange:
        known = ", ".join(sorted(set(labels))[:12])
        raise OptionError(f"no query has {column} = {sorted(strange)[0]!r}; there are {known}")
    held = np.array([label in wanted for label in labels])
    if held.all():
        raise OptionError(f"every query has {column} in {', '.join(values)}: none is left to learn")
    judged, learned = np.flatnonzero(held), np.flatnonzero(~held)
    return (
        whole.take(judged),
        [texts[i] for i in judged.tolist()],
        whole.take(learned),
        [texts[i] for i in learned.tolist()],
    )


def _label(table: str, tables: list[str]) -> str:
    """A table's name without folder and suffixes, where that tells it from the others."""
    short = [Path(name).name.split(".")[0] for name in tables]
    mine = Path(table).name.split(".")[0]
    return mine if short.count(mine) == 1 else table


@bench.command()
def gap(
    directory: SuiteFolder,
    only: Only = "*",
    solver: SolverName = "lagrangian",
    gap: Gap = 0.0,
    time_limit: InstanceTime = 10.0,
    seed: Seed = 0,
    threads: Threads = 1,
    json: Json = None,
) -> None:
    """Generalized assignment problems, against their best known values."""
    from dualroute.bench import bench_gap

    options = _options(gap, time_limit, seed, threads, None)
    _usable(None, json, solver, 0.0)
    rows = bench_gap(directory, solver=solver, options=options, only=only, tell=_note)
    _finish_suite(rows, json)


@bench.command()
def mmkp(
    directory: SuiteFolder,
    only: Only = "*",
    solver: SolverName = "lagrangian",
    gap: Gap = 0.0,
    time_limit: InstanceTime = 10.0,
    seed: Seed = 0,
    threads: Threads = 1,
    json: Json = None,
) -> None:
    """Multiple-choice multidimensional knapsack problems, likewise."""
    from dualroute.bench import bench_mmkp

    options = _options(gap, time_limit, seed, threads, None)
    _usable(None, json, solver, 0.0)
    rows = bench_mmkp(directory, solver=solver, options=options, only=only, tell=_note)
    _finish_suite(rows, json)


@bench.command()
def scale(
    queries: Annotated[
        str, typer.Option(metavar="N,N,..", help="Sizes: numbers of queries.")
    ] = "1e3,1e4,1e5,1e6",
    models: Annotated[str, typer.Option(metavar="M,M,..", help="Numbers of models.")] = "16",
    limits: Annotated[
        str | None,
        typer.Option(metavar="K,K,..", help="Numbers of limits; models + 1 if not given."),
    ] = None,
    kinds: Annotated[
        str, typer.Option(metavar="KIND,..", help="Tables: continuous, ties.")
    ] = "continuous,ties",
    gaps: Annotated[
        str, typer.Option(metavar="REL,REL,..", help="Relative gaps to solve to, each from cold.")
    ] = "1e-6,1e-9",
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    order: Annotated[str, typer.Option(help="Tables in memory: C by query, F by model.")] = "C",
    solver: SolverName = "lagrangian",
    time_limit: TimeLimit = _TIME_LIMIT,
    highs_pairs: Annotated[
        int, typer.Option(metavar="N", help="HiGHS solves tables of at most N pairs; 0 for none.")
    ] = 200_000,
    highs_time_limit: Annotated[
        float, typer.Option(metavar="SECONDS", help="For each of those.")
    ] = 30.0,
    seed: Seed = 0,
    threads: Threads = 1,
    json: Json = None,
) -> None:
    """Simulated tables of growing size, each in a process of its own."""
    from dualroute.bench import ScaleOptions, bench_scale, growth, machine, plain, scale_report
    from dualroute.report import print_report

    _usable(None, json, solver, 0.0)
    options = ScaleOptions(
        solver=solver,
        gaps=tuple(_list("--gaps", gaps)),
        time_limit=time_limit,
        threads=threads,
        seed=seed,
        dtype=dtype,
        order=cast(Any, order),
        highs_pairs=highs_pairs,
        highs_time_limit=highs_time_limit,
    )
    rows = bench_scale(
        _whole_list("--queries", queries),
        _whole_list("--models", models),
        cast(Any, [kind.strip() for kind in kinds.split(",")]),
        [None] if limits is None else _whole_list("--limits", limits),
        options,
        tell=_note,
    )
    values = {"machine": machine(), "growth": growth(rows), "rows": rows}
    _emit(json, plain(values), lambda: print_report(scale_report(rows)))
    answered = bool(rows) and all(row.answered for row in rows)
    raise typer.Exit(Exit.ANSWERED if answered else Exit.NOTHING_FOUND)


@bench.command()
def predict(
    predictors: Annotated[
        str, typer.Option(metavar="NAME,..", help="Registered predictors.")
    ] = "hybrid,retrieval,regression,clusters",
    history: Annotated[
        str, typer.Option(metavar="N,N,..", help="Queries to learn from.")
    ] = "1e4,1e5",
    queries: Annotated[
        str, typer.Option(metavar="N", help="Queries to predict, an eighth at a time.")
    ] = "1e5",
    models: Annotated[int, typer.Option(help="Models.")] = 16,
    threads: Threads = 1,
    json: Json = None,
) -> None:
    """Predictors on simulated texts: time to learn, queries a second, memory."""
    from dualroute.bench import bench_predict, prediction_report

    _usable(None, json, None, 0.0)
    names = [name.strip() for name in predictors.split(",")]
    histories = _whole_list("--history", history)
    asked = _whole_list("--queries", queries)
    if len(asked) != 1:
        raise OptionError(f"--queries is {queries!r}; give one number, as 1e5")
    rows = bench_predict(names, histories, asked[0], models, threads=threads, tell=_note)
    _finish_cases(rows, prediction_report, json)


@bench.command(name="frontier")
def bench_frontier_(
    sweeps: Annotated[
        str, typer.Option(metavar="NAME,..", help="quality_floor, budget, capacity.")
    ] = "quality_floor,budget,capacity",
    queries: Annotated[
        str, typer.Option(metavar="N,N,..", help="Sizes: numbers of queries.")
    ] = "1e4,1e5,1e6",
    models: Annotated[int, typer.Option(help="Models.")] = 16,
    points: Annotated[int, typer.Option(help="Points of each frontier.")] = 50,
    gap: Gap = 1e-4,
    seed: Seed = 0,
    threads: Threads = 1,
    json: Json = None,
) -> None:
    """Certified frontiers of simulated tables, beside one cold solve in the same process."""
    from dualroute.bench import bench_frontier, frontier_bench_report

    _usable(None, json, None, 0.0)
    rows = bench_frontier(
        [name.strip() for name in sweeps.split(",")],
        _whole_list("--queries", queries),
        models,
        points=points,
        gap=gap,
        threads=threads,
        seed=seed,
        tell=_note,
    )
    _finish_cases(rows, frontier_bench_report, json)


@bench.command(name="plan")
def bench_plan_(
    queries: Annotated[
        str, typer.Option(metavar="N,N,..", help="Queries of a period, on average.")
    ] = "1e4,1e5",
    periods: Annotated[int, typer.Option(help="Periods of the day.")] = 24,
    models: Annotated[int, typer.Option(help="Models, bought in replicas.")] = 8,
    counts: Annotated[
        str, typer.Option(metavar="KIND,..", help="own (of each period), same (all day).")
    ] = "own,same",
    gap: Gap = 1e-3,
    time_limit: TimeLimit = 60.0,
    seed: Seed = 0,
    threads: Threads = 1,
    json: Json = None,
) -> None:
    """Simulated days of replicas: the gap proved, and in what time."""
    from dualroute.bench import PlanCase, bench_plan, plan_report

    _usable(None, json, None, 0.0)
    kinds = [kind.strip() for kind in counts.split(",")]
    strange = [kind for kind in kinds if kind not in ("own", "same")]
    if strange:
        raise OptionError(f"--counts names {strange[0]!r}; give own, same, or both")
    cases = [
        PlanCase(n, periods, models, kind == "same", gap, time_limit, threads, seed)
        for n in _whole_list("--queries", queries)
        for kind in kinds
    ]
    rows = bench_plan(cases, tell=_note)
    _finish_cases(rows, plan_report, json)


@bench.command()
def online(
    updates: Annotated[
        str, typer.Option(metavar="UPDATE,..", help="How prices move: mirror, queue, fixed.")
    ] = "fixed,mirror,queue",
    models: Annotated[str, typer.Option(metavar="M,M,..", help="Numbers of models.")] = "16",
    queries: Annotated[str, typer.Option(metavar="N", help="Queries of the stream.")] = "1e4",
    seed: Seed = 0,
    json: Json = None,
) -> None:
    """Policies on simulated streams: time of a decision, queries a second."""
    from dualroute.bench import bench_online, machine, online_report, plain
    from dualroute.report import print_report

    _usable(None, json, None, 0.0)
    asked = _whole_list("--queries", queries)
    if len(asked) != 1:
        raise OptionError(f"--queries is {queries!r}; give one number, as 1e4")
    names = [name.strip() for name in updates.split(",")]
    sizes = _whole_list("--models", models)
    rows = bench_online(cast(Any, names), sizes, asked[0], seed=seed, tell=_note)
    values = {"machine": machine(), "rows": rows}
    _emit(json, plain(values), lambda: print_report(online_report(rows)))


@app.command(name="list")
def list_(json: Json = None) -> None:
    """Solvers, predictors, embeddings, limits and rules: installed, or what to install."""
    from dualroute import registry

    groups: tuple[registry.Group, ...] = (
        "solvers",
        "predictors",
        "embeddings",
        "limits",
        "rules",
    )
    found = {group: registry.entries(group) for group in groups}
    plain = {
        group: [
            {
                "name": entry.name,
                "summary": entry.summary,
                "available": entry.available,
                "problem": entry.problem or None,
            }
            for entry in entries
        ]
        for group, entries in found.items()
    }

    def show() -> None:
        for group, entries in found.items():
            typer.echo(group)
            for entry in entries:
                words = entry.summary if entry.available else f"not available: {entry.problem}"
                typer.echo(f"  {entry.name:16} {words}")

    _emit(json, plain, show)


def main() -> None:
    """Entry point: run a command; whatever goes wrong ends in one line and an exit status."""
    status: Any = Exit.ANSWERED
    try:
        status = app(sys.argv[1:] or ["--help"], standalone_mode=False)
        sys.stdout.flush()
    except RoutingError as error:
        status = _fail(str(error))
    except _USAGE_ERRORS as error:
        status = _fail(f"{error.format_message()} (see dualroute --help)")
    except (KeyboardInterrupt, typer.Abort):
        status = Exit.INTERRUPTED
    except MemoryError:
        status = _fail("out of memory; use a smaller table, or float32 columns in Parquet")
    except BrokenPipeError:  # the reader of our output has gone, as in `dualroute ... | head`
        _discard_output()
    except OSError as error:
        _discard_output()
        status = _fail(f"{error.filename or 'output'}: {error.strerror}; check path and space")
    except Exception as error:  # a defect of ours, told in one line all the same
        if os.environ.get("DUALROUTE_TRACEBACK"):
            raise
        status = _fail(
            f"internal error ({type(error).__name__}: {error}); please report it, with what "
            "DUALROUTE_TRACEBACK=1 shows"
        )
    if status == Exit.INTERRUPTED:
        typer.echo("dualroute: interrupted; no file is half written", err=True)
    _end(int(status) if isinstance(status, int) else Exit.ANSWERED)


def _end(status: int) -> NoReturn:
    """Leave; at once where a solver that outran its limit would keep the process."""
    highs = sys.modules.get("dualroute.highs")
    if highs is not None and highs.still_running():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _discard_output() -> None:
    """Let the interpreter flush what cannot be written to where it harms nobody."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


@contextmanager
def _about(place: str) -> Iterator[None]:
    """Begin the message of any error with the file or option that it is about."""
    try:
        yield
    except RoutingError as error:
        message = str(error)
        raise type(error)(message if message.startswith(place) else f"{place}: {message}") from None


def _fail(message: str) -> int:
    typer.echo(f"dualroute: {' '.join(message.split())}", err=True)
    return Exit.UNUSABLE_INPUT


def _note(line: str) -> None:
    typer.echo(line, err=True)


def _limits(
    budget: float | None,
    quality_floor: float | None,
    quality_total: float | None,
    capacity: list[str] | None,
    file: str | None,
    confidence: float | None = None,
) -> list["Limit | Restriction"]:
    from dualroute.formulation import Budget, Capacity, QualityFloor
    from dualroute.routing import read_limits

    asked: list[Limit | Restriction] = []
    if budget is not None:
        with _about("--budget"):
            asked.append(Budget(budget, confidence=confidence))
    if quality_floor is not None:
        with _about("--quality-floor"):
            asked.append(QualityFloor(mean=quality_floor, confidence=confidence))
    if quality_total is not None:
        with _about("--quality-total"):
            asked.append(QualityFloor(total=quality_total, confidence=confidence))
    with _about("--capacity"):
        each = [_number(text) for text in capacity or () if "=" not in text]
        named = [_pair(text) for text in capacity or () if "=" in text]
        twice = [name for name, _ in named if [n for n, _ in named].count(name) > 1]
        if len(each) > 1 or twice:
            raise OptionError(f"{twice[0] if twice else 'every model'} is given two capacities")
        asked += [Capacity(number) for number in each]
        if named:
            asked.append(Capacity(dict(named)))
    if file is not None:
        asked += read_limits(file)
    return asked


def _pair(text: str) -> tuple[str, float]:
    name, _, number = text.rpartition("=")
    return name, _number(number)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise OptionError(f"{text!r} is no number; write N, or MODEL=N") from None


def _list(option: str, text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise OptionError(f"{option} is {text!r}; write numbers, as 1e-6,1e-9") from None


def _whole_list(option: str, text: str) -> list[int]:
    numbers = _list(option, text)
    if not all(number.is_integer() for number in numbers):
        raise OptionError(f"{option} is {text!r}; write whole numbers, as 1e3,1e4")
    return [int(number) for number in numbers]


def _objectives(minimize: str | None, maximize: str | None) -> _Objectives:
    from dualroute.formulation import parse_objective

    if (minimize is None) == (maximize is None):
        raise OptionError("give exactly one of --minimize and --maximize, e.g. --minimize cost")
    return (
        None if minimize is None else parse_objective(minimize),
        None if maximize is None else parse_objective(maximize),
    )


def _attributes(asked: list["Limit | Restriction"]) -> list[str]:
    """Attributes that the limits group by."""
    return sorted({by for limit in asked if (by := getattr(limit, "by", None))})


def _outcomes(
    path: str,
    objectives: _Objectives,
    asked: list["Limit | Restriction"],
    cost: str | None,
    quality: str | None,
    query: str,
    model: str,
    further: list[str] | None = None,
    also: list[str] | None = None,
) -> "Outcomes":
    """Read the columns that objective and limits need, and others named."""
    from dualroute.tables import read_outcomes

    columns = {column for limit in asked if (column := getattr(limit, "column", None))}
    columns |= set(also or ())
    for wanted in objectives:
        columns |= {wanted} if isinstance(wanted, str) else set(wanted or ())
    return read_outcomes(
        path,
        cost=cost,
        quality=quality,
        columns=sorted(columns),
        attributes=[*_attributes(asked), *(further or ())],
        query=query,
        model=model,
    )


def _texts_of(log: "Outcomes", path: str, query: str, text: str) -> list[str]:
    """Texts of a log's queries, from a table of their own."""
    from dualroute.errors import TableError
    from dualroute.tables import read_queries

    found = read_queries(path, query=query, text=text)
    by_id = dict(zip(found.ids.tolist(), found.texts, strict=True))
    missing = [name for name in log.queries.tolist() if name not in by_id]
    if missing:
        raise TableError(
            f"{path}: {len(missing)} queries of the history have no text (first: {missing[0]!r}); "
            "add their rows, or take them out of the history"
        )
    return [by_id[name] for name in log.queries.tolist()]


def _options(
    gap: float, time_limit: float, seed: int, threads: int, progress: "_Progress | None"
) -> "SolveOptions":
    from dualroute.solver import SolveOptions

    return SolveOptions(
        mip_rel_gap=gap,
        time_limit=time_limit,
        seed=seed,
        threads=threads,
        progress=progress.show if progress is not None and progress.wanted else None,
    )


class _Progress:
    """One line on standard error, rewritten as the search goes on; only on a terminal.

    Objective and bound are in the user's sense.
    """

    def __init__(self, *, maximize: bool) -> None:
        self.wanted = sys.stderr.isatty()
        self._sign = -1.0 if maximize else 1.0
        self._shown = False

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()

    def counting(self, what: str) -> Callable[[int, int], None]:
        """What tells how many of all are done, until they are."""

        def tell(done: int, of: int) -> None:
            if done < of:
                self._write(f"{done} of {of} {what}")
            else:
                self._clear()

        return tell

    def show(self, line: "Progress") -> None:
        gap = line.objective - line.best_bound
        relative = gap / abs(line.objective) if math.isfinite(gap) and line.objective else math.inf
        held, bound = self._sign * line.objective, self._sign * line.best_bound
        words = (
            f"{line.seconds:7.1f} s  {line.phase}  "
            f"objective {held:.8g}  bound {bound:.8g}  gap {relative:.1e}"
        )
        self._write(words)

    def _clear(self) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._shown = False

    def _write(self, words: str) -> None:
        sys.stderr.write(f"\r\x1b[K{words}")
        sys.stderr.flush()
        self._shown = True


def _usable(out: str | None, json: str | None, solver: str | None, tolerance: float) -> None:
    """Refuse what cannot work before time is spent: outputs, solver and tolerance."""
    from dualroute import registry
    from dualroute.planfile import check_suffix
    from dualroute.tables import write_atomically

    if out is not None:
        check_suffix(out)
    for path in (out, None if json == "-" else json):
        if path is not None and not Path(path).absolute().parent.is_dir():
            write_atomically(path, lambda _: None)  # raises, naming the folder
    if solver is not None:
        registry.create("solvers", solver)
    if not 0 <= tolerance < 1:
        raise OptionError(f"--feasibility-tolerance is {tolerance}; give 0 or more, below 1")


def _finish_cases(rows: list[Any], report: Callable[[list[Any]], Any], json: str | None) -> None:
    """Print the rows of a benchmark whose cases may each fail, and leave."""
    from dualroute.bench import machine, plain
    from dualroute.report import print_report

    _emit(json, plain({"machine": machine(), "rows": rows}), lambda: print_report(report(rows)))
    answered = bool(rows) and not any(row.error for row in rows)
    raise typer.Exit(Exit.ANSWERED if answered else Exit.NOTHING_FOUND)


def _finish_suite(rows: "list[SuiteRow]", json: str | None) -> None:
    from dualroute.bench import machine, plain, suite_report, summary
    from dualroute.report import print_report

    values = {"machine": machine(), "summary": summary(rows), "rows": rows}
    _emit(json, plain(values), lambda: print_report(suite_report(rows)))
    routed = all(math.isfinite(row.objective) for row in rows)
    raise typer.Exit(Exit.ANSWERED if routed else Exit.NOTHING_FOUND)


def _finish_infeasible(
    plan: "Plan",
    solver: str,
    options: "SolveOptions",
    out: str | None,
    json: str | None,
    *,
    relax: bool,
) -> None:
    """Finish a plan; where no routing keeps the limits, with the reason, or by breaking them."""
    from dataclasses import replace

    from dualroute import diagnosis

    if plan.status != "infeasible":
        said = ["Every limit can be kept; nothing is given up."] if relax else []
        _finish(plan, out, json, said, {"given_up": []} if relax else {})
        return
    quiet = replace(options.after(plan.solution.seconds), progress=None, start=None, prices=None)
    quiet = replace(quiet, time_limit=max(quiet.time_limit, _EXPLAIN_SECONDS))
    said, values = [], {}
    if sys.stderr.isatty():  # as progress
        _note("no routing keeps these limits; looking for those that exclude each other")
    try:
        why = diagnosis.diagnose(plan.problem, ray=plan.solution.ray, options=quiet)
        said = diagnosis.diagnosis_words(why, plan.problem.n_queries)
        values["diagnosis"] = why.to_dict()
    except OptionError as error:
        _note(f"dualroute: not explained: {error}")
    if relax:
        from dualroute import registry, routing

        least = diagnosis.relax(plan.problem, options=quiet)
        begun = replace(options, start=least.assignment)
        claim = registry.create("solvers", solver).solve(least.widened, begun)
        plan = routing.planned(plan.outcomes, least.widened, claim, options)
        said += [f"{line}." for line in diagnosis.given_up_words(least)]
        values["given_up"] = least.to_dict()["given_up"]
    _finish(plan, out, json, said, values)


def _finish(
    plan: "Plan",
    out: str | None,
    json: str | None,
    said: Sequence[str] = (),
    values: Mapping[str, Any] | None = None,
) -> None:
    from rich.text import Text

    from dualroute.report import plan_report, print_report

    if out is not None and plan.certificate.feasible:
        from dualroute.planfile import write_plan

        write_plan(out, plan)
    elif out is not None:
        _note(f"dualroute: {out} is not written: there is no routing that keeps the limits")
    lines = [Text(line) for line in said]
    _emit(
        json, {**plan.to_dict(), **(values or {})}, lambda: print_report(plan_report(plan), *lines)
    )
    _leave(plan)


def _emit(json: str | None, values: Any, show: Callable[[], None]) -> None:
    from json import dumps

    from dualroute.tables import write_atomically

    if json == "-":
        typer.echo(dumps(values, indent=2, allow_nan=False))
        return
    if json is not None:
        text = dumps(values, indent=2, allow_nan=False) + "\n"
        write_atomically(json, lambda path: path.write_text(text, encoding="utf-8"))
    show()


def _leave(plan: "Plan") -> None:
    raise typer.Exit(Exit.ANSWERED if plan.answered else Exit.NOTHING_FOUND)
