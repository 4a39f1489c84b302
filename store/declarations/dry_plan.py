"""A dry run of freezing declarations: a plan that is made as freezing makes it, and no more.

Planning changes nothing that can be seen. Where freezing would raise, this notes that error as the
first, and goes on to find what else stands in the way.
"""

from types import ModuleType
from typing import Any

from icehouse.native._image import is_frozen
from icehouse.store.declarations import capture, status
from icehouse.store.declarations.dry_run import Walk
from icehouse.store.declarations.functions import FunctionItem
from icehouse.store.declarations.report import AS_IT_IS, CAPTURE, ROOT, Graph, Node, Step
from icehouse.store.declarations.together import (
    Data,
    Item,
    Plan,
    error_of,
    label_of,
    place_of,
)
from icehouse.store.errors import NotFreezableError
from icehouse.store.freezing.refusal import Refusal

# What a captured name of each kind comes to.
_ACTIONS = {
    capture.CONSTANT: ("by nature", None),
    capture.MODULE: ("module", "imported by the interpreter that calls"),
    capture.NAMED: ("by name", "a function of a library"),
    capture.CLASS: ("by name", None),
    capture.ITSELF: ("by nature", "its own name: the frozen function itself"),
    capture.UNBOUND: ("unbound", "not bound now: using it will raise NameError"),
}
_CUT = "named by its declaration; what the name is bound to later is not seen"


class Raised(Exception):
    """Freezing would hand on an exception of code of the user's, which stops it at once."""

    def __init__(self, error: NotFreezableError) -> None:
        super().__init__(error)
        self.error = error


class DryPlan(Plan):
    """A plan whose data is walked, not frozen."""

    def __init__(self, *, run_hooks: bool) -> None:
        super().__init__()
        self.run_hooks = run_hooks
        self.vetoes: list[Any] = []
        self.walks: dict[int, Walk] = {}  # by the id of what was walked
        self._kept: list[Any] = []
        self.snapshot: tuple[list[Any], Walk] | None = None

    def _ask_before(self, obj: Any, is_root: bool) -> None:
        try:
            if self.run_hooks:
                super()._ask_before(obj, is_root)
                return
            status.check(obj, is_root)
        except Refusal:
            raise
        except Exception as error:
            raise Refusal(f"freezing it raises {type(error).__name__}: {error}") from error
        function = status.function_of(obj)
        if function is not None and status.HOOK in function.__dict__:
            self.vetoes.append(obj)

    def _freeze(self, data: Any) -> Any:
        if is_frozen(data):
            return data
        walk = Walk((data,), None, run_hooks=self.run_hooks)
        graph = walk.run()
        self._kept.append(data)
        self.walks[id(data)] = walk
        if graph.refused:
            first = graph.refused[0]
            error = error_of(graph.path(first), first.object, first.reason or "", None)
            raise Raised(error) if any(node is first for node in walk.raised) else error
        return data

    def _snapshot(self, live: set[int]) -> bool:
        data = [datum for datum in self._data if id(datum.by) in live]
        try:
            return super()._snapshot(live)
        except Raised as raised:
            _say_where_raised(raised, data)
            raise
        finally:
            if not data:
                # What an earlier one failed at is left out: a method is uncallable for it.
                self.snapshot = None
            elif self._kept and type(self._kept[-1]) is list:
                self.snapshot = data, self.walks[id(self._kept[-1])]

    # --- the whole of it -------------------------------------------------------------------------

    def run(self, objects: tuple[Any, ...]) -> Graph:
        """Plan all of them; what would become of what."""
        error = None
        for obj in objects:
            if not is_frozen(obj):
                self.add_root(obj)
        try:
            self.settle()
        except NotFreezableError as refused:
            error = refused
        except Raised as raised:
            error = raised.error
        self._go_on()
        return _Drawing(self, objects, error).graph()

    def _go_on(self) -> None:
        """Look at what freezing did not get to, since it failed before."""
        looked: set[int] = set()
        while True:
            items = [item for item in self._items.values() if id(item) not in looked]
            if not items:
                return
            for item in items:
                looked.add(id(item))
                if item.failure is None or not isinstance(item, FunctionItem):
                    continue
                for use in capture.uses(item.function, fresh=item.fresh):
                    if use.kind == capture.DECLARATION and self.item_of(use.value) is None:
                        self.attempt(item, use.value, path_of(item, use))
            self._check_waiting()

    def all_items(self) -> list[Item]:
        """List the items in the order of planning, each once."""
        return list({id(item): item for item in self._items.values()}.values())

    def roots(self) -> list[Item]:
        """List the items of the arguments."""
        return list(self._roots)


