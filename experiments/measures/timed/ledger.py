"""What has been measured, line by line on the disk, and its table.

A line is a JSON object: a row, a note, or what became of a part. It is on the disk
before the next thing is begun, and a torn last line is none.
"""

import json
import os
import pathlib
import time

from lthjax.program.workdir import text_files
from measures import tables
from measures.timed.rows import NUMBERS, Row, cells

LINES, TABLE = "accelerator.jsonl", "accelerator.md"
ENDS = ("done", "failed", "stopped")


def add(root: pathlib.Path, **line) -> None:
    """Appends a line, forces it to the disk, and writes the table again."""
    path = root / LINES
    torn = path.exists() and not path.read_bytes().endswith(b"\n")
    text = json.dumps({**line, "at": time.strftime("%Y-%m-%d %H:%M:%S")})
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" * bool(torn) + text + "\n")
        file.flush()
        os.fsync(file.fileno())
    text_files.write(root / TABLE, table(read(root)))


def read(root: pathlib.Path) -> list[dict]:
    """Returns the lines that are whole."""
    path = root / LINES
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    found = map(_object, text.splitlines())
    return [line for line in found if line is not None]


def _object(text):
    """Returns the object in a line, `None` for a torn one."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def states(lines: list[dict]) -> dict[str, str]:
    """Returns {part: "begun" or one of `ENDS`}, the last that was said of it."""
    known = ("begun", *ENDS)
    return {x["part"]: x["event"] for x in lines if x.get("event") in known}


def rows(lines: list[dict]) -> list[tuple[str, Row]]:
    """Returns (part, row) in the order of the first lines, each as measured last."""
    found = {}
    for line in lines:
        if "row" in line:
            one = Row(**line["row"])
            found[line["part"], one.what] = one
    return [(part, one) for (part, _), one in found.items()]


def value(lines: list[dict], what: str) -> float | None:
    """Returns the median of the row called so, if there is one."""
    found = [one.median for _, one in rows(lines) if one.what == what]
    return found[-1] if found else None


def table(lines: list[dict]) -> str:
    """Returns the rows as Markdown, with what they depend on, and what failed."""
    calls = [line for line in lines if line.get("event") == "call"]
    text = ["# One call on an accelerator", ""]
    text += ["    python experiments/accelerator.py --workdir=W --data_dir=DIR", ""]
    for call in calls:
        setup = "; ".join(f"{k}: {v}" for k, v in call["setup"].items())
        text.append(f"* call of {call['at']}: {setup}")
    found = [(part, r.what, *cells(r)) for part, r in rows(lines)]
    text += ["", tables.markdown(["part", "what", *NUMBERS, "goal"], found)]
    return "\n".join([*text, "", *_said(lines)]) + "\n"


def _said(lines):
    """Returns what became of each part, and the last call's notes, as a list."""
    found = {}
    for line in lines:
        if line.get("event") in ENDS:
            seconds = f" in {line['seconds']:.0f} s" if "seconds" in line else ""
            found[line["part"]] = f"{line['event']}{seconds} {line.get('sentence', '')}"
    notes = dict.fromkeys((x["part"], x["note"]) for x in lines if "note" in x)
    said = [f"* {part}: {text.strip()}" for part, text in found.items()]
    return said + [f"* {part}: {note}" for part, note in notes]
