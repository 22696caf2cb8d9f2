"""The names of the ways to retrain a ticket: which tweaks each of them has."""

import re
from collections.abc import Sequence

from lthjax import registry
from lthjax.tickets.controls import CONTROLS

TWEAKS = ("neurons", "skips", "rescaling", "smoothing", "distillation", "sign_in")
_FOUR = TWEAKS[:4]
PRESETS = {
    "vanilla": (),
    "tost_paper": _FOUR,
    "all_tweaks": _FOUR,
    "tost_code": ("neurons", "skips", "smoothing", "kept"),
    "frozen_skips": ("skips", "frozen"),
    **{tweak: (tweak,) for tweak in TWEAKS},
}
POOLS = "pools"  # trains nothing, and goes with no tweak
# Settings of several tweaks, or of a part of one, and one that reads each.
_READERS = {"law": "neurons", "convention": "smoothing"}
SHARED = tuple(_READERS)


def tweaks(arm: str) -> frozenset[str]:
    """Returns the tweaks of an arm, "kept" among them where its ghosts never go.

    "frozen" is among them where its branches keep the weights that they were drawn
    with: the control that asks whether a gain needs branches that are trained.

    Args:
      arm: A name in `PRESETS`, or several joined by "+", as "neurons+smoothing"; one of
        several may be a control, "random+sign_in". A part with "=" is a setting of the
        arm alone, and names its tweak: "skips.end=0.25", "smoothing=0.2".

    Raises:
      ValueError: A part of the name is unknown, with the choices; or it is a control
        by itself, or has two; or sets what no tweak has, or one thing twice.

    References:
      Jaiswal et al., 2022, arXiv:2206.12755: "tost_paper", also "all_tweaks", are its
      four. "tost_code" is its released code, whose soft neurons are static and whose
      branches stay; no script of the release combines all four, and the one that
      combines most has no re-scaled initialisation. Distillation (Ma et al., 2021,
      arXiv:2101.03255v2) is an arm of its own.
    """
    own = {key.split(".")[0] for key in settings(arm)}
    named = _named(arm)
    if own and not named and own <= {*SHARED}:
        raise ValueError(
            f"an arm that sets {' or '.join(SHARED)} must name the tweak that reads "
            f"it, got {arm!r}; write {arm}+{_READERS[min(own)]}"
        )
    parts = [part for part in named if part not in CONTROLS]
    if len(named) > len(parts) + 1 or not (parts or own - {*SHARED}):
        raise ValueError(
            "an arm must have at most one control, and a tweak (or 'vanilla') beside "
            f"it, got {arm!r}; a control by itself goes into controls"
        )
    for part in parts:
        if part not in PRESETS:
            raise ValueError(
                f"an arm must be one of {', '.join(PRESETS)}, or several joined by '+',"
                f" a control of {', '.join(CONTROLS)} among them, or {POOLS} by itself,"
                f" got {arm!r}{registry.suggestion(part, (*PRESETS, POOLS))}"
            )
    return frozenset(own - {*SHARED}).union(*(PRESETS[part] for part in parts))


def settings(arm: str) -> dict[str, str]:
    """Returns {key below "retraining": what is typed} of what an arm sets for itself.

    Args:
      arm: As for `tweaks`.

    Raises:
      ValueError: A setting is of no tweak, or comes twice.

    Example:
      >>> lth.retraining.arms.settings("frozen_skips+skips.end=0.25+law=cosine")
      {'skips.end': '0.25', 'law': 'cosine'}
    """
    found: dict[str, str] = {}
    for part in filter(_is_setting, _parts(arm)):
        key, _, value = part.partition("=")
        known = (*TWEAKS, *SHARED)
        if key.split(".")[0] not in known:
            raise ValueError(
                f"what an arm sets for itself must be of {', '.join(known)}, got "
                f"{part!r} in {arm!r}{registry.suggestion(key.split('.')[0], known)}"
            )
        if key in found:
            raise ValueError(
                f"an arm must set a thing once, got {arm!r}, which sets {key} twice"
            )
        found[key] = value
    return found


def _named(arm):
    """Returns the parts of an arm's name that set nothing."""
    return [part for part in _parts(arm) if not _is_setting(part)]


def _parts(arm):
    """Returns the parts of an arm's name; the "+" of 1e+1 parts nothing."""
    return re.split(r"\+(?!\d)", arm)


def _is_setting(part):
    return "=" in part


def have(asked: Sequence[str], *wanted: str) -> bool:
    """Says whether an arm among those asked for has one of some tweaks.

    Args:
      asked: As in `retraining.arms`.
      *wanted: Names of tweaks.
    """
    return any(tweaks(arm) & set(wanted) for arm in trained(asked))


def control(arm: str) -> str:
    """Returns the control that an arm retrains, "" for the ticket itself.

    Args:
      arm: As for `tweaks`.

    Example:
      >>> lth.retraining.arms.control("random+sign_in")
      'random'
    """
    return next((part for part in _parts(arm) if part in CONTROLS), "")


def check_arms(arms: Sequence[str]) -> None:
    """Checks that arms are known, each tweak of them once, and no two the same.

    Args:
      arms: Their names, as for `tweaks`, or "pools".

    Raises:
      ValueError: One is unknown, names a tweak twice, or is another one by its order.
    """
    seen: dict[frozenset, str] = {}
    for arm in trained(arms):
        found = tweaks(arm) | {control(arm), *settings(arm).items()}
        rows = [PRESETS.get(part) or (part,) for part in _named(arm)]
        named = [tweak for row in rows for tweak in row]
        twice = next((tweak for tweak in named if named.count(tweak) > 1), None)
        if twice:
            raise ValueError(
                "an arm must have each of its tweaks once, got retraining.arms = "
                f"{tuple(arms)}, where {arm!r} has {twice!r} twice"
            )
        if found in seen:
            raise ValueError(
                "the arms must all be different, got retraining.arms = "
                f"{tuple(arms)}, where {arm!r} is the same as {seen[found]!r}"
            )
        seen[found] = arm


def trained(arms: Sequence[str]) -> tuple[str, ...]:
    """Returns the arms that train: all but "pools", which averages what is trained.

    Args:
      arms: Their names.
    """
    return tuple(arm for arm in arms if arm != POOLS)
