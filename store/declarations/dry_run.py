"""The walk of a dry run: what the freezer would do, in its order, with nothing written.

It follows native/module/freezer.c: depth first, containers below level 64 put off, what is made as
a whole noted as open, so that rings of such are found, and the refusal that freezing would raise is
the first one found here. The freezer stops there; this goes on as if that object were plain.
"""

from collections.abc import Iterable
from itertools import groupby
from typing import Any

from icehouse.native._image import FrozenFunction, _freeze_dry
from icehouse.store.declarations.reading import (
    ATOMS,
    CONTAINERS,
    NDARRAY,
    Frame,
    Items,
    Part,
    class_names,
    is_buffer,
    items_of,
    size_of,
    slots_and_dict,
)
from icehouse.store.declarations.report import (
    ALIKE_SHOWN,
    CONTENT,
    FIELD,
    INDEX,
    INSTEAD,
    ITEM,
    KEY,
    PAYLOAD,
    ROOT,
    VALUE,
    Graph,
    Node,
    Search,
    Step,
)
from icehouse.store.declarations.together import Again
from icehouse.store.freezing import anatomy, hooks
from icehouse.store.freezing.refusal import Refusal
from icehouse.store.freezing.trust import name_of
from icehouse.store.image import VIEW_TYPES

# As in freezer_state.h, freeze_object.c and docs/image-format.md.
RECURSION_MAX = 64
DEPTH_MAX = 320
OPEN_MAX = 400
AS_MAX = 64
TUPLE_TREE_MAX = 4096
TUPLE_DEPTH_MAX = 64

TOO_DEEP = "it is nested too deeply in objects that must be made whole"
IN_A_RING = "it refers to itself through objects that must be made whole"
NO_NAME = "its __dict__ has a key that is not a str"
PLAIN = "replace it by plain data"

MANY = 16  # items from which on a container is looked at as a whole


