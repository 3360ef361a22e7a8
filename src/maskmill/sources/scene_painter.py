"""Draws labelled street scenes, pixel for pixel the same on every machine.

That needs care: only `RandomState.random_sample`, whose stream numpy has frozen, and operations IEEE 754 rounds exactly
(+ - * / and comparisons). No sin, exp or normal deviates, no drawing or resampling library: those differ between processors and versions.
"""

from collections.abc import Callable
from dataclasses import dataclass

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
# A thing that shows less than this would ask the network to guess.
MIN_VISIBLE_PX = 30
MIN_VISIBLE_SHARE = 0.5
MIN_THINGS, MAX_THINGS = 3, 8

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Scene:
    """One drawn scene: `image` (H, W, 3) uint8; `classes` category id per pixel, 255 = void; `instances` 1..N on things, else 0."""

    image: RGB
    classes: npt.NDArray[np.uint8]
    instances: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class _Thing:
    """A thing before it is painted: from far to near by `foot`, the row it stands on."""

    category_id: int
    foot: int
    parts: tuple[Part, ...]

    @property
    def mask(self) -> Mask:
        mask: Mask = np.logical_or.reduce([part.mask for part in self.parts])
        return mask


def paint(seed: int, stream: int, number: int) -> Scene:
    """Draw one scene, which depends on nothing but these three numbers.

    Args:
        seed: of the whole set.
        stream: tells splits apart.
        number: of the scene in its split.

    Returns:
        the scene, HEIGHT x WIDTH.
    """
    dice = Dice(seed, stream, number)
    horizon = dice.whole(30, 42)
    canvas, classes = _backdrop(dice, horizon)
    instances = np.zeros(SIZE, np.uint8)
    things: list[_Thing] = []
    while not MIN_THINGS <= len(things) <= MAX_THINGS:
        things = _visible(_things(dice, horizon, classes))
    for number_of_thing, thing in enumerate(things, start=1):
        _shadow(canvas, thing)
        for part in thing.parts:
            canvas[part.mask] = part.paint[part.mask]
        classes[thing.mask], instances[thing.mask] = thing.category_id, number_of_thing
    hood = _hood(dice)
    canvas[hood] = dice.color(20, 60) + 40 * smooth_noise(dice, 4, 40, SIZE)[hood][:, None]
    classes[hood], instances[hood] = VOID, 0
    return Scene(_expose(dice, canvas), classes, instances)


