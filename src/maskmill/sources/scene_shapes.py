"""What drawn scenes are made of: exact dice, smooth noise, and the shapes of cars, persons and trees."""

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
    """Random numbers from one frozen stream: everything is derived from `RandomState.random_sample` by exact operations."""

    def __init__(self, *seeds: int) -> None:
        self._state = np.random.RandomState(list(seeds))

    def share(self) -> float:
        """A number in [0, 1)."""
        return float(self._state.random_sample())

    def shares(self, shape: tuple[int, ...]) -> Floats:
        """An array of numbers in [0, 1)."""
        return self._state.random_sample(shape)

    def whole(self, low: int, high: int) -> int:
        """A whole number in low..high - 1."""
        return low + int(self.share() * (high - low))

    def chance(self, share: float) -> bool:
        """True in this share of throws."""
        return self.share() < share

    def pick(self, choices: Sequence[T]) -> T:
        """One of the choices."""
        return choices[self.whole(0, len(choices))]

    def color(self, low: int, high: int) -> Floats:
        """A colour whose channels are in low..high - 1, (3,)."""
        return np.array([self.whole(low, high) for _ in range(3)], dtype=np.float64)


@dataclass(frozen=True)
class Part:
    """A painted piece of a thing: `mask` (H, W) says where, `paint` (H, W, 3) or (1, 1, 3) broadcast says in which colours."""

    mask: Mask
    paint: Floats


