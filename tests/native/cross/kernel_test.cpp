// Every kernel of every instruction set that this processor has, against plain loops in double precision or
// whole numbers. Standalone, so that it runs under an emulator (ARM) and under the sanitizers; the arrays
// are allocated to the exact size, so that AddressSanitizer sees a read past the end.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "dispatch.h"
#include "half.h"
#include "operations.h"
#include "pool.h"

using namespace pq;

#if defined(__x86_64__)
namespace pq::avx_vnni_evex { extern const Kernels kernels; }
#endif

namespace {

std::vector<const Kernels*> tables() {
    std::vector<const Kernels*> all = available_kernels();
#if defined(__x86_64__)
    for (const Kernels* k : available_kernels())
        if (std::string(k->name) == "avx512_vnni") all.push_back(&avx_vnni_evex::kernels);
#endif
    return all;
}

std::mt19937 generator(7);
int failures = 0;

float uniform(float low, float high) { return std::uniform_real_distribution<float>(low, high)(generator); }
int whole(int low, int high) { return std::uniform_int_distribution<int>(low, high)(generator); }

void check(bool ok, const char* isa, const std::string& what) {
    if (ok) return;
    ++failures;
    std::printf("FAIL %s: %s\n", isa, what.c_str());
}

double activation_value(double x, Activation a) {
    switch (a) {
        case Activation::gelu: return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
        case Activation::silu: return x / (1 + std::exp(-x));
        case Activation::elu: return x > 0 ? x : std::expm1(x);
        case Activation::none: break;
    }
    return x;
}

// A weight as a file has it, and what it stands for.
struct Matrix {
    Format format;
    Activations activations;
    int n, k, group;
    std::vector<float> f;
    std::vector<half> h;
    std::vector<std::int8_t> b;
    std::vector<std::uint32_t> words;
    std::vector<float> scale;
    std::vector<half> scale_half;