class Walk:
    """One dry run. `nodes` in the order of visits, `refused` in the order of finding."""

    def __init__(self, roots: tuple[Any, ...], store: Any, *, run_hooks: bool) -> None:
        self.roots = roots
        self.store = store
        self.run_hooks = run_hooks
        self.nodes: list[Node] = []
        self.refused: list[Node] = []
        self.rings: list[Node] = []
        self.raised: list[Node] = []  # those where code of the user's raised
        self.vetoes: list[Node] = []  # those whose __pre_freeze__ was not called
        self.root: Node | None = None
        self.rules: dict[int, tuple[type, Any, Any]] = {}  # by address, as above
        self.met: dict[int, Node] = {}
        self.words: dict[int, Node] = {}  # what is written for an object that is frozen as another
        self.kept: list[Any] = []
        self.later: list[Frame] = []
        self.stack: list[Frame] = []
        self.open: list[tuple[Node, bool]] = []
        self.barrier = 0
        self.keys = 0
        self.instead: list[tuple[Any, Any]] = []
        self.uncounted = False
        self.first: tuple[int, frozenset[int]] | None = None  # as it was at the first refusal

    # --- running ---------------------------------------------------------------------------------

    def run(self) -> Graph:
        """Walk all that the roots reach. O(objects); the stack does not grow with their depth."""
        obj = self.roots[0] if len(self.roots) == 1 else self.roots
        self.visit(obj, (ROOT, None), None, 0)
        while self.stack or self.later:
            if not self.stack:
                self.stack.append(self.later.pop())
            frame = self.stack[-1]
            for step, child in frame.items:
                if self.visit(child, step, frame.node, frame.depth + 1):
                    break
            else:
                self.stack.pop()
                if frame.leave is not None:
                    frame.leave()
        assert self.root is not None
        self._finish(self.root)
        return self.graph()

    def graph(self) -> Graph:
        """Give what was found so far."""
        assert self.root is not None
        return Graph(self.root, self.nodes, self.refused, self.vetoes)

    def _finish(self, root: Node) -> None:
        """Put the refusal first that freezing would raise, with its path."""
        for node in reversed(self.nodes):
            if node.action == "refused":
                node.marked = True
            if node.marked and node.holder is not None:
                node.holder.marked = True
        if self.refused:
            assert self.first is not None
            until, met = self.first
            search = Search(root, until=until, met=met)
            self.refused[0].path = search.path(self.refused[0])
        elif self.rings:
            # A ring is noticed at the end: of several, the last one stays.
            self.refused = self.rings[::-1]
            self.rings = []
        self.refused += self.rings

    def note(self, obj: Any, action: str, step: Step, holder: Node | None) -> Node:
        """Add a node for an object."""
        node = Node(type(obj), action, step, holder, len(self.nodes))
        self.nodes.append(node)
        if holder is None:
            self.root = node
        else:
            holder.children.append((step, node))
        return node

    def _leaf(self, obj: Any, action: str, step: Step, holder: Node | None) -> bool:
        """Note a value that leads nowhere.

        Of several beside one another the first have a node each, and the rest one.
        """
        cls = type(obj)
        if holder is not None and id(cls) in ATOMS:
            last = [node for _, node in holder.children[-ALIKE_SHOWN:]]
            alike = [n.kind is cls and n.step[0] == step[0] and n.holder is holder for n in last]
            if last and alike[-1] and last[-1].run:
                last[-1].count += 1
                last[-1].size = size_of(cls, [obj], last[-1].size)
                return False
            if sum(alike) == ALIKE_SHOWN:
                # The first of a run; others follow it, or it stays a run of one.
                self.note(obj, action, step, holder).size = size_of(cls, [obj])
                self.nodes[-1].run = True
                return False
        self.note(obj, action, step, holder).size = size_of(cls, [obj])
        return False

    def refuse(self, node: Node, obj: Any, reason: str | None) -> bool:
        """Note a refusal, and go on. Of several the freezer would raise the first."""
        node.action = "refused"
        node.reason = reason or PLAIN
        node.object = obj
        self._meet(obj, node)
        if self.first is None:
            self.first = len(self.nodes) - 1, CONTAINERS.union((id(tuple),), self.rules)
        self.refused.append(node)
        return False

    def _raised(self, node: Node, obj: Any, error: Exception) -> bool:
        if isinstance(error, Again):
            raise error
        if isinstance(error, Refusal):
            return self.refuse(node, obj, str(error))
        self.raised.append(node)
        return self.refuse(node, obj, f"freezing it raises {type(error).__name__}: {error}")

    # --- frames ----------------------------------------------------------------------------------

    def lazily(self, node: Node, items: Items, depth: int) -> bool:
        """Go into what is read lazily: deep below, it is put off."""
        frame = Frame(node, items, depth)
        if depth >= RECURSION_MAX:
            frame.depth = 0
            self.later.append(frame)
            return False
        outside = self.barrier
        self.barrier = len(self.open)

        def leave() -> None:
            self.barrier = outside

        frame.leave = leave
        self.stack.append(frame)
        return True

    def whole(self, node: Node, obj: Any, items: Items, depth: int, *, is_tuple: bool) -> bool:
        """Go into what is made as a whole: it can't be inside itself."""
        if len(self.open) == OPEN_MAX:
            return self.refuse(node, obj, TOO_DEEP)
        self.open.append((node, is_tuple))
        frame = Frame(node, items, depth)

        def leave() -> None:
            self.open.pop()

        frame.leave = leave
        self.stack.append(frame)
        return True

    def _known(self, obj: Any, step: Step, holder: Node | None) -> bool:
        """Whether the object was met; a ring of what is made whole is noted."""
        node = self.met.get(id(obj))
        if node is None:
            return False
        if holder is not None:
            holder.children.append((step, node))
        word = self.words.get(id(obj), node)
        if any(open_node is word for open_node, _ in self.open[self.barrier :]):
            node.action, node.reason, node.object = "refused", IN_A_RING, obj
            self.rings = [*(ring for ring in self.rings if ring is not node), node]
        return True

    def _meet(self, obj: Any, node: Node) -> None:
        self.met[id(obj)] = node
        self.kept.append(obj)

    # --- one object ------------------------------------------------------------------------------

    def visit(self, obj: Any, step: Step, holder: Node | None, depth: int) -> bool:
        """Note one object. True where its children are on the stack now."""
        if step[0] != KEY:
            return self._visit(obj, step, holder, depth)
        # Nothing in a key is linked.
        self.keys += 1
        if not self._visit(obj, step, holder, depth):
            self.keys -= 1
            return False
        frame = self.stack[-1]
        leave = frame.leave

        def leave_key() -> None:
            if leave is not None:
                leave()
            self.keys -= 1

        frame.leave = leave_key
        return True

    def _visit(self, obj: Any, step: Step, holder: Node | None, depth: int) -> bool:
        cls = type(obj)
        address = id(cls)
        if address in ATOMS:
            return self._leaf(obj, "by nature", step, holder)
        if cls is Part:
            node = Node(obj.base, "frozen", step, holder, len(self.nodes))
            assert holder is not None
            holder.children.append((step, node))
            return self.lazily(node, obj.items, depth)
        if cls is tuple:
            return self._visit_tuple(obj, step, holder, depth)
        if not self.uncounted and self._known(obj, step, holder):
            return False
        if address in CONTAINERS:
            node = self.note(obj, "frozen", step, holder)
            node.items = len(obj)
            self._meet(obj, node)
            if self._plain(node, obj, cls):
                return False
            return self.lazily(node, items_of(obj, cls), depth)
        if cls is bytearray:
            self._leaf(obj, "frozen", step, holder)
            self._meet(obj, self.nodes[-1])
            return False
        return self._visit_rare(obj, step, holder, depth)

    def _plain(self, node: Node, obj: Any, cls: type) -> bool:
        """Note all that a container holds at once, where these are plain values."""
        if len(obj) < MANY:
            return False
        keys: list[Any] = []
        values = [*(dict.values(obj) if cls is dict else obj)]
        if not ATOMS.issuperset(map(id, map(type, values))):
            return False
        if cls is dict:
            keys = [*obj]
            if any(type(key) is not str for key in keys):
                return False
        kind = VALUE if cls is dict else INDEX if cls in (list, tuple) else ITEM
        at = 0
        for value_type, group in groupby(values, type):
            run = [*group]
            for n, value in enumerate(run[:ALIKE_SHOWN]):
                step = (kind, keys[at + n] if keys else at + n)
                self.note(value, "by nature", step, node).size = size_of(value_type, [value])
            if len(run) > ALIKE_SHOWN:
                at_rest = at + ALIKE_SHOWN
                step = (kind, keys[at_rest] if keys else at_rest)
                rest = self.note(run[ALIKE_SHOWN], "by nature", step, node)
                rest.run, rest.count = True, len(run) - ALIKE_SHOWN
                rest.size = size_of(value_type, run[ALIKE_SHOWN:])
            at += len(run)
        return True

    def _visit_tuple(self, obj: Any, step: Step, holder: Node | None, depth: int) -> bool:
        if not self.uncounted and self._known(obj, step, holder):
            return False
        if not obj:
            return self._leaf(obj, "by nature", step, holder)
        node = self.note(obj, "frozen", step, holder)
        node.items = len(obj)
        try:
            return self._tuple(node, obj, depth)
        except Exception as error:
            return self._raised(node, obj, error)

    def _tuple(self, node: Node, obj: Any, depth: int) -> bool:
        real = self._opens_as_tuple(obj)
        self._meet(obj, node)
        if self._plain(node, obj, tuple):
            return False
        items = items_of(obj, tuple)
        if real:
            return self.whole(node, obj, items, depth, is_tuple=True)
        return self.lazily(node, items, depth)

    def _opens_as_tuple(self, obj: Any) -> bool:
        """Whether its tree of tuples is small enough to be made as a whole."""
        if self.uncounted:  # inside one that was counted without it
            self.uncounted = False
            return False
        # Inside one that was counted with all that it holds, the answer is known.
        if len(self.open) > self.barrier and self.open[-1][1]:
            return True
        nodes = TUPLE_TREE_MAX
        pending = [(obj, TUPLE_DEPTH_MAX)]
        while pending:
            part, depth = pending.pop()
            n = tuple.__len__(part)
            if depth == 0 or n + 1 > nodes:
                return False
            nodes -= n + 1
            inner = [
                (item, depth - 1)
                for item in tuple.__iter__(part)
                if issubclass(type(item), tuple)
                and (type(item) is tuple or self.rule(type(item))[0] == "tuple")
            ]
            pending += reversed(inner)
        return True

    def rule(self, cls: type) -> Any:
        """Ask for the rule of a class, once: without what is asked before it."""
        known = self.rules.get(id(cls))
        if known is None:
            rule: Any = hooks.rule_of(cls)
            before = None
            if type(rule) is tuple and rule[0] == "before":
                _, before, rule = rule
            known = self.rules[id(cls)] = cls, rule, before
        return known[1]

    def _ask_before(self, node: Node, obj: Any) -> None:
        """Ask what comes before an object is read: its status, and perhaps its `__pre_freeze__`."""
        before = self.rules[id(type(obj))][2]
        if before is None:
            return
        if self.run_hooks:
            before(obj, self._is_root(obj))
            return
        hooks.check_status(obj, self._is_root(obj))
        if anatomy.class_attribute(type(obj), "__pre_freeze__") is not None:
            node.reason = "unless its __pre_freeze__ says no, which was not called"
            self.vetoes.append(node)

    def _check_status(self, obj: Any, names: Iterable[Any]) -> None:
        if "__freezable__" in names:
            hooks.check_status(obj, self._is_root(obj))

    def _is_root(self, obj: Any) -> bool:
        return any(obj is root for root in self.roots)

    def _visit_rare(self, obj: Any, step: Step, holder: Node | None, depth: int) -> bool:
        cls = type(obj)
        node = self.note(obj, "frozen", step, holder)
        if any(kind is view for kind in anatomy.mro(cls) for view in VIEW_TYPES):
            self._meet(obj, node)
            return self._view(node, obj)
        if is_buffer(cls):
            return self._buffer(node, obj, depth)
        return self._foreign(node, obj, depth)

    def _view(self, node: Node, obj: Any) -> bool:
        node.action = "copied"
        node.reason = "a view: its nodes are copied"
        if self._links(obj):
            node.action, node.reason = "linked", "a view of this store"
        return False

    def _links(self, obj: Any) -> bool:
        if self.store is None or self.keys > 0 or (len(self.roots) == 1 and obj is self.roots[0]):
            return False
        return _freeze_dry(obj, self.store) is True

    def _buffer(self, node: Node, obj: Any, depth: int) -> bool:
        array = name_of(type(obj)) == NDARRAY
        found = _freeze_dry(obj, self.store if self.keys == 0 else None)
        if found is True:
            node.action, node.reason = "linked", "a view of this store"
            self._meet(obj, node)
            return False
        if found is False:
            with memoryview(obj) as memory:
                node.size = memory.nbytes
            self._meet(obj, node)
            return False
        if not array or type(self.rule(type(obj))) is str:
            return self.refuse(node, obj, str(found))
        return self._foreign(node, obj, depth)

    # --- by rule ---------------------------------------------------------------------------------

    def _foreign(self, node: Node, obj: Any, depth: int) -> bool:
        try:
            rule = self.rule(type(obj))
            if type(rule) is str:
                return self.refuse(node, obj, rule)
            self._ask_before(node, obj)
            if depth >= DEPTH_MAX:
                return self.refuse(node, obj, TOO_DEEP)
            node.late = rule[-1] is not None and rule[0] not in ("tuple", "view")
            return self._by_rule(rule, node, obj, depth)
        except Exception as error:
            return self._raised(node, obj, error)

    def _by_rule(self, rule: Any, node: Node, obj: Any, depth: int) -> bool:
        form = rule[0]
        if form == "value":
            return self._value(rule, node, obj, depth)
        if form == "as":
            return self._instead(rule, node, obj, depth)
        class_names(type(obj))
        if form == "tuple":
            node.items = tuple.__len__(obj)
            return self._tuple(node, obj, depth)
        if form == "made":
            names, values = rule[2](obj)
            self.kept.append(values)
            self._check_status(obj, names)
            self._meet(obj, node)
            pairs = [((FIELD, name), value) for name, value in zip(names, values, strict=True)]
            return self.whole(node, obj, iter(pairs), depth, is_tuple=False)
        if form == "state":
            names, values, _ = rule[1](obj)
            self.kept.append(values)
            self._check_status(obj, names)
            self._meet(obj, node)
            return self._fields(node, None, zip(names, values, strict=True), depth)
        if form == "container" and rule[3] is not None:
            content, fields = rule[3](obj)
            self.kept.append((content, fields))
            self._check_status(obj, fields)
            self._meet(obj, node)
            node.items = len(content)
            return self._fields(node, content, fields.items(), depth)
        return self._in_place(rule, node, obj, depth)

    def _in_place(self, rule: Any, node: Node, obj: Any, depth: int) -> bool:
        fields = slots_and_dict(obj, rule[-1] if rule[0] == "view" else rule[2])
        if not all(type(name) is str for name, _ in fields):
            return self.refuse(node, obj, NO_NAME)
        self._check_status(obj, [name for name, _ in fields])
        self._meet(obj, node)
        if rule[0] == "view":
            return self._fields(node, None, fields, depth)
        if rule[1] in (bytes, bytearray):
            node.size = rule[1].__len__(obj)
            return self._fields(node, bytes(memoryview(obj)), fields, depth)
        node.items = rule[1].__len__(obj)
        return self._fields(node, Part(rule[1], items_of(obj, rule[1])), fields, depth)

    def _fields(
        self, node: Node, content: Any, fields: Iterable[tuple[str, Any]], depth: int
    ) -> bool:
        """Go into an instance: its content, if it has one, and its fields."""
        items: list[tuple[Step, Any]] = [((FIELD, name), value) for name, value in fields]
        if content is not None:
            items.insert(0, ((CONTENT, None), content))
        self.kept.append(items)
        return self.lazily(node, iter(items), depth)

    def _value(self, rule: Any, node: Node, obj: Any, depth: int) -> bool:
        payload = rule[2](obj)
        self.kept.append(payload)
        self._meet(obj, node)
        if issubclass(type(obj), type):
            node.action = "by name"
            if len(payload) > 2:
                node.action, node.reason = "frozen", "by its definition: no name leads to it"
            return False
        if type(obj) is FrozenFunction:
            node.action = "by nature"
            return False
        if hooks.frozen_by_nature(obj):
            node.action = "by nature"
        parts = payload if type(payload) is tuple else (payload,)
        if ATOMS.issuperset(map(id, map(type, parts))):
            return False  # how it is written is nobody's concern
        return self.whole(node, obj, iter([((PAYLOAD, None), payload)]), depth, is_tuple=False)

    def _instead(self, rule: Any, node: Node, obj: Any, depth: int) -> bool:
        for pending, instead in self.instead:
            if pending is obj:
                known = self.words.get(id(instead), self.met.get(id(instead)))
                if known is not None:
                    return False
                return self.refuse(node, obj, "what it is frozen as refers back to it")
        if len(self.instead) == AS_MAX:
            return self.refuse(
                node, obj, "what it is frozen as leads on to other such objects without end"
            )
        in_tuple = len(self.open) > self.barrier and self.open[-1][1]
        instead = rule[1](obj)
        self.kept.append(instead)
        self.instead.append((obj, instead))
        node.action = "frozen"
        node.reason = f"as a {type(instead).__name__}"
        frame = Frame(node, iter([((INSTEAD, None), instead)]), depth)
        self.uncounted = in_tuple and issubclass(type(instead), tuple)

        def leave() -> None:
            self.uncounted = False
            self.instead.pop()
            self._meet(obj, node)
            word = self.words.get(id(instead), self.met.get(id(instead)))
            if word is not None:
                self.words[id(obj)] = word

        frame.leave = leave
        self.stack.append(frame)
        return True
