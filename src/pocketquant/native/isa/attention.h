// Causal attention over stored keys and values (float16 or float32), float32 arithmetic. Queries that read
// the same key/value head go through the past in tiles, which share each load and conversion. What a query
// gets depends on its position and the cache alone, not on the queries beside it: one chain per output,
// over the keys in their order.
#pragma once

namespace pq::PQ_ISA {

constexpr int kQueries = kDenseRows;  // queries of a tile

// Rotates the pairs (2i, 2i+1) of `dim` values; rotation holds cos, sin of each pair. The rest of `padded` is zero.
PQ_INLINE void rotate(const float* x, const float* rotation, int dim, int padded, float factor, float* out) {
    for (int i = 0; i < dim; i += 2) {
        const float c = rotation[i], s = rotation[i + 1];
        out[i] = (x[i] * c - x[i + 1] * s) * factor;
        out[i + 1] = (x[i] * s + x[i + 1] * c) * factor;
    }
    for (int i = dim; i < padded; ++i) out[i] = 0.0f;
}

// A query and the keys it sees: [begin, end).
struct Query {
    float *rotated, *out;  // [padded] each
    float* scores;         // [end - begin], and room to fill up the last vector
    int begin, end;
    float total;  // of the scores, after the softmax
};

// Products of R queries with the keys [from, to).
template <int R, class T>
PQ_INLINE void score(const Query* queries, const T* keys, int padded, int from, int to) {
    for (int j = from; j < to; ++j) {
        const T* key = keys + static_cast<std::ptrdiff_t>(j) * padded;
        F acc[R][NV];
        PQ_UNROLL
        for (int r = 0; r < R; ++r) {
            PQ_UNROLL
            for (int v = 0; v < NV; ++v) acc[r][v] = zero();
        }
        for (int i = 0; i < padded; i += kPanel) {
            PQ_UNROLL
            for (int v = 0; v < NV; ++v) {
                const F k = load_stored(key + i + v * W);
                PQ_UNROLL
                for (int r = 0; r < R; ++r) acc[r][v] = fma(load(queries[r].rotated + i + v * W), k, acc[r][v]);
            }
        }
        PQ_UNROLL
        for (int r = 0; r < R; ++r) {
            for (int v = 1; v < NV; ++v) acc[r][0] = add(acc[r][0], acc[r][v]);
            queries[r].scores[j - queries[r].begin] = sum(acc[r][0]);
        }
    }
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

// out[at .. at + N) += sum over the keys [from, to) of score * value, for R queries.
template <int R, int N, class T>
PQ_INLINE void mix_slice(const Query* queries, const T* values, int padded, int at, int from, int to) {
    F acc[R][N / W];
    const float* scores[R];
    PQ_UNROLL
    for (int r = 0; r < R; ++r) {
        scores[r] = queries[r].scores + (from - queries[r].begin);
        PQ_UNROLL
        for (int v = 0; v < N / W; ++v) acc[r][v] = load(queries[r].out + at + v * W);
    }
    const T* value = values + static_cast<std::ptrdiff_t>(from) * padded + at;
    for (int j = 0; j < to - from; ++j, value += padded) {
        F x[N / W];
        PQ_UNROLL
        for (int v = 0; v < N / W; ++v) x[v] = load_stored(value + v * W);
        PQ_UNROLL
        for (int r = 0; r < R; ++r) {
            const F weight = set1(scores[r][j]);
            PQ_UNROLL
            for (int v = 0; v < N / W; ++v) acc[r][v] = fma(weight, x[v], acc[r][v]);
        }
    }
    PQ_UNROLL
    for (int r = 0; r < R; ++r) {
        PQ_UNROLL
        for (int v = 0; v < N / W; ++v) store(queries[r].out + at + v * W, acc[r][v]);
    }
}

// As many columns at once as the registers of a tile hold.
constexpr int slice_of(int queries) {
    int columns = 64;
    while (columns > kPanel && queries * columns > kQueries * kPanel) columns /= 2;
    return columns;
}

template <int R, class T>
PQ_INLINE void mix(const Query* queries, const T* values, int padded, int from, int to) {
    constexpr int N = slice_of(R);
    if (from >= to) return;
    int at = 0;
    for (; at + N <= padded; at += N) mix_slice<R, N>(queries, values, padded, at, from, to);
    for (; at < padded; at += kPanel) mix_slice<R, kPanel>(queries, values, padded, at, from, to);
}

// R queries: one by one over the keys that not all of them see, together over those between.
template <int R, class T>
__attribute__((noinline)) void attend(Query* queries, const T* keys, const T* values, int padded) {
    int from = queries[0].begin, to = queries[0].end;
    for (int r = 1; r < R; ++r) {
        from = queries[r].begin > from ? queries[r].begin : from;
        to = queries[r].end < to ? queries[r].end : to;
    }
    if (from >= to) from = to = 0;
    for (int r = 0; r < R && R > 1; ++r) {
        score<1>(queries + r, keys, padded, queries[r].begin, from);
        score<1>(queries + r, keys, padded, queries[r].begin > to ? queries[r].begin : to, queries[r].end);
    }
    score<R>(queries, keys, padded, from, to);
    for (int r = 0; r < R; ++r) {
        Query& q = queries[r];
        q.total = softmax(q.scores, q.end - q.begin);
        for (int i = 0; i < padded; ++i) q.out[i] = 0.0f;
        if constexpr (R > 1) mix<1>(&q, values, padded, q.begin, from);
    }
    mix<R>(queries, values, padded, from, to);
    for (int r = 0; r < R && R > 1; ++r)
        mix<1>(queries + r, values, padded, queries[r].begin > to ? queries[r].begin : to, queries[r].end);
}

template <int R, class T>
PQ_INLINE void run_tile(int count, Query* queries, const T* keys, const T* values, int padded) {
    if (count == R)
        attend<R>(queries, keys, values, padded);
    else if constexpr (R > 1)
        run_tile<R - 1>(count, queries, keys, values, padded);
}

PQ_INLINE void put(const float* x, half* y, int count) { to_half(x, y, count); }
PQ_INLINE void put(const float* x, float* y, int count) { std::memcpy(y, x, count * sizeof(float)); }

// The keys and values of this call's rows into the cache.
template <class T>
void append(const AttentionCall& c, int h, T* keys, T* values, float* rotated) {
    for (int t = 0; t < c.rows; ++t) {
        const float* k = c.qkv + t * c.qkv_stride + (c.heads + h) * c.dim;
        const std::size_t at = static_cast<std::size_t>(c.stored + t) * c.padded;
        rotate(k, c.rotation + t * c.dim, c.dim, c.padded, 1.0f, rotated);
        put(rotated, keys + at, c.padded);
        std::memset(values + at, 0, c.padded * sizeof(T));
        put(k + c.kv_heads * c.dim, values + at, c.dim);
    }
}

template <class T>
void attention_over(const AttentionCall& c) {
    const int dim = c.dim, padded = c.padded, share = c.heads / c.kv_heads;
    const std::size_t room = 2 * static_cast<std::size_t>(padded) + c.stored + c.rows + kPanel;
    float* work = static_cast<float*>(scratch().scores.at_least(kQueries * room * sizeof(float)));
    Query queries[kQueries];
    for (int r = 0; r < kQueries; ++r, work += room)
        queries[r] = {work, work + padded, work + 2 * padded, 0, 0, 0.0f};
    const float scale = 1.0f / std::sqrt(static_cast<float>(dim));
    for (int h = c.head_begin; h < c.head_end; ++h) {
        T* keys = static_cast<T*>(c.keys) + h * c.capacity * padded;
        T* values = static_cast<T*>(c.values) + h * c.capacity * padded;
        append(c, h, keys, values, queries[0].rotated);
        const int count = c.rows * share;  // row t, head h * share + s is query t * share + s
        for (int first = 0, tiles = (count + kQueries - 1) / kQueries; tiles > 0; --tiles) {
            const int size = (count - first + tiles - 1) / tiles;
            for (int r = 0; r < size; ++r) {
                const int t = (first + r) / share, head = h * share + (first + r) % share;
                Query& q = queries[r];
                q.end = c.stored + t + 1;
                q.begin = c.context > 0 && q.end > c.context ? q.end - c.context : 0;
                rotate(c.qkv + t * c.qkv_stride + head * dim, c.rotation + t * dim, dim, padded, scale, q.rotated);
            }
            run_tile<kQueries>(size, queries, keys, values, padded);
            for (int r = 0; r < size; ++r) {
                const int t = (first + r) / share, head = h * share + (first + r) % share;
                float* y = c.y + t * c.y_stride + head * dim;
                const float factor = 1.0f / queries[r].total;
                for (int i = 0; i < dim; ++i) y[i] = queries[r].out[i] * factor;
            }
            first += size;
        }
    }
}

inline void attention(const AttentionCall& c) {
    if (c.exact)
        attention_over<float>(c);
    else
        attention_over<half>(c);
}

}  // namespace pq::PQ_ISA
