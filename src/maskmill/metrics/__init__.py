"""Exact segmentation metrics, each a torchmetrics.Metric.

Example:
    >>> from maskmill.metrics import PanopticQuality, ConfusionMatrix, BoundaryIoU, MaskAP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maskmill.metrics.boundary_iou import BoundaryIoU
    from maskmill.metrics.calibration_error import CalibrationError
    from maskmill.metrics.confusion_matrix import ConfusionMatrix
    from maskmill.metrics.mask_ap import MaskAP
    from maskmill.metrics.panoptic_quality import PanopticQuality

__all__ = ["BoundaryIoU", "CalibrationError", "ConfusionMatrix", "MaskAP", "PanopticQuality"]
MODULES = {
    "BoundaryIoU": "boundary_iou",
    "CalibrationError": "calibration_error",
    "ConfusionMatrix": "confusion_matrix",
    "MaskAP": "mask_ap",
    "PanopticQuality": "panoptic_quality",
}


def __getattr__(name: str) -> Any:
    """Import a metric class on first use: torchmetrics takes 8 s, and scoring files needs none."""
    if name in MODULES:
        return getattr(import_module(f"maskmill.metrics.{MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
