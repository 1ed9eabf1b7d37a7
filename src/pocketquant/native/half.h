// IEEE 754 binary16 <-> binary32 in plain integer arithmetic: for the scalar kernels, for packing and
// wherever the processor's own conversion may be missing. Rounds to nearest, halves to even.
#pragma once

#include <cstdint>
#include <cstring>

namespace pq {

using half = std::uint16_t;  // the bit pattern

inline float half_to_float(half h) {
    const std::uint32_t sign = static_cast<std::uint32_t>(h & 0x8000u) << 16;
    const std::uint32_t exponent = (h >> 10) & 0x1fu;
    std::uint32_t mantissa = h & 0x3ffu;
    std::uint32_t bits;
    if (exponent == 0x1f) {
        bits = sign | 0x7f800000u | (mantissa << 13);  // infinity, NaN
    } else if (exponent != 0) {
        bits = sign | ((exponent + 112u) << 23) | (mantissa << 13);
    } else if (mantissa == 0) {
        bits = sign;
    } else {  // a subnormal half is a normal float
        std::uint32_t e = 113;
        while ((mantissa & 0x400u) == 0) {
            mantissa <<= 1;
            --e;
        }
        bits = sign | (e << 23) | ((mantissa & 0x3ffu) << 13);
    }
    float f;
    std::memcpy(&f, &bits, sizeof f);
    return f;
}

inline half float_to_half(float f) {
    std::uint32_t bits;
    std::memcpy(&bits, &f, sizeof bits);
    const std::uint32_t sign = (bits >> 16) & 0x8000u;
    const std::uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return static_cast<half>(sign | 0x7e00u);    // NaN
    if (magnitude >= 0x477ff000u) return static_cast<half>(sign | 0x7c00u);   // rounds to infinity
    if (magnitude < 0x33000001u) return static_cast<half>(sign);              // rounds to zero
    std::uint32_t value, dropped, halfway;
    if (magnitude < 0x38800000u) {  // subnormal half: shift the mantissa with its hidden bit into place
        const std::uint32_t shift = 126u - (magnitude >> 23);
        const std::uint32_t mantissa = (magnitude & 0x7fffffu) | 0x800000u;
        value = mantissa >> shift;
        dropped = mantissa & ((1u << shift) - 1u);
        halfway = 1u << (shift - 1u);
    } else {
        value = (magnitude - 0x38000000u) >> 13;
        dropped = magnitude & 0x1fffu;
        halfway = 0x1000u;
    }
    if (dropped > halfway || (dropped == halfway && (value & 1u))) ++value;
    return static_cast<half>(sign | value);
}

}  // namespace pq
