"""The PyTorch side of `speed.py`: the same training steps, written plainly.

Reads lines of JSON with the keys network, options (of the network), batch_size,
optimizer, fused, cuda and steps, and answers each with {"seconds"}, or {"failed"}, a
sentence. Weights are multiplied by their masks in the forward pass, all cores are used.
Where the keys channels_last, compiled and mixed do not say otherwise, convolutional
networks are in channels_last, on a GPU the model is compiled, ResNet-18 in mixed
precision. Batches are normalised floats that lie ready in memory: less work than a data
loader has, and than our side does.
"""

import json
import os
import sys
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

BATCHES = 32  # in memory, taken in turns


class Dense(nn.Linear):
    """A dense layer, its weight times a mask."""

    def __init__(self, *args):
        super().__init__(*args)
        self.register_buffer("mask", torch.ones_like(self.weight))

    def forward(self, x):
        """Returns the features [batch, outputs] of `x` [batch, inputs]."""
        return functional.linear(x, self.weight * self.mask, self.bias)


class Conv(nn.Conv2d):
    """A convolution that keeps the size (by its stride), its weight times a mask."""

    def __init__(self, inputs, outputs, size=3, stride=1, *, bias=False):
        super().__init__(inputs, outputs, size, stride, size // 2, bias=bias)
        self.register_buffer("mask", torch.ones_like(self.weight))

    def forward(self, x):
        """Returns the features [batch, outputs, h, w] of `x` [batch, inputs, h, w]."""
        weight = self.weight * self.mask
        return functional.conv2d(x, weight, self.bias, self.stride, self.padding)


class Block(nn.Module):
    """A basic residual block: relu(norm(conv(relu(norm(conv(x))))) + shortcut(x))."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        first = Conv(inputs, outputs, stride=stride), nn.BatchNorm2d(outputs)
        second = Conv(outputs, outputs), nn.BatchNorm2d(outputs)
        self.residual = nn.Sequential(*first, nn.ReLU(), *second)
        self.shortcut = nn.Sequential()
        if inputs != outputs:
            shape = Conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs)
            self.shortcut = nn.Sequential(*shape)

    def forward(self, x):
        """Returns the features [batch, outputs, h / stride, w / stride]."""
        return functional.relu(self.residual(x) + self.shortcut(x))


def lenet(hidden=(300, 100)) -> nn.Module:
    """Returns LeNet-300-100."""
    return nn.Sequential(nn.Flatten(), *_classifier(28 * 28, hidden))


def conv4(channels=(64, 128), hidden=(256, 256)) -> nn.Module:
    """Returns Conv-4."""
    layers, inputs = [], 3
    for outputs in channels:
        for size in (inputs, outputs):
            layers += [Conv(size, outputs, bias=True), nn.ReLU()]
        layers.append(nn.MaxPool2d(2))
        inputs = outputs
    side = 32 // 2 ** len(channels)
    return nn.Sequential(*layers, nn.Flatten(), *_classifier(inputs * side**2, hidden))


def _classifier(inputs, hidden):
    """Returns the dense layers of a network with these hidden ones, and ten logits."""
    layers = []
    for outputs in hidden:
        layers += [Dense(inputs, outputs), nn.ReLU()]
        inputs = outputs
    return [*layers, Dense(inputs, 10)]


def resnet20(channels=(16, 32, 64), blocks=(3, 3, 3)) -> nn.Module:
    """Returns a ResNet for CIFAR, with 1x1 shortcuts where shapes change."""
    inputs = channels[0]
    layers = [Conv(3, inputs), nn.BatchNorm2d(inputs), nn.ReLU()]
    for stage, (outputs, number) in enumerate(zip(channels, blocks, strict=True)):
        for i in range(number):
            layers.append(Block(inputs, outputs, 2 if stage and not i else 1))
            inputs = outputs
    pool = nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*layers, *pool, Dense(inputs, 10))


def resnet8(channels=(16, 32, 64), blocks=(1, 1, 1)) -> nn.Module:
    """Returns ResNet-8."""
    return resnet20(channels, blocks)


def resnet18(channels=(64, 128, 256, 512), blocks=(2, 2, 2, 2)) -> nn.Module:
    """Returns ResNet-18 for CIFAR."""
    return resnet20(channels, blocks)


def optimizer(parameters, options: dict, fused: bool) -> torch.optim.Optimizer:
    """Returns SGD or Adam; `fused`: the one whose step is one kernel."""
    rate, decay = options["learning_rate"], options.get("weight_decay", 0.0)
    shared = {"lr": rate, "weight_decay": decay, "fused": fused or None}
    if options["name"] == "adam":
        return torch.optim.Adam(parameters, **shared)
    return torch.optim.SGD(parameters, momentum=options["momentum"], **shared)


def trainer(asked: dict) -> Callable[[int], float]:
    """Returns steps -> seconds for a network, going on from call to call."""
    device = torch.device("cuda" if asked["cuda"] else "cpu")
    model = NETWORKS[asked["network"]](**asked["options"]).to(device)
    side, depth = (28, 1) if asked["network"] == "lenet" else (32, 3)
    last = depth > 1 and asked.get("channels_last", True)
    layout = torch.channels_last if last else torch.contiguous_format
    model = model.to(memory_format=layout)
    if asked.get("compiled", asked["cuda"]):
        model = torch.compile(model)
    update = optimizer(model.parameters(), asked["optimizer"], asked["fused"])
    size = asked["batch_size"]
    images = torch.randn(BATCHES, size, depth, side, side, device=device)
    images = [batch.contiguous(memory_format=layout) for batch in images]
    labels = torch.randint(10, (BATCHES, size), device=device)
    mixed = asked.get("mixed", asked["cuda"] and asked["network"] in MIXED)

    def run(steps):
        began = time.perf_counter()
        for i in range(steps):
            with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
                logits = model(images[i % BATCHES])
            loss = functional.cross_entropy(logits, labels[i % BATCHES])
            update.zero_grad()
            loss.backward()
            update.step()
        if asked["cuda"]:
            torch.cuda.synchronize()
        return time.perf_counter() - began

    return run


def main() -> None:
    """Answers the lines of the standard input until it ends."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    trainers = {}
    for line in sys.stdin:
        asked = json.loads(line)
        steps, name = asked.pop("steps"), json.dumps(asked)
        print(json.dumps(answer(trainers, name, asked, steps)), flush=True)


def answer(trainers: dict, name: str, asked: dict, steps: int) -> dict:
    """Returns the seconds of so many steps, or why they failed; keeps the trainer."""
    try:
        if name not in trainers:
            trainers[name] = trainer(asked)
        return {"seconds": trainers[name](steps)}
    except Exception as error:  # compilers raise what they meet; other trainers go on
        lines = str(error).strip().splitlines() or [""]
        return {"failed": f"{type(error).__name__}: {lines[0]}"}


NETWORKS = {"lenet": lenet, "conv4": conv4}
NETWORKS |= {"resnet8": resnet8, "resnet20": resnet20, "resnet18": resnet18}
MIXED = ("resnet18",)  # in bfloat16 on a GPU, as ours is

if __name__ == "__main__":
    main()
