// The forward walk with weights of fewer bits: for inference in float32, with what `pack` wrote in one of the formats
// of narrow.h. States, gates and the sums' ends are float32.
//
// The order of work is that of forward.h. Before the products of a step, each thread turns the rows of its task into
// what its format multiplies: for few rows that is nothing beside the products, and waiting for others would not be.
#pragma once

#include "forward.h"
#include "narrow.h"

namespace {

template <class Cell, class Format> struct NarrowWeights {
  using X = NarrowProduct<Format, ByX<Cell>>;
  using H = NarrowProduct<Format, ByH<Cell>>;
  const long x_count, h_count;  // rows of the two matrices: D and H
  NarrowMatrix<Format> x, h;
  real *bias;  // [unit tile][C]

  NarrowWeights(Carver &memory, long D, long units)
      : x_count(D), h_count(units), x(taken(memory, D, ByX<Cell>::COUNT)), h(taken(memory, units, ByH<Cell>::COUNT)) {
    bias = memory.take(tiles(units) * Cell::C);
  }

  NarrowMatrix<Format> x_tile(long u) const { return X::tile(x, x_count, u); }
  NarrowMatrix<Format> h_tile(long u) const { return H::tile(h, h_count, u); }

  void pack(const Parameters &from) const {
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
  NarrowMatrix<Format> taken(Carver &memory, long K, long of_tile) const {
    const long columns = tiles(h_count) * of_tile;
    NarrowMatrix<Format> m = {};
    m.values = memory.take<typename Format::Weight>(groups_of<Format>(K) * Format::GROUP * columns);
    if (Format::SCALED) m.scale = memory.take(columns), m.offset = memory.take<int32_t>(columns);
    return m;
  }
};

template <class Cell, class Format> struct NarrowWalk {
  static constexpr int C = Cell::C;
  using Rows = NarrowRows<Format>;
  using ProductOfX = typename NarrowWeights<Cell, Format>::X;
  using ProductOfH = typename NarrowWeights<Cell, Format>::H;
  const Forward &f;
  const Schedule &s;
  const long D, H, N, nt, V;
  const bool tokens, one_hot, beforehand;
  Carver packed;
  const NarrowWeights<Cell, Format> weights;
  // The input's share of z where it is not part of a step: a row a token, or a row a valid step.
  real *projected = nullptr;
  long projected_rows, projected_stride;
  Rows inputs = {};  // what it is made of
  long most_rows = 0;
  Rows x_rows = {}, h_rows = {};  // of each thread, for the rows of a task at one step
  real *line = nullptr;           // of each thread, a row of h
  real *h_now[2], *c_now = nullptr;  // of all rows, before and after a step
  long now_stride, line_stride;
  Cell cell;
  Threads threads;

  NarrowWalk(const Forward &given, Carver scratch, size_t *bytes = nullptr)
      : f(given), s(*given.pass.schedule), D(given.pass.D), H(given.pass.H), N(s.rows), nt(tiles(H)),
        V(given.pass.vocabulary), tokens(V > 0), one_hot(given.pass.one_hot),
        beforehand(!tokens && N <= FEW_ROWS && s.steps > 1), packed{(char *)given.packed}, weights(packed, D, H),
        threads(given.pass, scratch) {
    const long most = given.pass.threads;
    for (long j = 0; j < s.tasks; ++j) most_rows = s.task[j].rows > most_rows ? s.task[j].rows : most_rows;
    projected_rows = tokens && !one_hot ? V : beforehand ? s.valid : 0;
    projected_stride = tile_stride(projected_rows, C);
    if (projected_rows) projected = scratch.take(nt * projected_stride), inputs = rows(scratch, projected_rows, D);
    if (!tokens && !beforehand) x_rows = rows(scratch, most * most_rows, D);
    h_rows = rows(scratch, most * most_rows, H);
    line_stride = nt * TILE;
    line = scratch.take(most * line_stride);
    now_stride = tile_stride(N, TILE);
    h_now[0] = scratch.take(nt * now_stride), h_now[1] = scratch.take(nt * now_stride);
    if (Cell::HAS_C) c_now = scratch.take(nt * now_stride);
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
      if (projected) project(everyone);
      for (long j = number; j < crew.tasks && number < crew.teams; j += crew.teams)
        task(crew.task[j], everyone.member, team);
      everyone.wait();
    });
  }

