// What cuDNN's recurrent layers compute, from the equations of its documentation, on host memory: in double precision,
// from numbers and to numbers of the layer's type.
#pragma once
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>
#include "cudnn.h"

namespace stub {

constexpr double NOTHING = std::numeric_limits<double>::quiet_NaN();

// To the nearest number of so many binary digits, of two the even one; below 2**least they get fewer.
inline double rounded(double value, int digits, int least) {
  if (value == 0 || !std::isfinite(value)) return value;
  double unit = std::ldexp(1.0, std::max(std::ilogb(value), least) - digits + 1);
  return std::nearbyint(value / unit) * unit;
}

inline size_t bytes(cudnnDataType_t type) {
  return type == CUDNN_DATA_DOUBLE ? 8 : type == CUDNN_DATA_FLOAT ? 4 : 2;
}

inline double load(cudnnDataType_t type, const void *at, size_t k) {
  if (type == CUDNN_DATA_DOUBLE) return static_cast<const double *>(at)[k];
  if (type == CUDNN_DATA_FLOAT) return static_cast<const float *>(at)[k];
  uint16_t bits = static_cast<const uint16_t *>(at)[k];
  if (type == CUDNN_DATA_BFLOAT16) {
    uint32_t whole = uint32_t(bits) << 16;
    float value;
    std::memcpy(&value, &whole, 4);
    return value;
  }
  int exponent = bits >> 10 & 31, fraction = bits & 1023;
  double value = exponent == 31 ? (fraction ? NOTHING : INFINITY)
                                : std::ldexp(exponent ? 1024 + fraction : fraction, (exponent ? exponent : 1) - 25);
  return bits >> 15 ? -value : value;
}

inline void store(cudnnDataType_t type, void *at, size_t k, double value) {
  if (type == CUDNN_DATA_DOUBLE) { static_cast<double *>(at)[k] = value; return; }
  if (type == CUDNN_DATA_FLOAT) { static_cast<float *>(at)[k] = float(value); return; }
  uint16_t &bits = static_cast<uint16_t *>(at)[k];
  if (type == CUDNN_DATA_BFLOAT16) {
    float number = float(rounded(value, 8, -126));
    uint32_t whole;
    std::memcpy(&whole, &number, 4);
    bits = uint16_t(whole >> 16);
    return;
  }
  double size = std::fabs(rounded(value, 11, -14));
  uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  if (std::isnan(value)) bits = 0x7e00;
  else if (size > 65504) bits = sign | 0x7c00;
  else if (size < std::ldexp(1.0, -14)) bits = sign | uint16_t(std::ldexp(size, 24));
  else {
    int exponent = std::ilogb(size);
    bits = sign | uint16_t((exponent + 15) << 10) | (uint16_t(std::ldexp(size, 10 - exponent)) & 1023);
  }
}

// One call: the layer, its sizes and the arrays.
struct Layer {
  cudnnRNNMode_t cell;
  cudnnDataType_t type;
  bool tf32, two_biases, reads_padding;
  int N, T, D, H, G;
  std::vector<int> lengths;
  const void *weights, *x, *y, *hx, *cx;
  double *saved;  // of the reserve space: (N, T, G + 1, H)

