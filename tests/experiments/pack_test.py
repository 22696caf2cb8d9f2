"""Which distributions a machine lacks, by what it lists."""

import importlib.metadata
import sys

import pytest
from paths import ROOT

NOW = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture(scope="module")
def pack():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "experiments"))
        from measures import pack  # noqa: PLC0415

        yield pack
    for name in [n for n in sys.modules if n.startswith("measures")]:
        del sys.modules[name]


def test_names_are_read_from_every_list_of_pip(pack):
    freeze = "# a word\nml_dtypes==0.5\njax @ file:///jax\n-e git+x#egg=y\nrich\n"
    table = "Package    Version\n---------- -------\nml_dtypes  0.5\njax        0.10\n"
    assert pack.names(freeze) == ["ml_dtypes", "jax", "rich"]
    assert pack.names(table) == ["ml_dtypes", "jax"]


def test_what_is_missing_is_needed_and_not_there(pack):
    assert pack.missing(["jax>=0.10"], ["jax"], NOW) == []
    names = [x.split("==")[0] for x in pack.missing(["jax>=0.10"], [], NOW)]
    assert {"jax", "jaxlib", "numpy", "ml-dtypes"} <= set(names)
    # However a name is written; and what only extras want is not wanted.
    left = pack.missing(["jax"], ["JaxLib", "ml_dtypes", "numpy"], NOW)
    assert {"jaxlib", "ml-dtypes", "numpy", "kubernetes"}.isdisjoint(
        {x.split("==")[0] for x in left}
    )
    assert f"jax=={importlib.metadata.version('jax')}" in left
    assert pack.missing(["jax; python_version < '3'"], [], NOW) == []


def test_a_run_on_packed_data_is_spared_what_reads_prepared_ones(pack):
    short, every = (" ".join(pack.needs(x)) for x in (False, True))
    assert "grain" in every and "tensorflow-datasets" in every
    assert "grain" not in short and "tensorflow-datasets" not in short
    assert "jax" in short and "optax" in short


def test_wheels_without_a_list_of_what_is_there_are_refused(
    pack, monkeypatch, tmp_path
):
    words = ["--set=digits", f"--out={tmp_path}", "--wheels=W"]
    monkeypatch.setattr(sys, "argv", ["pack.py", *words])
    with pytest.raises((SystemExit, ValueError), match="must stand with --installed"):
        pack.main()
    assert not any(tmp_path.iterdir())
