"""The rules of freezing: which types freeze, as what, and how they are made again.

The compiled module asks `hooks` when it meets the first type that is not a builtin, never before.
Everything here is pure Python and runs in interpreters with a GIL of their own; what belongs to a
type of another package is imported when that type is met.

Importing the package imports nothing else: `import icehouse` stays quick.
"""
