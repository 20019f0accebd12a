// A layer in one direction: what stands around its products. The cell is chosen by -DCELL_LSTM, -DCELL_RNN, -DCELL_GRU.
//
// The steps of all rows that have them stand behind each other, "packed": step by step, in a step the rows that still
// run, longest first. So nothing of the padding takes part in a product, and the rows of step t begin at starts[t].
//
// N rows, T steps of the longest, D features, H hidden units. `rows` has for each place in that order the row of the
// batch (null: each is in its own), `lengths` its length (null: T), `starts` are null where all rows have T steps.
#include "sums.h"
#if defined(CELL_LSTM)
#include "lstm.h"
#elif defined(CELL_RNN)
#include "rnn.h"
#elif defined(CELL_GRU)
#include "gru.h"
#endif

DEVICE i64 row_of(const i64* rows, i64 place) { return rows ? rows[place] : place; }

DEVICE i64 length_of(const i64* lengths, i64 place, i64 T) { return lengths ? lengths[place] : T; }

DEVICE i64 start_of(const i64* starts, i64 t, i64 N) { return starts ? starts[t] : t * N; }

// The time in the batch at which a row of this length is walked in step t.
DEVICE i64 time_of(i64 t, i64 length, i64 reverse) { return reverse ? length - 1 - t : t; }

// ---------------------------------------------------------------- input

// packed (·, D) from x (N, T, D) with any strides: a thread a number of x.
LONE_KERNEL void pack_steps(
    const REAL* x, REAL* packed, const i64* rows, const i64* lengths, const i64* starts, i64 N, i64 T, i64 D,
    i64 reverse, i64 row_stride, i64 time_stride, i64 feature_stride) {
  i64 all = thread_of_all(), d = all % D, t = all / D % T, place = all / D / T;
  if (place >= N) return;
  i64 length = length_of(lengths, place, T);
  if (t >= length) return;
  i64 from = row_of(rows, place) * row_stride + time_of(t, length, reverse) * time_stride + d * feature_stride;
  packed[(start_of(starts, t, N) + place) * D + d] = x[from];
}

// dx (N, time, D) from packed (·, D), zero after a row's length: a thread a number of dx.
LONE_KERNEL void unpack_steps(
    const REAL* packed, REAL* dx, const i64* rows, const i64* lengths, const i64* starts, i64 N, i64 T, i64 D,
    i64 reverse, i64 time) {
  i64 all = thread_of_all(), d = all % D, t = all / D % time, place = all / D / time;
  if (place >= N) return;
  i64 length = length_of(lengths, place, T);
  REAL* row = dx + row_of(rows, place) * time * D;
  if (t >= length)
    row[t * D + d] = 0;
  else
    row[time_of(t, length, reverse) * D + d] = packed[(start_of(starts, t, N) + place) * D + d];
}

// packed (·) from ids (N, T) with any strides, of V tokens: a thread an id. One that is none becomes -1: no memory is
// read for it, and nothing is added to a row.
LONE_KERNEL void pack_ids(
    const i64* ids, i64* packed, const i64* rows, const i64* lengths, const i64* starts, i64 N, i64 T, i64 V,
    i64 reverse, i64 row_stride, i64 time_stride) {
  i64 all = thread_of_all(), t = all % T, place = all / T;
  if (place >= N) return;
  i64 length = length_of(lengths, place, T);
  if (t >= length) return;
  i64 id = ids[row_of(rows, place) * row_stride + time_of(t, length, reverse) * time_stride];
  packed[start_of(starts, t, N) + place] = id >= 0 && id < V ? id : -1;
}

// The first `columns` of each of `count` rows of target (count, width): the row ids[k] of a table with any strides;
// NaN, which is seen, for an id that is none.
LONE_KERNEL void take_rows(
    const REAL* table, const i64* ids, REAL* target, i64 count, i64 columns, i64 width, i64 row_stride,
    i64 column_stride) {
  i64 all = thread_of_all(), k = all / columns, column = all % columns;
  if (k >= count) return;
  i64 id = ids[k];
  target[k * width + column] = id < 0 ? not_a_number() : table[id * row_stride + column * column_stride];
}

// ---------------------------------------------------------------- states

// h and c (N, H) longest first from h0 and c0 (N, H) as given, of which either may be null for zeros; c may be null.
LONE_KERNEL void first_states(
    const REAL* h0, const REAL* c0, REAL* h, REAL* c, const i64* rows, i64 N, i64 H) {
  i64 all = thread_of_all(), place = all / H;
  if (place >= N) return;
  i64 from = row_of(rows, place) * H + all % H;
  h[all] = h0 ? h0[from] : 0;
  if (c) c[all] = c0 ? c0[from] : 0;
}

// The inverse for their gradients: dh0 and dc0 as given from dh and dc longest first; those of c may be null.
LONE_KERNEL void first_states_backward(
    const REAL* dh, const REAL* dc, REAL* dh0, REAL* dc0, const i64* rows, i64 N, i64 H) {
  i64 all = thread_of_all(), place = all / H;
  if (place >= N) return;
  i64 to = row_of(rows, place) * H + all % H;
  dh0[to] = dh[all];
  if (dc) dc0[to] = dc[all];
}

