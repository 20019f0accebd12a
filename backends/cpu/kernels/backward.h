// The backward walk: the order of work of a whole cell over a whole batch, from the gradients of its results to those
// of everything that it was given.
//
// It goes in blocks of time, so that the gates' gradients of a block stay in the cache: each task goes back through the
// block; then all threads add the block's share to the weight gradients. No sum depends on the number of threads.
#pragma once

#include "cells.h"
#include "memory.h"
#include "threads.h"
#include "tiles.h"

namespace {

// The most rows of gate gradients in a block of time: enough for the weight gradients to be worth a pass over their
// sums, few enough to stay in the cache.
constexpr long BLOCK_ROWS = 1024;
constexpr long GRADIENT_TILES = 16;  // the unit tiles whose gate gradients are used together, while in the cache
// The rows of one pass over a panel of weight gradients: those of dz and x, 64 and 16 numbers each, stay in 32 KB while
// every group of gates is summed. No sum depends on it.
constexpr long SUM_ROWS = 96;

template <class Cell> struct BackwardWalk {
  static constexpr int C = Cell::C;
  using InputSpan = ByX<Cell>;  // the columns of dz that go into the gradients of x and weight_ih
  using RecurrentSpan = ByH<Cell>;  // and into those of h and weight_hh
  static constexpr bool CARRIES = Cell::HAS_C || Cell::H_PASSES;
  const Backward &f;
  const Schedule &s;
  const long D, H, N, nt, xt, V;
  const bool tokens, one_hot;
  Kept<Cell> kept;
  long block_steps, block_rows, dz_stride, state_stride, bias_sums;
  real *recurrent, *input = nullptr;       // packed weight_hh and weight_ih for the products with dz
  real *dz;                                // [unit tile][row of the block][C]
  real *dh[2];                             // [unit tile][row of the batch, by task][16]
  real *dc = nullptr;                      // likewise; without a c, what of dh passes the products by
  real *dx = nullptr;                      // [tile][row of the batch, by task][16]
  real *d_bias;                            // [task][group of rows][unit tile][C]
  real *h_sums, *x_sums = nullptr;         // [unit tile][panel][C][width]
  real *d_projected = nullptr;             // tokens: [unit tile][V][C]
  real *table = nullptr, *d_table = nullptr;  // embedded tokens: [tile][V][16]
  long projected_stride, table_stride;
  Cell cell;
  Threads threads;
  long next_item = 0;

  BackwardWalk(const Backward &given, Carver scratch, size_t *bytes = nullptr)
      : f(given), s(*given.pass.schedule), D(given.pass.D), H(given.pass.H), N(s.rows), nt(tiles(H)), xt(tiles(D)),
        V(given.pass.vocabulary), tokens(V > 0), one_hot(given.pass.one_hot),
        kept(given.pass, Carver{(char *)given.tape}), threads(given.pass, scratch) {
    block_steps = BLOCK_ROWS / N > 0 ? BLOCK_ROWS / N : 1;
    block_rows = smaller(s.valid, block_steps * N);
    dz_stride = tile_stride(block_rows, C);
    state_stride = tile_stride(s.places, TILE);
    projected_stride = tile_stride(V, C);
    table_stride = tile_stride(V, TILE);
    recurrent = scratch.take(InputPanels<RecurrentSpan>::size(nt, nt));
    if (f.dx || f.d_table) input = scratch.take(InputPanels<InputSpan>::size(nt, xt));
    dz = scratch.take(nt * dz_stride);
    dh[0] = scratch.take(nt * state_stride);
    dh[1] = scratch.take(nt * state_stride);
    if (CARRIES) dc = scratch.take(nt * state_stride);
    if (f.dx) dx = scratch.take(xt * state_stride);
    bias_sums = s.tasks * s.task->sums;
    d_bias = scratch.take(bias_sums * nt * C);
    h_sums = scratch.take(nt * nt * TILE * RecurrentSpan::COUNT);
    if (!one_hot) x_sums = scratch.take(nt * xt * TILE * InputSpan::COUNT);
    if (tokens) d_projected = scratch.take(nt * projected_stride);
    if (tokens && !one_hot) table = scratch.take(xt * table_stride);
    if (f.d_table) d_table = scratch.take(xt * table_stride);
    if (bytes) *bytes = scratch.used;
  }

  void run() {
    const double flops = 4.0 * N * Cell::GATES * H * (H + (tokens ? 0 : D));
    const Crew wanted = crew_for(f.pass, flops, panel_count(nt));
    const long blocks = (s.steps + block_steps - 1) / block_steps;
    threads.run(wanted, [&](Barrier everyone, Crew crew, long number, Barrier team) {
      prepare(everyone.member, everyone.members);
      everyone.wait();
      for (long block = blocks - 1; block >= 0; --block) {
        const long t0 = block * block_steps, t1 = smaller(s.steps, t0 + block_steps);
        for (long j = number; j < crew.tasks && number < crew.teams; j += crew.teams)
          task(crew.task[j], d_bias + j * crew.task->sums * nt * C, t0, t1, team);
        everyone.wait();
        weight_gradients(t0, t1, block == blocks - 1, everyone);
        everyone.wait();
        if (everyone.member == 0) next_item = 0;
      }
      finish(everyone);
    });
  }

  void prepare(long id, long threads) {
    for (long u = id; u < nt; u += threads) {
      InputPanels<RecurrentSpan>::pack((const real *)f.weight_hh, H, H, u, recurrent);
      if (input) InputPanels<InputSpan>::pack((const real *)f.weight_ih, H, D, u, input);
      for (long j = 0; j < bias_sums; ++j) std::memset(d_bias + (j * nt + u) * C, 0, C * sizeof(real));
      if (tokens) std::memset(d_projected + u * projected_stride, 0, V * C * sizeof(real));
    }
    if (table) {
      const Share rows = share(V, id, threads);
      read_rows((const real *)f.table, D, rows.begin, rows.end, table, table_stride);
    }
  }

  // A task's rows back through the steps [t0, t1); `db` are its sums of d_bias.
  void task(const Task &task, real *db, long t0, long t1, Barrier team) {
    const long member = team.member, members = team.members;
    const Share panels = share(panel_count(nt), member, members);
    const Share units = {panels.begin * PANEL_TILES, smaller(nt, panels.end * PANEL_TILES)};
    const Share x_panels = share(panel_count(xt), member, members);
    const InputPanels<RecurrentSpan> by_recurrent{recurrent, nt, nt};
    const InputPanels<InputSpan> by_input{input, nt, xt};
    const bool divisible = s.task->sums > 1;
    for (long t = t1 - 1; t >= t0; --t) {
      const long rows = task.active[t];
      if (rows == 0) continue;
      real *dh_before = dh[(t + 1) & 1] + task.place * TILE;
      real *dz_step = dz + (task.start[t] - s.offset[t0]) * C;
      const bool with_h = t > 0 || f.dh0;
      // The products take GRADIENT_TILES at a time. A team computes the gate gradients of all its tiles first, to wait
      // only once, and then takes the products in the same portions: the parts of a sum are those of one thread.
      const auto products = [&](long u0, long count) {
        if (with_h)
          by_recurrent.compute(rows, dz_step, dz_stride, u0, count, panels.begin, panels.end, dh_before, state_stride,
                               u0 == 0, t % 2, divisible);
        if (f.dx)
          by_input.compute(rows, dz_step, dz_stride, u0, count, x_panels.begin, x_panels.end, dx + task.place * TILE,
                           state_stride, u0 == 0, t % 2, divisible);
      };
      if (members > 1) {
        for (long u = units.begin; u < units.end; ++u) tile_step(task, db, t, u, dz_step + u * dz_stride);
        team.wait();
      }
      for (long u0 = 0; u0 < nt; u0 += GRADIENT_TILES) {
        const long u1 = smaller(nt, u0 + GRADIENT_TILES);
        if (members == 1)
          for (long u = u0; u < u1; ++u) tile_step(task, db, t, u, dz_step + u * dz_stride);
        products(u0, u1 - u0);
      }
      if (f.dx) write_input_gradient(task, t, x_panels);
      if (t == 0) write_initial_gradient(task, units, dh_before);
    }
    if (t0 == 0 && member == 0 && f.dx) clear_input_gradient(task);
  }

  // The gate gradients of one unit tile at step t.
  void tile_step(const Task &task, real *db, long t, long u, real *to) {
    const long rows = task.active[t], running = task.active[t + 1], units = H - u * TILE;
    real *dh_u = dh[t & 1] + u * state_stride + task.place * TILE;
    real *dc_u = CARRIES ? dc + u * state_stride + task.place * TILE : nullptr;
    for (long b = running; b < rows; ++b) {  // rows that end here: the final state's gradient enters
      const long at = task.row[b] * H + u * TILE;
      if (f.dh) read_tile((const real *)f.dh + at, units, dh_u + b * TILE);
      else std::memset(dh_u + b * TILE, 0, TILE * sizeof(real));
      if constexpr (CARRIES) {
        if (Cell::HAS_C && f.dc) read_tile((const real *)f.dc + at, units, dc_u + b * TILE);
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
    const real *h = kept.h + u * kept.h_stride + task.start[t] * TILE;
    const real *c = nullptr, *c_next = nullptr, *c_last = nullptr;
    if constexpr (Cell::HAS_C) {
      c = kept.c + u * kept.h_stride + task.start[t] * TILE;
      c_next = kept.c + u * kept.h_stride + task.start[t + 1] * TILE;
      c_last = kept.c_last + u * kept.last_stride + task.first * TILE;
    }
    const real *gates = kept.gates + u * kept.gate_stride + task.start[t] * C;
    // In groups, which are the same whether a task is done in whole or in parts, and so are the sums of d_bias.
    for (long k = 0; k < task.sums; ++k) {
      const Share group = task.sums == 1 ? Share{0, task.rows} : share(task.rows, k, task.sums);
      const long b = group.begin, count = smaller(rows, group.end) - b;
      if (count <= 0) break;
      const auto at = [&](auto *states) { return states ? states + b * TILE : nullptr; };
      cell.differentiate(count, running - b, gates + b * C, at(h), at(c), at(c_next), at(c_last), dh_u + b * TILE,
                         at(dc_u), to + b * C, db + (k * nt + u) * C);
    }
    clear_padding<C>(to, rows, units);
  }

  void write_input_gradient(const Task &task, long t, Share x_panels) {
    for (long k = x_panels.begin * PANEL_TILES; k < smaller(xt, x_panels.end * PANEL_TILES); ++k)
      for (long b = 0; b < task.active[t]; ++b)
        write_tile(dx + k * state_stride + (task.place + b) * TILE, D - k * TILE,
                   (real *)f.dx + (task.origin[b] + s.direction * t) * D + k * TILE);
  }

  void clear_input_gradient(const Task &task) {
    if (s.valid == s.rows * s.time) return;
    for (long b = 0, length = s.steps; b < task.rows; ++b) {
      while (task.active[length - 1] <= b) --length;
      std::memset((real *)f.dx + (task.row[b] * s.time + length) * D, 0, (s.time - length) * D * sizeof(real));
    }
  }

  void write_initial_gradient(const Task &task, Share units, real *dh_before) {
    for (long u = units.begin; u < units.end; ++u)
      for (long b = 0; b < task.rows; ++b) {
        const long at = task.row[b] * H + u * TILE;
        real *dh_row = dh_before + u * state_stride + b * TILE;
        if (f.dh0) {
          if constexpr (Cell::H_PASSES)
            for (int k = 0; k < TILE; ++k) dh_row[k] += dc[u * state_stride + (task.place + b) * TILE + k];
          write_tile(dh_row, H - u * TILE, (real *)f.dh0 + at);
        }
        if constexpr (Cell::HAS_C) {
          if (f.dc0)
            write_tile(dc + u * state_stride + (task.place + b) * TILE, H - u * TILE, (real *)f.dc0 + at);
        }
      }
  }

  // Adds the steps [t0, t1) to the sums of the weight gradients. An item is a unit tile with all panels, or with some
  // where there are too few tiles for the threads, or a cut of the tile's gates where there are too few panels as well;
  // which thread does it does not matter.
  void weight_gradients(long t0, long t1, bool first, Barrier everyone) {
    const long rows = s.offset[t1] - s.offset[t0];
    // Before the first step h is zero unless it was given.
    const long without = t0 == 0 && !f.initial_state ? s.offset[1] : 0;
    const long h_panels = panel_count(nt);
    const long x_panels = tokens ? 0 : panel_count(xt), panels = h_panels + x_panels;
    const long threads = everyone.members, portions = threads == 1 ? 1 : smaller(panels, rounds(2 * threads, nt));
    const long most_cuts = smaller(GATE_GROUPS<InputSpan>, GATE_GROUPS<RecurrentSpan>);
    const long cuts = portions < panels ? 1 : smaller(most_cuts, threads == 1 ? 1 : rounds(2 * threads, nt * portions));
    const long items = nt * portions * cuts;
    if (everyone.member == 0) {
      f.pass.report->gradients = double(rounds(items, threads)) / items;
      f.pass.report->first_gradients = double(items / threads) / items;
      f.pass.report->backward = true;
    }
    for (;;) {
      const long item = __atomic_fetch_add(&next_item, 1, __ATOMIC_RELAXED), u = item / (portions * cuts);
      if (u >= nt) break;
      const Share portion = share(panels, item / cuts % portions, portions);
      const Cut cut{item % cuts, cuts};
      for (long k = 0; k < rows; k += SUM_ROWS) {
        const long count = smaller(SUM_ROWS, rows - k);
        for (long p = portion.begin; p < portion.end; ++p) {
          if (p < h_panels) {
            const long skip = k >= without ? 0 : smaller(count, without - k);
            sum_panel<RecurrentSpan>(h_sums + u * nt * TILE * RecurrentSpan::COUNT, nt, p, dz + u * dz_stride,
                                     k + skip, count - skip, kept.h + s.offset[t0] * TILE, kept.h_stride,
                                     first && k == 0, cut);
          } else {
            sum_panel<InputSpan>(x_sums + u * xt * TILE * InputSpan::COUNT, xt, p - h_panels, dz + u * dz_stride, k,
                                 count, kept.x + s.offset[t0] * TILE, kept.x_stride, first && k == 0, cut);
          }
        }
      }
      if (tokens && portion.begin == 0 && cut.part == 0) {
        real *to = d_projected + u * projected_stride;
        const int32_t *ids = kept.ids + s.offset[t0];
        for (long r = 0; r < rows; ++r)
          for (int k = InputSpan::FIRST; k < InputSpan::FIRST + InputSpan::COUNT; k += W) {
            real *sum = to + ids[r] * long(C) + k;
            store(sum, load(sum) + load(dz + u * dz_stride + r * C + k));
          }
      }
    }
  }

  template <class Span>
  void sum_panel(real *sums, long column_tiles, long p, const real *dz_u, long row, long rows, const real *inputs,
                 long stride, bool first, Cut cut) {
    const long w = InputPanels<Span>::width(column_tiles, p);
    weight_panel<Span>(w, dz_u + row * C, inputs + p * PANEL_TILES * stride + row * TILE, stride, rows,
                       sums + p * PANEL_TILES * TILE * Span::COUNT, first, cut);
  }

  // From the sums to the caller's gradients.
  void finish(Barrier everyone) {
    const long id = everyone.member, threads = everyone.members;
    for (long u = id; u < nt; u += threads) {
      write_gradient<RecurrentSpan>(h_sums + u * nt * TILE * RecurrentSpan::COUNT, nt, u, H, (real *)f.d_weight_hh);
      const long units = smaller(TILE, H - u * TILE);
      for (int b = 0; b < C / TILE; ++b) {
        const auto [fed, gate] = Cell::COLUMNS[b];
        real *to = (fed == Fed::BY_H ? (real *)f.d_second_bias : (real *)f.d_bias + gate * H) + u * TILE;
        for (long k = 0; k < units; ++k) {
          real sum = 0;
          for (long j = 0; j < bias_sums; ++j) sum += d_bias[(j * nt + u) * C + b * TILE + k];
          write_sums(&sum, 1, to + k, f.accumulate);
        }
      }
      if (one_hot) {
        const real *from = d_projected + u * projected_stride;
        for (int b = 0; b < InputSpan::COUNT / TILE; ++b)
          for (long k = 0; k < units; ++k) {
            real *to = (real *)f.d_weight_ih + (InputSpan::gate(b) * H + u * TILE + k) * D;
            for (long v = 0; v < V; ++v)
              write_sums(from + v * C + InputSpan::FIRST + b * TILE + k, 1, to + v, f.accumulate);
          }
        continue;
      }
      if (tokens) {  // the table's rows are the inputs, a token's gradients are summed already
        const long panels = panel_count(xt);
        for (long k = 0; k < V; k += SUM_ROWS)
          for (long p = 0; p < panels; ++p)
            sum_panel<InputSpan>(x_sums + u * xt * TILE * InputSpan::COUNT, xt, p, d_projected + u * projected_stride,
                         k, smaller(SUM_ROWS, V - k), table, table_stride, k == 0, Cut{0, 1});
      }
      write_gradient<InputSpan>(x_sums + u * xt * TILE * InputSpan::COUNT, xt, u, D, (real *)f.d_weight_ih);
    }
    if (!f.d_table) return;
    everyone.wait();
    const InputPanels<InputSpan> by_input{input, nt, xt};
    const Share panels = share(panel_count(xt), id, threads);
    by_input.compute(V, d_projected, projected_stride, 0, nt, panels.begin, panels.end, d_table, table_stride, true,
                     false);
    for (long k = panels.begin * PANEL_TILES; k < smaller(xt, panels.end * PANEL_TILES); ++k)
      for (long v = 0; v < V; ++v)
        write_tile(d_table + k * table_stride + v * TILE, D - k * TILE, (real *)f.d_table + v * D + k * TILE);
  }

  template <class Span>
  void write_gradient(const real *sums, long column_tiles, long u, long columns, real *gradient) {
    for (long p = 0; p * PANEL_TILES < column_tiles; ++p)
      write_weight_panel<Span>(sums + p * PANEL_TILES * TILE * Span::COUNT, InputPanels<Span>::width(column_tiles, p),
                               u, H, p * PANEL_TILES * TILE, columns, gradient, f.accumulate);
  }
};

}  // namespace
