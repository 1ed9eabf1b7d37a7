#include "kv_cache.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

namespace pq {

KvCache::KvCache(int capacity, int kv_heads, int head_dim, int window, bool exact)
    : kv_heads_(kv_heads),
      head_dim_(head_dim),
      padded_(static_cast<int>(round_up(std::max(head_dim, 1), kPanel))),
      window_(window),
      room_(std::max(1, window > 0 ? std::min(capacity, 2 * window) : capacity)),
      exact_(exact) {
    if (kv_heads < 1 || head_dim < 2 || head_dim % 2 || window < 0)
        throw std::invalid_argument("a KV cache needs at least one head, an even head_dim and a window of at least 1");
    data_.reset(std::size_t(2) * kv_heads_ * room_ * row_bytes());
}

void KvCache::reserve(int rows) {
    const int held = stored();
    if (held + rows <= room_) return;
    const int keep = window_ > 0 ? std::min(held, window_ - 1) : held;
    const int room = keep + rows > room_ ? 2 * (keep + rows) : room_;
    const std::size_t head = room * row_bytes();
    Buffer larger;
    if (room != room_) larger.reset(2 * kv_heads_ * head);
    char* to = room != room_ ? larger.as<char>() : data_.as<char>();
    for (int h = 0; h < 2 * kv_heads_; ++h) std::memmove(to + h * head, at(h, held - keep), keep * row_bytes());
    if (room != room_) data_ = std::move(larger);
    room_ = room;
    start_ = length_ - keep;
}

void KvCache::append(const Kernels& kernels, const float* keys, const float* values, int rows) {
    reserve(rows);
    for (int side = 0; side < 2; ++side) {
        const float* in = side ? values : keys;
        for (int t = 0; t < rows; ++t) {
            for (int h = 0; h < kv_heads_; ++h, in += head_dim_) {
                char* out = at(side * kv_heads_ + h, stored() + t);
                std::memset(out, 0, row_bytes());
                if (exact_)
                    std::memcpy(out, in, head_dim_ * sizeof(float));
                else
                    kernels.to_half(in, reinterpret_cast<half*>(out), head_dim_);
            }
        }
    }
    advance(rows);
}

void KvCache::copy_to(const Kernels& kernels, float* out) const {
    for (int side = 0; side < 2; ++side) {
        for (int t = 0; t < stored(); ++t) {
            for (int h = 0; h < kv_heads_; ++h, out += head_dim_) {
                const char* in = at(side * kv_heads_ + h, t);
                if (exact_)
                    std::memcpy(out, in, head_dim_ * sizeof(float));
                else
                    kernels.to_float(reinterpret_cast<const half*>(in), out, head_dim_);
            }
        }
    }
}

const float* KvCache::rotation(int rows, double max_period) {
    const int pairs = head_dim_ / 2;
    if (max_period != max_period_) {
        frequency_.resize(pairs);
        for (int i = 0; i < pairs; ++i)
            frequency_[i] = static_cast<float>(std::exp(i * (-2.0 * std::log(max_period) / head_dim_)));
        max_period_ = max_period;
    }
    rotation_.resize(std::max(rotation_.size(), static_cast<std::size_t>(rows) * head_dim_));
    float* out = rotation_.data();
    for (int t = 0; t < rows; ++t) {
        const float position = static_cast<float>(length_ + t);
        for (int i = 0; i < pairs; ++i) {
            const float angle = frequency_[i] * position;
            *out++ = std::cos(angle);
            *out++ = std::sin(angle);
        }
    }
    return rotation_.data();
}

}  // namespace pq
