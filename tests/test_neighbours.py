import sys

import numpy as np
import pytest

from dualroute.errors import MissingDependencyError, OptionError
from dualroute.neighbours import ExactIndex, FaissIndex, index


def unit(n, d, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_exact_by_hand_with_ties_to_the_first():
    stored = np.array([[1, 0], [0, 1], [1, 0], [0.6, 0.8]], np.float32)
    numbers, cosines = ExactIndex(stored).nearest(np.array([[1, 0]], np.float32), 2)
    assert numbers.tolist() == [[0, 2]]
    assert cosines.tolist() == [[1, 1]]
    numbers, _ = ExactIndex(stored).nearest(np.array([[1, 0]], np.float32), 1)
    assert numbers.tolist() == [[0]]
    numbers, _ = ExactIndex(stored).nearest(np.array([[1, 0]], np.float32), 9)
    assert numbers.tolist() == [[0, 1, 2, 3]]


def test_exact_is_the_full_sort():
    stored, asked = unit(500, 8), unit(40, 8, seed=1)
    numbers, cosines = ExactIndex(stored).nearest(asked, 7)
    full = np.sort(asked @ stored.T, axis=1)[:, -7:]
    assert np.allclose(np.sort(cosines, axis=1), full, atol=1e-6)
    assert np.allclose(np.take_along_axis(asked @ stored.T, numbers, 1), cosines, atol=1e-6)


@pytest.mark.parametrize("kind", [ExactIndex, FaissIndex])
def test_what_is_added_is_found(kind):
    stored, later = unit(400, 8), unit(5, 8, seed=2)
    held = kind(stored)
    held.add(later)
    assert held.size == 405
    numbers, cosines = held.nearest(later, 1)
    assert numbers[:, 0].tolist() == [400, 401, 402, 403, 404]
    assert np.allclose(cosines, 1, atol=1e-5)


def test_faiss_finds_nearly_all_and_the_same_every_time():
    stored, asked = unit(20_000, 16), unit(200, 16, seed=1)
    true, _ = ExactIndex(stored).nearest(asked, 10)
    found, _ = FaissIndex(stored).nearest(asked, 10)
    again, _ = FaissIndex(stored).nearest(asked, 10)
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(true, found, strict=True)])
    assert recall > 0.8
    assert (found == again).all()


def test_fewer_stored_than_asked_for():
    numbers, cosines = FaissIndex(unit(3, 4)).nearest(unit(1, 4), 10)
    assert numbers.shape == cosines.shape
    assert numbers.min() >= 0


def test_zero_vectors_are_similar_to_nothing():
    stored = np.concatenate([unit(50, 4), np.zeros((1, 4), np.float32)])
    for kind in (ExactIndex, FaissIndex):
        _, cosines = kind(stored).nearest(np.zeros((1, 4), np.float32), 3)
        assert (cosines == 0).all()


def test_choice_of_index(monkeypatch):
    assert isinstance(index("auto", unit(10, 4)), ExactIndex)
    assert isinstance(index("faiss", unit(100, 4)), FaissIndex)
    monkeypatch.setattr("dualroute.neighbours.LARGE", 5)
    assert isinstance(index("auto", unit(10, 4)), FaissIndex)
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert isinstance(index("auto", unit(10, 4)), ExactIndex)
    with pytest.raises(MissingDependencyError, match=r"dualroute\[index\]"):
        index("faiss", unit(10, 4))
    with pytest.raises(OptionError, match="'auto', 'exact' or 'faiss'"):
        index("annoy", unit(10, 4))
