# ruff: noqa: E501 - the table of faults is read by the line
"""Known faults, each planted into a copy of the library: the suite has to catch every one of them.

A test of a test: without it nobody knows whether the comparisons can fail. Each mutant names the test file that must
notice; which test it was is printed (`pytest tests/test_mutants.py -s`). The suite tries every fifth, so that it ends in
time; `XLSTM_MUTANTS=all` tries them all.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]

LSTM, RNN, GRU = "xlstm/cells/lstm.py", "xlstm/cells/rnn.py", "xlstm/cells/gru.py"
WALK, SEQUENCE, PROJECTION = "xlstm/cells/walk.py", "xlstm/cells/sequence.py", "xlstm/cells/projection.py"
STACK, READOUT, MODEL = "xlstm/stack.py", "xlstm/readout.py", "xlstm/model.py"
CLASSES = "xlstm/tasks/classes.py"
RESIDUALS, NUMBERS = "xlstm/residuals.py", "xlstm/tasks/numbers.py"
RESIDUALS_TEST, REGRESSOR_TEST = (f"tests/library/test_{name}.py" for name in ("residuals", "regressor"))
OF_STEPS = "xlstm/tasks/steps.py"
LABELER_TEST = "tests/library/test_labeler.py::test_"
TASKS_TEST, TRIAL_TEST = "tests/library/test_tasks.py", "tests/library/test_trial_task.py"
CELLS_TEST, LAYERS_TEST, MODEL_TEST = (f"tests/library/test_{name}.py" for name in ("cells", "layers", "model"))
CONVEYOR, FEED, DEVICE_TEST = "backends/conveyor.py", "xlstm/feed.py", "tests/backends/test_device_data.py"
SEVERAL, LABELSETS = "xlstm/tasks/several.py", "xlstm/labelsets.py"
PIECES_TEST, INTERRUPTED_TEST = (f"tests/library/test_{name}.py::test_" for name in ("train", "cli_interrupted"))
BATCHES_TEST = "tests/library/test_batches.py"
SEVERAL_TEST = "tests/library/test_several.py"
ENCODE, GAPS_TEST = "xlstm/encode.py", "tests/library/test_gaps.py"
READERS, READERS_TEST, BAD_FILES_TEST, DATASET_TEST = (
    "xlstm/readers",
    *(f"tests/library/test_{name}.py" for name in ("readers", "bad_files", "dataset")),
)
READOUT_TEST = "tests/library/test_readout.py"
READOUT_GRADIENTS = f"{READOUT_TEST}::test_gradients_are_those_of_finite_differences"
RESUME, RESUME_TEST = "xlstm/estimators/resume.py", "tests/library/test_resume.py"
CALLBACKS_TEST = "tests/library/test_callbacks.py"
SUMS, CUDA_STEP, CUDA_ROWS, CUDA_LOSS = (
    f"backends/cuda/kernels/{name}" for name in ("sums.h", "optimiser.cu", "rows.cu", "loss.cu")
)
CUDA_STEP_TEST, CUDA_ROWS_TEST, CUDA_LOSS_TEST = (
    f"tests/backends/test_{name}.py" for name in ("cuda_optimiser", "cuda_rows", "fast_loss")
)
FUSED, FUSED_INPUT = "backends/cuda/fused.py", "backends/cuda/projection.py"
STEPS, FUSED_LSTM, FUSED_RNN, FUSED_GRU = (
    f"backends/cuda/kernels/{name}" for name in ("steps.cu", "lstm.h", "rnn.h", "gru.h")
)
FUSED_TEST, LEVELS_TEST = "tests/backends/test_fused.py", "tests/backends/test_levels.py"
CUDNN, CUDNN_STORAGE, PADDING = (
    "backends/cuda/cudnn/cell.py",
    "backends/cuda/cudnn/storage.py",
    "backends/cuda/kernels/padding.h",
)
CUDNN_VALUES, CUDNN_TAPES, CUDNN_ADDED, CUDNN_THREADS, CUDNN_PLACES = (
    f"tests/backends/test_cudnn.py::test_{name}"
    for name in (
        "values_and_gradients",
        "tapes_of_many_calls_do_not_meet",
        "gradients_are_added_or_written",
        "threads_have_handles_of_their_own",
        "the_weights_where_they_stand_and_elsewhere",
    )
)


class Mutant(NamedTuple):
    fault: str
    file: str
    right: str  # stands in the file exactly once
    wrong: str
    caught_by: str


MUTANTS = [
    # The forward pass of the cells.
    Mutant("a gate dropped", LSTM, "c_new += i * g", "c_new += g", CELLS_TEST),
    Mutant("two gates swapped", LSTM, "i_f, i, f, g, o = z", "i_f, f, i, g, o = z", CELLS_TEST),
    Mutant("tanh of the old cell", LSTM, "h_new = o * xp.tanh(c_new)", "h_new = o * xp.tanh(c)", CELLS_TEST),
    Mutant("a tanh missing", LSTM, "h_new = o * xp.tanh(c_new)", "h_new = o * c_new", CELLS_TEST),
    Mutant("the output gate by tanh", LSTM, "o[...] = sigmoid(xp, o)", "o[...] = xp.tanh(o)", CELLS_TEST),
    Mutant("a bias not added", PROJECTION, "bias[:, None]], axis=1)", "0 * bias[:, None]], axis=1)", CELLS_TEST),
    Mutant("the reset gate on the input too", GRU, "xp.tanh(z_x[:, 2 * H :] + r * z_h[:, 2 * H :])", "xp.tanh(r * (z_x[:, 2 * H :] + z_h[:, 2 * H :]))", CELLS_TEST),
    Mutant("the candidate's second bias outside the reset gate", GRU, "    z_h[:, 2 * H :] += params[\"bias_hn\"]\n", "    z_x[:, 2 * H :] += params[\"bias_hn\"]\n", CELLS_TEST),
    Mutant("the reset gate after the product in the other form", GRU, "(r * h) @ params[\"weight_hh_t\"][:, 2 * H :]", "r * (h @ params[\"weight_hh_t\"][:, 2 * H :])", CELLS_TEST),
    # The walk.
    Mutant("no recurrence", WALK, "            z_t += current[0] @ fed_t\n", "            z_t += 0 * (current[0] @ fed_t)\n", CELLS_TEST),
    Mutant("no recurrence where the parts stay apart", WALK, "z_h[t, :n, :] = current[0] @ fed_t", "z_h[t, :n, :] = 0 * (current[0] @ fed_t)", CELLS_TEST),
    Mutant("a recurrent product transposed", SEQUENCE, "copy[...] = weight.T", "copy[...] = _turned(weight)", CELLS_TEST),
    Mutant("the final state of the padding", WALK, "current = tuple([values[:n, :] for values in current])", "pass", CELLS_TEST),
    Mutant("a step's state written a step too early", WALK, "states[k][t + 1, :n, :] = values", "states[k][t, :n, :] = values", CELLS_TEST),
    Mutant("outputs of the states before the steps", WALK, "order.batch_major(states[0][1:, :, :]", "order.batch_major(states[0][:-1, :, :]", CELLS_TEST),
    Mutant("the second direction's columns over the first's", STACK, "column=direction * self._width,", "column=0 * self._width,", LAYERS_TEST),
    Mutant("the second direction given the first's gradient", STACK, "column=direction * self._width if S > 1", "column=0 * self._width if S > 1", LAYERS_TEST),
    # Cells by cuDNN.
    Mutant("two arguments of a cuDNN call exchanged", CUDNN, "_address(tape.y), _address(dy), p.x,", "_address(dy), _address(tape.y), p.x,", CUDNN_VALUES),
    Mutant("two states given to cuDNN in each other's place", CUDNN, "(hx, cx), (dhy, dcy), (dhx, dcx) = map", "(hx, cx), (dcy, dhy), (dhx, dcx) = map", CUDNN_VALUES),
    Mutant("a reserve space used again", CUDNN, "        try:\n            return tape.reserve.pop()", "        try:\n            return tape.reserve[-1]", "tests/backends/test_cudnn.py::test_a_tape_serves_as_often_as_it_is_asked"),
    Mutant("a weight gradient that is not zeroed", CUDNN, "if not accumulate:  # cuDNN adds", "if False:", CUDNN_ADDED),
    Mutant("the space of a weight gradient that is not zeroed", CUDNN, "space = storage.zeros(p.weights // self._kind.itemsize)", "space = storage.empty(p.weights // self._kind.itemsize)", CUDNN_ADDED),
    Mutant("a tape that keeps the caller's x", CUDNN, "device_lengths, reverse, copy=keep)", "device_lengths, reverse, copy=False)", CUDNN_TAPES),
    Mutant("outputs handed out that the tape keeps", CUDNN, "order is None and not keep and not tape.reverse", "order is None and not tape.reverse", CUDNN_TAPES),
    Mutant("a length of cuDNN's off by one", "backends/cuda/cudnn/plan.py", "(*(lengths or [T] * N))", "(*([max(1, n - 1) for n in lengths] if lengths else [T] * N))", CUDNN_VALUES),
    Mutant("TF32 for IEEE in cuDNN", CUDNN, "(plan.FLOAT, plan.FLOAT, plan.FMA_MATH, 4)", "(plan.FLOAT, plan.FLOAT, plan.DEFAULT_MATH, 4)", CUDNN_VALUES),
    Mutant("no projection said as 0", "backends/cuda/cudnn/plan.py", "D, H, H, 1, None,", "D, H, 0, 1, None,", CUDNN_VALUES),
    Mutant("the second bias of cuDNN's GRU at another gate", CUDNN_STORAGE, 'params["bias"].size - bias_hn.size, bias_hn', "0, bias_hn", CUDNN_VALUES),
    Mutant("a gate's row of a copy of the weights too far", PADDING, "return weight_hh[k - ih];", "return weight_hh[(k - ih + 1) % hh];", CUDNN_PLACES),
    Mutant("the padding given to cuDNN", PADDING, "if (at.t >= valid) return 0;", "if (at.t >= valid && reverse) return 0;", CUDNN_VALUES),
    Mutant("a token of the padding added to the first row", PADDING, "is_valid && is_token ? id : -1", "is_token ? id : 0", "tests/backends/test_cudnn.py::test_nothing_is_added_to_a_row_for_what_is_no_token"),
    Mutant("an array given to cuDNN where no vector begins", CUDNN_STORAGE, "and array.data.ptr % VECTOR == 0", "", "tests/backends/test_cudnn.py::test_arrays_at_any_address"),
    Mutant("a scale of float16 from the first block's gradients", "backends/cuda/kernels/sixteen.cu", "thread_x() < count ? parts", "thread_x() < 1 ? parts", "tests/backends/test_cudnn.py::test_the_scale_of_float16_is_that_of_the_greatest_of_all_gradients"),
    Mutant("the padding of y given to cuDNN", CUDNN, "(storage.empty if order is None else storage.zeros)", "storage.empty", CUDNN_VALUES),
    Mutant("outputs of the reverse direction not turned back", CUDNN_STORAGE, "row, step, lengths, int(reverse), N, T, F, scale\n", "row, step, lengths, 0, N, T, F, scale\n", CUDNN_VALUES),
    Mutant("a copied gradient written where it is to be added", "backends/cuda/kernels/padding.cu", "*parameter = accumulate ? *parameter + value : value;", "*parameter = value;", CUDNN_ADDED),
    Mutant("one handle for all threads", "backends/cuda/cudnn/library.py", "self._threads = threading.local()", "self._threads = type('Shared', (), {})()", CUDNN_THREADS),
    # Lengths, states and directions.
    Mutant("a length off by one", SEQUENCE, "ended_at[length] += 1", "ended_at[length - 1] += 1", CELLS_TEST),
    Mutant("the initial state not sorted", SEQUENCE, "states[0, :, :] = order.sort(state)", "states[0, :, :] = state", f"{CELLS_TEST}::test_every_kind_of_length"),
    Mutant("padding into the weight gradient", SEQUENCE, "return self.xp.where(valid, array,", "return self.xp.where(valid | True, array,", CELLS_TEST),
    Mutant("the reverse direction reads padding", SEQUENCE, "xp.where(t < length, length - 1 - t, t)", "T - 1 - t + 0 * length", LAYERS_TEST),
    Mutant("the reverse outputs not turned back", SEQUENCE, "= self.turned(in_order) if reverse else in_order", "= in_order", LAYERS_TEST),
    # The backward pass of the cells.
    Mutant("a bias's gradient doubled", PROJECTION, "d_weight_and_bias[:, D]", "2 * d_weight_and_bias[:, D]", CELLS_TEST),
    Mutant("dh not passed on", WALK, "dh = (dz_t if all_fed else dz_h[here]) @ fed", "dh = 0 * ((dz_t if all_fed else dz_h[here]) @ fed)", CELLS_TEST),
    Mutant("dh past the gates not passed on", WALK, "dh if d[0] is None else dh + d[0]", "dh", CELLS_TEST),
    Mutant("dc not passed on", LSTM, "    return None, dc * f\n", "    return None, 0 * (dc * f)\n", CELLS_TEST),
    Mutant("the forget gate's slope dropped", LSTM, "dz_f *= dc * c\n", "dz_f[...] = dc * c\n", CELLS_TEST),
    Mutant("the new cell in the forget gate's gradient", LSTM, "*= dc * c\n", "*= dc * c_new\n", CELLS_TEST),
    Mutant("a weight gradient's steps shifted", WALK, "(tape.states[0][:-1, :, :])", "(tape.states[0][1:, :, :])", CELLS_TEST),
    Mutant("a product with a state that nobody gave", WALK, "tuple([int(values is None) for values in initial])", "(0,) * len(initial)", f"{CELLS_TEST}::test_NaN_of_a_single_step_has_no_product_with_a_state_that_nobody_gave"),
    Mutant("a product with what a row ended with", WALK, "order.without_padding(tape.states[0][:-1, :, :])", "tape.states[0][:-1, :, :]", f"{CELLS_TEST}::test_NaN_of_a_single_step_has_no_product_with_a_state_that_nobody_gave"),
    Mutant("the first step's gradient lost", WALK, "for t in reversed(range(order.steps)):", "for t in reversed(range(1, order.steps)):", CELLS_TEST),
    Mutant("the initial state's gradient lost", WALK, "cell.join(tuple(order.unsort(s) for s in d))", "cell.join(tuple(0 * order.unsort(s) for s in d))", CELLS_TEST),
    Mutant("the final state's gradient of ended rows lost", WALK, "xp.concat([s, final[", "xp.concat([s, 0 * final[", CELLS_TEST),
    Mutant("a gradient summed over two calls", STACK, "accumulate=False", "accumulate=True", f"{LAYERS_TEST}::test_the_same_call_gives_the_same_bits"),
    Mutant("a gradient not added to another", "xlstm/cells/arguments.py", "into[name][...] += gradient", "into[name][...] = gradient", f"{CELLS_TEST}::test_into_is_added_to_or_overwritten_and_returned"),
    Mutant("tanh's slope of the RNN", RNN, "(1 - h_new) * (1 + h_new)", "1 - h_new", CELLS_TEST),
    Mutant("the update gate's two ways exchanged", GRU, "return (dh * u,)", "return (dh * (1 - u),)", CELLS_TEST),
    Mutant("the reset gate's slope from the whole candidate", GRU, "dn * z_h[:, 2 * H :] * (r * (1 - r))", "dn * h * (r * (1 - r))", CELLS_TEST),
    Mutant("the reset gate missing on the way to the candidate's h", GRU, "dz_h[:, 2 * H :] = dn * r\n", "dz_h[:, 2 * H :] = dn\n", CELLS_TEST),
    Mutant("h for the reset h in a weight gradient", GRU, "gates[first[0] :, :, :H] * h, (T * N, H)", "h, (T * N, H)", CELLS_TEST),
    Mutant("dropout's mask not in the backward pass", STACK, "d_outputs = d_outputs * tape.dropout_masks[layer - 1]", "pass", f"{LAYERS_TEST}::test_dropout_gradients_are_right"),
    # The fused cells of a GPU: their kernels, run by the emulator, and what launches them.
    Mutant("two gates of a fused cell swapped", FUSED_LSTM, "z[0] = i, z[H] = f,", "z[0] = f, z[H] = i,", FUSED_TEST),
    Mutant("a fused cell's dc not carried on", FUSED_LSTM, "*dc = d * f;", "*dc = 0;", FUSED_TEST),
    Mutant("a fused cell's old tanh in its gradient", FUSED_LSTM, "tanh(f * c + i * g)", "tanh(c)", FUSED_TEST),
    Mutant("a fused RNN's slope", FUSED_RNN, "*dh * ((1 - z[0]) * (1 + z[0]))", "*dh * (1 - z[0])", FUSED_TEST),
    Mutant("a fused GRU without its reset gate", FUSED_GRU, "bias[2 * H] + r * s)", "bias[2 * H] + s)", FUSED_TEST),
    Mutant("a fused GRU's biases of its gates exchanged", FUSED_GRU, "? bias + column - H : bias_hn", "? bias + column : bias_hn", FUSED_TEST),
    Mutant("what reaches a fused GRU's h past the gates lost", FUSED, "add = self._layout.from_h > 0", "add = False", FUSED_TEST),
    Mutant("a step of the padding packed", STEPS, "if (t >= length) return;\n  i64 from", "if (t > length) return;\n  i64 from", FUSED_TEST),
    Mutant("a token that is none taken for the first", STEPS, "id >= 0 && id < V ? id : -1", "id >= 0 && id < V ? id : 0", f"{FUSED_TEST}::test_a_token_that_is_none_gives_nan_and_reads_no_other_memory"),
    Mutant("a row of an order ended a step too early", "backends/cuda/order.py", "accumulate(ends[: self.steps])]", "accumulate(ends[1 : self.steps + 1])]", FUSED_TEST),
    Mutant("the padding of a fused cell's input gradient not zeroed", STEPS, "    row[t * D + d] = 0;", "    ;", FUSED_TEST),
    Mutant("a fused cell's direction not turned", STEPS, "return reverse ? length - 1 - t : t;", "return t;", FUSED_TEST),
    Mutant("a fused cell blind to an input's strides", STEPS, "d * feature_stride;", "d;", f"{FUSED_TEST}::test_arrays_may_have_any_strides"),
    Mutant("a fused cell's outputs by rows of their order", STEPS, "    outputs[row * row_stride", "    outputs[place * row_stride", FUSED_TEST),
    Mutant("a final state's gradient by rows of the order", STEPS, "d_h ? d_h[row * H + unit]", "d_h ? d_h[all]", FUSED_TEST),
    Mutant("the gradient of a row that begins not its own", STEPS, "bool runs_on = place < later;", "bool runs_on = place <= later;", FUSED_TEST),
    Mutant("a barrier missing in a sum of columns", SUMS, "    block_sync();\n    for", "    for", FUSED_TEST),
    Mutant("a bias's gradient never added", STEPS, "*target = add ? *target + sum : sum;", "*target = sum;", f"{FUSED_TEST}::test_gradients_are_written_or_added_to_what_is_given"),
    Mutant("a product added to what nobody wrote", "backends/cuda/blas.py", "self._one if add else self._zero", "self._one", FUSED_TEST),
    Mutant("a product in TF32 that nobody allowed", "backends/cuda/blas.py", 'if precision == "highest" else', "if False else", FUSED_TEST),
    # Which level of a GPU does a call.
    Mutant("a level that is wrong is trusted", "backends/cuda/array_code.py", "return self.error <= self.bound", "return self.bound > 0", LEVELS_TEST),
    Mutant("TF32 taken for float32", "xlstm/trusted.py", 'BOUNDS = {"highest": 1e-5', 'BOUNDS = {"highest": 1e-2', f"{LEVELS_TEST}::test_a_level_that_is_wrong_is_not_used"),
    Mutant("a tape given to another level", "backends/cuda/levels.py", "made_by, own = tape", "made_by, own = next(iter(self._levels.values())).cell, tape[1]", LEVELS_TEST),
    Mutant("a stream's step sent to cuDNN", "backends/cuda/levels.py", "work.time < FEW_STEPS or", "", LEVELS_TEST),
    Mutant("a level of 16 bits where float32 was asked for", "backends/cuda/levels.py", "key = (name, cell, dtype, own)", "key = (name, cell, dtype)", f"{LEVELS_TEST}::test_tf32_is_right_where_it_is_allowed"),
    Mutant("a tape's states over each other", FUSED, "+ KEEP * keep", "+ 0 * keep", FUSED_TEST),
    Mutant("a weight's gradient from states that nobody gave", FUSED, "first = 0 if tape.given[0] else walk.rows", "first = 0", FUSED_TEST),
    Mutant("a weight's gradient not zeroed where there is none", FUSED, "            d_weight_hh.fill(0)", "            pass", f"{FUSED_TEST}::test_one_step_without_a_state_gives_no_gradient_to_the_recurrent_weights"),
    Mutant("an initial state's gradient not sorted back", FUSED, "if walk.on_device[0] is not None:", "if False:", FUSED_TEST),
    Mutant("a second product over the first", FUSED_INPUT, "add=k > 0,", "add=False,", FUSED_TEST),
    # The readouts.
    Mutant("a mean over the padding too", READOUT, "xp.astype(seen.valid, xp.int32)", "xp.astype(seen.valid | True, xp.int32)", READOUT_TEST),
    Mutant("a maximum over the padding too", READOUT, "return outputs + xp.where(seen.valid, nothing, xp.full_like(nothing, -xp.inf))[:, :, None]", "return outputs", READOUT_TEST),
    Mutant("a maximum's gradient to every step", READOUT, "xp.astype(won, d_features.dtype)", "xp.astype(won | True, d_features.dtype)", READOUT_GRADIENTS),
    Mutant("a mean's gradient to the padding too", READOUT, "xp.astype(valid, each.dtype)", "xp.astype(valid | True, each.dtype)", READOUT_GRADIENTS),
    Mutant("a readout's part without its gradient", READOUT, "else d_outputs + seen.outputs", "else d_outputs", READOUT_GRADIENTS),
    Mutant("each readout's part given the first one's gradient", READOUT, "            start += width\n", "", READOUT_GRADIENTS),
    Mutant("a mean's gradient not divided", READOUT, "(d_features / length)[:, None, :]", "d_features[:, None, :]", READOUT_GRADIENTS),
    Mutant("attention to the padding", READOUT, "score = xp.where(seen.valid, score, xp.full_like(score, -xp.inf))", "pass", READOUT_TEST),
    Mutant("the softmax's second term dropped", READOUT, "d_score = a * (d_a - xp.sum(features * d_features, axis=1)[:, None])", "d_score = a * d_a", READOUT_TEST),
    Mutant("attention in parts without their common maximum", READOUT, "_added(xp, _scaled(total_before, old), new * total[0])", "_added(xp, total_before, total[0])", READOUT_TEST),
    Mutant("a long mean summed step by step", READOUT, "return _over_time(xp, seen.outputs) / length,", "return sum(seen.outputs[:, t, :] for t in range(seen.outputs.shape[1])) / length,", READOUT_TEST),
    # Around the cells.
    Mutant("the wrong layer's final state", MODEL, "in finals[-self.stack.sizes.directions :]]", "in finals[: self.stack.sizes.directions]]", MODEL_TEST),
    Mutant("the unknown token trained away", MODEL, "            self.silence_unknown(self.gradients)", "            pass", MODEL_TEST),
    Mutant("features of a later X by place", "xlstm/columns.py", "data.reordered(order, expected)", "data", "tests/library/test_names.py"),
    Mutant("features of later rows by place", "xlstm/sequences.py", "array if order is None else array[:, order]", "array", "tests/library/test_names.py"),
    Mutant("the contrary of the order of names", "xlstm/names.py", "[place[name] for name in expected]", "[expected.index(name) for name in names]", "tests/library/test_names.py"),
    Mutant("a table in long form trained on without a word", "xlstm/guesses.py", "in_runs = classes < runs <= by_chance / 3 - 2", "in_runs = False", "tests/library/test_guesses.py"),
    Mutant("strings always cut into characters", "xlstm/sequences.py", 'if split == "characters" else', 'if True else', "tests/library/test_estimator.py::test_a_string_is_cut_into_words"),
    Mutant("class weights ignored", "xlstm/labels.py", "weights * class_factors(class_weight, classes, counts, whole)[labels]", "weights", "tests/library/test_labels.py"),
    Mutant("sample weights ignored", "xlstm/lossrows.py", "scale = weights / count", "scale = 0 * weights + 1 / count", "tests/library/test_losses.py"),
    Mutant("an optimiser's moment not corrected", "xlstm/optim.py", "mean_seen = 1 - self.beta_1**self.updates", "mean_seen = 1", "tests/library/test_optim.py"),
    Mutant("the second moment not corrected", "xlstm/optim.py", "square_seen = 1 - self.beta_2**self.updates", "square_seen = 1", "tests/library/test_optim.py"),
    Mutant("a clip that never clips", "xlstm/optim.py", "too_long = norm > max_norm", "too_long = norm < 0", "tests/library/test_optim.py"),
    Mutant("a softmax that overflows", "xlstm/losses.py", "shifted = logits - xp.max(logits, axis=-1, keepdims=True)\n    log_sum", "shifted = logits\n    log_sum", "tests/library/test_losses.py"),
    Mutant("the logarithm of a sum beside which the others are lost", "xlstm/losses.py", "return shifted - xp.log1p(others)", "return shifted - xp.log(1 + others)", "tests/library/test_losses.py"),
    Mutant("rows that validated may train in a warm start", "xlstm/estimators/training.py", "sides = None if fitted is None else fitted.sides", "sides = None", "tests/library/test_train.py"),
    Mutant("rows that are alike are one", "xlstm/sides.py", "seen[row] += 1", "pass", "tests/library/test_sides.py"),
    Mutant("a second Ctrl-C that is the first again", "xlstm/interrupts.py", "first = run is not _kept_in", "first = True", "tests/library/test_train.py"),
    Mutant("scaling fitted on the validation part too", "xlstm/estimators/training.py", "some = series.take(data, counted)", "some = data", "tests/library/test_estimator.py::test_the_validation_part_is_no_part_of_training"),
    # Tasks, and the training that asks them.
    Mutant("class weights not asked for", CLASSES, "row_weights(sample_weight, self.class_weight,", "row_weights(sample_weight, None,", TASKS_TEST),
    Mutant("sample weights lost in the task", CLASSES, "row_weights(sample_weight, self", "row_weights(None, self", TASKS_TEST),
    Mutant("the loss of the other class", CLASSES, "losses.logistic_cross_entropy(outputs, targets, weights)", "losses.logistic_cross_entropy(outputs, 1 - targets, weights)", TASKS_TEST),
    Mutant("the loss without its weights", CLASSES, "losses.softmax_cross_entropy(outputs, targets, weights)", "losses.softmax_cross_entropy(outputs, targets, 0 * weights + 1)", TASKS_TEST),
    Mutant("a score of the wrong class", CLASSES, "outputs[:, 0] > 0", "outputs[:, 0] < 0", TASKS_TEST),
    Mutant("a score that is not weighted", CLASSES, "== targets, weights=weights)", "== targets)", TASKS_TEST),
    # A class at every step.
    Mutant("the step after a row taken for one of it", OF_STEPS, "block[np.arange(block.shape[1]) >= np", "block[np.arange(block.shape[1]) > np", f"{LABELER_TEST}targets_of_some_rows"),
    Mutant("a label that does not count for a class", OF_STEPS, "counts = targets.numbers != IGNORED\n", "counts = targets.numbers == targets.numbers\n", f"{LABELER_TEST}the_loss_is_the_mean_over_the_labels_that_count_and_its_gradient_is_right"),
    Mutant("class weights lost at the steps", OF_STEPS, "weights[:, None] * xp.reshape(factors", "weights[:, None] + 0 * xp.reshape(factors", f"{LABELER_TEST}the_loss_is_the_mean_over_the_labels_that_count_and_its_gradient_is_right"),
    Mutant("an epoch's mean over rows where it is over steps", "xlstm/train.py", "int(self._of_rows[rows].sum())", "len(rows)", f"{LABELER_TEST}the_history_holds_exact_means_over_the_steps_that_count"),
    Mutant("weights of mean 1 over rows where it is over steps", "xlstm/labels.py", "else (weights * terms).sum() / max(1, terms.sum())", "else weights.mean()", f"{LABELER_TEST}the_history_holds_exact_means_over_the_steps_that_count"),
    Mutant("the steps of a batch given to the rows in order", "xlstm/fitted.py", "steps_of(backend, encoded.starts[rows], lengths)", "steps_of(backend, np.sort(encoded.starts[rows]), lengths)", f"{LABELER_TEST}batches_of_many_lengths_give_the_rows_in_their_order"),
    Mutant("the padding of gathered targets", OF_STEPS, "Block(xp.where(valid, block, xp.full_like(block, IGNORED))", "Block(xp.where(valid, block, block)", "tests/backends/test_device_labeler.py::test_gathered_targets_are_those_of_the_host"),
    Mutant("the direction of a score ignored", "xlstm/tasks/task.py", "return score if self.higher_is_better else -score", "return score", TRIAL_TEST),
    Mutant("a task measured on the validation part too", "xlstm/estimators/training.py", "task.measure(task.take(targets, counted))", "task.measure(targets)", TRIAL_TEST),
    # Kernels of GPUs around the cells: the optimiser, rows, the loss.
    Mutant("a barrier missing in a sum of a block", SUMS, "    block_sync();\n    for", "    for", CUDA_STEP_TEST),
    Mutant("large squares not scaled down", CUDA_STEP, "      a *= DOWN;\n", "", f"{CUDA_STEP_TEST}::test_extreme_gradients"),
    Mutant("a step on a GPU without clipping", "backends/cuda/optimiser.py", "factor = None if max_norm is None or max_norm == math.inf else", "factor = None if True else", CUDA_STEP_TEST),
    Mutant("a step on a GPU without correction of its moments", "backends/cuda/optimiser.py", "1 - o.beta_1**o.updates", "1.0", CUDA_STEP_TEST),
    Mutant("a step on a GPU whose weights do not decay", CUDA_STEP, "  if (decay != 0) p -= decay * (decayed[k] * p);\n", "", CUDA_STEP_TEST),
    Mutant("a segment that ends one id too late", CUDA_ROWS, "id + thread_x());\n", "id + 2 * thread_x());\n", CUDA_ROWS_TEST),
    Mutant("a sort that counts an equal id once too often", CUDA_ROWS, "other < t ? equal", "other <= t ? equal", CUDA_ROWS_TEST),
    Mutant("a barrier missing before the parts of a row are added", CUDA_ROWS, "= sum;\n  block_sync();\n", "= sum;\n", CUDA_ROWS_TEST),
    Mutant("every place of an id adds its rows", CUDA_ROWS, " || (place > 0 && digit(ids, sorted, place - 1, table, 1, table + 1) == id)", "", CUDA_ROWS_TEST),
    Mutant("an id that is no row taken for the last", CUDA_ROWS, "id < table ? id : table)", "id < table ? id : table - 1)", f"{CUDA_ROWS_TEST}::test_ids_that_are_no_rows_add_nothing"),
    Mutant("a mask's bits by halves of words", CUDA_ROWS, "bits[k / 32] >> (k % 32) & 1 ? kept", "bits[k / 32] >> (k % 16) & 1 ? kept", f"{CUDA_ROWS_TEST}::test_masks_are_those_of_the_host"),
    Mutant("the weights lost in the loss of a GPU", CUDA_LOSS, "? -weight * (z[label]", "? -1 * (z[label]", CUDA_LOSS_TEST),
    Mutant("the weights lost in its gradient", CUDA_LOSS, "weight / rows * (exp(", "REAL(1) / rows * (exp(", CUDA_LOSS_TEST),
    Mutant("of equal logits the last", CUDA_LOSS, "place[own + half] < place[own]", "place[own + half] > place[own]", CUDA_LOSS_TEST),
    Mutant("a barrier missing in the largest logit", CUDA_LOSS, "    block_sync();\n    if (lane >= half) continue;", "    if (lane >= half) continue;", CUDA_LOSS_TEST),
    Mutant("class weights where a label is not there", SEVERAL, "xp.where(targets != 0, having", "xp.where(targets == 0, having", f"{SEVERAL_TEST}::test_class_weights_are_those_of_where_a_label_is_and_their_mean_is_one"),
    Mutant("a balance upside down", SEVERAL, "absent[both] / there[both]", "there[both] / absent[both]", f"{SEVERAL_TEST}::test_class_weights_are_those_of_where_a_label_is_and_their_mean_is_one"),
    Mutant("thresholds not asked", SEVERAL, "> thresholds[None, :]", "> 0 * thresholds[None, :] + 0.5", f"{SEVERAL_TEST}::test_thresholds_are_what_predict_goes_by"),
    Mutant("an F1 that forgets what was not found", SEVERAL, "2 * both / (found + there)", "2 * both / (2 * found)", f"{SEVERAL_TEST}::test_scores_by_hand"),
    Mutant("any label right is all right", SEVERAL, "xp.all(found == there, axis=1)", "xp.any(found == there, axis=1)", f"{SEVERAL_TEST}::test_scores_by_hand"),
    Mutant("columns of a frame by place", LABELSETS, "flags = flags[:, [names.index(label) for label in labels.tolist()]]", "flags = flags[:, :]", f"{SEVERAL_TEST}::test_frames_of_pandas"),
    Mutant("a missing number counts in the mean", "xlstm/moments.py", "count = 0, (~gone).sum(axis=1).astype(np.float64)", "count = 0, count", f"{GAPS_TEST}::test_the_mean_is_that_of_the_training_part"),
    Mutant("a missing number counts in the deviation", "xlstm/moments.py", "        if gone is not None:\n            features[gone] = 0\n        squares", "        squares", f"{GAPS_TEST}::test_the_mean_is_that_of_the_training_part"),
    Mutant("what is there and what is not the other way round", ENCODE, "xp.astype(~missing, steps.dtype)", "xp.astype(missing, steps.dtype)", f"{GAPS_TEST}::test_it_is_the_model_of_columns_made_by_hand"),
    Mutant("a row too large counted from its part", "xlstm/fitted.py", "row = first + int(", "row = int(", "tests/library/test_blocks.py::test_a_row_too_large_is_named_in_whatever_part_it_is"),
    Mutant("what is not finite counted from its block", "xlstm/numeric.py", "begin + step, feature", "step, feature", "tests/library/test_blocks.py::test_what_is_not_finite_is_named_wherever_a_block_ends"),
    Mutant("the filling not in the file", ENCODE, "        return Scaler(mean, scale, filling)", "        return Scaler(mean, scale, 0 * filling if filling is not None else None)", f"{GAPS_TEST}::test_a_file_holds_what_is_read"),
    Mutant("gaps forgotten in the first pass over batches", "xlstm/survey.py", "found.deviation, self._standardize, self._gaps)", "found.deviation, self._standardize, False)", f"{GAPS_TEST}::test_batches_train_as_all_rows_at_once"),
    Mutant("labels of a later batch at the place of others", SEVERAL, "counts[:, np.searchsorted(every, before)] = self._counts", "counts[:, : len(before)] = self._counts", f"{SEVERAL_TEST}::test_batches_train_as_all_rows_at_once"),
    Mutant("another NaN, another row", "xlstm/sides.py", "numbers[np.isnan(numbers)] = np.nan", "pass", f"{GAPS_TEST}::test_rows_are_known_again_whatever_nan_it_is"),
    Mutant("a task's own loss not asked", CLASSES, "if kind.loss is not Classes.loss or", "if", CUDA_LOSS_TEST),
    Mutant("sums fetched in every step", "xlstm/tally.py", "            return self._fast.add(", "            self._backend.to_host(self._table[number])\n            return self._fast.add(", "tests/backends/test_training_step.py"),
    # Data on a GPU.
    Mutant("a block used before it has arrived", CONVEYOR, "wait_event(sent.event)", "record()", f"{DEVICE_TEST}::test_blocks_of_any_sizes_take_turns"),
    Mutant("pinned memory filled before its copy has ended", CONVEYOR, "            self.event.synchronize()", "            pass", DEVICE_TEST),
    Mutant("masks of dropout of other rows", STACK, "[mask[drawn] for mask in kept]", "[*kept]", f"{DEVICE_TEST}::test_training_on_it_is_that_of_the_cpu"),
    Mutant("tokens dropped of other rows", FEED, "unknown if drawn is None else unknown[drawn]", "unknown", DEVICE_TEST),
    Mutant("batches that stand shortest first", FEED, "np.argsort(-lengths, kind", "np.argsort(lengths, kind", f"{DEVICE_TEST}::test_data_on_a_gpu_gives_the_bits_of_host_data"),
    Mutant("targets of other rows", "xlstm/train.py", "self._task.gathered(self._targets, rows, places, self._backend)", "self._targets[: len(rows)]", f"{DEVICE_TEST}::test_training_on_it_is_that_of_the_cpu"),
    Mutant("answers in the order of the lengths", "xlstm/fitted.py", "here[rows if places is None else places]", "here[rows if places is None else slice(0, len(rows))]", f"{DEVICE_TEST}::test_training_on_it_is_that_of_the_cpu"),
    Mutant("host data scaled on the host", FEED, "if not _fits(size * (data", "if _fits(size * (data", f"{DEVICE_TEST}::test_the_share_of_the_memory_decides"),
    Mutant("unknown tokens taken for others", "xlstm/encode.py", "xp.where(xp.take(known, place, axis=0) == tokens, place + 1, UNKNOWN)", "place + 1", DEVICE_TEST),
    Mutant("rows taken from the beginning", "xlstm/ondevice.py", "starts - (ends - lengths)", "0 * starts", f"{DEVICE_TEST}::test_rows_are_taken_where_they_lie"),
    Mutant("a model on another device", "xlstm/fitted.py", "ondevice.check_model(data.place, self.model.backend)", "pass", DEVICE_TEST),
    # Data from files and frames.
    Mutant("rows of an id not sorted by time", f"{READERS}/grouping.py", "np.lexsort((times, codes))", "np.lexsort((codes,))", f"{READERS_TEST}::test_a_long_table"),
    Mutant("a second label of an id not seen", f"{READERS}/grouping.py", "if other.any():", "if False:", f"{BAD_FILES_TEST}::test_a_bad_file[an id with two labels]"),
    Mutant("the time since the sequence before", f"{READERS}/grouping.py", "    passed[np.cumsum(groups.lengths) - groups.lengths] = 0\n", "", f"{READERS_TEST}::test_frames[mapping]"),
    Mutant("a step of nothing at the end of a wide row", f"{READERS}/forms.py", "[None, :] < ends[:, None]", "[None, :] < ends[:, None] + 1", f"{READERS_TEST}::test_a_wide_table"),
    Mutant("a line of a file taken for a row", "xlstm/tables.py", "if len(rows) == len(lines) and all(rows):", "if all(rows):", f"{READERS_TEST}::test_blocks_of_rows_are_the_rows_one_by_one"),
    Mutant("a number for a year", f"{READERS}/fields.py", "if all(_PLAIN_DATE.fullmatch(field.strip()) for field in fields):", "if True:", f"{BAD_FILES_TEST}::test_a_bad_file[a date among numbers]"),
    Mutant("sequences that are others", "xlstm/dataset.py", "self._ends[rows] - lengths - before", "self._ends[rows] - before", f"{DATASET_TEST}::test_slices_are_views_and_others_copies"),
    Mutant("names of sequences lost", "xlstm/sequences.py", "Series(X.values, X.lengths, None, X.names)", "Series(X.values, X.lengths, None, None)", f"{DATASET_TEST}::test_read_without_a_copy"),
    Mutant("ids taken for weights of a batch", "xlstm/sources.py", "(batch.X, batch.y, None) if isinstance(batch, Dataset) else ", "", f"{DATASET_TEST}::test_the_ids_of_a_dataset_are_no_weights_of_a_batch_or_a_validation"),
    Mutant("ids taken for weights", "xlstm/labels.py", "if isinstance(sample_weight, Ids):", "if False:", f"{DATASET_TEST}::test_a_dataset_where_its_parts_are_expected"),
    Mutant("a missing label that makes numbers texts", f"{READERS}/grouping.py", 'if others and as_labels(others).dtype.kind in "iuf":', "if False:", f"{BAD_FILES_TEST}::test_a_bad_file[a number that is missing among labels]"),
    Mutant("the index of a frame taken for a feature", f"{READERS}/columns.py", "if not column.strip():", "if False:", f"{BAD_FILES_TEST}::test_a_bad_file[an index that pandas wrote]"),
    # Numbers.
    Mutant("the gradient of a squared error halved", RESIDUALS, "2 * scale * r", "scale * r", f"{RESIDUALS_TEST}::test_value_and_gradient"),
    Mutant("a quantile from the other side", RESIDUALS, "tilt = 0.5 - level", "tilt = level - 0.5", f"{RESIDUALS_TEST}::test_what_each_is_least_for"),
    Mutant("padding in a loss of numbers", RESIDUALS, "r = xp.where(valid[..., None], r, xp.zeros_like(r))", "pass", f"{RESIDUALS_TEST}::test_every_step_has_targets"),
    Mutant("answers without the mean of y", NUMBERS, " + float(self.center[column])", "", f"{REGRESSOR_TEST}::test_the_unit_of_y_does_not_matter"),
    Mutant("y scaled after it was made float32", NUMBERS, "(chosen / self.scale - self.center / self.scale).astype(dtype)", "chosen.astype(dtype) / self.scale.astype(dtype) - (self.center / self.scale).astype(dtype)", f"{REGRESSOR_TEST}::test_a_large_offset_is_kept_in_float32"),
    Mutant("the score of numbers not weighted", NUMBERS, "squares = np.average(r * r, axis=0, weights=weights)", "squares = np.average(r * r, axis=0)", f"{REGRESSOR_TEST}::test_weights_of_a_score"),
    Mutant("another loss for a model that goes on", "xlstm/estimators/regressor.py", "        super()._check_same_model(fitted)\n        check_same_loss(self, fitted.task)\n", "        super()._check_same_model(fitted)\n", f"{REGRESSOR_TEST}::test_another_loss_is_another_model"),
    # Callbacks, and trainings that go on.
    Mutant("an ended patience trained on", "xlstm/train.py", "return self.epoch >= settings.epochs or not patient", "return self.epoch >= settings.epochs", f"{RESUME_TEST}::test_the_same_bits[patience]"),
    Mutant("the weights of the best epoch trained on", RESUME, "        if run.keeps_reached:\n", "        if False:\n", f"{RESUME_TEST}::test_the_same_bits[validation]"),
    Mutant("moments that are noted and go on", RESUME, "[np.array(moment) for moment", "[moment for moment", f"{RESUME_TEST}::test_within_an_epoch_what_was_noted_of_the_last_is_kept"),
    Mutant("a schedule that begins anew", RESUME, "(standing.epoch, standing.first_update, score", "(standing.epoch, 0, score", f"{RESUME_TEST}::test_the_same_bits_of_a_warm_start"),
    Mutant("a y that nobody looks at", "xlstm/estimators/run.py", 'y.update(len(mark).to_bytes(8, "little") + mark)', "pass", f"{RESUME_TEST}::test_what_does_not_fit_is_said_and_nothing_changed[another_y]"),
    Mutant("a callback that cannot end the training", "xlstm/train.py", "if watch is not None and watch.stopped:", "if False:", f"{CALLBACKS_TEST}::test_stop_ends_it_after_the_epoch"),
    Mutant("one token fewer than are enough", "xlstm/sampling.py", "before = np.cumsum(ranked, axis=1) - ranked", "before = np.cumsum(ranked, axis=1) - 0", "tests/library/test_sampling.py::test_by_hand"),
    # Files.
    # Batches, for more than memory holds.
    Mutant("a row lost when half of the buffer leaves", "xlstm/buffer.py", "rest = self._rows(joined, order[leave:])", "rest = self._rows(joined, order[leave + 1 :])", f"{BATCHES_TEST}::test_a_small_buffer_gives_each_row_once_and_mixes"),
    Mutant("a buffer in the order of the source", "xlstm/buffer.py", "rng.permutation(here)", "np.arange(here)", f"{BATCHES_TEST}::test_a_small_buffer_gives_each_row_once_and_mixes"),
    Mutant("steps of rows that stay taken from the beginning", "xlstm/batch.py", "self.steps[np.arange(len(shift)) + shift]", "self.steps[np.arange(len(shift))]", f"{BATCHES_TEST}::test_rows_alone_keep_their_steps"),
    Mutant("a piece of a batch that counts as all of it", "xlstm/train.py", "d_outputs * piece.share", "d_outputs", f"{PIECES_TEST}the_pieces_of_a_batch_are_one_update"),
    Mutant("the last piece of a batch alone", "xlstm/train.py", "gradients += earlier", "pass", f"{PIECES_TEST}the_pieces_of_a_batch_are_one_update"),
    Mutant("short rows padded to a long one", "xlstm/batch.py", "min(2 * valid, MOST_STEPS)", "MOST_STEPS * valid", f"{PIECES_TEST}memory_goes_with_the_steps_that_are_there"),
    Mutant("an interrupted training that replaces the model", "xlstm/cli/train.py", "if interrupts and not options.keep_interrupted:", "if False:", f"{INTERRUPTED_TEST}an_interrupted_training_leaves_the_older_model"),
    Mutant("older held-out rows beside a new model", "xlstm/cli/results.py", "if _identity(model) == before:", "if True:", f"{INTERRUPTED_TEST}an_error_after_the_model_was_replaced"),
    Mutant("arguments decoded by the locale", "xlstm/cli/letters.py", "return _bytes_of(argument).decode()", "return argument", "tests/library/test_cli_letters.py"),
    Mutant("texts of arguments decoded by the locale", "xlstm/cli/asked.py", "list(map(readable, texts))", "texts", "tests/library/test_cli_letters.py"),
    Mutant("rows taken as those from the beginning", "xlstm/blocks.py", "ends = np.cumsum(lengths)[rows]", "ends = np.cumsum(lengths)[: len(rows)]", "tests/library/test_blocks.py::test_some_at_a_time_are_all"),
    Mutant("some rows of another type than all", "xlstm/blocks.py", "self.lengths[rows], self.dtype)", "self.lengths[rows])", "tests/library/test_blocks.py::test_some_rows_are_read_as_all_are"),
    Mutant("a block's last row in the next one too", "xlstm/blocks.py", "        start = stop\n", "        start = max(start + 1, stop - 1)\n", "tests/library/test_blocks.py::test_some_at_a_time_are_all"),
    Mutant("parts of a series that begin too early", "xlstm/series.py", "        begin = end\n", "        begin = end - 1\n", "tests/library/test_blocks.py::test_some_at_a_time_are_all"),
    Mutant("what one block holds beyond another", "xlstm/blocks.py", "    some = max(1, BLOCK // numbers.shape[1])\n", "    some = 2 * max(1, BLOCK // numbers.shape[1])\n", "tests/library/test_blocks.py::test_some_at_a_time_are_all"),
    Mutant("a number rounded before its deviation", "xlstm/moments.py", "unit = power_of_two(peak)", "unit = np.where(peak == 0, 1.0, peak)", f"{BATCHES_TEST}::test_moments_of_parts_are_those_of_the_whole"),
    Mutant("a deviation of the last part alone", "xlstm/moments.py", "np.square(distance) * (self._count * count / total)", "0 * distance", f"{BATCHES_TEST}::test_moments_of_parts_are_those_of_the_whole"),
    Mutant("counts of classes not moved when one comes between", "xlstm/tasks/survey.py", "counts[:, np.searchsorted(classes, before)] = self._counts", "counts[:, : len(before)] = self._counts", f"{BATCHES_TEST}::test_texts_give_the_same_bits_as_in_memory"),
    Mutant("y compared by its printed form", "xlstm/estimators/run.py", "return _plain(values.tolist()) if values.dtype == object else values.tolist()", "return y", f"{BATCHES_TEST}::test_another_y_in_the_middle_is_another_training"),
    Mutant("sets compared in the order of a process", "xlstm/estimators/run.py", "return sorted(ascii(_plain(each)) for each in y)", "return [ascii(_plain(each)) for each in y]", f"{BATCHES_TEST}::test_sets_of_labels_are_the_same_in_every_process"),
    Mutant("numbers of weight 0 measured", "xlstm/tasks/numbers.py", "counted = targets[own > 0]", "counted = targets", f"{BATCHES_TEST}::test_rows_of_weight_0_measure_nothing"),
    Mutant("steps of weight 0 measured", "xlstm/survey.py", "take(data, counted).blocks()", "data.blocks()", f"{BATCHES_TEST}::test_rows_of_weight_0_measure_nothing"),
    Mutant("the first batch alone decides the dtype", "xlstm/tasks/numbers.py", "if self.is_open and values.dtype == np.float64:", "if False:", f"{BATCHES_TEST}::test_answers_are_of_the_widest_dtype_of_all_batches"),
    Mutant("two lists of a source always a pair", "xlstm/sources.py", "pairs = _may_be_pair(batch)", "pairs = True", f"{BATCHES_TEST}::test_lists_of_sequences_are_x_where_the_first_cannot_be_anything_else"),
    Mutant("an id's rows parted between two blocks", "xlstm/readers/delimited.py", "while end < len(values) and values[end] == values[end - 1]:", "while False:", f"{BATCHES_TEST}::test_long_tables_keep_the_rows_of_an_id_together"),
    Mutant("two labels of a table made one number", "xlstm/readers/fields.py", "if str(number) == label and", "if", "tests/library/test_read_kinds.py::test_labels_are_numbers_only_where_these_give_them_back"),
    Mutant("a frame's texts made numbers", "xlstm/readers/frames.py", "return named(values)", "return fields.typed(values)", "tests/library/test_read_kinds.py::test_a_frame_keeps_its_types"),
    Mutant("labels of blocks typed block by block", "xlstm/readers/files.py", "part.numeric = kind_of.numeric", "part.numeric = None", "tests/library/test_read_kinds.py::test_labels_of_blocks_are_those_of_the_whole"),
    Mutant("held-out rows found by ids with their white space", "xlstm/cli/given.py", "seen.setdefault(bare(row.fields[place]), len(seen))", "seen.setdefault(row.fields[place], len(seen))", "tests/library/test_cli_sources.py::test_white_space_in_ids_parts_no_rows"),
    Mutant("a later setting that means what it means today", "xlstm/estimators/state.py", "{**{name: value for name, value in kind.settings_before.items() if name in known}, **found}", "dict(found)", "tests/library/test_checkpoint.py"),
    Mutant("an older file's scores lost", "xlstm/checkpoint.py", '"scores": {"accuracy": history["accuracy"]},', '"scores": {"accuracy": history["loss"]},', "tests/library/test_old_files.py"),
    Mutant("a checksum not verified", "xlstm/checkpoint.py", "if read != arrays_size or digest.digest() != checksum:", "if False:", "tests/library/test_checkpoint.py"),
    # The command line.
    Mutant("an answer beside another text where one is missing", "xlstm/cli/forms.py", "yield next(others if place in self.wrong else these)", "yield next(others if place + 1 in self.wrong else these)", "tests/library/test_cli.py::test_predict_names_empty_texts_and_goes_on"),
    Mutant("held-out rows of other sequences", "xlstm/cli/given.py", "seen.setdefault(bare(row.fields[place]), len(seen))", "seen.setdefault(bare(row.fields[place]), len(seen) + 1)", "tests/library/test_cli_data.py::test_the_held_out_rows_of_a_long_table_are_whole_sequences"),
    Mutant("labels of a file that is predicted have to be right", "xlstm/cli/reading.py", "columns.roles(source, asked)._replace(label=None)", "columns.roles(source, asked)", "tests/library/test_cli_data.py::test_numbers_and_steps"),
    Mutant("a sequence of a pipe cut where a row ends", "xlstm/cli/asked.py", "if group and own != name:", "if group:", "tests/library/test_cli_data.py::test_answers_come_before_the_next_sequence_ends"),
    Mutant("the first piece of a line lost", "xlstm/lines.py", '"".join([*self._rest, *pieces[:1]])', '"".join(pieces[:1])', "tests/library/test_tables.py::test_lines_that_are_here"),
    Mutant("a class called None counted out", "xlstm/cli/kinds.py", "[] if model.ignore is None else [str(model.ignore)]", "[str(model.ignore)]", "tests/library/test_cli_mended.py::test_a_class_may_be_called_none"),
    Mutant("a label that does not count is unknown", "xlstm/cli/kinds.py", "model.classes_.tolist()] + _ignored(model)", "model.classes_.tolist()]", "tests/library/test_cli_mended.py::test_a_model_that_ignores_a_label_of_texts_is_measured"),
    Mutant("held-out ids that stand for several sequences", "xlstm/cli/given.py", "if ids is None or len(set(ids)) < len(ids):", "if ids is None:", "tests/library/test_cli_mended.py::test_a_list_of_sequences_whose_ids_repeat_has_their_numbers"),
    Mutant("the number of a bad sequence of a pipe", "xlstm/cli/asked.py", "before + half)", "before)", "tests/library/test_cli_mended.py::test_a_bad_field_costs_a_stream_one_sequence"),
    Mutant("a header cut by what does not cut it", "xlstm/cli/reading.py", "len(found) > 1 and set(wanted)", "set(wanted)", "tests/library/test_cli_mended.py::test_a_wide_table_whose_steps_nobody_remembers_is_cut_as_before"),
    Mutant("the steps of a wide table in its own order", "xlstm/cli/reading.py", 'arguments["features"] = table.features or table.steps', 'arguments["features"] = table.features', "tests/library/test_cli_columns.py::test_the_steps_of_a_wide_table_are_matched_by_name"),
    Mutant("held-out sequences of several files train", "xlstm/cli/streamed.py", "np.flatnonzero(some.aside == aside)", "np.flatnonzero(some.aside >= aside)", "tests/library/test_cli_several_files.py::test_texts_of_several_tables_train_as_in_memory"),
    Mutant("a finished training validated on whatever", RESUME, "if before != self._validation:", "if before != self._validation and not self.has_ended:", f"{RESUME_TEST}::test_a_training_that_has_ended_is_not_taken_for_one_that_was_validated_otherwise"),
    Mutant("an empty field of labels a label", "xlstm/readers/grouping.py", "[] if none else fields.several(str(label), asked.separator)", "[str(label)] if none else fields.several(str(label), asked.separator)", "tests/library/test_cli_mended.py::test_a_sequence_in_a_table_may_have_none_of_the_labels"),
    Mutant("a text unknown of which one token is unknown", "xlstm/cli/predict.py", "np.logical_or.reduceat(encoded.steps", "np.logical_and.reduceat(encoded.steps", "tests/library/test_cli.py::test_texts_of_which_nothing_is_known_are_marked"),
    Mutant("a validation number of an epoch before told as this one's", "xlstm/history.py", "(self if validated else History(self.loss, self.scores)).columns()", "self.columns()", "tests/library/test_callbacks.py::test_each_number_of_a_validation_part_stays_beside_its_epoch"),
    Mutant("a checkpoint that forgets the end", "xlstm/callbacks.py", "if progress.epoch != self._saved:", "if False:", "tests/library/test_callbacks.py::test_a_checkpoint_of_a_training_that_ends_early"),
    Mutant("what another training left stays", "xlstm/estimators/training.py", "if name not in before}", "}", "tests/library/test_features.py::test_another_training_leaves_nothing_of_the_one_before"),
    Mutant("R² of what is far off is that of the mean", NUMBERS, "np.where(far, -np.inf, np.where(alike, squares == 0, each))", "np.where(alike, squares == 0, each)", f"{REGRESSOR_TEST}::test_numbers_that_are_far_off_are_measured_kept_and_gone_on_from"),
    Mutant("a mark at the beginning of a text put on the one before", "xlstm/spelling.py", "parts = [self.of(tokens[end - length : end])", "parts = [self.of(tokens[max(0, end - length - 1) : end])", "tests/library/test_spelling.py::test_a_text_that_begins_with_a_mark_leaves_the_one_before_as_it_is"),
    Mutant("marks folded where they stand", "xlstm/spelling.py", 'text = _in_form("NFKD" if "K" in self.normalize else "NFD", text).casefold()', "text = text.casefold()", "tests/library/test_spelling.py::test_the_form_is_unicodes_canonical_caseless_one_for_every_character"),
    Mutant("rows swallowed between two quotation marks", "xlstm/quotation.py", "            raise self._wrong(first, last)", "            pass", "tests/library/test_tables.py::test_rows_are_not_swallowed_between_two_texts_with_a_lone_quotation_mark"),
]  # fmt: skip


def plant(mutant: Mutant, folder: Path) -> None:
    """A copy of library and tests in `folder`, with the fault; importable from there as installed."""
    hidden = shutil.ignore_patterns("__pycache__", ".hypothesis", "*.so")  # the faults are in the Python path
    shutil.copytree(ROOT / "xlstm", folder / "xlstm", ignore=hidden)
    shutil.copytree(ROOT / "backends", folder / "xlstm" / "backends", ignore=hidden)
    shutil.copytree(ROOT / "tests", folder / "tests", ignore=hidden)
    shutil.copy(ROOT / "pyproject.toml", folder)
    name = mutant.file if not mutant.file.startswith("backends/") else f"xlstm/{mutant.file}"
    source = (folder / name).read_text(encoding="utf-8")
    assert source.count(mutant.right) == 1, (
        f"{mutant.right!r} stands {source.count(mutant.right)} times in {mutant.file}"
    )
    source = source.replace(mutant.right, mutant.wrong)
    if "_turned" in mutant.wrong:
        # Each gate's block transposed: the shape is right, the product is not.
        source += "\n\ndef _turned(w):\n    H = w.shape[1]\n    xp = w.__array_namespace__()\n"
        source += "    return xp.concat([w[k : k + H, :] for k in range(0, w.shape[0], H)], axis=1)\n"
    (folder / name).write_text(source, encoding="utf-8")


def run(mutant: Mutant, folder: Path) -> subprocess.CompletedProcess[str]:
    """The test file that must notice, run on the copy with the fault."""
    plant(mutant, folder)
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=no", "--assert=plain", "-p", "no:cacheprovider"]
    command += ["--hypothesis-profile=first-failure", mutant.caught_by]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(folder), "OPENBLAS_NUM_THREADS": "1"}
    for name in ("XLSTM_RANDOM_LAYERS", "XLSTM_REQUIRE_PEERS"):  # the copy has no compiled kernels, and needs none
        environment.pop(name, None)
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def runs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Mutant, Future[subprocess.CompletedProcess[str]]]]:
    """The runs of all mutants that were selected, as many at a time as there are processors."""
    here = [item for item in request.session.items if item.path == Path(__file__) and hasattr(item, "callspec")]
    selected = [item.callspec.params["mutant"] for item in here]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {mutant: pool.submit(run, mutant, tmp_path_factory.mktemp("mutant")) for mutant in selected}
        pool.shutdown(wait=True, cancel_futures=True)


def chosen() -> list[Mutant]:
    """Every fifth fault, so that the suite ends in time; all of them where XLSTM_MUTANTS is "all"."""
    every = {"all": 1, "fifth": 5}[os.environ.get("XLSTM_MUTANTS", "fifth")]
    return MUTANTS[::every]


def test_each_fault_can_be_planted() -> None:
    """Also of those that are not tried: what they change stands once in its file."""
    for mutant in MUTANTS:
        count = (ROOT / mutant.file).read_text(encoding="utf-8").count(mutant.right)
        assert count == 1, f"{mutant.fault}: {mutant.right!r} stands {count} times in {mutant.file}"


@pytest.mark.parametrize("mutant", chosen(), ids=lambda mutant: mutant.fault.replace(" ", "-"))
def test_the_suite_catches(mutant: Mutant, runs: dict[Mutant, Future[subprocess.CompletedProcess[str]]]) -> None:
    result = runs[mutant].result()
    failed = re.search(r"^FAILED (\S+)", result.stdout, re.MULTILINE)
    assert result.returncode == 1, f"{mutant.fault}: not caught by {mutant.caught_by}\n{result.stdout[-2000:]}"
    assert failed, f"{mutant.fault}: no test failed, but something else\n{result.stdout[-2000:]}{result.stderr[-2000:]}"
    print(f"{mutant.fault}: {failed[1]}")
