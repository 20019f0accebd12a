// The parts of a training step and of inference, each alone: for kernel_parts.py, which compiles this file with the
// kernels' headers for one instruction set. Nothing of it is in the product.
//
// The walks are templates of a cell: with a cell whose gates do nothing they are the products, stores and packing alone,
// in their true order. Usage: program N T D H threads rounds seconds part. The parts whose names contain `part` take
// turns in each round. It prints one line of JSON: of each part its floating-point operations (0 where it is no
// product), the seconds of a call in each round, the operations a second of multiply-adds in registers just before, and
// those of a product out of the first-level cache, the lesser of before and after.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "caches.h"
#include "schedule.h"

using real = float;

#include "kernels/backward.h"
#include "kernels/forward.h"

namespace {

// An LSTM that computes no gates.
struct Products : LSTM {
  template <bool KEEP>
  void activate(long, real *, const real *, const real *, real *const *, real *const *, real *) {}
  void differentiate(long, long, const real *, const real *, const real *, const real *, const real *, const real *,
                     real *, real *, real *) {}
};

// Zeros or small numbers, of whole cache lines.
struct Memory {
  void *at;
  explicit Memory(size_t bytes, float scale = 0) {
    bytes = (bytes + 4096) / 64 * 64;
    at = aligned_alloc(64, bytes);
    float *numbers = (float *)at;
    unsigned state = 12345;
    for (size_t k = 0; k < bytes / sizeof(float); ++k) {
      state = state * 1664525 + 1013904223;
      numbers[k] = scale * (float(state >> 8) / (1 << 23) - 1);
    }
  }
  operator float *() const { return (float *)at; }
  char *bytes() const { return (char *)at; }
};

struct Part {
  std::string name;
  double flops;  // 0: it has none to speak of
  std::function<void()> call;
  // In each round: of one call; of the multiply-adds just before it; of a near product just before or just after it.
  std::vector<double> seconds = {}, peak = {}, near = {};
};

// Of one call, by calls for at least so long.
double seconds_of(const std::function<void()> &call, double least) {
  long calls = 0;
  const double begin = omp_get_wtime();
  double now;
  do call(), ++calls, now = omp_get_wtime();
  while (now - begin < least);
  return (now - begin) / calls;
}

constexpr int CHAINS = REGISTERS == 32 ? 24 : 14;

// Multiply-adds of registers alone, as in peak.py.
NOINLINE void multiply_adds(long turns, real *result) {
  vec sums[CHAINS];
  for (int k = 0; k < CHAINS; ++k) sums[k] = all(real(k));
  const vec factor = all(result[0]), summand = all(result[1]);
  for (long turn = 0; turn < turns; ++turn) {
    _Pragma("GCC unroll 24")
    for (int k = 0; k < CHAINS; ++k) sums[k] = sums[k] * factor + summand;
  }
  for (int k = 1; k < CHAINS; ++k) sums[0] += sums[k];
  store(result, sums[0]);
}

int measure(long N, long T, long D, long H, long threads, long rounds, double least, const std::string &only) {
  const long nt = tiles(H);
  OwnedSchedule owned(N, T, nullptr, false, rows_of_a_task(4, D, H), H, threads);
  const Schedule &s = owned.schedule;
  const float scale = 1 / std::sqrt(float(H));
  Memory x(N * T * D * 4, 1), w_ih(4 * H * D * 4, scale), w_hh(4 * H * H * 4, scale), bias(4 * H * 4, scale);
  Memory outputs(N * T * H * 4), h(N * H * 4), c(N * H * 4), dh(N * H * 4, 1), d_ih(4 * H * D * 4),
      d_hh(4 * H * H * 4), d_bias(4 * H * 4);
  Report report{};
  Forward f{};
  Pool pool;
  f.pass.schedule = &s, f.pass.D = D, f.pass.H = H, f.pass.keep = true, f.pass.threads = threads;
  f.pass.first_level = first_level_cache(), f.pass.patience = 1000, f.pass.cores = Cores::MEASURED, f.pass.report = &report, f.pass.pool = &pool;
  f.x = x, f.weight_ih = w_ih, f.weight_hh = w_hh, f.bias = bias, f.h = h, f.c = c;
  Forward inference = f;
  inference.pass.keep = false, inference.outputs = outputs, inference.output_stride = H;
  size_t tape_bytes, bytes;
  Kept<LSTM>(f.pass, Carver{nullptr}, &tape_bytes);
  Memory tape(tape_bytes), product_tape(tape_bytes);
  f.tape = tape;
  ForwardWalk<LSTM>(f, Carver{nullptr}, &bytes);
  Memory forward_scratch(bytes);
  ForwardWalk<LSTM>(inference, Carver{nullptr}, &bytes);
  Memory inference_scratch(bytes);
  Carver counted{nullptr};
  packed_in<LSTM>(counted, D, H);
  Memory packed(counted.used);
  Backward b{};
  b.pass = f.pass, b.weight_ih = w_ih, b.weight_hh = w_hh, b.tape = tape, b.dh = dh;
  b.d_weight_ih = d_ih, b.d_weight_hh = d_hh, b.d_bias = d_bias;
  BackwardWalk<LSTM>(b, Carver{nullptr}, &bytes);
  Memory backward_scratch(bytes);
  Forward products = f, inference_products = inference;
  products.tape = product_tape;
  Backward back_products = b;
  back_products.tape = product_tape;

  const double of_h = 8.0 * N * H * H * T, of_x = 8.0 * N * D * H * T, first = 8.0 * N * H * H;
  const double forward = of_h + of_x, backward = 2 * of_h + of_x;
  const long row_tiles = N * T * nt, team = threads;
  Memory z(threads * 4096 * 4, 1), results(threads * 64 * 4);
  const auto each = [&](auto work) {
#pragma omp parallel num_threads(int(team))
    work(long(omp_get_thread_num()));
  };
  const auto activate = [&](auto keep) {
    each([&](long id) {
      LSTM cell;
      alignas(64) static thread_local real gates[MR * LSTM::C], states[MR * TILE], to[MR][2][TILE];
      alignas(64) static thread_local real copy[MR * LSTM::C];  // z is overwritten
      real *h_to[MR], *c_to[MR];
      for (int r = 0; r < MR; ++r) h_to[r] = to[r][0], c_to[r] = to[r][1];
      for (long k = 0; k < row_tiles / team; k += MR) {
        std::memcpy(copy, z + id * 4096, sizeof copy);
        cell.activate<decltype(keep)::value>(MR, copy, states, states, c_to, h_to, gates);
      }
    });
  };
  const double turns = 2e5;
  const auto peak = [&] {
    each([&](long id) {
      real *at = results + id * 64;
      at[0] = 0.5, at[1] = 1;
      multiply_adds(long(turns), at);
    });
  };
  // A product whose numbers are all in the first-level cache has the instructions of every product here. It is slower
  // than its own best where something else runs on the same core's other thread, which the multiply-adds do not notice.
  constexpr long NEAR_ROWS = 4 * MR, NEAR_INPUTS = 64;
  const auto near = [&] {
    each([&](long id) {
      alignas(64) static thread_local real near_weights[NEAR_INPUTS * LSTM::C] = {}, rows[NEAR_ROWS * NEAR_INPUTS] = {};
      for (int k = 0; k < 200; ++k)
        ::Panels<LSTM>::compute(NEAR_ROWS,
                                {rows, NEAR_ROWS * TILE, 0, rows, NEAR_ROWS * TILE, NEAR_INPUTS, near_weights, 0,
                                 NEAR_INPUTS, z + id * 4096, 0, 0, z + id * 4096 + LSTM::C},
                                NEAR_INPUTS, [](long, long) {});
    });
  };
  const double near_flops = 200.0 * 2 * NEAR_ROWS * NEAR_INPUTS * LSTM::C * team;
  std::vector<Part> parts = {
      {"inference", forward, [&] { ForwardWalk<LSTM>(inference, Carver{inference_scratch.bytes()}).run(); }},
      {"inference, products", forward - first,
       [&] { ForwardWalk<Products>(inference_products, Carver{inference_scratch.bytes()}).run(); }},
      {"inference, gates", 0, [&] { activate(std::false_type{}); }},
      {"forward", forward, [&] { ForwardWalk<LSTM>(f, Carver{forward_scratch.bytes()}).run(); }},
      {"forward, products", forward - first,
       [&] { ForwardWalk<Products>(products, Carver{forward_scratch.bytes()}).run(); }},
      {"forward, gates", 0, [&] { activate(std::true_type{}); }},
      {"forward, packing", 0, [&] { each([&](long id) {
         const Share units = share(nt, id, team);
         Carver memory{packed.bytes()};
         const Packed to = packed_in<LSTM>(memory, D, H);
         for (long u = units.begin; u < units.end; ++u) pack_tile<LSTM>({w_ih, w_hh, bias, nullptr}, D, H, u, to);
       }); }},
      {"backward", backward, [&] { BackwardWalk<LSTM>(b, Carver{backward_scratch.bytes()}).run(); }},
      {"backward, products", backward - 2 * first,
       [&] { BackwardWalk<Products>(back_products, Carver{backward_scratch.bytes()}).run(); }},
      {"backward, dh", of_h - first, [&] {
         BackwardWalk<Products> walk(back_products, Carver{backward_scratch.bytes()});
         each([&](long id) {
           const long blocks = (s.steps + walk.block_steps - 1) / walk.block_steps;
           for (long block = blocks - 1; block >= 0; --block)
             for (long j = id; j < s.tasks; j += team)
               walk.task(s.task[j], walk.d_bias + j * s.task->sums * nt * LSTM::C, block * walk.block_steps,
                         smaller(s.steps, (block + 1) * walk.block_steps), Barrier{nullptr, 0, 1, 0, nullptr});
         });
       }},
      {"backward, dW", of_h + of_x - first, [&] {
         BackwardWalk<Products> walk(back_products, Carver{backward_scratch.bytes()});
         const long blocks = (s.steps + walk.block_steps - 1) / walk.block_steps;
         for (long block = blocks - 1; block >= 0; --block) {
           walk.next_item = 0;
           each([&](long id) {
             walk.weight_gradients(block * walk.block_steps, smaller(s.steps, (block + 1) * walk.block_steps),
                                   block == blocks - 1, Barrier{nullptr, id, team, 0, nullptr});
           });
         }
       }},
      {"backward, gates", 0, [&] { each([&](long id) {
         LSTM cell;
         alignas(64) static thread_local real db[64], dz[32 * 64], dc[32 * 16];
         const real *from = z + id * 4096;
         for (long k = 0; k < row_tiles / team; k += 32) {
           std::memcpy(dc, from, sizeof dc);
           cell.differentiate(32, 32, from, from, from, from, from, from, dc, dz, db);
         }
       }); }},
      {"backward, packing", 0, [&] {
         BackwardWalk<Products> walk(back_products, Carver{backward_scratch.bytes()});
         each([&](long id) { walk.prepare(id, team); });
       }},
  };
  parts.erase(std::remove_if(parts.begin(), parts.end(),
                             [&](const Part &part) { return part.name.find(only) == std::string::npos; }),
              parts.end());
  for (long round = -1; round < rounds; ++round)
    for (Part &part : parts) {
      const double top = seconds_of(peak, 0.005), before = seconds_of(near, 0.003);
      part.call();
      const double seconds = seconds_of(part.call, least), after = seconds_of(near, 0.003);
      if (round < 0) continue;
      part.seconds.push_back(seconds), part.peak.push_back(2.0 * CHAINS * W * turns * team / top);
      part.near.push_back(near_flops / std::max(before, after));
    }
  const auto list = [](const char *name, const std::vector<double> &numbers) {
    std::printf(", \"%s\": [", name);
    for (size_t k = 0; k < numbers.size(); ++k) std::printf("%s%.9g", k ? ", " : "", numbers[k]);
    std::printf("]");
  };
  std::printf("{");
  for (const Part &part : parts) {
    std::printf("%s\"%s\": {\"flops\": %.0f", &part == &parts[0] ? "" : ", ", part.name.c_str(), part.flops);
    list("seconds", part.seconds), list("peak", part.peak), list("near", part.near);
    std::printf("}");
  }
  std::printf("}\n");
  return 0;
}

}  // namespace

int main(int count, char **given) {
  if (count != 9) return 2;
  long numbers[6];
  for (int k = 0; k < 6; ++k) numbers[k] = std::atol(given[k + 1]);
  return measure(numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5],
                 std::atof(given[7]), given[8]);
}
