"""Pages of HTML as tests read them."""

import html.parser

VOID = {"meta", "img", "br", "input", "link", "hr"}


class Checker(html.parser.HTMLParser):
    """Every element that is opened is closed in turn; tags, sources, charts and the text shown are collected."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.sources, self.words, self.iframes, self.charts = [], [], [], [], [], []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append((tag, *found))
        self.sources += [value for name, value in found.items() if name in ("src", "href")]
        self.iframes += [found["srcdoc"]] if "srcdoc" in found else []
        self.charts += [found["id"]] if found.get("class") == "chart" else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def read(page):
    """The checker of a page that is well formed, and all words of it."""
    checker = Checker()
    checker.feed(page.read_text(encoding="utf-8"))
    checker.close()
    assert not checker.open
    return checker, " ".join(checker.words)
