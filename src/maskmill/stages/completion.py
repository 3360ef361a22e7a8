"""Completion of commands and overrides in bash, and in zsh through its bashcompinit."""

from collections.abc import Iterable

SCRIPT = """\
_maskmill() {{
  local line="${{COMP_LINE:0:COMP_POINT}}" current words
  current="${{line##* }}"
  if [[ $COMP_CWORD -le 1 ]]; then
    words="{commands}"
  else
    words="{overrides}"
    compopt -o nospace 2>/dev/null
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  if [[ $current == *=* ]]; then  # bash completes what follows the equals sign alone
    COMPREPLY=("${{COMPREPLY[@]#"${{current%%=*}}="}}")
  fi
}}
complete -F _maskmill maskmill
"""


def completion_script(commands: Iterable[str]) -> str:
    """A shell script for `eval`.

    Args:
        commands: their names.
    """
    from maskmill.assembly.suggestions import known_choices, known_keys  # with Hydra: not for help

    overrides = []
    for group, names in known_choices().items():
        for name in names:
            overrides.append(f"{group}={name}")
    for key in known_keys():
        if "." in key and "[" not in key:
            overrides.append(f"{key}=")
    words = " ".join(dict.fromkeys([*overrides, "--help", "--cfg"]))
    return SCRIPT.format(commands=" ".join(commands), overrides=words)
