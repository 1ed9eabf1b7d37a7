// Rows of activations, quantized as ops/reference.py says.
#pragma once

namespace pq::PQ_ISA {

// A block of rows as the integer products read them.
template <class T>
struct Rows {
    const T* q;                // [rows, stride]
    std::ptrdiff_t stride;     // k_padded
    const float* step;         // [rows]: x = step * q
    const std::int32_t* sums;  // [rows, groups]: 8 * (sum of the group's q), int4 only
    int groups;
};

// Largest |q| for int16: exact int32 sums with int8 weights of k columns.
PQ_INLINE float int16_limit(int k) {
    const std::int64_t most = 2147483647LL / (127LL * k);
    return static_cast<float>(most < 32767 ? most : 32767);
}

PQ_INLINE float largest_magnitude(const float* x, int n) {
    F m = zero();
    int i = 0;
    for (; i + W <= n; i += W) m = vmax(m, vabs(load(x + i)));
    float result = largest(m);
    for (; i < n; ++i) result = std::fabs(x[i]) > result ? std::fabs(x[i]) : result;
    return result;
}

// q = rint(x / step) in +-limit, step = max|x| / limit; returns step. Zero rows (and rows so small that
// the step is no float) give step 0, q 0.
template <class T>
PQ_INLINE float quantize_row(const float* x, int n, float limit, T* q) {
    const float step = largest_magnitude(x, n) / limit;
    if (!(step > 0.0f)) {
        std::memset(q, 0, n * sizeof(T));
        return 0.0f;
    }
    const F divisor = set1(step), high = set1(limit), low = set1(-limit);
    auto quantize = [&](F v) { return vmax(low, vmin(high, round_even(div(v, divisor)))); };
    int i = 0;
    for (; i + W <= n; i += W) store_int(q + i, quantize(load(x + i)));
    if (i < n) {
        float tail[W] = {};
        T rounded[W];
        std::memcpy(tail, x + i, (n - i) * sizeof(float));
        store_int(rounded, quantize(load(tail)));
        std::memcpy(q + i, rounded, (n - i) * sizeof(T));
    }
    return step;
}

// Opens the gaps that pad every group to whole blocks (k_padded values in all).
template <class T>
PQ_INLINE void pad_groups(T* q, const Weights& w) {
    const int gap = w.group_padded - w.group;
    if (gap == 0) return;
    for (int g = w.groups - 1; g >= 0; --g) {
        std::memmove(q + g * w.group_padded, q + g * w.group, w.group * sizeof(T));
        std::memset(q + g * w.group_padded + w.group, 0, gap * sizeof(T));
    }
}

template <class T>
PQ_INLINE Rows<T> quantize_rows(const LinearCall& c, int first, int count) {
    const Weights& w = *c.weights;
    const bool int4 = w.format == Format::int4;
    const float limit = w.activations == Activations::int8 ? 127.0f : int16_limit(w.k);
    Scratch& s = scratch();
    T* q = static_cast<T*>(s.rows.at_least(static_cast<std::size_t>(count) * w.k_padded * sizeof(T)));
    float* step = static_cast<float*>(s.scales.at_least(static_cast<std::size_t>(count) * (1 + w.groups) * 4));
    std::int32_t* sums = reinterpret_cast<std::int32_t*>(step + count);
    for (int r = 0; r < count; ++r) {
        T* row = q + static_cast<std::ptrdiff_t>(r) * w.k_padded;
        step[r] = quantize_row(c.x + (first + r) * c.x_stride, w.k, limit, row);
        pad_groups(row, w);
        if (!int4) continue;
        for (int g = 0; g < w.groups; ++g) {
            std::int32_t sum = 0;
            for (int i = 0; i < w.group_padded; ++i) sum += row[g * w.group_padded + i];
            sums[r * w.groups + g] = 8 * sum;
        }
    }
    return {q, w.k_padded, step, sums, w.groups};
}

}  // namespace pq::PQ_ISA
