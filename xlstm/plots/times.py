"""What `xlstm bench` measured."""

from __future__ import annotations

from typing import Any

import numpy as np

from .display import Display


class BenchDisplay(Display):
    """The time of a forward call and of a training step of each device and its kernels, over the sizes.

    Parameters
    ----------
    results
        What `xlstm.bench.run` gives.
    """

    def __init__(self, results: dict[str, Any]) -> None:
        self.results = results

    def plot(self, ax: Any = None) -> BenchDisplay:
        """Draw it, into two axes one above the other where they are given.

        Raises
        ------
        ImportError
            If matplotlib is missing.
        """
        rows = self.results["rows"]
        sizes = list(dict.fromkeys(tuple(row["size"]) for row in rows))
        paths = list(dict.fromkeys((row["device"], row["kernels"]) for row in rows))
        axes = self._several(ax, [2.6, 2.6], max(6.4, 1.7 * len(sizes)))
        parts = (("forward_ms", "forward, ms"), ("training_step_ms", "training step, ms"))
        for which, (what, told) in zip(axes, parts, strict=True):
            width = 0.8 / len(paths)
            for k, path in enumerate(paths):
                times = {tuple(row["size"]): row[what] for row in rows if (row["device"], row["kernels"]) == path}
                there = [at for at, size in enumerate(sizes) if size in times]
                places = np.array(there) + (k - (len(paths) - 1) / 2) * width
                bars = which.bar(places, [times[sizes[at]] for at in there], width, label=": ".join(path))
                which.bar_label(bars, fmt="%.3g", fontsize="x-small", padding=1)
            which.set_yscale("log")
            which.margins(y=0.15)
            which.set_ylabel(told)
            which.grid(alpha=0.3, axis="y")
        axes[0].legend(fontsize="small", frameon=False)
        axes[0].set_title(self.results["machine"]["processor"], fontsize="medium")
        axes[1].set_xticks(np.arange(len(sizes)), labels=["N {}, T {}\nD {}, H {}".format(*size) for size in sizes])
        return self
