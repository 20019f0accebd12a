// Rows of tables: sums of the rows of one number in a fixed order, without atomics; blocks of ragged sequences; masks
// from bits.
#include "port.h"

#define GROUPING 128
#define COLUMNS 32
#define ALONG 32

// The digit of an id by which `group` sorts. An id that is no row of the table counts as the one after the last.
DEVICE i64 digit(const i64* ids, const i64* order, i64 k, i64 table, i64 divisor, i64 radix) {
  i64 id = ids[order == nullptr ? k : order[k]];
  return (id >= 0 && id < table ? id : table) / divisor % radix;
}

// One pass of a stable sort: sorted (count,) holds the places of ids in the order of a digit, those of equal digits in
// the order in which they were (that of `order`; null: as they stand). A block for each value of the digit.
KERNEL void group(
    const i64* ids, const i64* order, i64* sorted, i64 count, i64 table, i64 divisor, i64 radix) {
  SHARED(i64, less, GROUPING);
  SHARED(i64, equal, GROUPING);
  i64 own = block_x(), t = thread_x();
  i64 begin = count * t / GROUPING, end = count * (t + 1) / GROUPING;
  i64 lower = 0, here = 0;
  for (i64 k = begin; k < end; k++) {
    i64 d = digit(ids, order, k, table, divisor, radix);
    lower += d < own;
    here += d == own;
  }
  less[t] = lower;
  equal[t] = here;
  block_sync();
  i64 place = 0;
  for (i64 other = 0; other < GROUPING; other++) place += less[other] + (other < t ? equal[other] : 0);
  for (i64 k = begin; k < end && here > 0; k++) {
    if (digit(ids, order, k, table, divisor, radix) != own) continue;
    sorted[place++] = order == nullptr ? k : order[k];
    here--;
  }
}

// The first place in `sorted` whose id is not below `id`; ids that are no rows of the table stand at the end.
DEVICE i64 first_of(const i64* ids, const i64* sorted, i64 count, i64 table, i64 id) {
  i64 low = 0, high = count;
  while (low < high) {
    i64 middle = (low + high) / 2;
    if (digit(ids, sorted, middle, table, 1, table + 1) < id) low = middle + 1;
    else high = middle;
  }
  return low;
}

// target (table, width) += the rows of each id. A block for COLUMNS of the columns of each row of the target; or, where
// the ids are fewer (`by_place`), of each place in `sorted`: that of the first of equal ids does the work. ALONG
// threads share the rows of a column, each with two sums that do not wait for each other; all are added in order, in
// double, for they may be of very many rows.
KERNEL void add_sorted(
    REAL* target, const i64* ids, const i64* sorted, const REAL* rows, i64 count, i64 table, i64 width,
    i64 by_place) {
  SHARED(i64, bounds, 2);
  SHARED(double, parts, COLUMNS * ALONG);
  i64 tiles = (width + COLUMNS - 1) / COLUMNS;
  i64 id = block_x() / tiles, column = block_x() % tiles * COLUMNS + thread_x();
  if (by_place) {
    i64 place = id;
    id = digit(ids, sorted, place, table, 1, table + 1);
    if (id == table || (place > 0 && digit(ids, sorted, place - 1, table, 1, table + 1) == id)) return;
  }
  if (thread_y() == 0 && thread_x() < 2) bounds[thread_x()] = first_of(ids, sorted, count, table, id + thread_x());
  block_sync();
  if (bounds[0] == bounds[1]) return;
  double sum = 0, other_sum = 0;
  if (column < width) {
    i64 k = bounds[0] + thread_y();
    for (; k + ALONG < bounds[1]; k += 2 * ALONG) {
      sum += rows[sorted[k] * width + column];
      other_sum += rows[sorted[k + ALONG] * width + column];
    }
    if (k < bounds[1]) sum += rows[sorted[k] * width + column];
  }
  sum += other_sum;
  parts[thread_y() * COLUMNS + thread_x()] = sum;
  block_sync();
  if (thread_y() != 0 || column >= width) return;
  for (i64 other = 1; other < ALONG; other++) sum += parts[other * COLUMNS + thread_x()];
  target[id * width + column] += REAL(sum);
}

// out (rows, time, width): of each row so many steps from its start in `steps` (·, width) on, zero after them.
LONE_KERNEL void gather(
    const REAL* steps, const i64* starts, const i64* lengths, REAL* out, i64 rows, i64 time, i64 width) {
  i64 k = thread_of_all();
  if (k >= rows * time * width) return;
  i64 step = k / width, row = step / time, t = step % time;
  out[k] = t < lengths[row] ? steps[(starts[row] + t) * width + k % width] : 0;
}

LONE_KERNEL void gather_ids(
    const i64* steps, const i64* starts, const i64* lengths, i64* out, i64 rows, i64 time, i64 width) {
  i64 k = thread_of_all();
  if (k >= rows * time * width) return;
  i64 step = k / width, row = step / time, t = step % time;
  out[k] = t < lengths[row] ? steps[(starts[row] + t) * width + k % width] : 0;
}

// out (count,): `kept` where a bit is set, else zero; the first number's bit is the lowest of the first word.
LONE_KERNEL void expand(const u32* bits, REAL* out, i64 count, REAL kept) {
  i64 k = thread_of_all();
  if (k < count) out[k] = bits[k / 32] >> (k % 32) & 1 ? kept : 0;
}

// ids (count,): `value` where a bit is set.
LONE_KERNEL void put(const u32* bits, i64* ids, i64 count, i64 value) {
  i64 k = thread_of_all();
  if (k < count && (bits[k / 32] >> (k % 32) & 1)) ids[k] = value;
}
