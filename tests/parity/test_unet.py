"""Our U-Net against diffusers' UNet2DModel: float64, every tensor random, outputs and
gradients.
"""

from dataclasses import replace

import pytest

from minilib.nets.unet_blocks import UNetConfig
from tests.parity.reference import ADM_FORM, BAR, DDPM_FORM, unet_errors

CASES: dict[str, tuple[UNetConfig, tuple[int, int]]] = {
    "DDPM": (DDPM_FORM, (16, 16)),
    "DDPM, a lowest level of 6 × 5": (DDPM_FORM, (12, 10)),
    "DDPM, three levels, one block, attention at two": (
        replace(DDPM_FORM, multipliers=(1, 2, 2), blocks=1, attention=(1, 2)),
        (12, 20),
    ),
    "DDPM, one head": (replace(DDPM_FORM, head_dim=32, attention=(1,)), (8, 8)),
    "DDPM, classes, eps 1e-5": (replace(DDPM_FORM, classes=5, eps=1e-5), (8, 8)),
    "DDPM, no attention but in the middle": (replace(DDPM_FORM, attention=()), (8, 8)),
    "ADM": (ADM_FORM, (16, 16)),
    "ADM, a lowest level of 5 × 7": (ADM_FORM, (10, 14)),
    "ADM, three levels, one block": (
        replace(ADM_FORM, multipliers=(1, 2, 3), blocks=1, attention=(2,)),
        (12, 20),
    ),
    "ADM, three levels, attention at the first and the second": (
        replace(ADM_FORM, multipliers=(1, 2, 2), attention=(0, 1)),
        (12, 8),
    ),
    "ADM, no classes, heads of 4": (replace(ADM_FORM, classes=0, head_dim=4), (8, 8)),
}


@pytest.mark.parametrize("case", CASES)
def test_outputs_and_gradients(case):
    errors = unet_errors(*CASES[case])
    assert max(errors.values()) < BAR, errors
