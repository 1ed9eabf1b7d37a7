#include "prelude.h"

#include <arm_neon.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("i8mm"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("arch=armv8.2-a+i8mm")
#endif

#define PQ_ISA neon_i8mm
#define PQ_NAME "neon_i8mm"
#define PQ_NEON_I8MM

namespace pq::PQ_ISA {
constexpr int kDenseRows = 6, kPairRows = 4, kByteRows = 4;  // rows of a tile: 32 registers of 128 bits
constexpr int kAhead = 1024;                                 // bytes to prefetch ahead
}  // namespace pq::PQ_ISA

#include "neon_vec.h"
#include "table.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
