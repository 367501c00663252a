"""Logits of torchvision's own networks on weights drawn by name, and the names and extents of their tensors.

usage: python scripts/golden/pretrained.py tests/golden/pretrained.json

A tensor's values are drawn from Philox under its torchvision name (draws.py), so that the weights need not be
stored: tests/pretrained.rs draws the same ones. Networks run in float64; the VGGs have an eighth of the
channels. The hash is of the lines `name extents` of the whole network's state_dict, sorted.
"""
import hashlib
import json
import math
import sys

import torch
import torchvision
from torch import nn
from torchvision.models import resnet, vgg

from draws import images, named, normals, uniforms

SEED, CLASSES = 6, 10


def draw(name, shape):
    values = named(SEED, name, shape, uniforms if name.endswith("running_var") else normals)
    if name.endswith("running_var"):
        return 0.5 + values
    if len(shape) == 1:
        return 0.1 * values + (1.0 if name.endswith("weight") else 0.0)
    return values * math.sqrt(2 / math.prod(shape[1:]))


def narrow(depths, norm):
    plan = [item for depth, width in zip(depths, (8, 16, 32, 64, 64)) for item in [width] * depth + ["M"]]
    network = vgg.VGG(vgg.make_layers(plan, batch_norm=norm), num_classes=CLASSES, init_weights=False)
    network.classifier = nn.Sequential(
        nn.Linear(64 * 7 * 7, 512), nn.ReLU(), nn.Dropout(), nn.Linear(512, 512), nn.ReLU(), nn.Dropout(),
        nn.Linear(512, CLASSES))
    return network


def logits(network, side):
    network = network.double().eval()
    state = network.state_dict()
    network.load_state_dict({
        name: draw(name, tuple(value.shape)) if value.is_floating_point() else value for name, value in state.items()})
    with torch.no_grad():
        return network(images(2, side)).flatten().tolist()


def names(network):
    lines = [f"{name} {list(value.shape)}" for name, value in network.state_dict().items()]
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


DEPTHS = (2, 2, 3, 3, 3)
found = {
    "torchvision": torchvision.__version__,
    "logits": {
        # 64 pixels come to a 2x2 map, which is averaged *up* to 7x7; 224 pixels need no averaging.
        "vgg16-torchvision": logits(narrow(DEPTHS, False), 64),
        "vgg16-bn-torchvision": logits(narrow(DEPTHS, True), 224),
        "resnet50-imagenet": logits(resnet.resnet50(num_classes=CLASSES), 64),
    },
    "names": {
        "vgg16-torchvision": names(vgg.vgg16()),
        "vgg16-bn-torchvision": names(vgg.vgg16_bn()),
        "resnet50-imagenet": names(resnet.resnet50()),
        "resnet152-imagenet": names(resnet.resnet152()),
    },
}
with open(sys.argv[1], "w") as file:
    json.dump(found, file, indent=1)
    file.write("\n")
