"""`fit` against a plain loop over torch's own averaging, clipping and schedule, in
float64.
"""

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from minilib.train import fit, learning_rate, loop, shuffled


def test_fit_is_torchs_adamw_with_clipping_schedule_and_averaging(monkeypatch):
    monkeypatch.setattr(loop, "EMA", 0.7)  # reached after 21 of the 40 steps
    g = torch.Generator().manual_seed(0)
    x, y = (
        torch.randn(64, 3, generator=g).double(),
        50 * torch.randn(64, 2, generator=g).double(),
    )
    loss, batches, steps, peak = (
        (lambda m, x, y: (m(x) - y).square().mean()),
        shuffled(x, y, batch_size=16),
        40,
        0.03,
    )
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    torch.manual_seed(0)
    reference = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    options = {"steps": steps, "lr": peak, "warmup": 10, "weight_decay": 0.1}
    fitted = fit(ours, loss, batches, progress=False, **options)

    optimizer = torch.optim.AdamW(reference.parameters(), lr=1.0, weight_decay=0.1)
    scale = lambda step: learning_rate(step, steps=steps, peak=peak, warmup=10)  # noqa: E731
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, scale)
    decay = lambda n: min(0.7, int(n) / (int(n) + 9))  # noqa: E731
    averaged = AveragedModel(
        reference, avg_fn=lambda mean, new, n: decay(n) * mean + (1 - decay(n)) * new
    )
    averaged.update_parameters(reference)  # the average starts at the initial weights
    for step in range(steps):
        optimizer.zero_grad()
        loss(reference, *batches(step)).backward()
        nn.utils.clip_grad_norm_(reference.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        averaged.update_parameters(reference)
    for a, b in zip(fitted.model.parameters(), reference.parameters(), strict=True):
        assert (a - b).abs().max() / b.abs().max() < 1e-10
    for a, b in zip(fitted.ema.parameters(), averaged.module.parameters(), strict=True):
        assert (a - b).abs().max() / b.abs().max() < 1e-10
