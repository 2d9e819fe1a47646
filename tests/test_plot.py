import base64
import io
import json
import re
from html.parser import HTMLParser

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from matplotlib.colors import same_color, to_hex
from PIL import Image

from minilib import plot
from minilib.plot.slider import SWAP
from minilib.plot.style import DPI, SHARPNESS

pictures = npst.arrays(
    np.uint8,
    st.tuples(
        st.integers(1, 7), st.sampled_from([1, 3]), st.integers(1, 9), st.integers(1, 9)
    ),
)


@pytest.fixture(autouse=True)
def style():
    with mpl.rc_context():
        plot.use_book_style()
        yield


def from_bytes(pixels):
    return torch.from_numpy(pixels).float() / 127.5 - 1


def decode(png):
    return np.array(Image.open(io.BytesIO(png)).convert("RGB"))


def drawn(figure):
    """What the figure looks like, in dots."""
    return np.array(plot.render(figure))


class Page(HTMLParser):
    """The elements of a piece of HTML, as {tag: attributes} and {tag: text}; void
    elements are not on the stack.
    """

    def __init__(self, html):
        super().__init__()
        self.attributes, self.text, self.stack = {}, {}, []
        self.feed(html)
        assert not self.stack, f"not closed: {self.stack}"

    def handle_starttag(self, tag, attrs):
        assert tag not in self.attributes, f"a second <{tag}>"
        self.attributes[tag] = dict(attrs)
        if tag not in ("img", "input"):
            self.stack.append(tag)

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        self.text[self.stack[-1]] = data


def from_uri(uri):
    head, _, code = uri.partition(",")
    assert head == "data:image/png;base64"
    return base64.b64decode(code, validate=True)


# ---------- pictures as bytes ----------


@given(pixels=pictures)
def test_bytes_survive_the_way_to_a_tensor_and_back(pixels):
    back = plot.to_uint8(from_bytes(pixels))
    assert back.dtype == np.uint8
    assert np.array_equal(back, pixels.transpose(0, 2, 3, 1))


def test_a_little_outside_is_clipped():
    x = torch.tensor([-4.0, -1.001, 1.001, 4.0], requires_grad=True).view(1, 1, 2, 2)
    assert plot.to_uint8(x).ravel().tolist() == [0, 0, 255, 255]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_floating_point_type_is_taken(dtype):
    assert plot.to_uint8(
        torch.tensor([-1, 0, 1], dtype=dtype).view(1, 1, 1, 3)
    ).ravel().tolist() == [0, 128, 255]


@pytest.mark.parametrize(
    ("x", "got"),
    [
        (torch.zeros(3, 8, 8), r"float32 of shape \(3, 8, 8\)"),
        (torch.zeros(1, 2, 8, 8), r"shape \(1, 2, 8, 8\)"),
        (torch.zeros(1, 8, 8, 3), r"shape \(1, 8, 8, 3\)"),
        (torch.zeros(0, 1, 8, 8), r"shape \(0, 1, 8, 8\)"),
        (torch.zeros(1, 1, 8, 8, dtype=torch.uint8), "uint8"),
        (torch.full((1, 1, 8, 8), 255.0), "255 to 255. From bytes"),
        (torch.tensor([[[[0.0, float("nan")]]]]), "nan to nan"),
        (torch.tensor([[[[0.0, float("inf")]]]]), "0 to inf"),
    ],
)
@pytest.mark.parametrize(
    "function", [plot.to_uint8, plot.image_grid, lambda x: plot.tile(x, 2)]
)
def test_what_is_no_batch_of_pictures_is_refused(function, x, got):
    with pytest.raises(ValueError, match=f"expected .*pictures .*got .*{got}"):
        function(x)


