#include "isa/scratch.h"

namespace pq {

Scratch& scratch() {
    thread_local Scratch mine;
    return mine;
}

}  // namespace pq
