// Working memory of the current thread, kept between calls.
#pragma once

#include "../buffer.h"

namespace pq {

struct Scratch {
    Buffer rows;     // quantized rows of x
    Buffer scales;   // their steps and sums
    Buffer panel;    // one panel widened to float
    Buffer scores;   // attention
    Buffer windows;  // rows of a convolution
    Buffer layer;    // between the parts of a transformer layer
};

Scratch& scratch();  // one per thread

}  // namespace pq