@given(pixels=pictures, columns=st.integers(1, 9), gap=st.integers(0, 3))
def test_tile_puts_each_picture_in_its_place_on_white(pixels, columns, gap):
    count, channels, height, width = pixels.shape
    sheet = plot.tile(from_bytes(pixels), columns, gap)
    rows, columns = -(-count // columns), min(columns, count)
    size = (rows * (height + gap) - gap, columns * (width + gap) - gap)
    assert sheet.shape == (size if channels == 1 else (*size, 3))
    rest = np.ones(size, bool)
    for i, picture in enumerate(pixels.transpose(0, 2, 3, 1)):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        place = np.s_[top : top + height, left : left + width]
        assert np.array_equal(
            sheet[place], picture.squeeze(2) if channels == 1 else picture
        )
        rest[place] = False
    assert (sheet[rest] == 255).all()


# ---------- figures ----------


@settings(max_examples=15)
@given(
    pixels=npst.arrays(
        np.uint8,
        st.tuples(
            st.integers(1, 5), st.sampled_from([1, 3]), *[st.integers(1, 12)] * 2
        ),
    ),
    columns=st.integers(1, 6),
    scale=st.integers(1, 5),
    labels=st.booleans(),
)
def test_a_grid_shows_each_pixel_of_each_picture_sharp(pixels, columns, scale, labels):
    """With margins, gaps and captions around them: every picture stands in the figure,
    dot for dot.
    """
    count, _, height, width = pixels.shape
    rows = -(-count // columns)
    options = (
        {"captions": ["a\nb"] * count, "row_labels": ["row"] * rows} if labels else {}
    )
    figure = plot.image_grid(
        from_bytes(pixels), columns=columns, scale=scale, **options
    )
    dots, size = drawn(figure), scale * SHARPNESS
    left = 2 * 9 * 4 * labels
    step_x, step_y = width * size + 8, height * size + 8 + 72 * labels
    assert dots.shape == (rows * step_y, left + min(columns, count) * step_x, 3)
    for i, picture in enumerate(pixels.transpose(0, 2, 3, 1)):
        y, x = i // columns * step_y, left + i % columns * step_x
        expected = (
            np.broadcast_to(picture, (height, width, 3))
            .repeat(size, axis=0)
            .repeat(size, axis=1)
        )
        assert np.array_equal(
            dots[y : y + height * size, x : x + width * size], expected
        )


def test_a_grid_writes_captions_and_labels():
    x = torch.zeros(4, 1, 28, 28)
    figure = plot.image_grid(
        x, columns=2, captions=["p", "q", "r", "s"], row_labels=["real", "fake"]
    )
    placed = {text.get_text(): text.get_position() for text in figure.axes[0].texts}
    assert set(placed) == {"p", "q", "r", "s", "real", "fake"}
    assert placed["p"][0] == placed["r"][0] < placed["q"][0] == placed["s"][0]
    assert (
        placed["real"][1]
        < placed["p"][1]
        == placed["q"][1]
        < placed["fake"][1]
        < placed["r"][1]
    )


@pytest.mark.parametrize(
    "shape", [(30, 1, 28, 28), (8, 3, 64, 64), (1, 1, 28, 28), (4, 3, 600, 600)]
)
def test_a_grid_finds_its_size(shape):
    width, _ = plot.image_grid(torch.zeros(shape), columns=10).get_size_inches() * DPI
    pixels = min(10, shape[0]) * shape[3]
    assert width < 560 + 50 or pixels > 560
    assert width >= pixels


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"captions": ["a"]}, "expected as many captions as pictures, 3, got 1"),
        ({"captions": []}, "expected as many captions as pictures, 3, got 0"),
        (
            {"row_labels": ["a", "b", "c"], "columns": 2},
            "expected as many row labels as rows, 2, got 3",
        ),
        ({"columns": 0}, "expected 1 column or more, got 0"),
    ],
)
def test_a_grid_refuses_what_does_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        plot.image_grid(torch.zeros(3, 1, 4, 4), **options)


@settings(max_examples=10)
@given(
    seeds=st.integers(1, 4),
    n=st.integers(1, 40),
    logx=st.booleans(),
    logy=st.booleans(),
    tensors=st.booleans(),
)
def test_curves_draw_the_mean_and_its_spread(seeds, n, logx, logy, tensors):
    x, y = np.arange(1, n + 1), 1 + np.random.default_rng(n).random((seeds, n))
    given = (torch.tensor(x), torch.tensor(y)) if tensors else (x.tolist(), y.tolist())
    axes = plot.curves({"loss": given}, "step", "error", logx=logx, logy=logy).axes[0]
    assert np.array_equal(axes.lines[0].get_xdata(), x)
    assert np.allclose(axes.lines[0].get_ydata(), y.mean(axis=0))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("step", "error")
    assert (axes.get_xscale(), axes.get_yscale()) == (
        "log" if logx else "linear",
        "log" if logy else "linear",
    )
    assert len(axes.collections) == (seeds > 1)
    if seeds > 1:
        band = axes.collections[0].get_paths()[0].vertices[:, 1]
        assert band.max() == pytest.approx(
            (y.mean(axis=0) + y.std(axis=0, ddof=1)).max()
        )
        assert band.min() == pytest.approx(
            (y.mean(axis=0) - y.std(axis=0, ddof=1)).min()
        )


