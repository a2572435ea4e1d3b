"""One careful call of HiGHS: options checked, interrupts obeyed, nothing printed.

HiGHS (Huangfu & Hall 2018, doi:10.1007/s12532-017-0130-5) reports a bad option or a refused
model only through return codes, and holds stale numbers after a limit; this module turns both
into values that can be relied on.
"""

import math
import os
import threading
import time
from dataclasses import dataclass, field, replace
from typing import Any

import highspy
import numpy as np

from dualroute.arrays import Floats
from dualroute.errors import OptionError
from dualroute.linear import Answer, LinearForm, Task
from dualroute.solver import Termination

_GRACE = 1.0
_LARGE = 200_000
_SAME = 1e-9  # of the scaled objective: less is rounding, or columns whole only to a tolerance
_STATUS = highspy.HighsModelStatus


class QuietHighs(highspy.Highs):
    """HiGHS that prints nothing; 1.16 announces itself where its constructor enables callbacks."""

    def enableCallbacks(self) -> None:  # noqa: N802 - HiGHS's name
        """Silence it first."""
        self.silent()
        super().enableCallbacks()


def run_highs(form: LinearForm, task: Task, algorithm: str = "choose") -> Answer:
    """Solve a linear form as a MILP, or its relaxation.

    What `Task.on_incumbent` raises ends the run and is raised again here; it is called in HiGHS's
    thread. Where HiGHS calls a start optimal beside another objective than its own, it is asked
    again without.

    Parameters
    ----------
    form
        The program.
    task
        How to solve it.
    algorithm
        HiGHS's own name: ``choose``, ``simplex``, ``ipx`` or ``pdlp`` (relaxation only).

    Raises
    ------
    OptionError
        If HiGHS refuses an option or the model.
    """
    options, integer, start = task.options, task.integer, task.start
    time_limit, on_incumbent = options.time_limit, task.on_incumbent
    model = QuietHighs()
    _set(model, "primal_feasibility_tolerance", 1e-9)
    _set(model, "dual_feasibility_tolerance", 1e-9)
    _set(model, "mip_feasibility_tolerance", 1e-9)
    _set(model, "mip_rel_gap", options.mip_rel_gap)
    # Above zero, or HiGHS goes on over differences of rounding size.
    _set(model, "mip_abs_gap", max(options.mip_abs_gap * form.cost_scale, 1e-9))
    _set(model, "random_seed", options.seed % 2**31)
    if math.isfinite(time_limit):
        _set(model, "time_limit", max(time_limit, 1e-3))
    if not integer:
        # The interior point obeys its clock at sizes where one simplex iteration does not.
        large = algorithm == "choose" and form.n_columns > _LARGE
        _set(model, "solver", "ipx" if large else algorithm)
    # HiGHS keeps the thread count of the process's first solve and refuses any other.
    model.resetGlobalScheduler(True)
    _set(model, "threads", min(options.threads, os.cpu_count() or 1))
    building = time.perf_counter()
    _pass(model, form, integer)
    built = time.perf_counter() - building
    if start is not None:
        solution = highspy.HighsSolution()
        solution.col_value = np.asarray(start, np.float64)
        model.setSolution(solution)
    run = _Run()
    scale, offset = form.cost_scale, form.offset

    def report(event: Any) -> None:
        out = event.data_out
        run.x, run.best_bound = np.array(out.mip_solution), float(out.mip_dual_bound)
        if on_incumbent is not None:
            try:
                on_incumbent(out.mip_primal_bound / scale + offset, run.best_bound / scale + offset)
            except BaseException as error:  # HiGHS would print it and go on
                run.error = error
                run.stop.set()

    if integer:
        model.cbMipImprovingSolution += report
    begun = time.perf_counter()
    finished = _wait(model, run, time_limit)
    if run.error is not None and not isinstance(run.error, KeyboardInterrupt):
        raise run.error
    if finished:
        if start is None or run.interrupted or _means_its_columns(model, form):
            answer = _answer(model, form, integer, interrupted=run.interrupted)
            return replace(answer, build_seconds=built)
        # Where presolve settles it all, HiGHS 1.16 hands back the start it was given beside the
        # objective of the optimum.
        left = options.after(time.perf_counter() - begun)
        return run_highs(form, replace(task, start=None, options=left), algorithm)
    bound = run.best_bound / scale + offset if math.isfinite(run.best_bound) else -math.inf
    return Answer(
        termination=Termination.INTERRUPTED if run.interrupted else Termination.TIME_LIMIT,
        x=run.x,
        best_bound=bound,
        interrupted=run.interrupted,
        build_seconds=built,
    )


