"""Links of the documentation site to what is not one of its pages; MkDocs calls these functions.

Documents link to other files of the repository as GitHub needs it. In the site such a link leads to the repository, and
one to the tables of the leaderboard to the leaderboard's own site, which is published in a folder of this one.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent
LEADERBOARD = "leaderboard/index.html"
_PLACEHOLDER = """<!doctype html><meta charset="utf-8"><title>Leaderboard</title>
<p>The leaderboard's site goes here: <code>make site</code> builds it into <code>leaderboard/site</code>.
<p><a href="{repository}/blob/main/leaderboard/README.md">The leaderboard as tables</a>
"""


def on_files(files: Any, config: Any) -> Any:
    """Puts a page where the leaderboard will be."""
    content = _PLACEHOLDER.format(repository=config.extra["repository"])
    files.append(File.generated(config, LEADERBOARD, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Rewrites links to files that the site lacks; those that lead nowhere stay, so that MkDocs warns of them."""
    folder = posixpath.dirname(page.file.src_uri)

    def rewritten(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, link["path"]))
        inside = files.get_file_from_path(target)
        if target == "../leaderboard/README.md":
            return f"]({posixpath.relpath(LEADERBOARD, folder or '.')})"
        if (inside is not None and inside.inclusion.is_included()) or not (ROOT / "docs" / target).exists():
            return link[0]
        place = posixpath.normpath(posixpath.join("docs", target))
        return f"]({config.extra['repository']}/blob/main/{place}{link['anchor'] or ''})"

    return re.sub(r"\]\((?P<path>[^)#:\s]+)(?P<anchor>#[^)\s]*)?\)", rewritten, markdown)
