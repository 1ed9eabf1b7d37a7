// 16 floats or 16 int32 in a 512-bit register: one vector is one panel row.
#pragma once

namespace pq::PQ_ISA {

constexpr int W = 16;
constexpr int NV = 1;

using F = __m512;

PQ_INLINE F zero() { return _mm512_setzero_ps(); }
PQ_INLINE F set1(float x) { return _mm512_set1_ps(x); }
PQ_INLINE F load(const float* p) { return _mm512_loadu_ps(p); }
PQ_INLINE void store(float* p, F x) { _mm512_storeu_ps(p, x); }
PQ_INLINE F load_half(const half* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
PQ_INLINE void store_half(half* p, F x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}
PQ_INLINE F add(F a, F b) { return _mm512_add_ps(a, b); }
PQ_INLINE F sub(F a, F b) { return _mm512_sub_ps(a, b); }
PQ_INLINE F mul(F a, F b) { return _mm512_mul_ps(a, b); }
PQ_INLINE F div(F a, F b) { return _mm512_div_ps(a, b); }
PQ_INLINE F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
PQ_INLINE F vmin(F a, F b) { return _mm512_min_ps(a, b); }
PQ_INLINE F vmax(F a, F b) { return _mm512_max_ps(a, b); }
PQ_INLINE F vabs(F x) { return _mm512_abs_ps(x); }
PQ_INLINE F round_even(F x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
PQ_INLINE F select_gt(F a, F b, F yes, F no) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), no, yes);
}
PQ_INLINE F pow2(F n) {
    const __m512i exponent = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
    return _mm512_castsi512_ps(_mm512_slli_epi32(exponent, 23));
}
PQ_INLINE float sum(F x) { return _mm512_reduce_add_ps(x); }
PQ_INLINE float largest(F x) { return _mm512_reduce_max_ps(x); }
PQ_INLINE void store_int(std::int16_t* p, F x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(x)));
}
PQ_INLINE void store_int(std::int8_t* p, F x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(x)));
}
PQ_INLINE void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }

struct Acc {
    __m512i v[NV];
};
PQ_INLINE Acc acc_zero() { return {{_mm512_setzero_si512()}}; }
PQ_INLINE F acc_float(const Acc& a, int) { return _mm512_cvtepi32_ps(a.v[0]); }
PQ_INLINE void acc_add(Acc& a, const Acc& b) { a.v[0] = _mm512_add_epi32(a.v[0], b.v[0]); }
PQ_INLINE void acc_subtract(Acc& a, std::int32_t x) { a.v[0] = _mm512_sub_epi32(a.v[0], _mm512_set1_epi32(x)); }
PQ_INLINE void acc_subtract(Acc& a, const std::int32_t* x) {
    a.v[0] = _mm512_sub_epi32(a.v[0], _mm512_load_si512(x));
}

PQ_INLINE std::int32_t read_int32(const void* p) {
    std::int32_t x;
    std::memcpy(&x, p, sizeof x);
    return x;
}

struct Pair {
    __m512i v;
};
PQ_INLINE Pair pair_load(const std::int8_t* p) {
    return {_mm512_cvtepi8_epi16(_mm256_load_si256(reinterpret_cast<const __m256i*>(p)))};
}
PQ_INLINE void pair_nibbles(const std::uint8_t* p, Pair& first, Pair& second) {
    const __m256i v = _mm256_load_si256(reinterpret_cast<const __m256i*>(p)), mask = _mm256_set1_epi8(15);
    first = {_mm512_cvtepu8_epi16(_mm256_and_si256(v, mask))};
    second = {_mm512_cvtepu8_epi16(_mm256_and_si256(_mm256_srli_epi16(v, 4), mask))};
}
PQ_INLINE void pair_dot(Acc& a, const Pair& w, const std::int16_t* x) {
    a.v[0] = _mm512_dpwssd_epi32(a.v[0], w.v, _mm512_set1_epi32(read_int32(x)));
}

struct Nibbles {
    __m512i v;
};
PQ_INLINE Nibbles nibbles_load(const std::uint8_t* p) {
    const __m256i v = _mm256_load_si256(reinterpret_cast<const __m256i*>(p));
    const __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(v), _mm256_srli_epi16(v, 4), 1);
    return {_mm512_and_si512(both, _mm512_set1_epi8(15))};
}
constexpr int kNibbleSteps = 1 << 30;  // 32-bit sums: nothing to widen
using NibbleSum = Acc;
PQ_INLINE NibbleSum nibble_zero() { return acc_zero(); }
PQ_INLINE void nibble_dot(NibbleSum& s, const Nibbles& w, const std::int8_t* x) {
    s.v[0] = _mm512_dpbusd_epi32(s.v[0], w.v, _mm512_set1_epi32(read_int32(x)));
}
PQ_INLINE Acc nibble_total(const NibbleSum& s) { return s; }

#define PQ_QUADS
constexpr int kQuadOffset = 128;
struct Quad {
    __m512i v;
};
PQ_INLINE Quad quad_load(const std::int8_t* p) { return {_mm512_load_si512(p)}; }
PQ_INLINE void quad_dot(Acc& a, const Quad& w, const std::int8_t* x) {
    a.v[0] = _mm512_dpbusd_epi32(a.v[0], _mm512_set1_epi32(read_int32(x)), w.v);
}

}  // namespace pq::PQ_ISA
