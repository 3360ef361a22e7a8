"""Segments against segments: exact numbers. `from maskmill.metrics import PanopticQuality, ConfusionMatrix, BoundaryIoU, MaskAP`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maskmill.metrics.modules import BoundaryIoU, ConfusionMatrix, PanopticQuality
    from maskmill.metrics.score_modules import CalibrationError, MaskAP

__all__ = ["BoundaryIoU", "CalibrationError", "ConfusionMatrix", "MaskAP", "PanopticQuality"]
NEEDS_SCORES = {"CalibrationError", "MaskAP"}


def __getattr__(name: str) -> Any:
    """The metric classes, imported when asked for: they need torchmetrics (8 s), and scoring files needs only numpy."""
    if name in __all__:
        return getattr(
            import_module(
                f"maskmill.metrics.{'score_modules' if name in NEEDS_SCORES else 'modules'}"
            ),
            name,
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
