"""`maskmill <command> [Hydra overrides]`: the console script."""

import importlib
import sys

COMMANDS = {
    "compose": "conf/ + params.yaml -> out/conf/, one resolved configuration per stage",
    "check": "raw data -> what is wrong with it, and how to mend it",
    "prepare": "raw data -> canonical data set",
    "shard": "canonical data set -> the same in few large files, in a folder or on S3; train reads it as data.root=...",
    "preview": "canonical data set -> a page of what the network will see",
    "find_batch_size": "canonical data set -> the batch sizes that fit into memory, and how fast each is",
    "find_lr": "canonical data set -> a learning rate, with the picture of loss over learning rate",
    "train": "canonical data set -> model; -m sweeps",
    "predict": "model + images -> label maps",
    "evaluate": "label maps against the truth -> numbers and report",
    "register": "model + numbers -> MLflow model version",
    "draw": "a seed -> more of the scenes the default data set is made of",
}


def main() -> None:
    """Run the named command as `python -m maskmill.stages.<command>` would.

    Raises:
        SystemExit: no command was named (0), or one that does not exist (2).
    """
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in {"-h", "--help"}:
        lines = "\n".join(f"  {command:<17}{what}" for command, what in COMMANDS.items())
        sys.stdout.write(
            f"usage: maskmill <command> [Hydra overrides]\n\n{lines}\n\nmaskmill <command> --help shows its configuration.\n"
        )
        return
    if name == "--version":
        from maskmill import __version__

        sys.stdout.write(f"maskmill {__version__}\n")
        return
    if name not in COMMANDS:
        sys.stderr.write(
            f"maskmill: expected a command, but got {name!r} - choose one of {', '.join(COMMANDS)}\n"
        )
        sys.exit(2)
    del sys.argv[1]
    importlib.import_module(f"maskmill.stages.{name}").main()


if __name__ == "__main__":
    main()
