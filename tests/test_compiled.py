"""Ctrl-C while numba is at work is kept until it is done, and never lost."""

import signal

import numba
import numpy as np
import pytest
from numba.extending import overload

from dualroute.compiled import interrupts_held


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


def test_an_interrupt_is_kept_until_the_outermost_block_ends():
    reached = []

    def work():
        with interrupts_held():
            with interrupts_held():
                interrupt()
                reached.append("inner")
            reached.append("outer")
        reached.append("after")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert reached == ["inner", "outer"]


def test_an_interrupt_comes_once_and_outside_a_block_at_once():
    with pytest.raises(KeyboardInterrupt), interrupts_held():
        interrupt()
    with interrupts_held():
        pass
    with pytest.raises(KeyboardInterrupt):
        interrupt()


def test_a_compilation_that_is_interrupted_is_finished_first():
    def twice(x):
        return 2 * x

    typed = []

    @overload(twice)
    def typed_twice(x):
        if not typed:
            interrupt()  # numba calls this while it compiles
        typed.append(x)
        return lambda x: 2 * x

    @numba.njit  # not cached: it is to be compiled every time
    def kernel(values):
        return twice(values[0])

    values = np.array([21.0])
    with pytest.raises(KeyboardInterrupt):
        kernel(values)
    assert typed
    assert len(kernel.signatures) == 1
    assert kernel(values) == 42
