"""The random numbers of whatwhere, written a second time: Philox4x32-10 as src/rng.rs draws it.

Imported by the scripts that check whole networks against PyTorch.
"""
import math

import numpy as np
import torch
from torch import nn

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


def named(seed, name, shape, sample):
    """Numbers of `sample` (uniforms, normals) for the tensor called `name`, as first values are drawn."""
    hashed = 0xCBF29CE484222325
    for byte in name.encode():
        hashed = (hashed ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    key, size = key_of(seed, INIT, hashed, 0), math.prod(shape)
    lanes = enumerate(range(0, size, 4096))
    values = [sample(key, lane, min(4096, size - start)) for lane, start in lanes]
    return torch.from_numpy(np.concatenate(values).reshape(shape))


def initial(seed, name, shape, std=None, bound=None):
    """The first values of the tensor called `name`: normal with `std`, or uniform in ±`bound`."""
    if std is not None:
        return std * named(seed, name, shape, normals)
    return bound * (2.0 * named(seed, name, shape, uniforms) - 1.0)


class Shuffle(nn.Module):
    """The spatial shuffle of layer `layer` at training step `step`."""

    def __init__(self, seed, step, layer):
        super().__init__()
        self.key = key_of(seed, SHUFFLE_TRAIN, step, layer)

    def forward(self, x):
        n, c, h, w = x.shape
        keys = np.stack([words(self.key, lane, h * w) >> np.uint64(16) for lane in range(c)])
        pi = torch.from_numpy(np.argsort(keys, axis=1, kind="stable"))
        return x.flatten(2).gather(2, pi.expand(n, -1, -1)).view(n, c, h, w)


def filters(seed, name, outputs, side, inputs):
    """Kaiming-normal filters (fan-out), drawn as OHWI, given as PyTorch's OIHW."""
    std = math.sqrt(2 / (outputs * side * side))
    ohwi = initial(seed, name, (outputs, side, side, inputs), std=std)
    return nn.Parameter(ohwi.permute(0, 3, 1, 2).contiguous())


def linear(seed, name, inputs, outputs, bias=True):
    """A fully connected layer with PyTorch's default first values."""
    layer, bound = nn.Linear(inputs, outputs, bias=bias), 1 / math.sqrt(inputs)
    layer.weight = nn.Parameter(initial(seed, f"{name}.weight", (outputs, inputs), bound=bound))
    if bias:
        layer.bias = nn.Parameter(initial(seed, f"{name}.bias", (outputs,), bound=bound))
    return layer


def images(batch, side):
    """The images of every check: normal numbers, NHWC turned to NCHW."""
    pixels = normals(key_of(3, CHECK, 0, 0), 0, batch * side * side * 3).reshape(batch, side, side, 3)
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


def report(model, names, last_norm, x, labels):
    """One training step: logits, loss, and of every gradient the sum, the norm and the first values.

    Gradients of filters are listed in OHWI order. The running statistics are those of `last_norm`.
    """
    logits = model(x)
    loss = nn.functional.cross_entropy(logits, torch.tensor(labels))
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
