"""How a rule says no, and a definition that it is for another Python."""

from icehouse.native._image import IcehouseError


class Refusal(Exception):
    """An object can't be frozen; the text says why, and what to do instead.

    Getters of rules raise it where the object and not its type is the reason. The freezer makes a
    NotFreezableError of it that names the path to the object, its holder and its type.
    """


class OtherVersion(IcehouseError, ImportError):
    """A class can't be made: the code of its functions is of another version of Python.

    As an error of icehouse it is not taken for damage.
    """
