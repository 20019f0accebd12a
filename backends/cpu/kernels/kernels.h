// What the kernels are given, and the table by which they are found. Of the C++ files, kernels.cpp is compiled once for
// each instruction set and dtype, with the other headers of this folder; the module around it is compiled once.
//
// Shapes: N batch, T time, D features, H hidden, V tokens, G the number of gates of a cell (4 in an LSTM, 3 in a GRU, 1
// in an RNN).
#pragma once

#include <cstddef>
#include <cstdint>

namespace xlstm {

// Rows of a batch that go through all steps together, longest first; one thread, or a team of them, does a task.
struct Task {
  long rows, first;      // how many; how many the tasks before have
  long place;            // where they stand in arrays of a state: some cache lines behind those of the task before
  const long *row;       // which row of the batch each is
  const long *origin;    // of each row, where its first step stands in an (N, T) array: n·T, or its last valid step
  const long *active;    // at each step, how many rows still run; 0 after the last
  const long *start;     // at each step, where they stand among all valid steps of the batch, in order of time
  long sums;             // so many groups of its rows, of nearly equal size, have sums of their own
};

// The order of the valid steps of one batch, in one direction.
struct Schedule {
  long rows, time, steps, valid;  // N, T, the longest length, the sum of the lengths
  long places;                    // the rows of arrays of a state, those between the tasks included
  long direction;                 // +1, or -1 where a row begins with its last valid step
  long tasks;
  const Task *task;
  long parts;        // of each task: more threads than tasks can share in whole take these
  const Task *part;  // [task][part]: the same rows in the same places, with the same sums
  const long *offset;  // of each step: the valid steps before it; [steps] is `valid`
};

// Whether threads may share the hidden units of small steps: near_cores.h.
enum class Cores {
  MEASURED,  // where messages between their cores are found to be quick enough
  NEAR,      // always
  APART,     // never: as if they were found to be slow
};

// How a pass went. A field that does not apply to it is left as it was.
struct Report {
  double waited = -1;  // of several threads, the part of its time that the calling one waited for others: 0 to 1
  enum { NO_TEAMS, NEAR, APART } answer = NO_TEAMS;  // what near_cores.h found, where a team was to share steps
  double flops = 0;                                  // of such a team in one step
  long threads = 1, woken = 1;          // how many took part, and how many were woken for it
  bool refused = false;                 // whether the system would start no more
  long tasks = 1, teams = 1, members = 1;
  double walk = 1, gradients = 1;       // what part of the walk, and of the weight gradients, the busiest thread did
  double first = 1, first_gradients = 1;  // and the calling one at least
  bool backward = false;                  // whether there were weight gradients: about half of all operations

  // What part of its time the calling thread waits though every thread has a processor of its own, because others have
  // more to do.
  double idle() const {
    return backward ? 1 - (first + first_gradients) / (walk + gradients) : 1 - first / walk;
  }
};

// The threads that OpenMP holds ready for one thread that calls. With each call all of them wake, however few it is
// for; and a call of fewer than the last one's ends those beyond, to be started anew for the next that wants them. So
// there are as many as calls of the last second wanted.
struct Pool {
  long size = 1;
  double used = 0;     // when a call last wanted more than half of them: see threads.h
  double refused = 0;  // when the system last would start no more
};

// How packed weights are stored: as the kernels' dtype, or for inference in float32 in one of the formats of narrow.h.
enum class Precision { FULL, BFLOAT16, BFLOAT16_PAIRS, FLOAT16, INT8, INT8_VNNI };
constexpr const char *PRECISION_NAMES[] = {"full", "bfloat16", "bfloat16-pairs", "float16", "int8", "int8-vnni"};

// One walk over a batch, forward or backward: its sizes, and what it may use.
struct Pass {
  const Schedule *schedule;
  long D, H;        // D is V for one-hot tokens
  long vocabulary;  // V, or 0 where the input is no tokens
  bool one_hot;
  bool keep;        // for a backward pass
  Precision precision;  // of `packed`; if it is not FULL, nothing is kept
  long threads;     // the most threads that may be used
  long patience;    // how often a thread that waits looks before it lets others have its processor
  long first_level;  // bytes of the first-level cache for data of a core; no result depends on it
  double share_above;  // several threads may share the hidden units of one step of more operations than these,
  Cores cores;         // under this condition
  Report *report;
  Pool *pool;
};

// All arrays are C-contiguous and of the kernels' dtype.
struct Forward {
  Pass pass;
  const void *x;                              // (N, T, D), or null for tokens
  const int64_t *ids;                         // (N, T), all valid ones from 0 to V - 1
  const void *table;                          // (V, D), or null for one-hot tokens
  const void *weight_ih, *weight_hh, *bias;   // (G·H, D), (G·H, H), (G·H,)
  const void *second_bias;                    // (H,), of a cell that has one
  const void *packed;                         // what `pack` wrote; or null, and they are packed on the way
  const void *h0, *c0;                        // (N, H), or null for zeros
  void *outputs;                              // (N, T, ·), rows `output_stride` apart; or null
  long output_stride;
  void *h, *c;                                // (N, H)
  void *tape, *scratch;                       // memory of `tape_bytes` and `forward_bytes`
};

struct Backward {
  Pass pass;
  const void *table, *weight_ih, *weight_hh;  // as above
  const void *tape;                           // as `forward` left it
  bool initial_state;                         // whether h0 was given
  const void *d_outputs;                      // (N, T, ·), rows `d_output_stride` apart; or null for zero
  long d_output_stride;
  const void *dh, *dc;                        // (N, H), or null for zero
  void *dx;                                   // (N, T, D), overwritten; or null
  void *d_table;                              // (V, D), overwritten; or null
  void *dh0, *dc0;                            // (N, H), overwritten
  void *d_weight_ih, *d_weight_hh, *d_bias, *d_second_bias;
  bool accumulate;                            // whether these are added to, or overwritten
  void *scratch;                              // memory of `backward_bytes`
};

// One step of an optimiser on a flat buffer, with the clipping before it: as in xlstm/optim.py.
struct Update {
  long count, updates;                        // numbers in the buffer; steps, this one included
  enum Solver { ADAM, ADAMW, SGD } solver;
  void *parameters;
  const void *gradients;                      // not changed: they are clipped on the way
  void *moments[2];                           // one for SGD
  const void *decayed;                        // 1 where the penalty applies
  double rate, alpha, momentum, beta_1, beta_2, epsilon, max_norm;
  long threads;
  Report *report;
  Pool *pool;
};

// The kernels of one cell.
struct CellKernels {
  const char *cell;  // the name of its file in xlstm/cells
  long gates;        // G
  bool has_c;        // whether its state has a c beside the h
  const char *second_bias;  // the name of the parameter that is its second bias (H,); null where it has none
  size_t (*packed_bytes)(long D, long H, Precision);
  void (*pack)(const void *weight_ih, const void *weight_hh, const void *bias, const void *second_bias, long D, long H,
               Precision, void *packed);
  size_t (*tape_bytes)(const Pass &);
  size_t (*forward_bytes)(const Forward &);
  void (*forward)(const Forward &);
  size_t (*backward_bytes)(const Backward &);
  void (*backward)(const Backward &);
};

// What one compilation of kernels.cpp gives: everything for one dtype and instruction set.
struct Kernels {
  const char *dtype;  // NumPy's name
  long item;          // bytes of a number
  bool (*has)(Precision);  // whether they were compiled with it, and this CPU has the instructions
  void (*update)(const Update &);
  const CellKernels *cells;
  size_t cell_count;
};

}  // namespace xlstm
