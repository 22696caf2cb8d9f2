"""Who is told of what a run measures while it trains: TensorBoard, or a user's own."""

import contextlib
import inspect
import pathlib
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from lthjax import registry
from lthjax.callables import Writer
from lthjax.devices import processes

TENSORBOARD = "tensorboard"
MUST = "take the workdir, and open"
METHODS = {
    "points": ("where", "step", "values"),
    "finished": ("where", "record"),
    "close": (),
}


class TensorBoard:
    """Events in a folder for each training, so that their curves lie over each other.

    `tensorboard/ARM/seed_0/level_03` has the learning curves under the names of the
    columns, and once the training has ended its hyperparameters: arm, level, seed and
    what is kept, with the test measures.
    """

    def __init__(self, root: pathlib.Path):
        self._root, self._open = root / TENSORBOARD, {}

    def points(self, where: str, step: int, values: Mapping[str, float]) -> None:
        """Writes the values of one step of a training."""
        for name, value in values.items():
            self._events(where).add_scalar(name, value, step)

    def finished(self, where: str, record: Mapping[str, Any]) -> None:
        """Writes what a training was, and what it came to."""
        from tensorboardX import summary

        events = self._events(where)
        asked = {name: record[name] for name in ("arm", "level", "seed", "kept")}
        found = {
            f"end/{name}": value
            for name, value in record.items()
            if name.startswith("test_") and isinstance(value, float)
        }
        for one in summary.hparams(asked, found):
            events.file_writer.add_summary(one)
        for name, value in found.items():
            events.add_scalar(name, value)
        self._open.pop(where).close()

    def close(self) -> None:
        """Closes the files."""
        while self._open:
            self._open.popitem()[1].close()

    def _events(self, where):
        import tensorboardX  # here: a run that writes no events needs none

        if where not in self._open:
            # Without a suffix the files of two sittings in one second are the same.
            given = {"filename_suffix": f".{time.time_ns()}", "max_queue": 100}
            folder = str(self._root / where)
            self._open[where] = tensorboardX.SummaryWriter(folder, **given)
        return self._open[where]


class Own(NamedTuple):
    """A user's own writer, where what it raises becomes one sentence.

    Attributes:
      writer: It.
      name: What the config calls it.
    """

    writer: Writer
    name: str

    def points(self, where: str, step: int, values: Mapping[str, float]) -> None:
        """Tells it of one step of a training."""
        with _called("points", self.name):
            self.writer.points(where, step, values)

    def finished(self, where: str, record: Mapping[str, Any]) -> None:
        """Tells it of a record."""
        with _called("finished", self.name):
            self.writer.finished(where, record)

    def close(self) -> None:
        """Tells it that the sitting ends."""
        with _called("close", self.name):
            self.writer.close()


def _called(method, name):
    """Turns what a method of a writer raises into one sentence."""
    taken = f"take {method}({', '.join(METHODS[method])})"
    return registry.calling("writer", name, taken)


def check(name: str) -> None:
    """Checks the name of a user's own writer, "" for none.

    Raises:
      ValueError: There is no such function.
    """
    if name and not callable(registry.resolve(name, {}, "writer")):
        raise ValueError(
            "logging.writer must name a function root -> writer, got logging.writer = "
            f"{name!r}, which cannot be called"
        )


@contextlib.contextmanager
def opened(root: pathlib.Path, options: Any) -> Iterator[list[Writer]]:
    """Yields the writers of a sitting, none but in the first process; closes them.

    Args:
      root: The workdir.
      options: `config.logging`.

    Raises:
      ValueError: The user's own lacks a method, or one takes other arguments.
    """
    found: list[Writer] = []
    with contextlib.ExitStack() as stack:
        if processes.first():
            found = list(_made(root, options))
        for writer in found:
            stack.callback(writer.close)
        yield found


def _made(root: pathlib.Path, options: Any) -> Iterable[Writer]:
    if options.tensorboard:
        yield TensorBoard(root)
    if not options.writer:
        return
    with registry.calling("writer", options.writer, MUST):
        own = registry.resolve(options.writer, {}, "writer")(root)
    lacking = [name for name in METHODS if not callable(getattr(own, name, None))]
    if lacking:
        raise ValueError(
            f"a writer must have the methods {', '.join(METHODS)}, got logging.writer "
            f"= {options.writer!r} without {', '.join(lacking)}"
        )
    for method, given in METHODS.items():
        with _called(method, options.writer):
            inspect.signature(getattr(own, method)).bind(*given)
    yield Own(own, options.writer)
