"""Where panoptic quality goes: PQ and what it lacks to 100 %, by reason, as stacked bars."""

from collections.abc import Iterable, Mapping, Sequence

from maskmill.reporting.markup import percent

PARTS = {  # each with a fill of its own, so that colour is never alone: the classes of page.STYLE
    "PQ": "right and well outlined",
    "missed": "true segments nothing was predicted for",
    "background": "predicted segments without a true one",
    "classification": "found, but called another class",
    "localization": "found, but too far from its outline",
}
MIN_LABELLED = 0.07  # a smaller part has no room for its number


def losses(rows: Iterable[tuple[str, Sequence[float]]]) -> str:
    """Stacked bars and their legend.

    Args:
        rows: name, markup, and the five shares in the order of `PARTS`, which add up to 1.
    """
    legend = "".join(
        f'<span title="{meaning}"><i class="swatch part {name}"></i>{_words(name)}</span>'
        for name, meaning in PARTS.items()
    )
    bars = "".join(
        f"<div>{name}</div>{stack(dict(zip(PARTS, shares, strict=True)))}" for name, shares in rows
    )
    meanings = "; ".join(
        f"<b>{_words(name)}</b>: {meaning}" for name, meaning in list(PARTS.items())[1:]
    )
    return f'<p class="legend">{legend}</p><div class="stacks">{bars}</div><p>{meanings}.</p>'


def stack(shares: Mapping[str, float]) -> str:
    """One bar; what each part is stands in its title, too."""
    parts = []
    for name, share in shares.items():
        number = percent(share) if share >= MIN_LABELLED else ""
        if share > 0:
            parts.append(
                f'<i class="part {name}" style="width:{100 * share:.2f}%" title="{_words(name)} {percent(share)} %"><b>{number}</b></i>'
            )
    return f'<div class="stack">{"".join(parts)}</div>'


def _words(name: str) -> str:
    return name.replace("_", " ")
