"""Draws labelled street scenes, pixel for pixel the same on every machine.

This allows only `RandomState.random_sample`, whose stream numpy has frozen, and operations that
IEEE 754 rounds exactly (+ - * / and comparisons). There is no sin, no exp, no normal distribution,
and no drawing or resampling library: these differ between processors and versions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from maskmill.canonical.categories import Categories, Category
from maskmill.canonical.png import RGB
from maskmill.sources.scene_shapes import Dice, Part, car, ellipse, person, smooth_noise, tree

SIZE = HEIGHT, WIDTH = 96, 160
VOID = 255
SKY, BUILDING, GRASS, ROAD, CAR, PERSON, TREE = 1, 2, 3, 4, 11, 12, 13
CATEGORIES = Categories(
    [
        Category(SKY, "sky", False, (120, 180, 230)),
        Category(BUILDING, "building", False, (150, 110, 90)),
        Category(GRASS, "grass", False, (110, 190, 80)),
        Category(ROAD, "road", False, (128, 64, 128)),
        Category(CAR, "car", True, (30, 60, 200)),
        Category(PERSON, "person", True, (220, 30, 60)),
        Category(TREE, "tree", True, (20, 110, 40)),
    ]
)
# A thing with fewer visible pixels could not be recognized.
MIN_VISIBLE_PX = 30
MIN_VISIBLE_SHARE = 0.5
MIN_THINGS, MAX_THINGS = 3, 8

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Scene:
    """One drawn scene.

    Args:
        image: (H, W, 3) uint8.
        classes: (H, W) category ids, 255 = void.
        instances: (H, W) instance ids 1..N on things, 0 elsewhere.
    """

    image: RGB
    classes: npt.NDArray[np.uint8]
    instances: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class _Thing:
    """A thing before it is painted; `foot` is the row on which it stands."""

    category_id: int
    foot: int
    parts: tuple[Part, ...]

    @cached_property
    def mask(self) -> Mask:
        mask: Mask = np.logical_or.reduce([part.mask for part in self.parts])
        return mask


def paint(seed: int, stream: int, index: int) -> Scene:
    """Draw one scene, which depends on nothing but these three numbers.

    Args:
        seed: the seed of the whole set.
        stream: the position of the split.
        index: the position of the scene in its split.

    Returns:
        the scene, HEIGHT x WIDTH pixels.
    """
    dice = Dice(seed, stream, index)
    horizon = dice.whole(30, 42)
    canvas, classes = _backdrop(dice, horizon)
    instances = np.zeros(SIZE, np.uint8)
    things: list[_Thing] = []
    while not MIN_THINGS <= len(things) <= MAX_THINGS:
        things = _visible(_things(dice, horizon, classes))
    for instance_id, thing in enumerate(things, start=1):
        _shadow(canvas, thing)
        for part in thing.parts:
            canvas[part.mask] = part.paint[part.mask]
        mask = thing.mask
        classes[mask] = thing.category_id
        instances[mask] = instance_id
    hood = _hood(dice)
    color = dice.color(20, 60)
    canvas[hood] = color + 40 * smooth_noise(dice, 4, 40, SIZE)[hood][:, None]
    classes[hood] = VOID
    instances[hood] = 0
    return Scene(_expose(dice, canvas), classes, instances)


def _backdrop(dice: Dice, horizon: int) -> tuple[Floats, npt.NDArray[np.uint8]]:
    """Sky, buildings, grass and road: colours (H, W, 3) float and category ids (H, W)."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
    classes = np.full(SIZE, SKY, np.uint8)
    canvas = _sky(dice, horizon, rows)
    for mask, colors in _buildings(dice, horizon, rows, columns):
        canvas[mask] = colors[mask]
        classes[mask] = BUILDING
    ground = rows >= horizon
    canvas[ground] = _grass(dice)[ground]
    classes[ground] = GRASS
    _draw_road(dice, horizon, rows, columns, canvas, classes)
    return canvas, classes


def _sky(dice: Dice, horizon: int, rows: Floats) -> Floats:
    """A sky that is lighter towards the horizon, with clouds: colours (H, W, 3)."""
    top = np.array(dice.pick(((70, 120, 200), (140, 150, 165), (110, 110, 160))))
    bottom = np.array([200.0, 205.0, 210.0])
    depth = np.minimum((rows / horizon)[..., None], 1)
    clouds = 30 * smooth_noise(dice, 9, 24, SIZE)[..., None]
    sky: Floats = top + (bottom - top) * depth + clouds
    return sky


def _grass(dice: Dice) -> Floats:
    """Grass with fine and coarse patches: colours (H, W, 3)."""
    green = np.array([dice.whole(60, 110), dice.whole(110, 160), dice.whole(40, 70)])
    fine = smooth_noise(dice, 2, 2, SIZE)
    coarse = smooth_noise(dice, 7, 12, SIZE)
    blades = 0.6 * fine + 0.4 * coarse
    return green * (0.65 + 0.6 * blades[..., None])


