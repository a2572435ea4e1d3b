import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualroute.link import Link, Spread
from dualroute.surface import SurfaceScale, surface

NUMBERS = st.lists(st.floats(0, 1e6), min_size=2, max_size=10)


@given(values=NUMBERS)
def test_there_and_back(values):
    grid = np.array(values)[:, None]
    link = Link.of(grid)
    assert np.allclose(link.back(link.onto(grid)), grid, rtol=1e-9, atol=1e-9 * (1 + grid.max()))


def test_scale_of_each_kind():
    assert Link.of(np.array([[0.0], [1.0]])).unit
    assert Link.of(np.array([[0.0], [3.0]])).offset is not None
    assert Link.of(np.array([[-1.0], [3.0]])).offset is None
    assert Link.of(np.array([[0.0, 5.0]])).offset.tolist() == [0.01, 0.05]


def test_cost_is_in_shares_of_each_models_mean_whatever_its_unit():
    dollars = np.array([[0.001, 0.5], [0.003, 0.1]])
    for unit in (1.0, 1e6):
        link = Link.of(unit * dollars, cost=True)
        assert not link.unit
        assert link.onto(unit * dollars) == pytest.approx(dollars / [0.002, 0.3])
        assert link.back(link.onto(unit * dollars)) == pytest.approx(unit * dollars)
    free = Link.of(np.zeros((2, 1)), cost=True)
    assert free.back(free.onto(np.zeros((2, 1)))).tolist() == [[0], [0]]


def test_values_beyond_the_range_are_brought_back():
    link = Link.of(np.array([[1.0], [3.0]]))
    assert link.back(np.array([[1e9], [-1e9]])).tolist() == [[3.0], [1.0]]


def test_spread_of_a_yes_or_no_is_that_of_its_chance():
    # Calibrated predictions of 0/1 outcomes err by p (1 - p): factor 1.
    draw = np.random.default_rng(0)
    chance = draw.random((100_000, 2))
    seen = (draw.random(chance.shape) < chance).astype(float)
    spread = Spread.of(Link.of(seen), chance, seen)
    assert spread.factor == pytest.approx(np.ones(2), abs=0.02)
    assert spread.sd(np.array([[0.5, 0.1]])) == pytest.approx(np.array([[0.5, 0.3]]), abs=0.01)


def test_spread_of_a_cost_is_relative():
    seen = np.array([[2.0], [6.0]])
    told = np.array([[4.0], [4.0]])  # off by half of itself
    for unit in (1.0, 0.01):
        spread = Spread.of(Link.of(unit * seen, cost=True), unit * told, unit * seen)
        assert spread.sd(np.array([[10.0]])) == pytest.approx(np.array([[5.0]]))


def test_looks_of_a_text_by_hand():
    (lengths,) = surface(["Is 12 > 3?"])
    assert lengths[0] == pytest.approx(np.log(11))  # ten characters
    assert lengths[1] == pytest.approx(np.log(5))  # four words
    assert lengths[3] == pytest.approx(np.log(3))  # two numbers
    assert lengths[5] == pytest.approx(3 / 11)  # three digits
    assert lengths[6] == pytest.approx(1 / 11)  # one capital
    assert lengths[11] == 1


@pytest.mark.parametrize("text", ["", "\x00", "\N{GRINNING FACE}" * 9, "word " * 200_000, "\ud800"])
def test_any_text_has_looks(text):
    assert np.isfinite(surface([text])).all()


def test_a_look_that_never_varied_is_left_out_and_none_goes_far():
    features = surface(["abc", "abcd", "abcdef"])
    scale = SurfaceScale.of(features)
    assert (scale.scaled(surface(["def f(): return 1\n" * 1000])) <= 5.0).all()
    assert scale.scaled(surface(["?"]))[0, 11] == 0
    assert surface([]).shape == (0, 12)


@given(texts=st.lists(st.text("aé1\n ?_漢A-", max_size=6), min_size=1, max_size=8))
def test_a_text_looks_the_same_whatever_stands_beside_it(texts):
    # Numbers must not run on from one text into the next, nor vanish beside an empty one.
    assert (surface(texts) == np.concatenate([surface([text]) for text in texts])).all()
