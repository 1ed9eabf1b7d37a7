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

}  // namespace pq