def test_eight_lines_differ_in_colour_dashes_and_markers_and_are_named():
    names = [f"model {i}" for i in range(8)]
    figure = plot.curves(
        {name: ([1, 2], [i, i]) for i, name in enumerate(names)}, "x", "y"
    )
    lines = figure.axes[0].lines
    for look in (
        lambda a: to_hex(a.get_color()),
        lambda a: str(a._dash_pattern),
        lambda a: a.get_marker(),
    ):
        assert len({look(line) for line in lines}) == 8
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == names
    plot.render(figure)  # lays it out
    assert not legend.get_window_extent().overlaps(figure.axes[0].get_window_extent())


def test_one_line_needs_no_legend_and_a_short_logarithmic_axis_names_its_points():
    figure = plot.curves(
        {"only": ([100, 300, 1000], [3, 2, 1])}, "pictures", "error", logx=True
    )
    assert not figure.legends
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == [
        "100",
        "300",
        "1,000",
    ]


@pytest.mark.parametrize(
    ("x", "y", "options", "message"),
    [
        (
            [1, 2],
            [1, 2, 3],
            {},
            r"loss: expected x \(n,\) .*got shapes \(2,\) and \(1, 3\)",
        ),
        ([[1, 2]], [1, 2], {}, r"got shapes \(1, 2\)"),
        ([1, 2], np.zeros((2, 2, 2)), {}, r"\(2, 2, 2\)"),
        ([], [], {}, r"\(0,\)"),
        ([1, 2], [1, 0], {"logy": True}, "a logarithmic axis takes numbers above 0"),
        ([0, 2], [1, 1], {"logx": True}, "a logarithmic axis takes numbers above 0"),
    ],
)
def test_curves_refuse_what_is_no_line(x, y, options, message):
    with pytest.raises(ValueError, match=message):
        plot.curves({"loss": (x, y)}, "x", "y", **options)


@pytest.mark.parametrize("count", [0, 9])
def test_curves_take_one_to_eight_lines(count):
    with pytest.raises(ValueError, match=f"expected 1 to 8 lines, got {count}"):
        plot.curves({str(i): ([1], [1]) for i in range(count)}, "x", "y")


@pytest.mark.parametrize("kind", [torch.int64, torch.uint8])
def test_a_latent_map_shows_every_code_and_names_every_class(kind):
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 10, (300,), generator=generator)
    z = torch.randn(300, 2, generator=generator) + 4 * labels[:, None]
    axes = plot.latent_map(z, labels.to(kind)).axes[0]
    dots = axes.collections[0]
    assert np.allclose(dots.get_offsets(), z)
    assert all(
        same_color(c, plot.CLASS_COLOURS[k])
        for c, k in zip(dots.get_facecolor(), labels.tolist(), strict=True)
    )
    assert [text.get_text() for text in axes.texts] == list("0123456789")
    for k, text in enumerate(axes.texts):
        assert np.allclose(text.get_position(), np.median(z[labels == k], axis=0))
        assert same_color(text.get_bbox_patch().get_edgecolor(), plot.CLASS_COLOURS[k])


@pytest.mark.parametrize(
    ("z", "labels", "message"),
    [
        (torch.zeros(5, 3), torch.zeros(5).long(), r"expected z of shape \(N, 2\)"),
        (torch.zeros(5), torch.zeros(5).long(), r"expected z of shape \(N, 2\)"),
        (torch.zeros(5, 2), torch.zeros(4).long(), r"got \(5, 2\) and \(4,\)"),
        (torch.zeros(0, 2), torch.zeros(0).long(), r"got \(0, 2\)"),
        (
            torch.zeros(5, 2),
            torch.full((5,), 10),
            "expected integer labels from 0 to 9, got int64 10 to 10",
        ),
        (torch.zeros(5, 2), torch.full((5,), -1), "got int64 -1 to -1"),
        (torch.zeros(5, 2), torch.zeros(5), "got float32"),
        (
            torch.tensor([[0.0, float("nan")]]),
            torch.zeros(1).long(),
            "expected finite codes",
        ),
    ],
)
def test_a_latent_map_refuses_what_is_no_map(z, labels, message):
    with pytest.raises(ValueError, match=message):
        plot.latent_map(z, labels)


