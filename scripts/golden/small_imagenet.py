"""Files as the downsampled ImageNet is distributed, for tests/datasets/small_imagenet.rs, written by numpy and
Python's pickle into the folder given as argument: val_data with two images of 32x32 in every protocol, one
batch to train as .npz with the mean, and files that must be refused.
"""

import pathlib
import pickle
import sys

import numpy as np

OUT = pathlib.Path(sys.argv[1])
i, c, y, x = np.mgrid[0:2, 0:3, 0:32, 0:32]
data = ((i * 91 + c * 50 + y * 3 + x * 7) % 256).astype(np.uint8).reshape(2, 3072)
labels = [1, 1000]


def write(folder, name, content, protocol):
    place = OUT / folder
    place.mkdir(parents=True, exist_ok=True)
    (place / name).write_bytes(pickle.dumps(content, protocol))


class Command:
    def __reduce__(self):
        import os

        return os.system, ("true",)


for protocol in (2, 3, 4):
    write(f"protocol{protocol}", "val_data", {"data": data, "labels": labels}, protocol)
write("array_labels", "val_data", {"data": data[:1], "labels": np.array([7])}, 4)
write("scalar_labels", "val_data", {"data": data[:1], "labels": [np.int64(7)]}, 4)
write("float", "val_data", {"data": np.zeros((1, 4), np.float32), "labels": [1]}, 4)
write("command", "val_data", {"data": Command(), "labels": [1]}, 4)
write("object", "val_data", {"data": np.array([[None]], object), "labels": [1]}, 4)
write("outside", "val_data", {"data": data[:1], "labels": [0]}, 4)
write("labels", "val_data", {"data": data[:1], "labels": ["1"]}, 4)

place = OUT / "npz"
place.mkdir(parents=True, exist_ok=True)
mean = data.mean(0)
np.savez_compressed(place / "train_data_batch_1.npz", data=data, labels=np.array(labels), mean=mean)
np.savez(place / "val_data.npz", data=data[:1], labels=np.array(labels[:1], np.int32))
place = OUT / "npz_object"
place.mkdir(parents=True, exist_ok=True)
np.savez_compressed(place / "val_data.npz", data=data[:1], labels=np.array([None]))
