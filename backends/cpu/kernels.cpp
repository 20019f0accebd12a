// A whole recurrent layer over a whole batch of sequences, in one direction, forward and backward.
//
// Compiled for each instruction set and dtype, by two macros:
//   XLSTM_TARGET  the name of the instruction set, as in setup.py's table
//   XLSTM_REAL    float or double
//
// The equations are those of xlstm/cells/lstm.py and rnn.py. The order of work is not: see the head of matrix.h, and
//   forward   each task takes its rows through all steps. In a step, tile after tile of 16 hidden units: the product
//             for all gates of the tile, for at most MR rows, then at once the gates themselves, while they are in the
//             first-level cache. The input's product is part of the same sum.
//   backward  in blocks of time, so that the gates' gradients of a block stay in the cache: each task goes back through
//             the block; then all threads add the block's share to the weight gradients.
// No sum depends on the number of threads: the same input gives the same bits.
//
// Longer than other files: forward and backward stand side by side, and share everything above them.
//
// N batch, T time, D features, H hidden, V tokens; M valid steps of all rows; C = 16 · gates columns of a unit tile.

#include "kernels.h"

#ifdef _OPENMP
#include <omp.h>
#endif
#include <sched.h>
#include <time.h>

#include <cmath>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

using real = XLSTM_REAL;

#include "matrix.h"
#include "vector.h"

namespace {

using namespace xlstm;

// ---------------------------------------------------------------- memory

// Hands out pieces of one block of memory, each at the start of a cache line. Without a block it only adds them up.
struct Carver {
  char *block;
  size_t used = 0;

  template <class T = real> T *take(long count) {
    T *piece = block ? reinterpret_cast<T *>(block + used) : nullptr;
    used += (count * sizeof(T) + 63) / 64 * 64;
#ifdef __SANITIZE_ADDRESS__  // no piece may be overrun into the next
    if (block) __asan_poison_memory_region(block + used, 128);
    used += 128;
#endif
    return piece;
  }
};

// Tiles of `rows` rows of `width` numbers. They begin some cache lines further apart than they need: at distances of a
// power of two they would all fall into the same few places of the cache.
INLINE long tile_stride(long rows, long width) { return rows * width + (rows >= 512 ? 71 : 7) * TILE; }

template <class Stored> struct Packed {
  Stored *gates;  // [unit tile][panel][D + H][width of the panel]
  real *bias;     // [unit tile][C]
};

template <class Stored, int C> INLINE Packed<Stored> packed_in(Carver &memory, long D, long H) {
  const long K = whole<Stored>(D) + whole<Stored>(H);
  return {memory.take<Stored>(tiles(H) * K * C), memory.take(tiles(H) * C)};
}

// What the forward pass keeps for the backward pass.
template <class Cell> struct Kept {
  real *x = nullptr, *h = nullptr, *c = nullptr, *c_last = nullptr, *gates = nullptr;
  int32_t *ids = nullptr;
  long x_stride, h_stride, last_stride, gate_stride;

  Kept(const Size &size, Carver memory, size_t *bytes = nullptr) {
    const long M = size.schedule->valid, N = size.schedule->rows, nt = tiles(size.H);
    x_stride = tile_stride(M, TILE), h_stride = tile_stride(M, TILE), last_stride = N * TILE;
    gate_stride = tile_stride(M, Cell::C);
    if (size.vocabulary) ids = memory.take<int32_t>(M);
    else x = memory.take(tiles(size.D) * x_stride);
    h = memory.take(nt * h_stride);  // h before each step
    gates = memory.take(nt * gate_stride);
    if (Cell::HAS_C) {
      c = memory.take(nt * h_stride);           // c before each step
      c_last = memory.take(nt * last_stride);   // and after each row's last
    }
    if (bytes) *bytes = memory.used;
  }
};

// ---------------------------------------------------------------- threads

constexpr long MAX_THREADS = 64;

// What one thread says to others, away from what the others say.
struct Line {
  long comings;  // how often it has come to the barrier
  long trips;    // messages it sent, or answered: see Barrier::near_enough
  bool apart;
  char padding[128 - 2 * sizeof(long) - sizeof(bool)];
};

INLINE double seconds() {
  timespec now;
#if defined(__APPLE__)  // its CLOCK_MONOTONIC counts microseconds
  clock_gettime(CLOCK_MONOTONIC_RAW, &now);
#else
  clock_gettime(CLOCK_MONOTONIC, &now);
#endif
  return now.tv_sec + 1e-9 * now.tv_nsec;
}

// Until *value is at least `wanted`. Returns the seconds that it took, short times left out, if `timed`.
INLINE double await(const long *value, long wanted, bool timed = false) {
  constexpr long SHORT = 200, LONG = 4000;  // some microseconds; many more
  double begin = 0;
  for (long spins = 0; __atomic_load_n(value, __ATOMIC_ACQUIRE) < wanted; ++spins) {
    if (timed && spins == SHORT) begin = seconds();
    if (spins > LONG) sched_yield();  // there are more threads than processors: let the others come
#if defined(__x86_64__)
    else __builtin_ia32_pause();
#endif
  }
  return begin > 0 ? seconds() - begin : 0;
}

// What one of `members` threads has of a barrier. Each writes to its own line and reads all: between two, no way to
// wait for each other takes fewer messages.
struct Barrier {
  Line *lines;  // zero before the first wait
  long member, members;
  double *waited;  // seconds are added to it, if it is not null

  void wait() const {
    if (members == 1) return;
    const long here = lines[member].comings + 1;
    __atomic_store_n(&lines[member].comings, here, __ATOMIC_RELEASE);
    double sum = 0;
    for (long other = 0; other < members; ++other) sum += await(&lines[other].comings, here, waited != nullptr);
    if (waited) *waited += sum;
  }

