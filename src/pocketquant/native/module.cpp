// The bindings: checks what comes from Python, releases the GIL, calls operations.h.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "dispatch.h"
#include "operations.h"
#include "pool.h"
#include "python_array.h"
#include "transformer_layer.h"
#include "without_gil.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace pq {
namespace {

struct PackedWeights {
    Weights weights;
    const Kernels* kernels;
};

Activations activations_of(const std::string& name) {
    if (name == "float") return Activations::exact;
    if (name == "int8") return Activations::int8;
    if (name == "int16") return Activations::int16;
    throw nb::value_error("activations are 'float', 'int8' or 'int16'");
}

Activation activation_of(int code) {
    if (code < 0 || code > 3) throw nb::value_error("no such activation");
    return static_cast<Activation>(code);
}

int to_int(Py_ssize_t size) {
    if (size > 1 << 30) throw nb::value_error("an array is too large");
    return static_cast<int>(size);
}

// `format`: element type of the values: f (float32), e (float16), b (int8), i (eight 4-bit values a word)
PackedWeights* pack_weights(const Kernels& kernels, nb::handle values, nb::handle scale, int n, int k, int group,
                            const std::string& format, const std::string& activations) {
    const Activations kind = activations_of(activations);
    const Array v(values, "weight values", format.c_str(), 2);
    v.expect(0, n);
    v.expect(1, format == "i" ? (static_cast<Py_ssize_t>(k) + 7) / 8 : k);
    std::optional<Array> s;
    Format stored = Format::f32;
    Order order = Order::pairs;
    if (format == "f" || format == "e") {
        if (kind != Activations::exact) throw nb::value_error("a float weight takes float activations");
        stored = format == "f" ? Format::f32 : Format::f16;
    } else if (format == "b") {
        stored = Format::int8;
        s.emplace(scale, "weight scale", "f", 1);
        s->expect(0, n);
        if (kind == Activations::int8) order = kernels.int8_order;
    } else if (format == "i") {
        stored = Format::int4;
        if (group < 1 || k % group) throw nb::value_error("the group size must divide the columns");
        s.emplace(scale, "weight scale", "e", 2);
        s->expect(0, n);
        s->expect(1, k / group);
        if (kind == Activations::int8) order = kernels.int4_order;
    } else {
        throw nb::value_error("weight values are float32, float16, int8 or int32");
    }
    const void* data = v.as<void>();
    const void* scales = s ? s->as<void>() : nullptr;
    const WithoutGil released;
    return new PackedWeights{pack(stored, kind, order, n, k, group, data, scales), &kernels};
}

const float* optional_row(std::optional<Array>& slot, nb::handle object, const char* what, int n) {
    if (object.is_none()) return nullptr;
    slot.emplace(object, what, "f", 1);
    slot->expect(0, n);
    return slot->as<float>();
}

void call_linear(nb::handle x, const PackedWeights& packed, nb::handle bias, int activation, nb::handle gain,
                 nb::handle residual, nb::handle y, int threads) {
    const Weights& w = packed.weights;
    const Array in(x, "x", "f", 2, true), out(y, "y", "f", 2, false, true);
    in.expect(1, w.k);
    out.expect(0, in.shape(0));
    out.expect(1, w.n);
    std::optional<Array> b, g, r;
    LinearCall call = LinearCall::of(w, in.as<float>(), to_int(in.shape(0)), out.as<float>());
    call.x_stride = in.row_stride();
    call.bias = optional_row(b, bias, "bias", w.n);
    call.gain = optional_row(g, gain, "gain", w.n);
    if (!residual.is_none()) {
        r.emplace(residual, "residual", "f", 2, true);
        r->expect(0, in.shape(0));
        r->expect(1, w.n);
        call.residual = r->as<float>();
        call.residual_stride = r->row_stride();
    }
    call.activation = activation_of(activation);
    const WithoutGil released;
    linear(*packed.kernels, call, threads);
}

void check_cache(const KvCache& cache, const AttentionShape& shape) {
    if (shape.kv_heads != cache.kv_heads() || shape.heads < 1 || shape.heads % shape.kv_heads)
        throw nb::value_error("the heads do not fit the KV cache");
    if (shape.context < 0 || (cache.window() && shape.context > cache.window()))
        throw nb::value_error("the KV cache keeps fewer positions than the context asks for");
}

void call_attention(const Kernels& kernels, nb::handle qkv, KvCache& cache, int heads, int kv_heads, double max_period,
                    int context, nb::handle y, int threads) {
    const AttentionShape shape{heads, kv_heads, max_period, context};
    check_cache(cache, shape);
    const Array in(qkv, "qkv", "f", 2), out(y, "y", "f", 2, false, true);
    in.expect(1, static_cast<Py_ssize_t>(heads + 2 * kv_heads) * cache.head_dim());
    out.expect(0, in.shape(0));
    out.expect(1, static_cast<Py_ssize_t>(heads) * cache.head_dim());
    const int rows = to_int(in.shape(0));
    if (!(max_period > 0)) throw nb::value_error("max_period must be positive");
    const WithoutGil released;
    attention(kernels, shape, in.as<float>(), rows, cache, out.as<float>(), threads);
}

struct PackedLayer {
    TransformerLayer layer;
    const Kernels* kernels;
    std::vector<nb::object> owners;  // of the matrices
};

std::vector<float> values_of(nb::handle object, const char* what, int n) {
    if (object.is_none()) return {};
    const Array array(object, what, "f", 1);
    array.expect(0, n);
    return {array.as<float>(), array.as<float>() + n};
}

PackedLayer* pack_layer(const Kernels& kernels, const std::vector<nb::object>& matrices,
                        const std::vector<nb::object>& norms, const std::vector<nb::object>& scales, float eps, int heads,
                        int kv_heads, int head_dim, double max_period, int context) {
    if (matrices.size() != 4 || norms.size() != 4 || scales.size() != 2)
        throw nb::value_error("a layer has four matrices, two norms and two scales");
    const Weights* w[4];
    for (int i = 0; i < 4; ++i) {
        const PackedWeights& packed = nb::cast<const PackedWeights&>(matrices[i]);
        if (packed.kernels != &kernels) throw nb::value_error("a matrix was packed for another instruction set");
        w[i] = &packed.weights;
    }
    if (heads < 1 || kv_heads < 1 || heads % kv_heads || head_dim < 1 || context < 0 || !(max_period > 0))
        throw nb::value_error("the sizes of a layer's attention");
    const int dim = w[0]->k, attended = heads * head_dim;
    if (w[0]->n != attended + 2 * kv_heads * head_dim || w[1]->k != attended || w[1]->n != dim || w[2]->k != dim ||
        w[3]->k != w[2]->n || w[3]->n != dim)
        throw nb::value_error("the matrices of a layer do not fit each other");
    TransformerLayer layer{{values_of(norms[0], "norm1 weight", dim), values_of(norms[1], "norm1 bias", dim)},
                           {values_of(norms[2], "norm2 weight", dim), values_of(norms[3], "norm2 bias", dim)},
                           w[0],
                           w[1],
                           w[2],
                           w[3],
                           values_of(scales[0], "scale1", dim),
                           values_of(scales[1], "scale2", dim),
                           eps,
                           {heads, kv_heads, max_period, context}};
    if (layer.norm1.weight.empty() || layer.norm1.bias.empty() || layer.norm2.weight.empty() || layer.norm2.bias.empty())
        throw nb::value_error("a layer's norms have weight and bias");
    return new PackedLayer{std::move(layer), &kernels, matrices};
}

void call_transformer_layer(const PackedLayer& packed, nb::handle x, const std::vector<nb::object>& caches, nb::handle y,
                            int threads) {
    const TransformerLayer& layer = packed.layer;
    const Array in(x, "x", "f", 2), out(y, "y", "f", 2, false, true);
    in.expect(1, layer.dim());
    out.expect(0, in.shape(0));
    out.expect(1, layer.dim());
    const int rows = to_int(in.shape(0)), utterances = to_int(static_cast<Py_ssize_t>(caches.size()));
    if (utterances < 1 || rows % utterances) throw nb::value_error("the rows do not divide among the caches");
    std::vector<KvCache*> pasts;
    for (const nb::object& cache : caches) {
        KvCache& past = nb::cast<KvCache&>(cache);
        check_cache(past, layer.attention);
        if (past.head_dim() * layer.attention.heads != layer.out_proj->k)
            throw nb::value_error("the KV cache has heads of another width");
        pasts.push_back(&past);
    }
    const WithoutGil released;
    transformer_layer(*packed.kernels, layer, in.as<float>(), rows / utterances, pasts, out.as<float>(), threads);
}

void call_convolve(nb::handle x, nb::handle past, const PackedWeights& packed, nb::handle bias, int stride, int dilation,
                   int before, int activation, nb::handle residual, nb::handle y, int threads) {
    const Weights& w = packed.weights;
    const Array in(x, "x", "f", 2), kept(past, "past", "f", 2, false, true), out(y, "y", "f", 2, false, true);
    const int channels = to_int(in.shape(1)), rows = to_int(in.shape(0));
    if (channels < 1 || w.k % channels || stride < 1 || dilation < 1 || rows % stride)
        throw nb::value_error("the sizes of a convolution do not fit each other");
    std::optional<Array> b, r;
    ConvolveCall call{};
    call.weights = &w;
    call.x = in.as<float>();
    call.past = kept.as<float>();
    call.rows = rows;
    call.channels = channels;
    call.stride = stride;
    call.dilation = dilation;
    call.before = activation_of(before);
    call.activation = activation_of(activation);
    call.y = out.as<float>();
    if (call.past_rows() < 0) throw nb::value_error("the stride of a convolution is longer than its window");
    kept.expect(0, call.past_rows());
    kept.expect(1, channels);
    out.expect(0, rows / stride);
    out.expect(1, w.n);
    call.bias = optional_row(b, bias, "bias", w.n);
    if (!residual.is_none()) {
        r.emplace(residual, "residual", "f", 2);
        r->expect(0, rows / stride);
        r->expect(1, w.n);
        call.residual = r->as<float>();
    }
    const WithoutGil released;
    convolve(*packed.kernels, call, threads);
}

void call_layer_norm(const Kernels& kernels, nb::handle x, nb::handle weight, nb::handle bias, float eps, nb::handle y) {
    const Array in(x, "x", "f", 2), out(y, "y", "f", 2, false, true);
    out.expect(0, in.shape(0));
    out.expect(1, in.shape(1));
    const int width = to_int(in.shape(1));
    std::optional<Array> w, b;
    const float* weights = optional_row(w, weight, "weight", width);
    const float* biases = optional_row(b, bias, "bias", width);
    const WithoutGil released;
    kernels.layer_norm(in.as<float>(), out.as<float>(), to_int(in.shape(0)), width, weights, biases, eps);
}

void call_modulate(const Kernels& kernels, nb::handle x, nb::handle shift, nb::handle scale, nb::handle y) {
    const Array in(x, "x", "f", 2), sh(shift, "shift", "f", 2), sc(scale, "scale", "f", 2), out(y, "y", "f", 2, false, true);
    for (const Array* other : {&sh, &sc, &out}) {
        other->expect(0, in.shape(0));
        other->expect(1, in.shape(1));
    }
    const int width = to_int(in.shape(1));
    const WithoutGil released;
    kernels.modulate(in.as<float>(), out.as<float>(), to_int(in.shape(0)), width, sc.as<float>(), sh.as<float>(), width);
}

void call_activate(const Kernels& kernels, nb::handle x, int activation, nb::handle y) {
    const Array in(x, "x", "f", 1), out(y, "y", "f", 1, false, true);
    out.expect(0, in.shape(0));
    const Activation kind = activation_of(activation);
    const WithoutGil released;
    kernels.activate(in.as<float>(), out.as<float>(), in.shape(0), kind);
}

void cache_append(const Kernels& kernels, KvCache& cache, nb::handle keys, nb::handle values) {
    const Array k(keys, "k", "f", 3), v(values, "v", "f", 3);
    for (const Array* side : {&k, &v}) {
        side->expect(0, k.shape(0));
        side->expect(1, cache.kv_heads());
        side->expect(2, cache.head_dim());
    }
    const WithoutGil released;
    cache.append(kernels, k.as<float>(), v.as<float>(), to_int(k.shape(0)));
}

void cache_export(const Kernels& kernels, const KvCache& cache, nb::handle out) {
    const Array kv(out, "kv", "f", 4, false, true);
    kv.expect(0, 2);
    kv.expect(1, cache.stored());
    kv.expect(2, cache.kv_heads());
    kv.expect(3, cache.head_dim());
    const WithoutGil released;
    cache.copy_to(kernels, kv.as<float>());
}

std::vector<std::string> names() {
    std::vector<std::string> result;
    for (const Kernels* k : available_kernels()) result.push_back(k->name);
    return result;
}

}  // namespace

