"""`maskmill <command> [Hydra overrides]`: the console script."""

import difflib
import importlib
import sys

from maskmill.stages.help_texts import help_of

COMMANDS = {
    "new": "a folder name -> a project of your own, ready for `dvc repro`",
    "compose": "conf/ and params.yaml -> out/conf/, one resolved configuration per stage",
    "config": "conf/ and overrides -> the configuration, with the file of each value",
    "check": "raw data -> a list of its problems and how to fix them",
    "prepare": "raw data -> a data set in the canonical format",
    "shard": "prepared data set -> a copy in a few large files, in a folder or on S3",
    "preview": "prepared data set -> a page of the images as the network sees them",
    "plan": "prepared data set -> an experiment that suits it, with a reason for each choice",
    "find_batch_size": "prepared data set -> batch sizes that fit into memory, and their speed",
    "find_lr": "prepared data set -> a learning rate, with the curve behind it",
    "train": "prepared data set -> a model; -m sweeps",
    "ensemble": "several models, such as those of folds -> one that averages their outputs",
    "predict": "model and images -> predictions",
    "evaluate": "predictions and ground truth -> metrics and a report",
    "register": "model and metrics -> a version in the MLflow model registry",
    "serve": "a model -> an HTTP server, with a page to try it",
    "package": "a model -> Dockerfile and compose.yaml of its server",
    "models": "registry -> its models, or the versions of one: scores, aliases, reasons",
    "promote": "a version of the registry -> champion, by hand and with a reason",
    "rollback": "the champion before the present one -> champion again",
    "reproduce": "a version of the registry -> trained again, with the same weights or the reason",
    "monitor": "a server's log or images -> drift, scores without labels, images to label",
    "export": "model -> ONNX, OpenVINO or a program, compared with the model",
    "ui": "tracking store -> MLflow's pages: runs, curves, pictures, models",
    "doctor": "this machine and project -> what is wrong; --fix repairs the tracking store",
    "draw": "a seed -> more scenes like those of the default data set",
}


def help_text() -> str:
    """What `maskmill --help` prints: a line per command."""
    lines = [f"  {command:<17}{result}" for command, result in COMMANDS.items()]
    usage = "usage: maskmill <command> [Hydra overrides], or maskmill new FOLDER"
    ending = (
        "maskmill <command> --help shows the settings of a command.\n"
        "maskmill --completion prints a script that lets bash, zsh or fish complete settings."
    )
    return "\n".join([usage, "", *lines, "", ending, ""])


def main() -> None:
    """Run the named command as `python -m maskmill.stages.<command>` would.

    Raises:
        SystemExit: no command was named (0), or one that does not exist (2).
    """
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in {"-h", "--help"}:
        sys.stdout.write(help_text())
        return
    if name == "--version":
        from maskmill import __version__

        sys.stdout.write(f"maskmill {__version__}\n")
        return
    if name == "--completion":
        from maskmill.stages.completion import completion_script

        try:
            sys.stdout.write(completion_script(COMMANDS, *sys.argv[2:3]))
        except ValueError as error:
            sys.stderr.write(f"{error}\n")
            sys.exit(2)
        return
    if name not in COMMANDS:
        similar = difflib.get_close_matches(name, COMMANDS, n=1)
        perhaps = f" (perhaps {similar[0]})" if similar else ""
        sys.stderr.write(
            f"maskmill: expected a command, but got {name!r} - "
            f"choose one of {', '.join(COMMANDS)}{perhaps}\n"
        )
        sys.exit(2)
    if {"-h", "--help"} & set(sys.argv[2:]):
        text = help_of(name, COMMANDS[name])
        if text is not None:
            sys.stdout.write(text)
            return
    del sys.argv[1]
    importlib.import_module(f"maskmill.stages.{name}").main()


if __name__ == "__main__":
    main()
