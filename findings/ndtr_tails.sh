#!/usr/bin/env bash
# torch.special.ndtr and scipy.special.ndtr have one name, and both stand for the area
# under the normal curve left of x. In float32 they part in the left tail: scipy keeps
# its digits; torch behaves as (1 + erf(x / √2)) / 2, where 1 and erf cancel: 4 % off
# at -5, and 0 at -7. torch.distributions.Normal.cdf does the same. A likelihood of
# pixels that takes its tails from it (discretised Gaussians, as in improved DDPM) is
# off by percents, or infinite.
# torch.special.erfc(-x / √2) / 2 and torch.special.log_ndtr keep the digits.
#
# Seen with torch 2.13.0, scipy 1.17.1, numpy 2.4.6, Python 3.11, x86-64:
#   x = -3   torch 1.35e-03 (relative error 1e-06)   scipy 1.35e-03
#   x = -5   torch 2.98e-07 (relative error 4e-02)   scipy 2.87e-07
#   x = -7   torch 0.00e+00 (relative error 1e+00)   scipy 1.28e-12
#   erfc and log_ndtr in float32: relative error below 2e-06 at all three
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 scipy==1.17.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import numpy as np
import scipy.special
import torch

for value in (-3.0, -5.0, -7.0):
    x = torch.tensor(value)
    true = float(torch.special.erfc(-x.double() / 2**0.5) / 2)
    tail = {
        "torch": float(torch.special.ndtr(x)),
        "Normal.cdf": float(torch.distributions.Normal(0.0, 1.0).cdf(x)),
        "scipy": float(scipy.special.ndtr(np.float32(value))),
        "erfc": float(torch.special.erfc(-x / 2**0.5) / 2),
        "log_ndtr": float(torch.special.log_ndtr(x).exp()),
    }
    off = {name: abs(found - true) / true for name, found in tail.items()}
    print(f"x = {value:g}:", {k: f"{v:.2e}, off {off[k]:.0e}" for k, v in tail.items()})
    assert max(off[name] for name in ("scipy", "erfc", "log_ndtr")) < 2e-6, off
    expected = {-3.0: (1e-7, 1e-5), -5.0: (0.01, 0.1), -7.0: (1.0, 1.0)}[value]
    for name in ("torch", "Normal.cdf"):
        assert expected[0] <= off[name] <= expected[1], (name, value, off[name])
print("as described: in float32 torch's ndtr loses the left tail, scipy's keeps it")
PY
