// Keys (rotated) and values of the past: one layer of one utterance, [kv_heads, room, padded]
// each, float16 or (exact) float32.
#pragma once

#include <vector>

#include "kernels.h"

namespace pq {

class KvCache {
   public:
    // `window` 0: keeps everything and grows; else it may forget all but the last window - 1 positions.
    KvCache(int capacity, int kv_heads, int head_dim, int window, bool exact);

    // Makes room for `rows` more positions: slides the window or grows.
    void reserve(int rows);
    void advance(int rows) { length_ += rows; }
    void clear() { length_ = start_ = 0; }

    // float32 [rows, kv_heads, head_dim] each
    void append(const Kernels& kernels, const float* keys, const float* values, int rows);
    // float32 [2, stored(), kv_heads, head_dim]
    void copy_to(const Kernels& kernels, float* out) const;

    // cos, sin [rows, head_dim / 2, 2] of the next `rows` positions
    const float* rotation(int rows, double max_period);

    int length() const { return length_; }
    int stored() const { return length_ - start_; }
    int window() const { return window_; }
    int kv_heads() const { return kv_heads_; }
    int head_dim() const { return head_dim_; }
    int padded() const { return padded_; }
    int room() const { return room_; }
    bool exact() const { return exact_; }
    void* keys() const { return at(0, 0); }
    void* values() const { return at(kv_heads_, 0); }
    std::size_t bytes() const { return data_.bytes(); }

   private:
    std::size_t row_bytes() const { return padded_ * (exact_ ? sizeof(float) : sizeof(half)); }
    // Heads 0 ... are the keys', kv_heads ... the values'.
    char* at(int head, int position) const {
        return data_.as<char>() + (static_cast<std::size_t>(head) * room_ + position) * row_bytes();
    }

    int kv_heads_, head_dim_, padded_, window_, room_;
    bool exact_;
    int length_ = 0;
    int start_ = 0;  // position of the first row held
    Buffer data_;
    double max_period_ = 0;
    std::vector<float> frequency_, rotation_;
};

}  // namespace pq