@dataclass(slots=True, eq=False)
class _Run:
    """A running HiGHS: what tells it to stop, and what it has found."""

    stop: threading.Event = field(default_factory=threading.Event)
    interrupted: bool = False
    error: BaseException | None = None
    x: Floats | None = None
    best_bound: float = -math.inf


_LEFT_BEHIND: list[threading.Thread] = []


def still_running() -> bool:
    """Whether a HiGHS that outran its limit has not come to its senses yet."""
    return any(thread.is_alive() for thread in _LEFT_BEHIND)


def _set(model: highspy.Highs, name: str, value: float | int | str) -> None:
    if model.setOptionValue(name, value) != highspy.HighsStatus.kOk:
        raise OptionError(f"HiGHS does not take {name} = {value!r}")


def _pass(model: highspy.Highs, form: LinearForm, integer: bool) -> None:
    columns = form.n_columns
    status = model.passModel(
        columns,
        form.matrix.shape[0],
        form.matrix.nnz,
        int(highspy.MatrixFormat.kRowwise),
        int(highspy.ObjSense.kMinimize),
        0.0,
        form.cost,
        np.zeros(columns),
        np.ones(columns),
        form.lower,
        form.upper,
        form.matrix.indptr.astype(np.int32),
        form.matrix.indices.astype(np.int32),
        form.matrix.data,
        np.where(np.arange(columns) < columns - form.n_slack, int(integer), 0).astype(np.int32),
    )
    if status == highspy.HighsStatus.kError:
        raise OptionError("HiGHS rejects the model; a coefficient is out of its range")


def _wait(model: highspy.Highs, run: _Run, time_limit: float) -> bool:
    """Run HiGHS until it ends, or shortly after its time; whether it ended.

    It runs in a thread of its own, so that Ctrl-C reaches us. One simplex iteration on a million
    columns can take half a minute in which HiGHS looks at no clock and no callback; it is then
    left behind, told to stop, and what it had found so far is taken. (We wait on an event of our
    own: an interrupted `Thread.join` may take a thread for ended.)
    """

    def obey(event: Any) -> None:
        if run.stop.is_set():
            event.interrupt()

    model.cbSimplexInterrupt += obey
    model.cbIpmInterrupt += obey
    model.cbMipInterrupt += obey
    done = threading.Event()

    def work() -> None:
        try:
            model.run()
        finally:
            done.set()

    thread = threading.Thread(target=work)
    thread.start()
    deadline = time.perf_counter() + time_limit + _GRACE
    while not done.is_set():
        try:
            done.wait(0.2)
        except KeyboardInterrupt:
            run.interrupted = True
            run.stop.set()
            deadline = min(deadline, time.perf_counter() + _GRACE)
        if time.perf_counter() > deadline:
            run.stop.set()
            _LEFT_BEHIND.append(thread)
            return False
    return True


def _means_its_columns(model: highspy.Highs, form: LinearForm) -> bool:
    """Whether an objective called optimal is that of the columns that come with it."""
    solution = model.getSolution()
    if model.getModelStatus() != _STATUS.kOptimal or not solution.value_valid:
        return True
    told = float(model.getInfo().objective_function_value)
    held = float(form.cost @ np.asarray(solution.col_value))
    return math.isclose(told, held, rel_tol=_SAME, abs_tol=_SAME)


def _answer(model: highspy.Highs, form: LinearForm, integer: bool, *, interrupted: bool) -> Answer:
    status = model.getModelStatus()
    info, solution = model.getInfo(), model.getSolution()
    termination = {
        _STATUS.kOptimal: Termination.OPTIMAL,
        _STATUS.kInfeasible: Termination.INFEASIBLE,
        _STATUS.kTimeLimit: Termination.TIME_LIMIT,
        _STATUS.kInterrupt: Termination.INTERRUPTED,
    }.get(status, Termination.NUMERICAL)
    if interrupted and termination is not Termination.OPTIMAL:
        termination = Termination.INTERRUPTED
    x = None
    feasible = info.primal_solution_status == int(highspy.SolutionStatus.kSolutionStatusFeasible)
    if solution.value_valid and feasible:
        x = np.asarray(solution.col_value)
    bound = -math.inf
    row_dual = None
    if integer:
        bound = float(info.mip_dual_bound)
    elif status == _STATUS.kOptimal:
        bound = float(info.objective_function_value)
        row_dual = np.asarray(solution.row_dual)
    if status == _STATUS.kOptimal and termination is Termination.OPTIMAL and integer and x is None:
        termination = Termination.NUMERICAL
    return Answer(
        termination=termination,
        x=x,
        best_bound=bound / form.cost_scale + form.offset if math.isfinite(bound) else -math.inf,
        row_dual=row_dual,
        iterations=int(
            max(info.mip_node_count, 0) if integer else max(info.simplex_iteration_count, 0)
        ),
        interrupted=interrupted,
    )
