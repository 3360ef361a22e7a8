"""Elements of drawn scenes: random numbers, noise, and shapes of cars, persons and trees."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T")
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Size = tuple[int, int]


class Dice:
    """Random numbers that exact operations derive from the stream `RandomState.random_sample`."""

    def __init__(self, *seeds: int) -> None:
        self._state = np.random.RandomState(list(seeds))

    def share(self) -> float:
        """A number in [0, 1)."""
        return float(self._state.random_sample())

    def shares(self, shape: tuple[int, ...]) -> Floats:
        """An array of numbers in [0, 1)."""
        return self._state.random_sample(shape)

    def whole(self, low: int, high: int) -> int:
        """An integer in low..high - 1."""
        return low + int(self.share() * (high - low))

    def chance(self, share: float) -> bool:
        """True with probability `share`."""
        return self.share() < share

    def pick(self, choices: Sequence[T]) -> T:
        """One of the choices."""
        return choices[self.whole(0, len(choices))]

    def color(self, low: int, high: int) -> Floats:
        """A colour (3,) with channels in low..high - 1."""
        return np.array([self.whole(low, high) for _ in range(3)], dtype=np.float64)


@dataclass(frozen=True)
class Part:
    """A painted part of a thing: its pixels `mask` (H, W), and `paint` (H, W, 3), their colours."""

    mask: Mask
    paint: Floats


def smooth_noise(dice: Dice, cell_y: int, cell_x: int, size: Size) -> Floats:
    """Random values on a lattice with bilinear interpolation, (H, W) in [0, 1)."""
    height, width = size
    lattice = dice.shares((height // cell_y + 2, width // cell_x + 2))
    y = np.arange(height)
    x = np.arange(width)
    weight_y = ((y % cell_y) / cell_y)[:, None]
    weight_x = ((x % cell_x) / cell_x)[None, :]
    upper = lattice[y // cell_y]
    lower = lattice[y // cell_y + 1]
    rows = upper + (lower - upper) * weight_y
    left = rows[:, x // cell_x]
    right = rows[:, x // cell_x + 1]
    return left + (right - left) * weight_x


def ellipse(size: Size, y: float, x: float, radius_y: float, radius_x: float) -> Mask:
    """The pixels inside an ellipse, (H, W) bool."""
    rows, columns = _grid(size)
    dy = (rows - y) / radius_y
    dx = (columns - x) / radius_x
    return dy * dy + dx * dx <= 1


def trapezoid(
    size: Size, top: float, bottom: float, x: float, half_top: float, half_bottom: float
) -> Mask:
    """The pixels of a trapezoid around column `x`, (H, W) bool.

    It extends from row `top` to row `bottom`, both included; its half width changes linearly.
    """
    rows, columns = _grid(size)
    depth = (rows - top) / max(bottom - top, 1)
    half = half_top + (half_bottom - half_top) * depth
    return (rows >= top) & (rows <= bottom) & (np.abs(columns - x) <= half)


CAR_COLORS = (
    (200, 40, 40),
    (40, 70, 190),
    (225, 225, 225),
    (35, 35, 40),
    (210, 180, 50),
    (150, 155, 165),
    (30, 130, 140),
)


def car(dice: Dice, x: int, foot: int, near: float, size: Size) -> list[Part]:
    """A shiny car from behind or from the side: two wheels, a cabin with panes, a body, lights."""
    height = 7 + 17 * near
    half = height * (0.62 if dice.chance(0.5) else 1.05)
    color = np.array(dice.pick(CAR_COLORS), dtype=np.float64) * (0.85 + 0.3 * dice.share())
    waist = foot - 0.55 * height
    wheel = 0.2 * height
    wheel_y = foot - wheel
    left_wheel = ellipse(size, wheel_y, x - 0.62 * half, wheel, wheel)
    right_wheel = ellipse(size, wheel_y, x + 0.62 * half, wheel, wheel)
    cabin = trapezoid(size, foot - height, waist, x, 0.5 * half, 0.8 * half)
    body = trapezoid(size, waist, foot - 0.15 * height, x, 0.96 * half, half)
    panes = trapezoid(size, foot - 0.88 * height, waist - 1, x, 0.38 * half, 0.62 * half)
    band = trapezoid(size, waist + 0.1 * height, waist + 0.2 * height, x, half, half)
    middle = trapezoid(size, waist, foot, x, 0.72 * half, 0.72 * half)
    light_color = np.array(dice.pick(((230, 60, 40), (250, 240, 190))), dtype=np.float64)
    return [
        Part(left_wheel, _flat(size, 18.0)),
        Part(right_wheel, _flat(size, 18.0)),
        Part(cabin, _flat(size, 0.8 * color)),
        Part(body, _sheen(size, waist, height, color)),
        Part(panes, _flat(size, np.array([50.0, 65, 80]))),
        Part(band & ~middle & body, _flat(size, light_color)),
    ]


def person(dice: Dice, x: int, foot: int, near: float, size: Size) -> list[Part]:
    """A standing person: two legs, a torso that may have stripes, and a head."""
    rows, columns = _grid(size)
    height = 14 + 28 * near
    half = 0.19 * height
    skin = np.array(dice.pick(((225, 180, 150), (190, 140, 105), (120, 80, 60))), dtype=np.float64)
    shirt = dice.color(30, 256)
    trousers = dice.color(20, 110)
    shoulder = foot - 0.80 * height
    hip = foot - 0.45 * height
    stride = (0.35 + 0.25 * dice.share()) * half
    gap = stride * (rows - hip) / (foot - hip)
    legs = trapezoid(size, hip, foot, x, 0.9 * half, half) & (np.abs(columns - x) >= gap)
    stripes = np.zeros((size[0], 1, 1), bool)
    if dice.chance(0.4):
        stripes = ((rows - np.floor(shoulder)) % 4 < 2)[..., None]
    torso = trapezoid(size, shoulder, hip, x, 1.15 * half, 0.95 * half)
    head = ellipse(size, foot - 0.89 * height, x, 0.115 * height, 0.10 * height)
    return [
        Part(legs, _flat(size, trousers)),
        Part(torso, _flat(size, np.where(stripes, 0.6 * shirt, shirt))),
        Part(head, _flat(size, skin)),
    ]


def tree(dice: Dice, x: int, foot: int, near: float, size: Size) -> list[Part]:
    """A tree: a brown trunk and a crown of leaves, round or conical."""
    height = 15 + 42 * near
    bark = np.array([90.0, 65, 45]) * (0.8 + 0.4 * dice.share())
    leaf = np.array([dice.whole(15, 75), dice.whole(70, 105), dice.whole(15, 45)], dtype=np.float64)
    crown = leaf * (0.35 + 1.2 * smooth_noise(dice, 3, 3, size))[..., None]
    trunk = trapezoid(size, foot - 0.5 * height, foot, x, 0.045 * height, 0.06 * height)
    if dice.chance(0.6):
        half = (0.24 + 0.1 * dice.share()) * height
        leaves = ellipse(size, foot - 0.66 * height, x, 0.34 * height, half)
    else:
        half = (0.24 + 0.08 * dice.share()) * height
        leaves = trapezoid(size, foot - height, foot - 0.25 * height, x, 0.5, half)
    return [Part(trunk, _flat(size, bark)), Part(leaves, crown)]


def _grid(size: Size) -> tuple[Floats, Floats]:
    """The row numbers (H, 1) and the column numbers (1, W)."""
    rows = np.arange(size[0], dtype=np.float64)[:, None]
    columns = np.arange(size[1], dtype=np.float64)[None, :]
    return rows, columns


def _flat(size: Size, color: Floats | float) -> Floats:
    """A colour, or one for each row (H, 1, 3), repeated: (H, W, 3)."""
    return np.broadcast_to(np.asarray(color, dtype=np.float64), (*size, 3))


def _sheen(size: Size, top: float, height: float, color: Floats) -> Floats:
    """A colour that is lighter at the top, like metal under the sky: (H, W, 3)."""
    rows, _ = _grid(size)
    lightness = 1.15 - 0.4 * np.clip((rows - top) / height, 0, 1)  # (H, 1)
    return _flat(size, color * lightness[..., None])
