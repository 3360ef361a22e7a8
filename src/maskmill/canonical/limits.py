"""Limits on what one file may take from the machine, checked before memory or disk is used.

Each is far above what data sets need. An environment variable of the same name replaces it, in all
commands and their worker processes.
"""

import os

DEFAULTS = {
    "MASKMILL_MAX_PIXELS": 80_000_000,  # of an image; above this, Pillow warns of bombs
    "MASKMILL_MAX_TEXT_MB": 2_000,  # of a JSON, CSV or text file; COCO's largest have 470
    "MASKMILL_MAX_UNPACKED_GB": 500,  # of an archive
    "MASKMILL_MAX_UNPACKED_FILES": 5_000_000,
    "MASKMILL_MAX_UNPACKED_RATIO": 200,  # unpacked size / size of the archive
}
MAX_SIDE_PX = 1_000_000  # what a PNG can have in libpng


def limit(name: str) -> int:
    """The value of a limit.

    Raises:
        ValueError: its environment variable is not a positive integer.
    """
    text = os.environ.get(name)
    if text is None:
        return DEFAULTS[name]
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise ValueError(
            f"Expected a positive integer in the environment variable {name}, but got {text!r} - "
            "either correct it or unset it"
        )
    return int(text)


def how_to_raise(name: str) -> str:
    """The end of a message about a limit."""
    return f"set the environment variable {name} to a larger number"


def require_pixels(height: int, width: int, where: str) -> None:
    """Refuse an image that is too large, by the size in its header.

    Args:
        height: in pixels.
        width: in pixels.
        where: the file, for the message.

    Raises:
        ValueError: the image has more pixels than MASKMILL_MAX_PIXELS, a side of more than a
            million, or no pixels.
    """
    name = "MASKMILL_MAX_PIXELS"
    max_pixels = limit(name)
    if height * width > max_pixels:
        raise ValueError(
            f"{where}: expected at most {max_pixels:,} pixels, but got {width} x {height} (width x "
            f"height) - either cut the image into tiles or {how_to_raise(name)}"
        )
    if max(height, width) > MAX_SIDE_PX:
        raise ValueError(
            f"{where}: expected at most {MAX_SIDE_PX:,} pixels per side, but got {width} x "
            f"{height} (width x height) - cut the image into tiles"
        )
    if height < 1 or width < 1:
        raise ValueError(
            f"{where}: expected an image with pixels, but got {width} x {height} (width x height) "
            "- replace the file"
        )
