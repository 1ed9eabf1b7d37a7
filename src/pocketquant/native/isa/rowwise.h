// What works on one row or one value at a time: layer norm, activations, conversions.
#pragma once

namespace pq::PQ_ISA {

// y[i] = f(x[i], i) for whole vectors and a last, partly filled one.
template <class Function>
PQ_INLINE void map(const float* x, float* y, std::size_t n, Function f) {
    std::size_t i = 0;
    for (; i + W <= n; i += W) store(y + i, f(load(x + i)));
    if (i == n) return;
    float tail[W] = {};
    std::memcpy(tail, x + i, (n - i) * sizeof(float));
    store(tail, f(load(tail)));
    std::memcpy(y + i, tail, (n - i) * sizeof(float));
}

inline void layer_norm(const float* x, float* y, int rows, int width, const float* weight, const float* bias, float eps) {
    for (int r = 0; r < rows; ++r, x += width, y += width) {
        int i = 0;
        F total = zero();
        for (; i + W <= width; i += W) total = add(total, load(x + i));
        float mean = sum(total);
        for (; i < width; ++i) mean += x[i];
        mean /= static_cast<float>(width);
        F squares = zero();
        const F centre = set1(mean);
        for (i = 0; i + W <= width; i += W) {
            const F d = sub(load(x + i), centre);
            squares = fma(d, d, squares);
        }
        float variance = sum(squares);
        for (; i < width; ++i) variance += (x[i] - mean) * (x[i] - mean);
        variance /= static_cast<float>(width);
        const float inverse = 1.0f / std::sqrt(variance + eps);
        const F factor = set1(inverse);
        for (i = 0; i + W <= width; i += W) {
            F v = mul(sub(load(x + i), centre), factor);
            if (weight) v = mul(v, load(weight + i));
            if (bias) v = add(v, load(bias + i));
            store(y + i, v);
        }
        for (; i < width; ++i) {
            float v = (x[i] - mean) * inverse;
            if (weight) v *= weight[i];
            if (bias) v += bias[i];
            y[i] = v;
        }
    }
}

inline void activate_all(const float* x, float* y, std::size_t count, Activation activation) {
    map(x, y, count, [=](F v) { return activate(v, activation); });
}

inline void modulate(const float* x, float* y, int rows, int width, const float* scale, const float* shift,
                     std::ptrdiff_t stride) {
    for (int r = 0; r < rows; ++r, x += width, y += width, scale += stride, shift += stride) {
        int i = 0;
        for (; i + W <= width; i += W)
            store(y + i, add(mul(load(x + i), add(set1(1.0f), load(scale + i))), load(shift + i)));
        for (; i < width; ++i) y[i] = x[i] * (1.0f + scale[i]) + shift[i];
    }
}

inline void to_float(const half* x, float* y, std::size_t count) {
    std::size_t i = 0;
    for (; i + W <= count; i += W) store(y + i, load_half(x + i));
    for (; i < count; ++i) y[i] = half_to_float(x[i]);
}

inline void to_half(const float* x, half* y, std::size_t count) {
    std::size_t i = 0;
    for (; i + W <= count; i += W) store_half(y + i, load(x + i));
    for (; i < count; ++i) y[i] = float_to_half(x[i]);
}

}  // namespace pq::PQ_ISA
