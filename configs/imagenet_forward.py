"""ImageNet, ResNet-34 or MobileNet-V2: channels by greedy forward selection.

    python -m lthjax.main --config=configs/imagenet_forward.py:resnet34 \\
        --workdir=runs/forward --config.data_dir=D

The protocol of "How Much Pre-training Is Enough" for ImageNet: 150 epochs, batch 256
(it prints 128, which contradicts its steps), cosine from 0.1, weight decay 5e-4;
channels by the published rule with tolerance 0.05 (ResNet-34) or 0.02 (MobileNet-V2),
then 80 epochs of fine-tuning, cosine from 0.01. Pruned at 50, 100, 150 epochs, top-1:

    ResNet-34     60 % FLOPs  71.68  72.56  72.65   dense 73.20
                  40 % FLOPs  69.87  71.44  71.33   (tolerance 0.08)
    MobileNet-V2  60 % FLOPs  70.05  71.14  71.53   dense 71.70
                  40 % FLOPs  69.23  70.36  71.10   (tolerance 0.05)

(arXiv:2108.00259, Table 2.) Images are streamed, D as in `configs/imagenet.py`; the
selection reads training images in their middle, not augmented, where the released code
stops by augmented ones. Departures: inner widths only, where it also prunes what
MobileNet-V2 projects to; no fine-tuning between the layers, where it has a tenth of an
epoch after each; 10,000 images for validation. Running time: not measured; it takes an
accelerator.
"""

from lthjax.program.config import files as lthjax_config


def get_config(model: str = "resnet34"):
    """Returns the config of `model`, "resnet34" or "mobilenet_v2"."""
    tolerances = {"resnet34": 0.05, "mobilenet_v2": 0.02}
    lthjax_config.variant(model, tolerances)
    config = lthjax_config.default()
    config.data.name = "imagenet"
    config.data.validation = 10_000
    config.data.flip = True
    config.data.stream = True
    config.model.name = f"{model}_imagenet"
    config.train.epochs = 150
    config.train.batch_size = 256
    config.optimizer.weight_decay = 5e-4
    config.schedule.name = "cosine"
    config.search.method = "forward"
    config.search.levels = 1
    config.forward.tolerance = tolerances[model]
    config.forward.check = 6400
    config.forward.tune = 80 * 4966  # epochs of ceil(1,271,167 / 256) steps
    config.forward.tune_rate = 0.01
    return config
