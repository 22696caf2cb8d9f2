"""What a run of greedy selection tells the bound."""

import json

from lthjax.forward_selection.pretraining_bound import Setting

SETTING = Setting(1000, 784, 5000, 200, "sigmoid")
RUN = {
    "setting": SETTING._asdict(),
    "zero": 0.5,
    "steps": [0, 10, 20],
    "dense": [0.5, 0.25, 0.125],
    "first": [1, 1, 1],
    "greedy": [0.2, 0.1, 0.1],
    "diameter": [1, 1, 1],
    "hull": [0, 0, 0],
}


def written(folder, **changes):
    """Writes such a run; returns the flag that reads it."""
    path = folder / "run.json"
    path.write_text(json.dumps(RUN | changes))
    return f"--run={path}"
