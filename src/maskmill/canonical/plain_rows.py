"""The objects of a long JSON list that can be found without decoding their values."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import BinaryIO

import msgspec

from maskmill.canonical.files import distinct_keys

CHUNK = 2**18  # bytes that are read at once
BETWEEN = re.compile(rb"\}[ \t\n\r]*,[ \t\n\r]*\{")
# msgspec checks the values of an object without making Python's numbers of them: 1.3 microseconds
# for a polygon of 20 points in place of 14. It has a looser limit on nesting, none on the digits of
# an integer, does not look at the encoding of these values, and keeps the last of repeated keys, so
# that `is_object` looks for all of these.
KEYS = msgspec.json.Decoder(dict[str, msgspec.Raw])
KEYS_OF_EACH = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
DECODER = json.JSONDecoder(object_pairs_hook=distinct_keys)
MAX_BYTES = 4300  # Python refuses to read longer integers
MAX_LISTS = 100
MAX_WAITING = 2**22  # bytes of one object: `plain_rows` leaves longer ones to its caller


def plain_rows(file: BinaryIO, start: int) -> Iterator[tuple[int, int]]:
    """The first bytes and the ends of the objects at the beginning of a list, all but its last.

    They end at the first item that may be something else, such as an object with a brace in a text:
    the next item begins at the end of the last object, behind a comma.

    Args:
        file: JSON in UTF-8.
        start: the byte at which the first object begins.
    """
    file.seek(start)
    waiting = b""
    while chunk := file.read(max(CHUNK, len(waiting))):
        waiting += chunk
        first = 0
        counted = 0
        num_open = 0
        for match in BETWEEN.finditer(waiting):
            end = match.start() + 1
            num_open += waiting.count(b"{", counted, end) - waiting.count(b"}", counted, end)
            counted = end
            if num_open:  # between two objects in a list of this one
                continue
            if not is_object(waiting[first:end]):
                return
            yield start + first, start + end
            first = match.end() - 1
        if not first and len(waiting) > MAX_WAITING:
            return
        waiting = waiting[first:]
        start += first


def is_object(text: bytes) -> bool:
    """Whether Python reads this text as one JSON object without repeated keys.

    Example:
        >>> is_object(b'{"id": 1}'), is_object(b'{"id": 1, "id": 2}'), is_object(b"[1]")
        (True, False, False)
    """
    if text.isascii() and len(text) <= MAX_BYTES and text.count(b"[") < MAX_LISTS:
        # A repeated key or a colon in a text leaves more colons than there are keys.
        with suppress(msgspec.DecodeError, ValueError, RecursionError):
            values = KEYS.decode(text)
            num_more = text.count(b":") - len(values)
            if not num_more or num_more == _num_keys_of_lists(values):
                return True
    try:  # the rare rest, such as an object that contains NaN
        return isinstance(DECODER.decode(text.decode()), dict)
    except (ValueError, RecursionError):
        return False


def _num_keys_of_lists(values: Mapping[str, msgspec.Raw]) -> int:
    """How many keys the objects in lists have, if no list contains anything else.

    Raises:
        msgspec.DecodeError: a list with objects contains something else.
    """
    num_keys = 0
    for value in values.values():
        text = bytes(value)
        if text.startswith(b"[") and b"{" in text:
            num_keys += sum(map(len, KEYS_OF_EACH.decode(text)))
    return num_keys
