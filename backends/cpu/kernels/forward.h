// The forward walk: the order of work of a whole cell over a whole batch, forward.
//
// Each task takes its rows through all steps. In a step, tile after tile of 16 hidden units: the product for all gates
// of the tile, for at most MR rows, then at once the gates themselves, while they are in the first-level cache; of few
// rows, several tiles together. The input's product is part of the same sum. Where a team does a task, its members
// share the tiles of each step.
#pragma once

#include "packing.h"
#include "threads.h"

namespace {

// The largest batch for which the input's product is done before the steps, over all steps of a sequence at once. With
// so few rows a step reads all weights for little work; over all steps, the product has many rows to use them for.
constexpr long FEW_ROWS = 4;
constexpr long CHUNK = 64;  // the most rows that go through a step of a unit tile together: their z stays near
// About how many rows of input are put in tiles, and projected, before the steps that read them: enough for the
// product, and for the threads to wait seldom. What a pass needs of memory does not grow with the number of steps.
constexpr long AHEAD_ROWS = 1024;

template <class Cell> struct ForwardWalk {
  static constexpr int C = Cell::C;
  using Panels = ::Panels<Cell>;
  const Forward &f;
  const Schedule &s;
  const long D, H, N, nt, V, most_inputs;
  const bool keep, tokens, one_hot, beforehand;
  Kept<Cell> kept;
  Packed packed;
  // [tile][row][16]: with keep, of all valid steps; else of the steps of a block, or of each task's current one.
  real *x_tiles = nullptr;
  long x_stride;
  // The input's share of z where it is not part of the sum of a step: a row a token, or one for each of x_tiles.
  real *projected = nullptr;
  long projected_rows, projected_stride;
  real *table = nullptr;  // [tile][V][16]
  long table_stride;
  real *h_now[2] = {};  // without keep: of all rows, before and after a step
  real *c_now = nullptr;
  long now_stride;
  Cell cell;
  Threads threads;
  bool input_packed = false;  // before the steps of a block, not in each
  long block_steps;           // all of them where the input is not packed before, or kept
  long packed_from = 0;       // the valid steps before the block

  ForwardWalk(const Forward &given, Carver scratch, size_t *bytes = nullptr)
      : f(given), s(*given.pass.schedule), D(given.pass.D), H(given.pass.H), N(s.rows), nt(tiles(H)),
        V(given.pass.vocabulary), most_inputs(Panels::inputs_of(given.pass.first_level)), keep(given.pass.keep),
        tokens(V > 0), one_hot(given.pass.one_hot), beforehand(!tokens && N <= FEW_ROWS && s.steps > 1),
        kept(given.pass, Carver{keep ? (char *)given.tape : nullptr}), threads(given.pass, scratch) {
    if (given.packed) {
      Carver there{(char *)given.packed};
      packed = packed_in<Cell>(there, D, H);
    } else {
      packed = packed_in<Cell>(scratch, D, H);
    }
    block_steps = keep ? s.steps : smaller(s.steps, AHEAD_ROWS / N > 16 ? AHEAD_ROWS / N : 16);
    const long ahead = keep ? s.valid : smaller(s.valid, block_steps * N);
    projected_rows = tokens && !one_hot ? V : beforehand ? ahead : 0;
    projected_stride = tile_stride(projected_rows, C);
    table_stride = tile_stride(V, TILE);
    now_stride = tile_stride(s.places, TILE);
    if (beforehand && keep) projected = kept.gates, projected_stride = kept.gate_stride;
    else if (projected_rows) projected = scratch.take(nt * projected_stride);
    if (tokens && !one_hot) table = scratch.take(tiles(D) * table_stride);
    x_tiles = kept.x, x_stride = kept.x_stride;
    if (!keep) {
      x_stride = tile_stride(ahead > s.places ? ahead : s.places, TILE);
      if (tokens) kept.ids = scratch.take<int32_t>(s.valid);
      else x_tiles = scratch.take(tiles(D) * x_stride);
      h_now[0] = scratch.take(nt * now_stride);
      h_now[1] = scratch.take(nt * now_stride);
      if (Cell::HAS_C) c_now = scratch.take(nt * now_stride);
    }
    if (bytes) *bytes = scratch.used;
  }

  void run() {
    const double flops = 2.0 * N * Cell::GATES * H * (H + (tokens ? 0 : D));
    const Crew wanted = crew_for(f.pass, flops, nt);
    input_packed = beforehand || (wanted.members > 1 && !tokens);
    if (!input_packed) block_steps = s.steps;
    threads.run(wanted, [&](Barrier everyone, Crew crew, long number, Barrier team) {
      prepare(everyone);
      for (long t0 = 0; t0 < s.steps; t0 += block_steps) {
        const long t1 = smaller(s.steps, t0 + block_steps);
        if (input_packed) prepare_input(t0, t1, everyone);
        for (long j = number; j < crew.tasks && number < crew.teams; j += crew.teams) task(crew.task[j], t0, t1, team);
        everyone.wait();
      }
    });
  }

  // What all steps read: packed weights, token ids, the product of a table of tokens.
  void prepare(Barrier everyone) {
    const long id = everyone.member, threads = everyone.members;
    const Share units = share(nt, id, threads);
    if (!f.packed)
      for (long u = units.begin; u < units.end; ++u)
        pack_tile<Cell>(Parameters{(const real *)f.weight_ih, (const real *)f.weight_hh, (const real *)f.bias,
                                   (const real *)f.second_bias},
                        D, H, u, packed);
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
    if (!table) return;
    for (long u = units.begin; u < units.end; ++u) project(u, table, table_stride, 0, V);
    everyone.wait();
  }

  // The input of the steps [t0, t1) in tiles, and its product where it is done before the steps.
  void prepare_input(long t0, long t1, Barrier everyone) {
    const long id = everyone.member, threads = everyone.members;
    const long before = keep ? 0 : s.offset[t0];
    for (long t = t0 + id; t < t1; t += threads)
      for (long j = 0; j < s.tasks; ++j) pack_step(s.task[j], t, s.task[j].start[t] - before);
    if (id == 0) packed_from = before;
    everyone.wait();
    if (!beforehand) return;
    const Share units = share(nt, id, threads);
    for (long u = units.begin; u < units.end; ++u)
      project(u, x_tiles, x_stride, s.offset[t0] - before, s.offset[t1] - before);
    everyone.wait();
  }

  // The product of rows [begin, end) of the input's tiles.
  void project(long u, const real *x, long stride, long begin, long end) {
    const real *bias = packed.bias + u * C;
    real *to = projected + u * projected_stride;
    for (long r = begin; r < end; r += CHUNK)
      Panels::compute(smaller(CHUNK, end - r),
                      {x + r * TILE, stride, D, x, 0, 0, weights_of(u), D, H, bias, 0, 0, to + r * C}, most_inputs,
                      [](long, long) {});
  }

  const real *weights_of(long u) const { return packed.gates + u * Panels::size(D, H); }

  void pack_step(const Task &task, long t, long row) {
    pack_input(task, t, s.direction, (const real *)f.x, D, x_tiles + row * TILE, x_stride);
  }

  // Where a step's rows of the input's tiles begin.
  long x_row(const Task &task, long t) const {
    return input_packed ? task.start[t] - packed_from : keep ? task.start[t] : task.place;
  }

  // A task's rows through the steps [t0, t1), by a team whose members share the hidden units.
  void task(const Task &task, long t0, long t1, Barrier team) {
    const Share units = share(nt, team.member, team.members);
    if (t0 == 0) {
      for (long u = units.begin; u < units.end; ++u) start(task, u);
      if (team.member == 0 && f.outputs) clear_outputs(task);
      team.wait();
    }
    for (long t = t0; t < t1 && task.active[t] > 0; ++t) {
      if (!tokens && !input_packed) pack_step(task, t, x_row(task, t));
      if (task.active[t] <= Panels::FEW) {
        step_of_few(task, t, units);
      } else {
        // To and fro: every other step begins with the weights that the step before used last, which are still near.
        for (long k = units.begin; k < units.end; ++k) {
          const long u = t % 2 ? units.begin + units.end - 1 - k : k;
          for (long b = 0; b < task.active[t]; b += CHUNK) step<1>(task, t, u, b, smaller(CHUNK, task.active[t] - b));
        }
      }
      team.wait();
    }
  }

  // A step of few rows: of so many unit tiles at a time as the product takes together. To and fro, as for more.
  void step_of_few(const Task &task, long t, Share units) {
    const long left = units.end - units.begin;
    WITH_ROWS(task.active[t], {
      if constexpr (R <= Panels::FEW)
        each_tiles<Panels::tiles_together(R)>(left, [&](auto count, long done) {
          constexpr int TILES = decltype(count)::value;
          step<TILES, R>(task, t, t % 2 ? units.end - done - TILES : units.begin + done, 0, R);
        });
    })
  }

  // Calls f(constant n, done before) until all of `left` are done: n at a time, and of a rest half as many.
  template <int MOST, class F> static void each_tiles(long left, F f) {
    long done = 0;
    for (; left - done >= MOST; done += MOST) f(std::integral_constant<int, MOST>{}, done);
    if constexpr (MOST > 1)
      each_tiles<MOST / 2>(left - done, [&](auto count, long more) { f(count, done + more); });
  }

  real *h_before(const Task &task, long t) const {
    return keep ? kept.h + task.start[t] * TILE : h_now[t & 1] + task.place * TILE;
  }
  long h_stride() const { return keep ? kept.h_stride : now_stride; }
  real *c_before(const Task &task, long t) const {
    return keep ? kept.c + task.start[t] * TILE : c_now + task.place * TILE;
  }

  // The initial state of a unit tile.
  void start(const Task &task, long u) {
    const long stride = h_stride(), units = H - u * TILE;
    for (long b = 0; b < task.rows; ++b) {
      const long at = task.row[b] * H + u * TILE;
      real *h = h_before(task, 0) + u * stride + b * TILE;
      if (f.h0) read_tile((const real *)f.h0 + at, units, h);
      else std::memset(h, 0, TILE * sizeof(real));
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

  // One step of `rows` rows from row b of the task on, for the TILES unit tiles from u on; where these are several, of
  // R rows.
  template <int TILES, int R = 0> void step(const Task &task, long t, long u, long b, long rows) {
    const long row = task.start[t] + b, stride = h_stride();
    static_assert(TILES == 1 || TILES * R <= CHUNK, "z holds the rows of all tiles");
    alignas(64) real z[CHUNK * C];  // [tile][row][C]
    const real *from = packed.bias + u * C;
    long from_stride = 0, from_tiles = C;
    if (tokens) {
      for (long k = 0; k < TILES * rows; ++k) {
        const long tile = u + k / rows, id = kept.ids[row + k % rows];
        // The packed weights of the input hold a row for each token.
        if (one_hot) Panels::choose(weights_of(tile), D, H, id, packed.bias + tile * C, z + k * C);
        else std::memcpy(z + k * C, projected + tile * projected_stride + id * C, C * sizeof(real));
      }
      from = z, from_stride = C, from_tiles = rows * C;
    } else if (beforehand) {
      from = projected + u * projected_stride + (x_row(task, t) + b) * C, from_stride = C;
      from_tiles = projected_stride;
    }
    const bool with_x = !tokens && !beforehand, with_h = t > 0 || f.h0;
    const real *h = h_before(task, t) + b * TILE, *x = with_x ? x_tiles + (x_row(task, t) + b) * TILE : h;
    const typename Panels::Product product = {x, x_stride, with_x ? D : 0, h, stride, with_h ? H : 0, weights_of(u),
                                              D, H, from, from_stride, from_tiles, z};
    if constexpr (TILES == 1) {
      Panels::compute(rows, product, most_inputs,
                      [&](long r, long size) { gates(task, t, u, b + r, size, z + r * C); });
    } else {
      Panels::template compute_group<R, TILES>(product);
      for (long k = 0; k < TILES; ++k) gates(task, t, u + k, b, rows, z + k * rows * C);
    }
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
      if (!keep || r < running) h_to[r] = h_before(task, t + 1) + u * stride + (b + r) * TILE;
      if constexpr (Cell::HAS_C)
        c_to[r] = !keep || r < running ? c_before(task, t + 1) + u * stride + (b + r) * TILE
                                       : kept.c_last + u * kept.last_stride + (task.first + b + r) * TILE;
    }
    const real *c = Cell::HAS_C ? c_before(task, t) + u * stride + b * TILE : nullptr;
    const real *h = nullptr;
    if constexpr (Cell::H_PASSES) h = h_before(task, t) + u * stride + b * TILE;
    if (keep) cell.template activate<true>(rows, z, h, c, c_to, h_to, kept.gates + u * kept.gate_stride + row * C);
    else cell.template activate<false>(rows, z, h, c, c_to, h_to, nullptr);

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
