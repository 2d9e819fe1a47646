import pytest
import torch

from minilib.text.bpe_training import train
from minilib.text.padded import PaddedBPE
from minilib.text.words import END, PADDING, START, WordTokenizer, trimmed

TEXTS = ["a red hat", "a blue hat", "a red top"] * 3
TOKENIZER = PaddedBPE(train(TEXTS, 270), length=12)


def test_rows_are_as_those_of_words():
    rows = TOKENIZER.encode(["a red hat", "", "笑"])
    words = WordTokenizer(TEXTS, 12).encode(["a red hat", "", "a"])
    assert (
        (rows.shape, rows.dtype) == (words.shape, words.dtype) == ((3, 12), torch.int64)
    )
    assert rows[1].tolist() == words[1].tolist() == [START, END, *[PADDING] * 10]
    text = TOKENIZER.bpe.encode("a red hat")
    assert rows[0].tolist() == [START, *text, END, *[PADDING] * (10 - len(text))]
    assert rows[2, :5].tolist() == [START, *TOKENIZER.bpe.encode("笑"), END]
    assert trimmed(rows).shape == (3, 5)
    assert len(TOKENIZER) == 270 > rows.max()
    assert TOKENIZER.encode([]).shape == (0, 12)


def test_rows_are_read_up_to_their_end():
    texts = ["a red hat", "", "笑"]
    assert TOKENIZER.decode(TOKENIZER.encode(texts)) == texts
    a, b = TOKENIZER.bpe.encode("ab")
    assert TOKENIZER.decode(torch.tensor([[START, a, END, b], [a, b, a, b]])) == [
        "a",
        "abab",
    ]


def test_a_text_that_is_too_long_is_refused():
    assert TOKENIZER.encode(["xyxyxyxyxy"])[0, -1] == END
    with pytest.raises(
        ValueError, match=r"text 1, 'x{11}', has 11 tokens, and at most 10"
    ):
        TOKENIZER.encode(["a", "x" * 11])
    with pytest.raises(ValueError, match="and at most 0 fit"):
        PaddedBPE(TOKENIZER.bpe, 1).encode(["a"])


def test_a_text_fits_if_it_can_be_encoded():
    assert TOKENIZER.fits("")
    assert TOKENIZER.fits("x" * 10)
    assert not TOKENIZER.fits("x" * 11)


def test_a_text_in_place_of_a_list_is_refused():
    with pytest.raises(
        ValueError, match="expected a list of texts, got the text 'red'"
    ):
        TOKENIZER.encode("red")


def test_a_token_out_of_range_is_refused():
    with pytest.raises(ValueError, match="from 0 to 269, got 270 at place 1"):
        TOKENIZER.decode(torch.tensor([[5, 270, END]]))


def test_unknown_special_tokens_are_refused():
    bpe = train(TEXTS, 270, special=["<|endoftext|>", "<|startoftext|>"])
    with pytest.raises(
        ValueError, match=r"no special token '<\|padding\|>': there are"
    ):
        PaddedBPE(bpe, 12)
    rows = PaddedBPE(bpe, 6, padding="<|endoftext|>").encode(["a"])
    assert rows.tolist() == [[1, *bpe.encode("a"), 0, 0, 0, 0]]
