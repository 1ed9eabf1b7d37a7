// The loops around the tiles: blocks of rows that stay in the second-level cache, panels, tiles of rows,
// and the epilogue, which runs on a finished tile so that it costs the microkernel no registers.
#pragma once

namespace pq::PQ_ISA {

constexpr std::size_t kBlockBytes = 192 * 1024;  // rows of x worth keeping close

// out = residual + gain * activation(tile + bias) for `count` <= 16 columns of one row. The arrays may be
// read only up to `count`.
PQ_INLINE void finish_row(float* tile, const float* bias, const float* gain, const float* residual,
                          Activation activation, float* out) {
    for (int v = 0; v < NV; ++v) {
        F y = load(tile + v * W);
        if (bias) y = add(y, load(bias + v * W));
        y = activate(y, activation);
        if (gain) y = mul(y, load(gain + v * W));
        if (residual) y = add(load(residual + v * W), y);
        store(out + v * W, y);
    }
}

inline void finish_tile(const LinearCall& c, int row, int rows, int p, float* tile) {
    const int n = c.weights->n, column = p * kPanel;
    const int count = n - column < kPanel ? n - column : kPanel;
    const float* bias = c.bias ? c.bias + column : nullptr;
    const float* gain = c.gain ? c.gain + column : nullptr;
    float last_bias[kPanel] = {}, last_gain[kPanel] = {};
    if (count < kPanel) {  // the arrays end inside of the panel
        if (bias) bias = static_cast<float*>(std::memcpy(last_bias, bias, count * sizeof(float)));
        if (gain) gain = static_cast<float*>(std::memcpy(last_gain, gain, count * sizeof(float)));
    }
    for (int r = 0; r < rows; ++r, tile += kPanel) {
        float* out = c.y + (row + r) * c.y_stride + column;
        const float* residual = c.residual ? c.residual + (row + r) * c.residual_stride + column : nullptr;
        if (count == kPanel) {
            finish_row(tile, bias, gain, residual, c.activation, out);
        } else {
            float last[kPanel] = {}, last_out[kPanel];
            if (residual) residual = static_cast<float*>(std::memcpy(last, residual, count * sizeof(float)));
            finish_row(tile, bias, gain, residual, c.activation, last_out);
            std::memcpy(out, last_out, count * sizeof(float));
        }
    }
}

template <class K, int R>
PQ_INLINE void run_tile(int rows, const Weights& w, const void* panel, int p, const typename K::Operand& x, int row,
                        float* out) {
    if (rows == R)
        K::template tile<R>(w, panel, p, x, row, out);
    else if constexpr (R > 1)
        run_tile<K, R - 1>(rows, w, panel, p, x, row, out);
}

template <class K>
void run_linear(const LinearCall& c) {
    const Weights& w = *c.weights;
    int block = static_cast<int>(kBlockBytes / (static_cast<std::size_t>(w.k_padded) * K::kRowBytes));
    block = block < K::kRows ? K::kRows : block / K::kRows * K::kRows;
    for (int first = 0; first < c.rows; first += block) {
        const int count = c.rows - first < block ? c.rows - first : block;
        const typename K::Operand x = K::prepare(c, first, count);
        for (int p = c.panel_begin; p < c.panel_end; ++p) {
            const void* panel = K::panel(w, p, count);
            for (int row = 0, tiles = (count + K::kRows - 1) / K::kRows; tiles > 0; --tiles) {
                const int rows = (count - row + tiles - 1) / tiles;  // tiles of even heights
                alignas(kAlign) float tile[K::kRows * kPanel];
                run_tile<K, K::kRows>(rows, w, panel, p, x, row, tile);
                finish_tile(c, first + row, rows, p, tile);
                row += rows;
            }
        }
    }
}

inline void linear(const LinearCall& c) {
    const Weights& w = *c.weights;
    if (w.format == Format::f32) return run_linear<DenseF32>(c);
    // converting as the product goes beats a widened copy wherever an instruction converts
    if (w.format == Format::f16 && (W > 1 || c.rows <= kDenseRows)) return run_linear<DenseF16>(c);
    if (w.activations == Activations::exact) return run_linear<Widened>(c);
    if (w.format == Format::int4) {
        if (w.activations == Activations::int8) return run_linear<Int4Bytes>(c);
        return run_linear<Int4Pairs>(c);
    }
#ifdef PQ_QUADS
    if (w.order == Order::quads) return run_linear<Int8Quads>(c);
#endif
#ifdef PQ_OCTETS
    if (w.order == Order::octets) return run_linear<Int8Octets>(c);
#endif
    run_linear<Int8Pairs>(c);
}

}  // namespace pq::PQ_ISA
