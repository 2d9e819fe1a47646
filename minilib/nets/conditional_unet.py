"""The U-Net of latent diffusion: it looks at a context, such as the words of a caption,
between its residual blocks.
"""

from __future__ import annotations

from torch import Tensor, nn

from minilib.nets.unet import Embedding, UNetDecoder, UNetEncoder, require_fit
from minilib.nets.unet_blocks import Context, UNetConfig
from minilib.runtime import require_shape


class ConditionalUNet(nn.Module):
    """x (B, C, H, W), t (B,), context → (B, C_out, H, W). Rombach et al. (2022).

    The attention of its config is `SpatialTransformer`. Raises ValueError for what
    `UNet` refuses, and for a context that does not fit the batch.
    """

    def __init__(self, config: UNetConfig):
        super().__init__()
        self.config = config
        self.embed, self.encoder, self.decoder = (
            Embedding(config),
            UNetEncoder(config),
            UNetDecoder(config),
        )

    def forward(self, x: Tensor, t: Tensor, context: Context) -> Tensor:
        require_fit(self.config, x, t, None)
        require_context(context, len(x))
        emb = self.embed(t)
        h, skips = self.encoder(x, emb, context)
        return self.decoder(h, skips, emb, context)


def require_context(context: Context, n: int) -> None:
    """Raise ValueError unless there are vectors (n, L, D) and what of them is seen."""
    vectors, seen = context
    if vectors.ndim != 3 or len(vectors) != n:
        raise ValueError(
            f"expected a context of vectors ({n}, L, D), got {tuple(vectors.shape)}"
        )
    require_shape("what is seen of the context", seen, tuple(vectors.shape[:2]))
