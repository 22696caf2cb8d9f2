"""What `--layout=torch` writes, loaded into plainly written PyTorch networks.

    python experiments/peers/torch_ticket.py

For LeNet-5, Conv-4, ResNet-20 and the CIFAR ResNet-18: our network with drawn weights,
a batch's statistics and a fifth of its weights pruned goes through a safetensors file
into PyTorch (`load_state_dict`, strict). Prints the largest difference of the logits,
how far they are apart for two images, and fails where they differ by more than 1e-4.
"""

import functools
import pathlib
import sys
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.torch
import torch
from torch import nn
from torch.nn import functional

from lthjax import models
from lthjax.pruning import choose, masks, scores
from lthjax.saving import pytorch
from lthjax.saving import safetensors as safetensors_lib

BATCH, MOST = 16, 1e-4


class LeNet5(nn.Module):
    """LeNet-5 with 20 and 50 channels, for 28x28 pixels."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 20, 5), nn.Conv2d(20, 50, 5)
        self.dense1, self.head = nn.Linear(800, 500), nn.Linear(500, 10)

    def forward(self, x):
        """Returns the logits [batch, 10] of `x` [batch, 1, 28, 28]."""
        for conv in (self.conv1, self.conv2):
            x = functional.max_pool2d(functional.relu(conv(x)), 2)
        return self.head(functional.relu(self.dense1(x.flatten(1))))


class Conv4(nn.Module):
    """Conv-4, for 32x32 colour images."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1)
        self.conv2 = nn.Conv2d(64, 64, 3, padding=1)
        self.conv3 = nn.Conv2d(64, 128, 3, padding=1)
        self.conv4 = nn.Conv2d(128, 128, 3, padding=1)
        self.dense1, self.dense2 = nn.Linear(128 * 64, 256), nn.Linear(256, 256)
        self.head = nn.Linear(256, 10)

    def forward(self, x):
        """Returns the logits [batch, 10] of `x` [batch, 3, 32, 32]."""
        relu = functional.relu
        x = functional.max_pool2d(relu(self.conv2(relu(self.conv1(x)))), 2)
        x = functional.max_pool2d(relu(self.conv4(relu(self.conv3(x)))), 2)
        return self.head(relu(self.dense2(relu(self.dense1(x.flatten(1))))))


class Block(nn.Module):
    """torchvision's basic block, with its names."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = nn.Identity()
        if inputs != outputs:
            shape = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(shape, nn.BatchNorm2d(outputs))

    def forward(self, x):
        """Returns the block of `x` [batch, inputs, h, w]."""
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(y + self.downsample(x))


class ResNet(nn.Module):
    """A residual network for 32x32 images, with torchvision's names."""

    def __init__(self, channels, blocks):
        super().__init__()
        self.conv1 = nn.Conv2d(3, channels[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels[0])
        inputs, self.stages = channels[0], []
        for i, (outputs, number) in enumerate(zip(channels, blocks, strict=True)):
            layers = []
            for j in range(number):
                layers.append(Block(inputs, outputs, 2 if i and not j else 1))
                inputs = outputs
            self.stages.append(f"layer{i + 1}")
            self.add_module(self.stages[-1], nn.Sequential(*layers))
        self.fc = nn.Linear(inputs, 10)

    def forward(self, x):
        """Returns the logits [batch, 10] of `x` [batch, 3, 32, 32]."""
        x = functional.relu(self.bn1(self.conv1(x)))
        for name in self.stages:
            x = self.get_submodule(name)(x)
        return self.fc(x.mean((2, 3)))


NETWORKS = {
    "lenet5": (LeNet5, (28, 28, 1)),
    "conv4": (Conv4, (32, 32, 3)),
    "resnet20": (lambda: ResNet((16, 32, 64), (3, 3, 3)), (32, 32, 3)),
    "resnet18": (lambda: ResNet((64, 128, 256, 512), (2, 2, 2, 2)), (32, 32, 3)),
}


def difference(name: str, folder: pathlib.Path) -> tuple[float, float]:
    """Returns the largest difference of the logits, and their spread over images."""
    make, shape = NETWORKS[name]
    model = models.build(name, 10)
    images = jax.random.normal(jax.random.key(0), (BATCH, *shape))
    params, state = models.initialise(model, jax.random.key(1), images)
    params = jax.tree.map(
        lambda w: w if w.ndim > 1 else w + 0.1 * jnp.cos(w + 1), params
    )
    apply = jax.jit(functools.partial(models.apply, model), static_argnames="train")
    for _ in range(20):  # until the statistics are those of the batch
        _, state = apply(params, state, images, train=True)
    kept = masks.full(params)
    kept = choose.prune(kept, scores.magnitude(params, kept), 0.2)
    params = masks.apply(params, kept)
    logits, _ = apply(params, state, images, train=False)

    form = pytorch.layout(model, params, shape[-1])
    path = folder / f"{name}.safetensors"
    safetensors_lib.put(path, pytorch.state_dict(form, params, state), {"format": "pt"})
    network = make().eval()
    network.load_state_dict(safetensors.torch.load_file(path), strict=True)
    with torch.no_grad():
        found = network(torch.tensor(np.array(images.transpose(0, 3, 1, 2))))
    return float(np.abs(found.numpy() - logits).max()), float(np.ptp(logits, 0).max())


def main() -> None:
    """Prints the differences of all networks; ends with 1 where one is too large."""
    far = False
    with tempfile.TemporaryDirectory() as folder:
        for name in NETWORKS:
            found, spread = difference(name, pathlib.Path(folder))
            print(f"{name}: logits over {spread:.3g} differ by at most {found:.1e}")
            far = far or found > MOST
    sys.exit(int(far))


if __name__ == "__main__":
    main()
