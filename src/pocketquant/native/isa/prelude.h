// Everything an instruction-set file needs from outside. Included before its target pragma: code that
// the standard headers define must stay baseline code, since the linker may keep any one copy of it.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "../buffer.h"
#include "../kernels.h"
#include "scratch.h"

#if defined(__clang__)
#define PQ_UNROLL _Pragma("clang loop unroll(full)")
#else
#define PQ_UNROLL _Pragma("GCC unroll 32")
#endif
#define PQ_INLINE inline __attribute__((always_inline))
