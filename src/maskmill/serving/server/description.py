"""What the OpenAPI description says about bodies: requests, answers and refusals."""

from typing import Any

from pydantic import BaseModel


class Mask(BaseModel):
    """A mask in COCO's compressed run-length code.

    Args:
        size: height and width in px.
        counts: the code.
    """

    size: tuple[int, int]
    counts: str


class SegmentRow(BaseModel):
    """One segment, in COCO's form.

    Args:
        id: its value in the panoptic PNG.
        category_id: id of its class.
        name: of its class.
        score: confidence in 0..1, null where there is none.
        area: in pixels.
        bbox: x, y, w, h in px.
        segmentation: its pixels.
    """

    id: int
    category_id: int
    name: str
    score: float | None
    area: int
    bbox: tuple[int, int, int, int]
    segmentation: Mask


class CategoryRow(BaseModel):
    """A class of the model.

    Args:
        id: the data set's own id.
        name: of the class.
        isthing: 1 for countable objects.
        color: RGB.
    """

    id: int
    name: str
    isthing: int
    color: tuple[int, int, int]


class SegmentationAnswer(BaseModel):
    """The segments of one image; pixels outside all segments have no class.

    Args:
        height: of the upright image, in px.
        width: of the upright image, in px.
        model: its name and fingerprint.
        categories: the classes of the model.
        segments: what is in the image.
    """

    height: int
    width: int
    model: dict[str, str]
    categories: list[CategoryRow]
    segments: list[SegmentRow]


class RefusalAnswer(BaseModel):
    """Why a request was not served.

    Args:
        error: what was found.
        expected: what would have been served.
        do: what to do.
    """

    error: str
    expected: str
    do: str


BINARY = {"schema": {"type": "string", "format": "binary"}}
FORM_SCHEMA = {
    "type": "object",
    "properties": {"image": {"type": "string", "format": "binary"}},
    "required": ["image"],
}
REQUEST_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The bytes of an image, or a form with one file.",
        "content": {
            "image/png": BINARY,
            "image/jpeg": BINARY,
            "image/tiff": BINARY,
            "multipart/form-data": {"schema": FORM_SCHEMA},
        },
    }
}
PREDICTION: dict[int | str, dict[str, Any]] = {
    200: {
        "model": SegmentationAnswer,
        "content": {"image/png": BINARY},
        "description": "Segments as JSON; or a PNG: ids R + 256 G + 65536 B, or class ids.",
    }
}
REASONS = {
    400: "an empty body, or a broken form",
    401: "the API key is missing or wrong",
    408: "the body did not arrive in time",
    413: "too many bytes or pixels",
    415: "another format than PNG, JPEG or TIFF",
    422: "a damaged image, one of another kind than 8-bit RGB or gray, or too small",
    429: "the queue is full",
    503: "no worker can answer",
}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": RefusalAnswer, "description": reason} for status, reason in REASONS.items()
}