NB_MODULE(_core, m) {
    WithoutGil::watch_for_exit();
    nb::set_leak_warnings(false);  // who exits while a thread is speaking leaves what it holds
    m.def("available_isas", &names);

    nb::class_<PackedWeights>(m, "Weights")
        .def_prop_ro("n", [](const PackedWeights& w) { return w.weights.n; })
        .def_prop_ro("k", [](const PackedWeights& w) { return w.weights.k; })
        .def_prop_ro("exact", [](const PackedWeights& w) { return w.weights.format <= Format::f16; })
        .def_prop_ro("nbytes", [](const PackedWeights& w) { return w.weights.bytes(); });

    nb::class_<KvCache>(m, "Cache")
        .def(nb::init<int, int, int, int, bool>(), "capacity"_a, "kv_heads"_a, "head_dim"_a, "window"_a,
             "exact"_a = false)
        .def_prop_ro("length", &KvCache::length)
        .def_prop_ro("stored", &KvCache::stored)
        .def_prop_ro("kv_heads", &KvCache::kv_heads)
        .def_prop_ro("head_dim", &KvCache::head_dim)
        .def_prop_ro("exact", &KvCache::exact)
        .def_prop_ro("nbytes", &KvCache::bytes)
        .def("clear", &KvCache::clear);

    nb::class_<PackedLayer>(m, "Layer");

    nb::class_<Kernels>(m, "Kernels")
        .def_prop_ro("name", [](const Kernels& k) { return k.name; })
        .def("pack", &pack_weights, "values"_a, "scale"_a.none(), "n"_a, "k"_a, "group"_a, "format"_a, "activations"_a)
        .def("pack_layer", &pack_layer, "matrices"_a, "norms"_a, "scales"_a, "eps"_a, "heads"_a, "kv_heads"_a,
             "head_dim"_a, "max_period"_a, "context"_a)
        .def("attention", &call_attention, "qkv"_a, "cache"_a, "heads"_a, "kv_heads"_a, "max_period"_a, "context"_a,
             "y"_a, "threads"_a)
        .def("layer_norm", &call_layer_norm, "x"_a, "weight"_a.none(), "bias"_a.none(), "eps"_a, "y"_a)
        .def("modulate", &call_modulate, "x"_a, "shift"_a, "scale"_a, "y"_a)
        .def("activate", &call_activate, "x"_a, "activation"_a, "y"_a)
        .def("cache_append", &cache_append, "cache"_a, "k"_a, "v"_a)
        .def("cache_export", &cache_export, "cache"_a, "out"_a);

    m.def("set_call_threads", &set_call_threads, "threads"_a);
    m.def("kernels", &find_kernels, "name"_a, nb::rv_policy::reference);
    m.def("linear", &call_linear, "x"_a, "weight"_a, "bias"_a.none(), "activation"_a, "gain"_a.none(),
          "residual"_a.none(), "y"_a, "threads"_a);
    m.def("transformer_layer", &call_transformer_layer, "layer"_a, "x"_a, "caches"_a, "y"_a, "threads"_a);
    m.def("convolve", &call_convolve, "x"_a, "past"_a, "weight"_a, "bias"_a.none(), "stride"_a, "dilation"_a, "before"_a,
          "activation"_a, "residual"_a.none(), "y"_a, "threads"_a);
}

}  // namespace pq
