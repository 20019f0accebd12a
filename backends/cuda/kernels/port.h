// What a kernel may ask of a GPU. NVRTC compiles the same sources for a device that g++ compiles for the emulator of
// the tests (tests/emulator/simt.h), which defines XLSTM_EMULATOR and these names before it.
//
// KERNEL: its threads share memory and wait for each other. LONE_KERNEL: they share nothing, so that an emulator may
// run them one after another. REAL is float or double; the compiler is told which.
#pragma once

#ifndef XLSTM_EMULATOR
#define KERNEL extern "C" __global__
#define LONE_KERNEL extern "C" __global__
#define DEVICE static __device__ __forceinline__
#define SHARED(type, name, size) __shared__ type name[size]

typedef long long i64;
typedef unsigned int u32;

DEVICE i64 thread_x() { return threadIdx.x; }
DEVICE i64 thread_y() { return threadIdx.y; }
DEVICE i64 block_x() { return blockIdx.x; }
DEVICE i64 block_y() { return blockIdx.y; }
DEVICE i64 block_width() { return blockDim.x; }
DEVICE i64 grid_width() { return gridDim.x; }
DEVICE void block_sync() { __syncthreads(); }
#endif

// The number of a thread among all of a launch in one dimension: for kernels with a thread a number.
DEVICE i64 thread_of_all() { return block_x() * block_width() + thread_x(); }

DEVICE REAL not_a_number() {
  REAL zero = 0;
  return zero / zero;
}

DEVICE REAL sigmoid(REAL x) {
  // Either way the exponential is of a number that is not positive, so it cannot overflow.
  REAL e = exp(x < 0 ? x : -x);
  return x < 0 ? e / (1 + e) : 1 / (1 + e);
}
