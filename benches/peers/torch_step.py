"""PyTorch's VGG16-BN training step, one per line read from standard input.

usage: torch_step.py CUT LAYOUT        CUT 99 or 33, LAYOUT nchw or channels_last

Answers "step" with the seconds it took and "peak" with the process's peak memory in bytes. The network
is the one of the Rust benchmark: thirteen convolutions with batch normalisation, from layer CUT on with
a spatial shuffle before the convolution and stride 2 in place of the pooling; a head of three fully
connected layers; SGD with momentum and weight decay.
"""
import resource
import sys
import time

import torch
from torch import nn

CUT, LAYOUT = int(sys.argv[1]), sys.argv[2]
BATCH = 64


class Shuffle(nn.Module):
    """One fresh permutation per channel, shared by the batch: rand, argsort, gather."""

    def forward(self, x):
        n, c, h, w = x.shape
        index = torch.rand(c, h * w).argsort(1)
        return x.flatten(2).gather(2, index.expand(n, -1, -1)).view(n, c, h, w)


def vgg16():
    layers, channels = [], 3
    for stage, (width, depth) in enumerate([(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)], 1):
        for position in range(1, depth + 1):
            last, shuffled = position == depth, stage * 10 + position >= CUT
            if shuffled:
                layers.append(Shuffle())
            stride = 2 if last and shuffled else 1
            layers += [
                nn.Conv2d(channels, width, 3, stride, 1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
            if last and not shuffled:
                layers.append(nn.MaxPool2d(2))
            channels = width
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 4096), nn.ReLU(inplace=True)]
    head += [nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Linear(4096, 100)]
    return nn.Sequential(*layers, *head)


torch.manual_seed(0)
torch.set_num_threads(2)
model, images = vgg16(), torch.randn(BATCH, 3, 32, 32)
if LAYOUT == "channels_last":
    model = model.to(memory_format=torch.channels_last)
    images = images.contiguous(memory_format=torch.channels_last)
labels = torch.randint(0, 100, (BATCH,))
optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)
for line in sys.stdin:
    if line.strip() == "peak":
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, flush=True)
        continue
    began = time.perf_counter()
    optimizer.zero_grad(set_to_none=True)
    nn.functional.cross_entropy(model(images), labels).backward()
    optimizer.step()
    print(time.perf_counter() - began, flush=True)
