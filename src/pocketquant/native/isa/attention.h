// Causal attention over float16 keys and values, float32 arithmetic. What a row gets depends on its
// position and the cache alone, not on the rows computed beside it: one chain per output, over the keys
// in their order.
#pragma once

namespace pq::PQ_ISA {

constexpr int kSlice = 64;  // outputs kept in registers while the values stream by

// Rotates the pairs (2i, 2i+1) of `dim` values; rotation holds cos, sin of each pair. The rest of `padded` is zero.
PQ_INLINE void rotate(const float* x, const float* rotation, int dim, int padded, float factor, float* out) {
    for (int i = 0; i < dim; i += 2) {
        const float c = rotation[i], s = rotation[i + 1];
        out[i] = (x[i] * c - x[i + 1] * s) * factor;
        out[i + 1] = (x[i] * s + x[i + 1] * c) * factor;
    }
    for (int i = dim; i < padded; ++i) out[i] = 0.0f;
}

PQ_INLINE float dot(const float* q, const half* key, int padded) {
    F acc[NV];
    for (int v = 0; v < NV; ++v) acc[v] = zero();
    for (int i = 0; i < padded; i += kPanel) {
        PQ_UNROLL
        for (int v = 0; v < NV; ++v) acc[v] = fma(load(q + i + v * W), load_half(key + i + v * W), acc[v]);
    }
    for (int v = 1; v < NV; ++v) acc[0] = add(acc[0], acc[v]);
    return sum(acc[0]);
}

// scores -> e^(score - largest), filled up with zeros to whole vectors; returns their sum.
PQ_INLINE float softmax(float* scores, int count) {
    int padded = count;
    while (padded % W) scores[padded++] = -std::numeric_limits<float>::infinity();
    F top = load(scores);
    for (int i = W; i < padded; i += W) top = vmax(top, load(scores + i));
    const F offset = set1(largest(top));
    F total = zero();
    for (int i = 0; i < padded; i += W) {
        const F e = exp(sub(load(scores + i), offset));
        store(scores + i, e);
        total = add(total, e);
    }
    return sum(total);
}

// out[0 .. N) = factor * sum over keys of score * value
template <int N>
PQ_INLINE void mix(const float* scores, int count, const half* values, int padded, float factor, float* out) {
    F acc[N / W];
    PQ_UNROLL
    for (int v = 0; v < N / W; ++v) acc[v] = zero();
    for (int j = 0; j < count; ++j, values += padded) {
        const F score = set1(scores[j]);
        PQ_UNROLL
        for (int v = 0; v < N / W; ++v) acc[v] = fma(score, load_half(values + v * W), acc[v]);
    }
    PQ_UNROLL
    for (int v = 0; v < N / W; ++v) store(out + v * W, mul(acc[v], set1(factor)));
}

inline void attention(const AttentionCall& c) {
    const int dim = c.dim, padded = c.padded, share = c.heads / c.kv_heads;
    float* work = static_cast<float*>(
        scratch().scores.at_least((static_cast<std::size_t>(2) * padded + c.stored + c.rows + kPanel) * sizeof(float)));
    float *query = work, *out = work + padded, *scores = work + 2 * padded;
    const float scale = 1.0f / std::sqrt(static_cast<float>(dim));
    for (int h = c.head_begin; h < c.head_end; ++h) {
        half* keys = c.keys + h * c.capacity * padded;
        half* values = c.values + h * c.capacity * padded;
        for (int t = 0; t < c.rows; ++t) {  // append
            const float* k = c.qkv + t * c.qkv_stride + (c.heads + h) * dim;
            const std::size_t at = static_cast<std::size_t>(c.stored + t) * padded;
            rotate(k, c.rotation + t * dim, dim, padded, 1.0f, query);
            to_half(query, keys + at, padded);
            std::memset(values + at, 0, padded * sizeof(half));
            to_half(k + c.kv_heads * dim, values + at, dim);
        }
        for (int t = 0; t < c.rows; ++t) {
            const int end = c.stored + t + 1;
            const int begin = c.context > 0 && end > c.context ? end - c.context : 0;
            for (int head = h * share; head < (h + 1) * share; ++head) {
                rotate(c.qkv + t * c.qkv_stride + head * dim, c.rotation + t * dim, dim, padded, scale, query);
                for (int j = begin; j < end; ++j)
                    scores[j - begin] = dot(query, keys + static_cast<std::size_t>(j) * padded, padded);
                const float factor = 1.0f / softmax(scores, end - begin);
                const half* value = values + static_cast<std::size_t>(begin) * padded;
                int i = 0;
                for (; i + kSlice <= padded; i += kSlice)
                    mix<kSlice>(scores, end - begin, value + i, padded, factor, out + i);
                for (; i < padded; i += kPanel) mix<kPanel>(scores, end - begin, value + i, padded, factor, out + i);
                std::memcpy(c.y + t * c.y_stride + head * dim, out, dim * sizeof(float));
            }
        }
    }
}

}  // namespace pq::PQ_ISA
