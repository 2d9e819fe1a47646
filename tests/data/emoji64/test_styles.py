"""The credits of the six styles."""

from pathlib import Path

import pytest

from minilib.data import emoji64
from minilib.data.emoji64.styles import NAMES, NEW_STYLE, STYLES, credits


def test_every_style_has_a_name_of_its_own():
    assert (*STYLES, NEW_STYLE) == tuple(NAMES)
    assert len(set(NAMES.values())) == 6


@pytest.mark.parametrize(
    ("style", "owner", "licence"),
    [
        ("noto", "© Google", "Apache License 2.0"),
        ("noto1", "© Google", "Apache License 2.0"),
        ("twemoji", "© Twitter, Inc. and other contributors", "CC BY 4.0"),
        ("fluent", "© Microsoft Corporation", "MIT"),
        ("emojione", "originally released as Emojione 2.2", "CC BY 4.0"),
        ("fluent3d", "© Microsoft Corporation", "MIT"),
    ],
)
def test_credits_name_owner_licence_and_change(style, owner, licence):
    line = credits(style)
    assert owner in line
    assert f", {licence} (" in line
    assert line.endswith("; adapted (64 pixels, 256 colours)")
    if licence == "CC BY 4.0":
        assert "https://creativecommons.org/licenses/by/4.0/" in line


def test_every_file_has_its_licence():
    folder = Path(emoji64.__file__).parent
    text = (folder / "licences.txt").read_text(encoding="utf-8")
    shipped = [p.name for p in folder.iterdir() if p.suffix in (".png", ".npz", ".tsv")]
    assert len(shipped) == 14
    assert all(name in text for name in shipped)
    licences = (folder.parent / "emoji_licences.txt").read_text(encoding="utf-8")
    assert "MIT License" in licences
    assert "Apache License\n" in licences


def test_an_unknown_style_is_named():
    with pytest.raises(ValueError, match="unknown style 'apple': use 'noto', 'noto1'"):
        credits("apple")
