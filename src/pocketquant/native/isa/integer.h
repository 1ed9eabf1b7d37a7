// Products of quantized rows with int8 and int4 weights. All sums over k are exact in int32 (per group
// for int4), so their order is free; the few float operations behind them are the same for every R.
#pragma once

namespace pq::PQ_ISA {

// Fetches what will be read soon, where the instruction set's file found that it pays.
PQ_INLINE void fetch_ahead(const void* p) {
    if constexpr (kAhead > 0) prefetch(static_cast<const char*>(p) + kAhead);
}

// y = sum * (step * scale), for the rows of a tile
template <int R>
PQ_INLINE void store_int8(const Acc (&acc)[R], const float* scale, const float* step, float* out) {
    for (int r = 0; r < R; ++r)
        for (int v = 0; v < NV; ++v)
            store(out + r * kPanel + v * W, mul(acc_float(acc[r], v), mul(set1(step[r]), load(scale + v * W))));
}

template <int R>
__attribute__((noinline)) void int8_pair_tile(const std::int8_t* w, const float* scale, const Rows<std::int16_t>& rows,
                                              int row, float* out) {
    Acc acc[R];
    const std::int16_t* x[R];
    PQ_UNROLL
    for (int r = 0; r < R; ++r) {
        x[r] = rows.q + (row + r) * rows.stride;
        acc[r] = acc_zero();
    }
    for (std::ptrdiff_t k = 0; k < rows.stride; k += 2, w += 32) {
        fetch_ahead(w);
        const Pair pair = pair_load(w);
        PQ_UNROLL
        for (int r = 0; r < R; ++r) pair_dot(acc[r], pair, x[r] + k);
    }
    store_int8<R>(acc, scale, rows.step + row, out);
}

// y = step * sum over groups of sum * scale
template <int R, class T, class GroupSum>
PQ_INLINE void int4_tile(const std::uint8_t* w, const Rows<T>& rows, int row, int blocks, float* out, GroupSum group_sum) {
    F total[R][NV];
    for (int r = 0; r < R; ++r)
        for (int v = 0; v < NV; ++v) total[r][v] = zero();
    const T* x = rows.q + row * rows.stride;
    const std::int32_t* sums = rows.sums + static_cast<std::ptrdiff_t>(row) * rows.groups;
    for (int g = 0; g < rows.groups; ++g, x += blocks * 4) {
        Acc acc[R];
        group_sum(acc, w + kScaleBytes, x);
        PQ_UNROLL
        for (int r = 0; r < R; ++r) {
            acc_subtract(acc[r], sums[r * rows.groups + g]);  // nibbles are value + 8
            PQ_UNROLL
            for (int v = 0; v < NV; ++v) {
                const F scale = load_half(reinterpret_cast<const half*>(w) + v * W);
                total[r][v] = fma(acc_float(acc[r], v), scale, total[r][v]);
            }
        }
        w += kScaleBytes + blocks * 32;
    }
    for (int r = 0; r < R; ++r)
        for (int v = 0; v < NV; ++v)
            store(out + r * kPanel + v * W, mul(set1(rows.step[row + r]), total[r][v]));
}

template <int R>
__attribute__((noinline)) void int4_pair_tile(const std::uint8_t* w, const Rows<std::int16_t>& rows, int row, int blocks,
                                              float* out) {
    const std::ptrdiff_t stride = rows.stride;
    int4_tile<R>(w, rows, row, blocks, out, [=](Acc(&acc)[R], const std::uint8_t* in, const std::int16_t* x) {
        PQ_UNROLL
        for (int r = 0; r < R; ++r) acc[r] = acc_zero();
        for (int b = 0; b < blocks; ++b, in += 32, x += 4) {
            fetch_ahead(in);
            Pair first, second;
            pair_nibbles(in, first, second);
            PQ_UNROLL
            for (int r = 0; r < R; ++r) {
                pair_dot(acc[r], first, x + r * stride);
                pair_dot(acc[r], second, x + r * stride + 2);
            }
        }
    });
}

#ifdef PQ_OCTETS

// Sums of R rows over `count` blocks of 8 k, `block_bytes` apart: two rows and two columns an instruction. An odd
// last row is its own partner.
template <int R, class Load>
PQ_INLINE void octet_sums(Acc (&acc)[R], const std::uint8_t* w, int block_bytes, const std::int8_t* x,
                          std::ptrdiff_t stride, int count, Load load_octets) {
    RowPair sums[(R + 1) / 2];
    PQ_UNROLL
    for (int r = 0; r < R; r += 2) sums[r / 2] = row_pair_zero();
    for (int b = 0; b < count; ++b, w += block_bytes, x += 8) {
        for (int line = 0; line < block_bytes; line += 64) fetch_ahead(w + line);
        const Octets octets = load_octets(w);
        PQ_UNROLL
        for (int r = 0; r < R; r += 2) octet_dot(sums[r / 2], octets, x + r * stride, x + (r + 1 < R ? r + 1 : r) * stride);
    }
    PQ_UNROLL
    for (int r = 0; r < R; ++r) acc[r] = row_of(sums[r / 2], r % 2);
}

template <int R>
__attribute__((noinline)) void int8_octet_tile(const std::uint8_t* w, const float* scale, const Rows<std::int8_t>& rows,
                                               int row, float* out) {
    Acc acc[R];
    octet_sums<R>(acc, w, 128, rows.q + row * rows.stride, rows.stride, static_cast<int>(rows.stride / 8), octets_load);
    store_int8<R>(acc, scale, rows.step + row, out);
}

template <int R>
__attribute__((noinline)) void int4_byte_tile(const std::uint8_t* w, const Rows<std::int8_t>& rows, int row, int blocks,
                                               float* out) {
    const std::ptrdiff_t stride = rows.stride;
    int4_tile<R>(w, rows, row, blocks, out, [=](Acc(&acc)[R], const std::uint8_t* in, const std::int8_t* x) {
        octet_sums<R>(acc, in, 64, x, stride, blocks / 2, octets_of_nibbles);
    });
}

#else

template <int R>
__attribute__((noinline)) void int4_byte_tile(const std::uint8_t* w, const Rows<std::int8_t>& rows, int row, int blocks,
                                              float* out) {
    const std::ptrdiff_t stride = rows.stride;
    int4_tile<R>(w, rows, row, blocks, out, [=](Acc(&acc)[R], const std::uint8_t* in, const std::int8_t* x) {
        PQ_UNROLL
        for (int r = 0; r < R; ++r) acc[r] = acc_zero();
        for (int begin = 0; begin < blocks; begin += kNibbleSteps) {
            const int count = blocks - begin < kNibbleSteps ? blocks - begin : kNibbleSteps;
            NibbleSum sum[R];
            PQ_UNROLL
            for (int r = 0; r < R; ++r) sum[r] = nibble_zero();
            for (int b = 0; b < count; ++b, in += 32, x += 4) {
                fetch_ahead(in);
                const Nibbles nibbles = nibbles_load(in);
                PQ_UNROLL
                for (int r = 0; r < R; ++r) nibble_dot(sum[r], nibbles, x + r * stride);
            }
            PQ_UNROLL
            for (int r = 0; r < R; ++r) acc_add(acc[r], nibble_total(sum[r]));
        }
    });
}

#endif

struct IntegerPanel {
    static const void* panel(const Weights& w, int p, int) { return w.panel(p); }
};

struct Int8Pairs : IntegerPanel {
    static constexpr int kRows = kPairRows;
    static constexpr std::size_t kRowBytes = sizeof(std::int16_t);
    using Operand = Rows<std::int16_t>;
    static Operand prepare(const LinearCall& c, int first, int count) { return quantize_rows<std::int16_t>(c, first, count); }
    template <int R>
    static void tile(const Weights& w, const void* panel, int p, const Operand& rows, int row, float* out) {
        int8_pair_tile<R>(static_cast<const std::int8_t*>(panel), w.scale.as<float>() + p * kPanel, rows, row, out);
    }
};

struct Int4Pairs : Int8Pairs {
    template <int R>
    static void tile(const Weights& w, const void* panel, int, const Operand& rows, int row, float* out) {
        int4_pair_tile<R>(static_cast<const std::uint8_t*>(panel), rows, row, w.group_padded / 4, out);
    }
};

struct Int4Bytes : IntegerPanel {
    static constexpr int kRows = kByteRows;
    static constexpr std::size_t kRowBytes = sizeof(std::int8_t);
    using Operand = Rows<std::int8_t>;
    static Operand prepare(const LinearCall& c, int first, int count) { return quantize_rows<std::int8_t>(c, first, count); }
    template <int R>
    static void tile(const Weights& w, const void* panel, int, const Operand& rows, int row, float* out) {
        int4_byte_tile<R>(static_cast<const std::uint8_t*>(panel), rows, row, w.group_padded / 4, out);
    }
};

#ifdef PQ_OCTETS

struct Int8Octets : Int4Bytes {
    template <int R>
    static void tile(const Weights& w, const void* panel, int p, const Operand& rows, int row, float* out) {
        int8_octet_tile<R>(static_cast<const std::uint8_t*>(panel), w.scale.as<float>() + p * kPanel, rows, row, out);
    }
};

#endif

#ifdef PQ_QUADS

template <int R>
__attribute__((noinline)) void int8_quad_tile(const std::int8_t* w, const float* scale, const std::int32_t* sums,
                                              const Rows<std::int8_t>& rows, int row, float* out) {
    Acc acc[R];
    const std::int8_t* x[R];
    PQ_UNROLL
    for (int r = 0; r < R; ++r) {
        x[r] = rows.q + (row + r) * rows.stride;
        acc[r] = acc_zero();
    }
    for (std::ptrdiff_t k = 0; k < rows.stride; k += 4, w += 64) {
        fetch_ahead(w);
        const Quad quad = quad_load(w);
        PQ_UNROLL
        for (int r = 0; r < R; ++r) quad_dot(acc[r], quad, x[r] + k);
    }
    if constexpr (kQuadOffset != 0)
        for (int r = 0; r < R; ++r) acc_subtract(acc[r], sums);
    store_int8<R>(acc, scale, rows.step + row, out);
}

struct Int8Quads : IntegerPanel {
    static constexpr int kRows = kByteRows;
    static constexpr std::size_t kRowBytes = sizeof(std::int8_t);
    using Operand = Rows<std::int8_t>;
    static Operand prepare(const LinearCall& c, int first, int count) {
        const Operand rows = quantize_rows<std::int8_t>(c, first, count);
        if constexpr (kQuadOffset != 0) {  // unsigned bytes: value + 128
            std::uint8_t* q = static_cast<std::uint8_t*>(scratch().rows.at_least(0));
            for (std::ptrdiff_t i = 0; i < count * rows.stride; ++i) q[i] ^= 0x80u;
        }
        return rows;
    }
    template <int R>
    static void tile(const Weights& w, const void* panel, int p, const Operand& rows, int row, float* out) {
        int8_quad_tile<R>(static_cast<const std::int8_t*>(panel), w.scale.as<float>() + p * kPanel,
                          w.sums.as<std::int32_t>() + p * kPanel, rows, row, out);
    }
};

#endif

}  // namespace pq::PQ_ISA
