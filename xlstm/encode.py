"""From what users have to what a model reads: tokens to numbers, numeric features to unit scale.

An encoder belongs to its model and is saved with it. It is fitted on the training part alone. Data that lies on a
device is encoded there; what was learnt of it comes to the host, where an encoder has its numbers.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np

from . import moments
from .backends import Backend, numpy_arrays
from .host import HostArray
from .labels import holds_pair
from .namespace import Array
from .series import Series, Texts
from .spelling import FORMS, Spelling

UNKNOWN = 0
"""The number of a token that was not seen in training. Its input to the first layer is zero, and stays so: it says
nothing, rather than something that was never learned."""


class _Learned:
    """What an encoder has learned: numbers on the host, and on each device that asked for them."""

    _there: dict[str, Array] | None = None  # by the device's name; also of pickles from before there was one

    def _on(self, place: Backend, numbers: HostArray) -> Array:
        """`numbers`, always the same of an encoder, on a device."""
        if self._there is None:
            self._there = {}
        if place.device not in self._there:
            self._there[place.device] = place.from_host(numbers)
        return self._there[place.device]

    def __getstate__(self) -> dict[str, Any]:
        # Copies, and other processes, bring them there themselves.
        return {name: value for name, value in vars(self).items() if name != "_there"}


class TokenEncoder(_Learned):
    """A vocabulary: tokens to numbers from 1 on, and `UNKNOWN` for all others.

    Parameters
    ----------
    kind
        `"characters"`, `"words"` or `"integers"`.
    spelling
        Which tokens are one: no matter for integers.
    vocabulary
        The tokens in order; the first has the number 1.

    Raises
    ------
    ValueError
        If a word holds a pair of surrogates, which a file would give back as one character.
    """

    normalize: str | None = None  # of pickles from before there was one
    apart = True  # likewise

    def __init__(self, kind: str, spelling: Spelling, vocabulary: list[Any]) -> None:
        self.kind, self.vocabulary = kind, vocabulary
        self.fold_case, self.normalize, self.apart = spelling
        if kind == "words":
            _refuse_pairs(vocabulary)

    @functools.cached_property
    def _numbers(self) -> dict[Any, int]:
        """Made when it is first needed: of a large vocabulary it takes more memory than the file that it comes from."""
        return {token: number for number, token in enumerate(self.vocabulary, start=1)}

    @classmethod
    def fit(cls, texts: Texts, spelling: Spelling) -> TokenEncoder:
        """The vocabulary of these texts, sorted, so that it does not depend on their order."""
        texts = spelling.before_cutting(texts)
        tokens = texts.tokens
        if texts.place is not None:
            with texts.place.current():
                vocabulary = texts.place.to_host(texts.place.namespace.unique_values(tokens)).tolist()
        elif texts.kind == "integers":
            vocabulary = np.unique(np.asarray(tokens)).tolist()
        elif texts.kind == "characters" and not spelling.apart:
            vocabulary = sorted(set(tokens))
        else:
            vocabulary = sorted({spelling.of(token) for token in set(tokens)})
        return cls(texts.kind, spelling, vocabulary)

    @property
    def spelling(self) -> Spelling:
        """Which tokens are one."""
        return Spelling(self.fold_case, self.normalize, self.apart)

    @property
    def size(self) -> int:
        """V: the number of tokens, the unknown one included."""
        return len(self.vocabulary) + 1

    @property
    def width(self) -> int:
        """What the model reads a step: V."""
        return self.size

    def encode(self, texts: Texts, dtype: str = "float64") -> Array:
        """The numbers of all tokens, (sum of the lengths,) int64, whatever the `dtype` of the model.

        The texts are as `spelled` gives them.

        Raises
        ------
        ValueError
            If the texts are of another kind than the vocabulary.
        """
        if texts.kind != self.kind:
            raise _of_another_kind(self.kind, texts.kind)
        if texts.place is not None:
            xp, tokens = texts.place.namespace, texts.tokens
            with texts.place.current():
                known = self._on(texts.place, np.asarray(self.vocabulary, dtype=np.int64))
                place = xp.minimum(xp.searchsorted(known, tokens), len(self.vocabulary) - 1)
                return xp.where(xp.take(known, place, axis=0) == tokens, place + 1, UNKNOWN)
        if texts.kind == "integers":
            tokens = np.asarray(texts.tokens)
            known = np.asarray(self.vocabulary, dtype=np.int64)
            place = np.minimum(np.searchsorted(known, tokens), len(known) - 1)
            return np.where(known[place] == tokens, place + 1, UNKNOWN)
        # Each different token is looked up once, however often it occurs.
        seen = {token: self._number(token) for token in set(texts.tokens)}
        if texts.kind == "words":
            return np.fromiter(map(seen.__getitem__, texts.tokens), dtype=np.int64, count=len(texts.tokens))
        codes = np.frombuffer(texts.tokens.encode("utf-32-le", "surrogatepass"), dtype="<u4")  # type: ignore[union-attr]
        of_codes = np.zeros(int(codes.max(initial=0)) + 1, dtype=np.int64)
        of_codes[[ord(token) for token in seen]] = list(seen.values())
        return of_codes[codes]

    def _number(self, token: str) -> int:
        whole = self.kind == "characters" and not self.apart  # then its text was brought into the one form
        return self._numbers.get(token if whole else self.spelling.of(token), UNKNOWN)

    def state(self) -> dict[str, Any]:
        """What a file keeps."""
        return {"kind": self.kind, **self.spelling._asdict(), "vocabulary": self.vocabulary}


def _refuse_pairs(words: Iterable[str]) -> None:
    for word in words:
        if holds_pair(word):
            raise ValueError(
                f"the word {word!r:.80} holds a pair of surrogates, the halves of one character: make it one, "
                "word.encode('utf-16', 'surrogatepass').decode('utf-16')."
            )


class Scaler(_Learned):
    """Each feature minus its mean, divided by its standard deviation over all valid steps.

    Where numbers may be missing, the model reads two numbers of each feature: first all D of them, scaled, with what
    stands in for one that is missing, then whether each is there, 1 or 0. So nothing is invented: a model can tell a
    number that is there from one that is not.

    Parameters
    ----------
    mean, scale
        (D,) float64. A feature that never changes has scale 1.
    filling
        (D,) float64, what stands in for a missing number, scaled: the mean of the training. None where none may be
        missing.
    """

    kind = "series"
    filling: HostArray | None = None  # also of pickles from before there was one

    def __init__(self, mean: HostArray, scale: HostArray, filling: HostArray | None = None) -> None:
        self.mean, self.scale, self.filling = mean, scale, filling

    @classmethod
    def fit(cls, series: Series, standardize: bool, gaps: bool = False) -> Scaler:
        """From these series; with `standardize` False, mean 0 and scale 1.

        With `gaps` NaN is a missing number, which counts for nothing. A feature of which all are missing has mean 0.
        """
        if not (gaps or standardize):
            return cls.unscaled(series.features)
        if series.place is not None:
            with series.place.current():
                unit, mean, deviation = series.place.to_host(moments.of_device(series.place, series.values, gaps))
            return cls.of(unit, mean, deviation, standardize, gaps)
        found = moments.Moments(series.features)
        for values in series.blocks():
            found.add(values)
        return cls.of(found.unit, found.mean, found.deviation, standardize, gaps)

    @classmethod
    def of(
        cls,
        unit: HostArray,
        mean: HostArray,
        deviation: HostArray,
        standardize: bool = True,
        gaps: bool = False,
    ) -> Scaler:
        """From about the largest value of each feature, and mean and deviation of the values divided by it, each (D,).

        A feature that never changes is only shifted. One that changes by no more than float64 rounds its numbers says
        nothing: whatever its size, it is about 0.
        """
        if not standardize:
            return cls.unscaled(len(mean), mean * unit if gaps else None)
        scale = deviation * unit
        alike = (deviation < moments.ROUNDING) | (scale < np.finfo(np.float64).tiny)
        scale[alike] = np.where(deviation[alike] == 0, 1, np.maximum(unit[alike], 1))
        return cls(mean * unit, scale, np.zeros(len(mean)) if gaps else None)

    @classmethod
    def unscaled(cls, D: int, filling: HostArray | None = None) -> Scaler:
        """Features as they are."""
        return cls(np.zeros(D), np.ones(D), filling)

    @property
    def size(self) -> int:
        """D: the number of features."""
        return len(self.mean)

    @property
    def width(self) -> int:
        """What the model reads a step: D, or 2·D where numbers may be missing."""
        return self.size if self.filling is None else 2 * self.size

    def encode(self, series: Series, dtype: str = "float64") -> Array:
        """The scaled values, (sum of the lengths, D) or (…, 2·D): computed in float64, in `dtype`.

        Raises
        ------
        ValueError
            If the number of features is another than in training.
        """
        if series.features != self.size:
            raise ValueError(
                f"X has {series.features} features a step, but this model was trained on {self.size}."
                + ("" if series.columns is None else " Where X is one sequence (time, features), pass [X].")
            )
        place, D, begin = series.place or numpy_arrays.BACKEND, self.size, 0
        xp, filling = place.namespace, np.zeros(D) if self.filling is None else self.filling
        with place.current():
            numbers = self._on(place, np.stack([self.scale, self.mean / self.scale, filling]))  # (3, D)
            shape = (series.steps.shape[0], self.width)
            steps = xp.empty(shape, dtype=getattr(xp, dtype), device=numbers.device)
            for values in series.blocks() if series.place is None else moments.chunked(series.steps):
                part = slice(begin, begin + values.shape[0])
                # Each divided first: the difference of two numbers near the end of the range could overflow.
                scaled = values / numbers[0, :]
                scaled -= numbers[1, :]
                if self.filling is not None:
                    missing = xp.isnan(values)
                    scaled = xp.where(missing, numbers[2, :], scaled)
                    steps[part, D:] = xp.astype(~missing, steps.dtype)
                steps[part, :D] = xp.astype(scaled, steps.dtype)
                begin = part.stop
        return steps

    def state(self) -> dict[str, Any]:
        """What a file keeps."""
        state = {"kind": self.kind, "mean": self.mean.tolist(), "scale": self.scale.tolist()}
        return state if self.filling is None else {**state, "filling": self.filling.tolist()}


Encoder = TokenEncoder | Scaler


def fit(data: Series | Texts, spelling: Spelling, standardize: bool, missing: str = "error") -> Encoder:
    """The encoder for such data, fitted on it. `missing` is how it was read."""
    if isinstance(data, Texts):
        return TokenEncoder.fit(data, spelling)
    return Scaler.fit(data, standardize, gaps=missing == "mask")


def spelled(encoder: Encoder, data: Series | Texts) -> Series | Texts:
    """`data` with its texts as the encoder cuts them into tokens: their lengths may be others."""
    if isinstance(data, Texts) and isinstance(encoder, TokenEncoder):
        return encoder.spelling.before_cutting(data)
    return data


def check_kind(encoder: Encoder, data: Series | Texts) -> None:
    """Raise where the data is of another kind than the encoder's."""
    kind = data.kind if isinstance(data, Texts) else Scaler.kind
    if kind != encoder.kind:
        raise _of_another_kind(encoder.kind, kind)


