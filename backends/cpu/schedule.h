// From the lengths of a batch's rows to the order in which a walk goes through their steps.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "kernels/kernels.h"

namespace xlstm {

// The lengths of one batch and its rows, longest first: the same for every layer and direction.
struct Order {
  long time;                     // T
  std::vector<int64_t> lengths;  // of each row, from 1 to T
  std::vector<long> rows;        // rows of the same length in the order given

  Order(long T, std::vector<int64_t> given) : time(T), lengths(std::move(given)), rows(lengths.size()) {
    for (size_t n = 0; n < rows.size(); ++n) rows[n] = n;
    std::stable_sort(rows.begin(), rows.end(), [&](long a, long b) { return lengths[a] > lengths[b]; });
  }
};

// About how many rows share the weights of a cell while these are in the cache. Weights of more than 8 MB come from
// memory in every step: twice as many rows then share a reading of them.
inline long rows_of_a_task(long gates, long D, long H) { return gates * H * (D + H) * 4 > (8 << 20) ? 64 : 32; }

class OwnedSchedule {
 public:
  Schedule schedule;

  // `order` is that of the batch, or null where all rows are full. The tasks, and the groups of their rows that have
  // sums of their own, depend on nothing but the number of rows and `rows_of_a_task`: so the sums are the same bits on
  // any number of threads. Into how many parts the tasks can be divided depends on the threads, and on the units H.
  OwnedSchedule(long rows, long time, const Order *order, bool reverse, long rows_of_a_task, long H, long threads) {
    const long tasks = count_tasks(rows, rows_of_a_task), sums = count_sums(rows / tasks);
    const long parts = count_parts(tasks, sums, H, threads);
    const long steps = order ? order->lengths[order->rows[0]] : time;
    numbers_.resize(2 * rows + (2 * tasks + 1 + (parts > 1 ? 2 * tasks * parts : 0)) * (steps + 1));
    tasks_.resize(tasks * (parts > 1 ? 1 + parts : 1));
    long *row = numbers_.data(), *origin = row + rows, *rest = origin + rows;
    long *offset = rest;
    rest += steps + 1;

    for (long j = 0, first = 0; j < tasks; ++j) {
      Task &task = tasks_[j];
      long *active = rest, *start = rest + steps + 1;
      rest += 2 * (steps + 1);
      task.rows = rows * (j + 1) / tasks - rows * j / tasks;
      task.first = first, task.place = first + j * parts * APART, task.sums = sums;
      task.row = row + first, task.origin = origin + first, task.active = active, task.start = start;
      std::fill(active, active + steps + 1, 0);
      for (long b = 0; b < task.rows; ++b) {
        // Sorted rows are dealt out in turn: every task gets long ones and short ones.
        const long n = order ? order->rows[dealt(j, b, tasks, rows)] : first + b;
        const long length = order ? order->lengths[n] : time;
        row[first + b] = n;
        origin[first + b] = n * time + (reverse ? length - 1 : 0);
        ++active[length - 1];  // how many end with this step, for now
      }
      for (long t = steps - 2; t >= 0; --t) active[t] += active[t + 1];
      first += task.rows;
    }
    long valid = 0;
    for (long t = 0; t <= steps; ++t) {
      offset[t] = valid;
      for (long j = 0; j < tasks; ++j) {
        const_cast<long *>(tasks_[j].start)[t] = valid;
        valid += tasks_[j].active[t];
      }
    }
    const long places = rows + (tasks * parts - 1) * APART;
    const long direction = reverse ? -1 : 1;
    schedule = {rows, time, steps, valid, places, direction, tasks, tasks_.data(), parts, tasks_.data(), offset};
    if (parts == 1) return;
    schedule.part = tasks_.data() + tasks;
    for (long j = 0; j < tasks * parts; ++j, rest += 2 * (steps + 1))
      tasks_[tasks + j] = part_of(tasks_[j / parts], j % parts, parts, steps, rest);
  }

  OwnedSchedule(const OwnedSchedule &) = delete;

 private:
  // Rows of a state between those of two tasks: a processor fetches lines beside those that it uses, and takes them
  // from the one that writes there. Behind the last task stand those that `tile_stride` leaves free.
  static constexpr long APART = 8;
  std::vector<long> numbers_;
  std::vector<Task> tasks_;

  static long count_tasks(long rows, long rows_of_a_task) {
    if (rows <= 4) return 1;
    long tasks = 2;  // a power of two divides evenly among the usual numbers of threads
    while (tasks * rows_of_a_task < rows) tasks *= 2;
    return tasks;
  }

  // So many groups of a task's rows have sums of their own: groups of 8 rows or more.
  static long count_sums(long rows) { return rows >= 32 ? 4 : rows >= 16 ? 2 : 1; }

  // As few as give all threads something to do, of whole groups. A thread is taken to have WIDEST_SHARE units.
  static long count_parts(long tasks, long sums, long H, long threads) {
    constexpr long WIDEST_SHARE = 64;
    long parts = 1;
    while (parts < sums && tasks * parts * ((H + WIDEST_SHARE - 1) / WIDEST_SHARE) < threads) parts *= 2;
    return parts;
  }

  // Some rows of a task, at their places; `numbers` are room for its `active` and `start`.
  static Task part_of(const Task &task, long part, long parts, long steps, long *numbers) {
    const long begin = task.rows * part / parts, end = task.rows * (part + 1) / parts;
    long *active = numbers, *start = numbers + steps + 1;
    for (long t = 0; t <= steps; ++t) {
      active[t] = std::clamp(task.active[t] - begin, 0L, end - begin);
      start[t] = task.start[t] + begin;
    }
    return {end - begin, task.first + begin, task.place + begin + part * APART, task.row + begin,
            task.origin + begin, active, start, task.sums / parts};
  }

  // The place in the sorted order of row b of task j. The tasks' sizes differ by one at most, and the larger ones need
  // not come first: rows beyond the last full round go to the tasks that have room.
  static long dealt(long j, long b, long tasks, long rows) {
    const long full = rows / tasks;  // rounds in which every task gets a row
    if (b < full) return b * tasks + j;
    return full * tasks + rows * j / tasks - full * j;  // after those of the tasks before
  }
};

}  // namespace xlstm
