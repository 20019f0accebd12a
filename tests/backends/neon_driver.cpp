// One forward and one backward call of the kernels, for test_neon.py, which runs it under an emulator: it has no
// Python there. Reads a description of the call from the standard input, writes the results to the standard output.
//
// Compiled with XLSTM_TARGET and XLSTM_REAL as kernels/kernels.cpp is, and linked with it. Its argument is the name of
// a cell.
//
// In: 11 int64 (N, T, D, H, V, one_hot, reverse, has_lengths, has_state, has_d_outputs, input_gradient), then what they
// say is there: int64 lengths (N), ids (N, T); then numbers: x (N, T, D) or table (V, D), weight_ih, weight_hh, bias,
// the second bias, h0, c0, d_outputs, dh, dc. Only an LSTM has c0 and dc, only a GRU a second bias; one-hot tokens have
// no table.
// Out: outputs, h, c of a call that keeps its tape; the same of one that does not, with packed weights; then dh0, dc0,
// d_weight_ih, d_weight_hh, d_bias, that of the second bias, and dx or d_table where asked for.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "kernels/kernels.h"
#include "schedule.h"

using real = XLSTM_REAL;
using namespace xlstm;

#define JOIN_(a, b, c) a##_##b##_##c
#define JOIN(a, b, c) JOIN_(a, b, c)
#define TABLE JOIN(kernels, XLSTM_TARGET, XLSTM_REAL)
extern const Kernels TABLE;

template <class T> static std::vector<T> read(long count) {
  std::vector<T> values(count);
  if (std::fread(values.data(), sizeof(T), count, stdin) != size_t(count)) {
    std::fprintf(stderr, "the input ends too early\n");
    std::exit(2);
  }
  return values;
}

// Memory that the kernels are to write: NaN before.
static std::vector<real> unwritten(long count) { return std::vector<real>(count, real(NAN)); }
static std::vector<char> scratch(size_t bytes) { return std::vector<char>(bytes + 64, char(0xff)); }
static void *aligned(std::vector<char> &memory) { return (void *)(((uintptr_t)memory.data() + 63) / 64 * 64); }

static void write(const std::vector<real> &values) { std::fwrite(values.data(), sizeof(real), values.size(), stdout); }
static const void *pointer(const std::vector<real> &values) { return values.empty() ? nullptr : values.data(); }

static const CellKernels &kernels_of(const char *cell) {
  for (size_t k = 0; k < TABLE.cell_count; ++k)
    if (!std::strcmp(TABLE.cells[k].cell, cell)) return TABLE.cells[k];
  std::fprintf(stderr, "no cell is called %s\n", cell);
  std::exit(2);
}

int main(int count, char **arguments) {
  const CellKernels &kernels = kernels_of(count == 2 ? arguments[1] : "");
  const auto n = read<int64_t>(11);
  const long N = n[0], T = n[1], D = n[2], H = n[3], V = n[4], GH = kernels.gates * H;
  const bool one_hot = n[5], reverse = n[6], has_lengths = n[7], has_state = n[8], has_d_outputs = n[9];
  const bool input_gradient = n[10], has_c = kernels.has_c, embedded = V > 0 && !one_hot;

  const auto lengths = read<int64_t>(has_lengths ? N : 0);
  const auto ids = read<int64_t>(V ? N * T : 0);
  const auto x = read<real>(V ? 0 : N * T * D), table = read<real>(embedded ? V * D : 0);
  const auto weight_ih = read<real>(GH * D), weight_hh = read<real>(GH * H), bias = read<real>(GH);
  const auto second_bias = read<real>(kernels.second_bias ? H : 0);
  const auto h0 = read<real>(has_state ? N * H : 0), c0 = read<real>(has_state && has_c ? N * H : 0);
  const auto d_outputs = read<real>(has_d_outputs ? N * T * H : 0);
  const auto dh = read<real>(N * H), dc = read<real>(has_c ? N * H : 0);

  const Order order(T, lengths);
  const OwnedSchedule owned(N, T, has_lengths ? &order : nullptr, reverse, 32, H, 1);
  auto outputs = unwritten(N * T * H), h = unwritten(N * H), c = unwritten(has_c ? N * H : 0);
  Forward f = {};
  f.x = pointer(x), f.ids = V ? ids.data() : nullptr, f.table = pointer(table);
  f.weight_ih = weight_ih.data(), f.weight_hh = weight_hh.data();
  f.bias = bias.data(), f.second_bias = pointer(second_bias);
  f.h0 = pointer(h0), f.c0 = pointer(c0);
  f.outputs = outputs.data(), f.output_stride = H, f.h = h.data(), f.c = c.data();
  auto packed = scratch(kernels.packed_bytes(D, H, Precision::FULL));
  kernels.pack(f.weight_ih, f.weight_hh, f.bias, f.second_bias, D, H, Precision::FULL, aligned(packed));
  std::vector<char> tape;
  f.pass.schedule = &owned.schedule, f.pass.D = D, f.pass.H = H, f.pass.vocabulary = V, f.pass.one_hot = one_hot;
  Report report;
  f.pass.threads = 1, f.pass.report = &report;
  for (bool keep : {true, false}) {
    f.pass.keep = keep;
    f.packed = keep ? nullptr : aligned(packed);
    if (keep) {
      tape = scratch(kernels.tape_bytes(f.pass));
      f.tape = aligned(tape);
    } else {
      f.tape = nullptr;
      outputs = unwritten(N * T * H), h = unwritten(N * H), c = unwritten(has_c ? N * H : 0);
      f.outputs = outputs.data(), f.h = h.data(), f.c = c.data();
    }
    auto memory = scratch(kernels.forward_bytes(f));
    f.scratch = aligned(memory);
    kernels.forward(f);
    write(outputs), write(h), write(c);
  }

  auto dh0 = unwritten(N * H), dc0 = unwritten(has_c ? N * H : 0);
  std::vector<real> d_weight_ih(GH * D), d_weight_hh(GH * H), d_bias(GH);
  std::vector<real> d_second_bias(second_bias.size()), d_table(embedded ? V * D : 0);
  auto dx = unwritten(V ? 0 : N * T * D);
  Backward b = {};
  b.pass = f.pass, b.pass.keep = true;
  b.table = pointer(table), b.weight_ih = weight_ih.data(), b.weight_hh = weight_hh.data();
  b.tape = aligned(tape), b.initial_state = has_state;
  b.d_outputs = pointer(d_outputs), b.d_output_stride = H, b.dh = dh.data(), b.dc = pointer(dc);
  if (input_gradient && !V) b.dx = dx.data();
  if (input_gradient && embedded) b.d_table = d_table.data();
  b.dh0 = dh0.data(), b.dc0 = has_c ? dc0.data() : nullptr;
  b.d_weight_ih = d_weight_ih.data(), b.d_weight_hh = d_weight_hh.data(), b.d_bias = d_bias.data();
  b.d_second_bias = d_second_bias.data();
  auto memory = scratch(kernels.backward_bytes(b));
  b.scratch = aligned(memory);
  kernels.backward(b);
  write(dh0), write(dc0), write(d_weight_ih), write(d_weight_hh), write(d_bias), write(d_second_bias);
  if (b.dx) write(dx);
  if (b.d_table) write(d_table);
  return 0;
}
