"""The recurrent cells, by name. A page has five headings: equations, shapes, init, step, step backward."""

from . import gru, lstm, rnn
from .record import CELLS, Cell, by_name, register

for _cell in (lstm.CELL, rnn.CELL, gru.CELL, gru.RESET_BEFORE):
    register(_cell)

__all__ = ["CELLS", "Cell", "by_name", "gru", "lstm", "register", "rnn"]
