"""Primitives of oneDNN by its C interface: what a convolution of one shape is made of.

What is made here (an engine, a stream, memory, scratch) belongs to the thread that has
made it. Numbers and layouts are those of oneDNN's headers, version 3.
"""

import contextlib
import ctypes
import ctypes.util
import functools
import importlib.metadata
import itertools
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from absl import logging

PACKAGES = ("onednn-cpu-gomp", "onednn")

# The numbers of oneDNN's interface, the same in every version 3.
_MAJOR, _FLOAT32 = 3, 3
_ANY, _NHWC, _HWIO, _HWOI = 1, 22, 28, 27  # layouts
_CPU, _IN_ORDER, _AUTO, _TRAINING, _OWN_SCRATCH = 1, 1, 3, 64, 1
_FROM, _TO, _SCRATCH, _SCRATCH_DESCRIPTION = 1, 17, 80, 136
_Pair = ctypes.c_int64 * 2


class Problem(NamedTuple):
    """What is computed of `result = convolution(image, kernel)`.

    Attributes:
      kind: "forward" (the result), "data" (the gradient by the image) or "weights" (by
        the kernel).
      image: [N, H, W, I].
      kernel: [h, w, I, O].
      result: [N, H', W', O].
      strides: By axis.
      low: The padding before each axis, in pixels.
      high: The padding after it.
    """

    kind: str
    image: tuple[int, ...]
    kernel: tuple[int, ...]
    result: tuple[int, ...]
    strides: tuple[int, int]
    low: tuple[int, int]
    high: tuple[int, int]


class _Kind(NamedTuple):
    """What oneDNN calls the arrays of one kind of problem.

    Attributes:
      arguments: The numbers of image, kernel and result.
      laid: The number of the query for the layout that it chooses for the kernel.
      layout: The layout of the kernel in the program.
      order: The two arrays that are given, and the one that is computed.
    """

    arguments: dict[str, int]
    laid: int
    layout: int
    order: tuple[str, str, str]


_KINDS = {
    "forward": _Kind(
        {"image": 1, "kernel": 33, "result": 17},
        131,
        _HWIO,
        ("image", "kernel", "result"),
    ),
    "data": _Kind(
        {"image": 129, "kernel": 33, "result": 145},
        131,
        _HWOI,
        ("result", "kernel", "image"),
    ),
    "weights": _Kind(
        {"image": 1, "kernel": 161, "result": 145},
        132,
        _HWIO,
        ("image", "result", "kernel"),
    ),
}


class _Argument(ctypes.Structure):
    _fields_ = (("index", ctypes.c_int), ("memory", ctypes.c_void_p))


class _Version(ctypes.Structure):
    _fields_ = (("major", ctypes.c_int), ("minor", ctypes.c_int))


@functools.cache
def library():
    """Returns oneDNN, or None, with a warning where it is there and cannot be used."""
    return next(filter(None, map(_loaded, _paths())), None)


def _loaded(path):
    """Returns the library of a path, None with a warning where it cannot be used."""
    try:
        with _patient():
            found = ctypes.CDLL(path)
        found.dnnl_version.restype = ctypes.POINTER(_Version)
        version = version_of(found)
    except (OSError, AttributeError) as error:
        logging.warning("oneDNN is not used, it could not be loaded: %s", error)
        return None
    if int(version.split(".")[0]) == _MAJOR:
        return _typed(found)
    text = "oneDNN is not used, its version must be %d, got %s in %s"
    logging.warning(text, _MAJOR, version, path)
    return None


@contextlib.contextmanager
def _patient():
    """Has threads of OpenMP, loaded meanwhile, leave the processors to XLA's."""
    name = "OMP_WAIT_POLICY"
    before = os.environ.get(name)
    os.environ.setdefault(name, "passive")
    yield
    if before is None:
        del os.environ[name]


def version_of(found) -> str:
    """Returns the version of a library, such as "3.2"."""
    version = found.dnnl_version().contents
    return f"{version.major}.{version.minor}"


def _typed(found):
    """Returns a library whose functions know what they take and return."""
    found.dnnl_memory_desc_get_size.restype = ctypes.c_size_t
    found.dnnl_memory_desc_get_size.argtypes = [ctypes.c_void_p]
    found.dnnl_primitive_desc_query_md.restype = ctypes.c_void_p
    found.dnnl_memory_set_data_handle.argtypes = [ctypes.c_void_p] * 2
    return found


def _paths() -> Iterator[str]:
    """Yields where oneDNN may lie: in a package of `PACKAGES`, then in the system."""
    files = itertools.chain.from_iterable(map(_files, PACKAGES))
    for path in files:
        if path.name == f"libdnnl.so.{_MAJOR}":
            yield str(pathlib.Path(path.locate()).resolve())
    found = ctypes.util.find_library("dnnl")
    if found:
        yield found


def _files(package):
    """Returns the files of an installed package, none of one that is not."""
    try:
        return importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        return []


def written(problem: Problem) -> str:
    """Returns the text of a problem: its kind, and its numbers one by one."""
    kind, *sizes = problem
    return " ".join([kind, *(str(n) for size in sizes for n in size)])


def read(text: bytes) -> Problem:
    """Returns the problem of a text."""
    kind, *words = text.decode().split()
    numbers = iter(map(int, words))
    sizes = (4, 4, 4, 2, 2, 2)
    return Problem(kind, *(tuple(itertools.islice(numbers, n)) for n in sizes))


def computed(problem: Problem) -> tuple[int, ...]:
    """Returns the shape of what is computed."""
    return getattr(problem, _KINDS[problem.kind].order[-1])


