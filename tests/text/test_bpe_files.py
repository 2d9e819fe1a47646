import gzip
import json
import shutil

import pytest

from minilib.text import bpe_files
from minilib.text.bpe_files import LETTERS, load, load_clip, save, shipped, written
from minilib.text.bpe_training import train

TOY = train("the cat sat on the mat, the cat's 笑脸 笑脸" * 3, 275)


@pytest.fixture
def folder(tmp_path):
    save(TOY, tmp_path / "new" / "folder")
    return tmp_path / "new" / "folder"


@pytest.fixture
def tiny_clip(tmp_path, monkeypatch):
    """A file in the form of CLIP's: a line of its version, 4 merges, and what CLIP
    leaves out.
    """
    monkeypatch.setattr(bpe_files, "CLIP_MERGES", 4)
    path = tmp_path / "tiny.txt.gz"
    lines = ['"tiny#version: 0.2', "c a", "t h", "ca t</w>", "th e</w>", "x y"]
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    return path


def changed(path, old, new):
    """Write a file with one part changed."""
    content = path.read_text(encoding="utf-8")
    assert content.count(old) == 1
    path.write_text(content.replace(old, new), encoding="utf-8")


def test_each_byte_has_a_letter_that_can_be_seen():
    assert written(b" cat\n") == "ĠcatĊ"
    assert written(bytes([0, 0x21, 0x7F, 0xA0, 0xAD, 0xFF])) == "Ā!ġłŃÿ"
    assert len(set(LETTERS)) == 256
    assert all(letter.isprintable() and letter != " " for letter in LETTERS)


def test_what_was_saved_is_loaded(folder):
    again = load(folder)
    assert again.tokens == TOY.tokens
    assert again.merges == TOY.merges
    assert again.special == TOY.special
    assert again.encode("the cat's 笑") == TOY.encode("the cat's 笑")
    save(again, folder)
    assert load(folder).merges == TOY.merges


def test_the_files_are_as_gpt2s(folder):
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    assert vocabulary["<|padding|>"] == 0
    assert vocabulary["!"] == 3
    assert vocabulary["Ġthe"] == TOY.token[b" the"]
    version, first, *_ = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")
    assert (version, first) == ("#version: 0.2", "a t")


def test_windows_lines_and_a_missing_version_are_read(folder):
    path = folder / "merges.txt"
    lines = path.read_text(encoding="utf-8").split("\n")
    path.write_bytes("\r\n".join(lines[1:]).encode())
    assert load(folder).merges == TOY.merges


def test_special_tokens_may_come_last_as_in_gpt2(folder):
    path = folder / "vocab.json"
    vocabulary = json.loads(path.read_text(encoding="utf-8"))
    moved = {text: (i - 3) % len(vocabulary) for text, i in vocabulary.items()}
    path.write_text(json.dumps(moved))
    last = load(folder)
    assert last.special["<|padding|>"] == len(TOY) - 3
    assert last.encode("the cat") == [i - 3 for i in TOY.encode("the cat")]


def test_what_ships_is_small_english_and_numbered_as_words():
    bpe = shipped()
    assert len(bpe) == 4_096 == 3 + 256 + len(bpe.merges)
    assert list(bpe.special.values()) == [0, 1, 2]
    text = "a person with a red hat"
    assert [bpe.decode([i]) for i in bpe.encode(text)] == [
        "a", " person", " with", " a", " red", " hat"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("\na t\n", "\nat\n", r"merges.txt, line 2: 'at' is not two tokens"),
        ("\na t\n", "\na  t\n", r"line 2: 'a  t' is not two tokens with a space"),
        ("\na t\n", "\n\n", r"line 2: '' is not two tokens"),
        ("\na t\n", "\na zz\n", r"line 2: 'a zz' has 'zz', which no line before it"),
        ("\na t\n", "\nz z\n", r"line 2: 'z z' makes 'zz', which is no token"),
        ("\na t\n", "\na t\na t\n", r"line 3: 'a t' makes 'at' once more"),
        ("\na t\nh e\n", "\nh e\na t\n", r"line 3: 'a t' makes token 259 after 260"),
        ("\na t\n", "\n", r"line \d+: '\w+ at' has 'at', which no line before it"),
    ],
)
def test_a_damaged_line_of_merges_is_named(folder, old, new, said):
    changed(folder / "merges.txt", old, new)
    with pytest.raises(ValueError, match=said):
        load(folder)


