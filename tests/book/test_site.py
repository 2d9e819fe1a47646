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
from contextlib import contextmanager
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
# What stands beyond the article and does not scroll; what its own box cuts off.
BEYOND = """() => {
    const article = document.querySelector('.bd-article');
    const edge = Math.min(article.getBoundingClientRect().right, innerWidth) + 1;
    const flow = e => getComputedStyle(e).overflowX;
    const scrolls = e => ['auto', 'scroll'].includes(flow(e));
    const inside = e => e !== article && (scrolls(e) || inside(e.parentElement));
    const unseen = 'svg, mjx-assistive-mml, .visually-hidden';
    const shown = [...article.querySelectorAll('*')].filter(
        e => e.clientWidth && !e.closest(unseen));
    const beyond = shown.filter(
        e => e.getBoundingClientRect().right > edge && !inside(e.parentElement));
    const cut = shown.filter(
        e => e.matches('div, figure, pre, table, td, details, section')
            && e.scrollWidth > e.clientWidth + 1
            && flow(e) !== 'visible' && !scrolls(e));
    return [...beyond, ...cut].map(e => e.outerHTML.slice(0, 80));
}"""
# What another element lies on, looked for at three places of each.
COVERED = """() => {
    const places = element => {
        const top = scrollY + element.getBoundingClientRect().top - 300;
        scrollTo({top, behavior: 'instant'});
        const box = element.getBoundingClientRect();
        const left = Math.max(box.left, 0);
        const right = Math.min(box.right, innerWidth);
        const y = box.top + Math.min(box.height / 2, 250);
        return [.02, .5, .98].map(
            share => document.elementFromPoint(left + share * (right - left), y));
    };
    const wide = ':is(table, pre, mjx-container[display], img)';
    return [...document.querySelectorAll(`.bd-article ${wide}`)]
        .filter(e => e.getBoundingClientRect().width)
        .filter(e => !places(e).every(on => on && (e.contains(on) || on.contains(e))))
        .map(e => e.outerHTML.slice(0, 80));
}"""
# Boxes of code that scroll although no line has more letters than `longest`.
LONG_LINES = """longest => [...document.querySelectorAll('.bd-article pre')]
    .filter(e => e.innerText.split('\\n').every(line => line.length <= longest))
    .filter(e => e.scrollWidth > e.clientWidth).map(e => e.innerText.slice(0, 80))"""
LONGEST_LINE = 88  # letters
STILL = "* { transition: none !important; animation: none !important }"
# The most that a chapter's page takes at 1,300 pixels across, folds closed. Those in
# TALLER are known to take more: each may only shrink, and leaves it once it fits.
TALLEST = 30_000
TALLER = {
    "02_vae": 40_500,
    "03_denoising": 44_000,
    "04_gan": 41_000,
    "05_measuring": 38_000,
    "06_ddpm": 44_500,
    "07_better_diffusion": 44_500,
    "08_classifier_guidance": 31_500,
    "09_clip": 34_500,
    "10_semantic_guidance": 31_500,
    "11_glide": 37_500,
    "13_dalle": 38_000,
}
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
        self.page.add_style_tag(content=STILL)

    @contextmanager
    def across(self, width: int) -> Iterator[Page]:
        """The page on a screen of that width, with every fold open."""
        folds = "document.querySelectorAll('.bd-article details:not([open])')"
        opened = self.page.evaluate_handle(f"[...{folds}]")
        opened.evaluate("folds => folds.forEach(fold => { fold.open = true; })")
        self.page.set_viewport_size({"width": width, "height": 900})
        yield self.page
        opened.evaluate("folds => folds.forEach(fold => { fold.open = false; })")
        self.page.set_viewport_size(DESK)

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


@pytest.mark.parametrize("width", [TELEPHONE["width"], 1200])
def test_what_is_wide_scrolls_by_itself(visit: Visit, width: int) -> None:
    with visit.across(width) as page:
        wide = page.evaluate("document.documentElement.scrollWidth")
        beyond = page.evaluate(BEYOND)
    assert wide <= width
    assert beyond == []


def test_nothing_lies_on_tables_formulas_code_and_figures(visit: Visit) -> None:
    with visit.across(TELEPHONE["width"]) as page:
        covered = page.evaluate(COVERED)
    assert covered == []


def test_a_line_of_code_fits_the_column(visit: Visit) -> None:
    cut = {}
    with visit.across(1200) as page:
        for width in (1200, 1300, 1440, 1600, 1920):
            page.set_viewport_size({"width": width, "height": 900})
            cut[width] = page.evaluate(LONG_LINES, LONGEST_LINE)
    assert {width: lines for width, lines in cut.items() if lines} == {}


@pytest.mark.parametrize("width", [390, 1000, 1300])
def test_the_contents_come_at_a_press(width: int, browser: Browser, root: str) -> None:
    """Where the contents have no room at the right."""
    visit = Visit(browser, root, "book/how-to-read.html")
    visit.page.set_viewport_size({"width": width, "height": 900})
    entry = visit.page.locator(".bd-sidebar-secondary .page-toc a").first
    assert not entry.is_visible()
    visit.page.locator(".secondary-toggle").click()
    entry.wait_for(state="visible")
    visit.page.keyboard.press("Escape")
    entry.wait_for(state="hidden")
    visit.page.close()


def settled_height(page: Page) -> int:
    """The page's height once two looks, a moment apart, find the same: a busy machine
    lays a long page out after the window has changed.
    """
    heights = [-1, page.evaluate("document.documentElement.scrollHeight")]
    while heights[-1] != heights[-2] and len(heights) < 20:
        page.wait_for_timeout(250)
        heights.append(page.evaluate("document.documentElement.scrollHeight"))
    return heights[-1]


def test_a_chapter_is_not_too_tall(visit: Visit) -> None:
    if not visit.path.startswith("chapters/"):
        return
    visit.page.set_viewport_size({"width": 1300, "height": 1000})
    height = settled_height(visit.page)
    visit.page.set_viewport_size(DESK)
    print(f"{visit.path}: {height:,} px")  # pytest -rP shows it
    assert height <= TALLER.get(Path(visit.path).stem, TALLEST)


def test_figures_are_dimmed_in_the_dark(visit: Visit) -> None:
    """A chart is turned round, a figure with pictures never is."""
    visit.page.evaluate("document.documentElement.dataset.theme = 'dark'")
    filters = visit.page.evaluate(
        """[...document.querySelectorAll('.bd-article :is(.cell_output, figure) img')]
            .map(e => [e.classList.contains('chart'), getComputedStyle(e).filter])"""
    )
    visit.page.evaluate("document.documentElement.dataset.theme = 'light'")
    assert [
        how for chart, how in filters if ("invert" in how) != chart or how == "none"
    ] == []


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


def test_paper_shows_answers_and_whole_lines(browser: Browser, root: str) -> None:
    path = next(page for page in READ if page.startswith("chapters/06"))
    visit = Visit(browser, root, path)
    folds = visit.page.locator(".tag_hide-cell details")
    is_open = "folds => folds.map(fold => fold.open)"
    theme = "document.documentElement.dataset.theme"
    visit.page.evaluate(f"{theme} = 'dark'")
    visit.page.emulate_media(media="print")
    visit.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert folds.count() > 0
    assert all(folds.evaluate_all(is_open))
    assert visit.page.evaluate(theme) == "light"
    assert visit.page.evaluate(LONG_LINES, 10_000) == []
    visit.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not any(folds.evaluate_all(is_open))
    assert visit.page.evaluate(theme) == "dark"
    visit.page.close()


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
