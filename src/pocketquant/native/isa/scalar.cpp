#include "prelude.h"

#define PQ_ISA scalar
#define PQ_NAME "scalar"

namespace pq::PQ_ISA {
constexpr int kDenseRows = 2, kPairRows = 2, kByteRows = 2;  // rows of a tile
constexpr int kAhead = 0;
}  // namespace pq::PQ_ISA

#include "scalar_vec.h"
#include "table.h"
