import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minilib.text.words import END, PADDING, START, WordTokenizer, split, trimmed

TEXTS = ["a red hat, a blue top", "green hair", "笑脸 face"]


def test_words_signs_and_chinese_characters():
    assert split("A red-hot  Hat, 火山!") == [
        "a",
        "red",
        "-",
        "hot",
        "hat",
        ",",
        "火",
        "山",
        "!",
    ]
    assert split("") == split("  \n") == []
    assert split("keycap_10 #") == ["keycap", "_", "10", "#"]


def test_a_caption_starts_ends_and_is_padded():
    tokenizer = WordTokenizer(TEXTS, length=8)
    tokens = tokenizer.encode(["Red HAT", "", "a a a a a a"])
    assert tokens.shape == (3, 8)
    assert tokens.dtype == torch.int64
    red, hat, a = (tokenizer.token[word] for word in ("red", "hat", "a"))
    assert tokens.tolist() == [
        [START, red, hat, END, *[PADDING] * 4],
        [START, END, *[PADDING] * 6],
        [START, *[a] * 6, END],
    ]
    assert tokens.max() < len(tokenizer)
    assert tokenizer.decode(tokens) == ["red hat", "", "a a a a a a"]
    assert tokenizer.decode(torch.tensor([[START, red, END, hat, hat]])) == ["red"]


def test_the_order_of_the_texts_changes_no_token():
    assert WordTokenizer(TEXTS, 8).token == WordTokenizer(TEXTS[::-1], 8).token
    assert sorted(WordTokenizer(TEXTS, 8).token.values()) == list(
        range(END + 1, len(WordTokenizer(TEXTS, 8)))
    )


def test_an_unknown_word_is_named_with_the_nearest_known_ones():
    tokenizer = WordTokenizer(TEXTS, 8)
    with pytest.raises(
        ValueError, match=r"unknown word 'gren' in 'gren hair': did you mean 'green'"
    ):
        tokenizer.encode(["red hat", "gren hair"])
    with pytest.raises(
        ValueError,
        match=r"unknown word 'zzz' in 'zzz': it knows ,, a, blue, .*, 笑, 脸$",
    ):
        tokenizer.encode(["zzz"])


def test_all_unknown_words_are_named_and_the_list_of_known_ones_once():
    tokenizer = WordTokenizer(TEXTS, 8, {"blue": "green"})
    text = "gren zzz hst blue qqq zzz."
    with pytest.raises(ValueError, match=r"^unknown words in ") as raised:
        tokenizer.encode(["red hat", text])
    named, known = str(raised.value).split("'zzz' and 'qqq' (it knows ")
    assert named == (
        f"unknown words in {text!r}: 'gren' (did you mean 'green' or 'red'?), "
        "'blue' (did you mean 'green'?), 'hst' (did you mean 'hat'?), "
    )
    assert known == "',', a, face, green, hair, hat, red, top, 笑, 脸)".replace("'", "")
    with pytest.raises(ValueError, match=re.escape(str(raised.value))):
        tokenizer.require_known(text)
    tokenizer.require_known("red hat, a green face!")


def test_very_many_known_words_are_counted():
    tokenizer = WordTokenizer([f"w{i}" for i in range(101)], 8)
    with pytest.raises(ValueError, match=r"it knows 101 words, which its heard\(\)"):
        tokenizer.encode(["é"])


def test_words_that_no_caption_holds_keep_their_token_and_are_refused():
    tokenizer = WordTokenizer(TEXTS, 8, {"hat": "top", "blue": ""})
    assert tokenizer.token == WordTokenizer(TEXTS, 8).token
    assert "hat" not in tokenizer.heard()
    with pytest.raises(ValueError, match=r"'hat' in 'red hat': did you mean 'top'\?$"):
        tokenizer.encode(["red hat"])
    with pytest.raises(ValueError, match=r"unknown word 'blue' in 'blue': it knows"):
        tokenizer.encode(["blue"])


@pytest.mark.parametrize("end", [".", "!", "?", " .", "…", "。", "!?", ". "])
def test_what_ends_a_sentence_is_no_unknown_word(end):
    tokenizer = WordTokenizer(TEXTS, 8)
    assert torch.equal(
        tokenizer.encode([f"red hat{end}"]), tokenizer.encode(["red hat"])
    )
    assert tokenizer.encode([f"{'a ' * 6}{end}"]).shape == (1, 8)


def test_an_end_that_captions_hold_is_a_word():
    tokenizer = WordTokenizer(["stop!"], 8)
    assert tokenizer.decode(tokenizer.encode(["stop!."])) == ["stop !"]


def test_a_text_in_place_of_a_list_is_refused():
    with pytest.raises(
        ValueError, match="expected a list of texts, got the text 'red'"
    ):
        WordTokenizer(TEXTS, 8).encode("red")


def test_a_caption_that_is_too_long_is_refused():
    with pytest.raises(ValueError, match=r"has 7 words, and at most 6 fit: shorten it"):
        WordTokenizer(TEXTS, 8).encode(["a a a a a a a"])


@given(st.lists(st.sampled_from(["a", "red", "hat", ",", "脸"]), max_size=6))
def test_what_was_encoded_is_decoded(words):
    tokenizer = WordTokenizer(TEXTS, 8)
    assert split(tokenizer.decode(tokenizer.encode([" ".join(words)]))[0]) == words


def test_trimmed_leaves_out_padding_that_all_captions_have():
    tokens = WordTokenizer(TEXTS, 12).encode(TEXTS)
    assert trimmed(tokens).tolist() == tokens[:, :9].tolist()
    assert trimmed(tokens[1:2]).tolist() == [[START, *tokens[1, 1:3].tolist(), END]]
    assert trimmed(torch.full((2, 5), PADDING)).shape == (2, 1)
