// One float at a time: the plain reading of what every other file does, for processors without vectors
// that we know and as the twin that the others are tested against.
#pragma once

namespace pq::PQ_ISA {

constexpr int W = 1;
constexpr int NV = kPanel;

using F = float;

PQ_INLINE F zero() { return 0.0f; }
PQ_INLINE F set1(float x) { return x; }
PQ_INLINE F load(const float* p) { return *p; }
PQ_INLINE void store(float* p, F x) { *p = x; }
PQ_INLINE F load_half(const half* p) { return half_to_float(*p); }
PQ_INLINE void store_half(half* p, F x) { *p = float_to_half(x); }
PQ_INLINE F add(F a, F b) { return a + b; }
PQ_INLINE F sub(F a, F b) { return a - b; }
PQ_INLINE F mul(F a, F b) { return a * b; }
PQ_INLINE F div(F a, F b) { return a / b; }
PQ_INLINE F fma(F a, F b, F c) { return a * b + c; }  // two roundings: the library's fmaf is slow
PQ_INLINE F vmin(F a, F b) { return a < b ? a : b; }
PQ_INLINE F vmax(F a, F b) { return a > b ? a : b; }
PQ_INLINE F vabs(F x) { return std::fabs(x); }
PQ_INLINE F round_even(F x) { return std::nearbyint(x); }
PQ_INLINE F select_gt(F a, F b, F yes, F no) { return a > b ? yes : no; }
PQ_INLINE F pow2(F n) {
    if (!(n >= -126.0f && n <= 127.0f)) return n;  // NaN
    const std::uint32_t bits = static_cast<std::uint32_t>(static_cast<std::int32_t>(n) + 127) << 23;
    float f;
    std::memcpy(&f, &bits, sizeof f);
    return f;
}
PQ_INLINE float sum(F x) { return x; }
PQ_INLINE float largest(F x) { return x; }
template <class T>
PQ_INLINE void store_int(T* p, F x) {
    *p = x == x ? static_cast<T>(x) : T(0);
}
PQ_INLINE void prefetch(const void*) {}

struct Acc {
    std::int32_t v[kPanel];
};
PQ_INLINE Acc acc_zero() { return {}; }
PQ_INLINE F acc_float(const Acc& a, int i) { return static_cast<float>(a.v[i]); }
PQ_INLINE void acc_add(Acc& a, const Acc& b) {
    for (int i = 0; i < kPanel; ++i) a.v[i] += b.v[i];
}
PQ_INLINE void acc_subtract(Acc& a, std::int32_t x) {
    for (int i = 0; i < kPanel; ++i) a.v[i] -= x;
}

struct Pair {
    std::int16_t v[2 * kPanel];
};
PQ_INLINE Pair pair_load(const std::int8_t* p) {
    Pair w;
    for (int i = 0; i < 2 * kPanel; ++i) w.v[i] = p[i];
    return w;
}
PQ_INLINE void pair_nibbles(const std::uint8_t* p, Pair& first, Pair& second) {
    for (int i = 0; i < 2 * kPanel; ++i) {
        first.v[i] = p[i] & 15;
        second.v[i] = p[i] >> 4;
    }
}
PQ_INLINE void pair_dot(Acc& a, const Pair& w, const std::int16_t* x) {
    for (int i = 0; i < kPanel; ++i) a.v[i] += w.v[2 * i] * x[0] + w.v[2 * i + 1] * x[1];
}

struct Nibbles {
    std::uint8_t v[4 * kPanel];
};
PQ_INLINE Nibbles nibbles_load(const std::uint8_t* p) {
    Nibbles w;
    for (int i = 0; i < 2 * kPanel; ++i) {
        w.v[i] = p[i] & 15;
        w.v[2 * kPanel + i] = p[i] >> 4;
    }
    return w;
}
constexpr int kNibbleSteps = 1 << 30;
using NibbleSum = Acc;
PQ_INLINE NibbleSum nibble_zero() { return acc_zero(); }
PQ_INLINE void nibble_dot(NibbleSum& s, const Nibbles& w, const std::int8_t* x) {
    for (int i = 0; i < kPanel; ++i)
        for (int k = 0; k < 4; ++k) s.v[i] += w.v[4 * i + k] * x[k];
}
PQ_INLINE Acc nibble_total(const NibbleSum& s) { return s; }

}  // namespace pq::PQ_ISA
