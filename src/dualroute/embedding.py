"""The contract of an embedding (texts to vectors), and the light local default.

A vector has unit length, so a dot product is a cosine; a text about which nothing is known
(empty, or without a known word) is the zero vector, similar to nothing.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from dualroute.errors import MissingDependencyError, OptionError, TableError

# Words, and each punctuation mark or emoji by itself: operators tell code from prose.
_TOKEN = r"\w+|[^\w\s]"
# Below this a projection is rounding noise, not a direction.
_NO_LENGTH = 1e-6


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
        weights = self._vectorizer.transform(texts)
        return _unit(weights.toarray() if self._svd is None else self._svd.transform(weights))


@dataclass(slots=True)
class SentenceTransformerEmbedding:
    """Vectors of a sentence-transformers model in a local directory; never downloads.

    Attributes
    ----------
    model
        The directory.
    device
        ``"cpu"``, ``"cuda"``, ...
    """

    model: str | Path
    device: str = "cpu"
    _loaded: Any = field(default=None, init=False, repr=False, compare=False)

    def fit(self, texts: Sequence[str]) -> Self:
        """Load the model; the texts teach it nothing.

        Raises
        ------
        OptionError
            If the directory is missing.
        MissingDependencyError
            If sentence-transformers is not installed.
        """
        if self._loaded is None:
            self._loaded = self._load()
        return self

    def transform(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of shape ``(n, d)``; an empty text is the zero vector."""
        model = self.fit(texts)._loaded
        vectors = _unit(np.asarray(model.encode(list(texts), show_progress_bar=False)))
        vectors[[not text.strip() for text in texts]] = 0
        return vectors

    def _load(self) -> Any:
        if not Path(self.model).is_dir():
            raise OptionError(
                f"no directory {str(self.model)!r}; give the path of a sentence-transformers "
                "model saved on this machine (nothing is downloaded)"
            )
        # Read when the library is imported, so set before that, and put back after.
        before = os.environ.get("HF_HUB_OFFLINE")
        os.environ["HF_HUB_OFFLINE"] = "1"
        try:
            from sentence_transformers import SentenceTransformer
            from transformers.utils import logging

            logging.disable_progress_bar()  # loading is quick, and libraries do not chatter
            return SentenceTransformer(str(self.model), device=self.device, local_files_only=True)
        except ModuleNotFoundError as error:
            raise MissingDependencyError(
                f"{error.name} is not installed; pip install 'dualroute[sentence-transformers]'"
            ) from None
        finally:
            if before is None:
                del os.environ["HF_HUB_OFFLINE"]
            else:
                os.environ["HF_HUB_OFFLINE"] = before


def _unit(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """Rows scaled to unit length; rows without length become zero."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    known = length > _NO_LENGTH
    unit: NDArray[np.float32] = (np.where(known, vectors, 0) / np.where(known, length, 1)).astype(
        np.float32
    )
    return unit
