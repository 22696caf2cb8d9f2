"""What all figures share: the colour of an arm, which is the same in each."""

from collections.abc import Iterable

MARKERS = "os^vDpX*P<>"  # of the arms of a run, in their order
# Far apart for the eye, none of them the grey of "dense".
COLOURS = {
    "ticket": "#1f77b4",
    "reinit": "#ff7f0e",
    "shuffle": "#2ca02c",
    "random": "#d62728",
    "shuffle_reinit": "#006400",
    "init": "#8a8aff",
    "trained": "#a0522d",
    "copies": "#7b0000",
    "search": "#9467bd",
    "neurons": "#8c564b",
    "skips": "#e377c2",
    "rescaling": "#bcbd22",
    "smoothing": "#17becf",
    "distillation": "#000000",
    "sign_in": "#008b8b",
    "pools": "#808000",
    "tost_paper": "#ffbb00",
    "all_tweaks": "#00c957",
    "tost_code": "#5500ff",
    "vanilla": "#98df8a",
    "frozen_skips": "#00aaff",
}
OTHERS = ("#ff00aa", "#00ffcc", "#003f7f", "#c5b0d5", "#ff9896", "#5f5f00", "#9edae5")
OTHERS += ("#b15928", "#4b0082", "#cab2d6", "#33ff33")


def colours(arms: Iterable[str]) -> dict[str, str]:
    """Returns {arm: colour} of the arms of a run, no two alike.

    An arm that has none of its own, "neurons+smoothing", gets the next of the others,
    in alphabetical order (from the twelfth on, again the first): to be given all
    arms of a run, whatever a figure shows.

    Args:
      arms: Their names.
    """
    arms = list(arms)
    unnamed = sorted({arm for arm in arms if arm not in COLOURS})
    more = {arm: OTHERS[i % len(OTHERS)] for i, arm in enumerate(unnamed)}
    return {arm: more.get(arm) or COLOURS[arm] for arm in arms}