def _backdrop(dice: Dice, horizon: int) -> tuple[Floats, npt.NDArray[np.uint8]]:
    """Sky, buildings, grass and road: colours (H, W, 3) float and category ids (H, W)."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
    classes = np.full(SIZE, SKY, np.uint8)
    canvas = np.zeros((*SIZE, 3))

    top, bottom = (
        np.array(dice.pick(((70, 120, 200), (140, 150, 165), (110, 110, 160)))),
        np.array([200.0, 205.0, 210.0]),
    )
    depth = (rows / horizon)[..., None]
    canvas[:] = (
        top
        + (bottom - top) * np.minimum(depth, 1)
        + 30 * smooth_noise(dice, 9, 24, SIZE)[..., None]
    )

    for mask, colors in _buildings(dice, horizon, rows, columns):
        canvas[mask], classes[mask] = colors[mask], BUILDING

    ground = rows >= horizon
    green = np.array([dice.whole(60, 110), dice.whole(110, 160), dice.whole(40, 70)])
    blades = 0.6 * smooth_noise(dice, 2, 2, SIZE) + 0.4 * smooth_noise(dice, 7, 12, SIZE)
    canvas[ground], classes[ground] = (green * (0.65 + 0.6 * blades[..., None]))[ground], GRASS

    vanishing, foot = dice.whole(50, 110), dice.whole(50, 110)
    near = np.maximum(rows - horizon, 0) / (HEIGHT - horizon)
    middle = vanishing + (foot - vanishing) * near
    half = 4 + dice.whole(45, 75) * near
    road = ground & (np.abs(columns - middle) <= half)
    gray = dice.whole(70, 115)
    asphalt = gray + 14 * smooth_noise(dice, 3, 3, SIZE) + 12 * smooth_noise(dice, 10, 30, SIZE)
    canvas[road], classes[road] = (asphalt[..., None] + np.array([0.0, 0.0, 6.0]))[road], ROAD
    dash = np.floor(24 / (near + 0.25)) % 4 < 2  # dashes shorten towards the horizon
    line = road & (np.abs(columns - middle) <= 0.5 + 1.5 * near) & dash
    canvas[line] = 205
    return canvas, classes


def _buildings(
    dice: Dice, horizon: int, rows: Floats, columns: Floats
) -> list[tuple[Mask, Floats]]:
    """House fronts along the horizon, side by side with gaps: where each is, and its colours over the whole image."""
    fronts = []
    left = dice.whole(-20, 20)
    while left < WIDTH:
        width, height = dice.whole(18, 46), dice.whole(9, horizon - 6)
        mask = (
            (columns >= left)
            & (columns < left + width)
            & (rows >= horizon - height)
            & (rows < horizon)
        )
        wall = np.array(
            dice.pick(
                ((150, 100, 80), (170, 150, 120), (120, 115, 115), (140, 80, 70), (185, 175, 160))
            )
        )
        colors = wall * (0.85 + 0.25 * smooth_noise(dice, 3, 6, SIZE))[..., None]
        pitch, storey = dice.whole(5, 8), dice.whole(5, 8)
        window = ((columns - left) % pitch >= 2) & ((columns - left) % pitch < pitch - 1)
        window &= ((rows - horizon + height) % storey >= 2) & (
            (rows - horizon + height) % storey < storey - 1
        )
        colors[window] = dice.color(30, 90)
        fronts.append((mask, colors))
        left += width + (0 if dice.chance(0.6) else dice.whole(6, 30))
    return fronts


def _things(dice: Dice, horizon: int, classes: npt.NDArray[np.uint8]) -> list[_Thing]:
    """Some things standing on the ground, from far to near."""
    things = []
    for _ in range(dice.whole(4, 10)):
        category_id, draw, ground = dice.pick(_KINDS)
        for _ in range(20):  # throw until it stands where its kind stands
            foot, x = dice.whole(horizon + 5, HEIGHT - 12), dice.whole(-4, WIDTH + 4)
            if classes[foot, min(max(x, 0), WIDTH - 1)] in ground:
                break
        near = (foot - horizon) / (HEIGHT - 12 - horizon)
        things.append(_Thing(category_id, foot, tuple(draw(dice, x, foot, near, SIZE))))
    return sorted(
        things, key=lambda thing: thing.foot
    )  # a stable sort: equal feet keep the order of the dice


_KINDS: tuple[tuple[int, Callable[..., list[Part]], tuple[int, ...]], ...] = (
    (CAR, car, (ROAD,)),
    (PERSON, person, (ROAD, GRASS)),
    (TREE, tree, (GRASS,)),
)


def _visible(things: list[_Thing]) -> list[_Thing]:
    """Leave out, nearest last, what the others and the image border hide too much of."""
    seen: list[_Thing] = []
    covered = np.zeros(SIZE, bool)
    covered[HEIGHT - 9 :] = True  # the hood may be here
    for thing in reversed(things):
        mask = thing.mask
        visible = int(np.count_nonzero(mask & ~covered))
        if visible >= MIN_VISIBLE_PX and visible >= MIN_VISIBLE_SHARE * np.count_nonzero(mask):
            seen.append(thing)
            covered |= mask
    return seen[::-1]


def _shadow(canvas: Floats, thing: _Thing) -> None:
    """Darken the ground under a thing; a shadow keeps the ground's class."""
    columns = np.flatnonzero(thing.mask.any(axis=0))
    half = (columns[-1] - columns[0] + 1) / 2
    canvas[ellipse(SIZE, thing.foot, columns[0] + half, 1 + half / 5, 1 + half)] *= 0.7


def _hood(dice: Dice) -> Mask:
    """The bonnet of the car that carries the camera: void, as in Cityscapes."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
    middle, height = dice.whole(60, 100), dice.whole(5, 9)
    aside = (columns - middle) / WIDTH
    hood: Mask = rows >= HEIGHT - height + 8 * aside * aside
    return hood


def _expose(dice: Dice, canvas: Floats) -> RGB:
    """Light of the day, a colour cast, and sensor noise of +-3 levels."""
    light = 0.75 + 0.35 * dice.share()
    cast = np.array([0.95 + 0.1 * dice.share() for _ in range(3)])
    grain = np.floor(7 * dice.shares((*SIZE, 3))) - 3
    image: RGB = np.clip(np.floor(canvas * light * cast + grain), 0, 255).astype(np.uint8)
    return image
