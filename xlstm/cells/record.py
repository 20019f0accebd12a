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
        What users, files and kernels call it.
    gates
        The names of the row blocks of `weight_ih`, `weight_hh` and `bias`, H rows each, in their order.
    states
        The names of its states, in their order. The first is its output.
    step
        `step(xp, params, z, state) -> state`: one step of n rows. `z` (n, G) is the product with `weight_ih`, plus the
        bias, plus the product with `weight_hh`; it may be overwritten, and `step_backward` sees it as `step` left it.
        `state` is a tuple of (n, ·) arrays. `params` also holds `weight_hh_t`, the transpose of `weight_hh`.
    step_backward
        `step_backward(xp, params, z, before, after, d_after, dz) -> d_before`: the gradient of `step`. `before` and
        `after` are the states around the step, `d_after` is the gradient of the one after it. It writes `dz` (n, G),
        and returns the gradient of the state before. Of its first entry, that of h, it returns only what does not pass
        through z, or None if there is nothing: the walk adds the product with `weight_hh`.
    start_bias
        `start_bias(bias)` writes the start of the bias (G,) in place. None starts it at zero.
    apart
        Whether `z` and `dz` are pairs (from x, from h) instead of one array: for a cell that does more with its two
        parts than add them.
    fed_by_h
        The number of gates, from the first on, that are fed by h through `weight_hh`. None means all. The others have
        rows in `weight_hh` too, and use them in `step` by themselves.
    more_parameters
        `more_parameters(H) -> shapes` of parameters of its own beside the three. They start at zero, or are drawn like
        all others with `init="pytorch"`.
    own_gradients
        `own_gradients(xp, params, z, dz, before, after, first) -> gradients` of those parameters, and of the rows of
        `weight_hh` of the gates that are not fed by h. All are of all steps: `z` and `dz` (T, N, G), and for each state
        its values `before` and `after` each step (T, N, ·). What is of a row that has ended is zero in `dz` and in the
        states. `first` has for each state the first step before which it may be other than zero: 0, or 1 where no
        initial state was given. A product with a state takes the steps from there on, so that 0 · NaN is not in it.
    state_sizes
        `state_sizes(H)` gives the width of each state. None means H for all.
    in_torch
        Whether PyTorch has a layer of it, with the same gates in the same order.
    biases_in_one
        The number of gates, from the first on, whose bias is the sum of PyTorch's two. None means all.
    second_bias
        The parameter of its own that is PyTorch's second bias of the other gates.
    forward, backward
        For a cell that is no loop over steps: functions with the signatures of `walk.forward` and `walk.backward`, in
        place of `step` and `step_backward`.

    Raises
    ------
    ValueError
        If it has neither `step` and `step_backward` nor `forward` and `backward`, or parts of both.
    """

    def __init__(
        self,
        name: str,
        *,
        gates: tuple[str, ...],
        states: tuple[str, ...],
        step: Callable[..., Any] | None = None,
        step_backward: Callable[..., Any] | None = None,
        start_bias: Callable[[Array], None] | None = None,
        apart: bool = False,
        fed_by_h: int | None = None,
        more_parameters: Callable[[int], Shapes] | None = None,
        own_gradients: Callable[..., Mapping[str, Array]] | None = None,
        state_sizes: Callable[[int], tuple[int, ...]] | None = None,
        in_torch: bool = False,
        biases_in_one: int | None = None,
        second_bias: str | None = None,
        forward: Callable[..., Any] | None = None,
        backward: Callable[..., Any] | None = None,
    ) -> None:
        given = [function is not None for function in (step, step_backward, forward, backward)]
        if given not in ([True, True, False, False], [False, False, True, True]):
            raise ValueError(
                f"the cell {name!r} needs step and step_backward, or forward and backward: one pair, whole."
            )
        self.name, self.gates, self.states = name, gates, states
        self.step, self.step_backward = step, step_backward
        self.apart = apart
        self.fed_by_h = len(gates) if fed_by_h is None else fed_by_h
        self.in_torch, self.second_bias = in_torch, second_bias
        self.biases_in_one = len(gates) if biases_in_one is None else biases_in_one
        self.own_gradients = own_gradients
        self._start_bias, self._more_parameters, self._state_sizes = start_bias, more_parameters, state_sizes
        self._shapes: dict[tuple[int, int], Shapes] = {}
        self.parameter_names = dict.fromkeys(self.shapes(1, 1)).keys()
        """The names of the parameters of one layer in one direction, in the order they stand."""
        self._forward, self._backward = forward or walk.forward, backward or walk.backward

    def shapes(self, D: int, H: int) -> Shapes:
        """The parameters of one layer in one direction, for D features and H hidden units, in the order they stand."""
        if (D, H) not in self._shapes:  # every call asks
            G = len(self.gates) * H
            shapes: Shapes = {"weight_ih": (G, D), "weight_hh": (G, self.output_size(H)), "bias": (G,)}
            self._shapes[D, H] = shapes | self._more_parameters(H) if self._more_parameters else shapes
        return self._shapes[D, H]

    def state_sizes(self, H: int) -> tuple[int, ...]:
        """The width of each state of H hidden units."""
        return (H,) * len(self.states) if self._state_sizes is None else self._state_sizes(H)

    def output_size(self, H: int) -> int:
        """The width of the output, which is the first state."""
        return self.state_sizes(H)[0]

    def start_bias(self, bias: Array) -> None:
        """Write the start of the bias (G,) in place."""
        if self._start_bias is None:
            bias[...] = 0
        else:
            self._start_bias(bias)

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
                raise ValueError(f"{name} is one array, {self.states[0]}; got {type(state)}.")
            return (state,)
        if not isinstance(state, (tuple, list)) or len(state) != count:
            form = ", ".join(("d" if name.startswith("d_") else "") + state for state in self.states)
            number, any_of = ("a pair", "either") if count == 2 else (f"{count} arrays", "any")
            got = type(state).__name__
            raise ValueError(f"{name} must be {number} ({form}), {any_of} of which may be None; got {got}.")
        return tuple(state)

    def order(self, xp: Namespace, lengths: list[int] | None, rows: int, time: int, device: Any) -> Order:
        """The order of a batch, for `forward` in place of lengths: so several calls on one batch share it.

        `lengths` are as `check_lengths` returns them.
        """
        return Order(xp, lengths, rows, time, device)

    def forward(
        self,
        params: Mapping[str, Array],
        x: Array | None,
        state: Any = None,
        lengths: Any = None,
        *,
        tokens: tuple[Array, Array | None] | None = None,
        keep: bool = True,
        reverse: bool = False,
        outputs: bool = True,
        out: Array | None = None,
        column: int = 0,
    ) -> tuple[Array | None, Any, Any]:
        result: tuple[Array | None, Any, Any] = self._forward(
            self,
            params,
            x,
            state,
            lengths,
            tokens=tokens,
            keep=keep,
            reverse=reverse,
            outputs=outputs,
            out=out,
            column=column,
        )
        return result

    def backward(
        self,
        params: Mapping[str, Array],
        tape: Any,
        d_outputs: Array | None = None,
        d_state: Any = None,
        input_gradient: bool = True,
        *,
        into: Mapping[str, Array] | None = None,
        accumulate: bool = True,
        add_rows: Any = None,
        state_gradient: bool = True,
        column: int | None = None,
    ) -> tuple[Array | None, Any, dict[str, Array]]:
        result: tuple[Array | None, Any, dict[str, Array]] = self._backward(
            self,
            params,
            tape,
            d_outputs,
            d_state,
            input_gradient,
            into=into,
            accumulate=accumulate,
            add_rows=add_rows,
            state_gradient=state_gradient,
            column=column,
        )
        return result

    forward.__doc__, backward.__doc__ = walk.forward.__doc__, walk.backward.__doc__

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
