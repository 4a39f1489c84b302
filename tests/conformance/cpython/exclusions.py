"""The one table of CPython's cases that views do not pass, each with the reason.

Cases that end with FrozenError are not listed: they change the object under test. Nor are those
that put instances of their own classes into it. A name here that passes fails the test.
"""

REPR = "a view's repr names its type, so that nobody takes it for the mutable one"
IDENTITY = "copying, adding to and multiplying a view make real, mutable objects or the view itself"
MAKING = "views are made by freezing, never by their types"
SUBCLASS = "view types can't be subclassed"
PLACE = "in place operators rebind: the view stays as it is"
C_LAYOUT = "an interpreter's own C code asks for the builtin type itself"
OWN_TYPE = "operators and methods give real builtin objects, not views"
CPYTHON = "about how CPython lays out its own objects"
CLASS_PATTERN = "`case list(x)` matches instances of list; `case [*x]` matches views"
ITEMS = "items are made when they are reached: the same item is equal, not identical"
HASHABLE = "FrozenSet hashes as a frozenset does, whatever it was made of"
ITERATOR = "a pickled iterator comes back as one of a list"
DEEP = "a repr has a budget instead of a RecursionError (H24)"

EXCLUDED: dict[str, dict[str, str]] = {
    "lists": {
        SUBCLASS: "CommonTest.test_free_after_iterating",
        PLACE: "CommonTest.test_iadd CommonTest.test_imul",
        MAKING: "CommonTest.test_init",
        REPR: "CommonTest.test_repr",
        DEEP: "CommonTest.test_repr_deep",
    },
    "tuples": {
        SUBCLASS: "TupleTest.test_free_after_iterating",
        ITERATOR: "TupleTest.test_iterator_pickle TupleTest.test_reversed_pickle",
        REPR: "TupleTest.test_repr",
    },
    "dicts": {
        IDENTITY: "TestMappingProtocol.test_copy TestHashMappingProtocol.test_copy",
        MAKING: "TestMappingProtocol.test_fromkeys TestHashMappingProtocol.test_fromkeys",
        REPR: "TestHashMappingProtocol.test_repr",
    },
    "sets": {
        IDENTITY: "TestSet.test_copy",
        OWN_TYPE: """
            TestSet.test_difference TestSet.test_intersection TestSet.test_symmetric_difference
            TestSet.test_union TestFrozenSet.test_difference TestFrozenSet.test_intersection
            TestFrozenSet.test_symmetric_difference TestFrozenSet.test_union
        """,
        SUBCLASS: "TestSet.test_free_after_iterating TestFrozenSet.test_free_after_iterating",
        HASHABLE: "TestSet.test_hash",
        MAKING: "TestSet.test_init TestFrozenSet.test_constructor_identity",
        "views have no weak references, as dicts and lists have none": "TestSet.test_weakref",
    },
    "bytes": {
        SUBCLASS: "BytesTest.test_free_after_iterating",
        OWN_TYPE: """
            BytesTest.test__bytes__ BytesTest.test_imod BytesTest.test_mod BytesTest.test_translate
        """,
        MAKING: "BytesTest.test_fromhex BytesTest.test_check_encoding_errors",
        C_LAYOUT: "BytesTest.test_ord",
        ITERATOR: "BytesTest.test_iterator_pickling",
        "it compares the type with the adapter": "BytesAsStringTest.test_fixtype",
    },
    "list displays": {CPYTHON: "ListTest.test_preallocation"},
    "dict displays": {
        MAKING: "DictTest.test_fromkeys",
        PLACE: "DictTest.test_merge_operator",
        REPR: "DictTest.test_repr DictTest.test_items DictTest.test_keys DictTest.test_values",
        DEEP: "DictTest.test_repr_deep",
        C_LAYOUT: "DictTest.test_store_evilattr",
        CPYTHON: "DictTest.test_track_literals DictTest.test_track_dynamic",
    },
    "dict views": {REPR: "DictSetTest.test_dict_repr"},
    "set displays": {
        MAKING: """
            TestSet.test_new_or_init TestSetSubclass.test_new_or_init
            TestFrozenSet.test_new_or_init TestFrozenSetSubclass.test_new_or_init
        """,
        REPR: """
            TestBasicOpsEmpty.test_repr TestBasicOpsSingleton.test_repr TestBasicOpsTuple.test_repr
            TestBasicOpsString.test_repr TestBasicOpsBytes.test_repr
            TestBasicOpsMixedStringBytes.test_repr
        """,
        ITEMS: "TestCopyingTuple.test_copy TestCopyingNested.test_copy",
    },
    "patterns": {
        CLASS_PATTERN: """
            TestPatma.test_patma_143 TestPatma.test_patma_145 TestPatma.test_patma_147
            TestPatma.test_patma_148 TestPatma.test_patma_241
        """
    },
    "iterators": {CPYTHON: "TestCase.test_reduce_mutating_builtins_iter"},
    "unpacking": {C_LAYOUT: "TestCornerCases.test_extended_oparg_not_ignored"},
    "comparing": {
        "the message names the view's type": "MiscTest.test_exception_message",
    },
    "indices": {PLACE: "ListTestCase.test_inplace_repeat"},
    "enumerate and reversed": {
        CPYTHON: """
            EnumerateTestCase.test_tuple_reuse SubclassTestCase.test_tuple_reuse
            TestBig.test_tuple_reuse EnumerateStartTestCase.test_tuple_reuse
            TestStart.test_tuple_reuse TestLongStart.test_tuple_reuse
        """
    },
    "copying": {
        IDENTITY: """
            TestCopy.test_copy_dict TestCopy.test_copy_list TestCopy.test_copy_set
            TestCopy.test_deepcopy_dict TestCopy.test_deepcopy_dont_memo_immutable
            TestCopy.test_deepcopy_inst_deepcopy TestCopy.test_deepcopy_inst_getinitargs
            TestCopy.test_deepcopy_inst_getnewargs TestCopy.test_deepcopy_inst_getstate_setstate
            TestCopy.test_deepcopy_inst_setstate TestCopy.test_deepcopy_inst_vanilla
            TestCopy.test_deepcopy_keepalive TestCopy.test_deepcopy_list
            TestCopy.test_deepcopy_list_subclass TestCopy.test_deepcopy_memo
            TestCopy.test_deepcopy_slots TestCopy.test_deepcopy_tuple
            TestCopy.test_deepcopy_tuple_subclass TestCopy.test_reconstruct_state
            TestCopy.test_reconstruct_state_setstate TestCopy.test_reduce_4tuple
            TestCopy.test_reduce_5tuple
        """,
        C_LAYOUT: "TestCopy.test_copy_inst_getnewargs_ex TestCopy.test_deepcopy_inst_getnewargs_ex",
    },
}


def excluded(suite: str) -> dict[str, str]:
    """The cases of a suite that are excluded, with the reason of each."""
    return {
        name: reason for reason, names in EXCLUDED.get(suite, {}).items() for name in names.split()
    }
