"""A rollout as pictures without a browser: the scene of the viewer in perspective, flat shaded, drawn by Pillow."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw

Vector = Float[np.ndarray, "3"]
Number = float | int
Points = Float[np.ndarray, "n 3"]
Drawing = tuple[float, Sequence[tuple[Any, ...]]]

SKY, GROUND, TILE, SHADE = "#f2f6fa", "#dbe3eb", "#c6d1dc", "#aebbc8"
_FINE = 2  # pixels drawn for one that is shown
_TILES = 14  # to either side of what is looked at
_SIDES = 16  # of a circle


class Camera(NamedTuple):
    """Where the eye is, its axes (forward, right, up) and its focal length in pixels."""

    eye: Vector
    axes: Float[np.ndarray, "3 3"]
    focal: Number
    size: tuple[int, int]
    near: Number

    def view(self, points: Any) -> Points:
        """Points [n, 3] of the world as (right, up, depth)."""
        away = np.atleast_2d(points) - self.eye
        return (away @ self.axes.T)[:, [1, 2, 0]]

    def screen(self, view: Points) -> list[tuple[float, float]]:
        """Pixels of points that :meth:`view` gave."""
        across, down = self.size[0] / 2, self.size[1] / 2
        depth = np.maximum(view[:, 2], self.near)
        x, y = across + self.focal * view[:, 0] / depth, down - self.focal * view[:, 1] / depth
        return list(zip(x.tolist(), y.tolist(), strict=True))


def picture(
    scene: Mapping[str, Any],
    poses: Float[np.ndarray, "bodies 7"],
    target: Vector | None,
    size: tuple[int, int],
    zoom: Number = 1.0,
) -> Image.Image:
    """One frame. ``scene``: of :func:`jaxpsn.report.viewer.pack`; ``target``: where the body that is followed is."""
    width, height = size[0] * _FINE, size[1] * _FINE
    image = Image.new("RGB", (width, height), SKY)
    draw = ImageDraw.Draw(image)
    camera = _camera(scene["camera"], target, (width, height), zoom)
    drawings: list[Drawing] = []
    shadows: list[Any] = []
    floor = None
    for body, pose in zip(scene["bodies"], poses, strict=True):
        for geom in body["geoms"]:
            place = _compose(pose, geom)
            if geom["type"] == "plane":
                floor = place[0][2] if floor is None else floor
            else:
                found, outline = _drawn(camera, geom, *place)
                drawings += found
                shadows.append(outline)
    if floor is not None:
        _floor(draw, camera, floor, scene["camera"]["distance"])
        for outline in shadows:
            _shadow(draw, camera, outline, floor)
    for _, steps in sorted(drawings, key=lambda drawing: -drawing[0]):
        for name, *about in steps:
            getattr(draw, name)(*about[:-1], **about[-1])
    return image.resize(size, Image.Resampling.LANCZOS)


def _camera(about: Mapping[str, Any], target: Vector | None, size: tuple[int, int], zoom: Number) -> Camera:
    a, e = np.radians(about["azimuth"]), np.radians(about["elevation"])
    forward = np.array([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)])
    right = np.array([np.sin(a), -np.cos(a), 0.0])
    axes = np.stack([forward, right, np.cross(right, forward)])
    look = np.array(about["lookat"], float)
    if target is not None:
        look[:2] = target[:2]
    distance = about["distance"] / zoom
    return Camera(look - distance * forward, axes, 1.25 * min(size[1], 0.62 * size[0]), size, 0.02 * distance)


def _turn(quat: Any, points: Any) -> np.ndarray:
    w, axis = quat[0], np.asarray(quat[1:], float)
    twist = 2 * np.cross(axis, points)
    return points + w * twist + np.cross(axis, twist)


def _compose(pose: np.ndarray, geom: Mapping[str, Any]) -> tuple[Vector, np.ndarray]:
    """Place and rotation (a matrix) of a geom in the world."""
    turn = np.stack([_turn(pose[3:], _turn(geom["quat"], axis)) for axis in np.eye(3)], axis=1)
    return pose[:3] + _turn(pose[3:], np.asarray(geom["pos"], float)), turn


def _shade(color: Sequence[Number], light: Number) -> str:
    parts = (int(255 * min(1.0, part * light + max(0.0, light - 1) * 0.35)) for part in color[:3])
    return "#" + "".join(f"{part:02x}" for part in parts)


def _drawn(camera: Camera, geom: Mapping[str, Any], pos: Vector, turn: np.ndarray) -> tuple[list[Drawing], Points]:
    """What is drawn of a geom, with its depth, and points around it for its shadow."""
    kind, size, color = geom["type"], geom["size"], geom["color"]
    if kind == "sphere":
        return [_rod(camera, pos, pos, size[0], color)], _globe(pos, size[0])
    if kind == "capsule":
        ends = pos + np.array([[-size[1]], [size[1]]]) * turn[:, 2]
        rod = _rod(camera, *ends, size[0], color)
        return [rod], np.concatenate([_globe(end, size[0]) for end in ends])
    if kind == "polyline":
        points = pos + np.asarray(geom["points"]) @ turn.T
        width = max(2, int(camera.focal * 2 * (size[0] if size else 0.01) / max(camera.near, camera.view(pos)[0, 2])))
        view = camera.view(points)
        step = ("line", camera.screen(view), {"fill": _shade(color, 1.0), "width": width})
        return [(float(view[:, 2].mean()), [step])], points
    if kind == "cylinder":
        angles = np.linspace(0, 2 * np.pi, _SIDES, endpoint=False)
        ring = np.stack([size[0] * np.cos(angles), size[0] * np.sin(angles), np.zeros(_SIDES)], axis=1)
        top, low = (pos + (ring + np.array([0, 0, sign * size[1]])) @ turn.T for sign in (1, -1))
        sides = [np.stack([low[k], low[k - 1], top[k - 1], top[k]])[::-1] for k in range(_SIDES)]
        return [_solid(camera, [*sides, top, low[::-1]], pos, min(size[:2]), color)], np.concatenate([top, low])
    half = np.asarray(size[:3])
    corners = np.array([[(1 if k & bit else -1) for bit in (1, 2, 4)] for k in range(8)]) * half @ turn.T + pos
    faces = [corners[list(face)] for face in _BOX]
    return [_solid(camera, faces, pos, float(half.min()), color)], corners


_BOX = ((0, 2, 3, 1), (4, 5, 7, 6), (0, 1, 5, 4), (2, 6, 7, 3), (0, 4, 6, 2), (1, 3, 7, 5))


def _rod(camera: Camera, a: Vector, b: Vector, radius: Number, color: Sequence[Number]) -> Drawing:
    """A piece with round ends: its outline dark, and lighter where the light falls."""
    view = camera.view(np.stack([a, b]))
    points = camera.screen(view)
    steps: list[tuple[Any, ...]] = []
    for part, light, lift in ((1.0, 0.72, 0.0), (0.8, 0.98, 0.14), (0.42, 1.16, 0.3)):
        wide = [max(0.5, camera.focal * radius / max(depth, camera.near)) for depth in view[:, 2]]
        fill = {"fill": _shade(color, light)}
        moved = [(x - 0.5 * lift * w, y - lift * w) for (x, y), w in zip(points, wide, strict=True)]
        steps.append(("line", moved, fill | {"width": max(1, round(part * (wide[0] + wide[1])))}))
        for (x, y), w in zip(moved, wide, strict=True):
            r = part * w
            steps.append(("ellipse", (x - r, y - r, x + r, y + r), fill))
    return float(view[:, 2].mean()) - radius, steps


def _solid(
    camera: Camera, faces: Sequence[np.ndarray], middle: Vector, thick: Number, color: Sequence[Number]
) -> Drawing:
    """A convex body: the faces that look at the eye, by how the light falls on them."""
    light = np.array([0.35, -0.4, 0.85])
    steps: list[tuple[Any, ...]] = []
    for face in faces:
        normal = np.cross(face[1] - face[0], face[2] - face[0])
        normal = normal / (np.linalg.norm(normal) or 1.0)
        if normal @ (camera.eye - face[0]) > 0:
            fill = _shade(color, 0.62 + 0.5 * max(0.0, float(normal @ light)))
            steps.append(("polygon", camera.screen(camera.view(face)), {"fill": fill}))
    return float(camera.view(middle)[0, 2]) - thick, steps


def _globe(pos: Vector, radius: Number) -> Points:
    angles = np.linspace(0, 2 * np.pi, _SIDES, endpoint=False)
    return pos + radius * np.stack([np.cos(angles), np.sin(angles), np.zeros(_SIDES)], axis=1)


def _floor(draw: ImageDraw.ImageDraw, camera: Camera, height: Number, distance: Number) -> None:
    """The ground to the horizon, and tiles of it near what is looked at."""
    wish = distance / 5
    ten = 10 ** np.floor(np.log10(wish))
    tile = float(ten * next(k for k in (1, 2, 5, 10) if k * ten >= wish * 0.8))
    forward = camera.axes[0]
    slope = forward[2] / max(1e-6, float(np.hypot(*forward[:2])))
    skyline = camera.size[1] / 2 + camera.focal * max(-4.0, min(4.0, slope))
    draw.rectangle((0, max(0.0, skyline), *camera.size), fill=GROUND)
    middle = np.floor((camera.eye + forward * distance)[:2] / tile).astype(int)
    for i in range(middle[0] - _TILES, middle[0] + _TILES):
        for j in range(middle[1] - _TILES, middle[1] + _TILES):
            if (i + j) % 2:
                corners = [(i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1)]
                view = camera.view([(x * tile, y * tile, height) for x, y in corners])
                if (view[:, 2] > camera.near).all():
                    draw.polygon(camera.screen(view), fill=TILE)


def _shadow(draw: ImageDraw.ImageDraw, camera: Camera, outline: Points, height: Number) -> None:
    flat = outline.copy()
    flat[:, 2] = height
    view = camera.view(flat)
    if (view[:, 2] > camera.near).all() and (outline[:, 2] > height - 0.01).all():
        draw.polygon(_hull(camera.screen(view)), fill=SHADE)


def _hull(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The convex hull, by Andrew's monotone chain."""
    ordered, found = sorted(set(points)), []
    for side in (ordered, ordered[::-1]):
        start = len(found)
        for x, y in side:
            while len(found) >= start + 2:
                (ax, ay), (bx, by) = found[-2:]
                if (bx - ax) * (y - ay) - (by - ay) * (x - ax) > 0:
                    break
                found.pop()
            found.append((x, y))
        found.pop()
    return found if len(found) > 2 else list(points)
