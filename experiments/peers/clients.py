"""PyTorch's side of `measures/timed/clients.py`: clients, one after the other.

Reads lines of JSON with the keys samples (of a client), clients, epochs and threads,
and answers each with {"seconds", "processor"}: of all of them, of the wall and of the
processors. The network is the tutorial's LeNet, SGD has momentum 0.9, a batch 32
examples; a client begins with the same weights and a fresh optimizer, and each epoch
takes its examples in another order. Images are normalised floats that lie ready.
"""

import copy
import json
import sys
import time

import torch
from torch import nn
from torch.nn import functional

BATCH = 32


def lenet() -> nn.Module:
    """Returns the LeNet of PyTorch's tutorial, 62,006 parameters."""
    layers = []
    for inputs, outputs in ((3, 6), (6, 16)):
        layers += [nn.Conv2d(inputs, outputs, 5), nn.ReLU(), nn.MaxPool2d(2)]
    layers.append(nn.Flatten())
    for inputs, outputs in ((400, 120), (120, 84)):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(84, 10))


def trained(model: nn.Module, images, labels, epochs: int) -> nn.Module:
    """Returns a copy of the model after a client's training."""
    model = copy.deepcopy(model)
    update = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for _ in range(epochs):
        order = torch.randperm(len(labels))
        for rows in order.split(BATCH):
            update.zero_grad()
            functional.cross_entropy(model(images[rows]), labels[rows]).backward()
            update.step()
    return model


def answer(model: nn.Module, asked: dict) -> dict:
    """Returns the seconds that so many clients take."""
    torch.set_num_threads(asked["threads"])
    images = torch.randn(asked["samples"], 3, 32, 32)
    labels = torch.randint(10, (asked["samples"],))
    began = time.perf_counter(), time.process_time()
    for _ in range(asked["clients"]):
        trained(model, images, labels, asked["epochs"])
    ended = time.perf_counter(), time.process_time()
    wall, processor = (b - a for a, b in zip(began, ended, strict=True))
    return {"seconds": wall, "processor": processor}


def main() -> None:
    """Answers the lines of the standard input until it ends."""
    torch.manual_seed(0)
    model = lenet()
    for line in sys.stdin:
        print(json.dumps(answer(model, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
