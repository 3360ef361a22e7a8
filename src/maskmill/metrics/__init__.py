"""Segments against segments: exact numbers. `from maskmill.metrics import PanopticQuality, ConfusionMatrix, BoundaryIoU, MaskAP`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maskmill.metrics.modules import BoundaryIoU, ConfusionMatrix, MaskAP, PanopticQuality

__all__ = ["BoundaryIoU", "ConfusionMatrix", "MaskAP", "PanopticQuality"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562
    """The metric classes, imported when asked for: they need torchmetrics (8 s), and scoring files needs only numpy."""
    if name in __all__:
        from maskmill.metrics import modules

        return getattr(modules, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
