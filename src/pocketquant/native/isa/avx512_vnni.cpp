#include "prelude.h"

#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC diagnostic ignored "-Wuninitialized"  // GCC 12's own header, bug 105593
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")
#endif

#define PQ_ISA avx512_vnni
#define PQ_NAME "avx512_vnni"

namespace pq::PQ_ISA {
constexpr int kDenseRows = 8, kPairRows = 8, kByteRows = 8;  // rows of a tile: 32 registers
constexpr int kAhead = 0;                                    // of bytes to prefetch: on Zen 4 they cost 8 %
}  // namespace pq::PQ_ISA

#include "avx512_vec.h"
#include "table.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
