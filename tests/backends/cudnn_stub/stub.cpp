// A library with cuDNN's functions for recurrent layers that computes on host memory what NVIDIA's documentation says,
// refuses what it says is refused, and is as unkind as it allows: the workspace and whatever is undefined are poisoned,
// padding is read, and the reserve space remembers which call it belongs to.
//
// `stub_set` sets what it does, `stub_get` says what it has seen: see the names below.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include "arithmetic.h"

using stub::bytes;

struct cudnnContext {
  std::thread::id thread = std::this_thread::get_id();
  cudaStream_t stream = nullptr;
};
struct cudnnRNNStruct {
  bool set = false;
  cudnnRNNAlgo_t algorithm;
  cudnnRNNMode_t cell;
  cudnnRNNBiasMode_t bias;
  cudnnDataType_t type;
  cudnnMathType_t mathematics;
  int D, H;
  unsigned flags;
};
struct cudnnRNNDataStruct {
  bool set = false;
  cudnnDataType_t type;
  int T, N, width;
  std::vector<int> lengths;
  bool fills;
};
struct cudnnTensorStruct {
  cudnnDataType_t type;
  std::vector<int> sizes, strides;
};

// Of the reserve space: its call's number, what it was made from, and what has been done with it.
struct Marker {
  uint64_t magic, call, y, x;
  enum State : uint64_t { FORWARD = 1, DATA = 2 } state;
};
constexpr uint64_t MAGIC = 0x7265736572766564;

static std::map<std::string, long> settings;  // and counts: "calls of cudnnRNNForward", "living", "stream"
static std::mutex guard;
static thread_local std::string why;

extern "C" void stub_set(const char *name, long value) {
  std::lock_guard<std::mutex> lock(guard);
  settings[name] = value;
}
extern "C" long stub_get(const char *name) {
  std::lock_guard<std::mutex> lock(guard);
  return settings[name];
}
static void count(const char *name, long by = 1) {
  std::lock_guard<std::mutex> lock(guard);
  settings[name] += by;
}