// ---------------------------------------------------------------- a step

// `flags` of a step: numbers of a launch cost the host time, so that these three are one.
#define REVERSE 1
#define STARTED 2  // else the state before is zero, and was not written
#define KEEP 4     // the states before all steps are kept, else that of a step takes the place of the one before it

// Step t of the n rows that run it, a thread a unit: their z begins at row `here`, as does with KEEP the state before
// in h and c, the state after behind it. Of the first `next` rows it is the state of the next step; the others end
// here. `outputs` (N, ·, H) has any strides of its rows and times.
LONE_KERNEL void step(
    REAL* z, const REAL* from_h, const REAL* bias, const REAL* bias_hn, REAL* h, REAL* c, REAL* outputs,
    REAL* h_final, REAL* c_final, const i64* rows, const i64* lengths, i64 H, i64 T, i64 row_stride, i64 time_stride,
    i64 t, i64 n, i64 next, i64 here, i64 flags) {
  i64 all = thread_of_all(), place = all / H, unit = all % H;
  if (place >= n) return;
  bool started = flags & STARTED, keep = flags & KEEP;
  i64 from = (keep ? here + place : place) * H + unit;
  REAL h_new = started ? h[from] : 0, c_new = started && HAS_C ? c[from] : 0;
  step_unit(z + (here + place) * WIDTH * H + unit, from_h ? from_h + place * 3 * H + unit : from_h, bias + unit,
            bias_hn ? bias_hn + unit : bias_hn, H, &h_new, &c_new);
  i64 row = row_of(rows, place);
  bool ends = place >= next;
  i64 to = ends ? row * H + unit : keep ? from + n * H : from;
  (ends ? h_final : h)[to] = h_new;
  if (HAS_C) (ends ? c_final : c)[to] = c_new;
  if (outputs) {
    i64 time = time_of(t, length_of(lengths, place, T), flags & REVERSE);
    outputs[row * row_stride + time * time_stride + unit] = h_new;
  }
}

// The gradient of step t, a thread a unit. For the first `later` rows dh and dc (N, H) hold what the step after it
// left; the others begin here, with the gradient of their final state, d_h and d_c (N, H; null: zero). d_outputs (null:
// zero) has any strides of its rows and times. It writes dz at row `here`, and leaves in dc what the step before it
// needs, in dh what reaches the old h past z, where a cell has such a way.
LONE_KERNEL void step_backward(
    const REAL* z, const REAL* h, const REAL* c, REAL* dz, REAL* dh, REAL* dc, const REAL* d_outputs, const REAL* d_h,
    const REAL* d_c, const i64* rows, const i64* lengths, i64 H, i64 T, i64 row_stride, i64 time_stride, i64 t, i64 n,
    i64 later, i64 here, i64 flags) {
  i64 all = thread_of_all(), place = all / H, unit = all % H;
  if (place >= n) return;
  bool started = flags & STARTED;
  i64 row = row_of(rows, place), from = (here + place) * H + unit;
  bool runs_on = place < later;
  REAL d_new = runs_on ? dh[all] : d_h ? d_h[row * H + unit] : 0;
  REAL d_cell = !HAS_C ? 0 : runs_on ? dc[all] : d_c ? d_c[row * H + unit] : 0;
  if (d_outputs) {
    i64 time = time_of(t, length_of(lengths, place, T), flags & REVERSE);
    d_new += d_outputs[row * row_stride + time * time_stride + unit];
  }
  i64 at = (here + place) * WIDTH * H + unit;
  step_unit_backward(z + at, started ? h[from] : 0, started && HAS_C ? c[from] : 0, H, dz + at, &d_new, &d_cell);
  dh[all] = d_new;
  if (HAS_C) dc[all] = d_cell;
}

// ---------------------------------------------------------------- the gradient of the biases

// part (parts, columns): the sums of the columns of dz (count, columns), `size` rows for each part, always in the same
// order. A block of 32 × 8 threads sums 32 columns of a part.
KERNEL void sum_columns(const REAL* dz, REAL* part, i64 count, i64 columns, i64 size) {
  SHARED(REAL, sums, 256);
  i64 x = thread_x(), y = thread_y(), column = block_x() * 32 + x;
  i64 first = block_y() * size, end = first + size < count ? first + size : count;
  REAL sum = 0;
  if (column < columns)
    for (i64 row = first + y; row < end; row += 8) sum += dz[row * columns + column];
  sums[y * 32 + x] = sum;
  block_joined<Sum>(sums, 1, y * 32 + x, 256, 32);
  if (y == 0 && column < columns) part[block_y() * columns + column] = sums[x];
}

// The gradients of the biases from those parts, written or added: a thread a column.
LONE_KERNEL void sum_parts(const REAL* part, REAL* bias, REAL* bias_hn, i64 parts, i64 columns, i64 H, i64 add) {
  i64 column = thread_of_all();
  if (column >= columns) return;
  REAL sum = 0;
  for (i64 k = 0; k < parts; k++) sum += part[k * columns + column];
  REAL* target = bias_of(column, H, bias, bias_hn);
  *target = add ? *target + sum : sum;
}
