from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minilib.text.bpe import BPE, BYTES, merged
from minilib.text.bpe_training import replaced, train

TEXT = "the cat sat on the mat with the hat, the cat's 笑脸 笑脸 笑声" * 3
TOY = train(TEXT, 280)


def tokens_of(*texts):
    return [TOY.token[text.encode()] for text in texts]


def one_by_one(symbols, merges):
    """The tokens of a piece by the definition: the earliest merge, wherever it is."""
    while found := [pair for pair in pairwise(symbols) if pair in merges]:
        pair = min(found, key=merges.__getitem__)
        symbols = replaced(symbols, pair, merges[pair])
    return symbols


def test_the_bytes_come_in_gpt2s_order():
    assert sorted(BYTES) == list(range(256))
    assert bytes(BYTES[:3]) == b'!"#'
    assert BYTES[93:96] == [0x7E, 0xA1, 0xA2]
    assert BYTES[187:191] == [0xFF, 0x00, 0x01, 0x02]
    assert BYTES[-2:] == [0xA0, 0xAD]
    assert TOY.tokens[3:259] == [bytes([byte]) for byte in BYTES]


def test_a_text_becomes_tokens_and_text_again():
    assert TOY.encode("the cat") == tokens_of("the", " cat")
    assert TOY.encode("that") == tokens_of("th", "at")
    assert TOY.decode(TOY.encode("the cat's 猫")) == "the cat's 猫"
    assert TOY.decode(torch.tensor(TOY.encode("the cat"))) == "the cat"
    assert TOY.encode("") == []
    assert TOY.decode([]) == ""
    assert len(TOY) == 280 == len(TOY.tokens)


@given(st.binary(max_size=60))
def test_any_bytes_survive(data):
    assert TOY.decode_bytes(TOY.encode(data)) == data


@given(st.text(max_size=60))
def test_any_text_survives_and_is_as_its_bytes(text):
    tokens = TOY.encode(text)
    assert TOY.decode(tokens) == text
    assert tokens == TOY.encode(text.encode())


def test_half_a_character_is_marked():
    half = TOY.encode("笑".encode()[:2])
    assert TOY.decode(half) == "�"
    assert TOY.decode_bytes(half) == "笑".encode()[:2]


@given(st.text("ab", min_size=1, max_size=40))
def test_the_heap_finds_what_the_definition_does(piece):
    bpe = train(["abba" * 5, "aab" * 4, "aaaa" * 3, "bab" * 9], 280)
    symbols = bpe.symbols(piece)
    assert merged(symbols, bpe.merges) == one_by_one(symbols, bpe.merges)


def test_the_earliest_merge_is_done_first_and_the_left_one_of_two():
    assert merged([0, 1, 2], {(1, 2): 3, (0, 1): 4}) == [0, 3]
    assert merged([0, 1, 2], {(0, 1): 3, (1, 2): 4}) == [3, 2]
    assert merged([0, 0, 0], {(0, 0): 1}) == [1, 0]
    assert merged([0, 0, 0, 0], {(0, 0): 1, (1, 1): 2}) == [2]
    assert merged([5], {(0, 0): 1}) == [5]


def test_a_piece_of_a_hundred_thousand_letters_takes_a_moment():
    piece = "hat" * 40_000
    assert TOY.encode(piece) == tokens_of("hat") * 40_000


def test_what_the_cache_remembers_is_what_was_found(monkeypatch):
    monkeypatch.setattr("minilib.text.bpe.CACHED", 2)
    small = BPE(TOY.tokens, TOY.merges, TOY.special)
    for _ in range(2):
        assert small.encode("the cat sat on") == TOY.encode("the cat sat on")
    assert len(small.cache) <= 2


def test_the_name_of_a_special_token_is_text():
    assert TOY.special_token("<|endoftext|>") == 2
    assert min(TOY.encode("<|endoftext|>")) > 2
    assert TOY.decode([0, *TOY.encode("a"), 2]) == "a"
    with pytest.raises(
        ValueError, match=r"'<\|eot\|>': there are <\|padding\|>, <\|st"
    ):
        TOY.special_token("<|eot|>")
    with pytest.raises(ValueError, match=r"no special token 'a': there are none$"):
        train("a", 256, special=[]).special_token("a")


@pytest.mark.parametrize("token", [-1, 280, 2**70, 1.0, "a", None])
def test_a_token_out_of_range_is_refused(token):
    with pytest.raises(ValueError, match=r"from 0 to 279, got .* at place 2$"):
        TOY.decode([5, 6, token])


def test_half_of_a_surrogate_pair_is_refused():
    with pytest.raises(ValueError, match=r"character 2 of the text is '\\ud800', half"):
        TOY.encode("ab\ud800")


@pytest.mark.parametrize("text", [None, 3, ["a"]])
def test_what_is_no_text_is_refused(text):
    with pytest.raises(ValueError, match="expected a text or bytes, got"):
        TOY.encode(text)


def test_added_merges_are_done():
    bpe = train("ab", 259)
    assert bpe.encode("ab") == [bpe.token[b"a"], bpe.token[b"b"]]
    assert bpe.add((bpe.token[b"a"], bpe.token[b"b"])) == 259
    assert BPE(bpe.tokens, bpe.merges, bpe.special).encode("ab") == [259]
    assert bpe.tokens[259] == b"ab"


def test_a_token_that_is_added_shortens_what_was_encoded_before():
    bpe = train("he saw the heath", 256 + 3)
    before = bpe.encode("he")
    bpe.add((before[0], before[1]))
    assert bpe.encode("he") == [len(bpe) - 1]
    assert bpe.decode(bpe.encode("he")) == "he"
