"""Sweeps as jobs: here, by submitit, by SLURM; preempted and queued again."""

import os
import re
import signal
import stat

import numpy as np
import pytest
import tiny
from paths import ROOT
from swept import base

from lthjax import sweep
from lthjax.program import command_line, progress
from lthjax.program.config import files
from lthjax.program.sweep import grid as grid_lib
from lthjax.program.sweep import jobs as jobs_lib
from lthjax.program.workdir import layout

SMALL = """
import tiny

def get_config():
    return tiny.config({"seeds": (0,), "search.levels": 1})
"""


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Returns call(*arguments) -> (exit status or message, output) of the command."""
    path = tmp_path / "small.py"
    path.write_text(SMALL)
    monkeypatch.setattr(command_line, "prepare", lambda: None)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{ROOT / 'tests'}")

    def command(*arguments):
        where = [f"--config={path}", f"--workdir={tmp_path / 'sweep'}"]
        try:
            sweep.main([*where, *arguments])
        except SystemExit as stop:
            return str(stop.code), capsys.readouterr().out
        return "", capsys.readouterr().out

    return command


def states(table):
    return re.findall(r"(finished|unfinished|not started) \|\n", table)


def jobs(tmp_path):
    return list((tmp_path / "sweep" / "jobs").glob("*/*_submitted.pkl"))


RATES = "optimizer.learning_rate=0.1,0.2"


@pytest.mark.slow
def test_processes_run_a_sweep_and_a_failed_run_is_named_and_done_the_next_time(
    call, tmp_path
):
    config = files.load(tmp_path / "small.py")
    bad = tmp_path / "sweep" / grid_lib.folder(tiny.changed(config, {"seeds": (0, 1)}))
    bad.mkdir(parents=True)
    other = tiny.changed(config, {"train.batch_size": 6})
    (bad / layout.CONFIG).write_text(files.to_json(other))
    grid = ["--grid", RATES, "--grid", "seeds=0,1"]
    status, table = call(*grid, "--executor=local")
    assert re.fullmatch(rf"error: 1 runs failed:\n  {bad}: ValueError: .*", status)
    assert states(table) == ["unfinished", "finished", "finished"]
    assert len(jobs(tmp_path)) == 2

    (bad / layout.CONFIG).unlink()
    status, table = call(*grid)
    assert status == "" and states(table) == ["finished"] * 4
    alone = tmp_path / "alone"
    grid_lib.finish(tiny.changed(config, {"seeds": (0, 1)}), alone)
    assert tiny.outcome(alone) == tiny.outcome(bad)


def test_a_sweep_here_is_finished_once(call, tmp_path, monkeypatch):
    status, table = call("--grid", RATES)
    assert status == "" and states(table) == ["finished"] * 4
    before = tiny.contents(tmp_path)
    monkeypatch.setattr(jobs_lib, "_finish", None)  # nothing is run
    assert call("--grid", RATES) == ("", table)
    assert call("--table") == ("", table)
    assert tiny.contents(tmp_path) == before


def test_a_finished_run_is_looked_at_again_where_its_data_are_elsewhere(call, tmp_path):
    for name, seed in {"first": 0, "other": 1}.items():
        images = np.random.default_rng(seed).integers(0, 256, (80, 4, 4), np.uint8)
        arrays = {"images": images, "labels": np.arange(80) % 2}
        np.savez(tmp_path / f"{name}.npz", **arrays)
    (tmp_path / "moved.npz").write_bytes((tmp_path / "first.npz").read_bytes())

    def of(name):
        own = ["--config.data.name=npz", "--config.data.options={}"]
        status, table = call(*own, f"--config.data_dir={tmp_path / name}.npz")
        return status, states(table)

    assert of("first") == of("moved") == ("", ["finished"] * 2)
    status, found = of("other")
    assert re.search("the data of an existing workdir, .* must stay", status)
    assert found == ["unfinished"] * 2
    assert of("first") == ("", ["finished"] * 2)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--grid", "optimizer.rate=1"], "known config keys, got optimizer.rate"),
        (["--grid", "data_dir=a,b"], "got data_dir; sets .* are data.options.path"),
        (["--grid", "train.batch_size=0,99"], "got 2 that are not; nothing was"),
        (["--config.train.step=1"], "got train.step, did you mean 'train.steps'"),
        (["--config.train.steps", "1"], "every flag must be known, got --config.tr"),
        (["--sbatch.partition=x"], "every flag must be known, got --sbatch"),
        (["--slurm.partition=x"], "--slurm.partition goes with --executor=slurm"),
        (["--config=none.py"], "given once, got --config 2 times"),
        (["--table", "--dry_run"], "--table shows what is there, .* dry_run = True"),
        (["--table", "--on=v5e:4x4"], "--table shows what is there, and goes with no"),
        (["--table", "--bogus"], "every flag must be known, got --bogus"),
        (["--jobs=2"], "--jobs and --submit_only go with an executor"),
        (["--submit_only"], "--jobs and --submit_only go with an executor"),
        (["--jobs=-3", "--executor=local"], "--jobs must be at least 0, got jobs = -3"),
    ],
)
def test_a_mistake_ends_the_command_with_a_sentence_and_starts_nothing(
    call, tmp_path, arguments, message
):
    status, table = call(*arguments)
    assert re.match(f"error: (.|\n)*{message}", status) and not table
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize("name", ["config.json", "federated.json"])
def test_a_sweep_begins_in_no_folder_of_something_else(call, tmp_path, name):
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / name).write_text("{}")
    status, _ = call("--grid", RATES)
    assert re.match(
        f"error: a workdir must be new or of a sweep, got .* {name}", status
    )
    assert [path.name for path in (tmp_path / "sweep").iterdir()] == [name]


ABSENT = {"data.name": "mnist", "data.options": {}, "data_dir": "nowhere"}


def test_a_sweep_whose_data_are_not_there_starts_nothing(call, tmp_path):
    words = [f"--config.{key}={value}" for key, value in ABSENT.items()]
    status, _ = call(*words, "--grid", RATES)
    assert re.match("error: the data set 'mnist' must be prepared as array_rec", status)
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize("ours", [True, False])
def test_what_ends_a_run_has_a_traceback_if_it_is_not_ours(
    tmp_path, monkeypatch, caplog, ours
):
    def fail(*given):
        raise RuntimeError("others' own")

    if not ours:
        monkeypatch.setattr(grid_lib, "finish", fail)
    run = files.to_json(tiny.config(ABSENT)), str(tmp_path / "run")
    (error,) = jobs_lib.finish([run]).values()
    (row,) = (row for row in caplog.records if "failed" in row.getMessage())
    assert bool(row.exc_info) != ours
    assert ("must be prepared" in row.getMessage()) == ours == ("must be" in error)


def test_jobs_read_no_file_of_others_and_write_where_they_are_told(tmp_path):
    assert jobs_lib._new(tmp_path) != jobs_lib._new(tmp_path)
    with pytest.raises(ValueError, match="without %, a pattern to SLURM, got .*lr_1%"):
        jobs_lib._new(tmp_path / "lr_1%")


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A folder of the path where SLURM's commands are, one of which keeps a script."""
    folder = tmp_path / "bin"
    folder.mkdir()
    sbatch = f"cat $1 > {tmp_path}/script\necho Submitted batch job 12\n"
    for name, text in (("srun", ""), ("sbatch", sbatch)):
        path = folder / name
        path.write_text(f"#!/bin/sh\n{text}")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return folder