    const void* values() const {
        switch (format) {
            case Format::f32: return f.data();
            case Format::f16: return h.data();
            case Format::int8: return b.data();
            case Format::int4: return words.data();
        }
        return nullptr;
    }
    const void* scales() const {
        return format == Format::int8 ? static_cast<const void*>(scale.data()) : scale_half.data();
    }
    int integer(int row, int col) const {
        if (format == Format::int8) return b[std::size_t(row) * k + col];
        const std::size_t per_row = (k + 7) / 8;
        return int(words[row * per_row + col / 8] >> (col % 8 * 4) & 15u) - 8;
    }
    float value(int row, int col) const {
        const std::size_t at = std::size_t(row) * k + col;
        if (format == Format::f32) return f[at];
        if (format == Format::f16) return half_to_float(h[at]);
        return integer(row, col) * step(row, col);
    }
    float step(int row, int col) const {
        if (format == Format::int8) return scale[row];
        return half_to_float(scale_half[std::size_t(row) * (k / group) + col / group]);
    }
};

Matrix random_matrix(Format format, Activations activations, int n, int k, int group, bool extreme) {
    Matrix m{format, activations, n, k, group, {}, {}, {}, {}, {}, {}};
    const std::size_t size = std::size_t(n) * k;
    for (std::size_t i = 0; i < size && format == Format::f32; ++i) m.f.push_back(uniform(-1, 1));
    for (std::size_t i = 0; i < size && format == Format::f16; ++i) m.h.push_back(float_to_half(uniform(-1, 1)));
    for (std::size_t i = 0; i < size && format == Format::int8; ++i)
        m.b.push_back(static_cast<std::int8_t>(extreme ? (whole(0, 9) ? 127 : -127) : whole(-127, 127)));
    for (std::size_t i = 0; i < std::size_t(n) * ((k + 7) / 8) && format == Format::int4; ++i)
        m.words.push_back(extreme ? (whole(0, 9) ? 0xffffffffu : 0u) : generator());
    for (int i = 0; i < n; ++i) m.scale.push_back(uniform(0.001f, 0.1f));
    for (int i = 0; i < n * (k / group); ++i) m.scale_half.push_back(float_to_half(uniform(0.001f, 0.1f)));
    return m;
}

// The product as ops/reference.py states it, and how far a float sum in another order may be from it.
void product(const Matrix& m, const float* x, double* y, double* slack) {
    const bool integers = m.activations != Activations::exact;
    const float limit =
        m.activations == Activations::int8 ? 127.0f : float(std::min<std::int64_t>(32767, 2147483647LL / (127LL * m.k)));
    float top = 0;
    for (int i = 0; i < m.k; ++i) top = std::max(top, std::fabs(x[i]));
    const float step = top / limit;
    std::vector<int> q(m.k, 0);
    for (int i = 0; i < m.k && step > 0 && integers; ++i)
        q[i] = int(std::max(-limit, std::min(limit, std::nearbyint(x[i] / step))));
    for (int row = 0; row < m.n; ++row) {
        double total = 0, size = 0;
        if (integers && m.format == Format::int8) {
            std::int64_t sum = 0;
            for (int i = 0; i < m.k; ++i) sum += std::int64_t(q[i]) * m.integer(row, i);
            check(std::llabs(sum) <= 2147483647LL, "reference", "an int32 sum overflows");
            total = static_cast<float>(sum) * (step * m.scale[row]);  // the very float: no slack
        } else if (integers) {
            for (int g = 0; g < m.k; g += m.group) {
                std::int64_t sum = 0;
                for (int i = g; i < g + m.group; ++i) sum += std::int64_t(q[i]) * m.integer(row, i);
                total += double(static_cast<float>(sum)) * m.step(row, g);
                size += std::fabs(double(sum) * m.step(row, g));
            }
            total *= step;
            size *= step;
        } else {
            for (int i = 0; i < m.k; ++i) {
                total += double(x[i]) * m.value(row, i);
                size += std::fabs(double(x[i]) * m.value(row, i));
            }
        }
        y[row] = total;
        slack[row] = size * 6e-8 * (4 + m.k);  // half a unit in the last place for each term: the bound of a float sum
        if (m.format != Format::int8 || !integers) slack[row] += 1e-45 * (m.k + 1);  // subnormal products round coarsely
    }
}

void test_linear(const Kernels& kernels, Format format, Activations activations, int n, int k, int group, int rows,
                 bool extreme, int threads) {
    const Matrix m = random_matrix(format, activations, n, k, group, extreme);
    const Order order = activations != Activations::int8 ? Order::pairs
                        : format == Format::int8         ? kernels.int8_order
                                                         : kernels.int4_order;
    const Weights w = pack(format, activations, order, n, k, group, m.values(), m.scales());
    const int stride = whole(1, k + 5);  // overlapping windows, or gaps
    std::vector<float> x(std::size_t(stride) * (rows - 1) + k), bias, gain, residual, y(std::size_t(rows) * n), one(n);
    const int kind = whole(0, 5);  // among them: zeros, subnormals, halves between two steps
    for (float& v : x) {
        v = kind == 0 ? 0.0f : kind == 1 ? uniform(-1, 1) * 1e-39f : kind == 2 ? float(whole(-254, 254)) / 2 : uniform(-3, 3);
        if (extreme) v = whole(0, 9) ? 2.0f : -2.0f;  // long runs of one sign: where narrow sums would overflow
    }
    for (int i = 0; i < n; ++i) bias.push_back(uniform(-1, 1)), gain.push_back(uniform(-1, 1));
    for (int i = 0; i < n * rows; ++i) residual.push_back(uniform(-1, 1));
    LinearCall call{};
    call.weights = &w;
    call.x = x.data();
    call.x_stride = stride;
    call.rows = rows;
    call.y = y.data();
    call.y_stride = n;
    const bool plain = whole(0, 1);
    if (!plain) {
        call.activation = static_cast<Activation>(whole(0, 3));
        if (whole(0, 1)) call.bias = bias.data();
        if (whole(0, 1)) call.gain = gain.data();
        if (whole(0, 1)) call.residual = residual.data(), call.residual_stride = n;
    }
    linear(kernels, call, threads);
    const std::string what = "linear format " + std::to_string(int(format)) + " activations " +
                             std::to_string(int(activations)) + " n " + std::to_string(n) + " k " + std::to_string(k) +
                             " group " + std::to_string(group) + " rows " + std::to_string(rows);
    std::vector<double> expected(n), slack(n);
    for (int r = 0; r < rows; ++r) {
        product(m, x.data() + std::ptrdiff_t(r) * stride, expected.data(), slack.data());
        for (int c = 0; c < n; ++c) {
            double e = expected[c], s = slack[c] * 1.2;
            if (!plain) {
                if (call.bias) e += bias[c];
                s += std::fabs(e) * 2e-7;
                e = activation_value(e, call.activation);
                s += std::fabs(e) * 1e-6 + 3e-7;
                if (call.gain) e *= gain[c];
                if (call.residual) e += residual[std::size_t(r) * n + c];
                s += std::fabs(e) * 1e-6;
            }
            const double difference = std::fabs(y[std::size_t(r) * n + c] - e);
            if (!(difference <= s)) {
                check(false, kernels.name, what + " differs by " + std::to_string(difference));
                return;
            }
        }
        call.x = x.data() + std::ptrdiff_t(r) * stride;  // alone: bit for bit the same
        call.rows = 1;
        call.y = one.data();
        if (call.residual) call.residual = residual.data() + std::size_t(r) * n;
        linear(kernels, call, 1);
        check(std::memcmp(one.data(), &y[std::size_t(r) * n], n * sizeof(float)) == 0, kernels.name, what + ": a row alone differs");
    }
}

void test_attention(const Kernels& kernels, bool exact, int threads) {
    const int kv_heads = whole(1, 3), share = whole(1, 3), heads = kv_heads * share, dim = 2 * whole(1, 40);
    const int context = whole(0, 1) ? whole(1, 20) : 0, window = context ? context + whole(0, 4) : 0;
    const double period = 10000;
    KvCache cache(whole(1, 30), kv_heads, dim, window, exact), single(whole(1, 30), kv_heads, dim, window, exact);
    std::vector<std::vector<double>> keys, values;  // rotated, as the cache keeps them; one entry a position
    const auto kept = [&](float x) { return exact ? x : half_to_float(float_to_half(x)); };
    const auto rotate = [&](const float* x, int position, int i) {
        const float angle = float(std::exp(i / 2 * (-2.0 * std::log(period) / dim))) * float(position);
        const double c = std::cos(angle), s = std::sin(angle);
        return i % 2 ? x[i - 1] * s + x[i] * c : x[i] * c - x[i + 1] * s;
    };
    for (int step = 0; step < 6; ++step) {
        const int rows = whole(1, 20), first = static_cast<int>(keys.size());
        std::vector<float> qkv(std::size_t(rows) * (heads + 2 * kv_heads) * dim), y(std::size_t(rows) * heads * dim);
        for (float& v : qkv) v = uniform(-2, 2);
        attention(kernels, {heads, kv_heads, period, context}, qkv.data(), rows, cache, y.data(), threads);
        for (int t = 0; t < rows; ++t) {
            keys.emplace_back();
            values.emplace_back();
            for (int h = 0; h < kv_heads; ++h) {
                const float* k = qkv.data() + (std::size_t(t) * (heads + 2 * kv_heads) + heads + h) * dim;
                for (int i = 0; i < dim; ++i) {
                    keys.back().push_back(kept(float(rotate(k, first + t, i))));
                    values.back().push_back(kept(k[kv_heads * dim + i]));
                }
            }
        }
        double worst = 0;
        for (int t = 0; t < rows; ++t) {
            for (int h = 0; h < heads; ++h) {
                const float* q = qkv.data() + (std::size_t(t) * (heads + 2 * kv_heads) + h) * dim;
                const int end = first + t + 1, begin = context ? std::max(0, end - context) : 0, at = h / share * dim;
                std::vector<double> score, out(dim, 0.0);
                double total = 0;
                for (int j = begin; j < end; ++j) {
                    double s = 0;
                    for (int i = 0; i < dim; ++i) s += rotate(q, first + t, i) * keys[j][at + i];
                    score.push_back(std::exp(s / std::sqrt(double(dim))));
                    total += score.back();
                }
                for (int j = begin; j < end; ++j)
                    for (int i = 0; i < dim; ++i) out[i] += score[j - begin] / total * values[j][at + i];
                for (int i = 0; i < dim; ++i)
                    worst = std::max(worst, std::fabs(out[i] - y[(std::size_t(t) * heads + h) * dim + i]));
            }
        }
        // A key on the edge between two float16 values may round the other way: 2^-11 of its size.
        check(worst < (exact ? 2e-5 : 2e-3), kernels.name, "attention is off by " + std::to_string(worst));
        std::vector<float> one(std::size_t(heads) * dim);
        for (int t = 0; t < rows; ++t) {  // alone: bit for bit the same
            attention(kernels, {heads, kv_heads, period, context}, &qkv[std::size_t(t) * (heads + 2 * kv_heads) * dim], 1, single,
                      one.data(), 1);
            check(std::memcmp(one.data(), &y[std::size_t(t) * heads * dim], one.size() * sizeof(float)) == 0, kernels.name,
                  "attention: a row alone differs");
        }
    }
    check(cache.length() == static_cast<int>(keys.size()), kernels.name, "cache length");
}

void test_rowwise(const Kernels& kernels) {
    const int rows = whole(1, 4), width = whole(1, 70), size = rows * width;
    std::vector<float> x(size), y(size), weight(width), bias(width), scale(size), shift(size);
    for (auto* v : {&x, &weight, &bias, &scale, &shift})
        for (float& f : *v) f = uniform(-4, 4);
    kernels.layer_norm(x.data(), y.data(), rows, width, weight.data(), bias.data(), 1e-5f);
    for (int r = 0; r < rows; ++r) {
        double mean = 0, variance = 0;
        for (int i = 0; i < width; ++i) mean += x[r * width + i] / double(width);
        for (int i = 0; i < width; ++i) variance += (x[r * width + i] - mean) * (x[r * width + i] - mean) / width;
        for (int i = 0; i < width; ++i) {
            const double e = (x[r * width + i] - mean) / std::sqrt(variance + 1e-5) * weight[i] + bias[i];
            // a row of two close values: the mean's rounding is divided by a small deviation
            const double s = 2e-6 * (std::fabs(e) + 4) + 4e-6 / std::sqrt(variance + 1e-5);
            check(std::fabs(y[r * width + i] - e) <= s, kernels.name, "layer_norm");
        }
    }
    kernels.modulate(x.data(), y.data(), rows, width, scale.data(), shift.data(), width);
    for (int i = 0; i < size; ++i)
        check(std::fabs(y[i] - (x[i] * (1.0 + scale[i]) + shift[i])) <= 4e-6, kernels.name, "modulate");
    for (int a = 0; a < 4; ++a) {
        for (float& f : x) f = uniform(-1, 1) * std::pow(10.0f, uniform(-6, 3));
        kernels.activate(x.data(), y.data(), size, static_cast<Activation>(a));
        for (int i = 0; i < size; ++i) {
            const double e = activation_value(x[i], static_cast<Activation>(a));
            const double s = a == 1 ? 3e-7 * std::fabs(x[i]) : 6e-7 * std::fabs(e) + 1e-36;  // e^-x overflows
            check(std::fabs(y[i] - e) <= s, kernels.name, "activation " + std::to_string(a) + " of " + std::to_string(x[i]));
        }
    }
}

void test_half(const Kernels& kernels) {
    std::vector<half> all(65536), back(65536);
    std::vector<float> wide(65536);
    for (int i = 0; i < 65536; ++i) all[i] = static_cast<half>(i);
    kernels.to_float(all.data(), wide.data(), all.size());
    kernels.to_half(wide.data(), back.data(), all.size());
    for (int i = 0; i < 65536; ++i) {
        const bool nan = (i & 0x7c00) == 0x7c00 && (i & 0x3ff);
        if (nan) continue;
        const float expected = half_to_float(all[i]);
        check(std::memcmp(&wide[i], &expected, 4) == 0 && back[i] == all[i], kernels.name, "float16 " + std::to_string(i));
    }
    std::vector<float> x(4001);
    for (float& f : x) f = uniform(-1, 1) * std::pow(10.0f, uniform(-9, 6));
    std::vector<half> y(x.size());
    kernels.to_half(x.data(), y.data(), x.size());
    for (std::size_t i = 0; i < x.size(); ++i)
        check(y[i] == float_to_half(x[i]), kernels.name, "rounding to float16 of " + std::to_string(x[i]));
}

}  // namespace

