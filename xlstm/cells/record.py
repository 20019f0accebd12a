"""What a cell is, for everyone who is not its page: a record; and the registry of all cells, by name.

Layers, models, files, the gradient check, the exchange with other libraries, the command line and the kernels ask the
record for what differs from cell to cell. A new cell is a page beside this file and a row in `xlstm.cells`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from ..namespace import Array, Namespace
from . import walk
from .sequence import Order

Shapes = dict[str, tuple[int, ...]]


class Cell:
    """One kind of recurrent cell.

    Parameters
    ----------
    name
        By which users, files and kernels know it.
    gates
        The names of the row blocks of `weight_ih`, `weight_hh` and `bias`, H rows each, in their order.
    states
        The names of its states, in their order. The first is its output.
    step
        `step(xp, params, z, state) -> state`: one step of n rows. `z` (n, G·H) is the product with `weight_ih`, plus
        the bias, plus the product with `weight_hh`; it may be overwritten, and `step_backward` sees it as `step` left
        it. `state` is a tuple of (n, ·) arrays. `params` also holds `weight_hh_t`, the transpose of `weight_hh`.
    step_backward
        `step_backward(xp, params, z, before, after, d_after, dz) -> d_before`: the gradient of `step`. `before` and
        `after` are the states around the step, `d_after` the gradient of the one after it; `dz` (n, G·H) is to be
        written. Of the returned tuple, the first is what reaches the output of the step before by another way than
        through z: None for nothing.
    start_bias
        `start_bias(bias)`: write the start of the bias (G·H,) in place.
    apart
        Whether `z` and `dz` are pairs (from x, from h) instead of one array: for a cell that does more with its two
        parts than add them.
    fed_by_h
        How many of the gates, from the first on, are fed by h through `weight_hh`; None means all. The others have
        rows in `weight_hh` too, and use them in `step` by themselves.
    more_parameters
        `more_parameters(H) -> shapes` of parameters of its own beside the three. They start at zero.
    own_gradients
        `own_gradients(xp, params, z, dz, states) -> gradients` of those parameters, and of the rows of `weight_hh` of
        the gates that are not fed by h: from `z` and `dz` of all steps (T, N, G·H), and `states`, for each state its
        values before each step and after the last (T + 1, N, ·). `dz` is zero where a row has ended.
    biases_in_one
        How many of the gates, from the first on, have a bias that stands for two of PyTorch's; None means all.
    forward, backward
        For a cell that is no loop over steps: functions with the signatures of `walk.forward` and `walk.backward`,
        which take the place of `step` and `step_backward`.
    """

    def __init__(
        self,
        name: str,
        *,
        gates: tuple[str, ...],
        states: tuple[str, ...],
        step: Callable[..., Any] | None = None,
        step_backward: Callable[..., Any] | None = None,
        start_bias: Callable[[Array], None],
        apart: bool = False,
        fed_by_h: int | None = None,
        more_parameters: Callable[[int], Shapes] | None = None,
        own_gradients: Callable[..., Mapping[str, Array]] | None = None,
        biases_in_one: int | None = None,
        forward: Callable[..., Any] | None = None,
        backward: Callable[..., Any] | None = None,
    ) -> None:
        self.name, self.gates, self.states = name, gates, states
        self.step, self.step_backward, self.start_bias = step, step_backward, start_bias
        self.apart = apart
        self.fed_by_h = len(gates) if fed_by_h is None else fed_by_h
        self.biases_in_one = len(gates) if biases_in_one is None else biases_in_one
        self._more_parameters, self.own_gradients = more_parameters, own_gradients
        self._forward, self._backward = forward or walk.forward, backward or walk.backward
        self.page = (step or forward).__module__  # type: ignore[union-attr]

    def shapes(self, D: int, H: int) -> Shapes:
        """The parameters of one layer in one direction, for D features and H hidden units, in the order they stand."""
        G = len(self.gates)
        shapes: Shapes = {"weight_ih": (G * H, D), "weight_hh": (G * H, H), "bias": (G * H,)}
        return shapes | self._more_parameters(H) if self._more_parameters else shapes

    def output_size(self, H: int) -> int:
        """The width of the output of H hidden units."""
        return H

    def flops(self, D: int, H: int) -> float:
        """Floating-point operations of the products of one step of one row, forward."""
        shapes = self.shapes(D, H)
        return 2.0 * (math.prod(shapes["weight_ih"]) + math.prod(shapes["weight_hh"]))

    def join(self, states: tuple[Any, ...]) -> Any:
        """The states as users have them: a tuple, or the only one by itself."""
        return states if len(self.states) > 1 else states[0]

    def split(self, name: str, state: Any) -> tuple[Any, ...]:
        """The inverse of `join`; None stands for None in each place. `name` is what messages call it."""
        count = len(self.states)
        if state is None:
            return (None,) * count
        if count == 1:
            if isinstance(state, (tuple, list)):
                raise ValueError(f"{name} must be one array, {self.states[0]}; got {type(state)}.")
            return (state,)
        if not isinstance(state, (tuple, list)) or len(state) != count:
            form = ", ".join(("d" if name.startswith("d_") else "") + state for state in self.states)
            number, any_of = ("a pair", "either") if count == 2 else (f"{count} arrays", "any")
            got = type(state).__name__
            raise ValueError(f"{name} must be {number} ({form}), {any_of} of which may be None; got {got}.")
        return tuple(state)

    def order(self, xp: Namespace, lengths: list[int] | None, rows: int, time: int, device: Any) -> Order:
        """What `forward` takes for its `lengths` where several calls share a batch: it is then worked out once.

        `lengths` are as `check_lengths` returns them.
        """
        return Order(xp, lengths, rows, time, device)

    def forward(self, *arguments: Any, **options: Any) -> Any:
        """A whole batch of sequences through one layer in one direction: see `xlstm.cells.walk.forward`."""
        return self._forward(self, *arguments, **options)

    def backward(self, *arguments: Any, **options: Any) -> Any:
        """Backpropagation through time: see `xlstm.cells.walk.backward`."""
        return self._backward(self, *arguments, **options)

    def __reduce__(self) -> Any:
        return by_name, (self.name,)

    def __repr__(self) -> str:
        return f"Cell({self.name!r})"


CELLS: dict[str, Cell] = {}
"""Every cell by its name."""


def register(cell: Cell) -> Cell:
    """Make a cell known by its name, to layers, models, files and the command line.

    Raises
    ------
    ValueError
        If there is one of that name.
    """
    if cell.name in CELLS:
        raise ValueError(f"there is a cell {cell.name!r} already: give the new one another name.")
    CELLS[cell.name] = cell
    return cell


def by_name(name: str) -> Cell:
    """The cell of that name.

    Raises
    ------
    ValueError
        If there is none; the message names those that there are.
    """
    if name not in CELLS:
        raise ValueError(f"cell must be one of {tuple(CELLS)}, got {name!r}.")
    return CELLS[name]
