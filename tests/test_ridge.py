import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from dualroute.ridge import CanonicalRidge


def data(seed, n=30, d=4, m=3):
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(n, d))
    return x, x @ draw.normal(size=(d, m)) + draw.normal(size=(n, m))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), penalty=st.floats(0.01, 100))
def test_left_out_predictions_are_those_of_refitting(seed, penalty):
    # With a single penalty that beats the mean every direction has it, so ridge by ridge.
    x, y = data(seed)
    ridge = CanonicalRidge(penalties=(penalty,))
    unseen = ridge.fit(x, y)
    refitted = np.empty_like(y)
    for i in range(len(x)):
        others = np.arange(len(x)) != i
        # Centers of the others move with the query left out: that is the 1/n of the leverage.
        model = Ridge(alpha=penalty).fit(x[others], y[others])
        refitted[i] = model.predict(x[i : i + 1])[0]
    directions = np.linalg.eigh(np.cov(y.T))[1]
    mean_error = ((y - y.mean(0)) @ directions * 30 / 29) ** 2
    ridge_error = ((y - refitted) @ directions) ** 2
    used = ridge_error.sum(0) < mean_error.sum(0)
    left = (y - unseen) @ directions
    assert np.allclose(left[:, used], ((y - refitted) @ directions)[:, used], atol=1e-6)


def test_one_penalty_is_ordinary_ridge():
    x, y = data(0, n=200)
    ridge = CanonicalRidge(penalties=(2.5,))
    ridge.fit(x, y)
    assert np.allclose(ridge.predict(x), Ridge(alpha=2.5).fit(x, y).predict(x), atol=1e-9)


def test_noise_is_left_alone_and_a_signal_followed():
    # All models share a linear signal; their differences are noise.
    draw = np.random.default_rng(3)
    x = draw.normal(size=(400, 5))
    common = x @ np.array([1.0, -2, 0, 0, 1])
    y = common[:, None] + 0.3 * draw.normal(size=(400, 4))
    ridge = CanonicalRidge()
    ridge.fit(x, y)
    told = ridge.predict(x)
    assert np.corrcoef(told.mean(1), common)[0, 1] > 0.99
    apart = told - told.mean(1, keepdims=True) - (y.mean(0) - y.mean())
    assert np.abs(apart).max() < 0.15


def test_more_features_than_queries_and_constant_features():
    draw = np.random.default_rng(0)
    x = np.concatenate([draw.normal(size=(5, 20)), np.ones((5, 1))], axis=1)
    y = draw.random((5, 2))
    ridge = CanonicalRidge()
    unseen = ridge.fit(x, y)
    assert np.isfinite(unseen).all()
    assert np.isfinite(ridge.predict(x)).all()


def test_one_query_predicts_itself():
    ridge = CanonicalRidge()
    ridge.fit(np.ones((1, 3)), np.array([[0.25, 4.0]]))
    assert ridge.predict(np.zeros((2, 3))).tolist() == [[0.25, 4.0]] * 2


def test_float32_features_give_the_same_weights():
    x, y = data(5, n=500)
    one, two = CanonicalRidge(), CanonicalRidge()
    one.fit(x, y)
    two.fit(x.astype(np.float32), y)
    assert np.allclose(one.predict(x), two.predict(x), atol=1e-4)
    assert pytest.approx(one._mean) == y.mean(0)
