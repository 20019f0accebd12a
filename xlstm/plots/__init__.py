"""Pictures of a training, of answers and of what a network saw, in the manner of scikit-learn's displays.

Each display is made by `from_estimator` or `from_predictions`, which compute and draw; it keeps the numbers that it
shows, and `plot` draws them again, into axes that are given. Needs matplotlib (the extra `plots`), which is imported
when something is drawn.
"""

from .answers import CalibrationDisplay, ConfusionMatrixDisplay, ResidualsDisplay, RocCurveDisplay
from .inside import EachStepDisplay, ImportanceDisplay, TraceDisplay
from .times import BenchDisplay
from .training import LearningCurveDisplay

__all__ = [
    "BenchDisplay",
    "CalibrationDisplay",
    "ConfusionMatrixDisplay",
    "EachStepDisplay",
    "ImportanceDisplay",
    "LearningCurveDisplay",
    "ResidualsDisplay",
    "RocCurveDisplay",
    "TraceDisplay",
]
