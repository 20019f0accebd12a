// The forward walk with weights of fewer bits: for inference in float32, with what `pack` wrote in one of the formats
// of narrow.h. States, gates and the sums' ends are float32.
//
// The order of work is that of forward.h, but the rows of h stand whole, not in tiles: formats whose activations stay
// as they are read them there. For others each thread turns the rows of its task into what is multiplied, before the
// products of a step: for few rows that is nothing beside the products, and waiting for others would not be.
//
// Where each weight serves many rows, turning it into float32 for each of them would take longer than its bytes save:
// there 16 bits are turned once a call, and the walk is that of forward.h.
#pragma once

#include "forward.h"
#include "narrow_product.h"

namespace {

template <class Cell, class Format> struct NarrowWeights {
  using X = NarrowProduct<Format, ByX<Cell>>;
  using H = NarrowProduct<Format, ByH<Cell>>;
  const long x_count, h_count;  // rows of the two matrices: D and H
  NarrowMatrix<Format> x, h;
  real *bias;  // [unit tile][C]

  NarrowWeights(Carver &memory, long D, long units)
      : x_count(D), h_count(units), x(taken(memory, D, ByX<Cell>::COUNT, true)),
        h(taken(memory, units, ByH<Cell>::COUNT, false)) {
    bias = memory.take(tiles(units) * Cell::C);
  }

  NarrowMatrix<Format> x_tile(long u) const { return X::tile(x, x_count, u); }
  NarrowMatrix<Format> h_tile(long u) const { return H::tile(h, h_count, u); }

  void pack(const Parameters &from) const {
    if (Format::SCALED) balance(from.weight_ih);
    for (long u = 0; u < tiles(h_count); ++u) {
      X::pack(from.weight_ih, x_count, h_count, u, x_tile(u));
      H::pack(from.weight_hh, h_count, h_count, u, h_tile(u));
      for (int b = 0; b < Cell::C / TILE; ++b) {
        const real *of_block = Cell::COLUMNS[b].fed == Fed::BY_H ? from.second_bias
                                                                : from.bias + Cell::COLUMNS[b].gate * h_count;
        read_tile(of_block + u * TILE, h_count - u * TILE, bias + u * Cell::C + b * TILE);
      }
    }
  }

 private:
  // Features may be of unlike sizes, with weights of unlike sizes that make up for it: in eight bits the largest would
  // leave nothing of the others. So each takes from its weights a power of two, after which the largest is 1 to 2.
  void balance(const real *weight_ih) const {
    for (long k = 0; k < x_count; ++k) {
      int32_t most = 0;
      for (long row = 0; row < Cell::GATES * h_count; ++row) {
        const int32_t magnitude = word(weight_ih + row * x_count + k) & 0x7f800000;
        most = magnitude > most ? magnitude : most;
      }
      std::memcpy(x.factor + k, &most, sizeof most);
      if (!(x.factor[k] > 0)) x.factor[k] = 1;
    }
  }

  NarrowMatrix<Format> taken(Carver &memory, long K, long of_tile, bool balanced) const {
    const long columns = tiles(h_count) * of_tile;
    NarrowMatrix<Format> m = {};
    if (Format::SCALED && balanced) m.factor = memory.take(K);
    m.values = memory.take<typename Format::Weight>(groups_of<Format>(K) * Format::GROUP * columns);
    if (Format::SCALED) m.scale = memory.take(columns), m.offset = memory.take<int32_t>(columns);
    return m;
  }
};

template <class Cell, class Format> struct NarrowWalk {
  static constexpr int C = Cell::C;
  static constexpr bool H_AS_IT_IS = std::is_base_of_v<Widened, Format>;
  using Rows = NarrowRows<Format>;
  using ProductOfX = typename NarrowWeights<Cell, Format>::X;
  using ProductOfH = typename NarrowWeights<Cell, Format>::H;
  const Forward &f;
  const Schedule &s;
  const long D, H, N, nt, V;
  const bool tokens, one_hot, beforehand;
  Carver packed;
  const NarrowWeights<Cell, Format> weights;
  // The input's share of z where it is not part of a step: a row a token, or one for each valid step of a block.
  real *projected = nullptr;
  long projected_rows, projected_stride;
  Rows inputs = {};  // what it is made of
  long block_steps;
  long most_rows = 0;
  Rows x_rows = {}, h_rows = {};  // of each thread, for the rows of a task at one step
  real *h_now[2];                 // of all rows, before and after a step: [row][h_stride]
  real *c_now = nullptr;          // so: [unit tile][row][16]
  long h_stride, c_stride;
  Cell cell;
  Threads threads;

  NarrowWalk(const Forward &given, Carver scratch, size_t *bytes = nullptr)
      : f(given), s(*given.pass.schedule), D(given.pass.D), H(given.pass.H), N(s.rows), nt(tiles(H)),
        V(given.pass.vocabulary), tokens(V > 0), one_hot(given.pass.one_hot),
        beforehand(!tokens && N <= FEW_ROWS && s.steps > 1), packed{(char *)given.packed}, weights(packed, D, H),
        threads(given.pass, scratch) {
    const long most = given.pass.threads;
    for (long j = 0; j < s.tasks; ++j) most_rows = s.task[j].rows > most_rows ? s.task[j].rows : most_rows;
    block_steps = beforehand ? smaller(s.steps, AHEAD_ROWS / N) : s.steps;
    projected_rows = tokens && !one_hot ? V : beforehand ? smaller(s.valid, block_steps * N) : 0;
    projected_stride = tile_stride(projected_rows, C);
    if (projected_rows) projected = scratch.take(nt * projected_stride), inputs = rows(scratch, projected_rows, D);
    if (!tokens && !beforehand) x_rows = rows(scratch, most * most_rows, D);
    if (!H_AS_IT_IS) h_rows = rows(scratch, most * most_rows, H);
    h_stride = nt * TILE, c_stride = tile_stride(s.places, TILE);
    h_now[0] = scratch.take(s.places * h_stride), h_now[1] = scratch.take(s.places * h_stride);
    if (Cell::HAS_C) c_now = scratch.take(nt * c_stride);
    if (bytes) *bytes = scratch.used;
  }

  static Rows rows(Carver &memory, long count, long K) {
    Rows made = {};
    made.stride = (K + TILE - 1) / TILE * TILE;
    made.values = memory.take<typename Format::Activation>(count * made.stride);
    if (Format::SCALED) made.scale = memory.take(count);
    return made;
  }

  void run() {
    // The time of a step goes with the bytes of its weights: where threads wait for one another, that counts.
    const double bytes = double(sizeof(typename Format::Weight)) / sizeof(real);
    const double flops = 2.0 * N * Cell::GATES * H * (H + (tokens ? 0 : D)) * bytes;
    threads.run(crew_for(f.pass, flops, nt), [&](Barrier everyone, Crew crew, long number, Barrier team) {
      if (tokens && projected) project_tokens(everyone);
      for (long t0 = 0; t0 < s.steps; t0 += block_steps) {
        const long t1 = smaller(s.steps, t0 + block_steps);
        if (beforehand) project_steps(t0, t1, everyone);
        for (long j = number; j < crew.tasks && number < crew.teams; j += crew.teams)
          task(crew.task[j], t0, t1, everyone.member, team);
        everyone.wait();
      }
    });
  }

  void project_tokens(Barrier everyone) {
    const Share rows = share(V, everyone.member, everyone.members);
    for (long v = rows.begin; v < rows.end; ++v) inputs.convert(v, (const real *)f.table + v * D, D, weights.x);
    everyone.wait();
    project(V, everyone);
  }

  void project_steps(long t0, long t1, Barrier everyone) {
    for (long t = t0 + everyone.member; t < t1; t += everyone.members)
      for (long j = 0; j < s.tasks; ++j) convert_input(s.task[j], t, inputs.from(s.task[j].start[t] - s.offset[t0]));
    everyone.wait();
    project(s.offset[t1] - s.offset[t0], everyone);
  }

  void project(long count, Barrier everyone) {
    const Share units = share(nt, everyone.member, everyone.members);
    for (long u = units.begin; u < units.end; ++u)
      row_groups(count, [&](long r, long rows) {
        ProductOfX::compute(rows, inputs.from(r), D, weights.x_tile(u), weights.bias + u * C, 0,
                            projected + u * projected_stride + r * C);
      });
    everyone.wait();
  }

  // The features of a task's rows at step t.
  void convert_input(const Task &task, long t, Rows to) const {
    for (long b = 0; b < task.active[t]; ++b) to.convert(b, (const real *)f.x + place(task, t, b) * D, D, weights.x);
  }
  // Where row b of a task has its step t in an (N, T) array.
  long place(const Task &task, long t, long b) const { return task.origin[b] + s.direction * t; }

  // A task's rows through the steps [t0, t1), by a team whose members share the hidden units; `id` is that of the
  // thread.
  void task(const Task &task, long t0, long t1, long id, Barrier team) {
    const Share units = share(nt, team.member, team.members);
    const Rows x = x_rows.values ? x_rows.from(id * most_rows) : x_rows;
    if (t0 == 0) {
      for (long u = units.begin; u < units.end; ++u) start(task, u);
      if (team.member == 0 && f.outputs) clear_outputs(task);
      team.wait();
    }
    for (long t = t0; t < t1 && task.active[t] > 0; ++t) {
      if (x.values) convert_input(task, t, x);
      const Rows h = t > 0 || f.h0 ? state_rows(task, t, id) : Rows{};
      // To and fro: every other step begins with the weights that the step before used last, which are still near.
      for (long k = units.begin; k < units.end; ++k) {
        const long u = t % 2 ? units.begin + units.end - 1 - k : k;
        row_groups(task.active[t], [&](long b, long rows) { step(task, t, u, b, rows, t0, x, h); });
      }
      team.wait();
    }
  }

  real *h_before(const Task &task, long t) const { return h_now[t & 1] + task.place * h_stride; }

  // The rows of a task before step t, as they are multiplied.
  Rows state_rows(const Task &task, long t, long id) const {
    real *h = h_before(task, t);
    if constexpr (H_AS_IT_IS) {
      return {h, h_stride, nullptr};
    } else {
      const Rows to = h_rows.from(id * most_rows);
      for (long b = 0; b < task.active[t]; ++b) to.convert(b, h + b * h_stride, H, weights.h);
      return to;
    }
  }

  // The initial state of a unit tile.
  void start(const Task &task, long u) {
    const long units = H - u * TILE;
    for (long b = 0; b < task.rows; ++b) {
      const long at = task.row[b] * H + u * TILE;
      real *h = h_before(task, 0) + b * h_stride + u * TILE;
      if (f.h0) read_tile((const real *)f.h0 + at, units, h);
      else std::memset(h, 0, TILE * sizeof(real));
      if constexpr (Cell::HAS_C) {
        real *c = c_now + u * c_stride + (task.place + b) * TILE;
        if (f.c0) read_tile((const real *)f.c0 + at, units, c);
        else std::memset(c, 0, TILE * sizeof(real));
      }
    }
  }

  // Zero after each row's last valid step: the rows of a task are sorted, longest first.
  void clear_outputs(const Task &task) {
    if (s.valid == s.rows * s.time) return;
    long length = s.steps;
    for (long b = 0; b < task.rows; ++b) {
      while (task.active[length - 1] <= b) --length;
      const long begin = task.row[b] * s.time;
      for (long t = length; t < s.time; ++t)
        std::memset((real *)f.outputs + (begin + t) * f.output_stride, 0, H * sizeof(real));
    }
  }

  // One step of `rows` rows from row b of the task on, for unit tile u, in the block of time from t0 on.
  void step(const Task &task, long t, long u, long b, long rows, long t0, Rows x, Rows h) {
    const long units = smaller(TILE, H - u * TILE);
    alignas(64) real z[MR * C];
    const real *from = weights.bias + u * C;
    long from_stride = 0;
    if (beforehand) {
      from = projected + u * projected_stride + (task.start[t] - s.offset[t0] + b) * C, from_stride = C;
    } else if (tokens) {
      for (long r = 0; r < rows; ++r) {
        const long id = f.ids[place(task, t, b + r)];
        if (one_hot) ProductOfX::add_row(id, weights.x_tile(u), from, z + r * C);
        else std::memcpy(z + r * C, projected + u * projected_stride + id * C, C * sizeof(real));
      }
      from = z, from_stride = C;
    } else {
      ProductOfX::compute(rows, x.from(b), D, weights.x_tile(u), from, from_stride, z);
      from = z, from_stride = C;
    }
    if (t > 0 || f.h0) {
      ProductOfH::compute(rows, h.from(b), H, weights.h_tile(u), from, from_stride, z);
    } else if (from != z) {
      for (long r = 0; r < rows; ++r) std::memcpy(z + r * C, from + r * from_stride, C * sizeof(real));
    }
    clear_padding<C>(z, rows, units);

    real *h_to[MR] = {}, *c_to[MR] = {}, *c = Cell::HAS_C ? c_now + u * c_stride + (task.place + b) * TILE : nullptr;
    alignas(64) real h_passed[Cell::H_PASSES ? MR * TILE : 1];
    for (long r = 0; r < rows; ++r) {
      const long at = (task.place + b + r) * h_stride + u * TILE;
      h_to[r] = h_now[(t + 1) & 1] + at;
      if constexpr (Cell::H_PASSES) std::memcpy(h_passed + r * TILE, h_now[t & 1] + at, TILE * sizeof(real));
      if constexpr (Cell::HAS_C) c_to[r] = c + r * TILE;
    }
    cell.template activate<false>(rows, z, h_passed, c, c_to, h_to, nullptr);

    const long running = task.active[t + 1] - b;  // of these rows, how many go on
    for (long r = 0; r < rows; ++r) {
      if (f.outputs)
        write_tile(h_to[r], units, (real *)f.outputs + place(task, t, b + r) * f.output_stride + u * TILE);
      if (r < running) continue;
      const long last = task.row[b + r] * H + u * TILE;
      write_tile(h_to[r], units, (real *)f.h + last);
      if constexpr (Cell::HAS_C) write_tile(c_to[r], units, (real *)f.c + last);
    }
  }
};

// Whether 16 bits are better turned into float32 once a call: where enough rows and steps make up for it. Weights that
// the caches do not hold take longer to be read than to be turned for each group of rows.
template <class Cell, class Format> bool widening_pays(const Forward &f) {
  constexpr long FROM_IF_LARGE = 32, LARGE = 1 << 19, ROWS_AND_STEPS = 128;
  const Schedule &s = *f.pass.schedule;
  const long weights = Cell::GATES * f.pass.H * (f.pass.D + f.pass.H);
  return s.rows >= (weights > LARGE ? FROM_IF_LARGE : Format::WIDENED_FROM) && s.valid >= ROWS_AND_STEPS;
}

// The walk of forward.h with weights that are turned into float32 at its begin.
template <class Cell, class Format> struct WidenedWalk {
  using Panels = ::Panels<Cell>;
  Forward f;
  Carver packed, scratch;
  const NarrowWeights<Cell, Format> weights;
  const Packed wide;

  WidenedWalk(const Forward &given, Carver memory, size_t *bytes = nullptr)
      : f(given), packed{(char *)given.packed}, scratch(memory), weights(packed, given.pass.D, given.pass.H),
        wide(packed_in<Cell>(scratch, given.pass.D, given.pass.H)) {
    if (memory.block) f.packed = wide.gates;  // the bias stands behind, as packed_in has it
    if (bytes) ForwardWalk<Cell>(f, scratch, bytes);
  }

  void run() {
    for (long u = 0; u < tiles(f.pass.H); ++u) widen(u);
    std::memcpy(wide.bias, weights.bias, tiles(f.pass.H) * Cell::C * sizeof(real));
    ForwardWalk<Cell>(f, scratch).run();
  }

 private:
  void widen(long u) const {
    const long D = f.pass.D, H = f.pass.H;
    real *to = wide.gates + u * Panels::size(D, H);
    for_constants<Panels::COUNT>([&](auto panel) {
      constexpr int P = decltype(panel)::value;
      widen_rows<ByX<Cell>, P>(weights.x_tile(u).values, D, Panels::by_x(to, P, D, H));
      widen_rows<ByH<Cell>, P>(weights.h_tile(u).values, H, Panels::by_h(to, P, D, H));
    });
  }

  // What panel P has of the columns of Span, of the K rows of a tile.
  template <class Span, int P> static void widen_rows(const typename Format::Weight *from, long K, real *to) {
    constexpr int FIRST = P * Panels::WIDTH + Panels::template first<Span>(P) - Span::FIRST, G = Format::GROUP;
    constexpr int COUNT = Panels::template count<Span>(P);
    for (long k = 0; k < K; ++k)
      for (int j = 0; j < COUNT; j += W)
        store(to + k * COUNT + j, Format::value(from + (k / G * Span::COUNT + FIRST + j) * G, k % G));
  }
};

}  // namespace
