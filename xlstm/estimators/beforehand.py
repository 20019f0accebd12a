"""What the first call of `partial_fit` may be told beforehand: the vocabulary, or the data by which to scale."""

from __future__ import annotations

from typing import Any, NamedTuple

from .. import columns, encode, sequences, sources
from ..fitted import Fitted
from ..host import HostArray
from ..series import Series, Texts
from ..sources import naming
from ..survey import Survey

Trainable = Any
"""`xlstm.estimators.training.Trainable`, which imports this file."""


class Beforehand(NamedTuple):
    """What was passed to `partial_fit` under these names; None is nothing."""

    vocabulary: Any = None
    scale_from: Any = None

    def __bool__(self) -> bool:
        return self.vocabulary is not None or self.scale_from is not None

    def check_same(self, estimator: Trainable, fitted: Fitted) -> None:
        """Raise where a model that goes on has another vocabulary or scaling.

        Raises
        ------
        ValueError
            As `encoder`, and if what was told is not what the model has.
        """
        if not self:
            return
        before = fitted.encoder
        names = None if fitted.columns is not None else fitted.feature_names
        if self.encoder(estimator, before.kind, names, before.size).state() != before.state():
            what = "vocabulary" if isinstance(before, encode.TokenEncoder) else "scaling"
            told = "scale_from" if self.vocabulary is None else "vocabulary"
            raise ValueError(
                f"{told} gives another {what} than the model to go on from has: the first call settled it. "
                "Leave it out, or begin a new model."
            )

    def encoder(self, estimator: Trainable, kind: str, names: HostArray | None, size: int) -> encode.Encoder:
        """The encoder that a new model of this estimator gets.

        Parameters
        ----------
        kind
            Of the X that is trained on: of its tokens, or `encode.Scaler.kind`.
        names, size
            Of its features: their names in order, and how many there are. Of tokens of no matter.

        Raises
        ------
        ValueError
            If what was told does not go with such an X.
        """
        if self.vocabulary is not None and self.scale_from is not None:
            raise ValueError("vocabulary is for tokens and scale_from for numbers: pass one of them.")
        if (kind == encode.Scaler.kind) != (self.scale_from is not None):
            told = "vocabulary is for tokens, but X holds numbers: their scale is known by scale_from"
            if self.scale_from is not None:
                told = "scale_from is for numbers, but X holds tokens: pass all of them as vocabulary"
            raise ValueError(f"{told}.")
        with naming("vocabulary" if self.scale_from is None else "scale_from"):
            return self._vocabulary(estimator, kind) if self.scale_from is None else self._scale(estimator, names, size)

    def _vocabulary(self, estimator: Trainable, kind: str) -> encode.Encoder:
        if isinstance(self.vocabulary, str) and kind != "characters":
            raise ValueError(f"expected a collection of {kind}, got the string {self.vocabulary!r:.80}.")
        tokens = list(self.vocabulary)
        wanted = int if kind == "integers" else str
        for token in tokens:
            plain: Any = token.item() if hasattr(token, "item") else token
            if type(plain) is not wanted or (kind == "characters" and len(str(plain)) != 1):
                what = {"characters": "single characters", "words": "words", "integers": "integers"}[kind]
                raise ValueError(f"expected {what}, the tokens of X; got {plain!r:.80}.")
        if not tokens:
            raise ValueError("it is empty: nothing could be learned.")
        encoding = "tokens" if kind == "integers" else "auto"
        texts = tokens if kind == "characters" else [tokens]  # characters: each a text
        if isinstance(self.vocabulary, str):
            texts = [*texts, self.vocabulary]  # a letter and the mark on it may be one character of a text
        data = sequences.read(texts, encoding)
        return encode.fit(data, estimator.spelling(), bool(estimator.standardize))

    def _scale(self, estimator: Trainable, names: HostArray | None, size: int) -> encode.Encoder:
        gaps = estimator.missing == "mask"
        if not (estimator.standardize or gaps):
            raise ValueError("it is of no use with standardize=False: leave it out.")
        survey = Survey(estimator.spelling(), bool(estimator.standardize), type(estimator).__name__, gaps)
        parts = sources.to_predict(self.scale_from)
        for name, X in [("", self.scale_from)] if parts is None else sources.alone(parts):
            with naming(name) if name else naming("X"):
                survey.add_all(columns.check(_series(estimator, X), None, names, type(estimator).__name__, quiet=True))
        encoder = survey.encoder()
        if encoder.size != size:
            raise ValueError(f"it has {encoder.size} features a step, but X has {size}.")
        return encoder


def feature_names(data: Series) -> HostArray | None:
    """The names of the features of X, where it has some; the columns of a two-dimensional X are steps."""
    return None if data.columns is not None else columns.kept(data.names)


def _series(estimator: Trainable, X: Any) -> Series:
    data: Series | Texts = sequences.read(X, *estimator.reading())
    if isinstance(data, Texts):
        raise ValueError(f"expected sequences of numbers, as X is, got {data.kind}.")
    return data._replace(columns=None, names=None if data.columns is not None else data.names)
