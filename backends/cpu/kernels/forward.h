// The forward walk: the order of work of a whole cell over a whole batch, forward.
//
// Each task takes its rows through all steps. In a step, tile after tile of 16 hidden units: the product for all gates
// of the tile, for at most MR rows, then at once the gates themselves, while they are in the first-level cache. The
// input's product is part of the same sum. Where a team does a task, its members share the tiles of each step.
#pragma once

#include "packing.h"
#include "threads.h"

namespace {

// The largest batch for which the input's product is done before the steps, over all steps of a sequence at once. With
// so few rows a step reads all weights for little work; over all steps, the product has many rows to use them for.
constexpr long FEW_ROWS = 4;
constexpr long CHUNK = 64;  // the most rows that go through a step of a unit tile together: their z stays near

// Stored is the type of activations and weights in the products: real, or bfloat16 for inference.
template <class Cell, class Stored> struct ForwardWalk {
  static constexpr int C = Cell::C;
  // An h that goes on from step to step is not to be rounded at each of them.
  static constexpr bool EXACT_APART = Cell::H_PASSES && !std::is_same_v<Stored, real>;
  using Panels = ::Panels<Cell>;
  const Forward &f;
  const Schedule &s;
  const long D, H, N, nt, V, K_x, K_h;  // K_x rows of packed weights of the input, K_h of h
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
  real *c_now = nullptr, *h_exact = nullptr;  // of all rows; h_exact where h passes by and is not stored as real
  long now_stride;
  Cell cell;
  Threads threads;
  bool input_packed = false;  // before the steps, not in each

  ForwardWalk(const Forward &given, Carver scratch, size_t *bytes = nullptr)
      : f(given), s(*given.pass.schedule), D(given.pass.D), H(given.pass.H), N(s.rows), nt(tiles(H)),
        V(given.pass.vocabulary), K_x(whole<Stored>(D)), K_h(whole<Stored>(H)), keep(given.pass.keep),
        tokens(V > 0), one_hot(given.pass.one_hot), beforehand(!tokens && N <= FEW_ROWS && s.steps > 1),
        kept(given.pass, Carver{keep ? (char *)given.tape : nullptr}), threads(given.pass, scratch) {
    if (given.packed) {
      Carver there{(char *)given.packed};
      packed = packed_in<Cell, Stored>(there, D, H);
    } else {
      packed = packed_in<Cell, Stored>(scratch, D, H);
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
      if (EXACT_APART) h_exact = scratch.take(nt * now_stride);
    }
    if (bytes) *bytes = scratch.used;
  }

  void run() {
    const double flops = 2.0 * N * Cell::GATES * H * (H + (tokens ? 0 : D));
    const Crew wanted = crew_for(f.pass, flops, nt);
    input_packed = beforehand || (wanted.members > 1 && !tokens);
    threads.run(wanted, [&](Barrier everyone, Crew crew, long number, Barrier team) {
      prepare(everyone);
      for (long j = number; j < crew.tasks && number < crew.teams; j += crew.teams) task(crew.task[j], team);
      everyone.wait();
    });
  }

  // Everything that the steps read: packed weights, the input in tiles, its product where it is done beforehand.
  void prepare(Barrier everyone) {
    const long id = everyone.member, threads = everyone.members;
    const Share units = share(nt, id, threads);
    if (!f.packed)
      for (long u = units.begin; u < units.end; ++u)
        pack_tile<Cell>(Parameters{(const real *)f.weight_ih, (const real *)f.weight_hh, (const real *)f.bias,
                                   (const real *)f.second_bias},
                        D, H, u, packed);
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
      read_rows((const real *)f.table, D, rows.begin, rows.end, table, table_stride);
    }
    everyone.wait();
    if (!projected) return;
    for (long u = units.begin; u < units.end; ++u) project(u);
    everyone.wait();
  }