def test_merges_that_are_cut_off_are_refused(folder):
    path = folder / "merges.txt"
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(lines[:-3]), encoding="utf-8")
    with pytest.raises(
        ValueError,
        match=r"merges.txt makes neither '\S+', token 272 of vocab.json, nor 2 ",
    ):
        load(folder)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"a": 67', '"a": 68', r"vocab.json: 'b' has the number 68, as 'a' has; exp"),
        ('"a": 67', '"a": -1', r"'a' has the number -1; expected each from 0 to 274"),
        ('"a": 67', '"a": 275', r"'a' has the number 275; expected each from 0"),
        ('"a": 67', '"a": "67"', r"'a' has the number '67'; expected each from 0"),
        ('"a": 67', '"a": true', r"'a' has the number True"),
        ('"a": 67', '"a": [67]', r"'a' has the number \[67\]; expected each from 0"),
        ('"a": 67', '"aQ": 67', r"vocab.json lacks 1 of the 256 bytes, such as 'a'"),
        ('"a": 67,', '"a": 67', r"vocab.json is no whole JSON: Expecting ',' delim"),
    ],
)
def test_a_damaged_vocabulary_is_refused(folder, old, new, said):
    changed(folder / "vocab.json", old, new)
    with pytest.raises(ValueError, match=said):
        load(folder)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is no whole JSON"),
        (b"[1, 2]", r"holds no tokens with numbers, but \[1, 2\]"),
        (b"{}", "lacks 256 of the 256 bytes, such as '!'"),
        (b"[" * 100_000, "is no whole JSON"),
        (b'{"a": \xff}', r"is no text in UTF-8: byte 6 is 0xff"),
    ],
)
def test_what_is_no_vocabulary_is_refused(folder, content, said):
    (folder / "vocab.json").write_bytes(content)
    with pytest.raises(ValueError, match=f"vocab.json {said}"):
        load(folder)


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        load(folder)


def test_a_file_is_no_folder_and_a_folder_no_file(folder):
    for wrong in (lambda path: save(load(folder), path), load):
        with pytest.raises(NotADirectoryError, match=r"merges\.txt is a file"):
            wrong(f"{folder}/merges.txt")
    with pytest.raises(FileNotFoundError, match=r"nowhere: name the one that holds v"):
        load(folder / "nowhere")
    with pytest.raises(IsADirectoryError, match=r"is a folder: .* bpe_simple_vocab"):
        load_clip(f"{folder}")
    with pytest.raises(FileNotFoundError, match=r"there is no file .*: name OpenAI's"):
        load_clip(folder / "nowhere")


def test_clips_form_is_read(tiny_clip):
    clip = load_clip(tiny_clip)
    assert len(clip) == 512 + 4 + 2
    assert clip.encode("The CAT  at") == [515, 514, *clip.encode("at")]
    assert clip.encode("at") == [LETTERS.index("a"), 256 + LETTERS.index("t")]
    assert clip.encode("x y, xy")[-1] == 256 + LETTERS.index("y")
    assert clip.decode(clip.encode("The cat, a CAFÉ")) == "the cat , a café "
    assert clip.special == {"<|startoftext|>": 516, "<|endoftext|>": 517}
    assert clip.encode(" \n ") == []


def test_clips_form_may_be_unpacked(tiny_clip, tmp_path):
    (tmp_path / "plain.txt").write_bytes(gzip.decompress(tiny_clip.read_bytes()))
    assert load_clip(tmp_path / "plain.txt").merges == load_clip(tiny_clip).merges


def test_a_damaged_file_of_clips_is_refused(tiny_clip, monkeypatch):
    whole = tiny_clip.read_bytes()
    for damaged in (whole[:-9], whole[:30], b"no gzip", b"", whole[:-8] + bytes(8)):
        tiny_clip.write_bytes(damaged)
        with pytest.raises(
            ValueError, match=r"tiny.txt.gz (is no whole gzip|ends after 0)"
        ):
            load_clip(tiny_clip)
    tiny_clip.write_bytes(gzip.compress(b"#version: 0.2\nc a\nca t"))
    with pytest.raises(
        ValueError, match=r"ends after 2 merges, and CLIP has 4: it is cut"
    ):
        load_clip(tiny_clip)
    tiny_clip.write_bytes(gzip.compress(b"#version: 0.2\nc a\nqu x"))
    with pytest.raises(
        ValueError, match=r"tiny.txt.gz, line 3: 'qu x' has 'qu', which"
    ):
        load_clip(tiny_clip)
    shutil.copy(__file__, tiny_clip.with_suffix(".py"))
    with pytest.raises(
        ValueError, match=r"line 1: 'import gzip' has 'import', which no"
    ):
        load_clip(tiny_clip.with_suffix(".py"))
