"""What all figures share: how an arm is drawn, which is the same in each."""

from collections.abc import Iterable

from lthjax.program.workdir import member, results

STROKES = ("-", "--", ":", "-.")  # of first logits, in their order
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


def styles(rows: list[dict]) -> dict[str, dict]:
    """Returns {label: how it is drawn} of the arms of some records.

    An arm has a colour, and each of several first logits a stroke.

    Args:
      rows: Records; `member.label` is their label.
    """
    found = {member.label(row): row for row in rows}
    shades = colours(row["arm"] for row in rows)
    logits = list(dict.fromkeys(row.get(results.VARIANT) for row in rows))
    return {
        label: {
            "color": shades[row["arm"]],
            "ls": STROKES[logits.index(row.get(results.VARIANT)) % len(STROKES)],
            "marker": MARKERS[i % len(MARKERS)],
        }
        for i, (label, row) in enumerate(found.items())
    }
