"""Forks processes from one that has imported the libraries: `python preloaded_server.py FOLDER`.

`preloaded_python.py` sends a command line with its standard streams. The forked process gets the
working directory, environment and import path that a fresh interpreter would have.
"""

import atexit
import gc
import importlib
import importlib.machinery
import json
import multiprocessing.util
import os
import runpy
import selectors
import signal
import socket
import struct
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path

import mlflow
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from lightning.fabric.utilities.rank_zero import _get_rank, rank_zero_only
from mlflow.utils import requirements_utils
from omegaconf import OmegaConf
from PIL import Image

from maskmill.serving.program import trace

PRELOADED = [
    "maskmill.assembly.headline",
    "maskmill.assembly.prediction_job",
    "maskmill.assembly.raw_data",
    "maskmill.assembly.registration",
    "maskmill.assembly.scoring",
    "maskmill.assembly.training_job",
    "maskmill.assembly.tuning",
    "maskmill.losses.panoptic_deeplab",
    "maskmill.networks.encoders",
    "maskmill.networks.panoptic_deeplab",
    "maskmill.postprocess.panoptic",
    "maskmill.reporting.evaluation_folder",
    "maskmill.serving.onnx_export",
    "maskmill.serving.packaging",
    "maskmill.sources.convert",
    "maskmill.sources.scenes",
    "maskmill.stages.entry",
    "albumentations",
    "alembic.command",
    "alembic.config",
    "colorlog",
    "dvc.cli.parser",
    "dvc.commands.repro",
    "dvc.scm",
    "git",
    "hydra.experimental.callback",
    "hydra.main",
    "joblib",
    "mlflow.models.display_utils",
    "mlflow.pyfunc",
    "mlflow.pyfunc.scoring_server",
    "mlflow.pyfunc.utils.environment",
    "mlflow.store.model_registry.sqlalchemy_workspace_store",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_workspace_store",
    "mlflow.tracing.client",
    "mlflow.tracing.export.utils",
    "mlflow.tracing.processor.base_mlflow",
    "mlflow.tracing.processor.otel",
    "mlflow.utils.search_logged_model_utils",
    "onnx",
    "onnxruntime",
    "opentelemetry.sdk.trace",
    "s3fs",
    "segmentation_models_pytorch",
    "sqlalchemy.dialects.sqlite",
    "tabulate",
    "torch._functorch.partitioners",
    "torch._inductor.ir",
    "torch.distributed.algorithms.ddp_comm_hooks.debugging_hooks",
    "torch.distributed.checkpoint",
    "torch.export._trace",
    "torch.fx.experimental.validator",
    *(f"torch.onnx._internal.torchscript_exporter.symbolic_opset{i}" for i in range(7, 21)),
    "torch.onnx._internal.torchscript_exporter.utils",
]
LENGTH = struct.Struct("!I")


def serve(folder):
    """Fork a process for each connection until nobody holds the pipe FOLDER/alive open."""
    alive = os.open(folder / "alive", os.O_RDONLY)
    for name in PRELOADED:
        importlib.import_module(name)
    _read_own_sources()
    _export_once()
    _parse_once()
    _create_database(folder / "mlflow.db")
    gc.collect()
    gc.freeze()  # the collector would copy the pages of all objects in each process
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "socket"))
    listener.listen(64)
    wakeup, ended = socket.socketpair()
    ended.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(ended.fileno(), warn_on_full_buffer=False)
    selector = selectors.DefaultSelector()
    for source in (listener, wakeup, alive):
        selector.register(source, selectors.EVENT_READ)
    clients = {}  # process id -> the connection of its client
    while True:
        for key, _ in selector.select():
            if key.fileobj == alive:
                for pid in clients:
                    _kill(pid)
                return
            if key.fileobj is wakeup:
                wakeup.recv(64)
                _report_ended(clients, selector)
            elif key.fileobj is listener:
                client, _ = listener.accept()
                pid = _fork(client, [listener, wakeup, ended, *clients.values()])
                clients[pid] = client
                selector.register(client, selectors.EVENT_READ, pid)
            else:  # the client was killed
                selector.unregister(key.fileobj)
                _kill(key.data)


