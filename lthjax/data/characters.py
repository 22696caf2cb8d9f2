"""A text as characters, each piece of it with the character that follows each."""

import os
import pathlib
import re

import numpy as np

from lthjax.data.splits import Source, Split, part

SEED = 0  # of the text that a grammar makes: one for all runs
MOST = 2**31 - 1

# What stands in braces is replaced by one of its alternatives, until nothing does.
GRAMMAR = {
    "sentence": ("{one}.", "{one}.", "{two}.", "{sum}.", "{question}?"),
    "one": ("{single} {does}", "{several} {do}"),
    "two": ("{one}, and {one}", "if {one}, {one}", "{one} before {one}"),
    "question": ("why does {single} {do}", "when do {several} {do}"),
    "sum": (
        "one and two are three",
        "two and two are four",
        "two and three are five",
        "three and three are six",
        "three and four are seven",
        "four and four are eight",
        "four and five are nine",
    ),
    "single": ("the {noun}", "a {plain} {noun}", "the {noun} that {does}"),
    "several": ("the {noun}s", "many {plain} {noun}s", "the {noun}s that {do}"),
    "noun": ("ticket", "mask", "twig", "gardener", "layer", "seed", "winner"),
    "plain": ("sparse", "small", "late", "quiet", "pruned", "lucky"),
    "does": ("{verb}s", "{verb}s", "{acts}s {object}", "{acts}s {object} {how}"),
    "do": ("{verb}", "{verb}", "{acts} {object}", "{acts} {object} {how}"),
    "verb": ("learn", "rewind", "grow", "wait", "win", "rest"),
    "acts": ("prune", "train", "keep", "need", "follow", "move"),
    "object": ("the {noun}", "every {noun}", "a {plain} {noun}", "the {noun}s"),
    "how": ("slowly", "at once", "again", "in the spring", "level by level"),
}
# Of each alternative: a text, the name of a rule, a text, ...
PARTS = {
    rule: [re.split(r"\{(\w+)\}", text) for text in texts]
    for rule, texts in GRAMMAR.items()
}


def composed(letters: int) -> str:
    """Returns a text of so many letters, made by `GRAMMAR`; always the same one.

    Verbs agree with what they are said of, however far away that is, and sums are
    right.

    Args:
      letters: Its length; a shorter text is the beginning of a longer one.
    """
    # The stream of this generator is the same in every version of numpy.
    draw, lines, length = np.random.RandomState(SEED), [], 0
    while length <= letters:
        count = draw.randint(2, 6)
        lines.append(" ".join(_expanded("sentence", draw) for _ in range(count)))
        length += len(lines[-1]) + 1
    return "\n".join(lines)[:letters]


def load(*, path: str = "", length: int = 64, letters: int = 0) -> Source:
    """Returns a text cut into pieces, and of each piece the same one letter later.

    The last tenth of the text is the test split. A piece begins where the one before it
    ends. The vocabulary is the characters of the text in their order.

    Args:
      path: A file in UTF-8; "": a text that a grammar makes, 100,000 letters.
      length: Letters of a piece.
      letters: How many of the text are taken, its first ones; 0: all.

    Returns:
      Inputs and labels int32 [pieces, length].

    Raises:
      ValueError: A number is none of these, the file is no text, or the text has less
        than two characters or is too short for a piece in both splits.
    """
    _check(length, letters)
    text = _read(path)[: letters or None] if path else composed(letters or 100_000)
    vocabulary, tokens = np.unique(list(text), return_inverse=True)
    cut = len(tokens) * 9 // 10
    if len(vocabulary) < 2 or min(cut, len(tokens) - cut) <= length:
        raise ValueError(
            "a text must have two characters, and in its last tenth more letters than "
            f"a piece, got {len(text)} letters of {len(vocabulary)} characters, length "
            f"= {length}; give a longer text, or shorter pieces: data.options.length"
        )
    train, test = (_pieces(x, length) for x in (tokens[:cut], tokens[cut:]))
    return Source(train, part(train, 0, 0), test, len(vocabulary), (), ())


def _expanded(rule, draw):
    """Returns a text that a rule of the grammar makes."""
    parts = PARTS[rule][draw.randint(len(PARTS[rule]))]
    plain, rules = parts[::2], parts[1::2]
    filled = [_expanded(rule, draw) for rule in rules]
    return "".join(
        text for pair in zip(plain, [*filled, ""], strict=True) for text in pair
    )


def _check(length, letters):
    for name, value, least in (("length", length, 1), ("letters", letters, 0)):
        if type(value) is not int or not least <= value <= MOST:
            raise ValueError(
                f"{name} of a text must be a whole number from {least}, got {name} = "
                f"{value!r}"
            )


def _read(path: str | os.PathLike) -> str:
    try:
        return pathlib.Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"a text must be a file in UTF-8, got path = {str(path)!r} ({error})"
        ) from error


def _pieces(tokens, length) -> Split:
    """Returns tokens [n] as pieces, and the token after each of theirs."""
    count = (len(tokens) - 1) // length
    shape, tokens = (count, length), tokens.astype(np.int32)
    inputs, labels = tokens[: count * length], tokens[1 : count * length + 1]
    return Split(inputs.reshape(shape), labels.reshape(shape))
