import pytest
import torch

from minilib.data import emoji, shipped


def test_every_picture_has_its_caption_in_three_styles():
    known = emoji.captions()
    assert len(known) == 1249
    assert len({e.english for e in known}) == len({e.chinese for e in known}) == 1249
    assert all(all(e.english_keywords) and all(e.chinese_keywords) for e in known)
    for style in emoji.SHEETS:
        x = emoji.load(style)
        assert x.shape == (1249, 3, 32, 32)
        assert x.dtype == torch.float32
        assert x.min() >= -1
        assert x.max() <= 1
        assert (x.flatten(1).std(dim=1) > 0.05).all()  # nothing blank


def test_picture_and_name_belong_together():
    names = [e.english for e in emoji.captions()]
    for style in emoji.SHEETS:
        x = emoji.load(style)
        for name, channel in (("red heart", 0), ("green heart", 1), ("blue heart", 2)):
            middle = x[names.index(name), :, 12:18, 12:20].mean(dim=(1, 2))
            assert int(middle.argmax()) == channel, (style, name)


def test_an_unknown_style_and_a_damaged_file_are_named(monkeypatch, tmp_path):
    with pytest.raises(
        ValueError, match="unknown style 'apple': use 'fluent', 'noto', 'twemoji'"
    ):
        emoji.load("apple")
    monkeypatch.setattr(shipped, "HERE", tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"emoji_fluent\.png ships with minilib, and is missing"
    ):
        emoji.load()
    (tmp_path / "emoji_fluent.png").write_bytes(b"cut")
    with pytest.raises(
        ValueError, match=r"is damaged: expected SHA-256 .*, got .* \(3 bytes\)"
    ):
        emoji.load()
