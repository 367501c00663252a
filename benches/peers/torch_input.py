"""torchvision's input pipeline for ImageNet, one pass per line read from standard input.

usage: torch_input.py FOLDER BATCH WORKERS        FOLDER has a folder of images for each class

Answers with the seconds of a pass: decoding, RandomResizedCrop(224), flip, normalisation, batches.
Workers are kept from pass to pass.
"""
import sys
import time

import torch
from torchvision import datasets, transforms

FOLDER, BATCH, WORKERS = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


def main():
    torch.set_num_threads(1)
    steps = [
        transforms.RandomResizedCrop(224),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ]
    images = datasets.ImageFolder(FOLDER, transforms.Compose(steps))
    loader = torch.utils.data.DataLoader(
        images, BATCH, shuffle=True, num_workers=WORKERS, persistent_workers=True
    )
    for _ in sys.stdin:
        began = time.perf_counter()
        count = sum(len(labels) for _, labels in loader)
        assert count == len(images)
        print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main()