def contrast_with_white(colour):
    """By the rule of the Web Content Accessibility Guidelines, 1 (none) to 21
    (black).
    """
    rgb = np.array(mpl.colors.to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return 1.05 / (linear @ [0.2126, 0.7152, 0.0722] + 0.05)


def test_colours_read_on_white_in_their_order():
    assert len(set(plot.PALETTE)) == 8
    assert len(set(plot.CLASS_COLOURS)) == 10
    assert min(map(contrast_with_white, plot.PALETTE[:3])) > 3
    assert min(map(contrast_with_white, plot.CLASS_COLOURS)) > 2
    assert min(plot.PALETTE, key=contrast_with_white) == plot.PALETTE[-1]


# ---------- on the page ----------


def curve():
    return plot.curves({"a": (range(200), np.sin(np.arange(200) / 9))}, "t", "v")


def test_a_png_is_the_same_at_every_run_and_says_nothing_else():
    png = plot.to_png(curve())
    assert png == plot.to_png(curve())
    with Image.open(io.BytesIO(png)) as image:
        assert image.size == (1120, 720)
        assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
        assert not image.info.keys() & {"Software", "Creation Time", "transparency"}


def test_figures_are_stored_exactly():
    grid = plot.image_grid(
        torch.rand(16, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    )
    for figure in (grid, curve()):
        assert np.array_equal(drawn(figure), decode(plot.to_png(figure)))


def test_single_pictures_are_stored_exactly():
    pixels = np.arange(20, dtype=np.uint8) * 13
    assert np.array_equal(
        decode(plot.to_png(from_bytes(pixels).view(1, 5, 4)))[..., 0],
        pixels.reshape(5, 4),
    )
    colours = torch.tensor([[-1.0, 1.0], [1.0, -1.0], [0.0, 0.0]]).view(3, 1, 2)
    assert decode(plot.to_png(colours)).tolist() == [[[0, 255, 128], [255, 0, 128]]]


@pytest.mark.parametrize(
    "frame", [torch.zeros(2, 1, 4, 4), torch.zeros(4, 4), torch.zeros(1, 4, 4).byte()]
)
def test_what_is_no_frame_is_refused(frame):
    with pytest.raises(ValueError, match="expected"):
        plot.to_png(frame)


@pytest.fixture
def shown(monkeypatch):
    """What `show` hands to the notebook."""
    bundles = []
    monkeypatch.setattr(
        "IPython.display.display", lambda bundle, raw: bundles.append(bundle)
    )
    return bundles


def test_show_gives_alt_text_and_caption(shown):
    alt, caption = 'a "sine" <wave>', "Up & down: σ² < 1"
    plot.show(curve(), alt, caption)
    (bundle,) = shown
    assert set(bundle) == {"text/html", "text/plain"}
    assert bundle["text/plain"] == f"Figure: {alt}"
    page = Page(bundle["text/html"])
    image = page.attributes["img"]
    assert image["alt"] == alt
    assert (image["width"], image["height"]) == ("560", "360")
    assert "max-width:100%" in image["style"]
    assert "pixelated" not in image["style"]
    assert decode(from_uri(image["src"])).shape == (720, 1120, 3)
    assert page.text["figcaption"] == caption


def test_show_without_caption_and_without_alt(shown):
    plot.show(curve(), "a wave")
    assert "figcaption" not in shown[0]["text/html"]
    with pytest.raises(ValueError, match="expected an alt text, got none"):
        plot.show(curve(), " ")
    assert len(shown) == 1


def test_a_figure_of_pyplots_is_closed_when_shown(shown):
    figure, _ = plt.subplots()
    plot.show(figure, "empty axes")
    assert not plt.fignum_exists(figure.number)


# ---------- the slider ----------


def stack(n, **size):
    return torch.rand(n, 1, size.get("height", 5), size.get("width", 7)) * 2 - 1


@settings(max_examples=20)
@given(
    frames=st.integers(1, 6),
    data=st.data(),
    name=st.text(min_size=1, max_size=9),
    alt=st.text(min_size=1, max_size=20).filter(str.strip),
)
def test_a_slider_holds_its_frames_and_labels(frames, data, name, alt):
    labels = data.draw(st.lists(st.text(max_size=6), min_size=frames, max_size=frames))
    x = stack(frames)
    slider = plot.FrameSlider(x, labels, name, alt, scale=3)
    page = Page(slider.html())
    image, handle = page.attributes["img"], page.attributes["input"]
    held = [from_uri(uri) for uri in handle["data-frames"].split(" ")]
    assert len(held) == frames
    for png, picture in zip(held, x, strict=True):
        assert np.array_equal(
            decode(png)[..., 0], plot.to_uint8(picture[None])[0, ..., 0]
        )
    assert json.loads(handle["data-labels"]) == labels
    assert from_uri(image["src"]) == held[0]
    assert image["alt"] == alt
    assert (image["width"], image["height"]) == ("21", "15")
    assert "pixelated" in image["style"]
    assert (handle["min"], handle["max"], handle["value"]) == (
        "0",
        str(frames - 1),
        "0",
    )
    # else the arrow keys do nothing in JupyterLab
    assert handle["data-lm-suppress-shortcuts"] == "true"
    assert (handle["type"], handle["aria-label"], handle["aria-valuetext"]) == (
        "range",
        name,
        labels[0],
    )
    assert page.text.get("output", "") == labels[0]
    assert page.text["span"] == name


def test_a_slider_asks_for_nothing_from_outside_and_sets_no_colour():
    html = plot.FrameSlider(stack(2), [0, 1], "step", "noise").html()
    assert html.startswith('<div class="frame-slider">')
    rest = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", html)
    for foreign in ("http", "//", "<script", "url(", "color", "#"):
        assert foreign not in rest
    page = Page(html)
    assert set(page.attributes) == {"div", "img", "label", "span", "input", "output"}


def test_two_sliders_of_the_same_frames_are_the_same_text():
    def make():
        return plot.FrameSlider(
            [curve(), curve()], [0.5, 1.5], "time", "a wave"
        )._repr_mimebundle_()

    bundle = make()
    assert bundle == make()
    assert bundle["text/plain"] == "FrameSlider(time: 0.5 … 1.5, 2 frames)"
    image = Page(bundle["text/html"]).attributes["img"]
    assert (image["width"], image["height"]) == ("560", "360")
    assert "pixelated" not in image["style"]


def test_what_the_input_does_names_what_is_there():
    """The browser test moves the slider; this one fails first when a name is changed on
    one side only.
    """
    page = Page(plot.FrameSlider(stack(2), "ab", "step", "noise").html())
    script = page.attributes["input"]["oninput"]
    for part in (
        "'.frame-slider'",
        "'img'",
        "'output'",
        "dataset.frames",
        "dataset.labels",
        "'aria-valuetext'",
    ):
        assert part in script
    assert script == SWAP


@pytest.mark.parametrize(
    ("frames", "labels", "options", "message"),
    [
        ([], [], {}, "expected one frame or more, got none"),
        (stack(2), [1], {}, "expected as many labels as frames, 2, got 1"),
        (stack(2), [1, 2, 3], {}, "expected as many labels as frames, 2, got 3"),
        (
            [*stack(1), *stack(1, width=8)],
            "ab",
            {},
            "expected frames of one size, got 7 × 5 and 8 × 5",
        ),
        (stack(2), "ab", {"alt": ""}, "expected an alt text, got none"),
        (stack(2) * 200, "ab", {}, r"expected pictures in \[-1, 1\]"),
    ],
)
def test_a_slider_refuses_what_it_cannot_walk_through(frames, labels, options, message):
    with pytest.raises(ValueError, match=message):
        plot.FrameSlider(frames, labels, "step", **{"alt": "noise", **options})


def test_the_live_widget_changes_its_picture():
    slider = plot.FrameSlider(stack(3), ["a", "b", "c"], "step", "noise")
    picture, handle = slider.widget().children
    assert picture.value == slider.image(0)
    assert handle.label == "a"
    handle.index = 2
    assert picture.value == slider.image(2) != slider.image(0)
