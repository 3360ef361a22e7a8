"""The report's page: everything a browser needs in one file, readable at desktop and phone width."""

from html import escape

HEAD = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; margin: 0 auto; max-width: 64rem; padding: 1rem; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; } p { margin: .25rem 0; color: #444; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem .8rem; margin: .5rem 0; } dt { color: #555; }
dd { margin: 0; overflow-wrap: anywhere; } code { font-size: .85em; color: #444; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(6.4rem, 1fr)); gap: .5rem; margin-bottom: .4rem; }
.card { border: 1px solid #ccc; border-radius: .4rem; padding: .4rem; } .card b { display: block; font-size: 1.35rem; }
.card span { color: #444; font-size: .8rem; white-space: nowrap; }
figcaption, small, summary { color: #444; font-size: .85rem; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .5rem; text-align: right; border-bottom: 1px solid #e4e4e4; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; white-space: normal; overflow-wrap: anywhere; min-width: 7rem; }
td.bar { background: linear-gradient(#bcd4ec, #bcd4ec) no-repeat left / calc(var(--share) * .94) 100%; min-width: 3.6rem; }
table.text td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
.swatch { display: inline-block; width: .8rem; height: .8rem; border: 1px solid #444; margin-right: .3rem; vertical-align: -1px; }
.legend span { display: inline-block; margin-right: 1rem; overflow-wrap: anywhere; } img { max-width: 100%; height: auto; }
figure { margin: 0 0 1.4rem; } .views { display: grid; grid-template-columns: repeat(4, 1fr); gap: .35rem; }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: .5rem; }
.sheet figure { margin: 0; } .sheet img { width: 100%; display: block; }
.views img { width: 100%; display: block; }
@media (max-width: 40rem) {
  body { padding: .75rem; } .views { grid-template-columns: repeat(2, 1fr); } table { font-size: .85rem; }
  th, td { padding: .25rem .3rem; } dl { grid-template-columns: 1fr; } dd { margin-bottom: .3rem; }
}
"""


def page(title: str, sections: list[str]) -> str:
    """The whole file from its title, plain text, and its sections' markup."""
    body = "\n".join(sections)
    head = f"{HEAD}<title>{escape(title)}</title><style>{STYLE}</style>"
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'
