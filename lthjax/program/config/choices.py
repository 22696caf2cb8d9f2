"""The names that a key of a config may have, known without importing JAX."""

# Ours; `defaults.py` says where a user's own will do. The rest of the package has the
# functions behind them, in the same order.
CHOICES = {
    key: tuple(words.split())
    for key, words in {
        "objective": "classification regression next_token detection keypoints"
        " segmentation",
        "measures": "accuracy top5 balanced_accuracy calibration_error perplexity"
        " absolute_error squared_error class_accuracy confusion",
        "controls": "reinit shuffle random shuffle_reinit init trained copies",
        "data.name": "digits mnist fashion_mnist cifar10 cifar100 tiny_imagenet"
        " imagenet packed synthetic coco folder huggingface npz characters",
        "data.cut": "first stratified",
        "data.augment": "mixup cutout",
        "model.name": "mlp lenet_300_100 lenet5 lenet_tutorial conv2 conv4 conv6 vgg11"
        " vgg13 vgg16 vgg19 resnet8 resnet14 resnet20 resnet32 resnet44 resnet56"
        " resnet110 resnet18 resnet26 resnet34 resnet50 resnet18_imagenet"
        " resnet26_imagenet resnet34_imagenet resnet50_imagenet mobilenet_v1"
        " mobilenet_v2 mobilenet_v1_imagenet mobilenet_v2_imagenet vit_tiny gpt_tiny"
        " detector keypoints segmenter",
        "model.dtype": "float32 bfloat16",
        "model.norms": "batch device",
        "optimizer.name": "sgd adam adamw",
        "schedule.name": "constant piecewise cosine",
        "search.method": "iterative one_shot at_init gradual set rigl straight_through"
        " wirings continuous stochastic l0 soft_threshold continued slimming early_bird"
        " forward elastic admm transplant",
        "search.score": "magnitude energy random snip iterative_snip force grasp taylor"
        " synflow",
        "search.norms": "batch running",
        "search.corrupt": "none labels pixels half",
        "search.scope": "global layer erdos_renyi erdos_renyi_kernel",
        "search.pattern": "weights channels heads 4x4 2:4",
        "search.restart": "weights learning_rate fine_tune continue",
        "search.gates.reset": "paper code",
        "search.gates.start": "zero rewind_to",
        "search.gates.gradient": "sigmoid identity",
        "search.gates.output": "threshold sample",
        "search.gates.optimizer": "sgd adam adamw",
        "early_bird.watch": "channels weights",
        "early_bird.rule": "consecutive newest",
        "forward.candidates": "random all gradient",
        "forward.objective": "cross_entropy imitation local",
        "elastic.order": "append interpolate interval drop_tail drop_head",
        "transplant.way": "ticket mask task rewound",
        "retraining.arms": "vanilla tost_paper all_tweaks tost_code frozen_skips"
        " neurons skips"
        " rescaling smoothing distillation sign_in pools",
        "retraining.pools.statistics": "averaged recomputed",
        "retraining.law": "linear cosine switch",
        "retraining.neurons.kind": "swish mish parametric_swish sharpening_swish",
        "retraining.skips.start": "constant zero_norm he",
        "retraining.convention": "others uniform",
        "studies": "overlap densities flops signs barrier learning_rate correlation",
    }.items()
}
