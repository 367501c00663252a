"""Image files and what PIL and torchvision make of them, for tests/datasets/image_files.rs.

Writes into the folder given as argument: small JPEG and PNG files of every kind, and images.safetensors
with their pixels as PIL's convert("RGB") has them, and the results of scaling the noise image: windows
as torchvision's resized_crop makes them (top, left, height, width, then the size), the middle as Resize
and CenterCrop make it, and the box filter.
"""

import pathlib
import sys

import numpy as np
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from torchvision.transforms import functional as F

OUT = pathlib.Path(sys.argv[1])
WINDOWS = [(0, 0, 47, 61, 20), (5, 9, 30, 33, 16), (11, 3, 7, 9, 24), (0, 20, 47, 13, 13)]
CENTERS = [(47, 47), (32, 28), (20, 18), (64, 56)]


def pixels(image):
    return torch.from_numpy(np.array(image.convert("RGB")))


rng = np.random.default_rng(0)
y, x = np.mgrid[0:30, 0:41]
waves = [127 + 100 * np.sin(x / 9 + c) * np.cos(y / 7 - c) for c in range(3)]
photo = Image.fromarray(np.stack(waves, -1).round().astype(np.uint8))
OUT.mkdir(parents=True, exist_ok=True)
photo.save(OUT / "photo.jpg", quality=90)
photo.save(OUT / "progressive.jpg", quality=90, progressive=True, subsampling="4:4:4")
photo.convert("L").save(OUT / "grey.jpg", quality=90)
photo.convert("CMYK").save(OUT / "cmyk.jpg", quality=90)
photo.crop((7, 7, 8, 8)).save(OUT / "pixel.jpg", quality=90)
photo.convert("P").save(OUT / "palette.png", optimize=True)
alpha = Image.fromarray(np.full((30, 41), 77, np.uint8))
transparent = photo.copy()
transparent.putalpha(alpha)
transparent.resize((8, 6)).save(OUT / "transparent.png", optimize=True)
tensors = {path.name: pixels(Image.open(path)) for path in sorted(OUT.glob("*.*g"))}

noise = Image.fromarray(rng.integers(0, 256, (47, 61, 3), np.uint8))
tensors["noise"] = pixels(noise)
for top, left, height, width, size in WINDOWS:
    name = f"window {top} {left} {height} {width} {size}"
    tensors[name] = pixels(F.resized_crop(noise, top, left, height, width, [size, size]))
for short, side in CENTERS:
    name = f"center {short} {side}"
    tensors[name] = pixels(F.center_crop(F.resize(noise, short), [side, side]))
tensors["box 16"] = pixels(noise.resize((16, 16), Image.BOX))
made_by = f"torchvision {torchvision.__version__}, PIL {Image.__version__}"
save_file({k: v.contiguous() for k, v in tensors.items()}, OUT / "images.safetensors", {"made_by": made_by})