def _of_another_kind(trained: str, got: str) -> ValueError:
    hints = {
        ("words", "characters"): " A list of words is one sequence: pass [X] where X is that. Whole "
        "texts are cut into words at white space after set_params(split='words').",
        ("characters", "words"): " Pass strings, not lists of strings; a string is cut into characters.",
        ("series", "integers"): " Integers are numbers of a series with encoding='auto'.",
        ("integers", "series"): " Integers are tokens with encoding='tokens'.",
    }
    return ValueError(f"this model was trained on {trained}, got {got}.{hints.get((trained, got), '')}")


def encode(encoder: Encoder, data: Series | Texts, dtype: str = "float64") -> Array:
    """`data`, as `spelled` gives it, as the numbers its model reads, where it lies: (sum of the lengths,) int64 tokens,
    or (sum of the lengths, D) features in the `dtype` of the model."""
    check_kind(encoder, data)
    return encoder.encode(data, dtype)  # type: ignore[arg-type]


OLDER_SPELLING = {"normalize": None, "apart": True}
"""What files without them stand for: older models read texts as they stand, and folded each character by itself."""


def from_state(state: dict[str, Any]) -> Encoder:
    """The encoder of a file's `state`.

    Raises
    ------
    ValueError
        If it is not such a state.
    """
    numbers = ("mean", "scale", "filling") if "filling" in state else ("mean", "scale")
    if state.get("kind") == "series" and state.keys() == {"kind", *numbers}:
        for name in numbers:
            if not isinstance(state[name], list) or any(type(value) not in (int, float) for value in state[name]):
                raise ValueError(f"the {name} of the features must be a list of numbers.")
        mean, scale = np.array(state["mean"], dtype=np.float64), np.array(state["scale"], dtype=np.float64)
        if mean.ndim != 1 or mean.shape != scale.shape or not len(mean):
            raise ValueError("mean and scale of the features do not fit each other.")
        if not (np.isfinite(mean).all() and np.isfinite(scale).all() and (scale > 0).all()):
            raise ValueError("mean and scale of the features must be finite, the scale above 0.")
        filling = np.array(state["filling"], dtype=np.float64) if "filling" in state else None
        if filling is not None and (filling.shape != mean.shape or not np.isfinite(filling).all()):
            raise ValueError("what stands in for missing numbers must be a finite number of each feature.")
        return Scaler(mean, scale, filling)
    kept = {**OLDER_SPELLING, **state}
    if kept.get("kind") in ("characters", "words", "integers") and kept.keys() == {
        "kind",
        "vocabulary",
        *Spelling._fields,
    }:
        vocabulary = state["vocabulary"]
        expected = int if state["kind"] == "integers" else str
        if (
            not isinstance(vocabulary, list)
            or not vocabulary
            or any(type(token) is not expected for token in vocabulary)
        ):
            raise ValueError(f"the vocabulary must be a list of {expected.__name__}.")
        if expected is int and not -(2**63) <= min(vocabulary) <= max(vocabulary) < 2**63:
            raise ValueError("the vocabulary holds integers that do not fit 64 bits.")
        spelling = Spelling(kept["fold_case"], kept["normalize"], kept["apart"])
        flags = all(type(spelling[k]) is bool for k in (0, 2))
        if any(a >= b for a, b in itertools.pairwise(vocabulary)) or not flags:
            raise ValueError("the vocabulary must be sorted, without repetition.")
        if spelling.normalize is not None and spelling.normalize not in FORMS:
            raise ValueError(f"the normal form is {spelling.normalize!r:.80}, expected one of {', '.join(FORMS)}.")
        return TokenEncoder(state["kind"], spelling, vocabulary)
    raise ValueError("unknown kind of encoder.")
