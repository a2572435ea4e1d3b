"""What a text looks like, whatever it says: lengths, digits, marks, lines, as numbers."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dualroute.arrays import Floats

_READ = 2**16  # characters looked at; longer texts differ by their length alone
_TOGETHER = 2**18  # characters looked at together
_WORD = re.compile(r"\bdef\b|\breturn\b")
_DIGIT, _UPPER, _MARK, _CODE, _WIDE, _LINE, _ASKED = (1 << k for k in range(7))
_LARGEST = 5.0  # standard deviations: a strange text must not leave the range learned from


def surface(texts: Sequence[str]) -> Floats:
    """Twelve features of every text, shape ``(n, 12)``, in no common scale.

    Logarithms of the lengths in characters and words, of the lines, numbers and signs of code;
    shares of digits, capitals, marks and characters beyond ASCII; mean length of a word, share
    of distinct words, and whether there is a question mark.
    """
    features = np.empty((len(texts), 12))
    start, size = 0, 0
    for end, text in enumerate(texts, start=1):
        size += min(len(text), _READ)
        if size >= _TOGETHER or end == len(texts):
            features[start:end] = _features(texts[start:end])
            start, size = end, 0
    return features


def _features(texts: Sequence[str]) -> Floats:
    """The same of some texts, their characters looked at in one array."""
    read = [text[:_READ] for text in texts]
    words = [text.split() for text in read]
    lengths = np.array([len(text) for text in read])
    ends = np.cumsum(lengths)
    # Lone surrogates are no text, but texts may hold them.
    code = np.frombuffer("".join(read).encode("utf-32-le", "surrogatepass"), np.uint32)
    kind = _kinds(code)

    filled = lengths > 0
    starts = (ends - lengths)[filled]

    def count(where: NDArray[np.bool_]) -> Floats:
        counted = np.zeros(len(texts))
        if starts.size:
            counted[filled] = np.add.reduceat(where, starts, dtype=np.int32)
        return counted

    digit = (kind & _DIGIT) > 0
    number = digit.copy()  # the first digit of each run
    number[1:] &= ~digit[:-1]
    number[starts] = digit[starts]
    size = lengths + 1.0
    n_words = np.array([len(one) for one in words], np.float64)
    named = [float(len(_WORD.findall(text))) if "def" in text or "return" in text else 0.0
             for text in read]  # fmt: skip
    return np.column_stack(
        [
            np.log1p([len(text) for text in texts]),
            np.log1p(n_words),
            np.log1p(count((kind & _LINE) > 0)),
            np.log1p(count(number)),
            np.log1p(count((kind & _CODE) > 0) + named),
            count(digit) / size,
            count((kind & _UPPER) > 0) / size,
            count((kind & _MARK) > 0) / size,
            count((kind & _WIDE) > 0) / size,
            np.log1p(size / (n_words + 1)),
            [len(set(one)) / max(1, len(one)) for one in words],
            count((kind & _ASKED) > 0) > 0,
        ]
    )


def _kinds(code: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """What every character is, as bits; each distinct one is asked about once."""
    if code.size == 0:
        return np.empty(0, np.uint8)
    present = np.zeros(int(code.max()) + 1, np.uint8)
    present[code] = 1
    for number in np.flatnonzero(present).tolist():
        present[number] = _kind(chr(number))
    return present[code]


def _kind(character: str) -> int:
    kinds = {
        _DIGIT: character.isdecimal(),
        _UPPER: "A" <= character <= "Z",
        _MARK: not (character.isalnum() or character == "_" or character.isspace()),
        _CODE: character in "{}[]()=;<>_",
        _WIDE: not character.isascii(),
        _LINE: character == "\n",
        _ASKED: character == "?",
    }
    return sum(bit for bit, holds in kinds.items() if holds)


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
