#include "operations.h"

#include <algorithm>

#include "isa/scratch.h"
#include "pool.h"

namespace pq {
namespace {

constexpr double kWorthSplitting = 400e3;  // multiplications: about 20 microseconds of one core
constexpr std::size_t kKeptBytes = 4 << 20;  // working memory that a thread keeps
constexpr int kPartsPerThread = 3;         // so that a late thread leaves little to wait for

int begin_of(int part, int parts, int size) { return static_cast<int>(static_cast<long long>(size) * part / parts); }

}  // namespace

void linear(const Kernels& kernels, LinearCall call, int threads) {
    const Weights& w = *call.weights;
    threads = std::max(threads, call_threads());
    call.panel_begin = 0;
    call.panel_end = w.panels;
    if (threads <= 1 || static_cast<double>(call.rows) * w.n * w.k < kWorthSplitting) return kernels.linear(call);
    const bool by_rows = call.rows >= 4 * w.panels;
    const int size = by_rows ? call.rows : w.panels;
    const int parts = std::min(kPartsPerThread * threads, by_rows ? size / 8 : size);
    run_parts(parts, threads, [&](int part) {
        LinearCall mine = call;
        const int begin = begin_of(part, parts, size), end = begin_of(part + 1, parts, size);
        if (by_rows) {
            mine.x += begin * mine.x_stride;
            mine.y += begin * mine.y_stride;
            if (mine.residual) mine.residual += begin * mine.residual_stride;
            mine.rows = end - begin;
        } else {
            mine.panel_begin = begin;
            mine.panel_end = end;
        }
        kernels.linear(mine);
    });
}

void attention(const Kernels& kernels, const AttentionShape& shape, const float* qkv, int rows, KvCache& cache, float* y,
               int threads) {
    const int dim = cache.head_dim();
    threads = std::max(threads, call_threads());
    cache.reserve(rows);
    AttentionCall call;
    call.qkv = qkv;
    call.qkv_stride = static_cast<std::ptrdiff_t>(shape.heads + 2 * shape.kv_heads) * dim;
    call.rows = rows;
    call.heads = shape.heads;
    call.kv_heads = shape.kv_heads;
    call.dim = dim;
    call.padded = cache.padded();
    call.keys = cache.keys();
    call.values = cache.values();
    call.exact = cache.exact();
    call.capacity = cache.room();
    call.stored = cache.stored();
    call.context = shape.context;
    call.rotation = cache.rotation(rows, shape.max_period);
    call.y = y;
    call.y_stride = static_cast<std::ptrdiff_t>(shape.heads) * dim;
    call.head_begin = 0;
    call.head_end = shape.kv_heads;
    const double work = 2.0 * rows * (call.stored + rows) * shape.heads * dim;
    if (threads <= 1 || work < kWorthSplitting) {
        kernels.attention(call);
    } else {
        const int parts = std::min(kPartsPerThread * threads, shape.kv_heads);
        run_parts(parts, threads, [&](int part) {
            AttentionCall mine = call;
            mine.head_begin = begin_of(part, parts, shape.kv_heads);
            mine.head_end = begin_of(part + 1, parts, shape.kv_heads);
            kernels.attention(mine);
        });
    }
    cache.advance(rows);
}

float* working_memory(Buffer& kept, Buffer& own, std::size_t bytes) {
    return static_cast<float*>((bytes > kKeptBytes ? own : kept).at_least(bytes));
}

void convolve(const Kernels& kernels, const ConvolveCall& call, int threads) {
    const std::size_t channels = call.channels, past = call.past_rows() * channels, fresh = call.rows * channels;
    const int kernel = call.kernel(), windows = call.rows / call.stride;
    const std::size_t gathered = call.dilation > 1 ? static_cast<std::size_t>(windows) * kernel * channels : 0;
    Buffer own;
    float* rows = working_memory(scratch().windows, own, (past + fresh + gathered) * sizeof(float));
    std::copy_n(call.past, past, rows);
    if (call.before == Activation::none)
        std::copy_n(call.x, fresh, rows + past);
    else
        kernels.activate(call.x, rows + past, fresh, call.before);
    std::copy_n(rows + fresh, past, call.past);

    LinearCall product = LinearCall::of(*call.weights, rows, windows, call.y);
    product.x_stride = call.stride * channels;
    if (gathered) {
        float* out = rows + past + fresh;
        product.x = out;
        product.x_stride = kernel * channels;
        for (int t = 0; t < windows; ++t)
            for (int j = 0; j < kernel; ++j, out += channels)
                std::copy_n(rows + (t * call.stride + j * call.dilation) * channels, channels, out);
    }
    product.bias = call.bias;
    product.residual = call.residual;
    product.residual_stride = call.weights->n;
    product.activation = call.activation;
    linear(kernels, product, threads);
}

}  // namespace pq
