"""The LSTM, its gradients and a final-step sequence classifier, on NumPy and CuPy."""

try:
    from . import backends as backends
except ImportError as error:
    if "backends" not in str(error) or "xlstm.backends" in str(error.__cause__):
        raise
    raise ImportError("xlstm is not installed: run 'pip install -e .' in the folder that holds pyproject.toml.") from None

from .layers import LSTM, RNN
