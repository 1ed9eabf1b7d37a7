#include "prelude.h"

#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif

#define PQ_ISA avx2
#define PQ_NAME "avx2"

namespace pq::PQ_ISA {
constexpr int kDenseRows = 6, kPairRows = 4, kByteRows = 4;  // rows of a tile: 16 registers
constexpr int kAhead = 2048;                                 // bytes to prefetch ahead
}  // namespace pq::PQ_ISA

#include "avx2_vec.h"
#include "table.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
