"""What cuDNN has to be told before a call: descriptors and sizes, made once for each kind of call."""

from __future__ import annotations

import ctypes as C
import threading
from collections import OrderedDict
from typing import Any, NamedTuple

from .library import CudnnError, Library

STANDARD, PERSIST_STATIC, SMALL_H = 0, 1, 3
"""cudnnRNNAlgo_t: a product and a kernel a step; one kernel for all steps of a layer; the same for few hidden units."""

RNN_TANH, LSTM, GRU = 1, 2, 3  # cudnnRNNMode_t
SINGLE_INP_BIAS, DOUBLE_BIAS = 1, 2  # cudnnRNNBiasMode_t
UNIDIRECTIONAL, LINEAR_INPUT, PADDED_IO_ENABLED, BATCH_MAJOR_UNPACKED = 0, 0, 1, 2
WGRAD_MODE_ADD = 0
FLOAT, DOUBLE, HALF, BFLOAT16 = 0, 1, 2, 9  # cudnnDataType_t
DEFAULT_MATH, TENSOR_OP_MATH, FMA_MATH = 0, 1, 3
"""cudnnMathType_t. Of float32 the default allows TF32 and only FMA is IEEE. The second is documented for
float16 alone; of bfloat16 the default uses tensor cores. They sum in float32."""

PLANS = 64
"""How many plans a thread keeps for a cell: with ragged rows, each batch is a kind of its own."""


class Kind(NamedTuple):
    """One cell in one precision, as cuDNN names it."""

    cell: int
    biases: int
    gates: int
    data: int  # the type of all arrays
    computed: int  # the type of sums
    mathematics: int
    itemsize: int


class Sizes(NamedTuple):
    """What a plan depends on, beside its kind."""

    N: int
    T: int  # up to the end of the longest row
    D: int
    H: int
    lengths: tuple[int, ...] | None  # None where all rows have T


class Plan:
    """The descriptors and sizes for forward and backward calls of one kind, on one device.

    Parameters
    ----------
    library, handle
        cuDNN, and a handle for the current device.
    kind, sizes
        What is computed.
    algorithm
        One of `STANDARD`, `PERSIST_STATIC` and `SMALL_H`.
    training
        Whether a backward call follows.

    Attributes
    ----------
    rnn, x, y, state
        Descriptors. That of the states serves h and c.
    weights, workspace, reserve : int
        Sizes in bytes.

    Raises
    ------
    CudnnError
        Where cuDNN refuses; `not_supported` where another algorithm may do.
    """

    def __init__(
        self, library: Library, handle: C.c_void_p, kind: Kind, sizes: Sizes, algorithm: int, training: bool
    ) -> None:
        N, T, D, H, lengths = sizes
        made = [library.make(f"{of}Descriptor") for of in ("RNN", "RNNData", "RNNData", "Tensor")]
        self._made = made  # released with this
        self.rnn, self.x, self.y, self.state = (one.pointer for one in made)
        library(
            "cudnnSetRNNDescriptor_v8", self.rnn, algorithm, kind.cell, kind.biases, UNIDIRECTIONAL, LINEAR_INPUT,
            kind.data, kind.computed, kind.mathematics, D, H, H, 1, None, PADDED_IO_ENABLED,
        )  # fmt: skip
        host = (C.c_int * N)(*(lengths or [T] * N))
        zero = C.byref(C.c_double(0))  # of whichever type: all bits are zero
        for descriptor, width in ((self.x, D), (self.y, H)):
            library(
                "cudnnSetRNNDataDescriptor", descriptor, kind.data, BATCH_MAJOR_UNPACKED, T, N, width, host, zero
            )  # fmt: skip
        shape, strides = (C.c_int * 3)(1, N, H), (C.c_int * 3)(N * H, H, 1)
        library("cudnnSetTensorNdDescriptor", self.state, kind.data, 3, shape, strides)
        weights, workspace, reserve = C.c_size_t(), C.c_size_t(), C.c_size_t()
        library("cudnnGetRNNWeightSpaceSize", handle, self.rnn, C.byref(weights))
        library(
            "cudnnGetRNNTempSpaceSizes", handle, self.rnn, int(training), self.x, C.byref(workspace), C.byref(reserve)
        )  # fmt: skip
        self.weights, self.workspace, self.reserve = weights.value, workspace.value, reserve.value
        self._library, self._handle, self._kind, self._sizes = library, handle, kind, sizes

    def layout(self) -> str | None:
        """Why the weight space is not [weight_ih | weight_hh | bias | recurrent bias], None where it is.

        cuDNN says where the matrix and the bias of each gate stand, first those of the input, then of the recurrence.
        """
        kind, H, D = self._kind, self._sizes.H, self._sizes.D
        G, item = kind.gates, kind.itemsize
        biases = G if kind.biases == SINGLE_INP_BIAS else 2 * G
        first_bias = G * H * (D + H)
        if self.weights < (first_bias + biases * H) * item:
            return f"its weights take {self.weights} bytes, fewer than ours"
        base = 1 << 20  # it computes addresses alone
        descriptors = [self._library.make("TensorDescriptor") for _ in range(2)]
        matrix, bias = C.c_void_p(), C.c_void_p()
        for gate in range(2 * G):
            self._library(
                "cudnnGetRNNWeightParams", self._handle, self.rnn, 0, self.weights, base, gate,
                descriptors[0].pointer, C.byref(matrix), descriptors[1].pointer, C.byref(bias),
            )  # fmt: skip
            at = gate * H * D if gate < G else G * H * D + (gate - G) * H * H
            expected = base + at * item, (base + (first_bias + gate * H) * item if gate < biases else None)
            if (matrix.value, bias.value) != expected:
                return f"the weights of its gate {gate} do not stand where they are expected"
        return None


class Plans:
    """The plans of a cell: made at first use, kept for each thread, the oldest of many forgotten."""

    def __init__(self, library: Library, kind: Kind) -> None:
        self._library, self._kind = library, kind
        self._threads = threading.local()
        self._layouts: dict[tuple[int, int, int], str | None] = {}

    def get(self, handle: C.c_void_p, device: int, sizes: Sizes, algorithm: int, training: bool) -> Plan:
        """The plan for a call; CudnnError where cuDNN refuses one, or lays its weights out in another way than ours."""
        plans: OrderedDict[Any, Plan] | None = getattr(self._threads, "plans", None)
        if plans is None:
            plans = self._threads.plans = OrderedDict()
        key = (device, sizes, algorithm, training)
        if key in plans:
            plans.move_to_end(key)
            return plans[key]
        plan = Plan(self._library, handle, self._kind, sizes, algorithm, training)
        layout = (sizes.D, sizes.H, algorithm)
        if layout not in self._layouts:
            self._layouts[layout] = plan.layout()
        why = self._layouts[layout]
        if why is not None:
            raise CudnnError("cudnnGetRNNWeightParams", 3000, "an unknown layout of the weights", why)
        plans[key] = plan
        if len(plans) > PLANS:
            plans.popitem(last=False)  # whoever computes with it has it still
        return plan
