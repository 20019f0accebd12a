"""Kinds of answers, one file each: what y may be, the loss, the score, what a prediction is."""

from .classes import Classes
from .numbers import Numbers
from .several import SeveralLabels
from .steps import StepClasses
from .task import Task

__all__ = ["Classes", "Numbers", "SeveralLabels", "StepClasses", "Task"]
