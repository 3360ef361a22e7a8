"""Messages between the front and a worker: a JSON header and bytes. Nothing is unpickled."""

import asyncio
import json
import socket
import struct
from typing import Any

LENGTHS = struct.Struct(">IQ")  # of the header and of the body, in bytes

Frame = tuple[dict[str, Any], bytes]


def pack(header: dict[str, Any], body: bytes = b"") -> bytes:
    """One message."""
    text = json.dumps(header).encode()
    return b"".join([LENGTHS.pack(len(text), len(body)), text, body])


async def read_frame(reader: asyncio.StreamReader) -> Frame:
    """The next message.

    Raises:
        asyncio.IncompleteReadError: the other side is gone.
    """
    lengths = await reader.readexactly(LENGTHS.size)
    num_header, num_body = LENGTHS.unpack(lengths)
    text = await reader.readexactly(num_header)
    body = await reader.readexactly(num_body) if num_body else b""
    return json.loads(text), body


def receive_frame(connection: socket.socket) -> Frame | None:
    """The next message, or None if the other side is gone."""
    lengths = _receive(connection, LENGTHS.size)
    if lengths is None:
        return None
    num_header, num_body = LENGTHS.unpack(lengths)
    text = _receive(connection, num_header)
    body = _receive(connection, num_body)
    if text is None or body is None:
        return None
    return json.loads(bytes(text)), bytes(body)


def _receive(connection: socket.socket, num_bytes: int) -> bytearray | None:
    buffer = bytearray(num_bytes)
    view = memoryview(buffer)
    position = 0
    while position < num_bytes:
        received = connection.recv_into(view[position:])
        if received == 0:
            return None
        position += received
    return buffer
