"""A job whose process has left no result."""

from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import JobStatus
from hydra.types import HydraContext, RunMode

from hydra_plugins.maskmill_submitit import SubmititLauncher
from maskmill.assembly.conf_search_path import packaged_conf
from maskmill.assembly.job_record import read_jobs
from maskmill.assembly.sweep_record import SweepRecord, write_sweep


def test_a_lost_job_is_kept_as_failed_beside_the_others(tmp_path):
    line = ["optimizer.lr=1e-3,3e-3", "seed=4"]
    write_sweep(tmp_path, SweepRecord(line, run="1", status="RUNNING", process="2"))
    with initialize_config_dir(str(packaged_conf()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        own = [f"hydra.sweep.dir={tmp_path}", "hydra.job.name=train"]
        config = loader.load_configuration("config", own, RunMode.MULTIRUN)
        context = HydraContext(loader, Callbacks())
        launcher = SubmititLauncher("local", str(tmp_path))
        launcher.setup(hydra_context=context, task_function=print, config=config)
        result = launcher.lost(["optimizer.lr=3e-3", "seed=4"], 7, "CANCELLED, see 12_log.err")
    assert result.status == JobStatus.FAILED
    (record,) = read_jobs(tmp_path)
    assert (record.job, record.own) == (7, ["optimizer.lr=3e-3"])
    assert (record.status, record.score) == ("FAILED", None)
    assert record.error == "CANCELLED, see 12_log.err"
