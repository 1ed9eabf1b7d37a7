#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "weights.h"

namespace pq {
namespace {

template <class T>
void pack_dense(Weights& w, const T* values) {
    for (int p = 0; p < w.panels; ++p) {
        T* out = reinterpret_cast<T*>(w.data.as<std::uint8_t>() + p * w.panel_bytes);
        for (int c = 0; c < kPanel; ++c) {
            const int row = p * kPanel + c;
            const T* in = values + static_cast<std::size_t>(row) * w.k;
            for (int k = 0; k < w.k; ++k) out[static_cast<std::size_t>(k) * kPanel + c] = row < w.n ? in[k] : T(0);
        }
    }
}

// Four int8 values (little-endian: the first in the lowest byte) of one column, k and the next three, into its panel.
void put_int8(Order order, std::int8_t* panel, int k, int column, std::uint32_t four) {
    const int inside = k % block_of(order);
    std::int8_t* block = panel + std::size_t(k - inside) * kPanel;
    if (order == Order::pairs) {
        const std::uint16_t first = static_cast<std::uint16_t>(four), second = static_cast<std::uint16_t>(four >> 16);
        std::memcpy(block + column * 2, &first, 2);
        std::memcpy(block + 32 + column * 2, &second, 2);
    } else {
        std::memcpy(block + column * block_of(order) + inside, &four, 4);
    }
}

// Four nibbles (the first lowest) of one column into its group, which was zero before.
void put_int4(Order order, std::uint8_t* group, int k, int column, std::uint32_t four) {
    const int inside = k % block_of(order);
    std::uint8_t* block = group + std::size_t(k - inside) * (kPanel / 2);
    if (order == Order::pairs) {
        block[column * 2] = static_cast<std::uint8_t>((four & 15u) | (four >> 4 & 0xf0u));
        block[column * 2 + 1] = static_cast<std::uint8_t>((four >> 4 & 15u) | (four >> 8 & 0xf0u));
    } else {
        std::uint32_t bytes = (four | four << 8) & 0x00ff00ffu, old;
        bytes = (bytes | bytes << 4) & 0x0f0f0f0fu;
        std::uint8_t* to = block + column % 8 * block_of(order) + inside;
        std::memcpy(&old, to, 4);
        bytes = old | bytes << (column < 8 ? 0 : 4);
        std::memcpy(to, &bytes, 4);
    }
}

void pack_int8(Weights& w, const std::int8_t* values, const float* scale) {
    float* scales = w.scale.as<float>();
    std::int32_t* sums = w.sums.as<std::int32_t>();
    for (int p = 0; p < w.panels; ++p) {
        std::int8_t* panel = w.data.as<std::int8_t>() + p * w.panel_bytes;
        for (int c = 0; c < kPanel; ++c) {
            const int row = p * kPanel + c;
            const bool real = row < w.n;
            const std::int8_t* in = values + static_cast<std::size_t>(row) * w.k;
            std::int32_t sum = 0;
            for (int k = 0; k < w.k_padded; k += 4) {
                std::int8_t four[4] = {0, 0, 0, 0};
                if (real && k + 4 <= w.k) {
                    std::memcpy(four, in + k, 4);
                } else if (real && k < w.k) {
                    std::memcpy(four, in + k, w.k - k);
                }
                std::uint32_t word;
                std::memcpy(&word, four, 4);
                put_int8(w.order, panel, k, c, word);
                sum += four[0] + four[1] + four[2] + four[3];
            }
            scales[row] = real ? scale[row] : 0.0f;
            sums[row] = 128 * sum;
        }
    }
}

// The nibbles [k, k + count) of a row, count <= 4, filled up with 8 (the value 0).
std::uint32_t four_nibbles(const std::uint32_t* row, int k, int count) {
    if (count >= 4 && k % 4 == 0) return row[k / 8] >> (k % 8 * 4) & 0xffffu;
    std::uint32_t four = 0x8888u;
    for (int i = 0; i < std::min(count, 4); ++i, ++k) {
        const std::uint32_t nibble = row[k / 8] >> (k % 8 * 4) & 15u;
        four = (four & ~(15u << (4 * i))) | nibble << (4 * i);
    }
    return four;
}

void pack_int4(Weights& w, const std::uint32_t* words, const half* scale) {
    const std::size_t words_per_row = (static_cast<std::size_t>(w.k) + 7) / 8;
    const std::size_t group_bytes = kScaleBytes + w.group_padded * (kPanel / 2);
    std::memset(w.data.as<void>(), 0, w.data.bytes());
    for (int p = 0; p < w.panels; ++p) {
        std::uint8_t* panel = w.data.as<std::uint8_t>() + p * w.panel_bytes;
        for (int c = 0; c < kPanel; ++c) {
            const std::size_t row = static_cast<std::size_t>(p) * kPanel + c;
            const bool real = row < static_cast<std::size_t>(w.n);
            for (int g = 0; g < w.groups; ++g) {
                std::uint8_t* group = panel + g * group_bytes;
                reinterpret_cast<half*>(group)[c] = real ? scale[row * w.groups + g] : half(0);
                for (int k = 0; k < w.group_padded; k += 4) {
                    const std::uint32_t four =
                        real ? four_nibbles(words + row * words_per_row, g * w.group + k, w.group - k) : 0x8888u;
                    put_int4(w.order, group + kScaleBytes, k, c, four);
                }
            }
        }
    }
}

}  // namespace

Weights pack(Format format, Activations activations, Order order, int n, int k, int group,
             const void* values, const void* scale) {
    if (n < 1 || k < 1) throw std::invalid_argument("a weight needs at least one row and one column");
    if (format != Format::int4) group = k;
    if (group < 1 || k % group != 0) throw std::invalid_argument("the group size must divide the columns");
    Weights w;
    w.format = format;
    w.activations = activations;
    w.order = order;
    w.n = n;
    w.k = k;
    w.group = group;
    w.groups = k / group;
    w.group_padded = static_cast<int>(round_up(group, block_of(order)));
    w.k_padded = w.groups * w.group_padded;
    w.panels = (n + kPanel - 1) / kPanel;
    switch (format) {
        case Format::f32: w.panel_bytes = std::size_t(k) * kPanel * sizeof(float); break;
        case Format::f16: w.panel_bytes = std::size_t(k) * kPanel * sizeof(half); break;
        case Format::int8: w.panel_bytes = std::size_t(w.k_padded) * kPanel; break;
        case Format::int4: w.panel_bytes = std::size_t(w.groups) * (kScaleBytes + w.group_padded * kPanel / 2); break;
    }
    w.data.reset(w.panels * w.panel_bytes);
    if (format == Format::int8) {
        w.scale.reset(w.panels * kPanel * sizeof(float));
        w.sums.reset(w.panels * kPanel * sizeof(std::int32_t));
    }
    switch (format) {
        case Format::f32: pack_dense(w, static_cast<const float*>(values)); break;
        case Format::f16: pack_dense(w, static_cast<const half*>(values)); break;
        case Format::int8: pack_int8(w, static_cast<const std::int8_t*>(values), static_cast<const float*>(scale)); break;
        case Format::int4: pack_int4(w, static_cast<const std::uint32_t*>(values), static_cast<const half*>(scale)); break;
    }
    return w;
}

}  // namespace pq
