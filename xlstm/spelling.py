"""Which spellings of a text are one to a model: upper and lower case, and the normal forms of Unicode."""

from __future__ import annotations

import unicodedata
from typing import NamedTuple

import numpy as np

from .series import Texts

FORMS = ("NFC", "NFD", "NFKC", "NFKD")
"""The normal forms of Unicode (UAX #15)."""


class Spelling(NamedTuple):
    """How what is written in several ways is brought into one.

    A letter may have to become several, such as ß, which folds to ss, or several become one, such as e and the accent
    above it: so whole texts are brought into that form before they are cut into characters, and characters are one
    where words are. Where each character has an answer of its own they keep their number instead.
    """

    fold_case: bool  # whether upper and lower case are one, as `str.casefold` has it
    normalize: str | None  # one of `FORMS`; None leaves texts as they stand
    apart: bool  # whether characters are brought into that form each by itself, not the text that they are of

    def of(self, text: str) -> str:
        """The one form of a text, a word, or a character."""
        if text.isascii():  # in every normal form already
            return text.casefold() if self.fold_case else text
        if self.normalize is None:
            return text.casefold() if self.fold_case else text
        if self.fold_case:  # as D145 of the Unicode standard: some marks fold rightly only where they stand apart
            text = _in_form("NFKD" if "K" in self.normalize else "NFD", text).casefold()
        return _in_form(self.normalize, text)

    def before_cutting(self, texts: Texts) -> Texts:
        """Texts of characters in that form, where they are brought into it as a whole; all others as they are."""
        if texts.kind != "characters" or self.apart or (self.normalize is None and not self.fold_case):
            return texts
        tokens = texts.tokens
        assert isinstance(tokens, str)
        if tokens.isascii():
            return texts._replace(tokens=self.of(tokens))
        ends = np.cumsum(texts.lengths).tolist()
        # Each by itself: the mark at the beginning of one would be put on the last letter of the one before.
        parts = [self.of(tokens[end - length : end]) for end, length in zip(ends, texts.lengths.tolist(), strict=True)]
        return texts._replace(tokens="".join(parts), lengths=np.fromiter(map(len, parts), np.int64, len(parts)))

    def is_changed_by_composing(self, text: str) -> bool:
        """Whether a text would have another number of characters, were it brought into its normal form as a whole."""
        if self.normalize is None or text.isascii():
            return False
        return len(_in_form(self.normalize, text)) != len(text)


def _in_form(form: str, text: str) -> str:
    return unicodedata.normalize(form, text)  # type: ignore[arg-type]  # one of FORMS
