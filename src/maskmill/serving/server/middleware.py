"""What holds for every request: the API key and the headers of answers."""

import hmac
import json

from starlette.datastructures import Headers as RequestHeaders
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from maskmill.serving.server.refusal import Refusal

# Without a key: the page, which asks for it, and what a load balancer asks. All else needs one.
OPEN_PATHS = frozenset({"/", "/page.js", "/page.css", "/health", "/ready"})
BEARER = "bearer "
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class ApiKey:
    """Refuses requests without the key, whatever their path, before anything else is read.

    Args:
        app: the application behind it.
        api_key: the key; None: every request passes.
    """

    def __init__(self, app: ASGIApp, api_key: str | None) -> None:
        self.app = app
        self.api_key = api_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401."""
        is_open = scope["type"] == "lifespan" or scope.get("path") in OPEN_PATHS
        if self.api_key is None or is_open or self._has_key(RequestHeaders(scope=scope)):
            await self.app(scope, receive, send)
            return
        refusal = Refusal(
            401,
            "no key or another one",
            expected="the API key of this server as X-API-Key or as a bearer token",
            do="send the header",
        )
        headers = [(b"content-type", b"application/json"), (b"www-authenticate", b"Bearer")]
        await send({"type": "http.response.start", "status": 401, "headers": headers})
        body = json.dumps(refusal.as_dict()).encode()
        await send({"type": "http.response.body", "body": body})

    def _has_key(self, headers: RequestHeaders) -> bool:
        given = headers.get("x-api-key", "")
        authorization = headers.get("authorization", "")
        if not given and authorization.lower().startswith(BEARER):
            given = authorization[len(BEARER) :].strip()
        expected = (self.api_key or "").encode()
        return hmac.compare_digest(given.encode(errors="surrogateescape"), expected)


class Headers:
    """Adds the headers that keep a browser from loading, guessing or storing anything.

    Args:
        app: the application behind it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and add the headers to its answer."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        await self.app(scope, receive, send_with_headers)