  void project(Barrier everyone) {
    const long id = everyone.member, threads = everyone.members;
    if (tokens) {
      const Share rows = share(V, id, threads);
      for (long v = rows.begin; v < rows.end; ++v) inputs.convert(v, (const real *)f.table + v * D, D);
    } else {
      for (long t = id; t < s.steps; t += threads)
        for (long j = 0; j < s.tasks; ++j) convert_input(s.task[j], t, inputs.from(s.task[j].start[t]));
    }
    everyone.wait();
    const Share units = share(nt, id, threads);
    for (long u = units.begin; u < units.end; ++u)
      row_groups(projected_rows, [&](long r, long rows) {
        ProductOfX::compute(rows, inputs.from(r), D, weights.x_tile(u), weights.bias + u * C, 0,
                            projected + u * projected_stride + r * C);
      });
    everyone.wait();
  }

  // The features of a task's rows at step t.
  void convert_input(const Task &task, long t, Rows to) const {
    for (long b = 0; b < task.active[t]; ++b) to.convert(b, (const real *)f.x + place(task, t, b) * D, D);
  }
  // Where row b of a task has its step t in an (N, T) array.
  long place(const Task &task, long t, long b) const { return task.origin[b] + s.direction * t; }

  // A task's rows through all steps, by a team whose members share the hidden units; `id` is that of the thread.
  void task(const Task &task, long id, Barrier team) {
    const Share units = share(nt, team.member, team.members);
    const Rows x = x_rows.values ? x_rows.from(id * most_rows) : x_rows, h = h_rows.from(id * most_rows);
    for (long u = units.begin; u < units.end; ++u) start(task, u);
    if (team.member == 0 && f.outputs) clear_outputs(task);
    team.wait();
    for (long t = 0; t < s.steps && task.active[t] > 0; ++t) {
      if (x.values) convert_input(task, t, x);
      if (t > 0 || f.h0) convert_state(task, t, line + id * line_stride, h);
      // To and fro: every other step begins with the weights that the step before used last, which are still near.
      for (long k = units.begin; k < units.end; ++k) {
        const long u = t % 2 ? units.begin + units.end - 1 - k : k;
        row_groups(task.active[t], [&](long b, long rows) { step(task, t, u, b, rows, x, h); });
      }
      team.wait();
    }
  }

  real *h_before(const Task &task, long t) const { return h_now[t & 1] + task.first * TILE; }

  void convert_state(const Task &task, long t, real *row, Rows to) const {
    for (long b = 0; b < task.active[t]; ++b) {
      for (long u = 0; u < nt; ++u)
        std::memcpy(row + u * TILE, h_before(task, t) + u * now_stride + b * TILE, TILE * sizeof(real));
      to.convert(b, row, H);
    }
  }

  // The initial state of a unit tile.
  void start(const Task &task, long u) {
    const long units = H - u * TILE;
    for (long b = 0; b < task.rows; ++b) {
      const long at = task.row[b] * H + u * TILE, to = u * now_stride + (task.first + b) * TILE;
      if (f.h0) read_tile((const real *)f.h0 + at, units, h_now[0] + to);
      else std::memset(h_now[0] + to, 0, TILE * sizeof(real));
      if constexpr (Cell::HAS_C) {
        if (f.c0) read_tile((const real *)f.c0 + at, units, c_now + to);
        else std::memset(c_now + to, 0, TILE * sizeof(real));
      }
    }
  }

  // Zero after each row's last valid step: the rows of a task are sorted, longest first.
  void clear_outputs(const Task &task) {
    long length = s.steps;
    for (long b = 0; b < task.rows; ++b) {
      while (task.active[length - 1] <= b) --length;
      const long begin = task.row[b] * s.time;
      for (long t = length; t < s.time; ++t)
        std::memset((real *)f.outputs + (begin + t) * f.output_stride, 0, H * sizeof(real));
    }
  }

  // One step of `rows` rows from row b of the task on, for unit tile u.
  void step(const Task &task, long t, long u, long b, long rows, Rows x, Rows h) {
    const long units = smaller(TILE, H - u * TILE), at = u * now_stride + (task.first + b) * TILE;
    alignas(64) real z[MR * C];
    const real *from = weights.bias + u * C;
    long from_stride = 0;
    if (beforehand) {
      from = projected + u * projected_stride + (task.start[t] + b) * C, from_stride = C;
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

    real *h_to[MR] = {}, *c_to[MR] = {};
    for (long r = 0; r < rows; ++r) {
      h_to[r] = h_now[(t + 1) & 1] + at + r * TILE;
      if constexpr (Cell::HAS_C) c_to[r] = c_now + at + r * TILE;
    }
    cell.template activate<false>(rows, z, h_now[t & 1] + at, Cell::HAS_C ? c_now + at : nullptr, c_to, h_to, nullptr);

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

}  // namespace
