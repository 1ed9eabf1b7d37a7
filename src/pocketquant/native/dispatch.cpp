#include "dispatch.h"

#include <stdexcept>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace pq {

namespace scalar { extern const Kernels kernels; }
namespace avx2 { extern const Kernels kernels; }
namespace avx_vnni { extern const Kernels kernels; }
namespace avx512_vnni { extern const Kernels kernels; }
namespace neon { extern const Kernels kernels; }
namespace neon_dot { extern const Kernels kernels; }
namespace neon_i8mm { extern const Kernels kernels; }

namespace {

#if defined(__x86_64__)

struct Registers {
    unsigned a = 0, b = 0, c = 0, d = 0;
};

Registers cpuid(unsigned leaf, unsigned subleaf) {
    Registers r;
    if (!__get_cpuid_count(leaf, subleaf, &r.a, &r.b, &r.c, &r.d)) return {};
    return r;
}

// The register states that the operating system saves (XCR0); 0 where it does not use XSAVE.
unsigned saved_states() {
    if (!(cpuid(1, 0).c >> 27 & 1)) return 0;  // OSXSAVE
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

bool has(unsigned bits, std::initializer_list<int> positions) {
    for (int p : positions)
        if (!(bits >> p & 1)) return false;
    return true;
}

std::vector<const Kernels*> detect() {
    const unsigned states = saved_states();
    const Registers one = cpuid(1, 0), seven = cpuid(7, 0), seven_one = cpuid(7, 1);
    const bool ymm = has(states, {1, 2});               // SSE, AVX
    const bool zmm = ymm && has(states, {5, 6, 7});     // mask registers, upper halves, registers 16-31
    const bool avx2_ok = ymm && has(one.c, {12, 28, 29}) && has(seven.b, {5});  // FMA, AVX, F16C; AVX2
    std::vector<const Kernels*> found;
    // AVX-512: F, DQ, BW, VL; VNNI
    if (avx2_ok && zmm && has(seven.b, {16, 17, 30, 31}) && has(seven.c, {11})) found.push_back(&avx512_vnni::kernels);
    if (avx2_ok && has(seven_one.a, {4})) found.push_back(&avx_vnni::kernels);  // AVX-VNNI
    if (avx2_ok) found.push_back(&avx2::kernels);
    found.push_back(&scalar::kernels);
    return found;
}

#elif defined(__aarch64__)

#if defined(__linux__)
bool has_dot() { return getauxval(AT_HWCAP) & 1ul << 20; }    // HWCAP_ASIMDDP
bool has_i8mm() { return getauxval(AT_HWCAP2) & 1ul << 13; }  // HWCAP2_I8MM
#elif defined(__APPLE__)
bool feature(const char* name) {
    int value = 0;
    std::size_t size = sizeof value;
    return sysctlbyname(name, &value, &size, nullptr, 0) == 0 && value != 0;
}
bool has_dot() { return feature("hw.optional.arm.FEAT_DotProd"); }
bool has_i8mm() { return feature("hw.optional.arm.FEAT_I8MM"); }
#else
bool has_dot() { return false; }
bool has_i8mm() { return false; }
#endif

std::vector<const Kernels*> detect() {  // NEON is part of the architecture's baseline
    std::vector<const Kernels*> found;
    if (has_i8mm()) found.push_back(&neon_i8mm::kernels);
    if (has_dot()) found.push_back(&neon_dot::kernels);
    found.push_back(&neon::kernels);
    found.push_back(&scalar::kernels);
    return found;
}

#else

std::vector<const Kernels*> detect() { return {&scalar::kernels}; }

#endif

}  // namespace

const std::vector<const Kernels*>& available_kernels() {
    static const std::vector<const Kernels*> found = detect();
    return found;
}

const Kernels& find_kernels(const std::string& name) {
    std::string names;
    for (const Kernels* k : available_kernels()) {
        if (name.empty() || name == k->name) return *k;
        names += names.empty() ? k->name : std::string(", ") + k->name;
    }
    throw std::invalid_argument("instruction set '" + name + "' is not available here; available: " + names);
}

}  // namespace pq
