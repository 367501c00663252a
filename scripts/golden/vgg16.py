"""One training step of VGG16-BN in float64 PyTorch, plain and shuffled from layer 33.

usage: python scripts/golden/vgg16.py tests/golden/vgg16.json

Writes the logits, the loss, and for every parameter the sum, the Euclidean norm and the first four values of
its gradient (in PyTorch's OIHW order for filters: the sum and norm do not depend on it, the first four are
the input channels of the first tap), plus the running statistics of the last normalisation. Weights,
images and permutations are drawn by Philox4x32-10 as the Rust code draws them, written here a second time.
"""
import json
import math
import sys

import numpy as np
import torch
from torch import nn

WIDTH, CLASSES, BATCH, SEED, STEP = 0.125, 10, 4, 6, 17
INIT, SHUFFLE_TRAIN, CHECK = 1, 5, 8


def philox(key, counter):
    """Ten rounds on arrays of shape (4, n); key is a pair of integers."""
    c = [np.asarray(v, dtype=np.uint64) for v in np.broadcast_arrays(*counter)]
    k0, k1, low = key[0], key[1], np.uint64(0xFFFFFFFF)
    for _ in range(10):
        p0, p1 = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        high0, high1 = p0 >> np.uint64(32), p1 >> np.uint64(32)
        c = [high1 ^ c[1] ^ np.uint64(k0), p1 & low, high0 ^ c[3] ^ np.uint64(k1), p0 & low]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c


def key_of(seed, purpose, a, b):
    words = (seed & 0xFFFFFFFF, seed >> 32)
    out = philox(words, [a & 0xFFFFFFFF, a >> 32, b, purpose])
    return int(out[0]), int(out[1])


def words(key, lane, count):
    """`count` 64-bit numbers of each lane (lanes and counts broadcast)."""
    index = np.arange(count)
    out = philox(key, [index // 2, lane, 0, 0])
    odd = index % 2 == 1
    low, high = np.where(odd, out[2], out[0]), np.where(odd, out[3], out[1])
    return low | high << np.uint64(32)


def uniforms(key, lane, count):
    return (words(key, lane, count) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def normals(key, lane, count):
    u = uniforms(key, lane, 2 * count)
    return np.sqrt(-2.0 * np.log(1.0 - u[0::2])) * np.cos(2.0 * math.pi * u[1::2])


def initial(name, shape, std=None, bound=None):
    hashed = 0xCBF29CE484222325
    for byte in name.encode():
        hashed = (hashed ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    key, size = key_of(SEED, INIT, hashed, 0), math.prod(shape)
    chunks = []
    for lane, start in enumerate(range(0, size, 4096)):
        count = min(4096, size - start)
        if std is not None:
            chunks.append(std * normals(key, lane, count))
        else:
            chunks.append(bound * (2.0 * uniforms(key, lane, count) - 1.0))
    return torch.from_numpy(np.concatenate(chunks).reshape(shape))


class Shuffle(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        n, c, h, w = x.shape
        key = key_of(SEED, SHUFFLE_TRAIN, STEP, self.layer)
        keys = np.stack([words(key, lane, h * w) >> np.uint64(16) for lane in range(c)])
        pi = torch.from_numpy(np.argsort(keys, axis=1, kind="stable"))
        return x.flatten(2).gather(2, pi.expand(n, -1, -1)).view(n, c, h, w)


def vgg16(cut):
    layers, channels, names = [], 3, {}
    for stage, (width, depth) in enumerate([(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)], 1):
        width = round(width * WIDTH)
        for position in range(1, depth + 1):
            index = stage * 10 + position
            last, shuffled = position == depth, index >= cut
            if shuffled:
                layers.append(Shuffle(index))
            conv = nn.Conv2d(channels, width, 3, 2 if last and shuffled else 1, 1, bias=False)
            ohwi = initial(f"conv{index}.weight", (width, 3, 3, channels), std=math.sqrt(2 / (width * 9)))
            conv.weight = nn.Parameter(ohwi.permute(0, 3, 1, 2).contiguous())
            norm = nn.BatchNorm2d(width).double()
            names |= {f"conv{index}.weight": conv.weight, f"bn{index}.weight": norm.weight, f"bn{index}.bias": norm.bias}
            layers += [conv, norm, nn.ReLU()]
            if last and not shuffled:
                layers.append(nn.MaxPool2d(2))
            channels = width
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    inputs = channels
    for index, outputs in enumerate([round(4096 * WIDTH)] * 2 + [CLASSES]):
        linear = nn.Linear(inputs, outputs)
        bound = 1 / math.sqrt(inputs)
        linear.weight = nn.Parameter(initial(f"head{index}.weight", (outputs, inputs), bound=bound))
        linear.bias = nn.Parameter(initial(f"head{index}.bias", (outputs,), bound=bound))
        names |= {f"head{index}.weight": linear.weight, f"head{index}.bias": linear.bias}
        layers += [linear] if index == 2 else [linear, nn.ReLU()]
        inputs = outputs
    return nn.Sequential(*layers), names, norm


def step(cut):
    model, names, last_norm = vgg16(cut)
    pixels = normals(key_of(3, CHECK, 0, 0), 0, BATCH * 32 * 32 * 3).reshape(BATCH, 32, 32, 3)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    logits = model(images)
    loss = nn.functional.cross_entropy(logits, torch.tensor([0, 3, 7, 9]))
    loss.backward()
    gradients = {}
    for name, parameter in names.items():
        g = parameter.grad
        ohwi = g.permute(0, 2, 3, 1) if g.dim() == 4 else g
        gradients[name] = [g.sum().item(), g.norm().item(), *ohwi.flatten()[:4].tolist()]
    return {
        "logits": logits.flatten().tolist(),
        "loss": loss.item(),
        "gradients": gradients,
        "running_mean": last_norm.running_mean[:4].tolist(),
        "running_var": last_norm.running_var[:4].tolist(),
    }


report = {"torch": torch.__version__, "plain": step(99), "shuffled": step(33)}
with open(sys.argv[1], "w") as file:
    json.dump(report, file, indent=1)
    file.write("\n")
