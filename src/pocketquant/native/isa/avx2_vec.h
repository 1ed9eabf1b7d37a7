// 8 floats or 8 int32 in a 256-bit register, and the dot products of AVX2.
#pragma once

namespace pq::PQ_ISA {

constexpr int W = 8;            // floats in a vector
constexpr int NV = kPanel / W;  // vectors in a panel row

using F = __m256;

PQ_INLINE F zero() { return _mm256_setzero_ps(); }
PQ_INLINE F set1(float x) { return _mm256_set1_ps(x); }
PQ_INLINE F load(const float* p) { return _mm256_loadu_ps(p); }
PQ_INLINE void store(float* p, F x) { _mm256_storeu_ps(p, x); }
PQ_INLINE F load_half(const half* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
PQ_INLINE void store_half(half* p, F x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}
PQ_INLINE F add(F a, F b) { return _mm256_add_ps(a, b); }
PQ_INLINE F sub(F a, F b) { return _mm256_sub_ps(a, b); }
PQ_INLINE F mul(F a, F b) { return _mm256_mul_ps(a, b); }
PQ_INLINE F div(F a, F b) { return _mm256_div_ps(a, b); }
PQ_INLINE F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
PQ_INLINE F vmin(F a, F b) { return _mm256_min_ps(a, b); }
PQ_INLINE F vmax(F a, F b) { return _mm256_max_ps(a, b); }
PQ_INLINE F vabs(F x) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x); }
PQ_INLINE F round_even(F x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
PQ_INLINE F select_gt(F a, F b, F yes, F no) {
    return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_GT_OQ));
}
PQ_INLINE F pow2(F n) {
    const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23));
}
PQ_INLINE float sum(F x) {
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
PQ_INLINE float largest(F x) {
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}
// Whole numbers to integers.
PQ_INLINE void store_int(std::int16_t* p, F x) {
    const __m256i i = _mm256_cvtps_epi32(x);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                     _mm_packs_epi32(_mm256_castsi256_si128(i), _mm256_extracti128_si256(i, 1)));
}
PQ_INLINE void store_int(std::int8_t* p, F x) {
    const __m256i i = _mm256_cvtps_epi32(x);
    const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(i), _mm256_extracti128_si256(i, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(words, words));
}
PQ_INLINE void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }

// 16 columns of int32
struct Acc {
    __m256i v[NV];
};
PQ_INLINE Acc acc_zero() { return {{_mm256_setzero_si256(), _mm256_setzero_si256()}}; }
PQ_INLINE F acc_float(const Acc& a, int i) { return _mm256_cvtepi32_ps(a.v[i]); }
PQ_INLINE void acc_add(Acc& a, const Acc& b) {
    for (int i = 0; i < NV; ++i) a.v[i] = _mm256_add_epi32(a.v[i], b.v[i]);
}
PQ_INLINE void acc_subtract(Acc& a, std::int32_t x) {
    for (int i = 0; i < NV; ++i) a.v[i] = _mm256_sub_epi32(a.v[i], _mm256_set1_epi32(x));
}
PQ_INLINE void acc_subtract(Acc& a, const std::int32_t* x) {
    for (int i = 0; i < NV; ++i)
        a.v[i] = _mm256_sub_epi32(a.v[i], _mm256_load_si256(reinterpret_cast<const __m256i*>(x) + i));
}

PQ_INLINE std::int32_t read_int32(const void* p) {
    std::int32_t x;
    std::memcpy(&x, p, sizeof x);
    return x;
}

// Two k x 16 columns of 16-bit weights against two 16-bit activations.
struct Pair {
    __m256i v[2];
};
PQ_INLINE Pair pair_load(const std::int8_t* p) {
    const __m128i* q = reinterpret_cast<const __m128i*>(p);
    return {{_mm256_cvtepi8_epi16(_mm_load_si128(q)), _mm256_cvtepi8_epi16(_mm_load_si128(q + 1))}};
}
PQ_INLINE void pair_nibbles(const std::uint8_t* p, Pair& first, Pair& second) {
    const __m256i v = _mm256_load_si256(reinterpret_cast<const __m256i*>(p)), mask = _mm256_set1_epi8(15);
    const __m256i low = _mm256_and_si256(v, mask), high = _mm256_and_si256(_mm256_srli_epi16(v, 4), mask);
    first = {{_mm256_cvtepu8_epi16(_mm256_castsi256_si128(low)), _mm256_cvtepu8_epi16(_mm256_extracti128_si256(low, 1))}};
    second = {{_mm256_cvtepu8_epi16(_mm256_castsi256_si128(high)), _mm256_cvtepu8_epi16(_mm256_extracti128_si256(high, 1))}};
}

