"""What a text looks like, whatever it says: lengths, digits, marks, lines, as numbers."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dualroute.arrays import Floats

_READ = 2**16  # characters looked at; longer texts differ by their length alone
_DIGIT, _NUMBER, _UPPER = re.compile(r"\d"), re.compile(r"\d+"), re.compile(r"[A-Z]")
_MARK, _CODE = re.compile(r"[^\w\s]"), re.compile(r"[{}\[\]()=;<>_]|\bdef\b|\breturn\b")
_WIDE = re.compile(r"[^\x00-\x7f]")
_LARGEST = 5.0  # standard deviations: a strange text must not leave the range learned from


def surface(texts: Sequence[str]) -> Floats:
    """Twelve features of every text, shape ``(n, 12)``, in no common scale.

    Logarithms of the lengths in characters and words, of the lines, numbers and signs of code;
    shares of digits, capitals, marks and characters beyond ASCII; mean length of a word, share
    of distinct words, and whether there is a question mark.
    """
    return np.array([_features(text) for text in texts], np.float64).reshape(len(texts), 12)


def _features(text: str) -> tuple[float, ...]:
    read = text[:_READ]
    words = read.split()
    size = len(read) + 1
    return (
        np.log1p(len(text)),
        np.log1p(len(words)),
        np.log1p(read.count("\n")),
        np.log1p(len(_NUMBER.findall(read))),
        np.log1p(len(_CODE.findall(read))),
        len(_DIGIT.findall(read)) / size,
        len(_UPPER.findall(read)) / size,
        len(_MARK.findall(read)) / size,
        len(_WIDE.findall(read)) / size,
        np.log1p(size / (len(words) + 1)),
        len(set(words)) / max(1, len(words)),
        float("?" in read),
    )


@dataclass(frozen=True, slots=True, eq=False)
class SurfaceScale:
    """Center and spread of the features over a history, for comparable numbers.

    Attributes
    ----------
    center, spread
        Both ``(12,)``; a feature that never varied has spread 0 and is left out.
    """

    center: Floats
    spread: Floats

    @classmethod
    def of(cls, features: Floats) -> "SurfaceScale":
        """The scale of features ``(n, 12)``."""
        return cls(features.mean(axis=0), features.std(axis=0))

    def scaled(self, features: Floats) -> Floats:
        """Standardised features, their squares adding up to about 1 over a typical text."""
        varied = self.spread > 1e-9
        units = (features - self.center) / np.where(varied, self.spread, 1.0)
        within: Floats = np.clip(np.where(varied, units, 0.0), -_LARGEST, _LARGEST)
        within /= np.sqrt(self.spread.size)
        return within
