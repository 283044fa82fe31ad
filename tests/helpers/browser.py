"""Fixtures for tests that look at the site with a browser: the pages, opened from disk, as a reader sees them."""

import os
import shutil
from pathlib import Path

import pytest

from pagbench.reports.site import building

ROOT = Path(__file__).parent.parent.parent
BENCHMARKS = ("digits@1", "fashion-distractor@1")
"""Those of the small site: one with regimes and paths, one without a reference."""
_INSIDE = ("file:", "data:", "blob:")


@pytest.fixture(scope="session")
def small_results(tmp_path_factory):
    """A folder with the published results of two benchmarks. Tests only read it."""
    folder = tmp_path_factory.mktemp("small") / "results"
    published = ROOT / "leaderboard" / "results"
    for label in BENCHMARKS:
        for home in (published / label, *published.glob(f"{label}+*")):
            shutil.copytree(home, folder / home.name)
    shutil.copytree(published / "sensitivity", folder / "sensitivity")
    return folder


@pytest.fixture(scope="session")
def studies(small_results):
    """These results, read once for all tests of pages."""
    return building.read(small_results)


@pytest.fixture(scope="session")
def site(small_results, studies):
    """The folder of the small site, built once. Tests only read it."""
    building.write(studies, small_results.parent / "site")
    return small_results.parent / "site"


@pytest.fixture(scope="session")
def browser():
    """A chromium without a window, one for all tests of a process; skips where there is none."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("chromium is not installed: pages are not looked at (Debian's package is `chromium`)")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pages are not looked at")
    with api.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="module")
def reader(browser):
    """A reader's browser. Pages keep nothing in it, so that one serves all tests of a module."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    context.set_default_timeout(10_000)
    yield context
    context.close()


@pytest.fixture
def page(reader):
    """A fresh page; the test fails where the console shows an error, a script throws, or another host is asked."""
    shown = reader.new_page()
    faults = watched(shown)
    yield shown
    shown.close()
    assert not faults, faults


def watched(page):
    """The list that everything a page must not do is written to."""
    faults = []
    page.on("console", lambda said: faults.append(f"console: {said.text}") if said.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(f"script: {error}"))
    page.on("request", lambda asked: None if asked.url.startswith(_INSIDE) else faults.append(f"asks {asked.url}"))
    page.on("requestfailed", lambda asked: None if _left(asked) else faults.append(f"does not find {asked.url}"))
    return faults


def _left(asked):
    """Whether the page gave a request up itself, as for a download or when it goes elsewhere."""
    return "ERR_ABORTED" in (asked.failure or "")


def screenshot(page, name):
    """Writes what the page shows, whole, to the folder `$PAGBENCH_SCREENSHOTS` for people, where that is set."""
    if folder := os.environ.get("PAGBENCH_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def wait_until(page, condition):
    """Waits for a condition in JavaScript, frame by frame: the pages' policy bars polls by text."""
    look = f"look = left => {condition} ? done(true) : left ? requestAnimationFrame(() => look(left - 1)) : done(false)"
    assert page.evaluate(f"new Promise(done => {{ const {look}; look(600); }})"), condition
