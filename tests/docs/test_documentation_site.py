"""The documentation builds without a warning, has every document in its navigation, and asks nothing of other hosts."""

import re
from pathlib import Path

import pytest

pytest.importorskip("mkdocs", reason="mkdocs is missing: pip install 'pagbench[docs]'")

from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort

ROOT = Path(__file__).parent.parent.parent
FETCHED = re.compile(r"<(?:script|img|iframe|source)\b[^>]*?\bsrc=[\"']?(?:https?:)?//|<link\b[^>]*?stylesheet[^>]*?//")


def built(folder, **changes):
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), **changes)
    config.plugins.on_startup(command="build", dirty=False)
    build(config)
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The whole site; a warning, as of a link that leads nowhere or a document outside the navigation, ends it."""
    return built(tmp_path_factory.mktemp("site"))


def test_every_document_is_a_page(site):
    for document in (ROOT / "docs").rglob("*.md"):
        assert (site / document.relative_to(ROOT / "docs").with_suffix(".html")).exists(), document
    assert (site / "quickstart.ipynb").exists()


def test_what_writes_the_documents_is_not_published(site):
    assert not [path for path in site.rglob("*") if path.suffix in (".py", ".csv", ".pyc")]


def test_no_page_loads_anything_from_another_host(site):
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not FETCHED.search(text), page
        assert 'data-md-component="source"' not in text  # it would ask GitHub for the number of stars


def test_public_names_are_in_the_reference(site):
    text = (site / "reference" / "api.html").read_text(encoding="utf-8")
    import pagbench

    for name in set(pagbench.__all__) - {"__version__"}:
        assert f'id="pagbench.{name}"' in text, name


@pytest.fixture
def small_site(tmp_path):
    """Builds a site of one page below a folder, and returns the page."""

    def build_page(markdown):
        (tmp_path / "docs" / "reference").mkdir(parents=True)
        (tmp_path / "docs" / "reference" / "page.md").write_text(markdown, encoding="utf-8")
        nav = [{"Page": "reference/page.md"}]
        site = built(tmp_path / "site", docs_dir=str(tmp_path / "docs"), nav=nav, plugins=[])
        return (site / "reference" / "page.html").read_text(encoding="utf-8")

    return build_page


@pytest.mark.parametrize("link", ["nothing.md", "../../nothing.md", "#nothing", "page.md#nothing", "/nothing.md"])
def test_a_link_that_leads_nowhere_is_an_error(small_site, link):
    with pytest.raises(Abort, match="1 warnings in strict mode"):
        small_site(f"# Page\n\n[link]({link})\n")


def test_links_out_of_the_documents_lead_to_the_repository_or_the_leaderboard(small_site):
    page = small_site(
        "# Page\n\n[a](../../CITATION.cff) [b](../cost-speed.csv) [c](../../README.md#start)\n"
        "[d](../../leaderboard/README.md#digits) [e](#page) [f](../../benchmarks)\n"
    )
    repository = "https://github.com/pagbench/pagbench/blob/main"
    for place in ("CITATION.cff", "docs/cost-speed.csv", "README.md#start", "benchmarks"):
        assert f'href="{repository}/{place}"' in page
    assert 'href="../leaderboard/index.html"' in page and 'href="#page"' in page
