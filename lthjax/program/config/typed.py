"""Values as they are typed: Python's, or words with commas between them."""

import ast
import re
from typing import Any

# A name or a regular expression; the commas of its brackets are its own.
WORD = r"(?:[^\s,'\"()\[\]{}\\]|\\\S|\([^()]*\)|\[[^\[\]]*\]|\{[^{}]*\})+"
WORDS = re.compile(rf"\s*{WORD}(\s*,\s*{WORD})*\s*")


def literals(text: str) -> list[Any]:
    """Returns the values of "0.1,0.03", "a,b", "conv[0-9]{1,2},head" or "(1, 2),(3,)".

    Args:
      text: What is typed; empty, there is no value.
    """
    try:
        return list(ast.literal_eval(f"{text},"))
    except (SyntaxError, TypeError, ValueError):
        whole = WORDS.fullmatch(text)
        found = re.findall(WORD, text) if whole else text.split(",")
        return [literal(word) for word in found if word.strip()]


def literal(word: str) -> Any:
    """Returns the Python value of a word, or the word."""
    try:
        return ast.literal_eval(word)
    except (SyntaxError, TypeError, ValueError):
        return word


def words(text: str) -> list[str]:
    """Returns the words of "a,b"; none where the text is of Python's values."""
    try:
        ast.literal_eval(text)
    except (SyntaxError, TypeError, ValueError):
        return re.findall(WORD, text) if WORDS.fullmatch(text) else []
    return []


def like(example: Any, value: Any) -> Any:
    """Returns a value as the type of a key asks for it, where that is plain.

    Args:
      example: A value of the key.
      value: What is typed for it.
    """
    if isinstance(example, tuple | list) and not isinstance(value, tuple | list):
        return (value,)
    if isinstance(example, float) and type(value) is int:
        return float(value)
    return str(value) if isinstance(example, str) else value
