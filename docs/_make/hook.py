"""MkDocs hook: adds the generated pages, carries along what pages link to outside of docs/, and fetches nothing.

Charts stand in the page itself, where they take its colours, light or dark as the reader has chosen.
"""

import posixpath
import re
import sys
from pathlib import Path

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from _make import api, figures, methods

ROOT = Path(__file__).resolve().parents[2]
CARRIED = "files"
"""Folder of the site for what lies outside of docs/; a Markdown file there is a page."""
_LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)]*)?\)")
_FETCHED = re.compile(r"<(?:script|link|img|iframe)\b[^>]*(?:src|href)=[\"']?(?:https?:)?//[^>]*>")


def on_config(config):
    """The generated pages into the navigation: methods before the results, the API at the end; the look of charts."""
    config.extra_css.append(figures.STYLE)
    groups = [{title: list(content)} if title else next(iter(content)) for title, content in methods.pages().items()]
    place = next(at for at, entry in enumerate(config.nav) if "Results" in entry)
    config.nav.insert(place, {"Methods": groups})
    config.nav.append({"API": list(api.pages())})
    return config


def on_files(files, config):
    """Pages that no one writes, and what pages link to outside of docs/."""
    made = [api.pages(), *methods.pages().values()]
    files.append(File.generated(config, figures.STYLE, content=figures.style()))
    for uri, text in (page for content in made for page in content.items()):
        files.append(File.generated(config, uri, content=text))
    queue = [
        (file.src_uri, Path(file.abs_src_path).read_text()) for file in files.documentation_pages() if file.abs_src_path
    ]
    while queue:
        uri, text = queue.pop()
        for link in _LINK.finditer(text):
            found = _moved(uri, link[1])
            if found and files.get_file_from_path(found) is None:
                path = ROOT / found.removeprefix(f"{CARRIED}/")
                files.append(File.generated(config, found, abs_src_path=str(path)))
                if path.suffix == ".md":
                    queue.append((found, path.read_text()))
    return files


def _moved(uri: str, link: str) -> str | None:
    """Where in the site a link of the page ``uri`` leads, if page and target are not both of docs/."""
    carried = uri.startswith(f"{CARRIED}/")
    source = uri.removeprefix(f"{CARRIED}/") if carried else f"docs/{uri}"
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
    if target.startswith("docs/"):
        return target.removeprefix("docs/") if carried else None
    if not (ROOT / target).is_file():
        raise PluginError(f"{source} links to {link}, which is not there")
    return f"{CARRIED}/{target}"


def on_page_markdown(markdown, page, config, files):
    """Links that leave docs/ in the repository lead to a copy within the site."""
    uri = page.file.src_uri

    def told(link):
        found = _moved(uri, link[1])
        if found is None:
            return link[0]
        return f"]({posixpath.relpath(found, posixpath.dirname(uri) or '.')}{link[2] or ''})"

    return _LINK.sub(told, markdown)


def on_page_content(html, page, config, files):
    """Charts that a page shows as images, drawn in it."""
    uri = page.file.src_uri

    def source(link):
        return (
            ROOT / posixpath.normpath(posixpath.join(posixpath.dirname(uri), link)).removeprefix(f"{CARRIED}/")
        ).read_text()

    return figures.inline(html, source)


def on_post_page(output, page, config):
    """Refuse a page that fetches anything, and a page of the API that lacks a public name."""
    fetched = _FETCHED.search(output)
    if fetched:
        raise PluginError(f"{page.file.src_uri} fetches {fetched[0][:200]}")
    for name in api.names().get(page.file.src_uri, ()):
        if f'id="{name}"' not in output:
            raise PluginError(f"{page.file.src_uri} lacks {name}")
    return output
