"""`explain_freeze`: a dry run of freezing. What it needs is imported when it is first called."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from icehouse.store.declarations.report import FreezeReport


def explain_freeze(*objects: Any, store: Any = None, run_hooks: bool = False) -> "FreezeReport":
    """Say what `freeze(*objects)` would do, and all that stands in its way; nothing is changed.

    The report is true where freezing would succeed. It has an entry for each object that would be
    reached, with its path, type, action and reason; `report.refused` lists all that can't be
    frozen, first what NotFreezableError would name. `print(report)` draws a tree of bounded length
    (rich draws it in colours).

    With `store=` it is about `store.freeze` and `store.put`: views of that store are linked to.

    It runs of your code what freezing runs too, once: `__freeze__`, `__reduce__`, `__getstate__`,
    `freeze=` of registrations. What these raise is a refusal here. `__pre_freeze__` exists to
    change something, so it is not called unless `run_hooks` is true; `report.vetoes` has those
    whose hook may still say no. Whether there is room for the result is not looked at.

    TypeError without an argument. O(objects), 1 to 5 µs for each that is no plain value.
    """
    from icehouse.native._image import is_frozen
    from icehouse.store.declarations.dry_run import Walk
    from icehouse.store.declarations.report import AS_IT_IS, ROOT, FreezeReport
    from icehouse.store.declarations.together import is_declaration

    if not objects:
        raise TypeError("explain_freeze() needs at least one object")
    if any(is_declaration(obj) for obj in objects):
        from icehouse.store.declarations.dry_plan import DryPlan

        return FreezeReport(DryPlan(run_hooks=run_hooks).run(objects))
    obj = objects[0] if len(objects) == 1 else objects
    walk = Walk(objects, store, run_hooks=run_hooks)
    if store is not None or not is_frozen(obj):
        return FreezeReport(walk.run())
    walk.note(obj, "by nature", (ROOT, None), None).reason = AS_IT_IS
    return FreezeReport(walk.graph())
