"""An ONNX graph as it grows: nodes, constants, inputs and outputs, each under a name that says what it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..host import HostArray
from .layout import IR_VERSION, METADATA, ML_OPSET, OPSET, digest, package

Axes = Sequence["int | str | None"]
"""Of each axis its size, or the name by which users know it."""


class Graph:
    """Nodes in their order. Every method gives the name of what it made."""

    def __init__(self, name: str) -> None:
        onnx = package()
        self._onnx, self.name = onnx, name
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._taken: dict[str, int] = {}

    def _unique(self, name: str) -> str:
        count = self._taken.get(name, 0)
        self._taken[name] = count + 1
        return name if not count else f"{name}_{count}"

    def input(self, name: str, dtype: str, axes: Axes, doc: str = "") -> str:
        """What a caller passes."""
        self._inputs.append(self._onnx.helper.make_tensor_value_info(self._unique(name), self._type(dtype), axes, doc))
        return name

    def output(self, name: str, source: str, dtype: str, axes: Axes, doc: str = "") -> None:
        """What a caller gets: this value, under this name."""
        self._nodes.append(self._onnx.helper.make_node("Identity", [source], [name], name=f"to_{name}"))
        self._outputs.append(self._onnx.helper.make_tensor_value_info(name, self._type(dtype), axes, doc))

    def constant(self, value: Any, name: str = "constant") -> str:
        """A NumPy array, of strings too."""
        array, name = np.ascontiguousarray(value).reshape(np.shape(value)), self._unique(name)
        if array.dtype.kind == "U":
            texts = [text.encode("utf-8") for text in array.reshape(-1).tolist()]
            tensor = self._onnx.helper.make_tensor(name, self._onnx.TensorProto.STRING, array.shape, texts)
        else:
            tensor = self._onnx.numpy_helper.from_array(array, name)
        self._constants[name] = tensor
        return name

    def op(
        self, operator: str, *inputs: str, outputs: int = 1, name: str = "", domain: str = "", **attributes: Any
    ) -> Any:
        """A node: the name of what it gives, or a list of as many as it gives."""
        made = self._unique(name or operator.lower())
        names = [made] if outputs == 1 else [f"{made}.{k}" for k in range(outputs)]
        self._nodes.append(
            self._onnx.helper.make_node(operator, inputs, names, name=f"{made}.node", domain=domain, **attributes)
        )
        return names[0] if outputs == 1 else names

    def cast(self, source: str, dtype: str) -> str:
        """The value in another dtype."""
        made: str = self.op("Cast", source, to=self._type(dtype))
        return made

    def unsqueeze(self, source: str, *axes: int) -> str:
        """The value with further axes of size 1."""
        made: str = self.op("Unsqueeze", source, self.constant(np.array(axes, np.int64), "axes"))
        return made

    def squeeze(self, source: str, axis: int) -> str:
        """The value without an axis of size 1."""
        made: str = self.op("Squeeze", source, self.constant(np.array([axis], np.int64), "axes"))
        return made

    def reshape(self, source: str, *shape: int) -> str:
        """The value in another shape; 0 keeps an axis."""
        made: str = self.op("Reshape", source, self.constant(np.array(shape, np.int64), "shape"))
        return made

    def sum_over_time(self, source: str) -> str:
        """Σ_t of (T, …)."""
        made: str = self.op("ReduceSum", source, self.constant(np.array([0], np.int64), "axes"), keepdims=0)
        return made

    def _type(self, dtype: str) -> int:
        if dtype == "str":
            return int(self._onnx.TensorProto.STRING)
        return int(self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def model(self, producer_version: str, metadata: dict[str, str], doc: str) -> Any:
        """The whole, checked.

        Raises
        ------
        ValueError
            If it is larger than the 2 GB that a file of ONNX may have.
        """
        helper = self._onnx.helper
        constants: list[HostArray] = list(self._constants.values())
        graph = helper.make_graph(self._nodes, self.name, self._inputs, self._outputs, constants, doc_string=doc)
        domains = {node.domain for node in self._nodes}
        versions = [helper.make_opsetid("", OPSET)]
        versions += [helper.make_opsetid("ai.onnx.ml", ML_OPSET)] if "ai.onnx.ml" in domains else []
        model = helper.make_model(graph, opset_imports=versions, ir_version=IR_VERSION)
        model.producer_name, model.producer_version = "xp-lstm", producer_version
        metadata = {**metadata, "graph": digest(model)}
        helper.set_model_props(model, {f"{METADATA}{name}": value for name, value in metadata.items()})
        if model.ByteSize() >= 2**31:
            raise ValueError(f"an ONNX file holds less than 2 GB, and this model needs {model.ByteSize() / 1e9:.1f}.")
        self._onnx.checker.check_model(model, full_check=True)
        return model
