"""Our byte pair encoding against tokenizers' and, by frozen results, OpenAI's CLIP.

tests/text/bpe_tokenizers.json holds what tokenizers 0.23.3 learned, for everyday runs.
bpe/clip_merges.txt.gz is OpenAI's bpe_simple_vocab_16e6.txt.gz (MIT licence), cut after
the 48,894 merges that CLIP uses; bpe/clip_encodings.json is what its SimpleTokenizer
makes of hard texts, with ftfy 6.3.1 and regex 2026.11.19.
"""

import gzip
import json
import random
import unicodedata
from pathlib import Path

import pytest
import regex
from tokenizers import ByteLevelBPETokenizer
from transformers import CLIPTokenizer, GPT2Tokenizer

from minilib.data import corpus
from minilib.text.bpe import BPE
from minilib.text.bpe_files import LETTERS, load, load_clip, save, shipped, written
from minilib.text.bpe_training import SPECIAL, train
from minilib.text.pieces import gpt2_pieces
from tests.parity.bpe_reference import HARD, merges_of, trained

HERE = Path(__file__).parent
FROZEN = json.loads((HERE.parent / "text/bpe_tokenizers.json").read_text("utf-8"))
CLIP = json.loads((HERE / "bpe/clip_encodings.json").read_text("utf-8"))
GPT2 = regex.compile(
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
)


def lines_of(bpe: BPE) -> list[str]:
    return [f"{written(bpe.tokens[a])} {written(bpe.tokens[b])}" for a, b in bpe.merges]


def random_texts(n: int, seed: int) -> list[str]:
    """Characters of all kinds, half of them those that matter to the patterns."""
    g = random.Random(seed)
    known = [
        i for i in range(0x110000) if unicodedata.category(chr(i)) not in ("Cn", "Cs")
    ]
    often = [
        "'s",
        "'ll",
        "'",
        " ",
        "  ",
        "\n",
        "\u3000",
        "x",
        "the",
        "7",
        "½",
        ".",
        "é",
    ]
    return [
        "".join(
            g.choice(often) if g.random() < 0.5 else chr(g.choice(known))
            for _ in range(g.randint(1, 20))
        )
        for _ in range(n)
    ]


@pytest.fixture(scope="module")
def clip() -> BPE:
    return load_clip(HERE / "bpe/clip_merges.txt.gz")


def test_the_frozen_results_are_what_tokenizers_learns():
    theirs = trained(FROZEN["texts"], FROZEN["vocab_size"], SPECIAL)
    assert merges_of(theirs) == FROZEN["merges"]
    assert {text: theirs.encode(text).ids for text in HARD} == FROZEN["encodings"]


@pytest.mark.parametrize("special", [SPECIAL, ()])
def test_merges_and_encodings_of_english_and_captions(special):
    texts = [corpus.text()[:300_000], *corpus.captions(200, seed=0)]
    ours, theirs = train(texts, 1_256, special), trained(texts, 1_256, special)
    assert lines_of(ours) == merges_of(theirs)
    for text in [*texts[1:], *HARD, *random_texts(300, seed=0)]:
        tokens = ours.encode(text)
        assert tokens == theirs.encode(text).ids
        assert ours.decode(tokens) == theirs.decode(tokens) == text


def test_ties_and_runs_of_few_letters():
    g = random.Random(0)
    for _ in range(300):
        letters = g.choice(["a", "ab", "abc", "abcd"])
        words = [
            "".join(g.choices(letters, k=g.randint(1, 30)))
            for _ in range(g.randint(1, 20))
        ]
        assert lines_of(train(words, 400)) == merges_of(trained(words, 400, SPECIAL))


def test_pieces_of_gpt2_are_those_of_its_pattern():
    for text in [*HARD, *random_texts(3_000, seed=1)]:
        assert gpt2_pieces(text) == GPT2.findall(text)


def test_every_character_is_of_the_kind_that_the_pattern_takes_it_for():
    """All that this Python's Unicode knows, in one text."""
    known = [chr(i) for i in range(0x110000) if unicodedata.category(chr(i)) != "Cn"]
    for text in ("".join(known), " ".join(known), "a".join(known)):
        assert gpt2_pieces(text) == GPT2.findall(text)


def test_others_read_what_we_save_and_we_read_it_again(tmp_path):
    save(shipped(), tmp_path)
    ours = load(tmp_path)
    assert (ours.tokens, ours.merges) == (shipped().tokens, shipped().merges)
    files = [str(tmp_path / name) for name in ("vocab.json", "merges.txt")]
    theirs = [ByteLevelBPETokenizer(*files), GPT2Tokenizer.from_pretrained(tmp_path)]
    for text in [*HARD, *random_texts(100, seed=2)]:
        tokens = ours.encode(text)
        assert theirs[0].encode(text).ids == tokens
        assert theirs[1](text)["input_ids"] == tokens
    assert theirs[1].convert_tokens_to_ids("<|endoftext|>") == 2


def test_clip_is_openais_on_hard_texts(clip):
    assert len(clip) == 49_408
    assert clip.special == {"<|startoftext|>": 49_406, "<|endoftext|>": 49_407}
    assert len(CLIP) > 30
    for text, tokens in CLIP.items():
        assert clip.encode(text) == tokens, text


def test_clip_is_transformers_where_that_leaves_signs_alone(clip):
    """transformers resolves no entities, and straightens no quotes or widths."""
    lines = gzip.decompress((HERE / "bpe/clip_merges.txt.gz").read_bytes()).decode()
    merges = [tuple(line.split()) for line in lines.splitlines()[1:]]
    letters = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS)]
    texts = [*letters, *("".join(pair) for pair in merges), *clip.special]
    vocabulary = {text: i for i, text in enumerate(texts)}
    theirs = CLIPTokenizer(vocab=vocabulary, merges=merges)
    words = [text for text in [*HARD, *CLIP] if "“" not in text and "&" not in text]
    plain = [text for text in words if set(text) <= set(map(chr, range(32, 127)))]
    assert len(plain) > 8
    g = random.Random(0)
    joined = ["".join(g.choices(" ".join(plain), k=30)) for _ in range(1_000)]
    for text in [*plain, *joined]:
        start, *tokens, end = theirs(text)["input_ids"]
        assert (start, end) == (49_406, 49_407)
        assert clip.encode(text) == tokens


def test_clip_takes_no_special_token_from_a_text(clip):
    """OpenAI's code does: a prompt that holds <|endoftext|> ends there."""
    assert max(clip.encode("a <|endoftext|> b")) < 49_406
    assert clip.decode(clip.encode("A  Dog's hat")) == "a dog 's hat "
