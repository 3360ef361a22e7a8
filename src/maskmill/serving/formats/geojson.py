"""GeoJSON: a file per image with a polygon, or several, for each segment."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from maskmill.canonical.categories import Categories
from maskmill.canonical.folder import ImageRecord
from maskmill.canonical.panoptic import Panoptic, Segment
from maskmill.canonical.png import RGB
from maskmill.postprocess.prediction import Prediction
from maskmill.serving.outlines import polygons
from maskmill.serving.output_format import Entry, Rows


class GeoJson:
    """Feature collections (RFC 7946) whose coordinates are pixels: x to the right, y downwards.

    The geometry covers exactly the pixels of its segment, along their edges. Its properties are
    name and id of the category, score, area in px, and `classification`, which QuPath reads.

    Args:
        categories: of the model.
    """

    def __init__(self, *, categories: Categories) -> None:
        self.categories = categories

    def entry(self, record: ImageRecord, image: RGB, prediction: Prediction) -> Entry:
        """The file of one image; see `OutputFormat`."""
        features = list(self._features(prediction.panoptic))
        collection = {"type": "FeatureCollection", "features": features}
        name = Path(record.file_name).with_suffix(".geojson").as_posix()
        return Entry({f"geojson/{name}": (json.dumps(collection) + "\n").encode()})

    def _features(self, panoptic: Panoptic) -> Iterator[dict[str, Any]]:
        for segment in panoptic.segments:
            category = self.categories[segment.category_id]
            classification = {"name": category.name, "color": list(category.color)}
            yield {
                "type": "Feature",
                "id": segment.id,
                "geometry": _geometry(panoptic, segment),
                "properties": {
                    "category": category.name,
                    "category_id": category.id,
                    "isthing": category.isthing,
                    "score": segment.score,
                    "area_px": segment.area,
                    "classification": classification,
                },
            }

    def finish(self, folder: Path, rows: Rows) -> None:
        """Write nothing more; see `OutputFormat`."""


def _geometry(panoptic: Panoptic, segment: Segment) -> dict[str, Any]:
    x, y, width, height = segment.bbox
    mask = panoptic.ids[y : y + height, x : x + width] == segment.id
    coordinates = []
    for polygon in polygons(mask):
        coordinates.append([[(x + dx, y + dy) for dx, dy in ring] for ring in polygon])
    if len(coordinates) == 1:
        return {"type": "Polygon", "coordinates": coordinates[0]}
    return {"type": "MultiPolygon", "coordinates": coordinates}
