/* The process-wide part of the module: see process.h. */
#include <Python.h>

#include "module/process.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static struct {
    pthread_mutex_t lock;
    ih_process *process;
    ih_store *private_store;
    ih_shared_store *stores;
    ih_doors doors;
} shared = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Held while a connection is made or given up, so that nobody gets a store that is being closed. */
static pthread_mutex_t connecting = PTHREAD_MUTEX_INITIALIZER;

int ih_ever_connected;
static _Thread_local bool impatient;

bool ih_patience(void) { return !impatient; }

bool ih_patience_set(bool patient)
{
    bool before = !impatient;
    impatient = !patient;
    ih_set_patience(patient);
    return before;
}

static void before_fork(void)
{
    pthread_mutex_lock(&shared.lock);
    ih_process_fork_prepare(shared.process);
}

static void after_fork_in_parent(void)
{
    ih_process_fork_parent(shared.process);
    pthread_mutex_unlock(&shared.lock);
}

static void after_fork_in_child(void)
{
    ih_process_fork_child(shared.process);
    /* Views of it stay readable through their leases, which keep it alive; nothing can be put into
     * it any more. */
    shared.private_store = NULL;
    shared.doors.first = NULL;
    /* Whoever held it is not here. What it was making is lost, and nothing knows of it. */
    pthread_mutex_init(&connecting, NULL);
    pthread_mutex_unlock(&shared.lock);
}

void ih_leave(void)
{
    ih_process *process = __atomic_load_n(&shared.process, __ATOMIC_ACQUIRE);
    if (process)
        ih_process_leave(process);
}

static ih_result process_locked(ih_error *error)
{
    if (shared.process)
        return IH_OK;
    ih_process *process;
    ih_result result = ih_process_create(&process, error);
    if (result != IH_OK)
        return result;
    /* It fails only without memory; then a forked child would use its parent's leases, so nothing
     * may start. */
    if (pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child) != 0) {
        if (error)
            *error = (ih_error){.result = IH_MEMORY, .what = "register fork handlers"};
        return IH_MEMORY;
    }
    __atomic_store_n(&shared.process, process, __ATOMIC_RELEASE);
    /* If it has no room for one more, an end in order counts as a death. */
    (void)Py_AtExit(ih_leave);
    return IH_OK;
}

ih_result ih_process_get(ih_process **out, ih_error *error)
{
    /* Written once, under the lock; all later calls take this path. */
    *out = __atomic_load_n(&shared.process, __ATOMIC_ACQUIRE);
    if (*out)
        return IH_OK;
    pthread_mutex_lock(&shared.lock);
    ih_result result = process_locked(error);
    *out = shared.process;
    pthread_mutex_unlock(&shared.lock);
    return result;
}

ih_result ih_private_store(ih_store **out, ih_error *error)
{
    *out = __atomic_load_n(&shared.private_store, __ATOMIC_ACQUIRE);
    if (*out)
        return IH_OK;
    pthread_mutex_lock(&shared.lock);
    ih_result result = process_locked(error);
    if (result == IH_OK && !shared.private_store) {
        ih_store_options options = {.ephemeral = true};
        ih_store *store;
        result = ih_store_open(shared.process, &options, &store, error);
        if (result == IH_OK)
            __atomic_store_n(&shared.private_store, store, __ATOMIC_RELEASE);
    }
    *out = shared.private_store;
    pthread_mutex_unlock(&shared.lock);
    return result;
}

ih_doors *ih_doors_lock(void)
{
    pthread_mutex_lock(&shared.lock);
    return &shared.doors;
}

void ih_doors_unlock(void) { pthread_mutex_unlock(&shared.lock); }

static void free_shared(ih_shared_store *freed)
{
    if (freed)
        free(freed->socket);
    free(freed);
}

/* A record without a store; NULL with IH_MEMORY. */
static ih_shared_store *make_shared(const char *socket, ih_error *error)
{
    ih_shared_store *made = calloc(1, sizeof *made);
    uint64_t token = 0;
    if (made && socket)
        made->socket = strdup(socket);
    if (!made || (socket && !made->socket) ||
        getrandom(&token, sizeof token, 0) != (ssize_t)sizeof token) {
        free_shared(made);
        if (error)
            *error =
                (ih_error){.result = IH_MEMORY, .what = "open a store", .wanted = sizeof *made};
        return NULL;
    }
    made->token = token | 1;
    made->references = 1;
    made->users = 1;
    return made;
}

static uint64_t stores_version; /* atomic */

static void enlist(ih_shared_store *made)
{
    pthread_mutex_lock(&shared.lock);
    __atomic_add_fetch(&stores_version, 1, __ATOMIC_RELEASE);
    made->next = shared.stores;
    shared.stores = made;
    pthread_mutex_unlock(&shared.lock);
}

