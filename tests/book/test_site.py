"""The rendered site in a real browser: nothing broken, nothing foreign, readable on a
telephone and in the dark.

It needs `make book` before it, and Chromium. Without them it is skipped, or fails where
REQUIRE_BROWSER=1 is set.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

SITE = Path(__file__).parents[2] / "_build" / "html"
GENERATED = ("genindex.html", "search.html")  # made by Sphinx, with no text of the book
PAGES = sorted(
    p.relative_to(SITE).as_posix()
    for p in SITE.rglob("*.html")
    if "_static" not in p.parts
)
READ = [page for page in PAGES if page not in (*GENERATED, "index.html")]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
TELEPHONE, DESK = {"width": 390, "height": 844}, {"width": 1400, "height": 1000}

# Relative luminance by WCAG 2, on what the browser computes; a transparent background
# shows the one behind it.
CONTRAST = """element => {
    const channels = colour => colour.match(/[\\d.]+/g).map(Number);
    const luminance = colour => {
        const linear = v =>
            v / 255 <= .03928 ? v / 255 / 12.92 : ((v / 255 + .055) / 1.055) ** 2.4;
        const [r, g, b] = channels(colour).map(linear);
        return .2126 * r + .7152 * g + .0722 * b;
    };
    let behind = element;
    const ground = element => getComputedStyle(element).backgroundColor;
    while (channels(ground(behind))[3] === 0) behind = behind.parentElement;
    const [a, b] = [getComputedStyle(element).color, ground(behind)].map(luminance);
    return (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
}"""
PROSE = ":is(p, li, td, th, h1, h2, h3, figcaption)"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


class Visit:
    """A page of the site, opened in the browser, with what went wrong while it
    loaded.
    """

    def __init__(self, browser: Browser, root: str, path: str):
        self.path, self.complaints, self.foreign = path, [], []
        self.page: Page = browser.new_page(viewport=DESK, color_scheme="light")
        self.page.on(
            "console",
            lambda m: (
                self.complaints.append(m.text)
                if m.type in ("error", "warning")
                else None
            ),
        )
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on(
            "requestfailed",
            lambda request: self.complaints.append(f"{request.url}: {request.failure}"),
        )
        self.page.on("request", lambda request: self.note(root, request.url))
        self.page.goto(root + path, wait_until="networkidle")
        self.page.wait_for_function(
            "!document.querySelector('.math') || window.MathJax?.startup?.promise"
        )
        self.page.evaluate("window.MathJax?.startup?.promise.then(() => null)")

    def note(self, root: str, url: str) -> None:
        if not url.startswith((root, "data:", "blob:")):
            self.foreign.append(url)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    missing = (
        "the rendered site: run `make book`"
        if not PAGES
        else "Chromium"
        if executable is None
        else None
    )
    if missing and os.environ.get("REQUIRE_BROWSER") == "1":
        pytest.fail(f"missing: {missing}")
    if missing:
        pytest.skip(f"missing: {missing}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, args=["--no-sandbox"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def root() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(SITE)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="module", params=READ)
def visit(
    request: pytest.FixtureRequest, browser: Browser, root: str
) -> Iterator[Visit]:
    """Each page in turn: it is opened once, and every test that takes it looks at it
    before the next is opened.
    """
    visit = Visit(browser, root, request.param)
    yield visit
    visit.page.close()


def test_the_site_is_there(browser: Browser) -> None:
    """Most tests run once a page: this one sees to it that there are pages."""
    assert "book/intro.html" in READ
    assert any(page.startswith("chapters/") for page in READ)


def test_a_page_loads_whole_and_asks_no_other_host(visit: Visit) -> None:
    assert visit.foreign == []
    assert visit.complaints == []


@pytest.mark.parametrize("path", GENERATED)
def test_sphinxs_own_pages_load_whole(path: str, browser: Browser, root: str) -> None:
    visit = Visit(browser, root, path)
    visit.page.close()
    assert visit.complaints == visit.foreign == []


def test_the_first_page_leads_to_the_title_page(browser: Browser, root: str) -> None:
    page = browser.new_page()
    page.goto(root)
    page.wait_for_url("**/book/intro.html")
    assert "Drawn from Noise" in page.title()
    page.close()


def test_formulas_are_typeset(visit: Visit) -> None:
    formulas = visit.page.locator(".bd-article .math")
    assert formulas.locator("mjx-container").count() == formulas.count()
    assert visit.page.locator("mjx-merror, [data-mjx-error]").count() == 0
    prose = visit.page.evaluate(
        "[...document.querySelectorAll('.bd-article p, .math')].map(e => "
        "e.innerText).join(' ')"
    )
    assert [mark for mark in ("\\(", "\\[", "$$") if mark in prose] == []


def test_images_are_whole_and_described(visit: Visit) -> None:
    loaded = (
        "[...document.images].map(image => { image.loading = 'eager'; return "
        "image.decode().catch(() => null); })"
    )
    visit.page.evaluate(f"Promise.all({loaded}).then(() => null)")
    images = visit.page.evaluate(
        "[...document.images].map(i => [i.src.slice(0, 80), i.naturalWidth, "
        "i.alt.trim()])"
    )
    assert [source for source, width, _ in images if width == 0] == []
    assert [source for source, _, alt in images if not alt] == []


def test_a_page_fits_a_telephone(visit: Visit) -> None:
    visit.page.set_viewport_size(TELEPHONE)
    scroll, client = visit.page.evaluate(
        "['scrollWidth', 'clientWidth'].map(name => document.documentElement[name])"
    )
    beyond = visit.page.evaluate(
        """[...document.querySelectorAll(
                '.bd-article > section > *, .bd-article figure, ' +
                '.bd-article .frame-slider'
            )]
            .filter(e => e.getBoundingClientRect().right > innerWidth + 1)
            .map(e => e.outerHTML.slice(0, 80))"""
    )
    visit.page.set_viewport_size(DESK)
    assert scroll <= client + 1
    assert beyond == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_stands_out(visit: Visit, theme: str) -> None:
    visit.page.evaluate(
        "theme => { document.documentElement.dataset.theme = theme; }", theme
    )
    shown = visit.page.evaluate(
        f"""[...document.querySelectorAll('.bd-article {PROSE}')]
            .filter(e => e.offsetParent && e.innerText.trim())
            .map(e => [({CONTRAST})(e), e.innerText.slice(0, 60)])"""
    )
    background = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (theme == "light")
    assert shown
    assert [text for contrast, text in shown if contrast < 4.5] == []


def test_axe_finds_no_serious_violation(visit: Visit) -> None:
    """WCAG 2, levels A and AA. Left out is what takes axe minutes: formulas, code, and
    the contrasts of long pages.

    The contrast of prose is another test's; what stands around it is the same on the
    short pages.
    """
    rules: dict[str, object] = {
        "runOnly": ["wcag2a", "wcag2aa"],
        "resultTypes": ["violations"],
    }
    if visit.path.startswith("chapters/"):
        rules["rules"] = {"color-contrast": {"enabled": False}}
    found = (
        Axe()
        .run(
            visit.page, context={"exclude": [["mjx-container"], ["pre"]]}, options=rules
        )
        .response
    )
    bad = [
        rule
        for rule in found["violations"]
        if rule["impact"] in ("serious", "critical")
    ]
    assert [
        f"{rule['id']}: {node['html'][:120]}" for rule in bad for node in rule["nodes"]
    ] == []


def test_a_page_follows_the_readers_system(browser: Browser, root: str) -> None:
    page = browser.new_page(color_scheme="dark")
    page.goto(root + "book/intro.html")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.close()


@pytest.mark.parametrize("origin", ["http", "file"])
def test_a_slider_changes_its_picture(origin: str, browser: Browser, root: str) -> None:
    start = root if origin == "http" else SITE.as_uri() + "/"
    chapters = [path for path in READ if path.startswith("chapters/")]
    moved = 0
    for path in chapters:
        visit = Visit(browser, start, path)
        for slider in visit.page.locator(".frame-slider").all():
            picture, knob, label = (
                slider.locator(name).first
                for name in ("img", "input[type=range]", "output")
            )
            before = picture.get_attribute("src"), label.inner_text()
            knob.press(
                "ArrowLeft"
                if knob.input_value() == knob.get_attribute("max")
                else "ArrowRight"
            )
            assert picture.get_attribute("src") != before[0]
            assert label.inner_text() != before[1]
            moved += 1
        assert visit.complaints == visit.foreign == []
        visit.page.close()
    assert moved > 0, f"none of {chapters} holds a slider"


def test_the_map_is_reached_by_keyboard(browser: Browser, root: str) -> None:
    """Every row of the lineage is a link that takes the focus and says where it
    leads.
    """
    visit = Visit(browser, root, "book/intro.html")
    rows = visit.page.locator(".lineage li li a")
    assert rows.count() == 19
    for row in rows.all():
        row.focus()
        assert row.evaluate(
            "e => e === document.activeElement && e.href !== '' && "
            "e.innerText.trim() !== ''"
        )
    visit.page.close()


@pytest.mark.parametrize(
    "path", [page for page in READ if page.startswith("book/part_")]
)
def test_a_hand_out_prints_on_two_pages(path: str, browser: Browser, root: str) -> None:
    visit = Visit(browser, root, path)
    margins = dict.fromkeys(("top", "right", "bottom", "left"), "15mm")
    printed = visit.page.pdf(format="A4", margin=margins)
    visit.page.close()
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 2


@pytest.mark.parametrize("path", PAGES)
def test_tables_that_cells_print_are_tables(path: str) -> None:
    assert "<p>|" not in (SITE / path).read_text(encoding="utf-8")


def test_internal_links_lead_somewhere(browser: Browser, root: str) -> None:
    """Every link to a page of the site, and to a place on it, in the text as in the
    contents.
    """
    page = browser.new_page(java_script_enabled=False)
    links, anchors = {}, {}
    for path in PAGES:
        page.set_content((SITE / path).read_text(encoding="utf-8"), wait_until="commit")
        links[path] = page.evaluate(
            "[...document.querySelectorAll('a[href]')].map(a => a.getAttribute('href'))"
        )
        anchors[path] = set(
            page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
        )
    page.close()
    assert sum(map(len, links.values())) > 100
    assert [
        f"{path}: {link}"
        for path in PAGES
        for link in links[path]
        if not leads_somewhere(path, link, anchors)
    ] == []


def leads_somewhere(path: str, link: str, anchors: dict[str, set[str]]) -> bool:
    """Whether `link`, on the page `path`, leads to another host, or to a file and an
    anchor that exist.
    """
    if urlsplit(link).scheme:
        return True
    target = urlsplit(urljoin(f"/{path}", link))
    file, anchor = unquote(target.path).lstrip("/"), unquote(target.fragment)
    if file not in anchors:
        return (SITE / file).is_file()
    return not anchor or anchor in anchors[file]