  // Whether messages between the first two members are quick enough for all to share steps of so many operations. From
  // core to core they take 50 ns, or 250 where the cores share no cache, as may change when the system moves a thread;
  // and a step needs several.
  bool near_enough(double flops) const {
    constexpr double WORTH_A_SECOND = 2.5e11;  // operations, of messages there and back: measured
    constexpr long TRIPS = 4;                  // after a first one, which waits until the other thread is there
    double begin = 0;
    for (long trip = 1; trip <= 1 + TRIPS && member < 2; ++trip) {
      if (member == 1) await(&lines[0].trips, trip);
      __atomic_store_n(&lines[member].trips, trip, __ATOMIC_RELEASE);
      if (member == 0) await(&lines[1].trips, trip);
      if (member == 0 && trip == 1) begin = seconds();
    }
    if (member == 0) lines[0].apart = (seconds() - begin) / TRIPS * WORTH_A_SECOND > flops;
    wait();
    return !lines[0].apart;
  }
};

// Teams of threads share the tasks; the members of a team share the hidden units of each step.
struct Crew {
  long threads, teams, members;
  double flops;  // of a team in one step
};

// `flops` are those of one step of the whole batch.
INLINE Crew crew_for(const Size &size, double flops, long most_members) {
  // Below these sizes waiting for one another takes longer than the work: measured.
  constexpr double WORTH_A_TEAM = 5e5, WORTH_TWO_MEMBERS = 2.5e4, WORTH_ANOTHER = 1e5;
  const Schedule &schedule = *size.schedule;
  const long threads = smaller(size.threads, MAX_THREADS);
  const double each = flops / schedule.tasks;
  if (threads == 1 || flops * schedule.steps < WORTH_A_TEAM) return {1, 1, 1, each};
  const long teams = smaller(threads, schedule.tasks);
  long members = !size.share || each < WORTH_TWO_MEMBERS ? 1 : 2 + long(each / WORTH_ANOTHER);
  members = smaller(members, smaller(threads / teams, most_members));
  return {teams * members, teams, members, each};
}

// Runs f(id, threads) on `wanted` threads; on fewer where the system gives no more: f must be right for any number.
// `most` should always be the same number: GNU's OpenMP ends threads when the next call has fewer, and then starts new
// ones.
template <class F> INLINE void parallel([[maybe_unused]] long wanted, [[maybe_unused]] long most, F f) {
#ifdef _OPENMP
  if (wanted > 1) {
#pragma omp parallel num_threads(int(most))
    {
      const long id = omp_get_thread_num(), threads = smaller(wanted, omp_get_num_threads());
      if (id < threads) f(id, threads);
    }
    return;
  }
#endif
  f(0, 1);
}

// The threads of a pass over a layer.
class Threads {
 public:
  Threads(const Size &size, Carver &scratch) : size_(size), most_(smaller(size.threads, MAX_THREADS)) {
    if (most_ > 1) lines_ = scratch.take<Line>(2 * most_);
  }

  // Runs f(everyone, crew, number, team) on each thread of the crew wanted, or of a smaller one: with its part of the
  // barrier of all, and the number and barrier of its team. Threads without a team have the number crew.teams.
  template <class F> void run(Crew wanted, F f) {
    if (wanted.threads == 1) return f(Barrier{nullptr, 0, 1, nullptr}, wanted, 0, Barrier{nullptr, 0, 1, nullptr});
    const double begin = seconds();
    double waited = 0;
    Report &report = *size_.report;
    std::memset(lines_, 0, 2 * wanted.threads * sizeof(Line));
    parallel(wanted.threads, most_, [&](long id, long threads) {
      Crew crew = wanted;
      if (threads < wanted.threads) crew.teams = smaller(threads, wanted.teams), crew.members = 1;
      double *mine = id == 0 ? &waited : nullptr;
      long number = smaller(id / crew.members, crew.teams);
      Barrier team{lines_ + wanted.threads + number * crew.members, id % crew.members, crew.members, mine};
      if (crew.members > 1 && !size_.steady) {
        const bool apart = !team.near_enough(crew.flops);
        if (id == 0) report.measured = true, report.apart = apart;
        if (apart) {  // the first does the team's work
          if (team.member > 0) number = crew.teams;
          team.members = 1;
        }
      }
      f(Barrier{lines_, id, threads, mine}, crew, number, team);
    });
    report.waited = waited / (seconds() - begin);
  }

 private:
  const Size &size_;
  const long most_;
  Line *lines_ = nullptr;
};

struct Share {
  long begin, end;
};
INLINE Share share(long total, long part, long parts) { return {total * part / parts, total * (part + 1) / parts}; }

// ---------------------------------------------------------------- the cells: one tile of 16 units of some rows

struct LSTM {
  static constexpr int GATES = 4, C = GATES * TILE;
  static constexpr bool HAS_C = true;

  // From z (rows, C): the gates i, f, g, o, the new c and the new h. c_to and h_to say where each row's go.
  template <bool KEEP>
  NOINLINE void activate(long rows, const real *z, const real *c, real *const *c_to, real *const *h_to, real *gates) {
    for (long r = 0; r < rows; ++r) {
      UNROLL
      for (int k = 0; k < TILE; k += W) {
        const real *zr = z + r * C + k;
        const vec i_below = sigmoid_denominator(load(zr)), f_below = sigmoid_denominator(load(zr + TILE));
        const vec o_below = sigmoid_denominator(load(zr + 3 * TILE));
        const Tanh g_parts = tanh_parts(load(zr + 2 * TILE));
        const vec f = real(1) / f_below, c_before = load(c + r * TILE + k);
        vec c_new;
        if constexpr (KEEP) {
          // Each gate by a division of its own: a saturated one is then exactly 1, and its slope exactly 0.
          const vec i = real(1) / i_below, g = g_parts.numerator / g_parts.denominator, o = real(1) / o_below;
          c_new = f * c_before + i * g;
          store(h_to[r] + k, o * tanh(c_new));
          real *to = gates + r * C + k;
          store(to, i), store(to + TILE, f), store(to + 2 * TILE, g), store(to + 3 * TILE, o);
        } else {
          c_new = f * c_before + g_parts.numerator / (i_below * g_parts.denominator);
          const Tanh c_parts = tanh_parts(c_new);
          store(h_to[r] + k, c_parts.numerator / (o_below * c_parts.denominator));
        }
        store(c_to[r] + k, c_new);
      }
    }
  }

