"""All that is written of an explanation."""

from pathlib import Path

from tiemcli.outputs import arrays, document, masked_video
from tiemcli.outputs.atomic import replacing
from tiemcli.pipeline import Explanation
from tiemcli.result import ENDING, Result


def save(
    explanation: Explanation,
    target: Path,
    fingerprint: str,
    clip_sha256: str,
    *,
    signature: tuple[float, float] | None = None,
) -> Result:
    """Write what the settings ask for beside `target`, which ends in `ENDING` and is the result.

    That comes last, by which the rest is known to be whole. signature: the seconds (start, end) that
    are known to decide. Raises OutputError, or ClipError if the clip cannot be read any more.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    files = _write_files(explanation, target)
    result = document.describe(explanation, fingerprint, clip_sha256, files)
    if result.files.report is not None:
        from tiemcli.outputs import report  # by way of Jinja

        report.write(target.with_name(files["report"]), explanation, result, signature=signature)
    with replacing(target) as part:
        part.write_text(result.to_json() + "\n", encoding="utf-8")
    return result


def _write_files(explanation: Explanation, target: Path) -> dict[str, str]:
    """Write what was asked for beside the result; the names by kind, the report's to be written."""
    settings, files = explanation.settings, {}
    stem = target.name.removesuffix(ENDING)
    if "mp4" in settings.formats:
        kind = "masked" if settings.style == "mask" else "overlay"
        files[kind] = f"{stem}.{'masked' if settings.style == 'mask' else settings.style}.mp4"
        source = explanation.source
        timeline = source.timeline
        masked_video.write(
            target.with_name(files[kind]),
            timeline,
            source.sampled,
            explanation.shown.hard,
            style=settings.style,
            importance=explanation.temporal.importance,
            view=explanation.network.model.preprocessing.view(timeline.width, timeline.height),
        )
    wanted = [kind for kind in ("png", "gif", "svg") if kind in settings.formats]
    if wanted:
        from tiemcli.outputs import pictures  # by way of Pillow

        for kind in wanted:
            files[kind] = f"{stem}.tiem.{kind}"
            pictures.WRITERS[kind](target.with_name(files[kind]), explanation)
    if "html" in settings.formats:
        files["report"] = f"{stem}.tiem.html"
    if "npz" in settings.formats:
        files["arrays"] = f"{stem}.tiem.npz"
        arrays.write(target.with_name(files["arrays"]), explanation)
    return files
