"""What a sweep keeps of its command."""

from omegaconf import OmegaConf

from maskmill.assembly.sweep import _command


def test_an_interpolation_on_the_line_is_kept_as_it_was_given():
    line = ["prepare.fold=0,1", "prepare.out=out/folds/${prepare.fold}"]
    config = {"prepare": {"fold": None}, "hydra": {"sweeper": {}, "overrides": {"task": line}}}
    assert _command(OmegaConf.create(config)) == line
