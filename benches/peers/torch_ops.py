"""PyTorch's times for the workloads of the device benchmark, read as JSON from standard input.

usage: torch_ops.py DEVICE DTYPE        DEVICE cpu or cuda:N, DTYPE f32 or bf16

Answers with a JSON list of [forward, backward] in microseconds, null where there is no equal. Maps are
channels_last and cuDNN picks its fastest algorithm (`cudnn.benchmark`); f32 is f32 (no tf32), as in the
Rust benchmark. A median of 20 after 5 that do not count, between events on the stream; the backward
time is that of autograd from the output's gradient to all inputs.
"""
import json
import statistics
import sys
import time

import torch
import torch.nn.functional as F

DEVICE, DTYPE = sys.argv[1], {"f32": torch.float32, "bf16": torch.bfloat16}[sys.argv[2]]
torch.backends.cudnn.benchmark = True
torch.backends.cudnn.allow_tf32 = False
torch.backends.cuda.matmul.allow_tf32 = False


def nhwc(shape):
    """A map whose extents are given as N, H, W, C."""
    n, h, w, c = shape
    x = torch.randn(n, c, h, w, device=DEVICE, dtype=DTYPE)
    return x.contiguous(memory_format=torch.channels_last)


def draw(shape):
    return nhwc(shape) if len(shape) == 4 else torch.randn(*shape, device=DEVICE, dtype=DTYPE)


def shuffle(x):
    """One fresh permutation per channel, shared by the batch: rand, argsort, gather."""
    n, c, h, w = x.shape
    index = torch.rand(c, h * w, device=x.device).argsort(1)
    return x.flatten(2).gather(2, index.expand(n, -1, -1)).view(n, c, h, w)


def concepts(x, w, b, targets=None, mask=None):
    """The concepts' maps, or their loss over the known ones; cuBLAS, as the map's pixels are rows already."""
    z = F.linear(x.permute(0, 2, 3, 1), w, b)
    if targets is None:
        return torch.sigmoid(z)
    targets, mask = targets.permute(0, 2, 3, 1), mask.permute(0, 2, 3, 1)
    loss = F.binary_cross_entropy_with_logits(z, targets, reduction="none")
    return (loss * mask).sum() / mask.sum()


def operation(peer):
    match peer["op"]:
        case "relu":
            return F.relu
        case "add":
            return torch.add
        case "batch_norm_relu":
            return lambda x, g, b: F.relu(F.batch_norm(x, None, None, g, b, training=True))
        case "max_pool2d":
            return lambda x: F.max_pool2d(x, peer["size"], peer["stride"], peer["padding"])
        case "global_avg_pool":
            return lambda x: x.mean((2, 3))
        case "adaptive_avg_pool2d":
            return lambda x: F.adaptive_avg_pool2d(x, peer["output"])
        case "bilinear_resize":
            return lambda x: F.interpolate(x, [peer["output"]] * 2, mode="bilinear")
        case "spatial_shuffle":
            return shuffle
        case "linear":
            return F.linear
        case "conv2d":
            return lambda x, w: F.conv2d(x, w, None, peer["stride"], peer["padding"])
        case "softmax_cross_entropy":
            return F.cross_entropy
        case "sb_projection":
            return concepts
    return None


def timed(work):
    """Microseconds of `work`."""
    if DEVICE.startswith("cuda"):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        end.synchronize()
        return 1e3 * begin.elapsed_time(end)
    begin = time.perf_counter()
    work()
    return 1e6 * (time.perf_counter() - begin)


def measure(workload):
    run = operation(workload["peer"])
    if run is None:
        return [None, None]
    inputs = [draw(shape) for shape in workload["shapes"]]
    if workload["peer"]["op"] == "softmax_cross_entropy":
        rows, classes = workload["shapes"][0]
        inputs[1] = torch.randint(0, classes, (rows,), device=DEVICE)
    # The first few inputs, where not all have a gradient.
    leaves = inputs[: workload["peer"].get("leaves")]
    leaves = [x.requires_grad_() for x in leaves if x.is_floating_point()]
    forward, backward = [], []
    gradient = None
    for _ in range(25):
        results = []
        forward.append(timed(lambda: results.append(run(*inputs))))
        y = results[0]
        gradient = torch.randn_like(y) if gradient is None else gradient
        backward.append(timed(lambda: torch.autograd.grad(y, leaves, gradient)))
    return [statistics.median(forward[5:]), statistics.median(backward[5:])]


json.dump([measure(workload) for workload in json.load(sys.stdin)], sys.stdout)
