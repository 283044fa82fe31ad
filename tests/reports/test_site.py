"""All pages of the site: whole, safe, usable with keyboard and screen reader, and readable on a phone."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import browser as browsing
import pytest
import yaml
from written import provenance_of

from pagbench import benchmarks, columns, results
from pagbench.benchmarks import facts
from pagbench.errors import ResultsError
from pagbench.reports.site import building, rendering

VOID = {"meta", "link", "br", "hr", "img", "input", "col", "source", "wbr"}
ADDRESSES = ("href", "src", "srcset", "poster", "action", "formaction", "data", "xlink:href")
AXE = {"preload": False, "resultTypes": ["violations"]}
"""Without reading style sheets of other origins, which the policy forbids, and without reports of what is in order."""
OUTSIDE = ("https://", "mailto:")


class Parsed(HTMLParser):
    """Elements of a page with their attributes; what is not closed, or closed twice, is a fault."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.open, self.faults, self.text = [], [], [], {}
        self.feed(text)
        self.close()
        self.faults += [f"<{tag}> is not closed" for tag in self.open]

    def handle_starttag(self, tag, attributes):
        repeated = [name for name, count in Counter(name for name, _ in attributes).items() if count > 1]
        self.faults += [f"<{tag}> has {name} twice" for name in repeated]
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if self.open and self.open[-1] == tag:
            self.open.pop()
        else:
            self.faults.append(f"</{tag}> closes {self.open[-1:]}")

    def handle_data(self, data):
        for tag in self.open:
            self.text[tag] = self.text.get(tag, "") + data

    def of(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def ids(self):
        return [attributes["id"] for _, attributes in self.elements if attributes.get("id") is not None]

    @property
    def addresses(self):
        for tag, attributes in self.elements:
            yield from ((tag, name, attributes[name] or "") for name in ADDRESSES if name in attributes)


@pytest.fixture(scope="module")
def parsed(site):
    return {path: Parsed(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}


KINDS = (
    "index.html",
    "measures.html",
    "methods.html",
    "benchmarks/digits@1.html",
    "benchmarks/cifar10@1.html",
    "models/digits/noise-0.6.html",
    "sensitivity/digits@1.html",
    "compare/digits@1.html",
    "choose.html",
    "missing.html",
)
"""One page of each kind."""
LOOKED_AT = {
    ("index.html", 1280), ("benchmarks/digits@1.html", 1280), ("models/digits/noise-0.6.html", 390),
    ("compare/digits@1.html", 390), ("choose.html", 390), ("missing.html", 390),
}  # fmt: skip
"""Pages and widths that are looked at each time; the others in the slow tests."""


def test_pages_are_whole(parsed, site):
    for path, page in parsed.items():
        name = path.relative_to(site)
        assert not page.faults, (name, page.faults)
        assert page.of("html") == [{"lang": "en"}], name
        assert len(page.of("h1")) == len(page.of("main")) == 1, name
        assert page.text.get("title", "").strip(), name
        assert not [same for same, count in Counter(page.ids).items() if count > 1], name


def test_titles_tell_pages_apart(parsed):
    titles = Counter(page.text["title"] for page in parsed.values())
    assert not [title for title, count in titles.items() if count > 1]


def test_pages_run_nothing_but_the_sites_own_scripts(parsed, site):
    for path, page in parsed.items():
        name = path.relative_to(site)
        policies = [m for m in page.of("meta") if m.get("http-equiv", "").lower() == "content-security-policy"]
        assert len(policies) == 1, name
        rules = dict(rule.strip().partition(" ")[::2] for rule in policies[0]["content"].split(";"))
        assert rules["default-src"] == "'none'" and rules["script-src"] == "'self'", name
        assert all("http" not in rule and "*" not in rule and "unsafe-eval" not in rule for rule in rules.values())
        assert page.elements.index(("meta", policies[0])) < min(
            (page.elements.index(element) for element in page.elements if element[0] in ("script", "link", "style")),
        ), f"{name}: the policy comes after what it should hold"
        handlers = [(tag, key) for tag, attributes in page.elements for key in attributes if key.startswith("on")]
        assert not handlers, (name, handlers)
        code = [script for script in page.of("script") if "src" not in script]
        assert all(script.get("type") == "application/json" for script in code), name
        assert not page.of("base") + page.of("iframe") + page.of("object") + page.of("embed"), name


def test_links_and_files_are_there(parsed, site):
    """Every address inside the site resolves, its fragment too; outside lead only links that someone must follow."""
    for path, page in parsed.items():
        for tag, attribute, address in page.addresses:
            said = f"{path.relative_to(site)}: {tag} {attribute}={address}"
            parts = urlsplit(address)
            if parts.scheme == "data" and tag == "img":
                continue
            if parts.scheme or parts.netloc:
                assert tag == "a" and address.startswith(OUTSIDE), said
                continue
            assert not address.startswith("/"), said
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.is_file() and target.is_relative_to(site.resolve()), said
            if parts.fragment and parts.path and target.parent.name == "compare":
                places = [site / "models" / f"{unquote(name)}.html" for name in parts.fragment.split(",")]
                assert all(place.is_file() for place in places), said
            elif parts.fragment and target in parsed:
                assert unquote(parts.fragment) in parsed[target].ids, said


def test_styles_ask_for_nothing_outside(site):
    for path in site.rglob("*.css"):
        text = path.read_text(encoding="utf-8")
        assert "@import" not in text and "//" not in text, path.name


def test_every_benchmark_has_a_page_and_every_column_a_place(site, parsed):
    assert {path.stem for path in (site / "benchmarks").glob("*.html")} == set(benchmarks.names())
    sampled = [column.name for filled in columns.SAMPLE_COLUMNS.values() for column in filled]
    added = columns.optional_board_columns(benchmarks.load("digits@1"))
    documented = {*sampled, *(column.name for column in (*columns.BOARD_COLUMNS, *added))}
    assert documented <= set(parsed[site / "measures.html"].ids)


def test_formulas_are_drawn_without_a_script(parsed, site):
    methods = parsed[site / "methods.html"]
    assert len(methods.of("math")) > 30 and not methods.of("script")
    assert "\\" not in methods.text["math"], "LaTeX that was not converted"


def test_thresholds_are_those_of_the_definitions(page, site):
    page.goto((site / "methods.html").as_uri())
    head = page.locator("table thead th").all_inner_texts()
    for row in page.locator("table tbody tr").all():
        label, *cells = row.locator("th, td").all_inner_texts()
        shown = dict(zip(head[1:], cells, strict=True))
        thresholds = benchmarks.load(label).thresholds
        for name in ("gain", "retention", "drop", "blur", "gap", "confidence"):
            value = getattr(thresholds, name, None)
            assert shown[name] == ("–" if value is None else f"{value:g}")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Results of one small benchmark, and the site's files made from them."""
    folder = tmp_path_factory.mktemp("few") / "results"
    shutil.copytree(results.PUBLISHED / "gaussians@1", folder / "gaussians@1")
    return folder, building.contents(building.read(folder))


@pytest.mark.parametrize("results_of", ["small", pytest.param("site", marks=pytest.mark.slow)])
def test_builds_are_the_same_everywhere(results_of, request, small_results, tmp_path):
    """Neither where it is built, nor the order of hashes, nor the day is in a page."""
    if results_of == "small":
        folder, expected = request.getfixturevalue("small")
    else:
        folder, site = small_results, request.getfixturevalue("site")
        expected = {path.relative_to(site).as_posix(): path.read_bytes() for path in site.rglob("*") if path.is_file()}
    (tmp_path / "r").symlink_to(folder)
    command = [sys.executable, "-m", "pagbench", "site", "-r", "r", "-o", "elsewhere/leaderboard"]
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(browsing.ROOT), "TZ": "Asia/Tokyo"}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    again = tmp_path / "elsewhere" / "leaderboard"
    built = {path.relative_to(again).as_posix(): path.read_bytes() for path in again.rglob("*") if path.is_file()}
    assert built.keys() - {building.MANIFEST} == expected.keys() - {building.MANIFEST}
    assert [path for path in expected if expected[path] != built[path]] == []


@pytest.fixture
def few(small, monkeypatch):
    """These results, whose files are made once for tests of how they are written."""
    folder, made = small
    monkeypatch.setattr(building, "contents", lambda studies: made)
    return folder


@pytest.fixture
def earlier(tmp_path):
    """A site's folder with a page of an older build, and a file beside it that no build has written."""
    root = tmp_path / "site"
    (root / "models" / "old").mkdir(parents=True)
    (root / "assets").mkdir()
    (root / "models" / "old" / "gone.html").write_text("old")
    (root / "models" / "mine.txt").write_text("mine")
    (tmp_path / "outside.txt").write_text("old")
    return root


def leave(root, files):
    (root / building.MANIFEST).write_bytes(json.dumps({"files": files}).encode())


OLD = hashlib.sha256(b"old").hexdigest()


def test_what_is_no_longer_part_of_the_site_is_removed(small, few, earlier):
    (earlier / building.MANIFEST).write_bytes(building.manifest({"models/old/gone.html": b"old"}))
    building.build(few, earlier)
    assert not (earlier / "models" / "old").exists() and (earlier / "models" / "mine.txt").exists()
    assert (earlier / building.MANIFEST).read_bytes() == building.manifest(small[1])
    assert {path: (earlier / path).read_bytes() for path in small[1]} == small[1]


def test_no_manifest_removes_what_no_build_has_written(earlier, tmp_path):
    (earlier / "linked").symlink_to(tmp_path)
    (earlier / "linked.txt").symlink_to(tmp_path / "outside.txt")
    places = [
        "../outside.txt",
        str(tmp_path / "outside.txt"),
        "linked/outside.txt",
        "linked.txt",
        "models/../../outside.txt",
    ]
    leave(
        earlier, dict.fromkeys([*places, "models/../models/old/gone.html", "models", "", ".", "a\0b", "missing"], OLD)
    )
    assert building.leftovers(earlier, {}) == []
    leave(earlier, {"models/mine.txt": OLD})  # someone has put another file there since
    assert building.leftovers(earlier, {}) == []
    leave(earlier, {"models/old/gone.html": OLD})
    assert building.leftovers(earlier, {}) == [earlier / "models" / "old" / "gone.html"]
    assert building.leftovers(earlier, {"models/old/gone.html"}) == []


@pytest.mark.parametrize(
    "damaged", ["", "[]", "{}", '{"files": ["../x"]}', '{"files": {"a": 1}}', "\xff", "[" * 100000]
)
def test_damaged_manifests_name_nothing(earlier, damaged):
    (earlier / building.MANIFEST).write_text(damaged, encoding="latin-1")
    assert building.leftovers(earlier, {}) == []


def test_files_of_someone_else_are_not_written_over(few, tmp_path):
    for place in ("index.html", "assets/site.css", building.MANIFEST):
        folder = tmp_path / place.replace("/", "-")
        (folder / place).parent.mkdir(parents=True)
        (folder / place).write_text("mine")
        with pytest.raises(ResultsError, match=rf"{place}: is there already, and is no file of an earlier site"):
            building.build(few, folder)
        assert [path for path in folder.rglob("*") if path.is_file()] == [folder / place]
        assert (folder / place).read_text() == "mine"


def test_a_build_that_was_killed_is_built_again(tmp_path):
    new = {"index.html": b"new", "kept.html": b"same"}
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_bytes(b"half of an older one")
    (tmp_path / "kept.html").write_bytes(b"same")
    assert building.foreign_file(tmp_path, new) == tmp_path / "index.html"
    (tmp_path / building.MANIFEST).write_bytes(building.manifest({"index.html": b"new"}))
    assert building.foreign_file(tmp_path, new) is None


def test_pages_name_the_day_of_the_newest_measurement(parsed, site):
    started = [provenance_of(path)["started"] for path in (site.parent / "results").rglob("*.parquet")]
    assert {page.of("time")[-1]["datetime"] for page in parsed.values()} == {max(started)[:10]}


def test_pagbench_is_cited_as_its_citation_file_says():
    said = yaml.safe_load((browsing.ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert facts.citation() == f"{said['authors'][0]['name']}, {said['title']}, {said['version']}."


def test_facts_of_every_benchmark_are_complete():
    """A new benchmark needs its notes: a model to try, and what its data are."""
    for label in benchmarks.names():
        known = facts.of(benchmarks.load(label))
        assert known.needs and known.sources and "run  --" not in known.commands[0], label


def test_prose_escapes_before_it_marks_up():
    hostile = '<script>`</code><b>` arXiv 2305.19101"><img>'
    shown = rendering.prose(hostile)
    assert Counter(tag for tag, _ in Parsed(str(shown)).elements) == {"code": 1, "a": 1}


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


OPEN = "document.querySelectorAll('details').forEach((details) => { details.open = true; })"


SHORTEN = """document.querySelectorAll("tbody tr:nth-child(n+6)").forEach((row) => { row.remove(); })"""
"""Rows of a table are alike: looking at five of each takes a third of the time."""


@pytest.mark.parametrize("name", KINDS)
def test_only_what_scrolls_by_itself_is_wider_than_a_phone(page, site, name):
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme="dark")
    page.goto((site / name).as_uri())
    page.evaluate(OPEN)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    browsing.screenshot(page, f"{name.removesuffix('.html').replace('/', '-')}-phone-dark")


@pytest.mark.parametrize("rows", ["five", pytest.param("all", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("name", "width"),
    [
        (name, width) if (name, width) in LOOKED_AT else pytest.param(name, width, marks=pytest.mark.slow)
        for name in KINDS
        for width in (1280, 390)
    ],
)
def test_pages_are_accessible(page, site, name, width, rows):
    """With all details open, axe-core finds nothing."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-core is not installed").Axe()
    page.set_viewport_size({"width": width, "height": 900})
    page.goto((site / name).as_uri())
    if width > 1000:
        browsing.screenshot(page, name.removesuffix(".html").replace("/", "-"))
    page.evaluate(OPEN)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    if rows == "five":
        page.evaluate(SHORTEN)
    found = axe.run(page, options=AXE)
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize(
    "name", ["benchmarks/digits@1.html", pytest.param("models/digits/noise-0.6.html", marks=pytest.mark.slow)]
)
def test_text_can_be_read_in_the_dark(page, site, name):
    """Places do not depend on colours, nor colours on the width: contrast alone is measured again."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-core is not installed").Axe()
    page.emulate_media(color_scheme="dark")
    page.goto((site / name).as_uri())
    page.evaluate(OPEN)
    found = axe.run(page, options={**AXE, "runOnly": ["color-contrast"]})
    assert found.violations_count == 0, found.generate_report()


def test_a_model_without_a_gradient_has_a_page_that_fits_a_phone(page, site):
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto((site / "models/control/constant.html").as_uri())
    page.evaluate(OPEN)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_keyboard_reaches_the_content_first(page, site):
    page.goto((site / "measures.html").as_uri())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    page.wait_for_url("**/measures.html#content")