def smooth_noise(dice: Dice, cell_y: int, cell_x: int, size: Size) -> Floats:
    """Random values on a lattice, bilinearly between: (H, W) in [0, 1)."""
    height, width = size
    lattice = dice.shares((height // cell_y + 2, width // cell_x + 2))
    y, x = np.arange(height), np.arange(width)
    weight_y, weight_x = ((y % cell_y) / cell_y)[:, None], ((x % cell_x) / cell_x)[None, :]
    upper, lower = lattice[y // cell_y], lattice[y // cell_y + 1]
    rows = upper + (lower - upper) * weight_y
    left, right = rows[:, x // cell_x], rows[:, x // cell_x + 1]
    return left + (right - left) * weight_x


def ellipse(size: Size, y: float, x: float, radius_y: float, radius_x: float) -> Mask:
    """Pixels whose place lies in an ellipse, (H, W)."""
    rows, columns = _grid(size)
    dy, dx = (rows - y) / radius_y, (columns - x) / radius_x
    return dy * dy + dx * dx <= 1


def trapezoid(
    size: Size, top: float, bottom: float, x: float, half_top: float, half_bottom: float
) -> Mask:
    """Pixels between two rows (both included) and within a half width of column `x` that runs from one to the other, (H, W)."""
    rows, columns = _grid(size)
    depth = (rows - top) / max(bottom - top, 1)
    half = half_top + (half_bottom - half_top) * depth
    return (rows >= top) & (rows <= bottom) & (np.abs(columns - x) <= half)


def car(dice: Dice, x: int, foot: int, near: float, size: Size) -> list[Part]:
    """A car from behind or from the side: body, cabin with panes, wheels; shiny in any colour, with a light band."""
    height = 7 + 17 * near
    half = height * (0.62 if dice.chance(0.5) else 1.05)
    colors = (
        (200, 40, 40),
        (40, 70, 190),
        (225, 225, 225),
        (35, 35, 40),
        (210, 180, 50),
        (150, 155, 165),
        (30, 130, 140),
    )
    color = np.array(dice.pick(colors), dtype=np.float64) * (0.85 + 0.3 * dice.share())
    waist = foot - 0.55 * height
    wheel = 0.2 * height
    parts = [
        Part(ellipse(size, foot - wheel, x + side * 0.62 * half, wheel, wheel), _flat(size, 18.0))
        for side in (-1, 1)
    ]
    parts.append(
        Part(
            trapezoid(size, foot - height, waist, x, 0.5 * half, 0.8 * half),
            _flat(size, 0.8 * color),
        )
    )
    parts.append(
        Part(
            trapezoid(size, waist, foot - 0.15 * height, x, 0.96 * half, half),
            _sheen(size, waist, height, color),
        )
    )
    parts.append(
        Part(
            trapezoid(size, foot - 0.88 * height, waist - 1, x, 0.38 * half, 0.62 * half),
            _flat(size, np.array([50.0, 65, 80])),
        )
    )
    lamp = dice.pick(((230, 60, 40), (250, 240, 190)))
    light = trapezoid(size, waist + 0.1 * height, waist + 0.2 * height, x, half, half)
    light &= ~trapezoid(size, waist, foot, x, 0.72 * half, 0.72 * half) & parts[3].mask
    parts.append(Part(light, _flat(size, np.array(lamp, dtype=np.float64))))
    return parts


def person(dice: Dice, x: int, foot: int, near: float, size: Size) -> list[Part]:
    """A standing person: two legs, a torso with stripes or none, a head."""
    height = 14 + 28 * near
    half = 0.19 * height
    skin = np.array(dice.pick(((225, 180, 150), (190, 140, 105), (120, 80, 60))), dtype=np.float64)
    shirt, trousers = dice.color(30, 256), dice.color(20, 110)
    shoulder, hip = foot - 0.80 * height, foot - 0.45 * height
    stride = (0.35 + 0.25 * dice.share()) * half
    legs = trapezoid(size, hip, foot, x, 0.9 * half, half) & (
        np.abs(_grid(size)[1] - x) >= stride * (_grid(size)[0] - hip) / (foot - hip)
    )
    rows, _ = _grid(size)
    stripes = (
        ((rows - np.floor(shoulder)) % 4 < 2)[..., None]
        if dice.chance(0.4)
        else np.zeros((*size, 1), bool)
    )
    torso = np.where(stripes, 0.6 * shirt, shirt)
    return [
        Part(legs, _flat(size, trousers)),
        Part(trapezoid(size, shoulder, hip, x, 1.15 * half, 0.95 * half), torso),
        Part(
            ellipse(size, foot - 0.89 * height, x, 0.115 * height, 0.10 * height), _flat(size, skin)
        ),
    ]


def tree(dice: Dice, x: int, foot: int, near: float, size: Size) -> list[Part]:
    """A tree: a brown trunk and a crown of leaves, round or conical."""
    height = 15 + 42 * near
    bark = np.array([90.0, 65, 45]) * (0.8 + 0.4 * dice.share())
    leaf = np.array([dice.whole(15, 75), dice.whole(70, 105), dice.whole(15, 45)], dtype=np.float64)
    crown = leaf * (0.35 + 1.2 * smooth_noise(dice, 3, 3, size))[..., None]
    trunk = trapezoid(size, foot - 0.5 * height, foot, x, 0.045 * height, 0.06 * height)
    if dice.chance(0.6):
        leaves = ellipse(
            size, foot - 0.66 * height, x, 0.34 * height, (0.24 + 0.1 * dice.share()) * height
        )
    else:
        leaves = trapezoid(
            size, foot - height, foot - 0.25 * height, x, 0.5, (0.24 + 0.08 * dice.share()) * height
        )
    return [Part(trunk, _flat(size, bark)), Part(leaves, crown)]


def _grid(size: Size) -> tuple[Floats, Floats]:
    rows, columns = np.mgrid[0 : size[0], 0 : size[1]].astype(np.float64)
    return rows, columns


def _flat(size: Size, color: Floats | float) -> Floats:
    return np.broadcast_to(np.asarray(color, dtype=np.float64), (*size, 3))


def _sheen(size: Size, top: float, height: float, color: Floats) -> Floats:
    """Paint that is lighter above, as metal under the sky."""
    rows, _ = _grid(size)
    return color * (1.15 - 0.4 * np.clip((rows - top) / height, 0, 1))[..., None]
