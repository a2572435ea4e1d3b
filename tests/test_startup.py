"""What is imported when: start-up is part of the contract."""

import subprocess
import sys

import pytest

HEAVY = ("scipy", "sklearn", "highspy", "polars", "narwhals", "rich.table", "ortools", "pyomo",
         "cvxpy", "matplotlib")  # fmt: skip


def imported_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_importing_the_package_loads_none_of_its_dependencies():
    loaded = imported_by("import dualroute")
    assert not loaded & {"numpy", *HEAVY}


def test_help_loads_no_numpy():
    loaded = imported_by(
        "import sys\nsys.argv = ['dualroute', '--help']\n"
        "from dualroute.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass"
    )
    assert not loaded & {"numpy", *HEAVY}


def test_the_mathematics_needs_numpy_only():
    loaded = imported_by("from dualroute import lagrangian, certify, formulate, Outcomes")
    assert "numpy" in loaded
    assert not loaded & set(HEAVY)


def test_every_public_name_resolves():
    import dualroute

    for name in dualroute.__all__:
        assert getattr(dualroute, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        dualroute.absent  # noqa: B018 - the access is the test


def test_functions_are_not_shadowed_by_modules():
    # Importing a submodule sets an attribute of its name on the package.
    loaded = subprocess.run(
        [sys.executable, "-c", "from dualroute import solve, route, verify, lagrangian, formulate\n"
         "import dualroute.routing, dualroute.formulation, dualroute.solvers.lagrangian\n"
         "from dualroute import route as again\nprint(callable(again), callable(lagrangian))"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert loaded.stdout.split() == ["True", "True"]
