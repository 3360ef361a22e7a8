"""Outlines of masks along the edges of their pixels: valid polygons with holes, exactly."""

from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Point = tuple[int, int]  # x, y: corners of pixels, so the first pixel is from (0, 0) to (1, 1)
Ring = list[Point]  # closed: the last point is the first
Polygon = list[Ring]  # the exterior, then the holes


def polygons(mask: Mask) -> list[Polygon]:
    """The polygons that cover exactly the pixels of a mask.

    OpenCV's contours go through the middle of pixels, so that a line of pixels has no area.

    Each 4-connected part is a polygon. Its rings do not touch or cross themselves; a hole may touch
    the exterior in a point. Seen on the screen, where y grows downwards, exteriors are clockwise
    and holes counterclockwise; with y upwards it is the order of GeoJSON (RFC 7946).

    Args:
        mask: (H, W).

    Returns:
        from top to bottom.

    Example:
        >>> polygons(np.array([[True, True, False]]))
        [[[(0, 0), (2, 0), (2, 1), (0, 1), (0, 0)]]]
    """
    image = mask.astype(np.uint8)
    num_parts, parts, boxes, _ = cv2.connectedComponentsWithStats(image, connectivity=4)
    found = []
    for part in range(1, num_parts):
        x, y, width, height, _ = boxes[part].tolist()
        inside = parts[y : y + height, x : x + width] == part
        rings = sorted(_rings(inside), key=_area, reverse=True)  # those of holes are negative
        found.append([[(x + dx, y + dy) for dx, dy in ring] for ring in rings])
    return found


def _rings(part: Mask) -> Iterator[Ring]:
    """The simple rings around a 4-connected part: one exterior, and holes."""
    following = _edges(part)
    while following:
        path = [next(iter(following))]
        position = {path[0]: 0}  # of each point on the path
        while path[-1] in following:
            point = following[path[-1]].pop()
            if not following[path[-1]]:
                del following[path[-1]]
            if point not in position:
                position[point] = len(path)
                path.append(point)
                continue
            ring = path[position[point] :]
            yield _without_straight_points(ring)
            for inner in ring[1:]:
                del position[inner]
            del path[position[point] + 1 :]


def _edges(part: Mask) -> dict[Point, list[Point]]:
    """Corner -> the next corners, with the part to the right of each edge on the screen."""
    padded = np.pad(part, 1)
    inside = padded[1:-1, 1:-1]
    following: dict[Point, list[Point]] = {}
    # step from the corner of the pixel (x, y): where the edge starts, and where it ends
    for neighbour, start, end in (
        (padded[:-2, 1:-1], (0, 0), (1, 0)),  # nothing above: to the right along the top
        (padded[1:-1, 2:], (1, 0), (1, 1)),  # nothing to the right: down
        (padded[2:, 1:-1], (1, 1), (0, 1)),  # nothing below: to the left
        (padded[1:-1, :-2], (0, 1), (0, 0)),  # nothing to the left: up
    ):
        rows, columns = np.nonzero(inside & ~neighbour)
        for x, y in zip(columns.tolist(), rows.tolist(), strict=True):
            corner = (x + start[0], y + start[1])
            following.setdefault(corner, []).append((x + end[0], y + end[1]))
    return following


def _without_straight_points(ring: Ring) -> Ring:
    """A closed ring of corners where its direction changes, from the topmost leftmost one."""
    kept = []
    for index, (x, y) in enumerate(ring):
        before = ring[index - 1]
        after = ring[(index + 1) % len(ring)]
        is_straight = before[0] == x == after[0] or before[1] == y == after[1]
        if not is_straight:
            kept.append((x, y))
    first = min(range(len(kept)), key=lambda index: kept[index][::-1])
    return [*kept[first:], *kept[: first + 1]]


def _area(ring: Ring) -> float:
    """The signed area of a closed ring: positive for exteriors, negative for holes."""
    total = 0
    for (x, y), (next_x, next_y) in zip(ring[:-1], ring[1:], strict=True):
        total += x * next_y - next_x * y
    return total / 2
