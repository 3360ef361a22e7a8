"""The report's page: everything a browser needs in one file, readable at desktop and phone width."""

from html import escape

HEAD = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
# Colours of Okabe and Ito (2008), which the colour-blind tell apart; whatever has a colour also has a number, a word, a dash or a pattern.
STYLE = """
:root { color-scheme: light; --blue: #0072b2; --sky: #56b4e9; --orange: #e69f00; --red: #d55e00; --green: #009e73; --purple: #cc79a7; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; margin: 0 auto; max-width: 68rem; padding: 1rem; }
h1, h2, h3, p { overflow-wrap: anywhere; } h1 { font-size: 1.5rem; margin: 0 0 .25rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .5rem; border-top: 1px solid #ddd; padding-top: .8rem; }
h3 { font-size: 1rem; margin: 1.1rem 0 .4rem; } p { margin: .3rem 0; color: #444; max-width: 48rem; }
nav { margin: .6rem 0; } nav a { margin-right: 1rem; display: inline-block; color: var(--blue); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem .8rem; margin: .5rem 0; } dt { color: #555; }
dd { margin: 0; overflow-wrap: anywhere; } code { font-size: .85em; color: #444; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(8rem, 1fr)); gap: .5rem; margin-bottom: .4rem; }
.card { border: 1px solid #ccc; border-radius: .4rem; padding: .4rem .6rem; }
.card b { display: block; font-size: 1.35rem; line-height: 1.3; }
.card span { color: #444; font-size: .8rem; white-space: nowrap; } .card small { white-space: nowrap; }
figcaption, small, summary { color: #444; font-size: .85rem; overflow-wrap: anywhere; }
summary { cursor: pointer; padding: .3rem 0; color: var(--blue); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .5rem; text-align: right; border-bottom: 1px solid #e4e4e4; white-space: nowrap; }
th[colspan] { font-size: .9rem; padding-top: .7rem; }
th:first-child, td:first-child { text-align: left; white-space: normal; overflow-wrap: anywhere; min-width: 7rem; }
td.bar { position: relative; min-width: 3.6rem; }
td.bar { background: linear-gradient(#bcd4ec, #bcd4ec) no-repeat left / calc(var(--share) * .94) 100%; }
td.bar i { position: absolute; bottom: 1px; height: 5px; border: solid #13507a; border-width: 0 1px 1px; box-sizing: border-box; }
td.bar i { left: calc(var(--low) * .94); width: max(2px, calc((var(--high) - var(--low)) * .94)); }
table.text td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
.swatch { display: inline-block; width: .8rem; height: .8rem; border: 1px solid #444; margin-right: .3rem; vertical-align: -1px; }
.legend span { display: inline-block; margin-right: 1rem; overflow-wrap: anywhere; } img { max-width: 100%; height: auto; }
.key { width: 30px; height: 8px; margin-right: .3rem; vertical-align: 2px; }
.stacks { display: grid; grid-template-columns: minmax(7rem, max-content) 1fr; gap: .3rem .8rem; align-items: center; margin: .5rem 0; }
.stacks > div { overflow-wrap: anywhere; } .stack { display: flex; height: 1.4rem; border: 1px solid #777; background: #fff; }
.part { box-sizing: border-box; background-color: var(--fill); border-color: #444; } .stack .part + .part { border-left: 1px solid #444; }
.stack .part { display: block; font-style: normal; height: 100%; overflow: hidden; }
.stack .part { text-align: center; font-size: .8rem; line-height: 1.3rem; }
.part b { font-weight: 600; padding: 0 .2rem; color: #000; background-color: var(--fill); border-radius: .2rem; }
.part.PQ { --fill: #7db8dd; }
.part.missed { --fill: #f3c04d; background-image: repeating-linear-gradient(45deg, #8a5f00 0 1.5px, transparent 1.5px 7px); }
.part.background { --fill: #dd7a3c; background-image: repeating-linear-gradient(-45deg, #5a2400 0 1.5px, transparent 1.5px 5px); }
.part.classification { --fill: #e3b3cd; background-image: radial-gradient(#7a2a56 1.3px, transparent 1.6px); background-size: 6px 6px; }
.part.localization { --fill: #f2f2f2; background-image: repeating-linear-gradient(0deg, #8a8a8a 0 1px, transparent 1px 5px); }
.better { color: #00704f; } .worse { color: #b34700; }
.charts { display: flex; flex-wrap: wrap; gap: .5rem 1.5rem; } figure { margin: 0 0 1.4rem; }
svg { max-width: 100%; height: auto; display: inline-block; } svg text { font: 11px system-ui, sans-serif; fill: #333; }
svg.wide { max-width: none; } svg .light { fill: #fff; } svg .dark { fill: #000; } .frame { fill: none; stroke: #999; }
svg path { fill: none; } .grid { stroke: #e2e2e2; } .first { stroke: var(--blue); stroke-width: 2.2; }
.second { stroke: var(--red); stroke-width: 2.2; stroke-dasharray: 7 4; }
.third { stroke: #1a1a1a; stroke-width: 2.2; stroke-dasharray: 2 3; }
.ideal { stroke: #777; stroke-dasharray: 4 4; } svg path.share { fill: #dcdcdc; } .dot { fill: var(--blue); } .step { fill: #bbb; }
.crops { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(20rem, 100%), 1fr)); gap: .5rem 1.2rem; }
.crops figure { margin: 0 0 .6rem; }
.views { display: grid; grid-template-columns: repeat(4, 1fr); gap: .35rem; } .views.three { grid-template-columns: repeat(3, 1fr); }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: .5rem; }
.sheet figure { margin: 0; } .sheet img { width: 100%; display: block; }
.views img { width: 100%; display: block; }
@media (max-width: 40rem) {
  body { padding: .75rem; } .views { grid-template-columns: repeat(2, 1fr); } table { font-size: .85rem; }
  th, td { padding: .25rem .3rem; } dl { grid-template-columns: 1fr; } dd { margin-bottom: .3rem; }
  .cards { grid-template-columns: repeat(auto-fill, minmax(6.6rem, 1fr)); } .stacks { grid-template-columns: 1fr; gap: .1rem; }
  .stack { margin-bottom: .5rem; } table.pair td:nth-child(3), table.pair th:nth-child(3) { display: none; }
}
"""


def page(title: str, sections: list[str]) -> str:
    """The whole file from its title, plain text, and its sections' markup."""
    body = "\n".join(sections)
    head = f"{HEAD}<title>{escape(title)}</title><style>{STYLE}</style>"
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'
