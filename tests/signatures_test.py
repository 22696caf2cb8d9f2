"""What is handed around has a name, or says what it takes: `callables`."""

import ast

import pytest
from paths import ROOT

PACKAGE = ROOT / "lthjax"
FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


def annotations(tree):
    """Yields (name, annotation) of public functions, arguments, fields and aliases."""
    for node in tree.body:
        if isinstance(node, ast.Assign):
            yield ast.unparse(node.targets[0]), node.value
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id, node.annotation
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            given = node.args
            own = [*given.posonlyargs, *given.args, *given.kwonlyargs]
            own += [x for x in (given.vararg, given.kwarg) if x]
            yield from ((f"{node.name}({x.arg})", x.annotation) for x in own)
            yield node.name, node.returns


def bare(annotation):
    """Says whether an annotation has a `Callable` that does not say of what."""
    if annotation is None:
        return False
    told = {
        id(node.value)
        for node in ast.walk(annotation)
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name)
    }
    names = (node for node in ast.walk(annotation) if isinstance(node, ast.Name))
    return any(node.id == "Callable" and id(node) not in told for node in names)


@pytest.mark.parametrize("file", FILES)
def test_no_public_signature_has_a_bare_callable(file):
    tree = ast.parse((PACKAGE / file).read_text(encoding="utf-8"))
    assert [name for name, note in annotations(tree) if bare(note)] == []


@pytest.mark.parametrize(
    "source, found",
    [
        ("def f(x: Callable) -> int: ...", True),
        ("def f(x: Callable[[int], int]) -> Callable: ...", True),
        ("class A:\n    x: dict[str, Callable] = {}", True),
        ("def f(x: Callable[..., int] | None) -> ApplyFn: ...", False),
        ("def f(*x: Callable) -> int: ...", True),
        ("Jobs = Iterator[tuple[dict, Callable]]", True),
        ("Jobs = Iterator[tuple[dict, Callable[[], dict]]]", False),
        ("def _f(x: Callable): ...", False),
    ],
)
def test_a_bare_callable_is_seen(source, found):
    assert any(bare(note) for _, note in annotations(ast.parse(source))) == found
