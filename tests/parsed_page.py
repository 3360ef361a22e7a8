"""An HTML page as tests look at it."""

import base64
import re
from html.parser import HTMLParser

import cv2
import numpy as np

HOSTILE = "<script>alert(1)</script>&\"'"
# Ways out of an element, an attribute, a style, SVG, a comment, a template, and of the line.
HOSTILE_NAMES = [
    HOSTILE,
    "</svg></style></title><img src=x onerror=alert(1)>",
    '" onload="alert(1)" x=\'',
    "javascript:alert(1)",
    "url(javascript:alert(1))",
    "--><!--]]>{{ 7 * 7 }}{% raw %}",
    "two\nlines\r\tand \u2028more",
    "\u202eright to left\u202c \u200f\ufeff",
    "=HYPERLINK(1)",
]
LOADING = {"script", "link", "iframe", "object", "embed", "form", "use", "image", "foreignobject"}


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.words = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words += data.split()

    @property
    def structure(self):
        """Elements with the names of their attributes: what a name must not change."""
        return [(tag, sorted(attrs)) for tag, attrs in self.tags]

    @property
    def text(self):
        return " ".join(self.words)

    @property
    def pictures(self):
        return [attrs["src"] for tag, attrs in self.tags if tag == "img"]

    def attributes(self, name):
        return [attrs[name] for _, attrs in self.tags if name in attrs]


def require_inert(text):
    """Fail on a page that runs a script or loads anything."""
    page = Page(text)
    assert not LOADING & {tag for tag, _ in page.tags}
    assert "http" not in re.sub("http-equiv", "", text)
    assert "url(" not in text
    for _, attrs in page.tags:
        for name in attrs:
            assert not name.startswith("on"), name
            assert name not in {"xlink:href", "srcset"}
    assert all(uri.startswith("data:image/") for uri in page.attributes("src"))
    assert all(link.startswith("#") for link in page.attributes("href"))
    (policy,) = page.attributes("http-equiv")
    assert policy == "Content-Security-Policy"
    rules = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert rules in page.attributes("content")


def decoded(uri):
    """The pixels of a JPEG data URI, (H, W, 3) RGB."""
    data = base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
