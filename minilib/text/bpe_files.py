"""Vocabularies of byte pair encoding as files of the field: GPT-2's vocab.json and
merges.txt, which ours are too, and CLIP's bpe_simple_vocab_16e6.txt.gz.

Both write a token in letters that can be seen, one a byte: G for G, Ġ for a space, so
that a space stands between two tokens and nowhere else.
"""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

from minilib.runtime import require_file, require_folder
from minilib.text.bpe import BPE, BYTES, PRINTED, SPECIAL_NAME, Pair
from minilib.text.pieces import clip_pieces

LETTERS = [chr(byte) for byte in PRINTED]
LETTERS += [chr(256 + i) for i in range(256 - len(PRINTED))]
LETTER = dict(zip(BYTES, LETTERS, strict=True))  # of a byte
BYTE = {letter: bytes([byte]) for byte, letter in LETTER.items()}
CLIP_MERGES = 49_152 - 256 - 2  # of the published file, which holds more
SHIPPED = Path(__file__).parent / "vocabulary"


def written(data: bytes) -> str:
    """Bytes as letters that can be seen: b" cat" → Ġcat."""
    return "".join(LETTER[byte] for byte in data)


def unwritten(text: str) -> bytes:
    """The bytes of such letters."""
    return b"".join(BYTE[letter] for letter in text)


def save(bpe: BPE, folder: str | Path) -> None:
    """Write vocab.json and merges.txt into a folder, which is made if missing. Other
    libraries read them, for pieces as GPT-2's (not CLIP's, which mark their ends).
    Raises OSError where it cannot be written.
    """
    texts = [written(data) for data in bpe.tokens]
    for name, token in bpe.special.items():
        texts[token] = name
    vocabulary = {text: token for token, text in enumerate(texts)}
    lines = ["#version: 0.2", *(f"{texts[a]} {texts[b]}" for a, b in bpe.merges)]
    folder = Path(folder)
    if folder.is_file():
        raise NotADirectoryError(f"{folder} is a file: choose a folder")
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "vocab.json": json.dumps(vocabulary, ensure_ascii=False, indent=0),
        "merges.txt": "\n".join(lines),
    }
    for name, content in files.items():
        (folder / name).write_bytes(f"{content}\n".encode())


def load(folder: str | Path) -> BPE:
    """The tokenizer in a folder's vocab.json and merges.txt, such as GPT-2's. Special
    tokens are those named as <|endoftext|>.

    Raises OSError for a missing file, ValueError for what is wrong in one: which line,
    what was found.
    """
    require_folder(folder, "the one that holds vocab.json and merges.txt")
    vocabulary = read_vocabulary(Path(folder) / "vocab.json")
    special = {
        text: i for text, i in vocabulary.items() if SPECIAL_NAME.fullmatch(text)
    }
    known = {letter: vocabulary[letter] for letter in LETTERS}
    path = Path(folder) / "merges.txt"
    merges = read_merges(path, read_text(path).splitlines(), known, vocabulary)
    require_all_made(path, vocabulary, known.keys() | special.keys())
    tokens = [b""] * len(vocabulary)
    for text, token in known.items():
        tokens[token] = unwritten(text)
    return BPE(tokens, merges, special)


def shipped() -> BPE:
    """The tokenizer that ships with minilib, of 4,096 tokens, which `python -m
    book.tools.train_bpe` trains.
    """
    return load(SHIPPED)


