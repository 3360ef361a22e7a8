from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from omegaconf import OmegaConf

from maskmill.assembly.build import build


@dataclass(frozen=True)
class Wheel:
    radius: float

    def __post_init__(self):
        if self.radius < 0:
            raise ValueError("Expected a radius of at least 0 - turn the wheel")


@dataclass(frozen=True)
class Cart:
    name: str
    wheels: Wheel
    out: Path
    size: tuple[int, int] = (1, 1)
    kind: Literal["hand", "ox"] = "hand"
    load: object = None


@pytest.fixture(autouse=True)
def project_that_lists_this_module(project):
    (project / "conf").mkdir()
    (project / "conf" / "targets.yaml").write_text(f"configuration: [{__name__}]")


def node(**values):
    own = {
        "_target_": f"{__name__}.Cart",
        "name": "c",
        "wheels": {"_target_": f"{__name__}.Wheel", "radius": 1},
        "out": "out/x",
    }
    return OmegaConf.create({"cart": own | values}).cart


def test_nested_nodes_paths_and_integers_for_floats_are_converted():
    cart = build(node(size=[2, 3]), Cart)
    assert cart.wheels == Wheel(1.0)
    assert cart.out == Path("out/x")
    assert list(cart.size) == [2, 3]


def test_runtime_arguments_are_passed_on():
    assert build(node(), Cart, load=[1]).load == [1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param(
            {"size": [1, "3"]},
            r"cart\.size: expected tuple.*\[1, '3'\].*set another value",
            id="a-string-is-no-number",
        ),
        pytest.param({"size": [1]}, r"cart\.size: expected tuple", id="too-few"),
        pytest.param(
            {"kind": "cow"},
            r"cart\.kind: expected .*'cow'.*'hand' or 'ox'",
            id="not-among-the-choices",
        ),
        pytest.param(
            {"wheels": {"_target_": f"{__name__}.Wheel", "radius": "1e-3x"}},
            r"cart\.wheels\.radius: expected float",
            id="nested",
        ),
        pytest.param(
            {"colour": "red"},
            r"cart\.colour: .*Cart has no argument 'colour', only name, wheels",
            id="unknown-argument",
        ),
    ],
)
def test_a_wrong_value_is_reported_with_its_key_and_the_expected_type(values, message):
    with pytest.raises(ValueError, match=message):
        build(node(**values), Cart)


def test_an_object_of_another_type_is_refused():
    with pytest.raises(ValueError, match=r"Cart to construct a Wheel, but got a Cart"):
        build(node(), Wheel)


def test_a_node_without_target_is_refused():
    with pytest.raises(ValueError, match=r"`_target_`.*choose a file"):
        build(OmegaConf.create({"a": {"b": 1}}).a, Wheel)


def test_an_error_of_the_constructor_keeps_its_message():
    with pytest.raises(ValueError, match="^Expected a radius of at least 0 - turn the wheel$"):
        build(node(wheels={"_target_": f"{__name__}.Wheel", "radius": -1}), Cart)


def test_a_missing_argument_is_named():
    cart = node()
    del cart.name
    with pytest.raises(ValueError, match=r"cart: .*Cart, but got: missing .*'name' - set it"):
        build(cart, Cart)


def test_text_that_looks_like_an_interpolation_stays_text(monkeypatch):
    monkeypatch.setenv("NAME", "interpolated")
    assert build(node(name=r"\${oc.env:NAME}"), Cart).name == "${oc.env:NAME}"


def test_an_argument_of_the_program_replaces_a_node():
    assert build(node(load={"_target_": f"{__name__}.Wheel"}), Cart, load=1).load == 1