def primitive(problem: Problem) -> Callable[[int, int, int], None]:
    """Returns a function of three addresses that computes a problem in this thread.

    Raises:
      OSError: oneDNN cannot compute it.
    """
    own, kind = _Thread(), _KINDS[problem.kind]
    shapes = own.descriptions(problem)
    description = own.convolution(problem, shapes)
    chosen = own.asked(description, kind.laid)
    shapes["kernel"] = own.description(_sides(problem.kernel, 3, 2, 0, 1), kind.layout)
    memory = {name: own.memory(shape) for name, shape in shapes.items()}
    laid, array = own.buffer(chosen)
    arguments = {n: memory[name] for name, n in kind.arguments.items()}
    arguments[kind.arguments["kernel"]] = laid
    compute = own.step(description, arguments)
    if problem.kind == "weights":
        after = own.reorder(chosen, shapes["kernel"], laid, memory["kernel"])
        steps = (compute, after)
    else:
        before = own.reorder(shapes["kernel"], chosen, memory["kernel"], laid)
        steps = (before, compute)
    places = [memory[name] for name in kind.order]
    put = own.library.dnnl_memory_set_data_handle

    def run(one, other, out, alive=array):
        for place, address in zip(places, (one, other, out), strict=True):
            put(place, address)
        for step in steps:
            step()

    return run


def _sides(shape, *order):
    """Returns a shape in oneDNN's order of the axes."""
    return tuple(shape[i] for i in order)


class _Thread:
    """An engine and a stream of oneDNN, and what is made for them."""

    def __init__(self):
        self.library = library()
        self.engine = self.made("dnnl_engine_create", _CPU, ctypes.c_size_t(0))
        self.stream = self.made("dnnl_stream_create", self.engine, _IN_ORDER)
        self.attributes = self.made("dnnl_primitive_attr_create")
        name = "dnnl_primitive_attr_set_scratchpad_mode"
        self.check(name, getattr(self.library, name)(self.attributes, _OWN_SCRATCH))

    def check(self, name, status):
        if status:
            raise OSError(f"{name} must return 0, got {status}")

    def made(self, name, *given):
        """Returns the object that a function of oneDNN makes."""
        made = ctypes.c_void_p()
        self.check(name, getattr(self.library, name)(ctypes.byref(made), *given))
        return made

    def description(self, shape, tag):
        """Returns the description of an array [N, C, H, W], laid out by a tag."""
        sides = (ctypes.c_int64 * 12)(*shape)
        name = "dnnl_memory_desc_create_with_tag"
        return self.made(name, len(shape), sides, _FLOAT32, tag)

    def descriptions(self, problem):
        """Returns those of image, kernel and result, the kernel's layout left open."""
        tags = {"image": _NHWC, "kernel": _ANY, "result": _NHWC}
        orders = {"kernel": (3, 2, 0, 1)}
        return {
            name: self.description(
                _sides(getattr(problem, name), *orders.get(name, (0, 3, 1, 2))), tag
            )
            for name, tag in tags.items()
        }

    def convolution(self, problem, shapes):
        """Returns the description of the primitive that computes a problem."""
        image, kernel, result = (shapes[name] for name in ("image", "kernel", "result"))
        window = (problem.strides, (0, 0), problem.low, problem.high)
        window = [_Pair(*pair) for pair in window]
        function = "dnnl_convolution_{}_primitive_desc_create"
        given = (
            _TRAINING,
            _AUTO,
            image,
            kernel,
            None,
            result,
            *window,
            self.attributes,
        )
        forward = self.made(function.format("forward"), self.engine, *given)
        last = (*window, forward, self.attributes)
        if problem.kind == "data":
            given = (_AUTO, image, kernel, result, *last)
            return self.made(function.format("backward_data"), self.engine, *given)
        if problem.kind == "weights":
            given = (_AUTO, image, kernel, None, result, *last)
            return self.made(function.format("backward_weights"), self.engine, *given)
        return forward

    def memory(self, description, address=0):
        place = ctypes.c_void_p(address)
        return self.made("dnnl_memory_create", description, self.engine, place)

    def buffer(self, description):
        """Returns memory of our own, and the array that it is in."""
        size = self.library.dnnl_memory_desc_get_size(description)
        array = np.empty(size + 64, np.uint8)
        return self.memory(
            description, array.ctypes.data + -array.ctypes.data % 64
        ), array

    def asked(self, primitive, what):
        """Returns a description that oneDNN has chosen."""
        query = self.library.dnnl_primitive_desc_query_md
        return ctypes.c_void_p(query(primitive, what, 0))

    def step(self, primitive_description, arguments):
        """Returns the function that executes a primitive, and what it lives on."""
        primitive = self.made("dnnl_primitive_create", primitive_description)
        scratch, array = self.buffer(
            self.asked(primitive_description, _SCRATCH_DESCRIPTION)
        )
        arguments = {**arguments, _SCRATCH: scratch}
        table = (_Argument * len(arguments))(*arguments.items())
        execute, check = self.library.dnnl_primitive_execute, self.check

        def run(alive=(array, arguments)):
            status = execute(primitive, self.stream, len(arguments), table)
            check("dnnl_primitive_execute", status)

        return run

    def reorder(self, one, other, source, target):
        """Returns the step that lays memory out anew."""
        place = (one, self.engine, other, self.engine, self.attributes)
        description = self.made("dnnl_reorder_primitive_desc_create", *place)
        return self.step(description, {_FROM: source, _TO: target})
