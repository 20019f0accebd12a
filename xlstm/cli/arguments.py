"""What the arguments of the command line may be: from what was typed to a value, or a sentence on what is wrong."""

from __future__ import annotations

import argparse
import codecs
import csv
import math
from collections.abc import Callable
from typing import Any

from .. import backends
from .letters import readable, typed


def text(argument: str) -> str:
    """A name or a label as it was typed: its bytes are UTF-8, whatever the locale is."""
    try:
        return typed(argument)
    except UnicodeError:
        raise argparse.ArgumentTypeError(f"must be UTF-8 text, got {readable(argument)!r}") from None


def seed(text: str) -> int:
    """A whole number of 0 or more."""
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"must be an integer of 0 or more, got {text!r}")
    return int(text)


def count(text: str) -> int:
    """A whole number of 1 or more."""
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"must be an integer of 1 or more, got {text!r}")
    return int(text)


def number(low: float, high: float, low_too: bool = False) -> Callable[[str], float]:
    """The type of a flag: a number between `low` and `high`, or `low` itself."""

    def read(text: str) -> float:
        value = _float(text)
        if not (low < value < high or (low_too and value == low)):
            least = f"{low} or more" if low_too else f"above {low}"
            raise argparse.ArgumentTypeError(f"must be a number {least}, below {high}, got {text!r}")
        return value

    return read


def _float(text: str) -> float:
    """NaN where it is no number."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def device(text: str) -> str:
    """The name of a device."""
    if not backends.is_device(text):
        raise argparse.ArgumentTypeError(f"must be auto, cpu, cuda or cuda:N, got {text!r}.{backends.meant(text)}")
    return text


def delimiter(argument: str) -> str:
    """What separates columns: a character, or the word tab."""
    character = "\t" if argument in ("tab", "\\t") else text(argument)
    if len(character) != 1 or character in '"\r\n\0':
        raise argparse.ArgumentTypeError(f"must be one character, or tab, and no quotation mark, got {character!r}")
    return character


def encoding(text: str) -> str:
    """An encoding of text that Python knows."""
    try:
        "".encode(text)
        return codecs.lookup(text).name
    except (LookupError, ValueError):
        raise argparse.ArgumentTypeError(
            f"must be an encoding of text that Python knows, as utf-8, utf-16, latin-1 or cp1252, got {text!r}"
        ) from None


class ClassWeight(argparse.Action):
    """`balanced`, or weights by label; several of them are taken together."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        before, new = getattr(namespace, self.dest), values
        if before is None:
            setattr(namespace, self.dest, new)
            return
        if not (isinstance(before, dict) and isinstance(new, dict)):
            raise argparse.ArgumentError(self, "balanced stands alone, without weights of single classes")
        if twice := before.keys() & new.keys():
            raise argparse.ArgumentError(self, f"the label {min(twice)!r} has two weights")
        setattr(namespace, self.dest, {**before, **new})


def class_weight(argument: str) -> str | dict[str, float]:
    """A comma or an equals sign belongs to a label where no weight stands before the comma, or after the sign."""
    if argument == "balanced":
        return argument
    given = text(argument)
    weights: dict[str, float] = {}
    label = ""
    for part in given.split(","):
        label += part
        name, _, weight = label.rpartition("=")
        name = name.strip()  # as labels of a table are
        if not 0 <= _float(weight) < math.inf or not name:
            label += ","
            continue
        if name in weights:
            raise argparse.ArgumentTypeError(f"the label {name!r} has two weights in {given!r}")
        weights[name], label = _float(weight), ""
    if label:
        raise argparse.ArgumentTypeError(
            f"must be balanced, or LABEL=WEIGHT with weights of 0 or more, separated by commas, got {given!r}"
        )
    return weights


def columns(argument: str) -> list[str]:
    """Names, separated by commas; a name that holds one stands in quotation marks."""
    given = text(argument)
    names = next(csv.reader([given], skipinitialspace=True), [])
    if not names or not all(names):
        raise argparse.ArgumentTypeError(f"must be names of columns, separated by commas, got {given!r}")
    if len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"names a column twice: {given!r}")
    return names


def separator(argument: str) -> str:
    """What stands between several labels."""
    given = text(argument)
    if not given.strip():
        raise argparse.ArgumentTypeError(f"must be a character or more, and no white space alone, got {given!r}")
    return given
