// Memory the kernels read and write: 64-byte aligned, uninitialised, freed with its owner.
#pragma once

#ifdef __linux__
#include <sys/mman.h>
#endif

#include <cstddef>
#include <cstdlib>
#include <new>
#include <utility>

namespace pq {

inline constexpr std::size_t kAlign = 64;  // a cache line, and the widest vector
inline constexpr std::size_t kHugePage = std::size_t(2) << 20;

inline std::size_t round_up(std::size_t value, std::size_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
}

class Buffer {
   public:
    Buffer() = default;
    explicit Buffer(std::size_t bytes) { reset(bytes); }
    Buffer(Buffer&& other) noexcept { swap(other); }
    Buffer& operator=(Buffer&& other) noexcept {
        swap(other);
        return *this;
    }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    ~Buffer() { std::free(data_); }

    // Replaces the content by `bytes` uninitialised bytes.
    void reset(std::size_t bytes) {
        std::free(data_);
        data_ = nullptr;
        bytes_ = 0;
        if (bytes == 0) return;
        void* memory = nullptr;
        const std::size_t align = bytes >= kHugePage ? kHugePage : kAlign;
        if (posix_memalign(&memory, align, round_up(bytes, kAlign)) != 0) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
        // Weights are read from end to end for every frame: 4 KB pages stop the prefetcher at each border. Only whole
        // pages, so that no memory is added.
        if (bytes >= kHugePage) madvise(memory, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
        data_ = memory;
        bytes_ = bytes;
    }
    // At least `bytes`, content not kept: scratch that grows and never shrinks.
    void* at_least(std::size_t bytes) {
        if (bytes > bytes_) reset(bytes);
        return data_;
    }
    template <class T>
    T* as() const {
        return static_cast<T*>(data_);
    }
    std::size_t bytes() const { return bytes_; }
    void swap(Buffer& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(bytes_, other.bytes_);
    }

   private:
    void* data_ = nullptr;
    std::size_t bytes_ = 0;
};

}  // namespace pq
