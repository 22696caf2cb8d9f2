"""PyTorch's side of what is timed: a script of `peers/`, asked line by line."""

import contextlib
import importlib.util
import json
import pathlib
import subprocess
import sys
from collections.abc import Callable, Iterator

PEERS = pathlib.Path(__file__).parents[2] / "peers"


@contextlib.contextmanager
def asked(script: str) -> Iterator[Callable[[dict], dict] | None]:
    """Yields question -> answer of a script of `peers/`, `None` without PyTorch.

    An answer has the key "failed" where there is none.
    """
    if importlib.util.find_spec("torch") is None:
        yield None
        return
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, PEERS / script], **pipes) as process:

        def ask(question):
            print(json.dumps(question), file=process.stdin, flush=True)
            return json.loads(process.stdout.readline() or '{"failed": "it ended"}')

        yield ask
