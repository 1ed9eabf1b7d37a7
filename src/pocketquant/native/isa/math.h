// Elementary functions over the vectors of the including file (namespace PQ_ISA).
#pragma once

namespace pq::PQ_ISA {

PQ_INLINE F load_stored(const float* p) { return load(p); }
PQ_INLINE F load_stored(const half* p) { return load_half(p); }

// vmin(constant, x) and vmax(constant, x), in this order, let a NaN of x through.

// e^x - 1 split as 2^n and q = e^r - 1 with x = n ln 2 + r, |r| <= ln 2 / 2: e^x = 2^n (1 + q).
// The polynomial is the Taylor series of degree 7: |error| < 2^-27 relative to e^r on that interval,
// below half a unit in the last place of a float.
struct Exponent {
    F n, q;
};

PQ_INLINE Exponent split_exp(F x) {
    const F n = round_even(mul(x, set1(1.44269504088896341f)));
    F r = fma(n, set1(-0.693145751953125f), x);  // ln 2 in two parts: n times the first one is exact
    r = fma(n, set1(-1.42860682030941723212e-6f), r);
    F p = set1(1.9841269841e-4f);
    p = fma(p, r, set1(1.3888888889e-3f));
    p = fma(p, r, set1(8.3333333333e-3f));
    p = fma(p, r, set1(4.1666666667e-2f));
    p = fma(p, r, set1(1.6666666667e-1f));
    p = fma(p, r, set1(0.5f));
    return {n, fma(mul(p, r), r, r)};
}

// 2^n for integer n in [-252, 254]: two factors, so that neither overflows and subnormals come out.
PQ_INLINE F scale_pow2(F x, F n) {
    const F first = round_even(mul(n, set1(0.5f)));
    return mul(mul(x, pow2(first)), pow2(sub(n, first)));
}

// e^x, at most 2 units in the last place from the true value; 0 below -104, infinity above 88.73.
PQ_INLINE F exp(F x) {
    const Exponent e = split_exp(vmax(set1(-105.0f), vmin(set1(89.0f), x)));
    return scale_pow2(add(e.q, set1(1.0f)), e.n);
}

// e^x - 1 for x <= 0, at most 3 units in the last place: (2^n - 1) + 2^n q has nothing to cancel.
PQ_INLINE F expm1_negative(F x) {
    const Exponent e = split_exp(vmax(set1(-40.0f), x));
    const F power = pow2(e.n);
    return fma(power, e.q, sub(power, set1(1.0f)));
}

// x sigmoid(x)
PQ_INLINE F silu(F x) { return div(x, add(set1(1.0f), exp(sub(zero(), x)))); }

// 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) = x sigmoid(2 sqrt(2/pi) (...)): the tanh form without
// its cancellation for negative x.
PQ_INLINE F gelu(F x) {
    const F inner = mul(x, fma(mul(x, x), set1(0.044715f * 1.5957691216057308f), set1(1.5957691216057308f)));
    return div(x, add(set1(1.0f), exp(sub(zero(), inner))));
}

// x for x > 0, e^x - 1 else
PQ_INLINE F elu(F x) { return select_gt(x, zero(), x, expm1_negative(vmin(zero(), x))); }

PQ_INLINE F activate(F x, Activation activation) {
    switch (activation) {
        case Activation::gelu: return gelu(x);
        case Activation::silu: return silu(x);
        case Activation::elu: return elu(x);
        case Activation::none: break;
    }
    return x;
}

}  // namespace pq::PQ_ISA
