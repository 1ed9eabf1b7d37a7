#pragma once

// The kernels of one instruction set: included once by each instruction-set file, inside its target
// pragma and behind its vector header. No include guard headers of the standard library in here.
#include "math.h"
#include "quantize.h"
#include "dense.h"
#include "integer.h"
#include "linear.h"
#include "rowwise.h"
#include "attention.h"

namespace pq::PQ_ISA {

#if defined(PQ_OCTETS)
constexpr Order kInt8Order = Order::octets, kInt4Order = Order::octets;
#elif defined(PQ_QUADS)
constexpr Order kInt8Order = Order::quads, kInt4Order = Order::quads;
#else
constexpr Order kInt8Order = Order::pairs, kInt4Order = Order::quads;
#endif

extern const Kernels kernels;
const Kernels kernels = {
    PQ_NAME, kInt8Order, kInt4Order, linear, attention, layer_norm, activate_all, modulate, to_float, to_half,
};

}  // namespace pq::PQ_ISA
