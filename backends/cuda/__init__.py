"""Fast implementations for CUDA GPUs: kernels of our own, compiled at first use, and cuDNN where it is installed."""

from __future__ import annotations


class Unsupported(Exception):
    """A level cannot do this call: another one is to do it. Nothing was changed."""
