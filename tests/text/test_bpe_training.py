import io
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minilib.text.bpe_files import written
from minilib.text.bpe_training import SPECIAL, PairCounts, count_pieces, replaced, train
from minilib.text.words import END, PADDING, START
from tests.bench.bpe import obvious

FROZEN = json.loads(
    (Path(__file__).parent / "bpe_tokenizers.json").read_text(encoding="utf-8")
)


def learned(bpe):
    """The merges as pairs of bytes, in order."""
    return [(bpe.tokens[left], bpe.tokens[right]) for left, right in bpe.merges]


def test_merges_and_encodings_are_those_of_tokenizers():
    """Frozen by tests/parity/test_bpe.py, which says how."""
    bpe = train(FROZEN["texts"], FROZEN["vocab_size"])
    found = [f"{written(a)} {written(b)}" for a, b in learned(bpe)]
    assert found == FROZEN["merges"]
    for text, tokens in FROZEN["encodings"].items():
        assert bpe.encode(text) == tokens


def test_special_tokens_come_first_and_have_the_numbers_of_words():
    bpe = train("aaa", 300)
    assert [bpe.special[name] for name in SPECIAL] == [PADDING, START, END]
    assert bpe.tokens[:3] == [b""] * 3
    assert bpe.tokens[3] == b"!"
    assert train("aaa", 300, special=[]).tokens[0] == b"!"


def test_the_most_frequent_pair_merges_first_of_equal_ones_the_smallest():
    bpe = train("ab ab cd cd cd xy xy", 300)
    assert learned(bpe) == [
        (b"c", b"d"),  # three times
        (b" ", b"cd"),
        (b"a", b"b"),  # twice, as the others
        (b"x", b"y"),
        (b" ", b"xy"),
    ]
    assert learned(train("ba ab ba ab ba ab", 300))[0] == (b"a", b"b")


def test_no_pair_that_occurs_once_merges_and_no_more_than_fit():
    assert len(train("abcdefg", 1000).merges) == 0
    assert len(train("abcdefg abcdefg", 1000)) == 259 + 6
    assert len(train("abcdefg abcdefg", 262)) == 262
    assert len(train("abcdefg abcdefg", 259)) == 259


def test_nothing_merges_across_pieces():
    assert learned(train("a b a b a b", 300)) == [(b" ", b"b"), (b" ", b"a")]
    assert learned(train(["a", "b"] * 5, 300)) == []


def test_runs_of_one_letter_merge_from_the_left():
    assert replaced([7, 7, 7], (7, 7), 9) == [9, 7]
    assert replaced([7, 7, 7, 7], (7, 7), 9) == [9, 9]
    assert replaced([1, 7, 2, 7], (7, 2), 9) == [1, 9, 7]
    assert learned(train(["aaaa"] * 3, 300)) == [(b"a", b"a"), (b"aa", b"aa")]


def test_bytes_and_texts_are_read_alike():
    texts = ["the 笑脸 cat"] * 3
    assert learned(train(texts, 270)) == learned(
        train([text.encode() for text in texts], 270)
    )
    assert learned(train(" ".join(texts), 270)) == learned(
        train([" ".join(texts)], 270)
    )
    assert count_pieces(b"a\xff a") == {"a": 1, "\udcff": 1, " a": 1}


words = st.lists(st.text("abc", min_size=1, max_size=9), min_size=1, max_size=30)


@given(words)
def test_merges_are_those_of_the_obvious_loop(texts):
    bpe = train(texts, 300, special=[])
    assert list(bpe.merges) == obvious(count_pieces(texts).items(), 44)
    assert len(set(bpe.tokens)) == len(bpe)  # no token is made twice


@given(words)
def test_counts_stay_right_while_words_merge(texts):
    pieces = count_pieces(texts)
    counts = PairCounts([list(piece.encode()) for piece in pieces], [*pieces.values()])
    for token in range(256, 262):
        pair, count = counts.most_frequent()
        fresh = PairCounts(counts.words, counts.times)
        assert +counts.count == fresh.count
        assert count == fresh.most_frequent()[1]
        if not count:
            break
        assert pair == fresh.most_frequent()[0]
        counts.merge(pair, token)
    assert PairCounts([[1], [2]], [5, 5]).most_frequent()[1] == 0


def test_a_progress_bar_is_shown_if_wished(monkeypatch):
    monkeypatch.setattr(sys, "stderr", shown := io.StringIO())
    train("abcabcabc", 262)
    assert shown.getvalue() == ""
    train("abcabcabc", 262, progress=True)
    assert "merges: 100%" in shown.getvalue()


@pytest.mark.parametrize("texts", ["", b"", [], ["", ""]])
def test_nothing_to_learn_from_is_refused(texts):
    with pytest.raises(ValueError, match="the texts hold no character"):
        train(texts, 300)


def test_what_is_no_text_is_refused():
    with pytest.raises(ValueError, match="expected a text or bytes, got 3"):
        train(["a", 3], 300)


def test_a_vocabulary_that_cannot_hold_the_bytes_is_refused():
    with pytest.raises(
        ValueError, match="of at least 259, for 256 bytes and 3 special"
    ):
        train("abc", 258)


@pytest.mark.parametrize(
    "special",
    [["pad"], ["<|pad"], ["<|1|>"], ["<|a b|>"], ["<|é|>"], ["<|a|>", "<|a|>"]],
)
def test_names_that_text_could_spell_are_refused(special):
    with pytest.raises(ValueError, match="expected different names such as"):
        train("abc", 300, special)


def test_one_name_in_place_of_a_list_is_refused():
    with pytest.raises(ValueError, match="a list of special tokens, got the text"):
        train("abc", 300, "<|pad|>")
