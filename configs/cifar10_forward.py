"""CIFAR-10, ResNet-34 or MobileNet-V2: channels by greedy forward selection.

    python -m lthjax.main --config=configs/cifar10_forward.py:resnet34 \\
        --workdir=runs/forward --config.data_dir=D

The protocol of "How Much Pre-training Is Enough": 80,000 steps, batch 128, cosine from
0.1, weight decay 5e-4; 50 random candidates a step, tolerance 0.05 (ResNet-34) or 0.02
(MobileNet-V2); 2,500 steps of fine-tuning from 0.01 (that it is by a cosine is
assumed). `--config.forward.draw_at` prunes earlier. Departures: inner widths only (of
ResNet-34 it is not stated where it was pruned); no fine-tuning between the layers; the
layers' stop reads images that are not augmented; 5,000 images for validation. Expected
on all 50,000 images, pruned at 20, 40, 60, 80 thousand steps and dense
(arXiv:2108.00259, Table 1): ResNet-34 89.79, 91.34, 94.28, 94.23, 94.18; MobileNet-V2
86.71, 88.33, 91.79, 91.77, 91.44. Running time: not measured; it takes a GPU.
"""

from lthjax.program.config import files as lthjax_config


def get_config(model: str = "resnet34"):
    """Returns the config of `model`, "resnet34" or "mobilenet_v2"."""
    tolerances = {"resnet34": 0.05, "mobilenet_v2": 0.02}
    lthjax_config.variant(model, tolerances)
    config = lthjax_config.default()
    config.data.name = "cifar10"
    config.data.validation = 5000
    config.data.crop = 4
    config.data.flip = True
    config.model.name = model
    config.train.steps = 80_000
    config.optimizer.weight_decay = 5e-4
    config.schedule.name = "cosine"
    config.search.method = "forward"
    config.search.levels = 1
    config.forward.tolerance = tolerances[model]
    return config
