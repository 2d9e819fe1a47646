"""Whether what nbval compares of a chapter is the same on another processor: the
chapter runs a second time with fewer vector instructions, as an older machine has them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from book.tools.common import ROOT

SANITISE = ROOT / "tests" / "nbval_sanitize.cfg"
NAMES = (
    "ATEN_CPU_CAPABILITY",
    "ONEDNN_MAX_CPU_ISA",
    "OPENBLAS_CORETYPE",
    "MKL_ENABLE_INSTRUCTIONS",
)
LEVELS = {  # what torch, oneDNN, OpenBLAS and MKL call the same instructions
    "AVX2": ("avx2", "AVX2", "HASWELL", "AVX2"),
    "SSE4": ("default", "SSE41", "NEHALEM", "SSE4_2"),
}


def other_instructions() -> dict[str, str]:
    """The variables with which a process does without the widest instructions that
    this processor has.
    """
    import torch  # slow, and only this asks it

    widest = torch.backends.cpu.get_cpu_capability()
    level = "SSE4" if widest in ("AVX2", "DEFAULT", "NO AVX") else "AVX2"
    return dict(zip(NAMES, LEVELS[level], strict=True))


def differences(path: Path, environment: dict[str, str]) -> str:
    """What nbval says of the outputs stored in this notebook, executed under other
    instructions: "" where all that it compares is the same.
    """
    options = ["--nbval", "--nbval-current-env", "--nbval-cell-timeout=3600"]
    if SANITISE.exists():
        options += ["--nbval-sanitize-with", str(SANITISE)]
    command = [sys.executable, "-m", "pytest", "-q", "--noconftest"]
    command += ["-c", os.devnull, "-p", "no:cacheprovider", *options, str(path)]
    done = subprocess.run(
        command,
        env=environment | other_instructions(),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr if done.returncode else ""
