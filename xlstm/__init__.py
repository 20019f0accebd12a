"""The LSTM, its gradients and a final-step sequence classifier, on NumPy and CuPy."""

try:
    from . import backends as backends
except ImportError as error:
    if "backends" not in str(error) or "xlstm.backends" in str(error.__cause__):
        raise
    raise ImportError(
        "xlstm is not installed: run 'pip install -e .' in the folder that holds pyproject.toml."
    ) from None

from .backends import report as devices
from .checkpoint import load
from .estimator import SequenceClassifier
from .gradcheck import GradientReport, check_gradients
from .layers import LSTM, RNN
from .sequences import from_channels_first

__version__ = "0.1.0"

__all__ = [
    "LSTM",
    "RNN",
    "GradientReport",
    "SequenceClassifier",
    "check_gradients",
    "devices",
    "from_channels_first",
    "load",
]