def test_slurm_gets_an_array_of_jobs_with_its_parameters(call, tmp_path, slurm):
    given = ["--slurm.partition=long", "--slurm.time=90", "--slurm.gpus_per_node=1"]
    three = ["--grid", "train.steps=4,5,6", "--jobs=2", "--submit_only"]
    status, table = call("--executor=slurm", *three, *given)
    assert status == "" and states(table) == ["not started"] * 3
    script = (tmp_path / "script").read_text()
    for line in ("partition=long", "time=90", "gpus-per-node=1", "array=0-1%2"):
        assert f"#SBATCH --{line}\n" in script
    assert re.search(r"#SBATCH --signal=USR2@\d+\n", script)
    assert len(jobs(tmp_path)) == 2


def test_slurm_refuses_a_parameter_it_has_not_and_too_short_a_time(call, slurm):
    status, _ = call("--executor=slurm", "--slurm.partitoin=long")
    assert "submitit must accept" in status and "partitoin" in status
    # A signal 90 s before the limit, a minute early, and a minute of work: 210 s.
    status, _ = call("--executor=slurm", "--slurm.time=3")
    assert "got slurm.time = 3 minutes" in status
    assert call("--executor=slurm", "--slurm.time=4", "--submit_only")[0] == ""


def test_what_slurm_says_to_a_job_it_refuses_ends_the_command(call, slurm):
    (slurm / "sbatch").write_text("#!/bin/sh\necho invalid partition >&2\nexit 1\n")
    status, _ = call("--executor=slurm", "--slurm.partition=nowhere")
    assert re.fullmatch(r"error: the scheduler must(.|\n)*invalid partition\n?", status)


def test_a_machine_without_slurm_says_so(call, monkeypatch):
    monkeypatch.setenv("PATH", "")
    status, _ = call("--executor=slurm")
    assert 'Could not detect "srun"' in status


