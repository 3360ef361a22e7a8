"""The scores of an evaluation in one line of the log."""

from collections.abc import Mapping, Sequence

HEADLINE = ("PQ", "mIoU", "AP")


def headline(scores: Mapping[str, float], interval: Sequence[float] | None = None) -> str:
    """The deciding score, which comes first, and the others that people quote, in percent.

    Args:
        scores: name -> fraction, the deciding one first.
        interval: of the deciding one, its lower and upper bound at 95 %.

    Example:
        >>> headline({"PQ/thing": 0.5, "mIoU": 0.25, "Dice": 0.4}, (0.45, 0.555))
        'PQ/thing 50.00 % (45.00 to 55.50 %)  mIoU 25.00 %'
    """
    words = []
    for index, (name, value) in enumerate(scores.items()):
        if index == 0 or name in HEADLINE:
            words.append(f"{name} {100 * value:.2f} %")
    if interval is not None:
        low, high = interval
        words[0] += f" ({100 * low:.2f} to {100 * high:.2f} %)"
    return "  ".join(words)
