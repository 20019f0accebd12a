// From the lengths of a batch's rows to the order in which a layer goes through their steps.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels.h"

namespace xlstm {

class OwnedSchedule {
 public:
  Schedule schedule;

  // `lengths` has N entries from 1 to `time`, or is null where all rows are full. `rows_of_a_task` is about how many
  // rows share the weights while these are in the cache; the tasks depend on nothing else, so that sums over them give
  // the same bits on any number of threads.
  OwnedSchedule(long rows, long time, const int64_t *lengths, bool reverse, long rows_of_a_task) {
    const long tasks = count_tasks(rows, rows_of_a_task);
    const long steps = lengths ? *std::max_element(lengths, lengths + rows) : time;
    numbers_.resize(2 * rows + (2 * tasks + 1) * (steps + 1));
    tasks_.resize(tasks);
    long *row = numbers_.data(), *origin = row + rows, *rest = origin + rows;
    long *offset = rest;
    rest += steps + 1;

    std::vector<long> order;
    if (lengths) {
      order.resize(rows);
      for (long n = 0; n < rows; ++n) order[n] = n;
      std::stable_sort(order.begin(), order.end(), [&](long a, long b) { return lengths[a] > lengths[b]; });
    }
    for (long j = 0, first = 0; j < tasks; ++j) {
      Task &task = tasks_[j];
      long *active = rest, *start = rest + steps + 1;
      rest += 2 * (steps + 1);
      task.rows = rows * (j + 1) / tasks - rows * j / tasks;
      task.first = first;
      task.row = row + first, task.origin = origin + first, task.active = active, task.start = start;
      std::fill(active, active + steps + 1, 0);
      for (long b = 0; b < task.rows; ++b) {
        // Sorted rows are dealt out in turn: every task gets long ones and short ones.
        const long n = lengths ? order[dealt(j, b, tasks, rows)] : first + b;
        const long length = lengths ? lengths[n] : time;
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
    schedule = {rows, time, steps, valid, reverse ? -1L : 1L, tasks, tasks_.data(), offset};
  }

  OwnedSchedule(const OwnedSchedule &) = delete;

 private:
  std::vector<long> numbers_;
  std::vector<Task> tasks_;

  static long count_tasks(long rows, long rows_of_a_task) {
    if (rows <= 4) return 1;
    long tasks = 2;  // a power of two divides evenly among the usual numbers of threads
    while (tasks * rows_of_a_task < rows) tasks *= 2;
    return tasks;
  }

  // The place in the sorted order of row b of task j. The tasks' sizes differ by one at most, and the larger ones need
  // not come first: rows beyond the last full round go to the tasks that have room.
  static long dealt(long j, long b, long tasks, long rows) {
    const long full = rows / tasks;  // rounds in which every task gets a row
    if (b < full) return b * tasks + j;
    long before = 0;
    for (long k = 0; k < j; ++k) before += rows * (k + 1) / tasks - rows * k / tasks - full;
    return full * tasks + before;
  }
};

}  // namespace xlstm
