#include "transformer_layer.h"

#include <algorithm>

#include "isa/scratch.h"

namespace pq {
namespace {

void add_to(LinearCall& call, const float* residual, const std::vector<float>& scale) {
    call.residual = residual;
    call.residual_stride = call.y_stride;
    call.gain = scale.empty() ? nullptr : scale.data();
}

}  // namespace

void transformer_layer(const Kernels& kernels, const TransformerLayer& layer, const float* x, int rows_each,
                       const std::vector<KvCache*>& caches, float* y, int threads) {
    const int rows = rows_each * static_cast<int>(caches.size()), dim = layer.dim();
    const std::size_t attended = layer.out_proj->k, projected = layer.in_proj->n, hidden = layer.linear1->n;
    Buffer own;
    float* normed = working_memory(scratch().layer, own, rows * (dim + attended + std::max(projected, hidden)) * sizeof(float));
    float *mixed = normed + static_cast<std::size_t>(rows) * dim, *wide = mixed + rows * attended;

    kernels.layer_norm(x, normed, rows, dim, layer.norm1.weight.data(), layer.norm1.bias.data(), layer.eps);
    linear(kernels, LinearCall::of(*layer.in_proj, normed, rows, wide), threads);
    for (std::size_t i = 0; i < caches.size(); ++i)
        attention(kernels, layer.attention, wide + i * rows_each * projected, rows_each, *caches[i],
                  mixed + i * rows_each * attended, threads);
    LinearCall out = LinearCall::of(*layer.out_proj, mixed, rows, y);
    add_to(out, x, layer.scale1);
    linear(kernels, out, threads);

    kernels.layer_norm(y, normed, rows, dim, layer.norm2.weight.data(), layer.norm2.bias.data(), layer.eps);
    LinearCall up = LinearCall::of(*layer.linear1, normed, rows, wide);
    up.activation = Activation::gelu;
    linear(kernels, up, threads);
    LinearCall down = LinearCall::of(*layer.linear2, wide, rows, y);
    add_to(down, y, layer.scale2);
    linear(kernels, down, threads);
}

}  // namespace pq
