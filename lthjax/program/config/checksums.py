"""A checksum as the last key of a JSON object: what is read is what was written."""

import hashlib
import json
import re
from typing import Any, NoReturn

KEY = "checksum"
_MARK = re.compile(r"(?:([0-9a-f]{16})-)?([0-9a-f]{16})")


def digest(value: Any, run: str = "") -> str:
    """Returns a hash of what JSON can hold, in 16 hexadecimal digits.

    Args:
      value: Numbers, texts, lists and dicts; the order of keys is no part of it.
      run: Of whom it is; part of the hash.
    """
    text = run + json.dumps(value, sort_keys=True, allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def sealed(record: dict, run: str = "") -> dict:
    """Returns a JSON object with its checksum as the last key.

    Args:
      record: The object, without one.
      run: The digest of the run that it is of, "" where it is of none.
    """
    plain = json.loads(json.dumps(record, allow_nan=False))
    mark = digest(plain, run)
    return record | {KEY: f"{run}-{mark}" if run else mark}


def opened(text: str | bytes) -> tuple[dict, str | None]:
    """Returns (object, run) of what `sealed` made, the checksum taken off.

    Args:
      text: JSON; bytes are UTF-8, with or without a mark that says so.

    Returns:
      The object, and the digest of its run, "" if it is of none; `None` where there is
      no checksum, as in what earlier versions wrote.

    Raises:
      ValueError: It is no JSON object, or the checksum differs; why, in some words.
    """
    try:
        given = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        found = json.loads(given, parse_constant=_refuse)
    except UnicodeDecodeError as error:
        raise ValueError("is no UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise ValueError("is no whole JSON") from error
    if not isinstance(found, dict):
        raise ValueError("is no JSON object")
    return _compared(found)


def _compared(found):
    last = next(reversed(found), "")
    mark = _MARK.fullmatch(found[last]) if isinstance(found.get(last), str) else None
    if KEY not in found and mark is None:
        return found, None
    if last != KEY or mark is None:
        raise ValueError("has a damaged checksum")
    record = {key: value for key, value in found.items() if key != KEY}
    run, expected = mark[1] or "", mark[2]
    if digest(record, run) != expected:
        raise ValueError("has another checksum than its contents")
    return record, run


def _refuse(name: str) -> NoReturn:
    raise ValueError(name)
