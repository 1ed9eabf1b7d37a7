// A constant matrix [n, k] repacked once for the kernels.
//
// The n outputs are cut into panels of 16 columns (the last one padded with zeros); a panel holds all
// its bytes in the order in which one product reads them, so that a product is one linear stream
// through memory. One row (GEMV) and many rows (GEMM) read the same panels.
//
//   f32, f16   for each k: 16 columns
//   int8       k in blocks of 4 (of 8 in octets), in the order that `Order` names
//   int4       k in groups, each: 16 float16 scales, then the same blocks in half the bytes: low nibbles are
//              the first half of the int8 block and high nibbles the second; stored as value + 8
#pragma once

#include <cstddef>
#include <cstdint>

#include "buffer.h"
#include "half.h"

namespace pq {

inline constexpr int kPanel = 16;

enum class Format { f32, f16, int8, int4 };
enum class Activations { exact, int8, int16 };  // exact: float32 rows

// How the values of a block of 4 k (8 k) x 16 columns follow each other.
enum class Order {
    pairs,   // [2 pairs of k][16 columns][2]: 16-bit multiply-add instructions
    quads,   // [16 columns][4 k]: 8-bit dot product instructions
    octets,  // [16 columns][8 k]: 8-bit matrix products of 2 rows and 2 columns
};

inline constexpr int block_of(Order order) { return order == Order::octets ? 8 : 4; }  // k in a block

struct Weights {
    Format format = Format::f32;
    Activations activations = Activations::exact;
    Order order = Order::pairs;
    int n = 0;
    int k = 0;
    int group = 0;         // int4: values per scale; k else
    int groups = 1;        // int4: scales per output
    int group_padded = 0;  // group rounded up to whole blocks
    int k_padded = 0;      // groups * group_padded
    int panels = 0;
    std::size_t panel_bytes = 0;
    Buffer data;   // panels * panel_bytes
    Buffer scale;  // int8: float [panels * 16], zero behind n
    Buffer sums;   // int8 in quads: int32 [panels * 16], 128 * (sum of the column's weights)

    const std::uint8_t* panel(int p) const { return data.as<std::uint8_t>() + p * panel_bytes; }
    std::size_t bytes() const { return data.bytes() + scale.bytes() + sums.bytes(); }
};

inline constexpr int kScaleBytes = kPanel * sizeof(half);  // at the head of every int4 group

// `values`: float / half / int8 [n, k], or int32 [n, ceil(k/8)] with eight nibbles a word;
// `scale`: float [n] for int8, half [n, groups] for int4, else null. Throws std::invalid_argument.
Weights pack(Format format, Activations activations, Order order, int n, int k, int group,
             const void* values, const void* scale);

}  // namespace pq
