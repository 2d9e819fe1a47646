#!/usr/bin/env bash
# transformers' CLIPTokenizer and OpenAI's CLIP give a Greek word in capitals different
# tokens. Lower case of Σ at the end of a word is ς: str.lower knows that, and OpenAI's
# code calls it. The normalizer Lowercase of tokenizers, which transformers uses, maps
# character by character, and writes σ. BertNormalizer does the same.
# Lower the text by str.lower before it is given to either.
#
# Seen with tokenizers 0.23.3, transformers 5.23.0, clip-anytorch 2.6.0 (OpenAI's code
# and vocabulary, repackaged), ftfy 6.3.1, regex 2026.11.15, Python 3.11:
#   ΟΔΟΣ ("street")   str.lower οδος   Lowercase οδοσ   BertNormalizer οδοσ
#   last token        OpenAI 480, the last byte of ς   transformers 481, that of σ
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tokenizers==0.23.3 transformers==5.23.0 \
  ftfy==6.3.1 regex==2026.11.15
"$folder/venv/bin/pip" install --quiet --no-deps clip-anytorch==2.6.0
"$folder/venv/bin/python" - <<'PY'
import gzip
import importlib.util
import sysconfig
from pathlib import Path

from tokenizers import normalizers
from transformers import CLIPTokenizer

WORD = "ΟΔΟΣ"
lowered = {
    "str.lower": WORD.lower(),
    "Lowercase": normalizers.Lowercase().normalize_str(WORD),
    "BertNormalizer": normalizers.BertNormalizer(lowercase=True).normalize_str(WORD),
}
print(lowered)

# OpenAI's module by its file: the package around it wants torch
home = Path(sysconfig.get_path("purelib")) / "clip"
spec = importlib.util.spec_from_file_location("openai", home / "simple_tokenizer.py")
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
openai = module.SimpleTokenizer()

lines = gzip.decompress((home / "bpe_simple_vocab_16e6.txt.gz").read_bytes()).decode()
merges = [tuple(line.split()) for line in lines.split("\n")[1 : 49152 - 256 - 2 + 1]]
theirs = CLIPTokenizer(vocab=openai.encoder, merges=merges)

found = {"OpenAI": openai.encode(WORD), "transformers": theirs(WORD)["input_ids"][1:-1]}
print({name: (ids, openai.decoder[ids[-1]]) for name, ids in found.items()})

assert lowered["str.lower"] == "οδος", lowered
assert lowered["Lowercase"] == lowered["BertNormalizer"] == "οδοσ", lowered
assert found["OpenAI"][:-1] == found["transformers"][:-1], found
assert (found["OpenAI"][-1], found["transformers"][-1]) == (480, 481), found
assert theirs(WORD.lower())["input_ids"][1:-1] == found["OpenAI"]
print("as described: a final sigma is lowered by str.lower, and not by tokenizers")
PY
