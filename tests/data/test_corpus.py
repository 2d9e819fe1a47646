"""Text for tokenizers."""

import re
from pathlib import Path

import pytest

from minilib.data import corpus, shipped
from minilib.data.emoji64.captions import caption
from minilib.data.emoji64.splits import split
from minilib.data.emoji64.styles import STYLES
from minilib.data.people import captions as people
from minilib.data.portraits import captions as portraits
from minilib.data.scenes import captions as scenes


@pytest.fixture(scope="module")
def books():
    return corpus.text()


def test_a_megabyte_of_english(books):
    assert len(books) == len(books.encode()) == 1_069_514
    assert len(re.findall("[A-Za-z']+", books)) > 180_000
    for line in (
        "Alice was beginning to get very tired of sitting by her sister\n",
        "To be, or not to be,--that is the question:--\n",
        "Now, fair Hippolyta, our nuptial hour\n",
        "We are such stuff\nAs dreams are made on",
        "Shall I compare thee to a summer's day?\n",
        "Of Man's first disobedience, and the fruit\n",
    ):
        assert books.count(line) == 1, line
    assert books.endswith("\nThrough Eden took their solitary way.\n")


def test_nothing_but_the_works(books):
    assert set(books) <= {chr(code) for code in (10, *range(32, 127))}
    assert " \n" not in books
    assert not re.search(r"gutenberg|\betext|copyright|http", books, re.IGNORECASE)
    licences = Path(shipped.HERE / "corpus_licences.txt").read_text(encoding="utf-8")
    for title in ("Wonderland", "Midsummer", "Tempest", "Hamlet", "Sonnets", "Lost"):
        assert title in licences


def test_captions_come_from_four_data_sets():
    texts = corpus.captions(50, 0)
    assert len(texts) == 200
    assert texts == corpus.captions(50, 0)
    assert texts != corpus.captions(50, 1)
    for text in texts[:50]:
        assert portraits.read(text)
    for text in texts[50:100]:
        assert scenes.read(text).phrases
    claims = [people.read(text) for text in texts[100:150]]
    # 13 of each style; the last, croodles, shows no clothing
    assert sum("clothing" in told for told in claims[:39]) > 25
    assert not any("clothing" in told for told in claims[39:])
    cells = split().nonzero().tolist()
    assert set(texts[150:]) <= {caption(i, STYLES[style]) for i, style in cells}
    assert len(set(texts)) > 195
    assert len(corpus.captions(1, 0)) == 4


def test_there_is_at_least_one_caption():
    with pytest.raises(ValueError, match="n from 1 up, got 0"):
        corpus.captions(0, 0)
