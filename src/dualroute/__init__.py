"""Decide which language model answers which query, and prove how good the decision is."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from dualroute.certificate import Certificate, certify
    from dualroute.errors import (
        MissingDependencyError,
        OptionError,
        PolicyError,
        ProblemError,
        RoutingError,
        TableError,
    )
    from dualroute.formulation import (
        AllowedModels,
        Budget,
        Capacity,
        ContextWindow,
        MetricCap,
        MinShare,
        QualityFloor,
        ShareCap,
        formulate,
    )
    from dualroute.outcomes import Outcomes
    from dualroute.policy import Policy
    from dualroute.policyfile import read_policy, write_policy
    from dualroute.problem import DualPoint, Prices, RoutingProblem, Rows, lagrangian
    from dualroute.routing import Plan, read_limits, route, solve, verify
    from dualroute.simulation import simulate_stream
    from dualroute.solver import Solution, SolveOptions, Status, Termination
    from dualroute.tables import outcomes_from_frame, read_outcomes, read_queries, read_routing

# Where each public name lives; modules are imported when a name of theirs is first used, so
# that `import dualroute` and `dualroute --help` cost next to nothing.
_HOMES = {
    "certificate": ("Certificate", "certify"),
    "comparison": ("Comparison", "compare"),
    "crosscheck": ("CrossCheck", "cross_check"),
    "diagnosis": ("Diagnosis", "diagnose", "relax"),
    "errors": (
        "MissingDependencyError",
        "OptionError",
        "PolicyError",
        "ProblemError",
        "RoutingError",
        "TableError",
    ),
    "formulation": (
        "AllowedModels",
        "Budget",
        "Capacity",
        "ContextWindow",
        "MetricCap",
        "MinShare",
        "QualityFloor",
        "ShareCap",
        "formulate",
    ),
    "modelfile": ("Names", "read_solution", "to_highs", "write_map", "write_model"),
    "outcomes": ("Outcomes",),
    "policy": ("Policy",),
    "policyfile": ("read_policy", "write_policy"),
    "problem": ("DualPoint", "Prices", "RoutingProblem", "Rows", "lagrangian"),
    "routing": ("Plan", "read_limits", "route", "solve", "verify"),
    "simulation": ("simulate_stream",),
    "solvers.via_cvxpy": ("to_cvxpy",),
    "solvers.via_pyomo": ("to_pyomo",),
    "solver": ("Solution", "SolveOptions", "Status", "Termination"),
    "tables": ("outcomes_from_frame", "read_outcomes", "read_queries", "read_routing"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "AllowedModels",
    "Budget",
    "Capacity",
    "Certificate",
    "Comparison",
    "ContextWindow",
    "CrossCheck",
    "Diagnosis",
    "DualPoint",
    "MetricCap",
    "MinShare",
    "MissingDependencyError",
    "Names",
    "OptionError",
    "Outcomes",
    "Plan",
    "Policy",
    "PolicyError",
    "Prices",
    "ProblemError",
    "QualityFloor",
    "RoutingError",
    "RoutingProblem",
    "Rows",
    "ShareCap",
    "Solution",
    "SolveOptions",
    "Status",
    "TableError",
    "Termination",
    "certify",
    "compare",
    "cross_check",
    "diagnose",
    "formulate",
    "lagrangian",
    "outcomes_from_frame",
    "read_limits",
    "read_outcomes",
    "read_policy",
    "read_queries",
    "read_routing",
    "read_solution",
    "relax",
    "route",
    "simulate_stream",
    "solve",
    "to_cvxpy",
    "to_highs",
    "to_pyomo",
    "verify",
    "write_map",
    "write_model",
    "write_policy",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'dualroute' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"dualroute.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
