"""Steps and what they wait for, laid out from left to right: the one module that uses the layout library. Pure.

The library is in Rust, and ends the process where it is given a circle: what comes here has none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from fast_sugiyama import from_edges

from services.console.steps import Link

# Of the library's own grid.
UNIT = 72
# Around the picture.
EDGE = 8
ROOMY = 40
"""Up to so many steps each has room for its name and its time."""
# Swapping neighbours until no swap helps takes seconds for a few hundred links, and shows in small pictures only.
MAX_SWAPPED_LINKS = 200
# With more it is a knot, and takes the library a second: the list below it tells the same.
MAX_LINKS = 2000
# A page that is drawn every second asks for the same one.
KEPT_DRAWINGS = 64


@dataclass(frozen=True, slots=True)
class Drawing:
    """In pixels."""

    places: Sequence[tuple[float, float]]
    """The upper left corner of each step, in their order."""
    lines: Sequence[tuple[Link, str]]
    """For each link the path of an SVG."""
    width: float
    height: float
    box: tuple[int, int]
    """Width and height of a step."""


@lru_cache(maxsize=KEPT_DRAWINGS)
def drawn(count: int, links: tuple[Link, ...]) -> Drawing | None:
    """The picture; None where there is nothing to see: no links, or too many.

    Args:
        links: without circles, each once.
    """
    if not links or len(links) > MAX_LINKS:
        return None
    box = (184, 44) if count <= ROOMY else (128, 24)
    step = (box[0] + 56, box[1] + 14)
    cells, following, bottom = _laid_out(links)
    for place in range(count):
        if place not in cells:
            bottom += 1
            cells[place] = (0.0, bottom)
    pixels = {node: (EDGE + x * step[0], EDGE + y * step[1]) for node, (x, y) in cells.items()}
    lines = [(link, _path([pixels[node] for node in _way(link, following)], box)) for link in links]
    return Drawing(
        [pixels[place] for place in range(count)],
        lines,
        max(x for x, _ in pixels.values()) + box[0] + EDGE,
        max(y for _, y in pixels.values()) + box[1] + EDGE,
        box,
    )


Cells = dict[int, tuple[float, float]]
"""(column, row) of each step, and of each bend of a long line, whose number is below 0."""


def _laid_out(links: Sequence[Link]) -> tuple[Cells, Mapping[int, Sequence[int]], float]:
    """(where everything is, who follows whom, the last row); what hangs together lies below what came before."""
    cells: Cells = {}
    following: defaultdict[int, list[int]] = defaultdict(list)
    bottom = -1.0
    for part in _parts(links):
        members = sorted({place for link in part for place in link})
        number = {place: at for at, place in enumerate(members)}
        ((positions, _, _, lines),) = from_edges(
            [(number[first], number[second]) for first, second in part],
            vertex_spacing=UNIT, dummy_vertices=True, transpose=len(part) <= MAX_SWAPPED_LINKS,
        )  # fmt: skip
        # The library numbers bends after the steps of a part.
        bends = len(cells)
        names = [members[at] if at < len(members) else -1 - bends - at for at in (int(each) for each, _ in positions)]
        name = dict(zip((each for each, _ in positions), names, strict=True))
        left, top = max(y for _, (_, y) in positions), min(x for _, (x, _) in positions)
        for each, (x, y) in positions:
            cells[name[each]] = ((left - y) / UNIT, bottom + 1 + (x - top) / UNIT)
        bottom = max(cells[each][1] for each in names)
        for first, second in lines or ():
            following[name[first]].append(name[second])
    return cells, following, bottom


def _parts(links: Sequence[Link]) -> Sequence[Sequence[Link]]:
    """The links of what hangs together, part by part."""
    of: dict[int, int] = {}

    def root(place: int) -> int:
        while of.setdefault(place, place) != place:
            of[place] = of[of[place]]
            place = of[place]
        return place

    for first, second in links:
        of[root(second)] = root(first)
    parts: defaultdict[int, list[Link]] = defaultdict(list)
    for link in links:
        parts[root(link[0])].append(link)
    return list(parts.values())


def _way(link: Link, following: Mapping[int, Sequence[int]]) -> Sequence[int]:
    """From one step to the other, by the bends between them."""
    first, last = link
    for begin in following.get(first, ()):
        way = [first, begin]
        while way[-1] < 0:
            way.append(following[way[-1]][0])
        if way[-1] == last:
            return way
    return [first, last]


def _path(points: Sequence[tuple[float, float]], box: tuple[int, int]) -> str:
    """A line that leaves a box on its right side and comes to the next on its left."""
    (x, y), *rest = points
    x, middle = x + box[0], box[1] / 2
    path = [f"M{x:.0f} {y + middle:.0f}"]
    for at, (to_x, to_y) in enumerate(rest, 1):
        half = (to_x - x) / 2
        path.append(
            f"C{x + half:.0f} {y + middle:.0f} {to_x - half:.0f} {to_y + middle:.0f} {to_x:.0f} {to_y + middle:.0f}"
        )
        if at < len(rest):
            path.append(f"H{to_x + box[0]:.0f}")
        x, y = to_x + box[0], to_y
    return "".join(path)
