// 4 floats or 4 int32 in a 128-bit NEON register; the 8-bit dot products of Armv8.2 where PQ_NEON_DOT is set, the
// 8-bit matrix products of Armv8.6 where PQ_NEON_I8MM is.
#pragma once

namespace pq::PQ_ISA {

constexpr int W = 4;
constexpr int NV = kPanel / W;

using F = float32x4_t;

PQ_INLINE F zero() { return vdupq_n_f32(0.0f); }
PQ_INLINE F set1(float x) { return vdupq_n_f32(x); }
PQ_INLINE F load(const float* p) { return vld1q_f32(p); }
PQ_INLINE void store(float* p, F x) { vst1q_f32(p, x); }
PQ_INLINE F load_half(const half* p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
PQ_INLINE void store_half(half* p, F x) { vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(x))); }
PQ_INLINE F add(F a, F b) { return vaddq_f32(a, b); }
PQ_INLINE F sub(F a, F b) { return vsubq_f32(a, b); }
PQ_INLINE F mul(F a, F b) { return vmulq_f32(a, b); }
PQ_INLINE F div(F a, F b) { return vdivq_f32(a, b); }
PQ_INLINE F fma(F a, F b, F c) { return vfmaq_f32(c, a, b); }
PQ_INLINE F vmin(F a, F b) { return vminq_f32(a, b); }
PQ_INLINE F vmax(F a, F b) { return vmaxq_f32(a, b); }
PQ_INLINE F vabs(F x) { return vabsq_f32(x); }
PQ_INLINE F round_even(F x) { return vrndnq_f32(x); }
PQ_INLINE F select_gt(F a, F b, F yes, F no) { return vbslq_f32(vcgtq_f32(a, b), yes, no); }
PQ_INLINE F pow2(F n) {
    return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127)), 23));
}
PQ_INLINE float sum(F x) { return vaddvq_f32(x); }
PQ_INLINE float largest(F x) { return vmaxvq_f32(x); }
PQ_INLINE void store_int(std::int16_t* p, F x) { vst1_s16(p, vmovn_s32(vcvtq_s32_f32(x))); }
PQ_INLINE void store_int(std::int8_t* p, F x) {
    const int16x4_t words = vmovn_s32(vcvtq_s32_f32(x));
    const int8x8_t bytes = vmovn_s16(vcombine_s16(words, words));
    std::memcpy(p, &bytes, 4);
}
PQ_INLINE void prefetch(const void* p) { __builtin_prefetch(p); }

struct Acc {
    int32x4_t v[NV];
};
PQ_INLINE Acc acc_zero() {
    const int32x4_t z = vdupq_n_s32(0);
    return {{z, z, z, z}};
}
PQ_INLINE F acc_float(const Acc& a, int i) { return vcvtq_f32_s32(a.v[i]); }
PQ_INLINE void acc_add(Acc& a, const Acc& b) {
    for (int i = 0; i < NV; ++i) a.v[i] = vaddq_s32(a.v[i], b.v[i]);
}
PQ_INLINE void acc_subtract(Acc& a, std::int32_t x) {
    for (int i = 0; i < NV; ++i) a.v[i] = vsubq_s32(a.v[i], vdupq_n_s32(x));
}

// Two k x 16 columns of 16-bit weights: v[2 * k + columns / 8].
struct Pair {
    int16x8_t v[4];
};
PQ_INLINE Pair pair_widen(int8x16_t first, int8x16_t second) {
    return {{vmovl_s8(vget_low_s8(first)), vmovl_s8(vget_high_s8(first)), vmovl_s8(vget_low_s8(second)),
             vmovl_s8(vget_high_s8(second))}};
}
PQ_INLINE Pair pair_load(const std::int8_t* p) {
    const int8x16x2_t w = vld2q_s8(p);
    return pair_widen(w.val[0], w.val[1]);
}
PQ_INLINE void pair_nibbles(const std::uint8_t* p, Pair& first, Pair& second) {
    const uint8x16x2_t w = vld2q_u8(p);
    const uint8x16_t mask = vdupq_n_u8(15);
    first = pair_widen(vreinterpretq_s8_u8(vandq_u8(w.val[0], mask)), vreinterpretq_s8_u8(vandq_u8(w.val[1], mask)));
    second = pair_widen(vreinterpretq_s8_u8(vshrq_n_u8(w.val[0], 4)), vreinterpretq_s8_u8(vshrq_n_u8(w.val[1], 4)));
}
PQ_INLINE void pair_dot(Acc& a, const Pair& w, const std::int16_t* x) {
    for (int k = 0; k < 2; ++k) {
        a.v[0] = vmlal_n_s16(a.v[0], vget_low_s16(w.v[2 * k]), x[k]);
        a.v[1] = vmlal_n_s16(a.v[1], vget_high_s16(w.v[2 * k]), x[k]);
        a.v[2] = vmlal_n_s16(a.v[2], vget_low_s16(w.v[2 * k + 1]), x[k]);
        a.v[3] = vmlal_n_s16(a.v[3], vget_high_s16(w.v[2 * k + 1]), x[k]);
    }
}

#ifdef PQ_NEON_I8MM

// Eight k x 16 columns in bytes: 2 columns a register.
#define PQ_OCTETS
struct Octets {
    int8x16_t v[8];
};
PQ_INLINE Octets octets_load(const std::uint8_t* p) {
    Octets w;
    for (int i = 0; i < 8; ++i) w.v[i] = vreinterpretq_s8_u8(vld1q_u8(p + 16 * i));
    return w;
}
PQ_INLINE Octets octets_of_nibbles(const std::uint8_t* p) {
    Octets w;
    for (int i = 0; i < 4; ++i) {
        const uint8x16_t both = vld1q_u8(p + 16 * i);
        w.v[i] = vreinterpretq_s8_u8(vandq_u8(both, vdupq_n_u8(15)));
        w.v[4 + i] = vreinterpretq_s8_u8(vshrq_n_u8(both, 4));
    }
    return w;
}

