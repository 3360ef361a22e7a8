"""Paths on the command line arrive as the shell passes them."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from maskmill.assembly.command_line import check_flags, quote_paths, read_mappings

PATHS = [
    "plain",
    "with blank",
    "Müller",
    "数据",
    "a=b",
    "a,b",
    "a#b",
    "a(b)",
    "a&b",
    "o'b",
    'a"b',
    "[x]",
    "{x}",
    "a;b",
    "a^b`c!",
    "100%",
    "$x",
    r"\'q",
    r"a b#c\\",
    "~",
    "@home",
]


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("form", ["/data/{}", "../{}/images", "C:\\x/{}\\"])
def test_a_path_of_any_characters_is_the_value(name, form):
    path = form.replace("{}", name)
    (argument,) = quote_paths([f"source.root={path}"])
    assert OverridesParser.create().parse_override(argument).value() == path


@pytest.mark.parametrize(
    ("text", "floors"),
    [
        ("{Fußgänger: 0.5}", {"Fußgänger": 0.5}),
        ("{'traffic light': 0.5, a/b: 0.25}", {"traffic light": 0.5, "a/b": 0.25}),
        ('{"L\'Été, tôt": 0.5}', {"L'Été, tôt": 0.5}),
        ("{road: 0.5}", {"road": 0.5}),
    ],
)
def test_a_mapping_may_have_any_names_as_keys(text, floors):
    overrides = quote_paths([f"register.floors={text}"])
    cfg = OmegaConf.create({"register": {"floors": {}}})
    OmegaConf.set_struct(cfg, True)
    override = OverridesParser.create().parse_override(overrides[0])
    OmegaConf.update(cfg, "register.floors", override.value(), force_add=True)
    read_mappings(cfg, overrides)
    assert cfg.register.floors == floors


def test_a_mapping_without_a_blank_after_the_colon_is_refused():
    overrides = quote_paths(["register.floors={Fußgänger:0.5}"])
    with pytest.raises(ValueError, match=r"register\.floors: expected a mapping, but got \{Fuß"):
        read_mappings(OmegaConf.create({"register": {"floors": {}}}), overrides)


def test_text_that_the_user_quoted_stays_text():
    cfg = OmegaConf.create({"out": "{a,b}"})
    read_mappings(cfg, ["out='{a,b}'"])
    assert cfg.out == "{a,b}"


@pytest.mark.parametrize(
    "argument",
    [
        "optimizer.lr=1e-3",
        "optimizer.lr=1e-3,3e-4",
        "network=unet,fpn",
        "+callbacks.x._target_=maskmill.training.speed.Compiled",
        "~callbacks.best",
        "source.categories=[{id:0,name:bg}]",
        "source.categories=[{id:0,name:Müller}]",
        "source.root='a#b'",
        "out=${now:%H}",
        "--config-dir=a#b",
        "-m",
    ],
)
def test_an_argument_in_hydras_grammar_stays_as_it_is(argument):
    assert quote_paths([argument]) == [argument]


def test_a_comma_separates_the_values_of_a_sweep():
    assert quote_paths(["data.root=a/b,c/d"], is_sweep=True) == ["data.root=a/b,c/d"]


def test_a_path_with_a_comma_is_one_value_of_a_sweep_if_it_exists(tmp_path):
    path = tmp_path / "a=b, #c"
    path.mkdir()
    (argument,) = quote_paths([f"data.root={path}"], is_sweep=True)
    assert OverridesParser.create().parse_override(argument).value() == str(path)


@pytest.mark.parametrize(
    "arguments",
    [["-m", "a=1,2"], ["--multirun"], ["--multi"], ["-cd", "conf"], ["--cfg=job"], ["-mh"], ["--"]],
)
def test_flags_of_hydra_pass(arguments):
    check_flags(arguments)


@pytest.mark.parametrize("argument", ["--epochs", "--max-epochs=3", "-e", "-lr"])
def test_a_flag_that_no_command_has_is_refused(argument):
    with pytest.raises(ValueError, match=f"{argument}: expected overrides like .* write GROUP"):
        check_flags([argument])
