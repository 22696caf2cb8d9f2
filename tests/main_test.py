"""The command: what it refuses, how it is stopped and killed, and goes on."""

import os
import random
import re
import signal
import subprocess
import sys
import time

import jax
import pytest
import tiny
from ml_collections.config_flags import tuple_parser
from paths import ROOT

from lthjax import main
from lthjax.program import command_line
from lthjax.program.report import run_report
from lthjax.program.run import experiment

DIGITS = f"--config={ROOT}/configs/digits.py"
SKIPS = "skips.end=0.25+law=cosine"


@pytest.fixture
def command(monkeypatch, capsys):
    """Returns call(*arguments) -> exit status or message, of the command in here."""
    monkeypatch.setattr(command_line, "prepare", lambda **joining: None)

    def call(*arguments):
        for name in [name for name in main.FLAGS if name.startswith("config.")]:
            delattr(main.FLAGS, name)
        main.FLAGS.unparse_flags()
        argv = ["lthjax.main", *arguments]
        monkeypatch.setattr(sys, "argv", argv)
        try:
            main.main(main._parse(argv))
        except SystemExit as stop:
            return str(stop.code)
        return ""

    return call


BAD = [
    ("--config.sedes=3", "got --config.sedes, did you mean 'seeds'"),
    ("--config.search.rat=0.1", "got --config.search.rat, did you mean 'search.rate'"),
    ("--config.data.dir=D", "got --config.data.dir, did you mean 'data_dir'"),
    ("--config.epochs=3", "got --config.epochs, did you mean 'train.epochs'"),
    ("--config.lr=0.1", "got --config.lr$"),
    ("--search.rate=0.1", "got --search.rate, did you mean '--config.search.rate'"),
    ("--config.model.options.hiden=3", "--config.model.options.hiden Did .*hidden"),
    ("--config.model=lenet5", "a section of .* you mean --config.model.name=lenet5$"),
    ("--config.search=snip", "= 'snip', a section .*; lthjax keys search lists them"),
    ("--config.search=", "a section of keys; lthjax keys search lists them"),
    ("--config.search={}", "all of its keys, got config.search = '{}'; write a flag"),
    ("--config.search.gates={'initial':1}", 'write --config.search.gates.initial="1"'),
    ("--config.mesh={'ticket':2,'x':{'y':1}}", 'ticket="2" --config.mesh.x.y="1"'),
    ("--config.optimizer.options.b1=0.5", "by --config.optimizer.*=\"{'b1': 0.5}\"$"),
    ("--config.model.options.depth=a", "by --config.model.*=\"{'depth': 'a'}\"$"),
    ("--config.model.options=hidden=3", "a dict of options, got .* = 'hidden=3'; wr"),
    ("--config.search.invert=maybe", "of type bool, got .*search.invert = 'maybe'"),
    ("--config.search.rate=high", "of type float, got config.search.rate = 'high'"),
    ("--config.train.steps=many", "of type int, got config.train.steps = 'many'"),
    ("--config.model.name=mpl", "got model = 'mpl', did you mean 'mlp'"),
    ("--config.data.name=mnits", "got data set = 'mnits', did you mean 'mnist'"),
    ("--config.search.method=imp", "iterative, .*one_shot, .*method = 'imp'"),
    ("--config.search.sparsities=(1.0,)", r"in \[0, 1\), got search.sparsities ="),
    ("--config.search.rewind_to=2000", "got rewind_to = 2000"),
    (
        "--config.train.batch_size=1201",
        "1200 images, got train.batch_size = 1201",
    ),
    ("--wrkdir=x", "'wrkdir'. Did you mean: workdir"),
    ("also", "flags only, got also"),
    ("--config.seeds=-1", r"seeds must be in \[0, 4294967296\), got seeds = \(-1,\)"),
    ("--config.seeds=one", "tuple of whole numbers, got config.seeds = ..one"),
    ("--config.search.sparsities=half", "tuple of numbers, .* = ..half"),
    ("--config.search.layer_rates=('head',0.1)", "tuple of pairs such as"),
    ("--config.search.exclude=(", "must hold regular expressions, .* = '.'"),
    ("--config.train.steps=3e9", "of type int, got config.train.steps = '3e9'"),
    ("--config.train.steps=3000000000", "got train.steps = 3000000000"),
    ("--config.model.width=inf", "got model.width = inf"),
    ("--config.model.options={'hidden':'a'}", "like .300, 100., got hidden = 'a'"),
    ("--config.search.levels=1000", r"level \d+, which keeps \d+ weights after"),
    ("--config.search.rate=1e-5", "level 1, which keeps 11,900 weights after 11,900"),
    ("--config.data.crop=20", "below the 8 pixels of an image, got data.crop = 20"),
    ("--config.retraining.arms=neurons+nurons", "got .*, did you mean 'neurons'"),
]
ALONE = [
    ("--config=configs/none.py", "from a file, got 'configs/none.py'"),
    ("--config=", "from a file, got ''"),
    (f"--config={ROOT}/configs", "from a file, got '.*/configs'"),
    (f"--config={ROOT}/README.md", "SyntaxError: .*README.md' stopped at line"),
    (f"--config={ROOT}/lthjax/registry.py", r"must define get_config\(\)"),
    (f"--config={ROOT}/configs/mnist.py:long", "one of paper, short, got 'long'"),
    (f"--config={ROOT}/configs/mnist.py:", "one of paper, short, got ''"),
    (f"--config={ROOT}/configs/digits.py:x", "digits.py' takes, got variant = 'x'"),
]


