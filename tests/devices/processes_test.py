"""Two real processes are one run, and one that dies takes nothing with it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import tiny
from paths import ROOT

from lthjax.devices import processes
from lthjax.program.workdir import results

SMALL = (
    f"--config={ROOT}/configs/digits.py",
    "--config.seeds=0,1,2",
    "--config.model.options.hidden=(16,)",
    "--config.train.epochs=0",
    "--config.train.steps=40",
    "--config.train.batch_size=32",
    "--config.eval_batch=100",
    "--config.search.levels=1",
    "--config.controls=()",
    "--config.logging.tensorboard=False",
    "--config.logging.checkpoint_seconds=0.0",
)
MESH = ("--config.mesh.ticket=2", "--config.mesh.data=2")
# The constants of `processes`, shorter, so that a test need not wait half a minute.
IMPATIENT = (
    "import sys; from absl import app; from lthjax import main;"
    "from lthjax.devices import processes;"
    "processes.HEARTBEAT = 4; app.run(main.main, flags_parser=main._parse)"
)


def free_port():
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


def begin(root, index, count, port, flags=(*SMALL, *MESH)):
    """Starts one process of a run on the four devices that all of them have."""
    joining = (f"--coordinator=localhost:{port}", f"--processes={count}")
    joining = (*joining, f"--process={index}") if count > 1 else ()
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": str(4 // count)}
    return subprocess.Popen(
        [sys.executable, "-c", IMPATIENT, *flags, *joining] + [f"--workdir={root}"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(root, count, *flags):
    """Runs it to its end and returns what every process printed."""
    port = free_port()
    started = [begin(root, i, count, port, *flags) for i in range(count)]
    texts = [process.communicate(timeout=240)[0] for process in started]
    assert [process.returncode for process in started] == [0] * count, texts
    return texts


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Returns what one process left, on the same mesh."""
    root = tmp_path_factory.mktemp("one")
    run(root, 1)
    return root


def test_two_processes_find_what_one_finds_on_the_same_mesh(whole, tmp_path):
    texts = run(tmp_path, 2)
    assert "kept" in texts[0] and "kept" not in texts[1]
    assert tiny.saved_tickets(tmp_path) == tiny.saved_tickets(whole)
    assert tiny.records(tmp_path) == tiny.records(whole)
    assert tiny.curves(tmp_path) == tiny.curves(whole)
    assert (tmp_path / "curve.png").exists()


@pytest.mark.slow
def test_processes_that_stream_read_their_rows_of_every_batch(tmp_path):
    set_of_its_own = ("--config.data.name=synthetic", "--config.data.stream=True")
    short = ("--config.train.steps=9", "--config.search.levels=0")
    given = (*set_of_its_own, *short, "--config.mesh.data=4")
    names = {flag.partition("=")[0] for flag in given}
    left = [flag for flag in SMALL if flag.partition("=")[0] not in names]
    flags = (*left, *given)
    for count in (1, 2):
        run(tmp_path / str(count), count, flags)
    one, two = (tmp_path / "1", tmp_path / "2")
    assert tiny.records(two) == tiny.records(one)
    assert tiny.curves(two) == tiny.curves(one)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_where_one_process_dies_the_other_stops_and_the_run_goes_on(
    victim, whole, tmp_path
):
    port = free_port()
    started = [begin(tmp_path, i, 2, port) for i in range(2)]
    wait_for(lambda: list(tmp_path.glob("training/level_01/*")), seconds=180)
    started[victim].send_signal(signal.SIGKILL)
    text, _ = started[1 - victim].communicate(timeout=60)
    assert started[1 - victim].returncode != 0, text
    started[victim].communicate()
    run(tmp_path, 2)
    assert tiny.saved_tickets(tmp_path) == tiny.saved_tickets(whole)
    assert tiny.curves(tmp_path) == tiny.curves(whole)


def wait_for(condition, *, seconds):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.parametrize(
    "environment, several",
    [
        ({}, False),
        ({"SLURM_JOB_ID": "1", "SLURM_STEP_NUM_TASKS": "1"}, False),
        ({"SLURM_JOB_ID": "1", "SLURM_STEP_NUM_TASKS": "2"}, True),
        ({"TPU_WORKER_HOSTNAMES": "t1v-0"}, False),
        ({"TPU_WORKER_HOSTNAMES": "t1v-0,t1v-1"}, True),
    ],
)
def test_the_environment_says_whether_there_are_others(environment, several):
    assert processes.asked(environment) == several


@pytest.mark.parametrize(
    "given, text",
    [
        (("localhost:1", None, None), "go together, got coordinator = 'localhost:1'"),
        ((None, 2, 0), "go together, got coordinator = None, processes = 2"),
        (("localhost:1", 2, 2), "from 0 to processes - 1, got process = 2"),
    ],
)
def test_half_an_answer_on_who_the_others_are_is_refused(given, text):
    with pytest.raises(ValueError, match=text):
        processes.start(*given)


def test_a_process_alone_waits_for_nobody_and_agrees_with_itself(tmp_path):
    processes.meet("here")
    processes.check_same("ticket", "00ff")
    assert processes.largest(1.5, True) == [1.5, True]
    results.append(tmp_path / "rows.jsonl", [{"level": 0, "seed": 0, "arm": "ticket"}])
    assert json.loads((tmp_path / "rows.jsonl").read_text())["level"] == 0
