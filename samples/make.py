"""Make the sample: `python samples/make.py` writes clip.mp4, net.onnx and truth.json beside itself.

truth.json holds `clip` and `network`, the files' names; `label`, the act in the clip; `signature`,
[start, end] in seconds: a frame shows something of the act if its timestamp lies strictly between,
and every other frame shows a walk that all classes have in common; `seed`, of everything random;
`held_out_accuracy`, the share of films, rendered like those of the training but never trained on,
whose act the network names; `held_out_films`, how many those were.

A rerun on the same machine with the same packages writes the same files. Needs tiem[torch].
"""

import json
from pathlib import Path

import onnx
import torch

from tiemcli.exporters import metadata
from tiemcli.samples.acts import ACTS
from tiemcli.samples.clip import SEED, sample_scene, write_clip
from tiemcli.samples.drill import FRAMES, SIDE, drill
from tiemcli.samples.train import MEAN, STD, accuracy, exported, train

FILMS = 2000
HELD_OUT = 400
WORKERS = 2


def main() -> None:
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(WORKERS)
    folder = Path(__file__).parent

    scene = sample_scene()
    write_clip(folder / "clip.mp4", scene)

    network = train(drill(SEED, FILMS, WORKERS), SEED)
    held_out = accuracy(network, drill(SEED + 1, HELD_OUT, WORKERS))
    model = exported(network)
    metadata.write(
        model,
        {
            "layout": "NCTHW",
            "frames": FRAMES,
            "size": (SIDE, SIDE),
            "mean": MEAN,
            "std": STD,
            "scale": 1 / 255,
            "color": "rgb",
            "resize": "stretch",
            "output": "logits",
            "labels": ACTS,
        },
    )
    onnx.save(model, folder / "net.onnx")
    truth = {
        "clip": "clip.mp4",
        "network": "net.onnx",
        "label": scene.act,
        "signature": [scene.start, scene.end],
        "seed": SEED,
        "held_out_accuracy": held_out,
        "held_out_films": HELD_OUT,
    }
    (folder / "truth.json").write_text(json.dumps(truth, indent=2) + "\n")


if __name__ == "__main__":
    main()