ih_result ih_shared_store_open(const ih_store_options *options, ih_shared_store **out,
                               ih_error *error)
{
    ih_process *process;
    ih_result result = ih_process_get(&process, error);
    if (result != IH_OK)
        return result;
    ih_shared_store *made = make_shared(NULL, error);
    if (!made)
        return IH_MEMORY;
    result = ih_store_open(process, options, &made->store, error);
    if (result != IH_OK) {
        free_shared(made);
        return result;
    }
    made->capacity = options->capacity ? options->capacity : ih_default_capacity();
    enlist(made);
    *out = made;
    return IH_OK;
}

/* Another user of a record, under the lock; one that lingers has a reference left over. */
static void join(ih_shared_store *joined)
{
    joined->users++;
    if (!joined->lingers)
        joined->references++;
    joined->lingers = false;
}

/* The record of a store that is connected already: another reference and user. NULL: none. */
static ih_shared_store *find_connected(const ih_store *store)
{
    pthread_mutex_lock(&shared.lock);
    ih_shared_store *found = shared.stores;
    while (found && (found->store != store || __atomic_load_n(&found->closed, __ATOMIC_ACQUIRE)))
        found = found->next;
    if (found)
        join(found);
    pthread_mutex_unlock(&shared.lock);
    return found;
}

static ih_result connect_in_turn(ih_process *process, const char *socket, ih_shared_store **out,
                                 ih_error *error)
{
    ih_store *store = NULL;
    __atomic_store_n(&ih_ever_connected, 1, __ATOMIC_RELAXED);
    ih_result result = ih_store_connect(process, socket, &store, error);
    if (result != IH_OK)
        return result;
    *out = find_connected(store);
    if (*out) {
        ih_store_drop(store); /* one more reference than the record's */
        return IH_OK;
    }
    ih_shared_store *made = make_shared(socket, error);
    if (!made) {
        ih_store_close(store);
        ih_store_drop(store);
        return IH_MEMORY;
    }
    made->store = store;
    enlist(made);
    *out = made;
    return IH_OK;
}

ih_result ih_shared_store_connect(const char *socket, ih_shared_store **out, ih_error *error)
{
    ih_process *process;
    ih_result result = ih_process_get(&process, error);
    if (result != IH_OK)
        return result;
    pthread_mutex_lock(&connecting);
    result = connect_in_turn(process, socket, out, error);
    pthread_mutex_unlock(&connecting);
    return result;
}

ih_shared_store *ih_shared_store_find(uint64_t token)
{
    pthread_mutex_lock(&shared.lock);
    ih_shared_store *found = shared.stores;
    while (found && (found->token != token || __atomic_load_n(&found->closed, __ATOMIC_ACQUIRE)))
        found = found->next;
    if (found)
        join(found);
    pthread_mutex_unlock(&shared.lock);
    return found;
}

uint64_t ih_shared_stores_version(void)
{
    return __atomic_load_n(&stores_version, __ATOMIC_ACQUIRE);
}

bool ih_shared_store_whereabouts(const ih_store *store, uint64_t *token, char **socket)
{
    *socket = NULL;
    if (store == __atomic_load_n(&shared.private_store, __ATOMIC_ACQUIRE))
        return false;
    pthread_mutex_lock(&shared.lock);
    const ih_shared_store *found = shared.stores;
    while (found && (found->store != store || __atomic_load_n(&found->closed, __ATOMIC_ACQUIRE)))
        found = found->next;
    if (found && found->socket)
        *socket = strdup(found->socket);
    bool known = found && (!found->socket || *socket);
    if (known)
        *token = found->token;
    pthread_mutex_unlock(&shared.lock);
    return known;
}

void ih_shared_store_close(ih_shared_store *closed)
{
    if (!__atomic_exchange_n(&closed->closed, 1, __ATOMIC_ACQ_REL)) {
        __atomic_add_fetch(&stores_version, 1, __ATOMIC_RELEASE);
        ih_store_close(closed->store);
    }
}

void ih_shared_store_leave(ih_shared_store *left)
{
    if (left->socket)
        pthread_mutex_lock(&connecting);
    pthread_mutex_lock(&shared.lock);
    bool last = --left->users == 0;
    pthread_mutex_unlock(&shared.lock);
    if (left->socket) {
        if (last)
            ih_shared_store_close(left);
        pthread_mutex_unlock(&connecting);
    }
}

bool ih_shared_store_linger(ih_shared_store *left)
{
    pthread_mutex_lock(&shared.lock);
    bool last = --left->users == 0 && !__atomic_load_n(&left->closed, __ATOMIC_ACQUIRE);
    left->lingers = last;
    pthread_mutex_unlock(&shared.lock);
    return last;
}

void ih_shared_store_release(ih_shared_store *released)
{
    pthread_mutex_lock(&shared.lock);
    bool last = --released->references == 0;
    if (last) {
        ih_shared_store **at = &shared.stores;
        while (*at != released)
            at = &(*at)->next;
        *at = released->next;
    }
    pthread_mutex_unlock(&shared.lock);
    if (!last)
        return;
    /* A connected one that was closed may be open again by now, for others. */
    ih_shared_store_close(released);
    ih_store_drop(released->store);
    free_shared(released);
}
