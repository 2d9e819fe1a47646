"""Train the byte pair encoding that ships with minilib, on English books and the
captions of the data sets: python -m book.tools.train_bpe.
"""

from __future__ import annotations

import sys

from book.tools.common import shown
from minilib.data import corpus
from minilib.text.bpe_files import SHIPPED, save
from minilib.text.bpe_training import train

TOKENS, CAPTIONS = 4_096, 2_500  # of the vocabulary; of each data set


def main() -> int:
    texts = [corpus.text(), *corpus.captions(CAPTIONS, seed=0)]
    bpe = train(texts, TOKENS, progress=True)
    save(bpe, SHIPPED)
    print(f"{shown(SHIPPED)}: {len(bpe.merges):,} merges")
    return 0


if __name__ == "__main__":
    sys.exit(main())
