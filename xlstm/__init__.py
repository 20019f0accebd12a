"""The LSTM, its gradients and a final-step sequence classifier, on NumPy and CuPy."""

import typing as _typing

try:
    from . import backends as backends
except ImportError:
    from importlib.util import find_spec as _find_spec
    from pathlib import Path as _Path

    if _find_spec(f"{__name__}.backends") is not None:
        raise  # it is there, but broken: its own message says how
    message = "xlstm is not installed: run 'pip install -e .' in the folder that holds pyproject.toml."
    if _Path(__file__).parents[1].name in ("site-packages", "dist-packages"):
        message = (
            f"the installation in {_Path(__file__).parent} is not whole, its package backends is missing: if pip is "
            "installing it at this moment, start again when it is done; else pip install --force-reinstall xp-lstm."
        )
    raise ImportError(message) from None

from . import trusted as trusted  # hands the array code in
from .backends import report as devices
from .backends.cpu import release_memory, set_threads
from .layers import GRU, LSTM, RNN

if _typing.TYPE_CHECKING:
    from . import callbacks as callbacks
    from . import convert as convert
    from . import embedding as embedding
    from . import head as head
    from . import inspection as inspection
    from . import losses as losses
    from . import optim as optim
    from . import plots as plots
    from . import sampling as sampling
    from .channels import from_channels_first
    from .dataset import Dataset, Sequences
    from .estimators.classifier import SequenceClassifier
    from .estimators.features import SequenceFeatures
    from .estimators.labeler import SequenceLabeler
    from .estimators.regressor import SequenceRegressor
    from .estimators.state import load
    from .gradcheck import GradientReport, check_gradients
    from .guesses import AmbiguousDataWarning
    from .interrupts import InterruptedFit
    from .onnx.reading import from_onnx
    from .onnx.writing import to_onnx
    from .readers import read
    from .readers.files import from_files
    from .readers.frames import from_long
    from .reports import report
    from .sources import Batches

__version__ = "0.1.0"

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "AmbiguousDataWarning",
    "Batches",
    "Dataset",
    "GradientReport",
    "InterruptedFit",
    "SequenceClassifier",
    "SequenceFeatures",
    "SequenceLabeler",
    "SequenceRegressor",
    "Sequences",
    "callbacks",
    "check_gradients",
    "convert",
    "devices",
    "embedding",
    "from_channels_first",
    "from_files",
    "from_long",
    "from_onnx",
    "head",
    "inspection",
    "load",
    "losses",
    "optim",
    "plots",
    "read",
    "release_memory",
    "report",
    "sampling",
    "set_threads",
    "to_onnx",
]

# Imported when first used: with what they need they would take more than half of the time of `import xlstm`.
_LATER = {
    "AmbiguousDataWarning": "guesses",
    "Batches": "sources",
    "Dataset": "dataset",
    "GradientReport": "gradcheck",
    "InterruptedFit": "interrupts",
    "SequenceClassifier": "estimators.classifier",
    "SequenceFeatures": "estimators.features",
    "SequenceRegressor": "estimators.regressor",
    "SequenceLabeler": "estimators.labeler",
    "Sequences": "dataset",
    "check_gradients": "gradcheck",
    "from_channels_first": "channels",
    "from_files": "readers.files",
    "from_long": "readers.frames",
    "from_onnx": "onnx.reading",
    "load": "estimators.state",
    "read": "readers",
    "report": "reports",
    "to_onnx": "onnx.writing",
}


_MODULES = ("callbacks", "convert", "embedding", "head", "inspection", "losses", "optim", "plots", "sampling")
"""Modules for users, imported in the same way: `xlstm.optim`."""


def __getattr__(name: str) -> _typing.Any:
    from importlib import import_module

    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_LATER[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