// The sums of two rows: of the first row for columns 2i and 2i + 1, then of the second.
struct RowPair {
    int32x4_t v[8];
};
PQ_INLINE RowPair row_pair_zero() {
    const int32x4_t z = vdupq_n_s32(0);
    return {{z, z, z, z, z, z, z, z}};
}

// Clang before 17 declares vmmlaq_s32 only where the whole file is compiled for matrix products.
PQ_INLINE int32x4_t matrix_product(int32x4_t sum, int8x16_t a, int8x16_t b) {
#if defined(__clang__) && __clang_major__ < 17
    __asm__("smmla %0.4s, %1.16b, %2.16b" : "+w"(sum) : "w"(a), "w"(b));
    return sum;
#else
    return vmmlaq_s32(sum, a, b);
#endif
}
PQ_INLINE void octet_dot(RowPair& s, const Octets& w, const std::int8_t* first, const std::int8_t* second) {
    const int8x16_t rows = vcombine_s8(vld1_s8(first), vld1_s8(second));
    for (int i = 0; i < 8; ++i) s.v[i] = matrix_product(s.v[i], rows, w.v[i]);
}
PQ_INLINE Acc row_of(const RowPair& s, int row) {
    Acc a;
    for (int i = 0; i < 4; ++i) {
        const int64x2_t left = vreinterpretq_s64_s32(s.v[2 * i]), right = vreinterpretq_s64_s32(s.v[2 * i + 1]);
        a.v[i] = vreinterpretq_s32_s64(row ? vzip2q_s64(left, right) : vzip1q_s64(left, right));
    }
    return a;
}

#else

// Four k x 16 columns in bytes: 4 columns a register.
struct Nibbles {
    int8x16_t v[4];
};
PQ_INLINE Nibbles nibbles_load(const std::uint8_t* p) {
    const uint8x16_t a = vld1q_u8(p), b = vld1q_u8(p + 16), mask = vdupq_n_u8(15);
    return {{vreinterpretq_s8_u8(vandq_u8(a, mask)), vreinterpretq_s8_u8(vandq_u8(b, mask)),
             vreinterpretq_s8_u8(vshrq_n_u8(a, 4)), vreinterpretq_s8_u8(vshrq_n_u8(b, 4))}};
}

#ifdef PQ_NEON_DOT

// Four bytes of a row, in every lane.
PQ_INLINE int8x16_t four_bytes(const std::int8_t* x) {
    std::int32_t four;
    std::memcpy(&four, x, sizeof four);
    return vreinterpretq_s8_s32(vdupq_n_s32(four));
}

// Clang before 17 declares vdotq_s32 only where the whole file is compiled for dot products.
PQ_INLINE int32x4_t dot4(int32x4_t sum, int8x16_t a, int8x16_t b) {
#if defined(__clang__) && __clang_major__ < 17
    __asm__("sdot %0.4s, %1.16b, %2.16b" : "+w"(sum) : "w"(a), "w"(b));
    return sum;
#else
    return vdotq_s32(sum, a, b);
#endif
}

constexpr int kNibbleSteps = 1 << 30;
using NibbleSum = Acc;
PQ_INLINE NibbleSum nibble_zero() { return acc_zero(); }
PQ_INLINE void nibble_dot(NibbleSum& s, const Nibbles& w, const std::int8_t* x) {
    const int8x16_t four = four_bytes(x);
    for (int i = 0; i < 4; ++i) s.v[i] = dot4(s.v[i], w.v[i], four);
}
PQ_INLINE Acc nibble_total(const NibbleSum& s) { return s; }

#define PQ_QUADS
constexpr int kQuadOffset = 0;  // signed by signed: nothing to correct
using Quad = Nibbles;
PQ_INLINE Quad quad_load(const std::int8_t* p) { return {{vld1q_s8(p), vld1q_s8(p + 16), vld1q_s8(p + 32), vld1q_s8(p + 48)}}; }
PQ_INLINE void quad_dot(Acc& a, const Quad& w, const std::int8_t* x) { nibble_dot(a, w, x); }

#else

// Without dot products: 16-bit sums of 2 columns x 4 k, 15 * 127 each, so that 16 steps fit (30480).
constexpr int kNibbleSteps = 16;
struct NibbleSum {
    int16x8_t v[8];
};
PQ_INLINE NibbleSum nibble_zero() {
    const int16x8_t z = vdupq_n_s16(0);
    return {{z, z, z, z, z, z, z, z}};
}
PQ_INLINE void nibble_dot(NibbleSum& s, const Nibbles& w, const std::int8_t* x) {
    std::int32_t bytes;
    std::memcpy(&bytes, x, sizeof bytes);
    const int8x8_t four = vreinterpret_s8_s32(vdup_n_s32(bytes));
    for (int i = 0; i < 4; ++i) {
        s.v[2 * i] = vmlal_s8(s.v[2 * i], vget_low_s8(w.v[i]), four);
        s.v[2 * i + 1] = vmlal_s8(s.v[2 * i + 1], vget_high_s8(w.v[i]), four);
    }
}
PQ_INLINE Acc nibble_total(const NibbleSum& s) {
    Acc a;
    for (int i = 0; i < 4; ++i) a.v[i] = vpaddq_s32(vpaddlq_s16(s.v[2 * i]), vpaddlq_s16(s.v[2 * i + 1]));
    return a;
}

#endif  // PQ_NEON_DOT
#endif  // PQ_NEON_I8MM

}  // namespace pq::PQ_ISA
