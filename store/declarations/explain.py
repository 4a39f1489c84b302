"""`explain_freeze`: a dry run of freezing. What it needs is imported when it is first called."""

import gc
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from icehouse.store.declarations.report import FreezeReport, Graph


def explain_freeze(*objects: Any, store: Any = None, run_hooks: bool = False) -> "FreezeReport":
    """Say what `freeze(*objects)` would do, and all that stands in its way; nothing is changed.

    The report is true where freezing would succeed. It has an entry for each object that would be
    reached, with its path, type, action and reason; `report.refused` lists all that can't be
    frozen, first what NotFreezableError would name. `print(report)` draws a tree of bounded length
    (rich draws it in colours).

    With `store=` it is about `store.freeze` and `store.put`: views of that store are linked to.
    (A class that is put is not frozen by that: it goes by its name.)

    It runs of your code what freezing runs too, once: `__freeze__`, `__reduce__`, `__getstate__`,
    `freeze=` of registrations. What these raise is a refusal here. `__pre_freeze__` exists to
    change something, so it is not called unless `run_hooks` is true; `report.vetoes` has those
    whose hook may still say no. Whether there is room for the result is not looked at.

    TypeError without an argument. O(objects), 3 to 10 µs for each that is no plain value: fifty to
    a hundred times what freezing takes. The collector is off meanwhile, as it is while freezing.
    """
    from icehouse.store.declarations.report import FreezeReport

    if not objects:
        raise TypeError("explain_freeze() needs at least one object")
    collecting = gc.isenabled()
    gc.disable()
    try:
        return FreezeReport(_graph(objects, store, run_hooks))
    finally:
        if collecting:
            gc.enable()


def _graph(objects: tuple[Any, ...], store: Any, run_hooks: bool) -> "Graph":
    from icehouse.native._image import is_frozen
    from icehouse.store.declarations.dry_run import Walk
    from icehouse.store.declarations.report import AS_IT_IS, ROOT
    from icehouse.store.declarations.together import is_declaration

    if any(is_declaration(obj) for obj in objects):
        from icehouse.store.declarations.dry_plan import DryPlan

        return DryPlan(run_hooks=run_hooks).run(objects)
    obj = objects[0] if len(objects) == 1 else objects
    walk = Walk(objects, store, run_hooks=run_hooks)
    if store is not None or not is_frozen(obj):
        return walk.run()
    walk.note(obj, "by nature", (ROOT, None), None).reason = AS_IT_IS
    return walk.graph()