int main(int argc, char** argv) {
    const int repeats = argc > 1 ? std::stoi(argv[1]) : 40;
    for (const Kernels* kernels : tables()) {
        for (int i = 0; i < repeats; ++i) {
            for (Format format : {Format::f32, Format::f16, Format::int8, Format::int4}) {
                for (Activations activations : {Activations::exact, Activations::int8, Activations::int16}) {
                    if (format <= Format::f16 && activations != Activations::exact) continue;
                    const int groups = whole(1, 6), group = whole(0, 1) ? 1 << whole(3, 7) : whole(1, 130);
                    const int k = format == Format::int4 ? group * groups : whole(1, 300);
                    test_linear(*kernels, format, activations, whole(1, 70), k, format == Format::int4 ? group : k, whole(1, 25),
                                i % 8 == 0, whole(1, 3));
                }
            }
            test_attention(*kernels, i % 2, whole(1, 3));
            test_rowwise(*kernels);
        }
        for (Activations activations : {Activations::int8, Activations::int16}) {  // the deepest product of the model, saturated
            test_linear(*kernels, Format::int8, activations, 33, 4096, 4096, 7, true, 2);
            test_linear(*kernels, Format::int4, activations, 33, 4096, 32, 7, true, 2);
            test_linear(*kernels, Format::int4, activations, 33, 4096, 4096, 7, true, 2);
        }
        test_linear(*kernels, Format::f32, Activations::exact, 400, 64, 64, 300, false, 3);  // blocks of rows, split
        test_linear(*kernels, Format::int8, Activations::int16, 17, 192, 192, 2000, false, 3);
        test_half(*kernels);
        std::printf("%s: tested\n", kernels->name);
    }
    std::printf(failures ? "%d failures\n" : "all passed\n", failures);
    return failures != 0;
}
