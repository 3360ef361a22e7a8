"""The image in a request: its form, size and limits, before any pixel takes memory."""

import asyncio
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge

from maskmill.canonical.image_header import header_size
from maskmill.serving.server.refusal import Refusal

FORMATS = "a PNG, JPEG or TIFF image"
# How files of these formats begin: PNG, JPEG, TIFF in either byte order, BigTIFF in either.
SIGNATURES = (
    *(b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"),
    *(b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"),
)


@dataclass(frozen=True)
class Limits:
    """What one request may take from the server.

    Args:
        max_bytes: of a body.
        max_pixels: of an image.
        min_side_px: of an image; a network sees nothing in less.
        max_queue: requests that wait; further ones are refused.
        timeout_s: from the start of a batch to its last answer, and for a body to arrive.
    """

    max_bytes: Annotated[int, Ge(1)]
    max_pixels: Annotated[int, Ge(1)]
    min_side_px: Annotated[int, Ge(1)]
    max_queue: Annotated[int, Ge(1)]
    timeout_s: Annotated[float, Ge(1)]


def require_bytes(num_bytes: int, limits: Limits) -> None:
    """Refuse a body that is too long.

    Raises:
        Refusal: 413.
    """
    if num_bytes > limits.max_bytes:
        raise Refusal(
            413,
            f"a body of {num_bytes:,} bytes or more",
            expected=f"at most {limits.max_bytes:,} bytes",
            do="either compress the image or raise serve.limits.max_bytes of the server",
        )


async def check_image(data: bytes, limits: Limits) -> tuple[int, int]:
    """Height and width in the header of an image, after checking both.

    Raises:
        Refusal: 400 without data, 415 for another format, 422 for a damaged header or a side that
            is too short, 413 for too many pixels.
    """
    if not data:
        raise Refusal(400, "an empty body", expected=FORMATS, do="send the bytes of the file")
    if not data.startswith(SIGNATURES):
        raise Refusal(
            415,
            f"{len(data):,} bytes of another format",
            expected=FORMATS,
            do="convert the image to PNG, JPEG or TIFF",
        )
    try:
        height, width = await _header_size(data)
    except ValueError as error:
        raise Refusal(
            422, f"a damaged header ({error})", expected=FORMATS, do="send the file again"
        ) from error
    if height * width > limits.max_pixels:
        raise Refusal(
            413,
            f"{width} x {height} (width x height)",
            expected=f"at most {limits.max_pixels:,} pixels",
            do="either cut the image into tiles or raise serve.limits.max_pixels of the server",
        )
    if min(height, width) < limits.min_side_px:
        raise Refusal(
            422,
            f"{width} x {height} (width x height)",
            expected=f"at least {limits.min_side_px} pixels per side",
            do="send a larger image",
        )
    return height, width


async def _header_size(data: bytes) -> tuple[int, int]:
    array = np.frombuffer(data, np.uint8)
    if data.startswith(SIGNATURES[:2]):  # PNG and JPEG take microseconds
        return header_size(array)
    return await asyncio.to_thread(header_size, array)  # the tables of a hostile TIFF do not
