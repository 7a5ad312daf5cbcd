"""The sample's film, clip.mp4: what is in it, and how such films are written."""

from dataclasses import replace
from pathlib import Path

import av
import numpy as np

from tiemcli.samples.backdrop import PALETTES
from tiemcli.samples.robot import Paint
from tiemcli.samples.scene import SECONDS, Scene, film, random_scene

SEED = 20
RATE = 24
SIZE = (384, 288)
OVERSAMPLE = 4


def sample_scene() -> Scene:
    """Return the film of clip.mp4: a jump at dusk, past the middle of the clip."""
    scene = random_scene(np.random.default_rng(SEED), "jump")
    zenith, horizon, far, near = PALETTES[1]
    theme = replace(
        scene.theme, zenith=zenith, horizon=horizon, far=far, near=near, sun=(0.3, 0.25)
    )
    paint = Paint(
        shell=(0.93, 0.92, 0.88),
        accent=(0.98, 0.52, 0.16),
        joint=(0.28, 0.3, 0.36),
        glow=(0.35, 0.95, 0.92),
    )
    return replace(
        scene,
        start=2.25,
        end=3.5,
        theme=theme,
        paint=paint,
        origin=0.02,
        speed=0.36,
        ground=0.92,
        size=0.69,
        clouds=((0.5, 0.12, 0.26), (1.15, 0.2, 0.34), (1.6, 0.1, 0.2)),
        wind=0.035,
        bird=(1.25, 0.24, 0.27),
        ball=(1.2, 0.78, 0.045, -0.22),
        ball_color=(0.86, 0.2, 0.3),
    )


def write_clip(path: Path, scene: Scene) -> None:
    """Render a film, and write it as H.264 in yuv420p, `RATE` frames a second."""
    times = np.arange(round(SECONDS * RATE)) / RATE
    frames = np.ascontiguousarray(film(scene, times, SIZE, OVERSAMPLE)[..., :3])
    with av.open(path, "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", RATE, options={"crf": "19", "preset": "slow"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        # The encoder's choices depend on its number of threads.
        stream.codec_context.thread_count = 1
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode())
