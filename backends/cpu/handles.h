// What Python holds between two calls: the kernels of a cell, packed weights, the order of a batch, a tape.
#pragma once

#include "arguments.h"
#include "schedule.h"
#include "targets.h"
#include "workspace.h"

namespace xlstm {

// The kernels of one target, dtype and cell: `find` looks them up by these names, once.
struct Selected {
  static constexpr char NAME[] = "xlstm kernels of a cell";
  const Kernels *kernels;
  const CellKernels *cell;

  size_t item() const { return kernels->item; }
};

// Those of one target and dtype that know no cell: `find_update`.
struct SelectedUpdate {
  static constexpr char NAME[] = "xlstm kernels of an optimiser";
  const Kernels *kernels;
};

struct PackedWeights {
  static constexpr char NAME[] = "xlstm packed weights";
  const CellKernels *cell;
  long D, H;
  Precision precision;
  Borrowed block;
};

// The checked lengths of a batch, and its rows in order: `order`.
struct BatchOrder {
  static constexpr char NAME[] = "xlstm order of a batch";
  Order order;
};

// What a forward call leaves for its backward call.
struct Tape {
  static constexpr char NAME[] = "xlstm tape";
  Selected selected;
  Pass pass;  // but for the schedule, which is this one:
  std::unique_ptr<OwnedSchedule> schedule;
  bool initial_state;
  Borrowed block;
};

}  // namespace xlstm
