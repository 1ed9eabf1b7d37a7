// The operations as the bindings call them: kernels, split over threads where that pays.
#pragma once

#include "kernels.h"
#include "kv_cache.h"

namespace pq {

// call.panel_begin and panel_end are set here.
void linear(const Kernels& kernels, LinearCall call, int threads);

struct AttentionShape {
    int heads, kv_heads;
    double max_period;
    int context;  // 0: all
};

// qkv: contiguous rows; appends to the cache. y: contiguous rows of heads * head_dim.
void attention(const Kernels& kernels, const AttentionShape& shape, const float* qkv, int rows, KvCache& cache, float* y,
               int threads);

// `bytes` of working memory: in `kept` for the next call if they are few, else in `own`. A voice prompt is computed at
// once and is long; what it needs is not worth keeping.
float* working_memory(Buffer& kept, Buffer& own, std::size_t bytes);

// A causal convolution: rows of `past` and of before(x) under windows; leaves the last rows in `past`.
struct ConvolveCall {
    const Weights* weights;
    const float* x;  // [rows, channels]
    float* past;     // [span - stride, channels]
    int rows, channels, stride, dilation;
    Activation before, activation;
    const float* bias;
    const float* residual;  // [rows / stride, n], contiguous, or null
    float* y;               // the same shape

    int kernel() const { return weights->k / channels; }
    int past_rows() const { return (kernel() - 1) * dilation + 1 - stride; }
};

void convolve(const Kernels& kernels, const ConvolveCall& call, int threads);

}  // namespace pq
