"""Records of a run of three levels, two seeds and a control."""

NAMES = ("dense1/kernel", "head/kernel")


def record(level, seed, arm="ticket", accuracy=0.5):
    """Returns one record."""
    kept = round(1000 * 0.8**level)
    measured = dict.fromkeys(("validation_accuracy", "test_accuracy"), accuracy)
    best = {"best_step": 10, "best_validation_accuracy": 0.6, "best_test_accuracy": 0.7}
    amounts = {"kept": kept, "prunable": 1000, "sparsity": 1 - kept / 1000}
    layers = dict.fromkeys(NAMES, kept / 1000)
    identity = {"level": level, "seed": seed, "arm": arm}
    return {**identity, **amounts, **measured, **best, "layers": layers, "steps": 20}


ROWS = [
    *(
        record(level, seed, accuracy=0.9 + 0.01 * seed)
        for level in range(3)
        for seed in (0, 1)
    ),
    *(record(level, seed, "random") for level in (1, 2) for seed in (0, 1)),
]
