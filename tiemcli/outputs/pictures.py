"""Pictures of an explanation for papers and slides, each one complete file or none."""

from pathlib import Path
from xml.etree import ElementTree

from tiemcli.outputs.animation import encode_gif
from tiemcli.outputs.atomic import replacing
from tiemcli.outputs.contact_sheet import contact_sheet
from tiemcli.outputs.figure import figure
from tiemcli.outputs.sheet import save
from tiemcli.pipeline import Explanation


def write_png(path: Path, explanation: Explanation) -> None:
    """Write the contact sheet: every sampled frame as source, mask and overlay.

    Raises OutputError if it cannot be written, ClipError if the source cannot be read any more.
    """
    save(path, contact_sheet(explanation))


def write_gif(path: Path, explanation: Explanation) -> None:
    """Write the masked clip as an animation that any slide plays. Raises as `write_png` does."""
    with replacing(path) as part:
        encode_gif(part, explanation)


def write_svg(path: Path, explanation: Explanation) -> None:
    """Write the importance chart above the heat map of windows. Raises OutputError."""
    tree = ElementTree.ElementTree(figure(explanation))
    with replacing(path) as part:
        tree.write(part, encoding="utf-8", xml_declaration=True)


WRITERS = {"png": write_png, "gif": write_gif, "svg": write_svg}
