#!/usr/bin/env python3
"""Derives the coefficients in jit/activations.cpp. Needs mpmath only: python3 tools/fit_activations.py

Near-minimax fits p(z)/q(z), q(0) = 1, to f(z) by weighted least squares on Chebyshev nodes: Sanathanan-Koerner
steps (divide by the previous q) linearise the quotient, Lawson steps (multiply each weight by its error) push the
largest errors down. The best iterate is printed, rounded to float, with its largest weighted error before and
after that rounding.
"""
import struct

from mpmath import cos, erfc, exp, expm1, log, lu_solve, matrix, mp, mpf, pi, sqrt, tanh

mp.dps = 40


def to_float(v):
    return struct.unpack("f", struct.pack("f", float(v)))[0]


def horner(c, z):
    r = mpf(0)
    for a in reversed(c):
        r = r * z + a
    return r


def fit(name, f, weight, lo, hi, p_degree, q_degree=0, z_of=lambda x: x, nodes=80, steps=80):
    xs = [(lo + hi) / 2 + (hi - lo) / 2 * cos(pi * (2 * i + 1) / (2 * nodes)) for i in range(nodes)]
    zs, fs, ws = [z_of(x) for x in xs], [f(x) for x in xs], [weight(x) for x in xs]
    lawson, q_prev, best = [mpf(1)] * nodes, [mpf(1)] * nodes, None
    unknowns = p_degree + 1 + q_degree
    for _ in range(steps):
        ata, atb = matrix(unknowns, unknowns), matrix(unknowns, 1)
        for z, y, w, l, q in zip(zs, fs, ws, lawson, q_prev):
            row = [z**k for k in range(p_degree + 1)] + [-y * z**k for k in range(1, q_degree + 1)]
            scale = l * (w / q) ** 2
            for i in range(unknowns):
                atb[i] += scale * row[i] * y
                for j in range(unknowns):
                    ata[i, j] += scale * row[i] * row[j]
        c = list(lu_solve(ata, atb))
        p, q = c[: p_degree + 1], [mpf(1)] + c[p_degree + 1:]
        error = [abs(horner(p, z) / horner(q, z) - y) * w for z, y, w in zip(zs, fs, ws)]
        if best is None or max(error) < best[0]:
            best = (max(error), p, q)
        lawson = [max(l * e, mpf(10) ** -30) for l, e in zip(lawson, error)]
        total = sum(lawson)
        lawson = [l / total for l in lawson]
        q_prev = [horner(q, z) for z in zs]
    _, p, q = best
    pf, qf = [to_float(v) for v in p], [to_float(v) for v in q]
    rounded = max(abs(horner(pf, z) / horner(qf, z) - y) * w for z, y, w in zip(zs, fs, ws))
    print(f"{name}: error {float(best[0]):.3g}, with float coefficients {float(rounded):.3g}")
    print("  p:", ", ".join(f"{v:.9g}f" for v in pf))
    if q_degree:
        print("  q:", ", ".join(f"{v:.9g}f" for v in qf))


def main():
    h = log(2) / 2 * mpf("1.0001")
    # e^r = 1 + r p(r): relative error.
    fit("exp, degree 5", lambda r: expm1(r) / r, lambda r: abs(r) / exp(r), -h, h, 4)
    # e^r - 1 = r + r^2 p(r): relative error.
    fit("expm1, degree 6", lambda r: (expm1(r) - r) / r**2, lambda r: r**2 / abs(expm1(r)), -h, h, 4)
    square = lambda x: x * x
    # tanh x = x p(x^2) / q(x^2): relative error.
    fit("tanh", lambda x: tanh(x) / x, lambda x: x / tanh(x), mpf("1e-3"), mpf("9.02"), 4, 4, square)
    # Phi(x) = 1 / (1 + exp(-x p(x^2))), Phi the normal distribution function: absolute error of x Phi(x).
    phi = lambda x: erfc(-x / sqrt(2)) / 2
    fit("logit of Phi", lambda x: log(phi(x) / phi(-x)) / x, lambda x: x * x * phi(x) * phi(-x),
        mpf("1e-3"), mpf(6), 6, 0, square)


if __name__ == "__main__":
    main()