@pytest.mark.parametrize("argument, message", BAD)
def test_a_mistake_ends_the_command_with_a_sentence_and_makes_no_workdir(
    command, capsys, tmp_path, argument, message
):
    found = command(DIGITS, argument, f"--workdir={tmp_path / 'workdir'}")
    assert re.match(f"error: (.|\n)*{message}", found)
    assert "Traceback" not in found + capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words, expected",
    [
        ("init,reinit,trained", ("init", "reinit", "trained")),
        ("mine:f,neurons+smoothing", ("mine:f", "neurons+smoothing")),
        ("^neck/,^heads/", ("^neck/", "^heads/")),
        ("dense1/kernel,head/.*", ("dense1/kernel", "head/.*")),
        (r"(a,b){1,2}\d$,stage[1,2]", (r"(a,b){1,2}\d$", "stage[1,2]")),
        ("a{1,2}", ("a{1,2}",)),
        ("0,1e-3", (0, 1e-3)),
        ("(0,1),(2,3)", ((0, 1), (2, 3))),
        ("('a','b')", ("a", "b")),
        ("a", ("a",)),
        (" reinit , shuffle,random ", ("reinit", "shuffle", "random")),
        ("smoothing=0.1, skips.end=0.25+law=cosine", ("smoothing=0.1", SKIPS)),
        ("", ()),
    ],
)
def test_words_with_commas_between_them_are_several(words, expected):
    assert tuple_parser.TupleParser().parse(words) == expected


@pytest.mark.parametrize("argument, message", ALONE)
def test_a_config_that_is_none_ends_the_command_with_a_sentence(
    command, tmp_path, argument, message
):
    found = command(argument, f"--workdir={tmp_path / 'workdir'}")
    assert re.match(f"error: [^\n]*{message}", found)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words, message",
    [
        (["--config.seeds=0", "--config.seeds=1"], "--config.seeds 2 times; several"),
        (["--config.seeds", "0", "--config.seeds=1"], "--config.seeds 2 times"),
        (["--dry_run", "--nodry_run"], "--dry_run 2 times"),
        (["--noconfig.data.flip", "--config.data.flip"], "--config.data.flip 2 times"),
        ([DIGITS], "--config 2 times"),
        (
            ["--workdir", "--dry_run"],
            "got --workdir before --dry_run; write --workdir=",
        ),
        (["--config.data_dir", "--dry_run"], "got --config.data_dir before --dry_run"),
        (["--config.train.steps", "many"], "got config.train.steps = 'many'"),
        (["--config.train.steps"], "Missing value for flag"),
        (["--noconfig.data.flp"], "got --config.data.flp, did you mean 'data.flip'"),
    ],
)
def test_a_flag_is_given_once_and_with_its_value(command, words, message):
    assert re.match(f"error: [^\n]* must [^\n]*{message}", command(DIGITS, *words))


def test_what_is_no_flag_and_what_may_come_again_is_left():
    command_line.check_once(
        ["--grid", "a=1", "--grid", "b=2", "--seed", "-1"], ("grid",)
    )
    command_line.check_once(["--a", "--", "--a", "x=--a"])


def test_a_platform_without_devices_is_said_in_a_sentence(monkeypatch):
    def none():
        raise RuntimeError("Unable to initialize backend 'cuda':\n no GPU")

    monkeypatch.setattr(jax, "devices", none)
    expected = (
        r"error: JAX must find devices .* 'cuda': no GPU\); set JAX_PLATFORMS=cpu"
    )
    with pytest.raises(SystemExit, match=expected), command_line.plain_errors():
        command_line.check_devices()


def test_a_run_needs_a_workdir(command):
    assert "--workdir must name the folder" in command(DIGITS)


