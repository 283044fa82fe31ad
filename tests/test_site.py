"""All pages of the site: whole, safe, usable with keyboard and screen reader, and readable on a phone."""

import browser as browsing
import pytest


def test_the_page_fixture_sees_faults(browser, tmp_path):
    """The guard of every browser test must not be blind."""
    (tmp_path / "index.html").write_text(
        "<script>console.error('said'); missing()</script><img src='http://192.0.2.1/a'>"
    )
    page = browser.new_page()
    faults = browsing.watched(page)
    page.goto((tmp_path / "index.html").as_uri(), wait_until="commit")
    page.wait_for_timeout(300)
    page.close()
    for expected in ("console: said", "missing is not defined", "asks http://192.0.2.1/a"):
        assert any(expected in fault for fault in faults), faults


@pytest.mark.parametrize("name", ["index.html", "benchmarks/digits@1.html", "models/digits/noise-0.6.html"])
def test_pages_open_from_disk_without_a_fault(page, site, name):
    page.goto((site / name).as_uri())
    assert page.locator("h1").count() == 1
    browsing.screenshot(page, name.removesuffix(".html").replace("/", "-"))
