"""Values and gradients of PyTorch's operations, in f64, for tests/pytorch.rs.

Usage: python scripts/golden/operations.py    (writes tests/golden/torch_*.safetensors)

Each case stores its operands, a random cotangent `dy`, the result `y` and one gradient `d…` per
differentiable operand, in PyTorch's layouts (NCHW, OIHW); its settings, as JSON, and the version of
PyTorch stand in the file's metadata.
"""

import json
import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

torch.set_default_dtype(torch.float64)
FOLDER = pathlib.Path(__file__).parents[2] / "tests" / "golden"


class Golden:
    def __init__(self, name):
        self.name, self.tensors, self.settings = name, {}, {}
        torch.manual_seed(20)

    def case(self, name, function, settings, constants={}, **operands):
        """Runs function(**operands, **constants) forward and backward and stores everything."""
        leaves = {k: v.clone().requires_grad_() for k, v in operands.items()}
        y = function(**leaves, **constants)
        dy = torch.randn_like(y)
        y.backward(dy)
        stored = {**operands, **constants, "y": y.detach(), "dy": dy}
        stored |= {f"d{k}": v.grad for k, v in leaves.items()}
        self.tensors |= {f"{name}.{k}": v.clone().contiguous() for k, v in stored.items()}
        self.settings[name] = json.dumps(settings)

    def save(self):
        FOLDER.mkdir(exist_ok=True)
        metadata = {**self.settings, "torch": torch.__version__}
        save_file(self.tensors, FOLDER / f"torch_{self.name}.safetensors", metadata)


def conv2d():
    g = Golden("conv2d")
    cases = [
        ("plain", [1, 1], [1, 1], [1, 1], (3, 3), False),
        ("strided", [2, 2], [1, 1], [1, 1], (3, 3), True),
        ("dilated", [1, 1], [2, 2], [2, 2], (3, 3), False),
        ("point", [2, 2], [0, 0], [1, 1], (1, 1), False),
        ("uneven", [2, 1], [0, 2], [1, 2], (3, 2), True),
    ]
    for name, stride, padding, dilation, filter_size, bias in cases:
        settings = dict(stride=stride, padding=padding, dilation=dilation)
        operands = dict(x=torch.randn(2, 3, 6, 5), w=torch.randn(4, 3, *filter_size))
        if bias:
            operands["b"] = torch.randn(4)
        run = lambda x, w, b=None: F.conv2d(x, w, b, **settings)
        g.case(name, run, settings, **operands)
    g.save()


def linear():
    g = Golden("linear")
    x, w, b = torch.randn(5, 7), torch.randn(3, 7), torch.randn(3)
    g.case("with_bias", lambda x, w, b: F.linear(x, w, b), {}, x=x, w=w, b=b)
    g.case("without", lambda x, w: F.linear(x, w), {}, x=x, w=w)
    g.save()


def batch_norm():
    g = Golden("batch_norm")
    for name, shape in [("maps", (3, 4, 3, 2)), ("rows", (6, 4))]:
        operands = dict(x=torch.randn(shape), gamma=torch.randn(4), beta=torch.randn(4))
        mean, var = torch.zeros(4), torch.zeros(4)
        # momentum 1: the running averages become this batch's mean and unbiased variance
        train = lambda x, gamma, beta: F.batch_norm(x, mean, var, gamma, beta, True, 1.0, 1e-5)
        g.case(f"{name}_train", train, {"eps": 1e-5}, **operands)
        g.tensors |= {f"{name}_train.mean": mean, f"{name}_train.var": var}
        statistics = dict(mean=torch.randn(4), var=torch.rand(4) + 0.5)
        evaluate = lambda x, gamma, beta, mean, var: F.batch_norm(
            x, mean, var, gamma, beta, False, 0.1, 1e-5
        )
        g.case(f"{name}_eval", evaluate, {"eps": 1e-5}, statistics, **operands)
    g.save()