def _draw_road(
    dice: Dice,
    horizon: int,
    rows: Floats,
    columns: Floats,
    canvas: Floats,
    classes: npt.NDArray[np.uint8],
) -> None:
    """Draw a road that narrows towards the horizon, with a dashed line in the middle."""
    vanishing_x = dice.whole(50, 110)
    foot_x = dice.whole(50, 110)
    near = np.maximum(rows - horizon, 0) / (HEIGHT - horizon)
    middle = vanishing_x + (foot_x - vanishing_x) * near
    half = 4 + dice.whole(45, 75) * near
    from_middle = np.abs(columns - middle)
    road = (rows >= horizon) & (from_middle <= half)
    gray = dice.whole(70, 115)
    fine = smooth_noise(dice, 3, 3, SIZE)
    coarse = smooth_noise(dice, 10, 30, SIZE)
    asphalt = gray + 14 * fine + 12 * coarse
    canvas[road] = (asphalt[..., None] + np.array([0.0, 0.0, 6.0]))[road]
    classes[road] = ROAD
    dash = np.floor(24 / (near + 0.25)) % 4 < 2  # dashes become shorter towards the horizon
    line = road & (from_middle <= 0.5 + 1.5 * near) & dash
    canvas[line] = 205


WALLS = ((150, 100, 80), (170, 150, 120), (120, 115, 115), (140, 80, 70), (185, 175, 160))


def _buildings(
    dice: Dice, horizon: int, rows: Floats, columns: Floats
) -> list[tuple[Mask, Floats]]:
    """House fronts along the horizon, side by side with gaps.

    Returns:
        masks (H, W), each with colours (H, W, 3) for the whole image.
    """
    fronts = []
    left = dice.whole(-20, 20)
    while left < WIDTH:
        width = dice.whole(18, 46)
        height = dice.whole(9, horizon - 6)
        x = columns - left
        y = rows - horizon + height
        mask = (x >= 0) & (columns < left + width) & (y >= 0) & (rows < horizon)
        wall = np.array(dice.pick(WALLS))
        colors = wall * (0.85 + 0.25 * smooth_noise(dice, 3, 6, SIZE))[..., None]
        window_pitch = dice.whole(5, 8)
        storey = dice.whole(5, 8)
        window_x = x % window_pitch
        window_y = y % storey
        is_pane_x = (window_x >= 2) & (window_x < window_pitch - 1)
        is_pane_y = (window_y >= 2) & (window_y < storey - 1)
        colors[is_pane_x & is_pane_y] = dice.color(30, 90)
        fronts.append((mask, colors))
        left += width
        if not dice.chance(0.6):
            left += dice.whole(6, 30)
    return fronts


def _things(dice: Dice, horizon: int, classes: npt.NDArray[np.uint8]) -> list[_Thing]:
    """Some things on the ground, from far to near."""
    things: list[_Thing] = []
    for _ in range(dice.whole(4, 10)):
        category_id, draw, ground = dice.pick(_KINDS)
        for _ in range(20):  # try until it is on ground that suits its kind
            foot = dice.whole(horizon + 5, HEIGHT - 12)
            x = dice.whole(-4, WIDTH + 4)
            if classes[foot, min(max(x, 0), WIDTH - 1)] in ground:
                break
        near = (foot - horizon) / (HEIGHT - 12 - horizon)
        things.append(_Thing(category_id, foot, tuple(draw(dice, x, foot, near, SIZE))))
    return sorted(things, key=lambda thing: thing.foot)  # stable: equal feet keep their order


_KINDS: tuple[tuple[int, Callable[..., list[Part]], tuple[int, ...]], ...] = (
    (CAR, car, (ROAD,)),
    (PERSON, person, (ROAD, GRASS)),
    (TREE, tree, (GRASS,)),
)


def _visible(things: list[_Thing]) -> list[_Thing]:
    """The things that nearer things and the hood do not hide too much."""
    seen: list[_Thing] = []
    covered = np.zeros(SIZE, bool)
    covered[HEIGHT - 9 :] = True  # the hood can be here
    for thing in reversed(things):
        mask = thing.mask
        visible_px = int(np.count_nonzero(mask & ~covered))
        min_visible_px = max(MIN_VISIBLE_PX, MIN_VISIBLE_SHARE * np.count_nonzero(mask))
        if visible_px >= min_visible_px:
            seen.append(thing)
            covered |= mask
    return seen[::-1]


def _shadow(canvas: Floats, thing: _Thing) -> None:
    """Darken the ground under a thing; a shadow keeps the ground's class."""
    columns = np.flatnonzero(thing.mask.any(axis=0))
    half = (columns[-1] - columns[0] + 1) / 2
    canvas[ellipse(SIZE, thing.foot, columns[0] + half, 1 + half / 5, 1 + half)] *= 0.7


def _hood(dice: Dice) -> Mask:
    """The hood of the car with the camera, (H, W) bool: void, as in Cityscapes."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
    middle = dice.whole(60, 100)
    height = dice.whole(5, 9)
    aside = (columns - middle) / WIDTH
    hood: Mask = rows >= HEIGHT - height + 8 * aside * aside
    return hood


def _expose(dice: Dice, canvas: Floats) -> RGB:
    """The image under daylight with a colour cast, and with sensor noise of +-3 levels."""
    light = 0.75 + 0.35 * dice.share()
    cast = np.array([0.95 + 0.1 * dice.share() for _ in range(3)])
    grain = np.floor(7 * dice.shares((*SIZE, 3))) - 3
    levels = np.floor(canvas * light * cast + grain)
    image: RGB = np.clip(levels, 0, 255).astype(np.uint8)
    return image
