"""Writes mann_whitney_reference.json: what scipy says of small, tied, large and shifted samples.

    python3 -m venv venv && venv/bin/pip install scipy==1.17.1 && venv/bin/python mann_whitney_reference.py > mann_whitney_reference.json
"""
import itertools, json, sys
import numpy as np
import scipy
from scipy.stats import mannwhitneyu, PermutationMethod

rng = np.random.default_rng(20240229)
cases = []

def case(name, x, y, exact):
    x, y = [float(v) for v in x], [float(v) for v in y]
    tied = len(set(x + y)) < len(x) + len(y)
    if exact and tied:
        # Every permutation: scipy's own exact method knows no ties.
        method = PermutationMethod(n_resamples=np.inf)
    else:
        method = "exact" if exact else "asymptotic"
    greater = mannwhitneyu(x, y, alternative="greater", method=method)
    less = mannwhitneyu(x, y, alternative="less", method=method)
    differences = [a - b for a, b in itertools.product(x, y)]
    cases.append({
        "name": name, "x": x, "y": y, "exact": exact, "u": float(greater.statistic),
        "pGreater": float(greater.pvalue), "pLess": float(less.pvalue),
        "shift": float(np.median(differences)),
        "delta": 2 * float(greater.statistic) / (len(x) * len(y)) - 1,
    })

case("one against one", [2], [1], True)
case("one against three", [2], [1, 3, 5], True)
case("textbook", [19, 22, 16, 29, 24], [20, 11, 17, 12], True)
case("all greater", [5, 6, 7, 8], [1, 2, 3, 4], True)
case("tiny with ties", [1, 2, 2, 3], [2, 2, 4, 5], True)
case("tiny, all the same", [1, 1, 1], [1, 1, 1, 1], True)
case("tiny, two values", [0, 0, 1, 1, 1], [0, 1, 1, 1], True)
case("zeros of both signs", [0.0, -0.0, 1], [0.0, -0.0, -1], True)
for n, m in [(3, 7), (10, 10), (20, 20), (25, 25)]:
    case(f"exact {n}, {m}", rng.normal(0.4, 1, n), rng.normal(0, 1, m), True)
for n, m in [(5, 5), (6, 4)]:
    case(f"exact with ties {n}, {m}", rng.integers(0, 4, n), rng.integers(0, 4, m), True)
for n, m, by in [(40, 40, 0.0), (40, 40, 0.7), (80, 80, -0.5), (160, 160, 0.2), (30, 60, 3.0)]:
    case(f"normal {n}, {m}, shift {by}", rng.normal(by, 1, n), rng.normal(0, 1, m), False)
for n, m in [(40, 40), (100, 60)]:
    case(f"many ties {n}, {m}", rng.integers(0, 5, n), rng.integers(1, 6, m), False)
json.dump({"scipy": scipy.__version__, "numpy": np.__version__, "cases": cases}, sys.stdout, indent=1)