def load_clip(path: str | Path) -> BPE:
    """CLIP's tokenizer from OpenAI's bpe_simple_vocab_16e6.txt.gz: 49,408 tokens, of
    which <|startoftext|> and <|endoftext|> are the last.

    Raises OSError for a missing file, ValueError for what is wrong in it.
    """
    path = Path(path)
    require_file(path, "OpenAI's bpe_simple_vocab_16e6.txt.gz")
    lines = read_text(path).splitlines()[: 1 + CLIP_MERGES]
    texts = LETTERS + [f"{letter}</w>" for letter in LETTERS]
    known = {text: i for i, text in enumerate(texts)}
    made = {line.replace(" ", ""): len(texts) + i for i, line in enumerate(lines[1:])}
    merges = read_merges(path, lines, known, made)
    if len(merges) < CLIP_MERGES:
        raise ValueError(
            f"{path} ends after {len(merges):,} merges, and CLIP has {CLIP_MERGES:,}: "
            "it is cut off"
        )
    tokens = [
        unwritten(text.removesuffix("</w>")) + b" " * text.endswith("</w>")
        for text in known
    ]
    names = ("<|startoftext|>", "<|endoftext|>")
    special = {name: len(tokens) + i for i, name in enumerate(names)}
    return BPE([*tokens, b"", b""], merges, special, clip_pieces, end=b" ")


def read_text(path: Path) -> str:
    """The content of a file in UTF-8, packed by gzip or not. Raises ValueError for one
    that is damaged.
    """
    content = path.read_bytes()
    try:
        return (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path} is no whole gzip file: {error}") from error
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is no text in UTF-8: byte {error.start:,} is "
            f"{error.object[error.start]:#04x}"
        ) from error


def read_vocabulary(path: Path) -> dict[str, int]:
    """Each token's text and number. Raises ValueError unless all numbers from 0 on
    occur once, and each of the 256 bytes has one.
    """
    content = read_text(path)
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no whole JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds no tokens with numbers, but {found!r:.60}")
    texts: dict[Any, str] = {}
    for text, token in found.items():
        if type(token) is not int or not 0 <= token < len(found) or token in texts:
            again = isinstance(token, int) and token in texts
            taken = f", as {texts[token]!r} has" if again else ""
            raise ValueError(
                f"{path}: {text!r} has the number {token!r}{taken}; expected each from "
                f"0 to {len(found) - 1} once"
            )
        texts[token] = text
    missing = [letter for letter in LETTERS if letter not in found]
    if missing:
        raise ValueError(
            f"{path} lacks {len(missing)} of the 256 bytes, such as {missing[0]!r}"
        )
    return found


def read_merges(
    path: Path, lines: list[str], known: dict[str, int], vocabulary: dict[str, int]
) -> dict[Pair, int]:
    """For each line of two tokens the one that they make. `known` holds the tokens
    before any merge, and gets those that are made.

    Raises ValueError for any other line, saying which.
    """
    merges: dict[Pair, int] = {}
    last = -1
    for number, line in enumerate(lines, start=1):
        if number == 1 and "#version" in line:
            continue
        flaw = flaw_of(line, known, vocabulary, last)
        if flaw:
            raise ValueError(f"{path}, line {number}: {line!r} {flaw}")
        left, right = line.split(" ")
        last = known[left + right] = vocabulary[left + right]
        merges[known[left], known[right]] = last
    return merges


def flaw_of(
    line: str, known: dict[str, int], vocabulary: dict[str, int], last: int
) -> str:
    """What is wrong with a line of merges, after one that made token `last`: "" for
    nothing.
    """
    pair, made = line.split(" "), line.replace(" ", "")
    if len(pair) != 2:
        return "is not two tokens with a space between"
    for text in pair:
        if text not in known:
            return f"has {text!r}, which no line before it makes"
    if made not in vocabulary:
        return f"makes {made!r}, which is no token"
    if made in known:
        return f"makes {made!r} once more"
    if vocabulary[made] < last:
        return f"makes token {vocabulary[made]:,} after {last:,}: they are out of order"
    return ""


def require_all_made(path: Path, vocabulary: dict[str, int], made: set[str]) -> None:
    """Raise ValueError for a token of the vocabulary that nothing makes."""
    unmade = [text for text in vocabulary if text not in made]
    if unmade:
        raise ValueError(
            f"{path} makes neither {unmade[0]!r}, token {vocabulary[unmade[0]]:,} of "
            f"vocab.json, nor {len(unmade) - 1:,} others: it is cut off, or of another "
            "vocabulary"
        )
