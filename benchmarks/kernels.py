"""Speed of the kernels, one instruction set at a time: GB/s of weights for one row, GFLOP/s for many.

    python benchmarks/kernels.py [--isa avx2] [--threads 1] [--seconds 0.3]

The minimum over short runs is printed: on a shared machine it is the figure that others disturb least. The
last rows are all products of one frame of the full-size model (products only, no Python of the model).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pocketquant.ops.interface import F32, LinearWeight, PackedWeight
from pocketquant.ops.isa import available_isas
from pocketquant.ops.native import NativeOps

LM_LAYER = ((3072, 1024), (1024, 1024), (4096, 1024), (1024, 4096))
"""Weights [n, k] of one of the 6 layers of `english_2026-10`: attention in and out, feed-forward up and down."""

MIMI_FRAME = (
    *(((1536, 512, 16), (512, 512, 16), (2048, 512, 16), (512, 2048, 16)) * 2),
    (512, 3584, 16),
    *((1536, 1024, 16), (128, 768, 96), (256, 128, 96)),
    *((640, 512, 96), (64, 384, 480), (128, 64, 480)),
    *((256, 256, 480), (32, 192, 1920), (64, 32, 1920)),
    (1, 192, 1920),
)
"""Products [n, k, rows] of one 80 ms frame of the Mimi decoder: transformer, then SEANet."""

ATTENTION = (
    ("prompt of 126", 126, 0, 16, None),
    ("30 after 126", 30, 126, 16, None),
    ("1 after 200", 1, 200, 16, None),
    ("Mimi, 16 of 250", 16, 234, 8, 250),
)
"""Attention of one layer: title, rows, positions before them, heads of 64, context."""

FORMATS = ("f32", "f16", "int8", "int8 x int16", "int4-g32", "int4-g32 x int16")


@dataclass
class Product:
    """One linear call with its inputs ready."""

    weight: PackedWeight
    x: F32

    def run(self, ops: NativeOps) -> None:
        ops.linear(self.x, self.weight)


def random_weight(form: str, n: int, k: int, rng: np.random.Generator) -> LinearWeight:
    """A weight [n, k] of random values in one of FORMATS."""
    activations = "int16" if form.endswith("int16") else "int8"
    if form.startswith("int8"):
        values = rng.integers(-127, 128, (n, k), np.int8)
        return LinearWeight(n, k, values, np.ones(n, np.float32), None, activations)  # type: ignore[arg-type]
    if form.startswith("int4"):
        group = 32 if k % 32 == 0 else k
        words = rng.integers(-(2**31), 2**31, (n, -(-k // 8))).astype(np.int32)
        scale = np.ones((n, k // group), np.float16)
        return LinearWeight(n, k, words, scale, group, activations)  # type: ignore[arg-type]
    dtype = np.float16 if form == "f16" else np.float32
    return LinearWeight(n, k, rng.standard_normal((n, k), np.float32).astype(dtype))


def fastest(run: Callable[[], None], seconds: float, clock: Callable[[], float]) -> float:
    """Seconds of the fastest run within the time given, at least 3 runs."""
    run()
    best, end, runs = float("inf"), time.perf_counter() + seconds, 0
    while runs < 3 or time.perf_counter() < end:
        start = clock()
        run()
        best = min(best, clock() - start)
        runs += 1
    return best


def report(ops: NativeOps, title: str, form: str, products: list[Product], seconds: float) -> None:
    """Time a list of products as one unit of work and print a row."""

    def run() -> None:
        for product in products:
            product.run(ops)

    # One thread: its own time, which leaves out what others took of the core. More: the clock on the wall.
    best = fastest(run, seconds, time.thread_time if ops.threads == 1 else time.perf_counter)
    stored = sum(p.weight.nbytes for p in products)
    work = sum(2.0 * p.weight.n * p.weight.k * p.x.shape[0] for p in products)
    print(f"{ops.isa:12} {title:22} {form:17} {best * 1e3:8.3f} ms {stored / best / 1e9:7.1f} GB/s "
          f"{work / best / 1e9:8.1f} GFLOP/s")  # fmt: skip


def random_product(
    ops: NativeOps, form: str, shape: tuple[int, int, int], rng: np.random.Generator
) -> Product:
    n, k, rows = shape
    x = rng.standard_normal((rows, k), np.float32)
    return Product(ops.pack(random_weight(form, n, k, rng)), x)


def attention(ops: NativeOps, seconds: float) -> None:
    """Each case of ATTENTION over a float16 and over a float32 cache, the cache filled anew for each run."""
    rng = np.random.default_rng(0)
    for title, rows, before, heads, context in ATTENTION:
        qkv = rng.standard_normal((rows, 3 * heads * 64), np.float32)
        past = rng.standard_normal((2, before, heads, 64), np.float32)
        for exact in (False, True):
            best, end = float("inf"), time.perf_counter() + seconds
            while time.perf_counter() < end:
                cache = ops.new_cache(before + rows, heads, 64, window=context, exact=exact)
                cache.load(past)
                start = time.thread_time()
                ops.attention(qkv, cache, heads=heads, kv_heads=heads, max_period=1e4, context=context)
                best = min(best, time.thread_time() - start)
            print(f"{ops.isa:12} attention, {title:18} {'f32' if exact else 'f16':9} {best * 1e3:8.3f} ms")


def measure(ops: NativeOps, formats: list[str], seconds: float) -> None:
    """All rows of one instruction set."""
    attention(ops, seconds)
    rng = np.random.default_rng(0)
    for form in formats:
        layers = [random_product(ops, form, (n, k, 1), rng) for _ in range(6) for n, k in LM_LAYER]
        report(ops, "LM layers, 1 row", form, layers, seconds)
        for rows in (8, 32):
            x = {k: rng.standard_normal((rows, k), np.float32) for k in (1024, 4096)}
            report(
                ops,
                f"LM layers, {rows} rows",
                form,
                [Product(p.weight, x[p.weight.k]) for p in layers],
                seconds,
            )
        del layers
    for form in formats:
        if not form.startswith("int4"):
            frame = [random_product(ops, form, shape, rng) for shape in MIMI_FRAME]
            report(ops, "Mimi frame", form, frame, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--isa", choices=available_isas(), action="append", help="default: all available")
    parser.add_argument("--format", choices=FORMATS, action="append", help="default: all")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.3, help="time spent on each row")
    arguments = parser.parse_args()
    for isa in arguments.isa or [name for name in available_isas() if name != "scalar"]:
        measure(
            NativeOps(isa=isa, threads=arguments.threads),
            arguments.format or list(FORMATS),
            arguments.seconds,
        )


if __name__ == "__main__":
    main()
