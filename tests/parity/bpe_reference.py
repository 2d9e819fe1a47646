"""The byte pair encoding of the package tokenizers, and texts that are hard to cut."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

HARD = [
    "",
    " ",
    "A photo of a cat, the cat's hat; it's we're they've I'm he'll she'd don't",
    "IT'S 's 't x's's ''s",
    " leading, trailing  ",
    "tabs\tand\nnew\r\nlines\x0b\x0c\x85 \u2003\u3000x\n\n\n  y",
    "\x1c\x1d\x1e\x1f\x00\x07\x7f\u200b\ufeff\u2028",
    "1234567890 3.14159 1e-5 ½² Ⅷ ٣٤ 12,345.67",
    "caf\u00e9 cafe\u0301 ẞ İ ǅ ſ ﬁ ＦＵＬＬ",
    "笑脸 東京タワー 한국어 Привет мир مرحبا שלום नमस्ते ไทย ქართული",
    "😀👍🏽👨\u200d👩\u200d👧🇨🇭 ❤️ 𝔉𝟘 𒀀",
    "snake_case camelCase https://example.com/a?b=c&d=e#f ... !!! ((()))",
    "aaaa" * 9 + "abab" * 7,
    "<|endoftext|x> <|",
]


def trained(texts: Sequence[str], size: int, special: Sequence[str]) -> Any:
    """Their tokenizer: GPT-2's pieces, all bytes, pairs that occur twice."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def merges_of(tokenizer: Any) -> list[str]:
    """Its merges in order, as lines of merges.txt."""
    return [
        " ".join(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]
    ]
