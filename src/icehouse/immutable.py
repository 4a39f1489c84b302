"""PEP 795 under the names of its prototype, for those who try both.

`from icehouse.immutable import freeze, isfrozen, NotFreezable`: what these mean here is what they
mean in `icehouse`, and docs/freezability.md says how that differs from the PEP.
"""

from icehouse.store.declarations.decorators import (
    explicitly_freezable,
    freezable,
    frozen,
    unfreezable,
)
from icehouse.store.declarations.decorators import (
    explicitly_freezable as explicitlyFreezable,  # noqa: N812 - the name that the PEP gives it
)
from icehouse.store.declarations.fields import InterpreterLocal, SharedField
from icehouse.store.declarations.fields import (
    InterpreterLocal as local,  # noqa: N813 - the name that a draft of the PEP gives it
)
from icehouse.store.declarations.fields import (
    SharedField as shared,  # noqa: N813 - the name that a draft of the PEP gives it
)
from icehouse.store.declarations.modules import ImmutableModule, import_module
from icehouse.store.declarations.status import (
    FREEZABLE_EXPLICIT,
    FREEZABLE_NO,
    FREEZABLE_PROXY,
    FREEZABLE_YES,
    NotFreezable,
    disabled,
    set_freezable,
)
from icehouse.store.errors import NotFreezableError
from icehouse.store.image import freeze, is_frozen, register_freezable
from icehouse.store.image import freeze as deep_freeze
from icehouse.store.image import is_frozen as is_deep_frozen
from icehouse.store.image import is_frozen as isfrozen

__all__ = [
    "FREEZABLE_EXPLICIT",
    "FREEZABLE_NO",
    "FREEZABLE_PROXY",
    "FREEZABLE_YES",
    "ImmutableModule",
    "InterpreterLocal",
    "NotFreezable",
    "NotFreezableError",
    "SharedField",
    "deep_freeze",
    "disabled",
    "explicitlyFreezable",
    "explicitly_freezable",
    "freezable",
    "freeze",
    "frozen",
    "import_module",
    "is_deep_frozen",
    "is_frozen",
    "isfrozen",
    "local",
    "register_freezable",
    "set_freezable",
    "shared",
    "unfreezable",
]
