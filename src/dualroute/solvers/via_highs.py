"""HiGHS: the exact solver that is always there; linear relaxation for prices, then the MILP."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Self

from dualroute.errors import OptionError
from dualroute.exact import solve_exactly
from dualroute.highs import run_highs
from dualroute.problem import RoutingProblem
from dualroute.solver import Solution, SolveOptions

_ALGORITHMS = ("choose", "simplex", "ipx", "pdlp")


@dataclass(frozen=True, slots=True)
class Highs:
    """HiGHS on the whole table: the relaxation gives prices, branch-and-cut the routing.

    Attributes
    ----------
    mode
        ``"mip"``, or ``"lp"`` to stop after the relaxation and round it.
    algorithm
        How HiGHS solves the relaxation: ``choose``, ``simplex``, ``ipx`` or ``pdlp``.
    """

    packages: ClassVar[tuple[str, ...]] = ("highspy",)
    mode: str = "mip"
    algorithm: str = "choose"

    def __post_init__(self) -> None:
        """Check the names."""
        if self.mode not in ("mip", "lp"):
            raise OptionError(f"mode is {self.mode!r}; give 'mip' or 'lp'")
        if self.algorithm not in _ALGORITHMS:
            raise OptionError(f"algorithm is {self.algorithm!r}; one of {', '.join(_ALGORITHMS)}")

    @classmethod
    def variant(cls, name: str) -> Self:
        """``mip``, ``lp``, or the relaxation by ``simplex``, ``ipx`` or ``pdlp``."""
        return cls("lp", name) if name in _ALGORITHMS[1:] else cls(name)

    def solve(self, problem: RoutingProblem, options: SolveOptions) -> Solution:
        """Search within the options; prices come from the relaxation's duals."""
        return solve_exactly(
            problem,
            options,
            name=self._name,
            relax=partial(run_highs, algorithm=self.algorithm),
            search=run_highs if self.mode == "mip" else None,
        )

    @property
    def _name(self) -> str:
        if self.mode == "mip":
            return "highs"
        return "highs:lp" if self.algorithm == "choose" else f"highs:{self.algorithm}"
