"""The bytes of the image in a request's body: the body itself, or a file of a form."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from maskmill.serving.server.refusal import Refusal
from maskmill.serving.server.uploads import FORMATS, Limits, require_bytes

FORM = "multipart/form-data"
MAX_FIELDS = 8  # beside the image, of a form


async def read_image_bytes(request: Request, limits: Limits) -> bytes:
    """The bytes of the image.

    The type that the client states is not needed, the bytes show it; only a form is read as one.

    Raises:
        Refusal: 413 for a body that is too long (before it is read, where its length is stated),
            408 for one that does not arrive in time, 400 for a broken form or one without a file.
    """
    stated = request.headers.get("content-length", "")
    if stated.isascii() and stated.isdigit():
        require_bytes(int(stated), limits)
    limited = Request(request.scope, _Limited(request, limits))
    try:
        async with asyncio.timeout(limits.timeout_s):
            if request.headers.get("content-type", "").lower().startswith(FORM):
                return await _file_of_form(limited)
            return await limited.body()
    except TimeoutError as error:
        raise Refusal(
            408,
            f"a body that is incomplete after {limits.timeout_s:g} s",
            expected="the whole image in that time",
            do="send it again over a faster connection",
        ) from error
    except ClientDisconnect as error:
        raise Refusal(
            400, "a closed connection", expected="a whole body", do="send it again"
        ) from error


class _Limited:
    """Receives a body, and refuses it once it is too long."""

    def __init__(self, request: Request, limits: Limits) -> None:
        self.request = request
        self.limits = limits
        self.num_bytes = 0

    async def __call__(self) -> MutableMapping[str, Any]:
        message = await self.request.receive()
        self.num_bytes += len(message.get("body", b""))
        require_bytes(self.num_bytes, self.limits)
        return message


async def _file_of_form(request: Request) -> bytes:
    try:
        form = await request.form(max_files=1, max_fields=MAX_FIELDS)
    except (HTTPException, FormParserError) as error:  # the second from early releases of Starlette
        found = str(getattr(error, "detail", "Invalid multipart data"))
        raise Refusal(400, found, expected="a form with one file", do="correct the form") from error
    try:
        for value in form.values():
            if isinstance(value, UploadFile):
                return await value.read()
    finally:
        await form.close()
    raise Refusal(
        400,
        "a form without a file",
        expected=f"{FORMATS} in a field of its own, as curl -F image=@photo.jpg sends it",
        do="add the file",
    )
