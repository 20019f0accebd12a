"""The recurrent cells, by name. Each file has the same five headings: equations, shapes, init, forward, backward."""

from types import ModuleType

from . import lstm, rnn

CELLS: dict[str, ModuleType] = {"lstm": lstm, "rnn": rnn}

__all__ = ["CELLS", "lstm", "rnn"]