  // From dh and dc of the results of one step: dz, and dc of the c before it. The first `running` rows go on after the
  // step and find the new c in c_next, the others in c_last. db (C) collects the sums of dz over the rows.
  NOINLINE void differentiate(long rows, long running, const real *gates, const real *c, const real *c_next,
                              const real *c_last, const real *dh, real *dc, real *dz, real *db) {
    for (int k = 0; k < TILE; k += W) {
      vec bi = load(db + k), bf = load(db + TILE + k), bg = load(db + 2 * TILE + k), bo = load(db + 3 * TILE + k);
      for (long r = 0; r < rows; ++r) {
        const real *a = gates + r * C + k;
        const vec i = load(a), f = load(a + TILE), g = load(a + 2 * TILE), o = load(a + 3 * TILE);
        const vec tanh_c = tanh(load((r < running ? c_next : c_last) + r * TILE + k));
        const vec dh_r = load(dh + r * TILE + k);
        const vec dc_r = load(dc + r * TILE + k) + dh_r * o * ((1 - tanh_c) * (1 + tanh_c));
        const vec di = dc_r * g * (i * (1 - i)), df = dc_r * load(c + r * TILE + k) * (f * (1 - f));
        const vec dg = dc_r * i * ((1 - g) * (1 + g)), d_o = dh_r * tanh_c * (o * (1 - o));
        store(dc + r * TILE + k, dc_r * f);
        real *to = dz + r * C + k;
        store(to, di), store(to + TILE, df), store(to + 2 * TILE, dg), store(to + 3 * TILE, d_o);
        bi += di, bf += df, bg += dg, bo += d_o;
      }
      store(db + k, bi), store(db + TILE + k, bf), store(db + 2 * TILE + k, bg), store(db + 3 * TILE + k, bo);
    }
  }
};

struct RNN {
  static constexpr int GATES = 1, C = GATES * TILE;
  static constexpr bool HAS_C = false;

  template <bool KEEP>
  NOINLINE void activate(long rows, const real *z, const real *, real *const *, real *const *h_to, real *gates) {
    for (long r = 0; r < rows; ++r) {
      UNROLL
      for (int k = 0; k < TILE; k += W) {
        const vec h = tanh(load(z + r * C + k));
        store(h_to[r] + k, h);
        if constexpr (KEEP) store(gates + r * C + k, h);
      }
    }
  }

