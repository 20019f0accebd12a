"""How a training went."""

from __future__ import annotations

from typing import Any

import numpy as np

from .display import Display


class LearningCurveDisplay(Display):
    """Loss and score of each epoch, of the training and the validation part.

    Parameters
    ----------
    history
        Columns by name, as `history_` of an estimator has them.
    name
        A title.
    """

    def __init__(self, history: dict[str, list[float]], name: str = "") -> None:
        self.history, self.name = history, name

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> LearningCurveDisplay:
        """Of a fitted estimator.

        Parameters
        ----------
        estimator
            A fitted one.
        ax
            As for `plot`.

        Raises
        ------
        ValueError
            If it is not fitted.
        ImportError
            If matplotlib is missing.
        """
        found = estimator.fitted_state()
        return cls(found.trainer.history.columns(), type(estimator).__name__).plot(ax)

    def plot(self, ax: Any = None) -> LearningCurveDisplay:
        """Draw it.

        Parameters
        ----------
        ax
            A list of axes, one for the loss and one for each score; None makes a figure.
        """
        names = [name for name in self.history if not name.startswith("validation_")]
        names += [name[11:] for name in self.history if name.startswith("validation_") and name[11:] not in names]
        axes = self._several(ax, [2.4] * len(names), 6.4)
        for which, name in zip(axes, names, strict=True):
            for part, style in (("", "-"), ("validation_", "--")):
                values = self.history.get(part + name)
                if values is None:
                    continue
                epochs = np.arange(1, len(values) + 1)
                told = "validation" if part else "training"
                which.plot(epochs, values, style, marker="." if len(values) < 30 else None, label=told)
            which.set_ylabel(name.replace("_", " "))
            which.grid(alpha=0.3)
            which.legend(frameon=False)
        from matplotlib.ticker import MaxNLocator

        axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
        axes[-1].set_xlabel("epoch")
        axes[0].set_title(self.name)
        return self
