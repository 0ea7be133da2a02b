"""Charts in pages: the source of an SVG in place of the image that shows it, and the style sheet that colours it."""

import html
import re
import sys
from collections.abc import Callable

from _make.api import ROOT

STYLE = "assets/charts.css"
"""The style sheet of charts, in the site."""
_IMAGE = re.compile(r'<img alt="([^"]*)" src="([^"]+\.svg)" ?/?>')
_OWN_STYLE = re.compile(r"<style>.*?</style>", re.DOTALL)
_SIZE = re.compile(r'^(<svg [^>]*?) width="[^"]*" height="[^"]*"')
_LABEL = re.compile(r'aria-label="[^"]*"')


def inline(page: str, source: Callable[[str], str]) -> str:
    """``page`` with every image of an SVG replaced by what ``source(link)`` holds, without its own style and size."""

    def drawn(image: re.Match) -> str:
        label = f'aria-label="{html.escape(html.unescape(image[1]), quote=True)}"'
        content = _SIZE.sub(r"\1", _OWN_STYLE.sub("", source(image[2])))
        return f'<span class="figure">{_LABEL.sub(lambda _: label, content, count=1).strip()}</span>'

    return _IMAGE.sub(drawn, page)


def style() -> str:
    """The look of charts on a light page, and on one whose reader has chosen the dark."""
    sys.path.insert(0, str(ROOT))
    from jaxpsn.report.charts import look, picture

    frame = (
        ".figure { display: block; overflow-x: auto; } .figure > svg { display: block; width: 100%; min-width: 36rem; }"
    )
    return "\n".join((look.css("[data-md-color-scheme=slate]"), picture.css(), frame, ""))
