"""`tokens`: a text cut by the vocabulary that ships."""

import pytest

from minilib.__main__ import main
from minilib.commands.tokens import lines, steps, visible
from minilib.text.bpe_files import shipped
from minilib.text.bpe_training import train


def test_pieces_tokens_and_merges_in_order(capsys):
    assert main(["tokens", "a person, a hat"]) == 0
    bpe = shipped()
    number = {
        name: bpe.token[name] for name in (b"a", b" person", b",", b" a", b" hat")
    }
    assert capsys.readouterr().out.splitlines() == [
        f"a        a {number[b'a']}",
        f"␣person  ␣person {number[b' person']}  ← e+r ␣+p o+n er+s ers+on ␣p+erson",
        f",        , {number[b',']}",
        f"␣a       ␣a {number[b' a']}  ← ␣+a",
        f"␣hat     ␣hat {number[b' hat']}  ← ␣+h a+t ␣h+at",
        "15 bytes, 5 tokens, 3.0 bytes a token",
    ]


def test_a_piece_that_comes_again_is_shown_once_and_counted():
    bpe = train("x", 259)
    assert list(lines(bpe, b"hi  hi hi"))[-1] == "9 bytes, 9 tokens, 1.0 bytes a token"
    assert len(list(lines(bpe, b"hi  hi hi"))) == 3 + 1
    assert list(lines(bpe, b"")) == ["0 bytes, 0 tokens"]


@pytest.mark.parametrize("merges", [0, 1, 100, 10**6])
def test_fewer_merges_leave_shorter_tokens(capsys, merges):
    assert main(["tokens", "the people", "--merges", str(merges)]) == 0
    *_, last = capsys.readouterr().out.splitlines()
    tokens = {0: 10, 1: 10, 100: 7, 10**6: 2}[merges]
    assert last.startswith(f"10 bytes, {tokens} tokens, ")


def test_the_steps_lead_to_the_tokens():
    bpe = shipped()
    for piece in (" Shakespeare", " antidisestablishmentarianism", " 笑脸", " aaaa"):
        made = {bpe.merges[pair] for pair in steps(bpe, piece)}
        whole = {i for i in bpe.encode_piece(piece) if len(bpe.tokens[i]) > 1}
        assert whole <= made
        order = [bpe.merges[pair] for pair in steps(bpe, piece)]
        assert order == sorted(order)


def test_bytes_and_control_characters_are_made_visible(capsys):
    assert visible(b" a\n\x1b\xff") == r"␣a\n\x1b\xff"
    assert visible("笑".encode()) == "笑"
    assert main(["tokens", "a\udcff\x1b[1m"]) == 0  # as Python reads a byte of no UTF-8
    out = capsys.readouterr().out
    assert r"\xff" in out
    assert r"\x1b" in out
    assert "\x1b" not in out


def test_no_line_is_longer_than_88(capsys):
    assert main(["tokens", "antidisestablishmentarianism" * 5 + " a" * 10]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 88


def test_a_text_that_is_too_long_is_refused(capsys):
    assert main(["tokens", "é" * 500]) == 0
    capsys.readouterr()
    assert main(["tokens", "é" * 500 + "a"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "expected a text of at most 1,000 bytes, got 1,001: show a" in said.err
