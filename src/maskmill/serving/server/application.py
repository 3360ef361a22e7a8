"""The routes of the server, and what every answer has in common."""

import functools
import time
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from maskmill import __version__
from maskmill.serving.server.answers import Form
from maskmill.serving.server.bodies import read_image_bytes
from maskmill.serving.server.description import ERRORS, PREDICTION, REQUEST_BODY
from maskmill.serving.server.middleware import ApiKey, Headers
from maskmill.serving.server.pages import render_docs, render_page
from maskmill.serving.server.refusal import Refusal
from maskmill.serving.server.service import Service
from maskmill.serving.server.uploads import check_image

FILES = Path(__file__).parent / "templates"
STATIC = {"page.js": "text/javascript", "page.css": "text/css"}
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


def create_application(service: Service, *, api_key: str | None = None) -> FastAPI:
    """The application that answers with predictions of a service.

    Args:
        service: which the caller starts and stops.
        api_key: what clients must send as X-API-Key or as a bearer token; None: nothing.
    """
    application = FastAPI(
        title="maskmill",
        summary="Segments of images",
        version=__version__,
        docs_url=None,  # FastAPI's own page loads its scripts from another host
        redoc_url=None,
    )
    application.add_exception_handler(Refusal, _on_refusal)
    application.add_exception_handler(HTTPException, _on_http_error)
    application.add_exception_handler(RequestValidationError, _on_invalid_request)
    application.add_middleware(ApiKey, api_key=api_key)
    application.add_middleware(Headers)
    _add_predict(application, service)
    _add_status(application, service)
    _add_pages(application)
    return application


def _add_predict(application: FastAPI, service: Service) -> None:
    @application.post(
        "/predict", responses=PREDICTION | ERRORS, openapi_extra=REQUEST_BODY, tags=["prediction"]
    )
    async def predict(
        request: Request,
        format: Annotated[  # noqa: A002 - the name in the URL
            Form | None, Query(description="default: by the Accept header, else json")
        ] = None,
    ) -> Response:
        """Segments of one image: JSON with run-length codes, or a PNG of ids or of classes."""
        start_s = time.perf_counter()
        status = 500
        try:
            with service.arriving():
                data = await read_image_bytes(request, service.limits)
            size = await check_image(data, service.limits)
            answer = await service.predict(data, format or _accepted(request), size)
            status = answer.status
        except Refusal as refusal:
            status = refusal.status
            raise
        finally:
            service.metrics.requests.labels(str(status)).inc()
            service.metrics.seconds.observe(time.perf_counter() - start_s)
        return Response(answer.body, status_code=status, media_type=answer.media_type)


def _accepted(request: Request) -> Form:
    return "panoptic" if request.headers.get("accept", "").startswith("image/png") else "json"


def _add_status(application: FastAPI, service: Service) -> None:
    @application.get("/health", tags=["status"], responses={503: {"description": "not healthy"}})
    def health() -> JSONResponse:
        """200 if every worker lives and has a model, else 503."""
        return JSONResponse(service.status(), 200 if service.is_healthy else 503)

    @application.get("/ready", tags=["status"], responses={503: {"description": "not ready"}})
    def ready() -> JSONResponse:
        """200 if a request would be answered: at least one worker lives and none is stopping."""
        return JSONResponse(service.status(), 200 if service.is_ready else 503)

    @application.get("/metrics", tags=["status"], response_class=Response)
    def metrics() -> Response:
        """Counters in Prometheus' text form."""
        fleet = service.fleet
        text = service.metrics.text(
            queue=len(service.queue),
            workers=0 if fleet is None else fleet.num_ready,
            restarts=0 if fleet is None else fleet.num_restarts,
            model="" if fleet is None else fleet.public_name,
            fingerprint="" if fleet is None else fleet.fingerprint,
        )
        return Response(text, media_type=PROMETHEUS)


def _add_pages(application: FastAPI) -> None:
    @application.get("/", include_in_schema=False)
    def page() -> Response:
        return Response(render_page(), media_type="text/html; charset=utf-8")

    @application.get("/docs", include_in_schema=False)
    def docs() -> Response:
        return Response(render_docs(application.openapi()), media_type="text/html; charset=utf-8")

    for name, media_type in STATIC.items():
        answer = Response((FILES / name).read_bytes(), media_type=media_type)
        application.add_route(f"/{name}", functools.partial(_static, answer))


async def _static(answer: Response, request: Request) -> Response:
    return answer


def _refused(refusal: Refusal) -> JSONResponse:
    return JSONResponse(refusal.as_dict(), refusal.status, refusal.headers)


async def _on_refusal(request: Request, error: Any) -> JSONResponse:
    return _refused(error)


async def _on_http_error(request: Request, error: Any) -> JSONResponse:
    """An unknown path or method."""
    refusal = Refusal(
        error.status_code,
        f"{request.method} {request.url.path}",
        expected="POST /predict, or GET of /, /health, /ready, /metrics or /docs",
        do="correct the path or the method",
        headers=dict(error.headers or {}),
    )
    return _refused(refusal)


async def _on_invalid_request(request: Request, error: Any) -> JSONResponse:
    finding = error.errors()[0]
    name = ".".join(map(str, finding["loc"]))
    refusal = Refusal(
        422,
        f"{name}={finding['input']!r}",
        expected=finding.get("ctx", {}).get("expected", "another value"),
        do="correct the parameter",
    )
    return _refused(refusal)
