"""An estimator back from the ONNX file that `to_onnx` wrote of it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from .. import checkpoint, optim
from ..estimators import state
from ..host import HostArray
from ..model import Architecture
from ..readout import READOUTS
from ..stack import Sizes
from .layout import METADATA, digest, package
from .trace import Refused, of_cell


def header_of(model: Any) -> dict[str, Any] | None:
    """What the file keeps of an estimator; None where it is none of ours, or somebody changed it since."""
    kept = {entry.key: entry.value for entry in model.metadata_props}
    if f"{METADATA}header" not in kept or kept.get(f"{METADATA}graph") != digest(model):
        return None
    version = kept.get(f"{METADATA}version", "")
    if version not in map(str, checkpoint.READERS):
        raise Refused(f"its estimator has format version {version!r:.80}, and a newer xlstm reads that")
    with checkpoint.understanding():
        header: dict[str, Any] = checkpoint.READERS[int(version)](json.loads(kept[f"{METADATA}header"]))
    return header


def restored(model: Any, header: dict[str, Any], device: str | None) -> Any:
    """The estimator, its numbers as float32 kept them, its optimiser at the start.

    Raises
    ------
    ValueError
        If header and constants are not what `to_onnx` writes.
    """
    with checkpoint.understanding():
        constants = {tensor.name: tensor for tensor in model.graph.initializer}
        if "head.weight" not in constants:
            raise Refused(f"it is of a {header['kind']}, without the head that it was trained with")
        architecture = header["architecture"]
        values = _values(architecture, {name: package().numpy_helper.to_array(t) for name, t in constants.items()})
        expected, found = Architecture(**architecture).shapes(), {name: value.shape for name, value in values.items()}
        if found != expected:
            raise ValueError(f"its constants have the shapes {found!r:.200}, expected {expected!r:.200}")
        flat = np.concatenate([value.reshape(-1) for value in values.values()]).astype(architecture["dtype"])
        moments = [np.zeros_like(flat) for _ in range(optim.MOMENTS[header["solver"]])]
    return state.restored(header, [flat, *moments], device)


def _values(architecture: dict[str, Any], constants: dict[str, HostArray]) -> dict[str, HostArray]:
    """Our parameters in the order of their buffer."""
    sizes = Sizes(
        **{name: architecture[name] for name in ("cell", "hidden_size", "num_layers", "bidirectional")},
        **{"input_size": architecture["embedding_size"] or architecture["input_size"]},
    )
    if f"W_l{sizes.num_layers - 1}" not in constants or constants["R_l0"].shape[2] != sizes.hidden_size:
        raise ValueError(f"its constants are not those of {sizes.num_layers} layers of {sizes.hidden_size} units")
    values: dict[str, HostArray] = {}
    if architecture["embedding_size"]:
        values["embedding.weight"] = constants["embedding.weight"]
    suffixes, S = sizes.suffixes(), sizes.directions
    for k, suffix in enumerate(suffixes):
        W, R, B = (constants[f"{name}_l{k // S}"][k % S] for name in "WRB")
        own = of_cell(sizes.cell, sizes.hidden_size, W, R, B)
        if k < S and "token_products" in constants:
            own["weight_ih"] = np.split(constants["token_products"], S, axis=1)[k].T
        values |= {f"recurrent.{name}_{suffix}": own[name] for name in sizes.record.parameter_names}
    if "query" in READOUTS[architecture["readout"]].shapes(1):
        values["readout.query"] = constants["query"][:, 0]
    return {**values, "head.weight": constants["head.weight"].T, "head.bias": constants["head.bias"]}
