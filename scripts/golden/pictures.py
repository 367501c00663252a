"""A small JPEG and a small WebP by PIL, for src/data/segmentation/files.rs.

Writes picture.jpg, picture.webp (lossless) and picture.rgb (what PIL decodes of the JPEG, then of the
WebP; 8 rows of 12 RGB pixels each) into the folder given as argument.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

folder = Path(sys.argv[1])
y, x = np.mgrid[0:8, 0:12]
image = Image.fromarray(np.stack([20 * x, 30 * y, 255 - 15 * x], -1).astype(np.uint8))
image.save(folder / "picture.jpg", quality=95, subsampling=0)
image.save(folder / "picture.webp", lossless=True)
decoded = [np.asarray(Image.open(folder / f"picture.{kind}").convert("RGB")) for kind in ("jpg", "webp")]
(folder / "picture.rgb").write_bytes(b"".join(d.tobytes() for d in decoded))