  NOINLINE void differentiate(long rows, long, const real *gates, const real *, const real *, const real *,
                              const real *dh, real *, real *dz, real *db) {
    for (int k = 0; k < TILE; k += W) {
      vec sum = load(db + k);
      for (long r = 0; r < rows; ++r) {
        const vec h = load(gates + r * C + k);
        const vec d = load(dh + r * TILE + k) * ((1 - h) * (1 + h));
        store(dz + r * C + k, d);
        sum += d;
      }
      store(db + k, sum);
    }
  }
};

// ---------------------------------------------------------------- rows of the caller's arrays, and tiles

// One tile of a row: `count` numbers (16, but in the last tile) and zeros.
template <class Stored> INLINE void read_tile(const real *from, long count, Stored *to) {
  if (std::is_same_v<Stored, real> && count >= TILE) {
    std::memcpy(to, from, TILE * sizeof(real));
  } else {
    for (long k = 0; k < TILE; ++k) put(to + k, k < count ? from[k] : real(0));
  }
}
INLINE void write_tile(const real *from, long count, real *to) {
  if (count >= TILE) std::memcpy(to, from, TILE * sizeof(real));
  else
    for (long k = 0; k < count; ++k) to[k] = from[k];
}

// What only fills up the last unit tile is held at zero, so that nothing of it can turn into NaN.
template <int C> INLINE void clear_padding(real *rows_of_gates, long rows, long units) {
  if (units >= TILE) return;
  for (long r = 0; r < rows; ++r)
    for (int g = 0; g < C / TILE; ++g)
      for (long k = units; k < TILE; ++k) rows_of_gates[r * C + g * TILE + k] = 0;
}

// The features of a task's rows at step t, into the tiles at `to` (its row of that step).
template <class Stored>
INLINE void pack_input(const Task &task, long t, long direction, const real *x, long D, Stored *to, long stride) {
  for (long b = 0; b < task.active[t]; ++b) {
    const real *from = x + (task.origin[b] + direction * t) * D;
    for (long k = 0; k < D; k += TILE) read_tile(from + k, D - k, to + (k / TILE) * stride + b * TILE);
  }
}

template <class Cell, class Stored>
void pack_tile(const real *weight_ih, const real *weight_hh, const real *bias, long D, long H, long u,
               Packed<Stored> packed) {
  constexpr int C = Cell::C;
  const long K_x = whole<Stored>(D), K = K_x + whole<Stored>(H), units = smaller(TILE, H - u * TILE);
  Stored *gates = packed.gates + u * K * C;
  for (int g = 0; g < Cell::GATES; ++g) {
    const long row = g * H + u * TILE;
    pack_rows<C>(weight_ih + row * D, D, units, gates, K, g * TILE);
    pack_rows<C>(weight_hh + row * H, H, units, gates + K_x * GatePanels<C>::WIDTH, K, g * TILE);
    read_tile(bias + row, units, packed.bias + u * C + g * TILE);
  }
}

template <class Cell, class Stored>
void pack_all(const void *weight_ih, const void *weight_hh, const void *bias, long D, long H, void *to) {
  Carver memory{(char *)to};
  const Packed<Stored> packed = packed_in<Stored, Cell::C>(memory, D, H);
  for (long u = 0; u < tiles(H); ++u)
    pack_tile<Cell>((const real *)weight_ih, (const real *)weight_hh, (const real *)bias, D, H, u, packed);
}

// ---------------------------------------------------------------- forward

// So few rows give the product with the weights little to share between them: the input's product is then done
// beforehand, where the steps of a sequence are its rows.
constexpr long FEW_ROWS = 4;

// Stored is how activations and weights stand in the products: real, or bfloat16 for inference.
template <class Cell, class Stored> struct ForwardPass {
  static constexpr int C = Cell::C;
  using Panels = GatePanels<C>;
  const Forward &f;
  const Schedule &s;
  const long D, H, N, nt, V, K_x, K;  // K rows of packed weights, K_x of them of the input
  const bool keep, tokens, one_hot, beforehand;
  Kept<Cell> kept;
  Packed<Stored> packed;
  Stored *x_tiles = nullptr;  // [tile][valid step][16]
  // The input's share of z where it is not part of the sum of a step: a row a token, or a row a valid step.
  real *projected = nullptr;
  long projected_rows, projected_stride;
  Stored *table = nullptr;  // [tile][V][16]
  long table_stride;
  Stored *h_now[2] = {};  // without keep: of all rows, before and after a step
  real *c_now = nullptr;
  long now_stride;
  Cell cell;
  Threads threads;
  bool input_packed = false;  // before the steps, not in each

  ForwardPass(const Forward &given, Carver scratch, size_t *bytes = nullptr)
      : f(given), s(*given.size.schedule), D(given.size.D), H(given.size.H), N(s.rows), nt(tiles(H)),
        V(given.size.vocabulary), K_x(whole<Stored>(D)), K(K_x + whole<Stored>(H)), keep(given.size.keep),
        tokens(V > 0), one_hot(given.size.one_hot), beforehand(!tokens && N <= FEW_ROWS && s.steps > 1),
        kept(given.size, Carver{keep ? (char *)given.tape : nullptr}), threads(given.size, scratch) {
    if (given.packed) {
      Carver there{(char *)given.packed};
      packed = packed_in<Stored, C>(there, D, H);
    } else {
      packed = packed_in<Stored, C>(scratch, D, H);
    }
    projected_rows = tokens && !one_hot ? V : beforehand ? s.valid : 0;
    projected_stride = tile_stride(projected_rows, C);
    table_stride = tile_stride(V, TILE);
    now_stride = tile_stride(N, TILE);
    if (beforehand && keep) projected = kept.gates, projected_stride = kept.gate_stride;
    else if (projected_rows) projected = scratch.take(nt * projected_stride);
    if (tokens && !one_hot) table = scratch.take<Stored>(tiles(D) * table_stride);
    if constexpr (std::is_same_v<Stored, real>) x_tiles = kept.x;
    if (!keep) {
      if (tokens) kept.ids = scratch.take<int32_t>(s.valid);
      else x_tiles = scratch.take<Stored>(tiles(D) * kept.x_stride);
      h_now[0] = scratch.take<Stored>(nt * now_stride);
      h_now[1] = scratch.take<Stored>(nt * now_stride);
      if (Cell::HAS_C) c_now = scratch.take(nt * now_stride);
    }
    if (bytes) *bytes = scratch.used;
  }

  void run() {
    const double flops = 2.0 * N * Cell::GATES * H * (H + (tokens ? 0 : D));
    const Crew wanted = crew_for(f.size, flops, nt);
    input_packed = beforehand || (wanted.members > 1 && !tokens);
    threads.run(wanted, [&](Barrier everyone, Crew crew, long number, Barrier team) {
      prepare(everyone);
      for (long j = number; j < s.tasks && number < crew.teams; j += crew.teams) task(s.task[j], team);
      everyone.wait();
    });
  }

  // Everything that the steps read: packed weights, the input in tiles, its product where it is done beforehand.
  void prepare(Barrier everyone) {
    const long id = everyone.member, threads = everyone.members;
    const Share units = share(nt, id, threads);
    if (!f.packed)
      for (long u = units.begin; u < units.end; ++u)
        pack_tile<Cell>((const real *)f.weight_ih, (const real *)f.weight_hh, (const real *)f.bias, D, H, u, packed);
    if (input_packed) {
      for (long t = id; t < s.steps; t += threads)
        for (long j = 0; j < s.tasks; ++j) pack_step(s.task[j], t);
    }
    if (tokens) {
      for (long t = id; t < s.steps; t += threads)
        for (long j = 0; j < s.tasks; ++j) {
          const Task &task = s.task[j];
          for (long b = 0; b < task.active[t]; ++b)
            kept.ids[task.start[t] + b] = int32_t(f.ids[task.origin[b] + s.direction * t]);
        }
    }
    if (table) {
      const Share rows = share(V, id, threads);
      for (long v = rows.begin; v < rows.end; ++v)
        for (long k = 0; k < D; k += TILE)
          read_tile((const real *)f.table + v * D + k, D - k, table + (k / TILE) * table_stride + v * TILE);
    }
    everyone.wait();
    if (!projected) return;
    for (long u = units.begin; u < units.end; ++u) project(u);
    everyone.wait();
  }

  void project(long u) {
    const Stored *weights = packed.gates + u * K * C;
    const real *bias = packed.bias + u * C;
    real *to = projected + u * projected_stride;
    const Stored *x = tokens ? table : x_tiles;
    const long stride = tokens ? table_stride : kept.x_stride;
    row_groups(projected_rows, [&](long r, long rows) {
      Panels::compute(rows, x + r * TILE, stride, D, (const Stored *)nullptr, 0, 0, weights, K, 0, bias, 0, to + r * C);
    });
  }

  void pack_step(const Task &task, long t) {
    pack_input(task, t, s.direction, (const real *)f.x, D, x_tiles + task.start[t] * TILE, kept.x_stride);
  }

  // A task's rows through all steps, by a team whose members share the hidden units.
  void task(const Task &task, Barrier team) {
    const Share units = share(nt, team.member, team.members);
    for (long u = units.begin; u < units.end; ++u) start(task, u);
    if (team.member == 0 && f.outputs) clear_outputs(task);
    team.wait();
    for (long t = 0; t < s.steps && task.active[t] > 0; ++t) {
      if (!tokens && !input_packed) pack_step(task, t);
      // To and fro: every other step begins with the weights that the step before used last, which are still near.
      for (long k = units.begin; k < units.end; ++k) {
        const long u = t % 2 ? units.begin + units.end - 1 - k : k;
        row_groups(task.active[t], [&](long b, long rows) { step(task, t, u, b, rows); });
      }
      team.wait();
    }
  }

  Stored *h_before(const Task &task, long t) const {
    return keep ? (Stored *)kept.h + task.start[t] * TILE : h_now[t & 1] + task.first * TILE;
  }
  long h_stride() const { return keep ? kept.h_stride : now_stride; }
  real *c_before(const Task &task, long t) const {
    return keep ? kept.c + task.start[t] * TILE : c_now + task.first * TILE;
  }

  // The initial state of a unit tile.
  void start(const Task &task, long u) {
    const long stride = h_stride(), units = H - u * TILE;
    for (long b = 0; b < task.rows; ++b) {
      const long at = task.row[b] * H + u * TILE;
      Stored *h = h_before(task, 0) + u * stride + b * TILE;
      if (f.h0) read_tile((const real *)f.h0 + at, units, h);
      else std::memset(h, 0, TILE * sizeof(Stored));
      if constexpr (Cell::HAS_C) {
        real *c = c_before(task, 0) + u * stride + b * TILE;
        if (f.c0) read_tile((const real *)f.c0 + at, units, c);
        else std::memset(c, 0, TILE * sizeof(real));
      }
    }
  }

  // Zero after each row's last valid step.
  void clear_outputs(const Task &task) {
    if (s.valid == s.rows * s.time) return;
    for (long b = 0; b < task.rows; ++b) {
      const long begin = task.row[b] * s.time;
      const long length = s.direction > 0 ? length_of(task, b) : task.origin[b] - begin + 1;
      for (long t = length; t < s.time; ++t)
        std::memset((real *)f.outputs + (begin + t) * f.output_stride, 0, H * sizeof(real));
    }
  }

  long length_of(const Task &task, long b) const {
    long low = 0, high = s.steps;  // the rows are sorted: at how many steps do more than b run?
    while (low < high) {
      const long middle = (low + high) / 2;
      if (task.active[middle] > b) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  // One step of `rows` rows from row b of the task on, for unit tile u.
  void step(const Task &task, long t, long u, long b, long rows) {
    const long row = task.start[t] + b, units = smaller(TILE, H - u * TILE), stride = h_stride();
    alignas(64) real z[MR * C], spare[MR][TILE];
    const Stored *weights = packed.gates + u * K * C;
    const real *from = packed.bias + u * C;
    long from_stride = 0;
    if (one_hot) {  // the packed weights of the input hold a row for each token
      for (long r = 0; r < rows; ++r)
        for (int p = 0; p < Panels::COUNT; ++p)
          for (int k = 0; k < Panels::WIDTH; k += W) {
            const real *weight = (const real *)weights + (p * K + kept.ids[row + r]) * Panels::WIDTH + k;
            store(z + r * C + p * Panels::WIDTH + k, load(weight) + load(from + p * Panels::WIDTH + k));
          }
      from = z, from_stride = C;
    } else if (tokens) {
      const real *rows_of_tokens = projected + u * projected_stride;
      for (long r = 0; r < rows; ++r)
        std::memcpy(z + r * C, rows_of_tokens + kept.ids[row + r] * long(C), C * sizeof(real));
      from = z, from_stride = C;
    } else if (beforehand) {
      from = projected + u * projected_stride + row * C, from_stride = C;
    }
    const bool with_x = !tokens && !beforehand, with_h = t > 0 || f.h0;
    Panels::compute(rows, (const Stored *)(with_x ? x_tiles + row * TILE : nullptr), kept.x_stride, with_x ? D : 0,
                    (const Stored *)h_before(task, t) + b * TILE, stride, with_h ? H : 0, weights, K, with_x ? 0 : K_x,
                    from, from_stride, z);
    clear_padding<C>(z, rows, units);

    const long running = task.active[t + 1] - b;  // of these rows, how many go on
    real *h_to[MR] = {}, *c_to[MR] = {};
    for (long r = 0; r < rows; ++r) {
      h_to[r] = spare[r];
      if constexpr (std::is_same_v<Stored, real>)
        if (!keep || r < running) h_to[r] = h_before(task, t + 1) + u * stride + (b + r) * TILE;
      if constexpr (Cell::HAS_C)
        c_to[r] = !keep || r < running ? c_before(task, t + 1) + u * stride + (b + r) * TILE
                                       : kept.c_last + u * kept.last_stride + (task.first + b + r) * TILE;
    }
    const real *c = Cell::HAS_C ? c_before(task, t) + u * stride + b * TILE : nullptr;
    if (keep) cell.template activate<true>(rows, z, c, c_to, h_to, kept.gates + u * kept.gate_stride + row * C);
    else cell.template activate<false>(rows, z, c, c_to, h_to, nullptr);

    if constexpr (!std::is_same_v<Stored, real>)
      for (long r = 0; r < rows; ++r) read_tile(h_to[r], TILE, h_before(task, t + 1) + u * stride + (b + r) * TILE);
    if (f.outputs) {
      for (long r = 0; r < rows; ++r)
        write_tile(h_to[r], units,
                   (real *)f.outputs + (task.origin[b + r] + s.direction * t) * f.output_stride + u * TILE);
    }
    for (long r = running < 0 ? 0 : running; r < rows; ++r) {
      const long at = task.row[b + r] * H + u * TILE;
      write_tile(h_to[r], units, (real *)f.h + at);
      if constexpr (Cell::HAS_C) write_tile(c_to[r], units, (real *)f.c + at);
    }
  }
};

// ---------------------------------------------------------------- backward

// So many rows of gate gradients make a block of time: enough for the weight gradients to be worth a pass over their
// sums, few enough to stay in the cache.
constexpr long BLOCK_ROWS = 1024;
constexpr long GRADIENT_TILES = 16;  // a task's gate gradients of so many unit tiles are used while they are near
constexpr long SUM_ROWS = 256;       // rows of a pass over one panel of weight gradients

template <class Cell> struct BackwardPass {
  static constexpr int C = Cell::C;
  const Backward &f;
  const Schedule &s;
  const long D, H, N, nt, xt, V;
  const bool tokens, one_hot;
  Kept<Cell> kept;
  long block_steps, block_rows, dz_stride, state_stride;
  real *recurrent, *input = nullptr;       // packed weight_hh and weight_ih for the products with dz
  real *dz;                                // [unit tile][row of the block][C]
  real *dh[2], *dc = nullptr;              // [unit tile][row of the batch, by task][16]
  real *dx = nullptr;                      // [tile][row of the batch, by task][16]
  real *d_bias;                            // [task][unit tile][C]
  real *h_sums, *x_sums = nullptr;         // [unit tile][panel][C][width]
  real *d_projected = nullptr;             // tokens: [unit tile][V][C]
  real *table = nullptr, *d_table = nullptr;  // embedded tokens: [tile][V][16]
  long projected_stride, table_stride;
  Cell cell;
  Threads threads;
  long next_item = 0;

  BackwardPass(const Backward &given, Carver scratch, size_t *bytes = nullptr)
      : f(given), s(*given.size.schedule), D(given.size.D), H(given.size.H), N(s.rows), nt(tiles(H)), xt(tiles(D)),
        V(given.size.vocabulary), tokens(V > 0), one_hot(given.size.one_hot),
        kept(given.size, Carver{(char *)given.tape}), threads(given.size, scratch) {
    block_steps = BLOCK_ROWS / N > 0 ? BLOCK_ROWS / N : 1;
    block_rows = smaller(s.valid, block_steps * N);
    dz_stride = tile_stride(block_rows, C);
    state_stride = tile_stride(N, TILE);
    projected_stride = tile_stride(V, C);
    table_stride = tile_stride(V, TILE);
    recurrent = scratch.take(InputPanels<C>::size(nt, nt));
    if (f.dx || f.d_table) input = scratch.take(InputPanels<C>::size(nt, xt));
    dz = scratch.take(nt * dz_stride);
    dh[0] = scratch.take(nt * state_stride);
    dh[1] = scratch.take(nt * state_stride);
    if (Cell::HAS_C) dc = scratch.take(nt * state_stride);
    if (f.dx) dx = scratch.take(xt * state_stride);
    d_bias = scratch.take(s.tasks * nt * C);
    h_sums = scratch.take(nt * nt * TILE * C);
    if (!one_hot) x_sums = scratch.take(nt * xt * TILE * C);
    if (tokens) d_projected = scratch.take(nt * projected_stride);
    if (tokens && !one_hot) table = scratch.take(xt * table_stride);
    if (f.d_table) d_table = scratch.take(xt * table_stride);
    if (bytes) *bytes = scratch.used;
  }

  void run() {
    const double flops = 4.0 * N * Cell::GATES * H * (H + (tokens ? 0 : D));
    const Crew wanted = crew_for(f.size, flops, (nt + PANEL_TILES - 1) / PANEL_TILES);
    const long blocks = (s.steps + block_steps - 1) / block_steps;
    threads.run(wanted, [&](Barrier everyone, Crew crew, long number, Barrier team) {
      prepare(everyone.member, everyone.members);
      everyone.wait();
      for (long block = blocks - 1; block >= 0; --block) {
        const long t0 = block * block_steps, t1 = smaller(s.steps, t0 + block_steps);
        for (long j = number; j < s.tasks && number < crew.teams; j += crew.teams) task(s.task[j], j, t0, t1, team);
        everyone.wait();
        weight_gradients(t0, t1, block == blocks - 1);
        everyone.wait();
        if (everyone.member == 0) next_item = 0;
      }
      finish(everyone);
    });
  }

  void prepare(long id, long threads) {
    for (long u = id; u < nt; u += threads) {
      InputPanels<C>::pack((const real *)f.weight_hh, H, H, u, recurrent);
      if (input) InputPanels<C>::pack((const real *)f.weight_ih, H, D, u, input);
      for (long j = 0; j < s.tasks; ++j) std::memset(d_bias + (j * nt + u) * C, 0, C * sizeof(real));
      if (tokens) std::memset(d_projected + u * projected_stride, 0, V * C * sizeof(real));
    }
    if (table) {
      const Share rows = share(V, id, threads);
      for (long v = rows.begin; v < rows.end; ++v)
        for (long k = 0; k < D; k += TILE)
          read_tile((const real *)f.table + v * D + k, D - k, table + (k / TILE) * table_stride + v * TILE);
    }
  }

  // A task's rows back through the steps [t0, t1).
  void task(const Task &task, long j, long t0, long t1, Barrier team) {
    const long member = team.member, members = team.members;
    const Share panels = share((nt + PANEL_TILES - 1) / PANEL_TILES, member, members);
    const Share units = {panels.begin * PANEL_TILES, smaller(nt, panels.end * PANEL_TILES)};
    const Share x_panels = share((xt + PANEL_TILES - 1) / PANEL_TILES, member, members);
    const InputPanels<C> by_recurrent{recurrent, nt, nt}, by_input{input, nt, xt};
    for (long t = t1 - 1; t >= t0; --t) {
      const long rows = task.active[t];
      if (rows == 0) continue;
      real *dh_before = dh[(t + 1) & 1] + task.first * TILE;
      real *dz_step = dz + (task.start[t] - s.offset[t0]) * C;
      const bool with_h = t > 0 || f.dh0;
      // The products go over so many tiles at a time also where a team does all its tiles first, to wait only once: a
      // sum's parts are the same on any number of threads.
      const auto products = [&](long u0, long count) {
        if (with_h)
          by_recurrent.compute(rows, dz_step, dz_stride, u0, count, panels.begin, panels.end, dh_before, state_stride,
                               u0 == 0, t % 2);
        if (f.dx)
          by_input.compute(rows, dz_step, dz_stride, u0, count, x_panels.begin, x_panels.end, dx + task.first * TILE,
                           state_stride, u0 == 0, t % 2);
      };
      if (members > 1) {
        for (long u = units.begin; u < units.end; ++u) tile_step(task, j, t, u, dz_step + u * dz_stride);
        team.wait();
      }
      for (long u0 = 0; u0 < nt; u0 += GRADIENT_TILES) {
        const long u1 = smaller(nt, u0 + GRADIENT_TILES);
        if (members == 1)
          for (long u = u0; u < u1; ++u) tile_step(task, j, t, u, dz_step + u * dz_stride);
        products(u0, u1 - u0);
      }
      if (f.dx) write_input_gradient(task, t, x_panels);
      if (t == 0) write_initial_gradient(task, units, dh_before);
    }
    if (t0 == 0 && member == 0 && f.dx) clear_input_gradient(task);
  }

  // The gate gradients of one unit tile at step t.
  void tile_step(const Task &task, long j, long t, long u, real *to) {
    const long rows = task.active[t], running = task.active[t + 1], units = H - u * TILE;
    real *dh_u = dh[t & 1] + u * state_stride + task.first * TILE;
    real *dc_u = Cell::HAS_C ? dc + u * state_stride + task.first * TILE : nullptr;
    for (long b = running; b < rows; ++b) {  // rows that end here: the final state's gradient enters
      const long at = task.row[b] * H + u * TILE;
      if (f.dh) read_tile((const real *)f.dh + at, units, dh_u + b * TILE);
      else std::memset(dh_u + b * TILE, 0, TILE * sizeof(real));
      if constexpr (Cell::HAS_C) {
        if (f.dc) read_tile((const real *)f.dc + at, units, dc_u + b * TILE);
        else std::memset(dc_u + b * TILE, 0, TILE * sizeof(real));
      }
    }
    if (f.d_outputs) {
      for (long b = 0; b < rows; ++b) {
        const real *from =
            (const real *)f.d_outputs + (task.origin[b] + s.direction * t) * f.d_output_stride + u * TILE;
        for (long k = 0; k < smaller(TILE, units); ++k) dh_u[b * TILE + k] += from[k];
      }
    }
    const real *c = nullptr, *c_next = nullptr, *c_last = nullptr;
    if constexpr (Cell::HAS_C) {
      c = kept.c + u * kept.h_stride + task.start[t] * TILE;
      c_next = kept.c + u * kept.h_stride + task.start[t + 1] * TILE;
      c_last = kept.c_last + u * kept.last_stride + task.first * TILE;
    }
    cell.differentiate(rows, running, kept.gates + u * kept.gate_stride + task.start[t] * C, c, c_next, c_last, dh_u,
                       dc_u, to, d_bias + (j * nt + u) * C);
    clear_padding<C>(to, rows, units);
  }

  void write_input_gradient(const Task &task, long t, Share x_panels) {
    for (long k = x_panels.begin * PANEL_TILES; k < smaller(xt, x_panels.end * PANEL_TILES); ++k)
      for (long b = 0; b < task.active[t]; ++b)
        write_tile(dx + k * state_stride + (task.first + b) * TILE, D - k * TILE,
                   (real *)f.dx + (task.origin[b] + s.direction * t) * D + k * TILE);
  }

  void clear_input_gradient(const Task &task) {
    if (s.valid == s.rows * s.time) return;
    for (long b = 0, length = s.steps; b < task.rows; ++b) {
      while (task.active[length - 1] <= b) --length;
      std::memset((real *)f.dx + (task.row[b] * s.time + length) * D, 0, (s.time - length) * D * sizeof(real));
    }
  }

  void write_initial_gradient(const Task &task, Share units, const real *dh_before) {
    for (long u = units.begin; u < units.end; ++u)
      for (long b = 0; b < task.rows; ++b) {
        const long at = task.row[b] * H + u * TILE;
        if (f.dh0) write_tile(dh_before + u * state_stride + b * TILE, H - u * TILE, (real *)f.dh0 + at);
        if constexpr (Cell::HAS_C) {
          if (f.dc0)
            write_tile(dc + u * state_stride + (task.first + b) * TILE, H - u * TILE, (real *)f.dc0 + at);
        }
      }
  }

  // Adds the steps [t0, t1) to the sums of the weight gradients. An item is one unit tile; which thread does it does
  // not matter.
  void weight_gradients(long t0, long t1, bool first) {
    const long rows = s.offset[t1] - s.offset[t0];
    // Before the first step h is zero unless it was given.
    const long without = t0 == 0 && !f.initial_state ? s.offset[1] : 0;
    const long h_panels = (nt + PANEL_TILES - 1) / PANEL_TILES;
    const long x_panels = tokens ? 0 : (xt + PANEL_TILES - 1) / PANEL_TILES, panels = h_panels + x_panels;
    for (;;) {
      const long u = __atomic_fetch_add(&next_item, 1, __ATOMIC_RELAXED);
      if (u >= nt) break;
      for (long k = 0; k < rows; k += SUM_ROWS) {
        const long count = smaller(SUM_ROWS, rows - k);
        for (long p = 0; p < panels; ++p) {
          if (p < h_panels) {
            const long skip = k >= without ? 0 : smaller(count, without - k);
            sum_panel(h_sums + u * nt * TILE * C, nt, p, dz + u * dz_stride, k + skip, count - skip,
                      kept.h + s.offset[t0] * TILE, kept.h_stride, first && k == 0);
          } else {
            sum_panel(x_sums + u * xt * TILE * C, xt, p - h_panels, dz + u * dz_stride, k, count,
                      kept.x + s.offset[t0] * TILE, kept.x_stride, first && k == 0);
          }
        }
      }
      if (tokens) {
        real *to = d_projected + u * projected_stride;
        const int32_t *ids = kept.ids + s.offset[t0];
        for (long r = 0; r < rows; ++r)
          for (int k = 0; k < C; k += W) {
            real *sum = to + ids[r] * long(C) + k;
            store(sum, load(sum) + load(dz + u * dz_stride + r * C + k));
          }
      }
    }
  }

  void sum_panel(real *sums, long column_tiles, long p, const real *dz_u, long row, long rows, const real *inputs,
                 long stride, bool first) {
    const long w = InputPanels<C>::width(column_tiles, p);
    weight_panel<C>(w, dz_u + row * C, inputs + p * PANEL_TILES * stride + row * TILE, stride, rows,
                    sums + p * PANEL_TILES * TILE * C, first);
  }

  // From the sums to the caller's gradients.
  void finish(Barrier everyone) {
    const long id = everyone.member, threads = everyone.members;
    for (long u = id; u < nt; u += threads) {
      write_gradient(h_sums + u * nt * TILE * C, nt, u, H, (real *)f.d_weight_hh);
      const long units = smaller(TILE, H - u * TILE);
      for (int g = 0; g < Cell::GATES; ++g)
        for (long k = 0; k < units; ++k) {
          real sum = 0;
          for (long j = 0; j < s.tasks; ++j) sum += d_bias[(j * nt + u) * C + g * TILE + k];
          write_sums(&sum, 1, (real *)f.d_bias + g * H + u * TILE + k, f.accumulate);
        }
      if (one_hot) {
        const real *from = d_projected + u * projected_stride;
        for (int g = 0; g < Cell::GATES; ++g)
          for (long k = 0; k < units; ++k) {
            real *to = (real *)f.d_weight_ih + (g * H + u * TILE + k) * D;
            for (long v = 0; v < V; ++v) write_sums(from + v * C + g * TILE + k, 1, to + v, f.accumulate);
          }
        continue;
      }
      if (tokens) {  // the table's rows are the inputs, a token's gradients are summed already
        const long panels = (xt + PANEL_TILES - 1) / PANEL_TILES;
        for (long k = 0; k < V; k += SUM_ROWS)
          for (long p = 0; p < panels; ++p)
            sum_panel(x_sums + u * xt * TILE * C, xt, p, d_projected + u * projected_stride, k,
                      smaller(SUM_ROWS, V - k), table, table_stride, k == 0);
      }
      write_gradient(x_sums + u * xt * TILE * C, xt, u, D, (real *)f.d_weight_ih);
    }
    if (!f.d_table) return;
    everyone.wait();
    const InputPanels<C> by_input{input, nt, xt};
    const Share panels = share((xt + PANEL_TILES - 1) / PANEL_TILES, id, threads);
    by_input.compute(V, d_projected, projected_stride, 0, nt, panels.begin, panels.end, d_table, table_stride, true,
                     false);
    for (long k = panels.begin * PANEL_TILES; k < smaller(xt, panels.end * PANEL_TILES); ++k)
      for (long v = 0; v < V; ++v)
        write_tile(d_table + k * table_stride + v * TILE, D - k * TILE, (real *)f.d_table + v * D + k * TILE);
  }

  void write_gradient(const real *sums, long column_tiles, long u, long columns, real *gradient) {
    for (long p = 0; p * PANEL_TILES < column_tiles; ++p)
      write_weight_panel<C>(sums + p * PANEL_TILES * TILE * C, InputPanels<C>::width(column_tiles, p), u, H,
                          p * PANEL_TILES * TILE, columns, gradient, f.accumulate);
  }
};

// ---------------------------------------------------------------- the optimiser

// The Euclidean norm. Squares of float32 cannot leave the range of float64; those of float64 are taken of the numbers
// over the largest. The sums run in lanes, so that they fill vectors and do not depend on anything else.
NOINLINE double norm(const real *a, long count) {
  double largest = 1;
  if constexpr (!SINGLE) {
    largest = 0;
    for (long k = 0; k < count; ++k) largest = std::abs(a[k]) > largest ? std::abs(a[k]) : largest;
    if (largest == 0) largest = 1;
  }
  constexpr int LANES = 32;
  double lanes[LANES] = {};
  long k = 0;
  for (; k + LANES <= count; k += LANES)
    for (int j = 0; j < LANES; ++j) {
      const double b = SINGLE ? double(a[k + j]) : a[k + j] / largest;
      lanes[j] += b * b;
    }
  for (int j = 0; k + j < count; ++j) lanes[j] += (a[k + j] / largest) * (a[k + j] / largest);
  double sum = 0;
  for (double lane : lanes) sum += lane;
  return largest * std::sqrt(sum);
}

// What is the same for all numbers of a step.
struct Rates {
  real factor, penalty, decay, rate, momentum, beta_1, rest_1, beta_2, rest_2, epsilon;
};

// Plain loops over arrays that do not overlap: the compiler makes vectors of them.
NOINLINE void update_sgd(long count, Rates a, real *__restrict p, const real *__restrict g,
                         const real *__restrict decayed, real *__restrict velocity) {
  for (long k = 0; k < count; ++k) {
    const real d = g[k] * a.factor + a.penalty * (decayed[k] * p[k]);
    velocity[k] = velocity[k] * a.momentum - a.rate * d;
    p[k] += velocity[k];
  }
}

NOINLINE void update_adam(long count, Rates a, real *__restrict p, const real *__restrict g,
                          const real *__restrict decayed, real *__restrict mean, real *__restrict square) {
  for (long k = 0; k < count; ++k) {
    const real d = g[k] * a.factor + a.penalty * (decayed[k] * p[k]);
    const real m = mean[k] * a.beta_1 + a.rest_1 * d, s = square[k] * a.beta_2 + a.rest_2 * (d * d);
    mean[k] = m;
    square[k] = s;
    p[k] -= a.decay * (decayed[k] * p[k]) + a.rate * (m / (std::sqrt(s) + a.epsilon));
  }
}

void update(const Update &u) {
  real *p = (real *)u.parameters, *first = (real *)u.moments[0], *second = (real *)u.moments[1];
  const real *g = (const real *)u.gradients, *decayed = (const real *)u.decayed;
  const double length = u.max_norm < HUGE_VAL ? norm(g, u.count) : 0;
  const bool adamw = u.solver == Update::ADAMW, sgd = u.solver == Update::SGD;
  // Corrections of moments that started at zero.
  const double mean_seen = 1 - std::pow(u.beta_1, u.updates), root_seen = std::sqrt(1 - std::pow(u.beta_2, u.updates));
  Rates a;
  a.factor = length > u.max_norm && length < HUGE_VAL ? u.max_norm / length : 1;  // as the reference: not of infinity
  a.penalty = adamw ? 0 : u.alpha;
  a.decay = adamw ? u.rate * u.alpha : 0;
  a.rate = sgd ? u.rate : u.rate * root_seen / mean_seen;
  a.momentum = u.momentum;
  a.beta_1 = u.beta_1, a.rest_1 = 1 - u.beta_1, a.beta_2 = u.beta_2, a.rest_2 = 1 - u.beta_2;
  a.epsilon = u.epsilon * root_seen;
  constexpr long WORTH_A_THREAD = 1 << 15;  // numbers: measured
  const long most = smaller(u.threads, MAX_THREADS);
  const long wanted = smaller(most, (u.count + WORTH_A_THREAD - 1) / WORTH_A_THREAD);
  parallel(wanted, most, [&](long id, long threads) {
    const Share part = share(u.count, id, threads);
    const long k = part.begin, count = part.end - part.begin;
    if (sgd) update_sgd(count, a, p + k, g + k, decayed + k, first + k);
    else update_adam(count, a, p + k, g + k, decayed + k, first + k, second + k);
  });
}

// ---------------------------------------------------------------- the table

bool has_bfloat16() {
#if defined(__AVX512BF16__)
  return BFLOAT16 && __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

template <class Cell, class Stored> size_t packed_bytes(long D, long H) {
  Carver memory{nullptr};
  packed_in<Stored, Cell::C>(memory, D, H);
  return memory.used;
}

template <class Cell, class Stored> size_t forward_bytes(const Forward &f) {
  size_t bytes;
  ForwardPass<Cell, Stored>(f, Carver{nullptr}, &bytes);
  return bytes;
}

// What stands for bfloat16 where it is not compiled: its code is then never reached, nor made twice.
using half = std::conditional_t<BFLOAT16, bfloat16, real>;

template <class Cell> constexpr Kernels kernels_of() {
  return {
      has_bfloat16,
      [](long D, long H, bool narrow) {
        return narrow ? packed_bytes<Cell, half>(D, H) : packed_bytes<Cell, real>(D, H);
      },
      [](const void *weight_ih, const void *weight_hh, const void *bias, long D, long H, bool narrow, void *to) {
        (narrow ? pack_all<Cell, half> : pack_all<Cell, real>)(weight_ih, weight_hh, bias, D, H, to);
      },
      [](const Size &size) {
        size_t bytes;
        Kept<Cell>(size, Carver{nullptr}, &bytes);
        return bytes;
      },
      [](const Forward &f) { return f.size.bfloat16 ? forward_bytes<Cell, half>(f) : forward_bytes<Cell, real>(f); },
      [](const Forward &f) {
        if (f.size.bfloat16) ForwardPass<Cell, half>(f, Carver{(char *)f.scratch}).run();
        else ForwardPass<Cell, real>(f, Carver{(char *)f.scratch}).run();
      },
      [](const Backward &f) {
        size_t bytes;
        BackwardPass<Cell>(f, Carver{nullptr}, &bytes);
        return bytes;
      },
      [](const Backward &f) { BackwardPass<Cell>(f, Carver{(char *)f.scratch}).run(); },
      update,
  };
}

}  // namespace

#define JOIN_(a, b, c) a##_##b##_##c
#define JOIN(a, b, c) JOIN_(a, b, c)

extern const xlstm::Kernels JOIN(kernels, XLSTM_TARGET, XLSTM_REAL)[xlstm::CELLS];
const xlstm::Kernels JOIN(kernels, XLSTM_TARGET, XLSTM_REAL)[xlstm::CELLS] = {kernels_of<LSTM>(), kernels_of<RNN>()};
