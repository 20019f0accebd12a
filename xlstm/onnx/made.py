"""A fitted estimator of what an ONNX file holds: layers, a readout and a head, without a training."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import backends, train
from ..encode import Encoder, Scaler, TokenEncoder
from ..estimators.classifier import SequenceClassifier
from ..estimators.going_on import start_of
from ..estimators.labeler import SequenceLabeler
from ..estimators.regressor import SequenceRegressor
from ..fitted import Fitted
from ..host import HostArray
from ..labels import classes_of
from ..model import Architecture, Model
from ..params import zeros
from ..spelling import Spelling
from ..stack import Sizes
from ..tasks.classes import Classes
from ..tasks.numbers import Numbers
from ..tasks.several import SeveralLabels
from ..tasks.steps import StepClasses
from .trace import Refused


class Found(NamedTuple):
    """What a file holds."""

    sizes: Sizes
    dtype: str
    recurrent: dict[str, HostArray]
    table: HostArray | None  # (V, D), an embedding
    readout: str = "final"
    weight: HostArray | None = None  # (K, F) of a head
    bias: HostArray | None = None  # (K,)
    activation: str = "logits"  # or "softmax", "sigmoid"


def estimator_of(found: Found, classes: Any, device: str | None) -> Any:
    """The estimator, fitted.

    Raises
    ------
    Refused
        If the classes are not as many as the outputs say.
    """
    assert found.weight is not None
    assert found.bias is not None
    K = found.weight.shape[0]
    order = None if classes is None else _order(classes, K if K > 1 else 2)
    kind, task = _task(found, K, None if order is None else np.asarray(classes)[order])
    weight, bias = found.weight, found.bias
    if order is not None and K > 1:  # labels are sorted here
        weight, bias = weight[order], bias[order]
    elif order is not None and order[0] == 1:  # the one logit is that of the label which stands first here
        weight, bias = -weight, -bias
    if task.outputs < K:  # two logits of two classes: their difference says the same
        weight, bias = weight[1:] - weight[:1], bias[1:] - bias[:1]
    sizes, tokens = found.sizes, found.table is not None
    encoder: Encoder = Scaler.unscaled(sizes.input_size)
    if found.table is not None:
        encoder = TokenEncoder("integers", Spelling(True, None, True), list(range(len(found.table))))
    shape: dict[str, Any] = {"cell": sizes.cell, "hidden_size": sizes.hidden_size, "num_layers": sizes.num_layers,
                             "bidirectional": sizes.bidirectional, "dtype": found.dtype,
                             "embedding_size": sizes.input_size if tokens else None}  # fmt: skip
    if kind is not SequenceLabeler:  # which has no other readout than that of every step
        shape["readout"] = found.readout
    estimator: Any = kind(**shape, encoding="tokens" if tokens else "auto", standardize=False, device=device)
    shape |= {"readout": found.readout, "outputs": task.outputs, "init": estimator.init}
    architecture = Architecture(**shape, input_size=encoder.width, tokens=tokens, dropout=0.0)
    host = zeros(architecture.shapes(), np.zeros(0, found.dtype))
    values = {f"recurrent.{name}": value for name, value in found.recurrent.items()}
    if found.table is not None:  # the first row is the unknown token's, which says nothing
        values["embedding.weight"] = np.concatenate([np.zeros_like(found.table[:1]), found.table])
    for name, value in {**values, "head.weight": weight, "head.bias": bias}.items():
        host[name] = value
    backend = backends.select(device, "auto", architecture.flops_per_step())
    model = Model(architecture, backend, estimator.kernels, None)
    model.write(host.flat)
    task.follow(estimator)
    optimizer = estimator.optimizer_for(model, estimator.solver)
    trainer = train.Trainer(model, task, optimizer, np.random.default_rng())
    start = start_of(estimator, encoder)
    estimator.take_over(Fitted(trainer, encoder, None, None, kind.__name__, start=start))
    return estimator


def _order(classes: Any, count: int) -> HostArray:
    """Which of the labels comes first, second and so on where they are sorted."""
    if np.shape(classes) != (count,) or len(classes_of(classes)[0]) != count:
        raise Refused(
            f"its head tells {count} classes apart, and classes={classes!r:.80} are not as many different labels"
        )
    return np.argsort(np.asarray(classes), kind="stable")


def _task(found: Found, K: int, classes: HostArray | None) -> tuple[Any, Any]:
    """What the outputs are: the estimator and the task; `classes` are sorted."""
    steps, sigmoid = found.readout == "steps", found.activation == "sigmoid"
    if K == 1 and not sigmoid and classes is None:
        if steps:
            raise Refused("its head gives one number for each step, which is the answer of no estimator")
        return SequenceRegressor, Numbers(None, found.dtype)  # of center 0 and scale 1: as the head gives them
    labels = np.arange(max(K, 2)) if classes is None else classes
    if sigmoid and K > 1:
        if steps:
            raise Refused("its head gives several labels for each step, which is the answer of no estimator")
        return SequenceClassifier, SeveralLabels(labels, matrix=classes is None)
    return (SequenceLabeler, StepClasses(labels)) if steps else (SequenceClassifier, Classes(labels))


__all__ = ["Found", "estimator_of"]
