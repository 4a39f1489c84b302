"""What `explain_freeze` found: a graph of what freezing would do, as entries and as text.

The graph may be 100,000 levels deep, and cyclic, so nothing here recurses, and a path is made only
when somebody asks for it.
"""

from collections.abc import Iterable, Iterator
from typing import Any

# How an object is reached from its holder: what kind of step, and of what.
Step = tuple[int, Any]
ROOT, INDEX, VALUE, KEY, ITEM, FIELD, PAYLOAD, INSTEAD, CONTENT, CAPTURE = range(10)

STEP_SHOWN = 80  # characters of one step in a line of text
PATH_SHOWN = 160
REASON_SHOWN = 240
ALIKE_SHOWN = 3  # siblings of one kind that are shown before they are summed up
REFUSED_SHOWN = 20
DEPTH_SHOWN = 20

AS_IT_IS = "frozen already: freeze() returns it as it is"


class Node:
    """One object, or a run of plain values of one type beside one another in a container."""

    __slots__ = (
        *("action", "children", "count", "holder", "items", "kind", "late", "marked"),
        *("number", "object", "path", "reason", "run", "size", "step"),
    )

    def __init__(
        self, kind: type, action: str, step: Step, holder: "Node | None", number: int
    ) -> None:
        self.kind = kind
        self.action = action
        self.step = step
        self.holder = holder
        self.number = number  # in the order in which freezing meets them
        self.reason: str | None = None
        self.size: int | None = None
        self.items: int | None = None
        self.count = 1
        self.children: list[tuple[Step, Node]] = []
        self.object: Any = None  # of what is refused
        self.path: str | None = None
        self.late = False  # what it holds is known from what a getter returned
        self.run = False  # it stands for itself and for those like it that follow
        self.marked = False  # it is refused, or holds what is


def step_text(step: Step) -> str:
    """Write a step as the path of a NotFreezableError has it."""
    kind, detail = step
    if kind == INDEX:
        return f"[{detail}]"
    if kind == VALUE:
        return f"[{_repr(detail)}]"
    if kind == KEY:
        return f" key {_repr(detail)}"
    if kind == FIELD:
        return f".{detail}"
    if kind == ITEM:
        return " item"
    if kind == PAYLOAD:
        return " value"
    if kind == INSTEAD:
        return " as it is frozen"
    return str(detail)


def _repr(key: Any) -> str:
    try:
        return repr(key)
    except Exception:
        return f"<{type(key).__name__} object>"


def edges(node: Node, *, until: int | None = None) -> Iterator[tuple[Step, Node]]:
    """Give what a node leads to, in the order in which freezing looks for the shortest path.

    `until`: as it was known when that many nodes were. Content has no step of its own.
    """
    children = _values_first(node.children)
    if until is not None and node.late and node.number > until:
        # Its getter was not asked yet; the content of a builtin container can be seen without.
        seen = issubclass(node.kind, (dict, list, set, frozenset, tuple))
        children = [pair for pair in children if seen and pair[0][0] == CONTENT]
    pending = [iter(children)]
    while pending:
        for step, child in pending[-1]:
            if step[0] == CONTENT:
                pending.append(iter(_values_first(child.children)))
                break
            yield step, child
        else:
            pending.pop()


def _values_first(children: list[tuple[Step, Node]]) -> list[tuple[Step, Node]]:
    """Put the value of each pair before its key.

    Freezing writes keys first, and looks for them last.
    """
    if not any(step[0] == KEY for step, _ in children):
        return children
    ordered = list(children)
    for at in range(len(ordered) - 1):
        (first, _), (second, _) = ordered[at], ordered[at + 1]
        if first[0] == KEY and second[0] == VALUE and first[1] is second[1]:
            ordered[at], ordered[at + 1] = ordered[at + 1], ordered[at]
    return ordered


class Search:
    """The shortest paths from the root, found once for all nodes: O(nodes), without recursion.

    `until` and `met`: as they were when the node of that number had been reached, and only these
    classes met. That is where freezing stops, and its error has that path.
    """

    def __init__(
        self, root: Node, *, until: int | None = None, met: frozenset[int] | None = None
    ) -> None:
        self.from_: dict[Node, tuple[Step, Node] | None] = {root: None}
        order = [root]
        for node in order:
            if met is not None and id(node.kind) not in met:
                continue
            for step, child in edges(node, until=until):
                if child not in self.from_:
                    self.from_[child] = (step, node)
                    order.append(child)

    def path(self, node: Node) -> str:
        """Write the way to a node.

        One that can't be reached is named as the root, as freezing does where the way leads through
        a copy of its own.
        """
        steps = []
        came = self.from_.get(node)
        while came is not None:
            steps.append(step_text(came[0]))
            node = came[1]
            if node.path is not None:
                break
            came = self.from_[node]
        return (node.path or "root") + "".join(reversed(steps))

    def holder(self, node: Node) -> Node | None:
        """Find what holds a node on that way."""
        came = self.from_.get(node)
        return came[1] if came else None


class Graph:
    """All that was found: nodes in the order of visits, those that are refused, and the root."""

    def __init__(
        self, root: Node, nodes: list[Node], refused: list[Node], vetoes: list[Node]
    ) -> None:
        self.root = root
        self.nodes = nodes
        self.refused = refused
        self.vetoes = vetoes
        self._search: Search | None = None

    def path(self, node: Node) -> str:
        """Write the shortest way to a node."""
        if node.path is not None:
            return node.path
        if self._search is None:
            self._search = Search(self.root)
        return self._search.path(node)

    def headline(self) -> str:
        """Say whether freezing would succeed."""
        total = sum(node.count for node in self.nodes)
        if not self.refused:
            return f"{plural(total, 'object')} can be frozen"
        are = "is" if len(self.refused) == 1 else "are"
        of = f"{len(self.refused):,} of {plural(total, 'object')}"
        return f"cannot be frozen: {of} {are} refused"


