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

from .backends import report as devices
from .backends.cpu import set_threads
from .layers import GRU, LSTM, RNN
from .sequences import from_channels_first

if _typing.TYPE_CHECKING:
    from .estimators.classifier import SequenceClassifier
    from .estimators.state import load
    from .gradcheck import GradientReport, check_gradients

__version__ = "0.1.0"

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "GradientReport",
    "SequenceClassifier",
    "check_gradients",
    "devices",
    "from_channels_first",
    "load",
    "set_threads",
]

# Imported when first used: with what they need they would take more than half of the time of `import xlstm`.
_LATER = {
    "GradientReport": "gradcheck",
    "SequenceClassifier": "estimators.classifier",
    "check_gradients": "gradcheck",
    "load": "estimators.state",
}


def __getattr__(name: str) -> _typing.Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_LATER[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
