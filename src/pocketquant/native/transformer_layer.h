// One pre-norm transformer layer in one call: norm, attention, norm, feed-forward.
#pragma once

#include <vector>

#include "operations.h"

namespace pq {

struct LayerNorm {
    std::vector<float> weight, bias;
};

struct TransformerLayer {
    LayerNorm norm1, norm2;
    const Weights *in_proj, *out_proj, *linear1, *linear2;
    std::vector<float> scale1, scale2;  // empty: none
    float eps;
    AttentionShape attention;

    int dim() const { return in_proj->k; }
};

// x, y: contiguous rows, `rows_each` of them for each cache, one utterance after the other; x and y may be the same.
void transformer_layer(const Kernels& kernels, const TransformerLayer& layer, const float* x, int rows_each,
                       const std::vector<KvCache*>& caches, float* y, int threads);

}  // namespace pq