class Entry:
    """What freezing would do with one object, or with several plain values beside one another.

    `action` is one of

    * "frozen": it is copied into the new image,
    * "by nature": it is immutable already: nothing to do (inside an image it is stored as a value),
    * "copied", "linked": a view, whose nodes are copied, or referred to where they are,
    * "in place": a class or function that itself becomes immutable,
    * "by name": found again by its module and name, wherever the image is opened; "module": the
      same for a module,
    * "captured": the variable of a function is cut from its scope, with the value that it has,
    * "unbound": a global that has no value yet: using it will raise NameError,
    * "uncallable": a method that can't be frozen: calling it on the frozen class will raise,
    * "refused": it can't be frozen, and so nothing is.
    """

    __slots__ = ("_graph", "_node")

    def __init__(self, node: Node, graph: "Graph") -> None:
        self._node = node
        self._graph = graph

    @property
    def path(self) -> str:
        """The shortest way from the root: `root['models'][3].weights`. O(its length)."""
        return self._graph.path(self._node)

    @property
    def type(self) -> type:
        """The class of the object."""
        return self._node.kind

    @property
    def action(self) -> str:
        """What freezing would do, see above."""
        return self._node.action

    @property
    def reason(self) -> str | None:
        """Why, where there is more to say. Of what is refused: what NotFreezableError would say."""
        return self._node.reason

    @property
    def size(self) -> int | None:
        """How many bytes it holds itself: of bytes, text and buffers; None for others."""
        return self._node.size

    @property
    def items(self) -> int | None:
        """How many items a container has, None for others."""
        return self._node.items

    @property
    def count(self) -> int:
        """How many plain values of one type, beside one another, this entry stands for."""
        return self._node.count

    @property
    def object(self) -> Any:
        """The object itself where it is refused, None for others: reports keep nothing alive."""
        return self._node.object

    def __repr__(self) -> str:
        more = f", count={self.count}" if self.count > 1 else ""
        why = f", reason={shorten(self.reason, PATH_SHOWN)!r}" if self.reason else ""
        path = shorten(self.path, PATH_SHOWN)
        return f"<Entry {path} {name_of_type(self.type)}: {self.action}{why}{more}>"


class FreezeReport:
    """What freezing would do. True where it would succeed; `str()` is a tree of bounded length.

    Iterating gives an `Entry` for each object in the order in which freezing meets them; plain
    values of one type beside one another are one entry. `refused` has those that stand in the way,
    the one that `freeze` would name first.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    @property
    def ok(self) -> bool:
        """Whether freezing would succeed."""
        return not self._graph.refused

    def __bool__(self) -> bool:
        return self.ok

    @property
    def refused(self) -> list[Entry]:
        """What can't be frozen. The first has the path and reason that NotFreezableError has."""
        return [Entry(node, self._graph) for node in self._graph.refused]

    @property
    def vetoes(self) -> list[Entry]:
        """What has a `__pre_freeze__` that was not called, and may say no."""
        return [Entry(node, self._graph) for node in self._graph.vetoes]

    def __iter__(self) -> Iterator[Entry]:
        for node in self._graph.nodes:
            yield Entry(node, self._graph)

    def __len__(self) -> int:
        return len(self._graph.nodes)

    def having(self, action: str) -> list[Entry]:
        """Give the entries of one action: `report.having("linked")`."""
        return [Entry(node, self._graph) for node in self._graph.nodes if node.action == action]

    def totals(self) -> dict[str, int]:
        """Count the objects by what would become of them."""
        counts: dict[str, int] = {}
        for node in self._graph.nodes:
            counts[node.action] = counts.get(node.action, 0) + node.count
        return counts

    def __repr__(self) -> str:
        return f"<FreezeReport: {self._graph.headline()}>"

    def __str__(self) -> str:
        return self.tree()

    def tree(self, lines: int = 60) -> str:
        """Write what would become of what, indented, in at most about `lines` lines.

        What is refused comes first. Siblings of one kind are summed up, and what was shown already
        is named by its path. O(lines), but for the first time: O(objects).
        """
        from icehouse.store.declarations.tree import draw

        return "\n".join(indent + text for indent, text, _ in draw(self._graph, lines))

    def __rich_console__(self, console: Any, options: Any) -> Iterable[Any]:
        from rich.text import Text

        from icehouse.store.declarations.tree import STYLES, draw

        for indent, text, action in draw(self._graph, 60):
            yield Text(indent + text, style=STYLES.get(action, ""))


def plural(count: int, noun: str) -> str:
    """Write a number of things."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def shorten(text: str | None, width: int) -> str:
    """Cut a text off where it is longer than that, and make one line of it."""
    line = " ".join((text or "").split("\n"))
    return line if len(line) <= width else f"{line[: width - 3]}..."


def name_of_type(kind: type) -> str:
    """Name a class as an error would: builtin ones without their module."""
    from icehouse.store.freezing.trust import name_of

    name = name_of(kind).removeprefix("builtins.")
    return "function" if name == "icehouse.FreezableFunction" else name
