#!/bin/sh
# The standalone kernel test under AddressSanitizer and UBSan.
set -eu
root=$(CDPATH= cd -- "$(dirname -- "$0")/../.." && pwd)
cmake -S "$root" -B "$root/build/sanitize" -DPOCKETQUANT_MODULE=OFF -DPOCKETQUANT_KERNEL_TEST=ON \
    -DPOCKETQUANT_SANITIZE=ON -DCMAKE_BUILD_TYPE=RelWithDebInfo
cmake --build "$root/build/sanitize" --parallel
"$root/build/sanitize/kernel_test" "${1:-10}"
