import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualroute import OptionError
from dualroute.calibration import Calibration, calibrator


def test_scores_by_hand():
    # Told .5 twice, seen 0 and 1: Brier .25, mean equal; told 1 and 0, seen 1 and 0: nothing off.
    told = np.array([[0.5, 1.0], [0.5, 0.0]])
    seen = np.array([[0.0, 1.0], [1.0, 0.0]])
    judged = Calibration.of(told, seen)
    assert judged.brier == pytest.approx(0.125)
    assert judged.bias == 0
    # Four predictions, four bins: 0 -> 0, .5 -> 0, .5 -> 1, 1 -> 1: one half off in two of four.
    assert judged.ece == pytest.approx(0.25)
    # Variance about the means is .25 for both models: half is explained.
    assert judged.explained == pytest.approx(0.5)


def test_overconfidence_is_seen_and_mended():
    # Truth is .5 + .4 (p - .5): predictions too far apart.
    draw = np.random.default_rng(0)
    told = draw.random((4000, 3))
    seen = (draw.random((4000, 3)) < 0.5 + 0.4 * (told - 0.5)).astype(float)
    before = Calibration.of(told, seen)
    assert before.ece == pytest.approx(0.15, abs=0.02)  # mean of .6 |p - .5|
    for name in ("isotonic", "platt"):
        learned = calibrator(name).fit(told[:2000], seen[:2000])
        after = Calibration.of(learned.predict(told[2000:]), seen[2000:])
        assert after.ece < 0.03
        assert after.brier < before.brier


def test_platt_finds_the_logistic_curve():
    draw = np.random.default_rng(1)
    logit = draw.normal(size=(50_000, 1)) * 2
    told = 1 / (1 + np.exp(-logit))
    seen = (draw.random(told.shape) < 1 / (1 + np.exp(-(0.5 * logit + 0.7)))).astype(float)
    learned = calibrator("platt").fit(told, seen)
    assert learned._slope == pytest.approx(0.5, abs=0.03)
    assert learned._shift == pytest.approx(0.7, abs=0.03)


@settings(max_examples=50, deadline=None)
@given(
    pairs=st.lists(st.tuples(st.floats(0, 1), st.sampled_from([0.0, 0.5, 1.0])), min_size=1),
    name=st.sampled_from(["isotonic", "platt", "none"]),
)
def test_calibration_rises_and_stays_in_range(pairs, name):
    told, seen = np.array(pairs).T
    grid = np.linspace(0, 1, 21)
    calibrated = calibrator(name).fit(told, seen).predict(grid)
    assert (np.diff(calibrated) >= 0).all()
    assert calibrated.min() >= 0
    assert calibrated.max() <= 1


def test_isotonic_keeps_models_apart():
    # Two levels that the step function merges are told apart by the line between its centers.
    told = np.array([0.1, 0.4, 0.5, 0.9])
    seen = np.array([0.0, 1.0, 0.0, 1.0])
    calibrated = calibrator("isotonic").fit(told, seen).predict(told)
    assert (np.diff(calibrated) > 0).all()
    # Levels 0 at .1, 1/2 at .45, 1 at .9.
    assert calibrated[0] == 0
    assert calibrated[3] == 1
    assert calibrated[1] == pytest.approx(0.5 * (0.4 - 0.1) / 0.35)


def test_unknown_name():
    with pytest.raises(OptionError, match="isotonic"):
        calibrator("magic")
