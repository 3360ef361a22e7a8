import pytest
from omegaconf import OmegaConf

from maskmill.assembly.build import build
from strategies import CATEGORIES


@pytest.fixture
def build_from_config():
    """Builds an object in the same way as the stages, so that its bounds are checked."""

    def build_node(target, *, with_categories=False, **values):
        node = OmegaConf.create({"node": {"_target_": f"maskmill.postprocess.{target}"} | values})
        runtime = {"categories": CATEGORIES} if with_categories else {}
        return build(node.node, object, **runtime)

    return build_node