def _read_own_sources():
    """Keep what each command would read of each module of the package, to know its imports."""
    from maskmill.assembly import code_digests

    for path in sorted(code_digests.ROOT.rglob("*.py")):
        name = path.relative_to(code_digests.ROOT.parent).with_suffix("").as_posix()
        code_digests._read(name.replace("/", ".").removesuffix(".__init__"))


def _export_once():
    """Fill the caches of torch.export and MLflow, so that no registration has to."""
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, stride=2, padding=1),
        torch.nn.BatchNorm2d(4),
        torch.nn.UpsamplingBilinear2d(scale_factor=2),
    )
    trace(network.eval(), torch.zeros(2, 3, 24, 32), stride=8)
    requirements_utils._init_modules_to_packages_map()  # asks each package for its modules


def _parse_once():
    """Fill the tables of the grammars of Hydra and OmegaConf, and Pillow's list of formats."""
    OverridesParser.create().parse_overrides(["a=b", "+a.b=[1,2.5e-3]", "a@b={c: ${d.e}}", "a=1,2"])
    OmegaConf.to_container(OmegaConf.create({"a": "${b}", "b": 1}), resolve=True)
    Image.preinit()


def _create_database(path):
    """Create MLflow's tables, which takes seconds, for projects that have tracked before."""
    pid = os.fork()  # no connection stays open here
    if pid == 0:
        mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


def _kill(pid):
    """Kill a process that has not been waited for, and the group that it leads."""
    os.kill(pid, signal.SIGKILL)
    with suppress(ProcessLookupError):  # killed before it made its group
        os.killpg(pid, signal.SIGKILL)


def _report_ended(clients, selector):
    while clients:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        client = clients.pop(pid)
        with client, suppress(KeyError, BrokenPipeError):  # the client was killed
            selector.unregister(client)
            client.sendall(LENGTH.pack(os.waitstatus_to_exitcode(status) & 0xFFFFFFFF))


def _fork(client, connections):
    _, streams, _, _ = socket.recv_fds(client, 1, 3)
    (length,) = LENGTH.unpack(_read(client, LENGTH.size))
    request = json.loads(_read(client, length))
    pid = os.fork()
    if pid == 0:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for connection in [client, *connections]:
            connection.close()
        _become(streams=streams, **request)
    for stream in streams:
        os.close(stream)
    client.sendall(LENGTH.pack(pid))
    return pid


def _read(client, length):
    content = b""
    while len(content) < length:
        content += client.recv(length - len(content))
    return content


def _become(streams, python, module, arguments, cwd, environment):
    """Run a module in this process as an interpreter would, and end the process."""
    os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.executable = python
    sys.argv = [module, *arguments]
    added = environment.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:] = [cwd, *(str(Path(name).resolve()) for name in added if name), *INSTALLED]
    rank_zero_only.rank = _get_rank() or 0  # Lightning reads it from the environment at its import
    _forget_another_package("maskmill")
    multiprocessing.util.spawnv_passfds = _spawn
    status = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    finally:  # what the end of an interpreter does, which a forked process leaves out
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _spawn(path, arguments, kept):
    """Start an interpreter with some open files; multiprocessing's fork server is forked."""
    code = arguments[-1]
    if "multiprocessing.forkserver" not in code:
        return SPAWN(path, arguments, kept)
    pid = os.fork()
    if pid == 0:
        for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
            if int(name) > 2 and int(name) not in kept:
                with suppress(OSError):  # the folder that was listed
                    os.close(int(name))
        try:
            exec(code)
        finally:
            os._exit(0)
    return pid


def _forget_another_package(package):
    """Import the package again if the import path leads to another copy of it."""
    importlib.invalidate_caches()
    spec = importlib.machinery.PathFinder.find_spec(package, sys.path)
    if spec is None or spec.origin == sys.modules[package].__file__:
        return
    for name in list(sys.modules):
        if name.split(".")[0] == package:
            del sys.modules[name]


SPAWN = multiprocessing.util.spawnv_passfds
INSTALLED = sys.path[1:]  # without the folder of this file

if __name__ == "__main__":
    added = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    places = {str(Path(name).resolve()) for name in added if name}
    INSTALLED = [name for name in INSTALLED if name not in places]
    try:
        serve(Path(sys.argv[1]))
    finally:
        (Path(sys.argv[1]) / "started").unlink(missing_ok=True)  # nobody waits for it any more