def pooling():
    g = Golden("pooling")
    # few different values: most windows have ties
    ties = torch.randint(-1, 2, (2, 2, 5, 6)).double()
    holes = ties.clone()
    holes[0, 1, 2, 3] = holes[0, 1, 3, 3] = holes[1, 0, 0, 0] = float("nan")
    smooth = torch.randn(2, 2, 5, 6)
    windows = [
        ("halving", [2, 2], [2, 2], [0, 0]),
        ("padded", [3, 3], [2, 2], [1, 1]),
        ("uneven", [3, 2], [1, 3], [1, 0]),
    ]
    for name, kernel, stride, padding in windows:
        settings = dict(kernel=kernel, stride=stride, padding=padding)
        pool = lambda x: F.max_pool2d(x, kernel, stride, padding)
        for content, x in [("ties", ties), ("nan", holes)]:
            g.case(f"max_{name}_{content}", pool, settings, x=x)
        for include in [True, False]:
            pool = lambda x: F.avg_pool2d(x, kernel, stride, padding, False, include)
            s = {**settings, "count_include_pad": include}
            g.case(f"avg_{name}_{include}", pool, s, x=smooth)
    for size in [(1, 1), (2, 3), (4, 5), (9, 4)]:
        pool = lambda x: F.adaptive_avg_pool2d(x, size)
        g.case(f"adaptive_{size[0]}x{size[1]}", pool, {"output": size}, x=smooth)
    g.save()


def cross_entropy():
    g = Golden("cross_entropy")
    rows, maps = torch.randn(7, 5), torch.randn(2, 5, 3, 4) * 4
    row_labels, map_labels = torch.randint(0, 5, (7,)), torch.randint(0, 5, (2, 3, 4))
    row_labels[2] = map_labels[0, 1, 2] = map_labels[1, 0, 0] = 255
    weights = torch.tensor([0.5, 1.0, 2.0, 0.25, 1.5])
    for name, x, labels in [("rows", rows, row_labels), ("maps", maps, map_labels)]:
        for smoothing in [0.0, 0.1]:
            for w in [None, weights]:
                loss = lambda x, labels: F.cross_entropy(
                    x, labels.long(), w, ignore_index=255, label_smoothing=smoothing
                )
                settings = {"smoothing": smoothing, "weights": None if w is None else w.tolist()}
                label = f"{name}_{smoothing}_{'plain' if w is None else 'weighted'}"
                g.case(label, loss, settings, {"labels": labels.int()}, x=x)
    g.save()


def masked_bce():
    g = Golden("masked_bce")
    t, m = torch.rand(5, 7), torch.randint(0, 2, (5, 7)).double()
    t[0] = t[0].round()
    m[0, 0] = 1.0
    for name, w in [("plain", None), ("weighted", torch.rand(5, 7) + 0.5)]:
        def loss(x, t, m, w=None):
            each = F.binary_cross_entropy_with_logits(x, t, w, reduction="none")
            return (each * m).sum() / m.sum()
        constants = dict(t=t, m=m) if w is None else dict(t=t, m=m, w=w)
        g.case(name, loss, {}, constants, x=torch.randn(5, 7) * 4)
    g.save()


def sb_projection():
    g = Golden("sb_projection")
    x, w, b = torch.randn(2, 10, 3, 4), torch.randn(6, 10), torch.randn(6)
    t, m = torch.rand(2, 6, 3, 4), torch.randint(0, 2, (2, 6, 3, 4)).double()
    logits = lambda x, w, b: F.conv2d(x, w[:, :, None, None], b)

    def loss(x, w, b, t, m, share=None):
        each = F.binary_cross_entropy_with_logits(logits(x, w, b), t, share, reduction="none")
        return (each * m).sum() / m.sum()

    maps = lambda x, w, b: torch.sigmoid(logits(x, w, b))
    g.case("logits", logits, {"activation": "none"}, x=x, w=w, b=b)
    g.case("maps", maps, {"activation": "sigmoid"}, x=x, w=w, b=b)
    constants = dict(t=t, m=m)
    g.case("loss", loss, {"activation": "sigmoid"}, constants, x=x, w=w, b=b)
    constants["share"] = torch.rand(2, 6, 3, 4) + 0.5
    g.case("loss_weighted", loss, {"activation": "none"}, constants, x=x, w=w, b=b)
    g.save()


def bilinear():
    g = Golden("bilinear")
    for size in [(9, 11), (3, 2), (1, 7), (4, 5)]:
        for align in [True, False]:
            x = torch.randn(1, 2, 4, 5)
            run = lambda x: F.interpolate(x, size, mode="bilinear", align_corners=align)
            g.case(f"{size[0]}x{size[1]}_{align}", run, {"output": size, "align": align}, x=x)
    g.save()


def padding():
    g = Golden("padding")
    x = torch.randn(1, 2, 3, 4)
    for mode in ["constant", "reflect", "replicate", "circular"]:
        settings = {"mode": mode, "padding": [[1, 2], [3, 0]]}
        g.case(mode, lambda x: F.pad(x, (3, 0, 1, 2), mode=mode), settings, x=x)
    g.save()


MAKERS = [conv2d, linear, batch_norm, pooling, cross_entropy, masked_bce, sb_projection, bilinear, padding]
for make in MAKERS:
    make()
