"""The tree of a freeze report, as lines of text."""

from collections.abc import Iterator
from itertools import groupby

from icehouse.store.declarations.report import (
    ALIKE_SHOWN,
    CONTENT,
    DEPTH_SHOWN,
    PATH_SHOWN,
    REASON_SHOWN,
    REFUSED_SHOWN,
    STEP_SHOWN,
    Graph,
    Node,
    Step,
    name_of_type,
    plural,
    shorten,
    step_text,
)

# Colours of a terminal, for rich.
STYLES = {
    "headline": "bold",
    "refused": "bold red",
    "uncallable": "red",
    "unbound": "yellow",
    "linked": "green",
    "in place": "cyan",
    "captured": "cyan",
    "by nature": "dim",
    "more": "dim",
}

Line = tuple[str, str, str]  # indentation, text, action


def draw(graph: Graph, limit: int) -> Iterator[Line]:
    """Give the lines: a headline, what is refused, then the tree."""
    yield "", graph.headline(), "headline"
    refused = graph.refused
    for node in refused[:REFUSED_SHOWN]:
        path, kind = shorten(graph.path(node), PATH_SHOWN), name_of_type(node.kind)
        yield "  ", f"{path}: {kind}: {shorten(node.reason, REASON_SHOWN)}", "refused"
    if len(refused) > REFUSED_SHOWN:
        yield "  ", f"… and {len(refused) - REFUSED_SHOWN:,} more", "more"
    yield from _Drawing(graph, limit).lines()


class _Drawing:
    def __init__(self, graph: Graph, limit: int) -> None:
        self.graph = graph
        self.left = max(limit, 1)
        self.shown: set[int] = set()

    def lines(self) -> Iterator[Line]:
        pending: list[tuple[int, Step | None, Node | str]] = [(0, None, self.graph.root)]
        while pending:
            depth, step, node = pending.pop()
            if isinstance(node, str):
                yield "  " * depth, node, "more"
                continue
            if self.left == 0:
                yield "", "… and more: tree(lines=...) shows it", "more"
                return
            self.left -= 1
            again = id(node) in self.shown
            yield "  " * depth, self._text(step, node, again=again), "" if again else node.action
            if again:
                continue
            self.shown.add(id(node))
            if node.children and depth >= DEPTH_SHOWN:
                pending.append((depth + 1, None, "… and what is below"))
            else:
                pending += reversed(list(self._below(depth + 1, node)))

    def _below(self, depth: int, node: Node) -> Iterator[tuple[int, Step | None, Node | str]]:
        """Give what to draw below a node: of those alike the first, and how many more there are."""
        children = [*_with_content(node)]
        for _, group in groupby(children, key=lambda pair: _look(*pair)):
            alike = [*group]
            total = sum(child.count for _, child in alike)
            shown = alike if len(alike) == total <= ALIKE_SHOWN + 1 else alike[:ALIKE_SHOWN]
            # More than a screen of them can't be shown, whatever they are.
            for step, child in shown[: self.left + 1]:
                yield depth, step, child
            if len(shown) < total:
                yield depth, None, f"… and {total - len(shown):,} more like it"

    def _text(self, step: Step | None, node: Node, *, again: bool) -> str:
        name = node.path or "root" if step is None else step_text(step).strip()
        name = shorten(name, STEP_SHOWN)
        if again:
            return f"{name}: same as {shorten(self.graph.path(node), PATH_SHOWN)}"
        kind = name_of_type(node.kind)
        if node.items is not None:
            kind = f"{kind}, {plural(node.items, 'item')}"
        elif node.size is not None and node.count == 1:
            kind = f"{kind}, {plural(node.size, 'byte')}"
        if node.action == "unbound":
            kind = "a name"
        why = f" ({shorten(node.reason, REASON_SHOWN)})" if node.reason else ""
        return f"{name}: {kind}: {node.action}{why}"


def _with_content(node: Node) -> Iterator[tuple[Step, Node]]:
    for step, child in node.children:
        if step[0] == CONTENT:
            yield from child.children
        else:
            yield step, child


def _look(step: Step, node: Node) -> object:
    """Siblings are alike where this is equal. What is refused, or holds such, is always shown."""
    if node.marked:
        return step, id(node)
    return step[0], id(node.kind), node.action, node.reason
