"""Epochs on stderr as the command line shows them."""

from __future__ import annotations

import sys
from typing import Any

from .train import History, print_progress


class ProgressBar:
    """Epochs on stderr: a bar where tqdm is installed, else a line an epoch."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._lost = False

    def __enter__(self) -> ProgressBar:
        return self

    def __call__(self, epoch: int, epochs: int, history: History) -> None:
        if sys.stderr is None or self._lost:
            return
        try:
            self._show(epoch, epochs, history)
        except (OSError, ValueError):  # whoever watched has gone: that is no reason to stop
            self._lost, self._bar = True, None

    def _show(self, epoch: int, epochs: int, history: History) -> None:
        try:
            from tqdm import tqdm
        except ImportError:
            print_progress(epoch, epochs, history)
            return
        if self._bar is None:
            self._bar = tqdm(total=epochs, unit="epoch", file=sys.stderr)
        scores = {name: f"{values[-1]:.4f}" for name, values in history.scores.items()}
        self._bar.set_postfix(loss=f"{history.loss[-1]:.4f}", **scores, refresh=False)
        self._bar.update()

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()