  double product(double a, double b) const {
    return tf32 ? rounded(a, 11, -126) * rounded(b, 11, -126) : a * b;
  }
  double get(const void *at, size_t k) const { return at ? load(type, at, k) : 0; }
  size_t step(int n, int t) const { return size_t(n) * T + t; }
  double W(int k, int d) const { return get(weights, size_t(k) * D + d); }
  double R(int k, int h) const { return get(weights, size_t(G) * H * D + size_t(k) * H + h); }
  size_t bias_at(int k) const { return size_t(G) * H * (D + H) + k; }
  double b(int k) const { return get(weights, bias_at(k)); }
  double b_rec(int k) const { return two_biases ? get(weights, bias_at(G * H + k)) : 0; }
  double h_before(int n, int t, int j) const { return t ? get(y, step(n, t - 1) * H + j) : get(hx, size_t(n) * H + j); }
  double *at(int n, int t) const { return saved + step(n, t) * size_t(G + 1) * H; }
  // NaN where the padding of an array holds NaN, else zero.
  double padding_of(const void *array, int n, int width) const {
    double sum = 0;
    if (reads_padding && array)
      for (size_t k = step(n, lengths[n]) * width; k < step(n + 1, 0) * width; k++) sum += 0 * get(array, k);
    return sum;
  }
};

inline double sigmoid(double v) { return 1 / (1 + std::exp(-v)); }

inline void forward(Layer &l, void *y, void *hy, void *cy) {
  int H = l.H, G = l.G;
  std::vector<double> spare(size_t(G + 1) * H), of_x(G * H), of_h(G * H), c(H);
  for (int n = 0; n < l.N; n++) {
    for (int j = 0; j < H; j++) c[j] = l.get(l.cx, size_t(n) * H + j);
    double nothing = l.padding_of(l.x, n, l.D);
    for (int t = 0; t < l.lengths[n]; t++) {
      double *kept = l.saved ? l.at(n, t) : spare.data();
      for (int k = 0; k < G * H; k++) {
        of_x[k] = l.b(k) + nothing, of_h[k] = l.b_rec(k);
        for (int d = 0; d < l.D; d++) of_x[k] += l.product(l.W(k, d), l.get(l.x, l.step(n, t) * l.D + d));
        for (int j = 0; j < H; j++) of_h[k] += l.product(l.R(k, j), l.h_before(n, t, j));
      }
      for (int j = 0; j < H; j++) {
        auto z = [&](int gate) { return of_x[gate * H + j] + of_h[gate * H + j]; };
        double h;
        if (l.cell == CUDNN_RNN_TANH) {
          h = kept[j] = std::tanh(z(0));
        } else if (l.cell == CUDNN_LSTM) {  // i, f, c', o
          double i = sigmoid(z(0)), f = sigmoid(z(1)), g = std::tanh(z(2)), o = sigmoid(z(3));
          c[j] = f * c[j] + i * g, h = o * std::tanh(c[j]);
          kept[j] = i, kept[H + j] = f, kept[2 * H + j] = g, kept[3 * H + j] = o, kept[4 * H + j] = c[j];
        } else {  // r, i, h'
          double r = sigmoid(z(0)), i = sigmoid(z(1)), q = of_h[2 * H + j], m = std::tanh(of_x[2 * H + j] + r * q);
          h = (1 - i) * m + i * l.h_before(n, t, j);
          kept[j] = r, kept[H + j] = i, kept[2 * H + j] = m, kept[3 * H + j] = q;
        }
        store(l.type, y, l.step(n, t) * H + j, h);
      }
    }
    for (int j = 0; j < H; j++) {
      if (hy) store(l.type, hy, size_t(n) * H + j, l.h_before(n, l.lengths[n], j));
      if (cy) store(l.type, cy, size_t(n) * H + j, c[j]);
    }
  }
}

// The gates that were saved become their gradients, which is what the weights' gradients are made of.
inline void backward_data(Layer &l, const void *dy, void *dx, const void *dhy, void *dhx, const void *dcy, void *dcx) {
  int H = l.H, G = l.G;
  std::vector<double> dh(H), dc(H), past(H), dz_h(G * H);
  for (int n = 0; n < l.N; n++) {
    double nothing = l.padding_of(dy, n, H) + l.padding_of(l.y, n, H);
    for (int j = 0; j < H; j++) {
      dh[j] = l.get(dhy, size_t(n) * H + j) + nothing, dc[j] = l.get(dcy, size_t(n) * H + j);
    }
    for (int t = l.lengths[n] - 1; t >= 0; t--) {
      double *kept = l.at(n, t);
      for (int j = 0; j < H; j++) {
        double d = dh[j] + l.get(dy, l.step(n, t) * H + j);
        past[j] = 0;
        if (l.cell == CUDNN_RNN_TANH) {
          kept[j] = dz_h[j] = d * (1 - kept[j] * kept[j]);
        } else if (l.cell == CUDNN_LSTM) {
          double i = kept[j], f = kept[H + j], g = kept[2 * H + j], o = kept[3 * H + j];
          double tc = std::tanh(kept[4 * H + j]);
          double before = t ? l.at(n, t - 1)[4 * H + j] : l.get(l.cx, size_t(n) * H + j);
          double all = dc[j] + d * o * (1 - tc * tc);
          kept[j] = dz_h[j] = all * g * i * (1 - i);
          kept[H + j] = dz_h[H + j] = all * before * f * (1 - f);
          kept[2 * H + j] = dz_h[2 * H + j] = all * i * (1 - g * g);
          kept[3 * H + j] = dz_h[3 * H + j] = d * tc * o * (1 - o);
          dc[j] = all * f;
        } else {
          double r = kept[j], i = kept[H + j], m = kept[2 * H + j], q = kept[3 * H + j];
          double dm = d * (1 - i) * (1 - m * m);
          past[j] = d * i;
          kept[j] = dz_h[j] = dm * q * r * (1 - r);
          kept[H + j] = dz_h[H + j] = d * (l.h_before(n, t, j) - m) * i * (1 - i);
          kept[2 * H + j] = dm, kept[3 * H + j] = dz_h[2 * H + j] = dm * r;
        }
      }
      for (int d = 0; d < l.D; d++) {
        double sum = 0;
        for (int k = 0; k < G * H; k++) sum += l.product(kept[k], l.W(k, d));
        store(l.type, dx, l.step(n, t) * l.D + d, sum);
      }
      for (int j = 0; j < H; j++) {
        dh[j] = past[j];
        for (int k = 0; k < G * H; k++) dh[j] += l.product(dz_h[k], l.R(k, j));
      }
    }
    for (int j = 0; j < H; j++) {
      if (dhx) store(l.type, dhx, size_t(n) * H + j, dh[j]);
      if (dcx) store(l.type, dcx, size_t(n) * H + j, dc[j]);
    }
  }
}

inline void backward_weights(Layer &l, size_t numbers, void *d_weights) {
  int H = l.H, G = l.G;
  std::vector<double> sum(numbers);
  for (int n = 0; n < l.N; n++) {
    double nothing = l.padding_of(l.x, n, l.D) + l.padding_of(l.y, n, H);
    for (int t = 0; t < l.lengths[n]; t++) {
      double *dz = l.at(n, t);
      for (int k = 0; k < G * H; k++) {
        double of_x = dz[k] + nothing, of_h = l.cell == CUDNN_GRU && k >= 2 * H ? dz[k + H] : dz[k];
        for (int d = 0; d < l.D; d++)
          sum[size_t(k) * l.D + d] += l.product(of_x, l.get(l.x, l.step(n, t) * l.D + d));
        for (int j = 0; j < H; j++)
          sum[size_t(G) * H * l.D + size_t(k) * H + j] += l.product(of_h, l.h_before(n, t, j));
        sum[l.bias_at(k)] += of_x;
        if (l.two_biases) sum[l.bias_at(G * H + k)] += of_h;
      }
    }
  }
  for (size_t k = 0; k < numbers; k++) store(l.type, d_weights, k, load(l.type, d_weights, k) + sum[k]);  // it adds
}

}  // namespace stub
