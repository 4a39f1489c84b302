"""Properties, class methods and static methods that are arguments of freeze() by themselves."""

from typing import Any

from icehouse.store.declarations import members
from icehouse.store.declarations.together import BaseItem, Plan


class DescriptorItem(BaseItem):
    """One of them: a frozen one over frozen functions comes back, and the argument stays."""

    home = ""  # it says of no module that it is its own

    def __init__(self, source: Any, path: str, plan: Plan) -> None:
        super().__init__(source, path, plan)
        self._make: members.Make | None = None

    def check(self, plan: Plan) -> None:
        """Plan the functions in it."""
        self._make = members.plan_value(self, plan, self.path, self.source)

    def may_freeze(self, name: str) -> bool:
        """Refuse what else may be in it."""
        del name
        return False

    def adopt(self, planned: Any, function: Any) -> None:
        """Need the function: there is no class in which an uncallable one could stand."""
        del function
        self.needs.append(planned)

    def adopt_class(self, planned: Any) -> None:
        """Know nothing that it could be told."""

    def commit(self) -> None:
        """Make the frozen one: the functions are there by now."""
        self.frozen = self.source if self._make is None else self._make()
