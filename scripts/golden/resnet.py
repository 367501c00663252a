"""One training step of bottleneck ResNets in float64 PyTorch.

usage: python scripts/golden/resnet.py tests/golden/resnet.json

Three networks: ResNet50 with the ImageNet stem (padded max-pooling) and nothing done to it, ResNet50 with the
CIFAR stem shuffled from block 21 (a projection and identity blocks among the shuffled ones), and a small
ResNet with GAP+FC from block 20. What is written is what vgg16.py writes.
"""
import json
import sys

import torch
from torch import nn

from draws import Shuffle, filters, images, linear, report

CLASSES, BATCH, SEED, STEP = 10, 4, 6, 17
SHORTCUT = 1 << 16


class Block(nn.Module):
    """relu(body + shortcut); `how` is None, "shuffle" or "gap-fc"."""

    def __init__(self, names, index, channels, planes, stride, project, how):
        super().__init__()
        self.names, self.index = names, index
        if how == "gap-fc":
            stride = 1
        shuffle = lambda coordinate: [Shuffle(SEED, STEP, coordinate)] if how == "shuffle" else []
        body = [self.conv("conv1", channels, planes, 1, 1), self.norm("bn1", planes), nn.ReLU()]
        body += shuffle(index)
        body += [self.fc(planes) if how == "gap-fc" else self.conv("conv2", planes, planes, 3, stride)]
        body += [self.norm("bn2", planes), nn.ReLU()]
        body += [self.conv("conv3", planes, 4 * planes, 1, 1), self.norm("bn3", 4 * planes)]
        shortcut = shuffle(index | SHORTCUT)
        if project:
            shortcut += [self.conv("shortcut.conv", channels, 4 * planes, 1, stride), self.norm("shortcut.bn", 4 * planes)]
        self.body, self.shortcut = nn.Sequential(*body), nn.Sequential(*shortcut)

    def conv(self, part, inputs, outputs, side, stride):
        name = f"block{self.index}.{part}.weight"
        layer = nn.Conv2d(inputs, outputs, side, stride, side // 2, bias=False)
        layer.weight = self.names[name] = filters(SEED, name, outputs, side, inputs)
        return layer

    def norm(self, part, channels):
        layer = nn.BatchNorm2d(channels).double()
        self.names[f"block{self.index}.{part}.weight"] = layer.weight
        self.names[f"block{self.index}.{part}.bias"] = layer.bias
        return layer

    def fc(self, planes):
        name = f"block{self.index}.fc2"
        layer = linear(SEED, name, planes, planes, bias=False)
        self.names[f"{name}.weight"] = layer.weight
        return nn.Sequential(nn.Flatten(), layer, nn.Unflatten(1, (planes, 1, 1)))

    def forward(self, x):
        return torch.relu(self.body(x) + self.shortcut(x))


def resnet(depths, planes, large, cut, how):
    names = {}
    side, stride = (7, 2) if large else (3, 1)
    stem = nn.Conv2d(3, planes, side, stride, side // 2, bias=False)
    stem.weight = names["conv0.weight"] = filters(SEED, "conv0.weight", planes, side, 3)
    norm = nn.BatchNorm2d(planes).double()
    names |= {"bn0.weight": norm.weight, "bn0.bias": norm.bias}
    layers = [stem, norm, nn.ReLU()] + ([nn.MaxPool2d(3, 2, 1)] if large else [])
    channels = planes
    for stage, depth in enumerate(depths):
        for position in range(depth):
            index = 10 * (stage + 1) + position
            if index == cut and how == "gap-fc":
                layers.append(nn.AdaptiveAvgPool2d(1))
            stride = 2 if stage and not position else 1
            treatment = how if index >= cut else None
            layers.append(Block(names, index, channels, planes << stage, stride, not position, treatment))
            channels = 4 * planes << stage
    head = linear(SEED, "head0", channels, CLASSES)
    names |= {"head0.weight": head.weight, "head0.bias": head.bias}
    last_norm = layers[-1].body[-1]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head), names, last_norm


def step(side, *network):
    return report(*resnet(*network), images(BATCH, side), [0, 3, 7, 9])


found = {
    "torch": torch.__version__,
    "imagenet_stem": step(64, [3, 4, 6, 3], 4, True, 99, None),
    "shuffled": step(32, [3, 4, 6, 3], 4, False, 21, "shuffle"),
    "gap_fc": step(32, [2, 2, 2], 8, False, 20, "gap-fc"),
}
with open(sys.argv[1], "w") as file:
    json.dump(found, file, indent=1)
    file.write("\n")