SETTINGS = {
    "seeds": "(0,1)",
    "controls": "('shuffle',)",
    "data.name": "mine:images",
    "data.validation": 20,
    "model.name": "mine:Net",
    "model.options": {},
    "train.steps": 40_000,  # most of a second for a level, on a fast machine
    "train.batch_size": 12,
    "search.levels": 2,
    "search.rewind_to": 200,
    "eval_every": 5000,
    "logging.checkpoint_seconds": 0.2,
    "logging.tensorboard": False,
}
MINE = """
import numpy as np
from flax import linen as nn

class Net(nn.Module):
    num_classes: int

    @nn.compact
    def __call__(self, images):
        x = nn.relu(nn.Dense(6)(images.reshape(len(images), -1)))
        return nn.Dense(self.num_classes)(x)

def images():
    rng = np.random.default_rng(0)
    def draw(size):
        labels = np.arange(size) % 3
        noise = rng.integers(0, 99, (size, 4, 4, 1))
        return (noise + 50 * labels[:, None, None, None]).astype(np.uint8), labels
    return draw(60), draw(30)
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A module of the user's on the path, and the arguments of a run with it."""
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    paths = f"{tmp_path}{os.pathsep}{ROOT}"
    monkeypatch.setenv("PYTHONPATH", paths)
    changed = [f"--config.{key}={value}" for key, value in SETTINGS.items()]
    return [DIGITS, *changed]


def start(arguments, workdir, log):
    command = [sys.executable, "-m", "lthjax.main", *arguments, f"--workdir={workdir}"]
    return subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)


def wait_for(condition, process):
    deadline = time.monotonic() + 120  # a loaded machine compiles slowly
    while not condition():
        assert process.poll() is None, "the process ended"
        assert time.monotonic() < deadline, "nothing came"
        time.sleep(0.02)


@pytest.mark.slow
def test_a_run_of_ones_own_killed_stopped_and_continued_ends_the_same(
    mine, tmp_path, command, capsys
):
    chance = random.Random(0)
    root, log = tmp_path / "killed", tmp_path / "log"
    with open(log, "w") as file:
        first = start(mine, root, file)
        wait_for(lambda: list(root.glob("training/*/*/commit_success.txt")), first)
        time.sleep(chance.random())
        first.kill()
        assert first.wait() == -signal.SIGKILL

        second = start(mine, root, file)
        # Between two levels there is no training to resume, but where the searches are.
        going_on = re.compile("resuming level|goes on from the end of level")
        wait_for(lambda: going_on.search(log.read_text()), second)
        refused = command(*mine, f"--workdir={root}")
        assert "one process at a time may write to a workdir" in refused
        asked = time.monotonic()
        second.terminate()
        assert second.wait() == command_line.STOPPED
        assert time.monotonic() - asked < 20  # seconds, on a loaded machine
    assert re.search(r"stopped at level \d, step \d+ of \d+; the same", log.read_text())

    assert command(*mine, f"--workdir={root}") == ""
    assert f"figure: {root / run_report.CURVE}" in capsys.readouterr().out
    assert command(*mine, f"--workdir={tmp_path / 'whole'}") == ""
    assert tiny.outcome(root) == tiny.outcome(tmp_path / "whole")
    expected = {(0, seed, "ticket") for seed in (0, 1)}
    arms, levels = ("ticket", "shuffle"), (1, 2)
    expected |= {(n, s, arm) for n in levels for s in (0, 1) for arm in arms}
    assert tiny.records(root).keys() == expected


def test_another_config_is_refused_by_key_with_both_values(tmp_path):
    config = tiny.config({"search.levels": 0, "seeds": (0,)})
    experiment.run(config, tmp_path)
    before = tiny.contents(tmp_path)
    changes = {"search.rate": 0.5, "train.batch_size": 10, "data_dir": "elsewhere"}
    expected = "search.rate: 0.2 -> 0.5; train.batch_size: 12 -> 10; take another"
    with pytest.raises(ValueError, match=expected):
        experiment.run(tiny.changed(config, changes), tmp_path)
    assert tiny.contents(tmp_path) == before


def test_importing_the_program_touches_no_device():
    nowhere = {**os.environ, "JAX_PLATFORMS": "nowhere"}
    command = [sys.executable, "-c", "import lthjax.main, lthjax.sweep"]
    subprocess.run(command, check=True, env=nowhere, cwd=ROOT)


def test_tables_name_the_command_but_not_its_places(monkeypatch):
    given = ["x/name.py", "--workdir", "w", "--smoke", "--data_dir=d", "--set", "a=[1]"]
    monkeypatch.setattr(sys, "argv", given)
    assert command_line.typed() == "python experiments/name.py --smoke --set 'a=[1]'"
