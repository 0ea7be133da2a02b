"""A rollout as a moving picture, without a browser: GIF, or MP4 where imageio and ffmpeg are installed."""

import io
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont

from jaxpsn.core import errors, files
from jaxpsn.report import drawing, viewer
from jaxpsn.report.charts import look
from jaxpsn.report.drawing import Number

SUFFIXES = (".gif", ".mp4")
_BAR = 20  # pixels of the strip that names a panel
_COLORS = 64  # of a GIF
_SMOOTH = 0.3  # seconds over which the camera follows


def write(rollout: Mapping[str, Any], path: str | Path, **asked: Any) -> Path:
    """Write a rollout (:mod:`jaxpsn.report.viewer`) as ``path``, a .gif or .mp4; returns the path.

    ``asked``: what :func:`frames` takes. Raises UserError for another suffix, a malformed rollout, and for .mp4 where
    the extra ``video`` is not installed.
    """
    target, rate = Path(path), asked.pop("rate", 15)
    if target.suffix not in SUFFIXES:
        errors.refuse("path", str(path), f"a name that ends in {' or '.join(SUFFIXES)}")
    if target.suffix == ".mp4":
        _mp4(target, frames(rollout, rate, **asked), rate)
        return target
    pictures = list(frames(rollout, rate, **asked))
    # One palette and no dithering: what does not move stays as it is, and is not stored again.
    palette = _palette(pictures[0])
    first, *others = (picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures)
    made = io.BytesIO()
    first.save(made, format="GIF", save_all=True, append_images=others, duration=round(1000 / rate), loop=0)
    files.write_atomically(target, made.getvalue())
    return target


def frames(
    rollout: Mapping[str, Any], rate: Number = 15, *, seconds: Number | None = None, start: Number = 0,
    panel: tuple[int, int] = (300, 220), columns: int | None = None, level: int | None = None,
    zoom: Number = 1,
) -> Iterator[Image.Image]:  # fmt: skip
    """Pictures of the episodes side by side, ``rate`` a second of the time that was played.

    ``start`` and ``seconds``: the part that is shown, all if left out. ``panel``: width and height of one, in pixels;
    ``columns`` of them, all in a row up to five. ``level``: which scale of the noise, the middle one if left out.
    ``zoom``: how much nearer the camera is.
    """
    packed = viewer.pack(rollout)
    chosen = len(packed["levels"]) // 2 if level is None else level
    shown = [episode for episode in packed["episodes"] if episode["level"] in (None, chosen)]
    dt, poses = packed["scene"]["dt"], [viewer.poses(episode) for episode in shown]
    longest = (max(map(len, poses)) - 1) * dt
    end = longest if seconds is None else min(longest, start + seconds)
    across = columns or min(len(shown), 5)
    paths = [_path(packed["scene"], one, dt) for one in poses]
    for time in np.arange(start, end + 1e-9, 1 / rate):
        sheet = Image.new("RGB", (across * panel[0], math.ceil(len(shown) / across) * (panel[1] + _BAR)), "white")
        for index, (episode, own, path) in enumerate(zip(shown, poses, paths, strict=True)):
            at = min(round(time / dt), len(own) - 1)
            corner = index % across * panel[0], index // across * (panel[1] + _BAR)
            target = None if path is None else path[at]
            sheet.paste(drawing.picture(packed["scene"], own[at], target, panel, zoom), (corner[0], corner[1] + _BAR))
            _name(ImageDraw.Draw(sheet), episode, at, (*corner, *panel))
        yield sheet


def _palette(picture: Image.Image) -> Image.Image:
    """Colours of a picture, and those that name the episodes, however small they are shown."""
    own = [channel for light, _ in look.COLORS.values() for channel in bytes.fromhex(light[1:])]
    found = picture.quantize(_COLORS - len(look.COLORS)).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([*own, *found[: 3 * (_COLORS - len(look.COLORS))]])
    return palette


def _path(scene: Mapping[str, Any], poses: Float[np.ndarray, "f bodies 7"], dt: Number) -> np.ndarray | None:
    """Where the body that the camera follows is, smoothed; None if it follows none."""
    body = scene["camera"]["target_body"]
    if body is None:
        return None
    reach = max(1, round(_SMOOTH / dt))
    places = poses[:, body, :3]
    return np.stack([places[max(0, i - reach) : i + reach + 1].mean(axis=0) for i in range(len(places))])


def _name(draw: ImageDraw.ImageDraw, episode: Mapping[str, Any], at: int, box: tuple[int, int, int, int]) -> None:
    """The strip above a panel: colour, label and return so far."""
    left, top, width, height = box
    draw.rectangle((left, top + _BAR, left + width - 1, top + _BAR + height - 1), outline=look.COLORS["line"][0])
    draw.rectangle((left + 6, top + 6, left + 14, top + 14), fill=look.COLORS[episode["color"]][0])
    ended = episode["terminated_at"] is not None and at >= episode["terminated_at"]
    said = f"{episode['label']}   {sum(episode['rewards'][: at + 1]):.4g}{'   ended' if ended else ''}"
    draw.text((left + 20, top + 3), said, fill=look.COLORS["ink"][0], font=ImageFont.load_default(12))


def _mp4(target: Path, pictures: Iterator[Image.Image], rate: Number) -> None:
    try:
        import imageio.v2 as imageio
        import imageio_ffmpeg  # noqa: F401
    except ImportError:
        errors.refuse("path", str(target), "a .gif, or .mp4 with the extra video: pip install 'jaxpsn[video]'")
    draft = files.partial(target, target.suffix)
    try:
        with imageio.get_writer(draft, format="FFMPEG", fps=rate, codec="libx264", macro_block_size=2) as writer:
            for picture in pictures:
                writer.append_data(np.asarray(picture))
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
