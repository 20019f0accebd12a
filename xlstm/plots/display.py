"""What the displays share: matplotlib when it is needed, axes, how steps are written below them."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import extras
from ..files import check_target, write_whole
from ..host import HostArray

MOST_TOKENS = 60
"""Of longer sequences the steps are numbered: their tokens would stand on each other."""

LONGEST_TOKEN = 20
"""Characters; of longer tokens the begin is written."""


def pyplot() -> Any:
    """matplotlib.pyplot, or an ImportError that says how to install it."""
    return extras.imported("matplotlib.pyplot", "displays are drawn by matplotlib", "'xp-lstm[plots]'")


FORMATS = ("png", "svg", "pdf")


def check_picture(path: str) -> str:
    """The format of a picture that is to be written to `path`.

    Raises
    ------
    ValueError
        If the ending of its name is of no such format.
    OSError
        If no file can be written there.
    ImportError
        If matplotlib is missing.
    """
    ending = os.path.splitext(path)[1].lower()[1:]
    if ending not in FORMATS:
        raise ValueError(f"a picture's name ends with .{', .'.join(FORMATS[:-1])} or .{FORMATS[-1]}; got {path!r}.")
    pyplot()
    check_target(path)
    return ending


class Display:
    """A picture with the numbers that it shows.

    Attributes
    ----------
    figure_ : matplotlib Figure
        What was drawn last.
    ax_ : matplotlib Axes
        Where; where there are several the first, and `axes_` has all.
    axes_ : list of Axes
    """

    figure_: Any
    ax_: Any
    axes_: list[Any]

    def save(self, path: str) -> None:
        """Write what was drawn last to a file, whole or not at all: PNG, SVG or PDF, by its ending.

        Raises
        ------
        ValueError, OSError
            As the name or the place says.
        """
        picture = io.BytesIO()
        self.figure_.savefig(picture, format=check_picture(path), dpi=150)
        write_whole(path, [picture.getvalue()])

    def _one(self, ax: Any, **size: Any) -> Any:
        """The axes to draw into: those given, or new ones."""
        if ax is None:
            _, ax = pyplot().subplots(layout="constrained", **size)
        self.figure_, self.ax_, self.axes_ = ax.figure, ax, [ax]
        return ax

    def _several(
        self, axes: Any, heights: Sequence[float], width: float, shared: bool = True, below: float = 0.0
    ) -> list[Any]:
        """One above another, `shared` with a common time axis: those given, or new ones of these heights in inches.

        `below` are inches for what is written under the last of them.
        """
        n = len(heights)
        if axes is None:
            size = (width, sum(heights) + below)
            figure, made = pyplot().subplots(
                n, 1, figsize=size, sharex=shared, squeeze=False, layout="constrained", height_ratios=heights
            )
            axes = made[:, 0]
        else:
            axes = np.atleast_1d(np.asarray(axes, dtype=object)).ravel()
            if len(axes) != n:
                raise ValueError(f"axes must be {n} here, one above another; got {len(axes)}.")
            figure = axes[0].figure
        self.figure_, self.ax_, self.axes_ = figure, axes[0], list(axes)
        return self.axes_

    def _over_steps(self, axes: Any, heights: Sequence[float], steps: list[str] | HostArray) -> list[Any]:
        """Axes over the steps of one sequence, one above another; of a series one more at the end, for its signal."""
        series = not isinstance(steps, list)
        return self._several(axes, [*heights, *[1.5] * series], _width_for(len(steps)), below=_room_for(steps))


def _width_for(steps: int) -> float:
    """Inches for so many steps."""
    return min(max(6.4, 0.22 * steps), 13.0)


def _room_for(steps: list[str] | HostArray) -> float:
    """Inches that the steps take when they are written below an axis, beyond those of short tokens."""
    if not isinstance(steps, list) or len(steps) > MOST_TOKENS:
        return 0.0
    return 0.07 * max(map(len, map(_shown, steps)))


def _shown(token: str) -> str:
    """A token as it is written below an axis."""
    token = {" ": "␣", "\n": "⏎", "\t": "⇥"}.get(token, token)
    return token if len(token) <= LONGEST_TOKEN else token[: LONGEST_TOKEN - 1] + "…"


def _write_steps(ax: Any, steps: list[str] | HostArray) -> None:
    """Write below an axis of steps 0, 1, … what they are: the tokens, or their numbers."""
    T = len(steps)
    ax.set_xlim(-0.5, T - 0.5)
    if not isinstance(steps, list) or T > MOST_TOKENS:
        ax.set_xlabel("step")
        from matplotlib.ticker import MaxNLocator

        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        return
    shown = [_shown(token) for token in steps]
    long = max(map(len, shown)) > 2
    ax.set_xticks(np.arange(T), labels=shown, rotation=60 if long else 0, ha="right" if long else "center")
    for label in ax.get_xticklabels():
        label.set_parse_math(False)  # a token "$" is no formula
        if long:
            label.set_rotation_mode("anchor")


def draw_steps(ax: Any, steps: list[str] | HostArray, names: Sequence[str] | None) -> None:
    """What a display of one sequence ends with: the signal of a series as lines, and what the steps are."""
    if not isinstance(steps, list):
        _draw_signal(ax, steps, names)
    _write_steps(ax, steps)


def _draw_signal(ax: Any, series: HostArray, names: Sequence[str] | None) -> None:
    """The features of a series as lines: each over its own range where they are several, so that all can be seen."""
    D = series.shape[1]
    for d in range(D):
        values = np.asarray(series[:, d], dtype=np.float64)
        if D > 1 and np.isfinite(values).any():
            low, high = np.nanmin(values), np.nanmax(values)
            values = (values - low) / (high - low) if high > low else np.where(np.isnan(values), np.nan, 0.5)
        marker = "o" if len(values) <= MOST_TOKENS else None
        ax.plot(np.arange(len(values)), values, marker=marker, markersize=3, linewidth=1,
                label=str(names[d]) if names is not None else f"feature {d}")  # fmt: skip
    if D > 1:
        ax.set_yticks([])
        ax.set_ylabel("features,\neach in its range")
        if D <= 6:
            ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize="small", frameon=False)
    else:
        ax.set_ylabel(str(names[0]) if names is not None else "input")
