"""The six styles: what they are called, and whom to thank."""

from __future__ import annotations

STYLES = ("noto", "noto1", "twemoji", "fluent", "emojione")  # the columns of the grid
# Fluent's drawings, shaded: in no split but `lora_split`
NEW_STYLE = "fluent3d"
NAMES = {  # in captions
    "noto": "Noto",
    "noto1": "old Noto",
    "twemoji": "Twemoji",
    "fluent": "flat Fluent",
    "emojione": "EmojiOne",
    "fluent3d": "shaded Fluent",
}
NOTO = (
    "Noto Emoji, © Google, Apache License 2.0 "
    "(https://github.com/googlefonts/noto-emoji)"
)
FLUENT = (
    "Fluent Emoji, © Microsoft Corporation, MIT "
    "(https://github.com/microsoft/fluentui-emoji)"
)
CREDITS = {
    "noto": NOTO,
    "noto1": NOTO,
    "twemoji": "Twemoji, © Twitter, Inc. and other contributors, CC BY 4.0 "
    "(https://github.com/jdecked/twemoji, "
    "https://creativecommons.org/licenses/by/4.0/)",
    "fluent": FLUENT,
    "emojione": "Emojitwo (https://github.com/EmojiTwo/emojitwo), originally released "
    "as Emojione 2.2 (https://www.emojione.com) by Ranks.com with contributions from "
    "the Emojitwo community, CC BY 4.0 "
    "(https://creativecommons.org/licenses/by/4.0/)",
    "fluent3d": FLUENT,
}


def credits(style: str) -> str:
    """The line to print wherever pictures of a style appear. Raises ValueError for an
    unknown style.
    """
    require_style(style)
    return f"{CREDITS[style]}; adapted (64 pixels, 256 colours)"


def require_style(style: str) -> None:
    """Raise ValueError unless there are emoji in that style."""
    if style not in NAMES:
        known = ", ".join(map(repr, NAMES))
        raise ValueError(f"unknown style {style!r}: use {known}")