def _say_where_raised(raised: Raised, data: list[Any]) -> None:
    place = place_of(raised.error.__dict__["path"], data)
    if place is not None:
        raised.error.__dict__["path"] = place[1]


def path_of(item: FunctionItem, use: capture.Use) -> str:
    """Write where a captured name is, as errors do."""
    start = item.path if item.is_argument() else f"{item.path} -> {label_of(item.function)}"
    return f"{start}: {use.place} {use.name!r}"


class _Drawing:
    """Makes a graph of a plan."""

    def __init__(
        self, plan: DryPlan, objects: tuple[Any, ...], error: NotFreezableError | None
    ) -> None:
        self.plan = plan
        self.objects = objects
        self.error = error
        self.nodes: list[Node] = []
        self.refused: list[Node] = []
        self.vetoes: list[Node] = []
        self.by_item: dict[int, Node] = {}

    def graph(self) -> Graph:
        roots = self.plan.roots()
        top = Node(tuple, "frozen", (ROOT, None), None, 0)
        top.items = len(self.objects)
        pending: list[Item] = []
        for obj in self.objects:
            item = self.plan.item_of(obj)
            if item is None:
                self._note(obj, "by nature", "root", "root", top).reason = AS_IT_IS
            else:
                pending += self._item(item, top)
        while pending:
            pending += self._below(pending.pop())
        if self.plan.snapshot is not None:
            self._data(*self.plan.snapshot)
        self._order()
        root = top if len(self.objects) > 1 or len(roots) > 1 else top.children[0][1]
        return Graph(root, self.nodes, self.refused, self.vetoes)

    def _note(self, obj: Any, action: str, label: str, path: str, holder: Node) -> Node:
        step: Step = (CAPTURE, label)
        node = Node(type(obj), action, step, holder, len(self.nodes))
        node.path = path
        self.nodes.append(node)
        holder.children.append((step, node))
        return node

    def _refuse(self, node: Node, obj: Any, reason: str) -> None:
        node.action, node.reason, node.object = "refused", reason, obj
        self.refused.append(node)

    # --- items -----------------------------------------------------------------------------------

    def _item(
        self, item: Item, holder: Node, label: str = "", *, optional: bool = False
    ) -> list[Item]:
        """Draw an item where it is reached; the item itself where it is drawn for the first time.

        Without a label: by an edge of the plan, which may have been drawn by its name already.
        """
        known = self.by_item.get(id(item))
        if known is not None:
            if label or not any(child is known for _, child in holder.children):
                holder.children.append(((CAPTURE, label or known.step[1]), known))
            return []
        label = label or label_below(item.path, holder)
        node = self._note(item.source, _action(item), label, item.path, holder)
        in_class = issubclass(holder.kind, type) and holder.action == "in place"
        if node.action == "frozen" and isinstance(item, FunctionItem) and not in_class:
            node.reason = "a frozen copy: the function itself stays as it is"
        self.by_item[id(item)] = node
        if any(obj is item.source for obj in self.plan.vetoes):
            node.reason = "unless its __pre_freeze__ says no, which was not called"
            self.vetoes.append(node)
        failure = item.failure
        if failure is not None and optional:
            node.action, node.reason = "uncallable", str(failure)
        elif failure is not None and getattr(failure, "path", None) == item.path:
            self._refuse(node, item.source, reason_of(failure))
        if isinstance(item, Data):
            self._root_data(item, node)
        return [item]

    def _below(self, item: Item) -> list[Item]:
        node = self.by_item[id(item)]
        pending: list[Item] = []
        if isinstance(item, FunctionItem) and node.action != "uncallable":
            pending += self._captured(item, node)
        for needed in item.needs:
            pending += self._item(needed, node)
        for hoped in item.hopes:
            if hoped not in item.needs:
                optional = issubclass(type(item.source), type)
                pending += self._item(hoped, node, optional=optional)
        if item.failure is not None and node.action not in ("refused", "uncallable"):
            self._failure_below(item, node)
        return pending

    def _failure_below(self, item: Item, node: Node) -> None:
        """Draw what an item failed at, where that is no item, nor a name that it captured."""
        failure = item.failure
        path = getattr(failure, "path", item.path)
        known = any(refused.path == path for refused in self.refused)
        if known or any(path.startswith(other.path) for other in item.needs):
            return
        snapshot = self.plan.snapshot
        if snapshot is not None and any(datum.by is item for datum in snapshot[0]):
            return
        obj = getattr(failure, "object", item.source)
        label = label_below(path, node)
        self._refuse(self._note(obj, "refused", label, path, node), obj, reason_of(failure))

    def _captured(self, item: FunctionItem, node: Node) -> list[Item]:
        """Draw what a function captured."""
        named = status.named_state(item.source) | item.names
        found = capture.uses(item.function, fresh=item.fresh)
        state = [use for use in found if use.kind == capture.STATE]
        allowed = {id(use.value) for use in state if use.name in named or "*" in named}
        pending: list[Item] = []
        for use in found:
            path, label = path_of(item, use), f"{use.place} {use.name!r}"
            if use.kind == capture.STATE and id(use.value) in allowed:
                continue  # it is in the data
            if use.kind in (capture.DECLARATION, capture.CLASS):
                inner = self.plan.item_of(use.value)
                if inner is not None:
                    pending += self._item(inner, node, label)
                    continue
            action, reason = _ACTIONS.get(use.kind, ("", None))
            if action:
                self._note(_held(item, use), action, label, path, node).reason = reason
            elif not use.soft:
                obj, reason = capture.refusal_of(use, item.function, is_argument=item.is_argument())
                self._refuse(self._note(obj, "refused", label, path, node), obj, reason)
        return pending

    # --- data ------------------------------------------------------------------------------------

    def _root_data(self, item: Item, node: Node) -> None:
        """Draw an argument that is data: what was walked of it stands for its node."""
        walk = self.plan.walks.get(id(item.source))
        if walk is None or walk.root is None:
            return
        graph = walk.graph()
        for refused in graph.refused:
            graph.path(refused)
        first = walk.root
        node.children, node.items, node.reason = first.children, first.items, first.reason
        node.action = first.action
        for _, child in first.children:
            child.holder = node
        self._adopt(walk, {first}, {first: node})

    def _data(self, data: list[Any], walk: Walk) -> None:
        """Draw captured data below whoever captured it."""
        assert walk.root is not None
        firsts: dict[int, Node] = {}
        for (_, number), held in walk.root.children:
            firsts.setdefault(number, held)
        # In the order of drawing, so that what is shared has the path of where it is shown.
        drawn = [self.by_item.get(id(datum.by)) for datum in data]
        places = [(node.number, at, node) for at, node in enumerate(drawn) if node is not None]
        for _, at, holder in sorted(places, key=lambda place: place[:2]):
            datum, child = data[at], firsts.get(at)
            if child is None:
                continue
            label = label_below(datum.path, holder)
            step: Step = (CAPTURE, label)
            holder.children.append((step, child))
            if child.holder is walk.root:
                child.step, child.holder = step, holder
                child.path = child.path or datum.path
                if label.startswith((capture.GLOBAL, capture.CELL)):
                    child.reason = child.reason or _CUT
        for node in walk.refused:
            if node.path is not None and node.path.startswith("root["):
                at_text, _, rest = node.path.removeprefix("root[").partition("]")
                node.path = data[int(at_text)].path + rest
        self._adopt(walk, {walk.root}, {})

    def _adopt(self, walk: Walk, without: set[Node], instead: dict[Node, Node]) -> None:
        for node in walk.nodes:
            if node not in without:
                node.number = len(self.nodes)
                self.nodes.append(node)
        self.refused += [instead.get(node, node) for node in walk.refused]
        self.vetoes += [instead.get(node, node) for node in walk.vetoes]

    # --- order -----------------------------------------------------------------------------------

    def _order(self) -> None:
        """Put the refusal first that freezing would raise."""
        error = self.error
        if error is None:
            self.refused = [node for node in self.refused if node.action == "refused"]
            return
        path, obj = getattr(error, "path", ""), getattr(error, "object", None)
        first = [n for n in self.refused if n.object is obj and n.path in (path, None)]
        if first:
            node = first[0]
        else:
            node = self._note(obj, "refused", path, path, self.nodes[0])
            self._refuse(node, obj, reason_of(error))
        node.path, node.reason = path, reason_of(error)
        self.refused = [node, *(other for other in self.refused if other is not node)]


def label_below(path: str, holder: Node) -> str:
    """Cut the path of a holder off."""
    return path.removeprefix(holder.path or "").lstrip(": >-") or path


def _held(item: FunctionItem, use: capture.Use) -> Any:
    """Find what a name holds, also where it is kept by its name; None where it is not bound."""
    function = item.function
    if use.kind in (capture.MODULE, capture.NAMED) and use.place == capture.GLOBAL:
        return function.__globals__.get(use.name)
    return function if use.kind == capture.ITSELF else use.value


def _action(item: Item) -> str:
    if isinstance(item, FunctionItem):
        return "in place" if item.in_place else "frozen"
    if isinstance(item.source, ModuleType):
        return "module"
    return "in place" if issubclass(type(item.source), type) else "frozen"


def reason_of(error: Any) -> str:
    """Take the reason out of an error."""
    return str(error).partition(" has no frozen form: ")[2] or str(error)