  void project(long u) {
    const Stored *weights = weights_of(u);
    const real *bias = packed.bias + u * C;
    real *to = projected + u * projected_stride;
    const Stored *x = tokens ? table : x_tiles;
    const long stride = tokens ? table_stride : kept.x_stride;
    for (long r = 0; r < projected_rows; r += CHUNK)
      Panels::compute(smaller(CHUNK, projected_rows - r), x + r * TILE, stride, D, (const Stored *)nullptr, 0, 0,
                      weights, K_x, K_h, bias, 0, to + r * C, [](long, long) {});
  }

  const Stored *weights_of(long u) const { return packed.gates + u * Panels::size(K_x, K_h); }

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
        for (long b = 0; b < task.active[t]; b += CHUNK) step(task, t, u, b, smaller(CHUNK, task.active[t] - b));
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

  real *h_exact_of(const Task &task, long u, long b) const {
    return h_exact + u * now_stride + (task.first + b) * TILE;
  }

  // The initial state of a unit tile.
  void start(const Task &task, long u) {
    const long stride = h_stride(), units = H - u * TILE;
    for (long b = 0; b < task.rows; ++b) {
      const long at = task.row[b] * H + u * TILE;
      Stored *h = h_before(task, 0) + u * stride + b * TILE;
      if (f.h0) read_tile((const real *)f.h0 + at, units, h);
      else std::memset(h, 0, TILE * sizeof(Stored));
      if constexpr (EXACT_APART) read_tile((const real *)f.h0 + at, f.h0 ? units : 0, h_exact_of(task, u, b));
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
    const long row = task.start[t] + b, stride = h_stride();
    alignas(64) real z[CHUNK * C];
    const Stored *weights = weights_of(u);
    const real *from = packed.bias + u * C;
    long from_stride = 0;
    if (one_hot) {  // the packed weights of the input hold a row for each token
      for (long r = 0; r < rows; ++r)
        Panels::choose((const real *)weights, K_x, K_h, kept.ids[row + r], from, z + r * C);
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
                    (const Stored *)h_before(task, t) + b * TILE, stride, with_h ? H : 0, weights, K_x, K_h, from,
                    from_stride, z, [&](long r, long size) { gates(task, t, u, b + r, size, z + r * C); });
  }

  // From z to the new state of `rows` rows from row b of the task on.
  void gates(const Task &task, long t, long u, long b, long rows, real *z) {
    const long row = task.start[t] + b, units = smaller(TILE, H - u * TILE), stride = h_stride();
    alignas(64) real spare[MR][TILE];
    clear_padding<C>(z, rows, units);
    const long running = task.active[t + 1] - b;  // of these rows, how many go on
    real *h_to[MR] = {}, *c_to[MR] = {};
    for (long r = 0; r < rows; ++r) {
      h_to[r] = spare[r];
      if constexpr (EXACT_APART) h_to[r] = h_exact_of(task, u, b + r);
      if constexpr (std::is_same_v<Stored, real>)
        if (!keep || r < running) h_to[r] = h_before(task, t + 1) + u * stride + (b + r) * TILE;
      if constexpr (Cell::HAS_C)
        c_to[r] = !keep || r < running ? c_before(task, t + 1) + u * stride + (b + r) * TILE
                                       : kept.c_last + u * kept.last_stride + (task.first + b + r) * TILE;
    }
    const real *c = Cell::HAS_C ? c_before(task, t) + u * stride + b * TILE : nullptr;
    const real *h = nullptr;
    if constexpr (EXACT_APART) h = h_exact_of(task, u, b);
    else if constexpr (Cell::H_PASSES) h = h_before(task, t) + u * stride + b * TILE;
    if (keep) cell.template activate<true>(rows, z, h, c, c_to, h_to, kept.gates + u * kept.gate_stride + row * C);
    else cell.template activate<false>(rows, z, h, c, c_to, h_to, nullptr);

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

}  // namespace
