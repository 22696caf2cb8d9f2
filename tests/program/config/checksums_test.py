"""Lines with a checksum: whichever bit is turned, a line is whole or refused."""

import json
import logging

import pytest

from lthjax.program.config import checksums
from lthjax.program.workdir import results

RUN = "0123456789abcdef"
ROWS = [
    {"level": n, "seed": 0, "arm": "ticket", "x": 0.5 + n, "layers": {"é": 1e-5}}
    for n in range(3)
]


@pytest.fixture
def path(tmp_path):
    results.append(tmp_path / results.RESULTS, ROWS, run=RUN)
    return tmp_path / results.RESULTS


def lines(path):
    return path.read_bytes().splitlines(keepends=True)


def test_a_line_is_json_with_the_checksum_last(path):
    row = json.loads(lines(path)[0])
    assert list(row) == [*ROWS[0], checksums.KEY]
    assert row[checksums.KEY].startswith(f"{RUN}-")
    assert results.read(path) == ROWS


@pytest.mark.parametrize("record", [{}, {"a": (1, 2)}, {1: 2, 10: 3, "b": None}])
def test_what_is_sealed_opens_again(record):
    plain = json.loads(json.dumps(record))
    for run in ("", RUN):
        text = json.dumps(checksums.sealed(record, run))
        assert checksums.opened(text) == (plain, run)
        assert checksums.opened(text.encode("utf-8-sig")) == (plain, run)
    assert checksums.opened(json.dumps(record)) == (plain, None)


def test_whichever_bit_of_a_line_is_flipped_it_is_no_other_record():
    text = json.dumps(checksums.sealed(ROWS[0], RUN)).encode()
    for at in range(8 * len(text)):
        flipped = bytearray(text)
        flipped[at // 8] ^= 1 << at % 8
        try:
            found = checksums.opened(bytes(flipped))
        except ValueError:
            continue
        assert found == (ROWS[0], RUN)  # the e of an exponent, say


def other(path, text):
    """Has the second line be another one."""
    rows = lines(path)
    rows[1] = text
    path.write_bytes(b"".join(rows))


def sealed(run, **changes):
    row = checksums.sealed(ROWS[1] | changes, run)
    return json.dumps(row).encode() + b"\n"


BAD = [
    (b'{"level": 1, "seed"', "is no whole JSON"),
    (b"[" * 100_000 + b"\n", "is no whole JSON"),
    (b"12\n", "is no JSON object"),
    (b"\xff{}\n", "is no UTF-8"),
    (json.dumps(ROWS[1]).encode() + b"\n", "has no checksum, below lines with one"),
    (sealed(RUN).replace(b"1.5", b"1.6"), "has another checksum than its contents"),
    (sealed(RUN).replace(b"checksum", b"checksun"), "has a damaged checksum"),
    (sealed("f" * 16), "is of another run"),
    (sealed(RUN, level=0), "repeats line 1"),
    (sealed(RUN, seed=None), "has no seed"),
]


@pytest.mark.parametrize("text, why", BAD, ids=[why for _, why in BAD])
def test_a_damaged_line_is_said_by_its_number_and_taken_out(path, caplog, text, why):
    other(path, text if text.endswith(b"\n") else text + b"\n")
    before = path.read_bytes()
    assert results.read(path) == [ROWS[0], ROWS[2]]
    expected = f"damaged lines of {path} are not used: line 2 {why}"
    assert caplog.messages == [expected]
    results.mend(path, RUN)
    assert caplog.messages[1:] == [expected]
    assert results.read(path) == [ROWS[0], ROWS[2]]
    assert len(caplog.messages) == 2
    assert path.with_name("results.jsonl.damaged").read_bytes() == before
    assert lines(path) == [before.splitlines(keepends=True)[i] for i in (0, 2)]
    results.append(path, ROWS, run=RUN)
    assert results.read(path) == [ROWS[0], ROWS[2], ROWS[1]]


def test_a_file_of_another_run_is_not_this_runs(path):
    assert len(results.scan(path).records) == 3
    assert not results.scan(path, "f" * 16).records


def test_lines_of_an_earlier_version_are_counted_and_used(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    path = tmp_path / results.RESULTS
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS[:2]))
    results.append(path, ROWS, run=RUN)
    found = results.mend(path, RUN)
    assert list(found.records.values()) == ROWS
    assert (found.unchecked, found.runs, caplog.messages) == (2, {RUN}, [])
