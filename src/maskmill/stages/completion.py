"""Completion of commands and overrides in bash, zsh and fish."""

from collections.abc import Iterable

BASH = """\
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
ZSH = """\
_maskmill() {{
  if (( CURRENT == 2 )); then
    compadd -- {commands}
  else
    compadd -S '' -- {overrides}
  fi
}}
(( $+functions[compdef] )) || {{ autoload -U compinit && compinit -u }}
compdef _maskmill maskmill
"""
FISH = """\
complete --command maskmill --no-files
complete --command maskmill --condition __fish_use_subcommand --arguments "{commands}"
complete --command maskmill --condition "not __fish_use_subcommand" --arguments "{overrides}"
"""
SHELLS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def completion_script(commands: Iterable[str], shell: str = "bash") -> str:
    """A script for a shell to run at its start.

    Args:
        commands: their names.
        shell: of `SHELLS`.

    Raises:
        ValueError: there is no script for this shell.
    """
    if shell not in SHELLS:
        raise ValueError(
            f"--completion: expected one of {', '.join(SHELLS)}, but got {shell!r} - name one"
        )
    from maskmill.assembly.suggestions import known_choices, known_keys  # with Hydra: not for help

    overrides = []
    for group, names in known_choices().items():
        for name in names:
            overrides.append(f"{group}={name}")
    for key in known_keys():
        if "." in key and "[" not in key:
            overrides.append(f"{key}=")
    words = " ".join(dict.fromkeys([*overrides, "--help", "--cfg"]))
    return SHELLS[shell].format(commands=" ".join(commands), overrides=words)
