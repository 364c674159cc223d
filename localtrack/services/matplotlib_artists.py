"""The artists within matplotlib's axes as plotly traces, shapes and annotations; what has no equal is refused.

Source: matplotlib's Line2D, Collection, Patch, AxesImage, Text; plotly.js's traces.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from localtrack.services.figures import Figure
from localtrack.services.matplotlib_axes import AxesFrame
from localtrack.services.matplotlib_bars import ColorBars
from localtrack.services.matplotlib_legends import Legends, first_part
from localtrack.services.matplotlib_style import (
    SYMBOLS,
    UNFILLED,
    Unfaithful,
    check_ends,
    check_plain,
    colour_scale,
    dash_of,
    limits_of,
    line_style,
    pixels,
    rgba,
    step_shape,
)
from localtrack.services.matplotlib_texts import note_of_annotation, note_of_text

TRACES_OF_ONE_ARTIST = 200
SHARP_PIXELS = 800


class AxesDrawing:
    """Draws what is in one pair of axes.

    Args:
        frame: the axes.
        layout: gets shapes, annotations and images.
        legends: knows which traces are named.
        bars: knows which have a colour bar.
    """

    def __init__(self, frame: AxesFrame, layout: Figure, legends: Legends, bars: ColorBars) -> None:
        self._frame = frame
        self._axes = frame.axes
        self._layout = layout
        self._legends = legends
        self._bars = bars
        self._place: Figure = {"xaxis": frame.x, "yaxis": frame.y}
        self._labels: dict[int, Any] = {}

    def traces(self) -> list[Figure]:
        """Return the traces, lowest first.

        Raises:
            Unfaithful: an artist that plotly would draw otherwise.
        """
        axes = self._axes
        frame_parts = {id(part) for part in (*axes.spines.values(), axes.xaxis, axes.yaxis, axes.patch, axes.title,
                       axes._left_title, axes._right_title, axes.get_legend())}  # fmt: skip
        self._labels = {
            id(first_part(group)): group.get_label()
            for group in axes.containers
            if type(group).__name__ in ("ErrorbarContainer", "StemContainer")
        }
        grouped = {
            id(patch): bars for bars in axes.containers if type(bars).__name__ == "BarContainer" for patch in bars
        }
        result: list[Figure] = []
        done: set[int] = set()
        for artist in sorted(axes.get_children(), key=lambda one: float(one.get_zorder())):
            if id(artist) in frame_parts or not artist.get_visible():
                continue
            container = grouped.get(id(artist))
            if container is not None:
                if id(container) not in done:
                    done.add(id(container))
                    result.append(self._bar_group(container))
                continue
            result += self._draw(artist)
        return result

    def _draw(self, artist: Any) -> list[Figure]:
        kind = type(artist).__name__
        draw: Callable[[Any], list[Figure]] | None = {
            "Line2D": self._line, "PathCollection": self._points, "LineCollection": self._segments,
            "PolyCollection": self._areas, "FillBetweenPolyCollection": self._areas, "QuadMesh": self._mesh,
            "AxesImage": self._image, "Rectangle": self._rectangle, "Polygon": self._polygon, "Text": self._text,
            "Annotation": self._annotation, "Ellipse": self._ellipse, "Circle": self._ellipse,
        }.get(kind)  # fmt: skip
        if draw is None:
            raise Unfaithful(f"a {kind}")
        check_plain(artist)
        return draw(artist)

    def _entry(self, artist: Any) -> Figure:
        return self._legends.entry(artist, self._labels.get(id(artist), artist.get_label()))

    def _line(self, line: Any) -> list[Figure]:
        axes = self._axes
        transform = line.get_transform()
        if transform != axes.transData:
            return self._straight(line, transform)
        x = self._frame.values("x", line.get_xdata(orig=False))
        y = self._frame.values("y", line.get_ydata(orig=False))
        if not x:
            return []
        style = line.get_linestyle()
        marker = line.get_marker()
        has_line = style not in ("None", "", " ") and line.get_linewidth() > 0
        has_marker = marker not in ("None", "", " ", None)
        if not has_line and not has_marker:
            return []
        trace: Figure = {"type": "scatter", "x": x, "y": y, **self._place, **self._entry(line)}
        trace["mode"] = "+".join(name for name, on in (("lines", has_line), ("markers", has_marker)) if on)
        if has_line:
            trace["line"] = {**line_style(line, line.get_color()), "shape": step_shape(line)}
        if has_marker:
            trace["marker"] = self._marker(line, marker)
        return [trace]

    @staticmethod
    def _marker(line: Any, marker: Any) -> Figure:
        if marker not in SYMBOLS or line.get_markevery() is not None:
            raise Unfaithful(f"the marker {marker!r}")
        size = line.get_markersize() * (0.5 if marker == "." else 1.0)
        alpha = line.get_alpha()
        edge, face = line.get_markeredgecolor(), line.get_markerfacecolor()
        if marker in UNFILLED:
            width = pixels(line.get_markeredgewidth())
            colour = rgba(edge, alpha)
            return {
                "symbol": SYMBOLS[marker],
                "size": pixels(size),
                "color": colour,
                "line": {"width": width, "color": colour},
            }
        fill = line.get_fillstyle()
        if fill not in ("full", "none"):
            raise Unfaithful("half-filled markers")
        empty = fill == "none" or (isinstance(face, str) and face.lower() == "none")
        return {
            "symbol": SYMBOLS[marker], "size": pixels(size), "color": "rgba(0,0,0,0)" if empty else rgba(face, alpha),
            "line": {"width": pixels(line.get_markeredgewidth()),
                     "color": "rgba(0,0,0,0)" if isinstance(edge, str) and edge.lower() == "none" else rgba(edge, alpha)},
        }  # fmt: skip

    def _straight(self, line: Any, transform: Any) -> list[Figure]:
        """A line across the whole axes, as axhline and axvline draw it."""
        x, y = line.get_xdata(orig=False), line.get_ydata(orig=False)
        if len(x) != 2 or line.get_marker() not in ("None", "", None):
            raise Unfaithful("a line in other coordinates")
        shape: Figure = {"type": "line", "line": line_style(line, line.get_color())}
        shape.update(self._corners(transform, x, y))
        self._shape(shape, line)
        return []

    def _corners(self, transform: Any, x: Any, y: Any) -> Figure:
        axes, frame = self._axes, self._frame
        known = [
            (axes.get_xaxis_transform(), (True, False)), (axes.get_yaxis_transform(), (False, True)),
            (axes.transAxes, (False, False)), (axes.transData, (True, True)),
        ]  # fmt: skip
        match = next((value for key, value in known if key == transform), None)
        if match is None:
            raise Unfaithful("coordinates of neither the data nor the axes")
        in_x, in_y = match
        x0, x1 = frame.values("x", x) if in_x else [float(v) for v in x]
        y0, y1 = frame.values("y", y) if in_y else [float(v) for v in y]
        return {
            "xref": frame.x if in_x else f"{frame.x} domain", "yref": frame.y if in_y else f"{frame.y} domain",
            "x0": x0, "x1": x1, "y0": y0, "y1": y1,
        }  # fmt: skip

    def _shape(self, shape: Figure, artist: Any) -> None:
        entry = self._entry(artist)
        if entry.get("showlegend"):
            shape.update(entry)
        self._layout["shapes"].append({**shape, "layer": "above" if artist.get_zorder() >= 2 else "below"})

    def _points(self, points: Any) -> list[Figure]:
        if points.get_offset_transform() != self._axes.transData:
            raise Unfaithful("points in other coordinates")
        places = points.get_offsets()
        count = len(places)
        if not count:
            return []
        size_points = points.get_sizes()
        marker: Figure = {"symbol": _symbol(points), "size": [pixels(float(area) ** 0.5) for area in size_points]}
        marker["size"] = marker["size"][0] if len(size_points) == 1 else (marker["size"] * count)[:count]
        faces, edges, widths = points.get_facecolors(), points.get_edgecolors(), points.get_linewidths()
        bar = self._bars.of(points) if points.get_array() is not None else None
        if bar is not None:
            low, high = limits_of(points)
            check_ends(points)
            marker.update(
                color=self._numbers(points.get_array()), cmin=low, cmax=high, colorscale=colour_scale(points.get_cmap()),
                showscale=True, colorbar=bar,
            )  # fmt: skip
            marker["opacity"] = 1.0 if points.get_alpha() is None else float(points.get_alpha())
        else:
            marker.update(color=_spread(faces, count), opacity=1.0)  # the colours hold it already
        if marker["symbol"].endswith("-thin-open"):
            marker["color"] = _spread(faces if len(faces) else edges, count)
        marker["line"] = {"width": pixels(widths[0]) if len(widths) else 0, "color": _spread(edges, count)}
        trace = {"type": "scatter", "mode": "markers", "x": self._frame.values("x", places[:, 0]),
                 "y": self._frame.values("y", places[:, 1]), "marker": marker, **self._place, **self._entry(points)}  # fmt: skip
        return [trace]

    @staticmethod
    def _numbers(found: Any) -> list[Any]:
        from numpy import ma

        flat = ma.asarray(found, dtype=float).filled(float("nan")).ravel().tolist()
        return [value if value - value == 0 else None for value in flat]

    def _segments(self, lines: Any) -> list[Figure]:
        if lines.get_transform() != self._axes.transData:
            raise Unfaithful("lines in other coordinates")
        segments = lines.get_segments()
        colours = [rgba(colour) for colour in lines.get_colors()] or ["rgba(0,0,0,1)"]
        widths, dashes = list(lines.get_linewidths()), [pattern for _, pattern in lines.get_linestyles()]
        looks = [(colours[n % len(colours)], float(widths[n % len(widths)]), dash_of(dashes[n % len(dashes)]))
                 for n in range(len(segments))]  # fmt: skip
        groups: dict[tuple[str, float, str], list[Any]] = {}
        for look, segment in zip(looks, segments, strict=True):
            groups.setdefault(look, []).append(segment)
        if len(groups) > TRACES_OF_ONE_ARTIST:
            raise Unfaithful("lines of very many colours")
        entry = self._entry(lines)
        result = []
        for (colour, width, dash), members in groups.items():
            x, y = self._chained(members)
            style = {"color": colour, "width": pixels(width), "dash": dash}
            result.append({"type": "scatter", "mode": "lines", "x": x, "y": y, "line": style, **self._place, **entry})
            entry = {"showlegend": False}
        return result

    def _chained(self, pieces: list[Any]) -> tuple[list[Any], list[Any]]:
        """Return the points of several lines as one, with gaps between."""
        x: list[Any] = []
        y: list[Any] = []
        for piece in pieces:
            x += [*([None] if x else []), *self._frame.values("x", piece[:, 0])]
            y += [*([None] if y else []), *self._frame.values("y", piece[:, 1])]
        return x, y

    def _areas(self, areas: Any) -> list[Figure]:
        if areas.get_transform() != self._axes.transData:
            raise Unfaithful("areas in other coordinates")
        if areas.get_offsets().any():
            raise Unfaithful("one area drawn at many places")
        paths = [path.vertices for path in areas.get_paths() if len(path.vertices)]
        faces, edges, widths = areas.get_facecolors(), areas.get_edgecolors(), areas.get_linewidths()
        if len(paths) > TRACES_OF_ONE_ARTIST:
            raise Unfaithful("very many areas")
        entry = self._entry(areas)
        result = []
        for number, vertices in enumerate(paths):
            x, y = self._chained([vertices])
            trace: Figure = {"type": "scatter", "mode": "lines", "x": x, "y": y, "fill": "toself", "hoverinfo": "skip",
                             "fillcolor": rgba(faces[number % len(faces)]) if len(faces) else "rgba(0,0,0,0)"}  # fmt: skip
            edge = rgba(edges[number % len(edges)]) if len(edges) else "rgba(0,0,0,0)"
            trace["line"] = {"color": edge, "width": pixels(widths[0]) if len(edges) and len(widths) else 0}
            result.append({**trace, **self._place, **entry})
            entry = {"showlegend": False}
        return result

    def _mesh(self, mesh: Any) -> list[Figure]:
        corners = mesh.get_coordinates()
        values = mesh.get_array()
        if values is None or mesh.get_transform() != self._axes.transData:
            raise Unfaithful("a mesh without values")
        rows, columns = corners.shape[0] - 1, corners.shape[1] - 1
        straight = (corners[:, :, 0] == corners[:1, :, 0]).all() and (corners[:, :, 1] == corners[:, :1, 1]).all()
        if not straight or values.size != rows * columns or len(mesh.get_edgecolors()) > 0:
            raise Unfaithful("a mesh that is bent, shaded or has edges")
        grid = values.reshape(rows, columns)
        x = self._frame.values("x", corners[0, :, 0])
        y = self._frame.values("y", corners[:, 0, 1])
        return [self._heat_map(mesh, grid, x, y)]

    def _heat_map(self, mappable: Any, grid: Any, x: list[Any], y: list[Any]) -> Figure:
        low, high = limits_of(mappable)
        check_ends(mappable)
        bar = self._bars.of(mappable)
        trace: Figure = {
            "type": "heatmap", "z": [self._numbers(row) for row in grid], "x": x, "y": y, "zmin": low, "zmax": high,
            "colorscale": colour_scale(mappable.get_cmap()), "showscale": bar is not None, "hoverongaps": False,
        }  # fmt: skip
        if bar is not None:
            trace["colorbar"] = bar
        if mappable.get_alpha() is not None:
            if not isinstance(mappable.get_alpha(), (int, float)):
                raise Unfaithful("transparency by cell")
            trace["opacity"] = float(mappable.get_alpha())
        return {**trace, **self._place}

    def _image(self, image: Any) -> list[Figure]:
        axes = self._axes
        values = image.get_array()
        smooth = image.get_interpolation() not in ("nearest", "none", "antialiased", "auto", None)
        if smooth or image.get_transform() != axes.transData or "log" in (axes.get_xscale(), axes.get_yscale()):
            raise Unfaithful("an image that is smoothed, turned or on a logarithmic axis")
        left, right, bottom, top = (float(v) for v in image.get_extent())
        rows, columns = values.shape[:2]
        first, last = (top, bottom) if image.origin == "upper" else (bottom, top)
        if values.ndim == 2:
            x = _centres(left, right, columns)
            y = _centres(first, last, rows)
            return [self._heat_map(image, values, self._frame.values("x", x), self._frame.values("y", y))]
        self._picture(values, (left, right), (first, last), image.get_alpha())
        return []

    def _picture(self, values: Any, across: tuple[float, float], down: tuple[float, float], alpha: Any) -> None:
        """An image of colours lies on the layout; plotly always shows its first row on top."""
        from localtrack.services.pictures import png_bytes

        y_low, y_high = self._axes.get_ylim()
        x_low, x_high = self._axes.get_xlim()
        if (down[0] < down[1]) == (y_low < y_high):
            values, down = values[::-1], (down[1], down[0])
        if (across[0] > across[1]) == (x_low < x_high):
            values, across = values[:, ::-1], (across[1], across[0])
        zoom = max(1, SHARP_PIXELS // max(values.shape[:2]))  # a browser would blur few large pixels into each other
        values = values.repeat(zoom, axis=0).repeat(zoom, axis=1)
        source = "data:image/png;base64," + base64.b64encode(png_bytes(values)).decode()
        frame = self._frame
        self._layout["images"].append({
            "source": source, "xref": frame.x, "yref": frame.y, "x": frame.spot("x", across[0]),
            "y": frame.spot("y", down[0]), "sizex": abs(across[1] - across[0]), "sizey": abs(down[1] - down[0]),
            "xanchor": "left", "yanchor": "top", "sizing": "stretch", "layer": "below",
            "opacity": 1.0 if alpha is None else float(alpha),
        })  # fmt: skip

    def _bar_group(self, bars: Any) -> Figure:
        upright = getattr(bars, "orientation", "vertical") != "horizontal"
        patches = list(bars)
        for patch in patches:
            check_plain(patch)
            if (
                patch.get_angle()
                or type(patch).__name__ != "Rectangle"
                or _patch_transform(patch) != self._axes.transData
            ):
                raise Unfaithful("bars that are turned or in other coordinates")
        boxes = [(*patch.get_xy(), patch.get_width(), patch.get_height()) for patch in patches]
        place, extent = ("x", "y") if upright else ("y", "x")
        if self._frame.is_date[place]:
            raise Unfaithful("bars on an axis of dates")
        at = [x + w / 2 if upright else y + h / 2 for x, y, w, h in boxes]
        thick = [abs(w) if upright else abs(h) for _, _, w, h in boxes]
        base = [y if upright else x for x, y, _, _ in boxes]
        long = [h if upright else w for _, _, w, h in boxes]
        marker = {
            "color": [rgba(patch.get_facecolor()) for patch in patches],
            "line": {"color": [rgba(patch.get_edgecolor()) for patch in patches],
                     "width": [pixels(patch.get_linewidth()) if patch.get_edgecolor()[3] else 0 for patch in patches]},
        }  # fmt: skip
        trace: Figure = {
            "type": "bar", "orientation": "v" if upright else "h", place: self._numbers(at), extent: self._numbers(long),
            "base": self._numbers(base), "width": self._numbers(thick), "marker": marker,
        }  # fmt: skip
        label = str(bars.get_label())
        if label.startswith("_"):  # a histogram's is on its first bar
            label = str(patches[0].get_label())
        return {**trace, **self._place, **self._legends.entry(bars, label)}

    def _rectangle(self, box: Any) -> list[Figure]:
        if box.get_angle():
            raise Unfaithful("a turned rectangle")
        (x, y), width, height = box.get_xy(), box.get_width(), box.get_height()
        corners = self._corners(_patch_transform(box), [x, x + width], [y, y + height])
        self._shape({"type": "rect", **corners, **self._filling(box)}, box)
        return []

    def _ellipse(self, ellipse: Any) -> list[Figure]:
        if ellipse.get_angle() or "log" in (self._axes.get_xscale(), self._axes.get_yscale()):
            raise Unfaithful("a turned or bent ellipse")
        (x, y), width, height = ellipse.get_center(), ellipse.get_width(), ellipse.get_height()
        across, up = [x - width / 2, x + width / 2], [y - height / 2, y + height / 2]
        corners = self._corners(_patch_transform(ellipse), across, up)
        self._shape({"type": "circle", **corners, **self._filling(ellipse)}, ellipse)
        return []

    @staticmethod
    def _filling(patch: Any) -> Figure:
        edge = patch.get_edgecolor()
        dash = {"-": "solid", "solid": "solid", "--": "dash", "dashed": "dash", ":": "dot", "dotted": "dot",
                "-.": "dashdot", "dashdot": "dashdot"}.get(str(patch.get_linestyle()))  # fmt: skip
        if dash is None:
            raise Unfaithful("dashes that have no name")
        fill = rgba(patch.get_facecolor()) if patch.get_fill() else "rgba(0,0,0,0)"
        width = pixels(patch.get_linewidth()) if edge[3] else 0
        return {"fillcolor": fill, "line": {"color": rgba(edge), "width": width, "dash": dash}}

    def _polygon(self, polygon: Any) -> list[Figure]:
        vertices = polygon.get_xy()
        transform = _patch_transform(polygon)
        if transform != self._axes.transData:
            if len(vertices) != 5 or len({*vertices[:, 0].tolist()}) > 2 or len({*vertices[:, 1].tolist()}) > 2:
                raise Unfaithful("a polygon in other coordinates")
            across = [vertices[:, 0].min(), vertices[:, 0].max()]
            up = [vertices[:, 1].min(), vertices[:, 1].max()]
            self._shape({"type": "rect", **self._corners(transform, across, up), **self._filling(polygon)}, polygon)
            return []
        x, y = self._chained([vertices])
        look = self._filling(polygon)
        trace: Figure = {"type": "scatter", "mode": "lines", "x": x, "y": y, "line": look["line"], "hoverinfo": "skip"}
        if polygon.get_fill():
            trace.update(fill="toself", fillcolor=look["fillcolor"])
        return [{**trace, **self._place, **self._entry(polygon)}]

    def _text(self, text: Any) -> list[Figure]:
        return self._note(note_of_text(self._frame, text))

    def _annotation(self, annotation: Any) -> list[Figure]:
        return self._note(note_of_annotation(self._frame, annotation))

    def _note(self, note: Figure | None) -> list[Figure]:
        if note is not None:
            self._layout["annotations"].append(note)
        return []


def _centres(start: float, end: float, count: int) -> list[float]:
    """Return the places of a row of cells: their centres, or the two edges of one alone, whose width they tell."""
    if count == 1:
        return [start, end]
    return [start + (number + 0.5) * (end - start) / count for number in range(count)]


def _patch_transform(patch: Any) -> Any:
    """Return the coordinates that a patch is given in, without its own shape."""
    from matplotlib.artist import Artist

    return Artist.get_transform(patch)


def _spread(colours: Any, count: int) -> Any:
    """Return one colour, or one a point."""
    if not len(colours):
        return "rgba(0,0,0,0)"
    if len(colours) == 1:
        return rgba(colours[0])
    return [rgba(colours[number % len(colours)]) for number in range(count)]


def _symbol(points: Any) -> str:
    """Return the symbol whose outline the points have.

    Raises:
        Unfaithful: several outlines, or an unknown one.
    """
    from matplotlib.markers import MarkerStyle

    paths = points.get_paths()
    if len(paths) == 1:
        for name, symbol in SYMBOLS.items():
            style = MarkerStyle(name)
            known = style.get_path().transformed(style.get_transform()).vertices
            if known.shape == paths[0].vertices.shape and abs(known - paths[0].vertices).max() < 1e-9:
                return symbol
    raise Unfaithful("markers of an outline of their own")