class QueuedAgain(SystemExit):
    """What a handler of submitit ends a process with."""


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A job of one run, as if submitit had started it, that is sent signals."""
    config = tiny.config({"seeds": (0,)})
    monkeypatch.setattr(command_line, "prepare", lambda: None)
    calls, save = [], layout.save_training

    def handler(number, frame):
        calls.append(number)
        raise QueuedAgain

    def save_and_send(*arguments):
        save(*arguments)
        if calls == [] and (sent := os.environ.pop("SEND", None)):
            signal.raise_signal(signal.Signals[sent])

    monkeypatch.setattr(layout, "save_training", save_and_send)
    before = signal.signal(signal.SIGUSR2, handler)
    yield jobs_lib.Job(((files.to_json(config), str(tmp_path / "run")),)), calls
    signal.signal(signal.SIGUSR2, before)


@pytest.mark.slow
def test_a_job_that_is_preempted_saves_and_is_queued_again_and_ends_the_same(
    job, tmp_path, monkeypatch
):
    job, calls = job
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    monkeypatch.setenv("SEND", "SIGUSR2")
    with pytest.raises(QueuedAgain):
        job()
    assert calls == [signal.SIGUSR2]
    assert list((tmp_path / "run").glob("training/*/*"))
    again = job.checkpoint()
    assert (again.function, again.args, again.kwargs) == (job, (), {})
    assert again.function() == {}
    text = job.runs[0][0]
    grid_lib.finish(files.from_json(text), tmp_path / "whole")
    assert tiny.outcome(tmp_path / "run") == tiny.outcome(tmp_path / "whole")


def test_slurm_ends_a_job_itself_which_goes_on_until_then(job, tmp_path, monkeypatch):
    job, calls = job
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    monkeypatch.setenv("SEND", "SIGTERM")
    assert job() == {} and calls == []
    assert (tmp_path / "run" / grid_lib.FINISHED).exists()
    assert "SEND" not in os.environ


def test_a_process_that_is_asked_to_stop_does(job, tmp_path, monkeypatch):
    job, calls = job
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "local")
    monkeypatch.setenv("SEND", "SIGTERM")
    with pytest.raises(progress.Interrupted):
        job()
    assert calls == [] and not (tmp_path / "run" / grid_lib.FINISHED).exists()


@pytest.mark.parametrize(
    "executor, given, expected",
    [("local", None, None), ("local", "1", "1"), ("slurm", "1", "its own")],
)
def test_a_process_sees_the_gpus_of_who_started_it_and_slurm_gives_its_own(
    monkeypatch, executor, given, expected
):
    monkeypatch.setattr(command_line, "prepare", lambda: None)
    monkeypatch.setenv("SUBMITIT_EXECUTOR", executor)
    monkeypatch.setenv(jobs_lib.DEVICES, "its own")
    assert jobs_lib.Job((), given)() == {}
    assert os.environ.get(jobs_lib.DEVICES) == expected


@pytest.mark.parametrize(
    "known, number, expected",
    [
        ({0, 1}, 2, [(0,), (1,)]),
        ({3, 4, 5, 9}, 2, [(3, 4), (5, 9)]),
        ({0, 1, 2}, 2, [(0,), (1, 2)]),
        ({0, 1}, 1, [(0, 1)]),
        ({0, 1}, 3, [(), (), ()]),
    ],
)
def test_processes_share_the_processors_that_there_are(
    known, number, expected, monkeypatch
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: known, raising=False)
    assert [jobs_lib.share(i, number) for i in range(number)] == expected


@pytest.mark.parametrize("executor, expected", [("local", [(1,)]), ("slurm", [])])
def test_a_process_of_this_machine_keeps_to_its_processors(
    executor, expected, monkeypatch
):
    monkeypatch.setenv("SUBMITIT_EXECUTOR", executor)
    monkeypatch.setattr(command_line, "prepare", lambda: None)
    told = []
    monkeypatch.setattr(
        os, "sched_setaffinity", lambda _, cores: told.append(cores), raising=False
    )
    assert jobs_lib.Job((), cores=(1,))() == {}
    assert told == expected


def test_a_run_that_fails_is_named_and_does_not_stop_the_others(tmp_path, monkeypatch):
    done = []

    def finish(config, folder):
        if config.seeds == (1,):
            raise OSError("no space")
        done.append(folder)

    monkeypatch.setattr(grid_lib, "finish", finish)
    texts = [files.to_json(base({"seeds": (seed,)})) for seed in range(3)]
    failed = jobs_lib.finish([(text, str(i)) for i, text in enumerate(texts)])
    assert done == ["0", "2"] and failed == {"1": "OSError: no space"}
