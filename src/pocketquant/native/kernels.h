// What one instruction set offers: a table of functions over plain pointers. Nothing here allocates
// for the caller, takes a lock or knows Python; every function may run in any thread.
#pragma once

#include <cstddef>
#include <cstdint>

#include "weights.h"

namespace pq {

enum class Activation { none, gelu, silu, elu };

// y[rows, n] = residual + gain * activation(x W^T + bias), for the panels [panel_begin, panel_end).
struct LinearCall {
    const Weights* weights;
    const float* x;  // rows of k contiguous floats, `x_stride` floats apart (rows may overlap)
    std::ptrdiff_t x_stride;
    int rows;
    float* y;
    std::ptrdiff_t y_stride;
    const float* bias;      // [n] or null
    const float* gain;      // [n] or null
    const float* residual;  // [rows, n], or null
    std::ptrdiff_t residual_stride;
    Activation activation;
    int panel_begin, panel_end;

    // x, y: contiguous rows; nothing but the product.
    static LinearCall of(const Weights& weights, const float* x, int rows, float* y) {
        LinearCall call{};
        call.weights = &weights;
        call.x = x;
        call.x_stride = weights.k;
        call.rows = rows;
        call.y = y;
        call.y_stride = weights.n;
        return call;
    }
};

// Rows of attention for the key/value heads [head_begin, head_end). Keys and values are float32 (exact) or
// float16 [kv_heads, capacity, padded], padded >= dim with zeros behind dim.
struct AttentionCall {
    const float* qkv;  // rows of (heads + 2 * kv_heads) * dim floats
    std::ptrdiff_t qkv_stride;
    int rows, heads, kv_heads, dim, padded;
    void* keys;
    void* values;
    bool exact;
    std::size_t capacity;   // positions a head has room for
    int stored;             // positions in the cache before this call
    int context;            // how many positions a row sees, itself included; 0: all
    const float* rotation;  // [rows, dim / 2, 2]: cos, sin of the rows' positions
    float* y;               // rows of heads * dim floats
    std::ptrdiff_t y_stride;
    int head_begin, head_end;
};

struct Kernels {
    const char* name;
    Order int8_order;  // how weights with int8 activations want to be packed (int16 ones: always in pairs)
    Order int4_order;
    void (*linear)(const LinearCall&);
    void (*attention)(const AttentionCall&);
    // y = (x - mean) / sqrt(var + eps) * weight + bias, per row; weight and bias may be null
    void (*layer_norm)(const float* x, float* y, int rows, int width, const float* weight, const float* bias, float eps);
    void (*activate)(const float* x, float* y, std::size_t count, Activation);
    // y = x * (1 + scale) + shift, per row; scale and shift are one row or `rows` rows (stride 0 or width)
    void (*modulate)(const float* x, float* y, int rows, int width, const float* scale, const float* shift,
                     std::ptrdiff_t stride);
    void (*to_float)(const half* x, float* y, std::size_t count);
    void (*to_half)(const float* x, half* y, std::size_t count);
};

}  // namespace pq
