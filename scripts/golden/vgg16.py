"""One training step of VGG16-BN in float64 PyTorch, plain and shuffled from layer 33.

usage: python scripts/golden/vgg16.py tests/golden/vgg16.json

Writes the logits, the loss, and for every parameter the sum, the Euclidean norm and the first four values of
its gradient (filters as OHWI), plus the running statistics of the last normalisation. Weights, images and
permutations are drawn as the Rust code draws them (draws.py).
"""
import json
import sys

import torch
from torch import nn

from draws import Shuffle, filters, images, linear, report

WIDTH, CLASSES, BATCH, SEED, STEP = 0.125, 10, 4, 6, 17


def vgg16(cut):
    layers, channels, names = [], 3, {}
    for stage, (width, depth) in enumerate([(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)], 1):
        width = round(width * WIDTH)
        for position in range(1, depth + 1):
            index = stage * 10 + position
            last, shuffled = position == depth, index >= cut
            if shuffled:
                layers.append(Shuffle(SEED, STEP, index))
            conv = nn.Conv2d(channels, width, 3, 2 if last and shuffled else 1, 1, bias=False)
            conv.weight = filters(SEED, f"conv{index}.weight", width, 3, channels)
            norm = nn.BatchNorm2d(width).double()
            names |= {f"conv{index}.weight": conv.weight, f"bn{index}.weight": norm.weight, f"bn{index}.bias": norm.bias}
            layers += [conv, norm, nn.ReLU()]
            if last and not shuffled:
                layers.append(nn.MaxPool2d(2))
            channels = width
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    inputs = channels
    for index, outputs in enumerate([round(4096 * WIDTH)] * 2 + [CLASSES]):
        layer = linear(SEED, f"head{index}", inputs, outputs)
        names |= {f"head{index}.weight": layer.weight, f"head{index}.bias": layer.bias}
        layers += [layer] if index == 2 else [layer, nn.ReLU()]
        inputs = outputs
    return nn.Sequential(*layers), names, norm


def step(cut):
    return report(*vgg16(cut), images(BATCH, 32), [0, 3, 7, 9])


found = {"torch": torch.__version__, "plain": step(99), "shuffled": step(33)}
with open(sys.argv[1], "w") as file:
    json.dump(found, file, indent=1)
    file.write("\n")
