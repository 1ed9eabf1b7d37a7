// The AVX-VNNI kernels with the same instructions in their AVX-512 encoding: so that their code is tested on
// machines that have AVX512-VNNI but not AVX-VNNI. A test's file, not part of the core.
#include "isa/prelude.h"

#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,avx512f,avx512vl,avx512vnni"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,avx512f,avx512vl,avx512vnni")
#endif

#define PQ_ISA avx_vnni_evex
#define PQ_NAME "avx_vnni (EVEX)"
#define PQ_AVX_VNNI
#define _mm256_dpbusd_avx_epi32 _mm256_dpbusd_epi32
#define _mm256_dpwssd_avx_epi32 _mm256_dpwssd_epi32

namespace pq::PQ_ISA {
constexpr int kDenseRows = 6, kPairRows = 4, kByteRows = 4;
constexpr int kAhead = 2048;
}  // namespace pq::PQ_ISA

#include "isa/avx2_vec.h"
#include "isa/table.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