static cudnnStatus_t failed(cudnnStatus_t status, const char *text) {
  why = text;
  return status;
}
#define NEED(condition) \
  do { if (!(condition)) return failed(CUDNN_STATUS_BAD_PARAM, "this does not hold: " #condition); } while (0)
#define SUPPORTED(condition) \
  do { \
    if (!(condition)) return failed(CUDNN_STATUS_NOT_SUPPORTED, "this is not supported but with: " #condition); \
  } while (0)

static int gates(cudnnRNNDescriptor_t r) { return r->cell == CUDNN_LSTM ? 4 : r->cell == CUDNN_GRU ? 3 : 1; }
static size_t numbers(cudnnRNNDescriptor_t r) {
  return size_t(gates(r)) * r->H * (r->D + r->H + (r->bias == CUDNN_RNN_DOUBLE_BIAS ? 2 : 1));
}
static size_t weight_bytes_of(cudnnRNNDescriptor_t r) {
  return numbers(r) * bytes(r->type) + size_t(stub_get("more weights"));
}
static uint64_t checksum(const void *at, cudnnRNNDataDescriptor_t d) {  // of the valid steps
  uint64_t sum = 1469598103934665603u;
  size_t row = d->width * bytes(d->type);
  for (int n = 0; n < d->N; n++) {
    const unsigned char *p = static_cast<const unsigned char *>(at) + size_t(n) * d->T * row;
    for (size_t k = 0; k < d->lengths[n] * row; k++) sum = (sum ^ p[k]) * 1099511628211u;
  }
  return sum;
}
static bool is_ragged(cudnnRNNDataDescriptor_t d) {
  return std::any_of(d->lengths.begin(), d->lengths.end(), [&](int length) { return length != d->T; });
}

extern "C" {
size_t cudnnGetVersion(void) { return getenv("STUB_VERSION") ? size_t(atol(getenv("STUB_VERSION"))) : 92800; }
size_t cudnnGetCudartVersion(void) { return getenv("STUB_CUDART") ? size_t(atol(getenv("STUB_CUDART"))) : 12090; }
const char *cudnnGetErrorString(cudnnStatus_t status) {
  return status == CUDNN_STATUS_SUCCESS ? "CUDNN_STATUS_SUCCESS"
       : status == CUDNN_STATUS_BAD_PARAM ? "CUDNN_STATUS_BAD_PARAM"
       : status == CUDNN_STATUS_NOT_SUPPORTED ? "CUDNN_STATUS_NOT_SUPPORTED"
       : status == CUDNN_STATUS_EXECUTION_FAILED ? "CUDNN_STATUS_EXECUTION_FAILED" : "CUDNN_STATUS_OTHER";
}
void cudnnGetLastErrorString(char *message, size_t size) { snprintf(message, size, "%s", why.c_str()); }

cudnnStatus_t cudnnCreate(cudnnHandle_t *handle) {
  NEED(handle);
  if (stub_get("no device")) return failed(CUDNN_STATUS_NOT_INITIALIZED, "there is no device");
  *handle = new cudnnContext;
  count("living"), count("handles");
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
  NEED(handle);
  handle->stream = stream;
  stub_set("stream", long(reinterpret_cast<intptr_t>(stream)));
  return CUDNN_STATUS_SUCCESS;
}
#define MADE(Create, Destroy, Pointer) \
  cudnnStatus_t Create(Pointer *made) { NEED(made); *made = new std::remove_pointer_t<Pointer>; count("living"); \
    return CUDNN_STATUS_SUCCESS; } \
  cudnnStatus_t Destroy(Pointer made) { NEED(made); delete made; count("living", -1); return CUDNN_STATUS_SUCCESS; }
MADE(cudnnCreateRNNDescriptor, cudnnDestroyRNNDescriptor, cudnnRNNDescriptor_t)
MADE(cudnnCreateRNNDataDescriptor, cudnnDestroyRNNDataDescriptor, cudnnRNNDataDescriptor_t)
MADE(cudnnCreateTensorDescriptor, cudnnDestroyTensorDescriptor, cudnnTensorDescriptor_t)
cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) {
  NEED(handle);
  delete handle;
  count("living", -1), count("handles", -1);
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetTensorNdDescriptor(
    cudnnTensorDescriptor_t d, cudnnDataType_t type, int dimensions, const int sizes[], const int strides[]) {
  NEED(d && sizes && strides && dimensions >= 3 && dimensions <= 8);
  for (int k = 0; k < dimensions; k++) NEED(sizes[k] > 0 && strides[k] > 0);
  d->type = type, d->sizes.assign(sizes, sizes + dimensions), d->strides.assign(strides, strides + dimensions);
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetRNNDescriptor_v8(
    cudnnRNNDescriptor_t r, cudnnRNNAlgo_t algorithm, cudnnRNNMode_t cell, cudnnRNNBiasMode_t bias,
    cudnnDirectionMode_t direction, cudnnRNNInputMode_t input, cudnnDataType_t data, cudnnDataType_t computed,
    cudnnMathType_t mathematics, int32_t D, int32_t H, int32_t projection, int32_t layers,
    cudnnDropoutDescriptor_t dropout, uint32_t flags) {
  NEED(r && D > 0 && H > 0 && layers > 0);
  NEED(projection > 0 && projection <= H);
  NEED(projection == H || cell == CUDNN_LSTM);
  NEED(algorithm >= 0 && algorithm <= 3 && cell >= 0 && cell <= 3 && bias >= 0 && bias <= 3 && flags <= 1);
  NEED(data == CUDNN_DATA_BFLOAT16 || data == CUDNN_DATA_HALF ? computed == CUDNN_DATA_FLOAT : computed == data);
  NEED(mathematics >= 0 && mathematics <= 3);
  NEED(data != CUDNN_DATA_FLOAT || mathematics != CUDNN_TENSOR_OP_MATH);
  NEED(data != CUDNN_DATA_DOUBLE || mathematics == CUDNN_DEFAULT_MATH || mathematics == CUDNN_FMA_MATH);
  NEED(data != CUDNN_DATA_HALF || mathematics != CUDNN_FMA_MATH);
  NEED(data != CUDNN_DATA_BFLOAT16 || mathematics == CUDNN_DEFAULT_MATH);  // tensor operations are documented for HALF
  NEED(direction == CUDNN_UNIDIRECTIONAL && input == CUDNN_LINEAR_INPUT && layers == 1 && !dropout);  // else not ours
  NEED(cell != CUDNN_RNN_RELU && (bias == CUDNN_RNN_SINGLE_INP_BIAS || bias == CUDNN_RNN_DOUBLE_BIAS));
  *r = {true, algorithm, cell, bias, data, mathematics, D, H, flags};
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetRNNDataDescriptor(
    cudnnRNNDataDescriptor_t d, cudnnDataType_t type, cudnnRNNDataLayout_t layout, int T, int N, int width,
    const int lengths[], void *fill) {
  NEED(d && lengths && T > 0 && N > 0 && width > 0);
  NEED(layout == CUDNN_RNN_DATA_LAYOUT_BATCH_MAJOR_UNPACKED);
  SUPPORTED(T <= 65535);
  for (int n = 0; n < N; n++) NEED(lengths[n] > 0 && lengths[n] <= T);
  *d = {true, type, T, N, width, {lengths, lengths + N}, fill != nullptr};
  count("data descriptors set");
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnGetRNNWeightSpaceSize(cudnnHandle_t handle, cudnnRNNDescriptor_t r, size_t *size) {
  NEED(handle && r && r->set && size);
  *size = weight_bytes_of(r);
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnGetRNNWeightParams(
    cudnnHandle_t handle, cudnnRNNDescriptor_t r, int32_t layer, size_t size, const void *weights, int32_t gate,
    cudnnTensorDescriptor_t matrix, void **matrix_at, cudnnTensorDescriptor_t bias, void **bias_at) {
  NEED(handle && r && r->set && weights && matrix && matrix_at && bias && bias_at);
  size_t G = gates(r), H = r->H, D = r->D, item = bytes(r->type);
  NEED(layer == 0 && gate >= 0 && gate < int(2 * G) && size == weight_bytes_of(r));
  size_t g = gate, at = g < G ? g * H * D : G * H * D + (g - G) * H * H;
  if (stub_get("another layout")) at += 64;
  char *base = static_cast<char *>(const_cast<void *>(weights));
  *matrix_at = base + at * item;
  bool has_bias = g < G || r->bias == CUDNN_RNN_DOUBLE_BIAS;
  *bias_at = has_bias ? base + (G * H * (D + H) + g * H) * item : nullptr;
  matrix->sizes = {1, int(H), int(g < G ? D : H)}, bias->sizes = {1, int(H), 1};
  return CUDNN_STATUS_SUCCESS;
}

// What holds for every call, and which algorithm can do it.
static cudnnStatus_t check(cudnnHandle_t handle, cudnnRNNDescriptor_t r, cudnnRNNDataDescriptor_t x, long place) {
  NEED(handle && r && r->set && x && x->set);
  NEED(handle->thread == std::this_thread::get_id());
  NEED(x->width == r->D && x->type == r->type);
  NEED(!is_ragged(x) || r->flags & CUDNN_RNN_PADDED_IO_ENABLED);
  SUPPORTED(stub_get("supports nothing") == 0);
  if (r->algorithm == CUDNN_RNN_ALGO_STANDARD) return CUDNN_STATUS_SUCCESS;
  SUPPORTED(!is_ragged(x));
  SUPPORTED(r->type != CUDNN_DATA_DOUBLE);
  SUPPORTED(stub_get("refuses persistent algorithms") != place);
  bool small = r->algorithm == CUDNN_RNN_ALGO_PERSIST_STATIC_SMALL_H;
  SUPPORTED(small ? r->H <= (r->cell == CUDNN_RNN_TANH ? 384 : 192) : r->H % 128 == 0 && r->H <= 1024);
  SUPPORTED(r->algorithm != CUDNN_RNN_ALGO_PERSIST_DYNAMIC);
  count(small ? "small" : "persistent");
  return CUDNN_STATUS_SUCCESS;
}

static size_t work_bytes_of(cudnnRNNDataDescriptor_t x, cudnnRNNDescriptor_t r) { return 64 + size_t(x->N) * r->H * 8; }
static size_t reserve_bytes_of(cudnnRNNDataDescriptor_t x, cudnnRNNDescriptor_t r) {
  return sizeof(Marker) + size_t(x->N) * x->T * (gates(r) + 1) * r->H * 8;
}

cudnnStatus_t cudnnGetRNNTempSpaceSizes(
    cudnnHandle_t handle, cudnnRNNDescriptor_t r, cudnnForwardMode_t mode, cudnnRNNDataDescriptor_t x, size_t *work,
    size_t *reserve) {
  if (cudnnStatus_t status = check(handle, r, x, 1)) return status;
  NEED(work && reserve);
  *work = work_bytes_of(x, r), *reserve = mode == CUDNN_FWD_MODE_TRAINING ? reserve_bytes_of(x, r) : 0;
  return CUDNN_STATUS_SUCCESS;
}

// It may read several numbers at once.
static bool aligned(std::initializer_list<const void *> arrays) {
  for (const void *array : arrays)
    if (reinterpret_cast<uintptr_t>(array) % 16) return false;
  return true;
}

// What the three calls have in common, checked.
static cudnnStatus_t layer_of(
    stub::Layer *l, cudnnHandle_t handle, cudnnRNNDescriptor_t r, const int32_t *device_lengths,
    cudnnRNNDataDescriptor_t xd, cudnnRNNDataDescriptor_t yd, cudnnTensorDescriptor_t hd, size_t weight_bytes,
    const void *weights, size_t work_bytes, void *work, size_t reserve_bytes, void *reserve, bool training,
    long place) {
  if (cudnnStatus_t status = check(handle, r, xd, place)) return status;
  NEED(!device_lengths && yd && yd->set && yd->width == r->H && yd->type == r->type);
  NEED(xd->T == yd->T && xd->N == yd->N && xd->lengths == yd->lengths);
  NEED(hd && hd->type == r->type && hd->sizes == (std::vector<int>{1, xd->N, r->H}));
  NEED(hd->strides == (std::vector<int>{xd->N * r->H, r->H, 1}));
  NEED(weights && weight_bytes == weight_bytes_of(r));
  NEED(work && work_bytes >= work_bytes_of(xd, r));
  NEED(!training || (reserve && reserve_bytes >= reserve_bytes_of(xd, r)));
  memset(work, 0xff, work_bytes);
  if (stub_get("no memory")) return failed(CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED, "no memory is left");
  if (stub_get("dies")) return failed(CUDNN_STATUS_EXECUTION_FAILED, "a kernel failed");
  bool tf32 = r->type == CUDNN_DATA_FLOAT && r->mathematics != CUDNN_FMA_MATH;
  *l = {r->cell, r->type, tf32, r->bias == CUDNN_RNN_DOUBLE_BIAS, stub_get("padding") == 1, xd->N, xd->T, r->D, r->H,
        gates(r), xd->lengths, weights, nullptr, nullptr, nullptr, nullptr,
        training ? reinterpret_cast<double *>(static_cast<char *>(reserve) + sizeof(Marker)) : nullptr};
  return CUDNN_STATUS_SUCCESS;
}

static Marker read(const void *reserve) {
  Marker marker;
  memcpy(&marker, reserve, sizeof marker);
  return marker;
}

cudnnStatus_t cudnnRNNForward(
    cudnnHandle_t handle, cudnnRNNDescriptor_t r, cudnnForwardMode_t mode, const int32_t device_lengths[],
    cudnnRNNDataDescriptor_t xd, const void *x, cudnnRNNDataDescriptor_t yd, void *y, cudnnTensorDescriptor_t hd,
    const void *hx, void *hy, cudnnTensorDescriptor_t cd, const void *cx, void *cy, size_t weight_bytes,
    const void *weights, size_t work_bytes, void *work, size_t reserve_bytes, void *reserve) {
  static std::atomic<uint64_t> calls{0};
  stub::Layer l;
  bool training = mode == CUDNN_FWD_MODE_TRAINING;
  cudnnStatus_t status = layer_of(&l, handle, r, device_lengths, xd, yd, hd, weight_bytes, weights, work_bytes, work,
                                  reserve_bytes, reserve, training, 2);
  if (status) return status;
  NEED(x && y && x != y && cd);
  NEED(aligned({x, y, hx, hy, cx, cy, weights, work, reserve}));
  NEED(r->cell == CUDNN_LSTM || (!cx && !cy));
  l.x = x, l.y = y, l.hx = hx, l.cx = cx;
  if (training) memset(reserve, 0xff, reserve_bytes);
  stub::forward(l, y, hy, cy);
  if (hy && r->algorithm != CUDNN_RNN_ALGO_STANDARD && stub_get("persistent algorithms are wrong"))
    stub::store(l.type, hy, 0, 0.5);
  if (yd->fills && !l.reads_padding)
    for (int n = 0; n < l.N; n++)
      for (size_t k = l.step(n, l.lengths[n]) * l.H; k < l.step(n + 1, 0) * l.H; k++) stub::store(l.type, y, k, 0);
  Marker marker{MAGIC, ++calls, checksum(y, yd), checksum(x, xd), Marker::FORWARD};
  if (training) memcpy(reserve, &marker, sizeof marker);
  count("calls of cudnnRNNForward");
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnRNNBackwardData_v8(
    cudnnHandle_t handle, cudnnRNNDescriptor_t r, const int32_t device_lengths[], cudnnRNNDataDescriptor_t yd,
    const void *y, const void *dy, cudnnRNNDataDescriptor_t xd, void *dx, cudnnTensorDescriptor_t hd, const void *hx,
    const void *dhy, void *dhx, cudnnTensorDescriptor_t cd, const void *cx, const void *dcy, void *dcx,
    size_t weight_bytes, const void *weights, size_t work_bytes, void *work, size_t reserve_bytes, void *reserve) {
  stub::Layer l;
  cudnnStatus_t status = layer_of(&l, handle, r, device_lengths, xd, yd, hd, weight_bytes, weights, work_bytes, work,
                                  reserve_bytes, reserve, true, 3);
  if (status) return status;
  NEED(y && dy && dx && cd);
  NEED(aligned({y, dy, dx, hx, dhy, dhx, cx, dcy, dcx, weights, work, reserve}));
  NEED(r->cell == CUDNN_LSTM || (!cx && !dcy && !dcx));
  Marker marker = read(reserve);
  NEED(marker.magic == MAGIC && "the reserve space is of a forward call");
  NEED(marker.state == Marker::FORWARD && "the reserve space was not used by another backward call");
  NEED(marker.y == checksum(y, yd) && "the reserve space is of the forward call that made y");
  l.y = y, l.hx = hx, l.cx = cx;
  // The padding stays so.
  for (size_t k = 0; k < size_t(l.N) * l.T * l.D; k++) stub::store(l.type, dx, k, stub::NOTHING);
  stub::backward_data(l, dy, dx, dhy, dhx, dcy, dcx);
  marker.state = Marker::DATA;
  memcpy(reserve, &marker, sizeof marker);
  count("calls of cudnnRNNBackwardData_v8");
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnRNNBackwardWeights_v8(
    cudnnHandle_t handle, cudnnRNNDescriptor_t r, cudnnWgradMode_t add, const int32_t device_lengths[],
    cudnnRNNDataDescriptor_t xd, const void *x, cudnnTensorDescriptor_t hd, const void *hx,
    cudnnRNNDataDescriptor_t yd, const void *y, size_t weight_bytes, void *d_weights, size_t work_bytes, void *work,
    size_t reserve_bytes, void *reserve) {
  stub::Layer l;
  cudnnStatus_t status = layer_of(&l, handle, r, device_lengths, xd, yd, hd, weight_bytes, d_weights, work_bytes, work,
                                  reserve_bytes, reserve, true, 4);
  if (status) return status;
  NEED(x && y && aligned({x, hx, y, d_weights, work, reserve}));
  SUPPORTED(add == CUDNN_WGRAD_MODE_ADD);
  Marker marker = read(reserve);
  NEED(marker.magic == MAGIC && marker.state == Marker::DATA && "BackwardData came before");
  NEED(marker.y == checksum(y, yd) && marker.x == checksum(x, xd) && "x and y are those of the forward call");
  l.x = x, l.y = y, l.hx = hx;
  stub::backward_weights(l, numbers(r), d_weights);
  count("calls of cudnnRNNBackwardWeights_v8");
  return CUDNN_STATUS_SUCCESS;
}
}
