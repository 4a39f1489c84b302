/* How classes freeze, as store/freezing decides it (hooks.py): asked once per class, then kept.
 *
 * A rule is parsed into a structure in a capsule. It never holds its class, so classes that come
 * and go are not kept alive by having been frozen; it is good for as long as the class is not
 * changed and nothing is registered anew. */
#ifndef ICEHOUSE_MODULE_FREEZE_RULE_H
#define ICEHOUSE_MODULE_FREEZE_RULE_H

#include "module/state.h"

#include <structmember.h>

typedef enum {
    RULE_REFUSED, /* `reason` says why */
    RULE_VIEW,
    RULE_STATE,
    RULE_CONTAINER,
    RULE_TUPLE,
    RULE_MADE,
    RULE_VALUE,
    RULE_AS,
} rule_kind;

/* A member of instances that is not in their `__dict__`. */
typedef struct {
    PyObject *name;       /* owned */
    PyObject *descriptor; /* owned; NULL where `member` is a reference to an object */
    PyMemberDef member;   /* its place and type */
} rule_slot;

typedef struct {
    PyObject *class;  /* owned: a weak reference */
    unsigned version; /* of the class when it was asked about */
    long generation;  /* of the registrations */
    rule_kind kind;
    bool calls;         /* reading an instance runs Python code */
    uint32_t number;    /* the code of a VALUE, the family of a MADE */
    PyTypeObject *base; /* owned: of a container */
    PyObject *getter;   /* owned, or NULL */
    PyObject *before;   /* owned: asked before an object is read; or NULL */
    PyObject *reason;   /* owned, or NULL */
    PyObject *names;    /* owned: ih_class_names() when it was asked; or NULL */
    bool frozen;        /* ih_is_frozen_class() when it was asked: 3.11 has no version for that */
    bool defined;       /* a definition goes with them, which is asked for each time */
    Py_ssize_t slot_count;
    rule_slot slots[];
} freeze_rule;

/* The capsule of a class's rule, new reference, and the rule in it. NULL without an exception: it
 * has to be asked. Runs no code. */
PyObject *ih_rule_known(ih_state *state, PyTypeObject *class, const freeze_rule **rule);
/* Asks, which runs Python code. NULL with an exception. */
PyObject *ih_rule_ask(ih_state *state, PyTypeObject *class, const freeze_rule **rule);

/* If the exception that is set is a Refusal of a rule: clears it and gives its text, new reference.
 * Else NULL. */
PyObject *ih_rule_refusal(ih_state *state);

/* The value of a slot; *value is NULL where it is not set, else a new reference. 0 or -1. */
int ih_rule_slot(const rule_slot *slot, PyObject *object, PyObject **value);

/* Was it made by a class statement, and immutable since? Images say of such a class what
 * hooks.class_payload() says: its names, or its names and a definition. */
bool ih_is_frozen_class(const ih_state *state, PyTypeObject *class);
/* Whether an object is such a payload; *defined: of three parts. */
bool ih_is_class_payload(const ih_state *state, PyObject *payload, bool *defined);

/* `__module__` and `__qualname__` as the interpreter itself knows them: no code of a metaclass
 * runs. A tuple of two, or NULL with an exception. */
PyObject *ih_class_names(PyTypeObject *class);
/* The same, new reference, from its rule if that still holds (which may be NULL). */
PyObject *ih_rule_names(const freeze_rule *rule, PyTypeObject *class);

void ih_rules_clear(ih_state *state);

#endif
