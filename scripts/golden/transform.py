"""Crop, mirror and normalise by torchvision, for src/data/transform.rs.

Writes the safetensors file given as argument: an 8x8 image, and for each placement (top and left of
the crop in the image padded by 4, mirrored or not) the normalised result, NHWC f32.
"""

import sys

import torch
from safetensors.torch import save_file
from torchvision.transforms import functional as F

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
PLACEMENTS = [(4, 4, False), (0, 7, False), (8, 2, True), (4, 4, True)]

image = (torch.arange(8 * 8 * 3) * 89 % 256).to(torch.uint8).reshape(8, 8, 3)
pil = F.to_pil_image(image.permute(2, 0, 1))
outputs = []
for top, left, mirror in PLACEMENTS:
    window = F.crop(F.pad(pil, 4), top, left, 8, 8)
    window = F.hflip(window) if mirror else window
    outputs.append(F.normalize(F.to_tensor(window), MEAN, STD).permute(1, 2, 0))
tensors = {"image": image, "outputs": torch.stack(outputs).contiguous()}
save_file(tensors, sys.argv[1], {"made_by": f"torch {torch.__version__}"})
