// The instruction sets of this build and of this machine.
#pragma once

#include <string>
#include <vector>

#include "kernels.h"

namespace pq {

// Those that were compiled in and that processor and operating system support, best first; never empty.
const std::vector<const Kernels*>& available_kernels();

// The kernels called `name`; empty: the best ones. Throws std::invalid_argument, listing the available names.
const Kernels& find_kernels(const std::string& name);

}  // namespace pq
