#!/bin/sh
# The standalone kernel test for 64-bit ARM under emulation: once with, once without dot and matrix product
# instructions.
# Debian: apt-get install g++-aarch64-linux-gnu qemu-user
set -eu
root=$(CDPATH= cd -- "$(dirname -- "$0")/../../.." && pwd)
cmake -S "$root" -B "$root/build/arm" -DPOCKETQUANT_MODULE=OFF -DPOCKETQUANT_KERNEL_TEST=ON \
    -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++
cmake --build "$root/build/arm" --parallel
for cpu in max cortex-a53; do
    echo "== $cpu"
    qemu-aarch64 -cpu "$cpu" -L /usr/aarch64-linux-gnu "$root/build/arm/kernel_test" "${1:-3}"
done
