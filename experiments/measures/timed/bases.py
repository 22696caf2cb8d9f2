"""What pruning in another basis costs: a step of coefficients by a step of weights."""

from lthjax.devices import measure
from measures.timed.rows import Row, row
from measures.timed.steps import trainer

MOST = 1.1  # of a masked step of ResNet-20
CONVOLUTIONS = "conv|stem"  # 1x1 shortcuts are left alone
BASES = {
    "resnet20": {
        "dct_spatial": ((CONVOLUTIONS, "dct_spatial"),),
        "rotated inputs": ((CONVOLUTIONS, "random_orthogonal_inputs"),),
        "rotated outputs": ((CONVOLUTIONS, "random_orthogonal_outputs"),),
    },
    "lenet": {
        "dct_pixels": (("dense1", "dct_pixels"),),
        "rotated inputs": (("dense", "random_orthogonal_inputs"),),
    },
}


def bases(options) -> list[Row]:
    """Measures a masked step of coefficients by that of weights, basis by basis."""
    rows = []
    for name in ("lenet",) if options.smoke else BASES:
        runs = {"weights": trainer(name, options)}
        found = BASES[name].items()
        runs |= {which: trainer(name, options, basis=own) for which, own in found}
        taken = measure.in_turns(runs, options.rounds, options.seconds)
        most = MOST if name == "resnet20" else None
        for which in BASES[name]:
            what = f"{name}, seconds of a step by {which} by one of weights"
            ratio = taken[which] / taken["weights"]
            rows.append(row(what, "times", ratio, most=most))
    return rows


PARTS = {"bases": bases}