// Four k x 16 columns of unsigned nibbles in bytes.
struct Nibbles {
    __m256i v[2];
};
PQ_INLINE Nibbles nibbles_load(const std::uint8_t* p) {
    const __m256i v = _mm256_load_si256(reinterpret_cast<const __m256i*>(p)), mask = _mm256_set1_epi8(15);
    return {{_mm256_and_si256(v, mask), _mm256_and_si256(_mm256_srli_epi16(v, 4), mask)}};
}

#ifndef PQ_AVX_VNNI

PQ_INLINE void pair_dot(Acc& a, const Pair& w, const std::int16_t* x) {
    const __m256i two = _mm256_set1_epi32(read_int32(x));
    for (int i = 0; i < 2; ++i) a.v[i] = _mm256_add_epi32(a.v[i], _mm256_madd_epi16(w.v[i], two));
}

// 16-bit sums: 15 * 127 * 2 a step cannot saturate for 8 steps (30480 < 32768).
constexpr int kNibbleSteps = 8;
struct NibbleSum {
    __m256i v[2];
};
PQ_INLINE NibbleSum nibble_zero() { return {{_mm256_setzero_si256(), _mm256_setzero_si256()}}; }
PQ_INLINE void nibble_dot(NibbleSum& s, const Nibbles& w, const std::int8_t* x) {
    const __m256i four = _mm256_set1_epi32(read_int32(x));
    for (int i = 0; i < 2; ++i) s.v[i] = _mm256_add_epi16(s.v[i], _mm256_maddubs_epi16(w.v[i], four));
}
PQ_INLINE Acc nibble_total(const NibbleSum& s) {
    const __m256i ones = _mm256_set1_epi16(1);
    return {{_mm256_madd_epi16(s.v[0], ones), _mm256_madd_epi16(s.v[1], ones)}};
}

#else  // AVX-VNNI: the same registers, multiply and accumulate in one instruction

PQ_INLINE void pair_dot(Acc& a, const Pair& w, const std::int16_t* x) {
    const __m256i two = _mm256_set1_epi32(read_int32(x));
    for (int i = 0; i < 2; ++i) a.v[i] = _mm256_dpwssd_avx_epi32(a.v[i], w.v[i], two);
}

constexpr int kNibbleSteps = 1 << 30;
using NibbleSum = Acc;
PQ_INLINE NibbleSum nibble_zero() { return acc_zero(); }
PQ_INLINE void nibble_dot(NibbleSum& s, const Nibbles& w, const std::int8_t* x) {
    const __m256i four = _mm256_set1_epi32(read_int32(x));
    for (int i = 0; i < 2; ++i) s.v[i] = _mm256_dpbusd_avx_epi32(s.v[i], w.v[i], four);
}
PQ_INLINE Acc nibble_total(const NibbleSum& s) { return s; }

// Four k x 16 columns of int8 weights against four activations stored as value + 128.
#define PQ_QUADS
constexpr int kQuadOffset = 128;
struct Quad {
    __m256i v[2];
};
PQ_INLINE Quad quad_load(const std::int8_t* p) {
    const __m256i* q = reinterpret_cast<const __m256i*>(p);
    return {{_mm256_load_si256(q), _mm256_load_si256(q + 1)}};
}
PQ_INLINE void quad_dot(Acc& a, const Quad& w, const std::int8_t* x) {
    const __m256i four = _mm256_set1_epi32(read_int32(x));
    for (int i = 0; i < 2; ++i) a.v[i] = _mm256_dpbusd_avx_epi32(a.v[i], four, w.v[i]);
}

#endif

}  // namespace pq::PQ_ISA
