// Products of float rows: f32 panels, f16 panels, and any other format widened to f32 first.
#pragma once

namespace pq::PQ_ISA {

struct FloatRows {
    const float* x;
    std::ptrdiff_t stride;
};

// R rows x 16 columns. Every output is one chain over k = 0, 1, 2, ...: the same for every R.
template <int R, class T>
__attribute__((noinline)) void dense_tile(const T* w, int k, const FloatRows& rows, int row, float* out) {
    F acc[R][NV];
    const float* x[R];
    PQ_UNROLL
    for (int r = 0; r < R; ++r) {
        x[r] = rows.x + (row + r) * rows.stride;
        PQ_UNROLL
        for (int v = 0; v < NV; ++v) acc[r][v] = zero();
    }
    for (int i = 0; i < k; ++i, w += kPanel) {
        prefetch(reinterpret_cast<const char*>(w) + kAhead);
        F weight[NV];
        PQ_UNROLL
        for (int v = 0; v < NV; ++v) weight[v] = load_stored(w + v * W);
        PQ_UNROLL
        for (int r = 0; r < R; ++r) {
            const F value = set1(x[r][i]);
            PQ_UNROLL
            for (int v = 0; v < NV; ++v) acc[r][v] = fma(value, weight[v], acc[r][v]);
        }
    }
    PQ_UNROLL
    for (int r = 0; r < R; ++r) {
        PQ_UNROLL
        for (int v = 0; v < NV; ++v) store(out + r * kPanel + v * W, acc[r][v]);
    }
}

// One panel as float [k, 16], scales applied.
inline void widen_panel(const Weights& w, int p, float* out) {
    const std::uint8_t* in = w.panel(p);
    if (w.format == Format::f16) {
        const half* from = reinterpret_cast<const half*>(in);
        for (int i = 0; i < w.k * kPanel; i += W) store(out + i, load_half(from + i));
    } else if (w.format == Format::int8) {
        const float* scale = w.scale.as<float>() + p * kPanel;
        for (int k = 0; k < w.k; ++k, out += kPanel) {
            const std::int8_t* pair = reinterpret_cast<const std::int8_t*>(in) + (k / 2) * 32 + k % 2;
            for (int c = 0; c < kPanel; ++c) out[c] = static_cast<float>(pair[2 * c]) * scale[c];
        }
    } else {
        for (int g = 0; g < w.groups; ++g, in += kScaleBytes + w.group_padded * (kPanel / 2)) {
            alignas(kAlign) float scale[kPanel];
            for (int v = 0; v < NV; ++v) store(scale + v * W, load_half(reinterpret_cast<const half*>(in) + v * W));
            for (int k = 0; k < w.group; ++k, out += kPanel) {
                const std::uint8_t* pair = in + kScaleBytes + k / 4 * 32 + k % 2;
                for (int c = 0; c < kPanel; ++c)
                    out[c] = static_cast<float>((pair[2 * c] >> (k % 4 < 2 ? 0 : 4) & 15) - 8) * scale[c];
            }
        }
    }
}

struct DenseF32 {
    static constexpr int kRows = kDenseRows;
    static constexpr std::size_t kRowBytes = sizeof(float);
    using Operand = FloatRows;
    static Operand prepare(const LinearCall& c, int first, int) { return {c.x + first * c.x_stride, c.x_stride}; }
    static const void* panel(const Weights& w, int p, int) { return w.panel(p); }
    template <int R>
    static void tile(const Weights& w, const void* panel, int, const Operand& rows, int row, float* out) {
        dense_tile<R>(static_cast<const float*>(panel), w.k, rows, row, out);
    }
};

struct DenseF16 : DenseF32 {
    template <int R>
    static void tile(const Weights& w, const void* panel, int, const Operand& rows, int row, float* out) {
        dense_tile<R>(static_cast<const half*>(panel), w.k, rows, row, out);
    }
};

// Quantized weights of float rows: one panel at a time as floats.
struct Widened : DenseF32 {
    static const void* panel(const Weights& w, int p, int) {
        float* wide = static_cast<float*>(scratch().panel.at_least(static_cast<std::size_t>(w.k) * kPanel * sizeof(float)));
        widen_panel(w, p, wide);
        return wide;
    }
};

}  // namespace pq::PQ_ISA
