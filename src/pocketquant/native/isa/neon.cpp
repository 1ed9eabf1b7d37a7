#include "prelude.h"

#include <arm_neon.h>

#define PQ_ISA neon
#define PQ_NAME "neon"

namespace pq::PQ_ISA {
constexpr int kDenseRows = 6, kPairRows = 4, kByteRows = 2;  // rows of a tile: 32 registers of 128 bits
constexpr int kAhead = 1024;                                 // bytes to prefetch ahead
}  // namespace pq::PQ_ISA

#include "neon_vec.h"
#include "table.h"
