/* The process-wide part of the module: see process.h. */
#include "module/process.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>

static struct {
    pthread_mutex_t lock;
    ih_process *process;
    ih_store *private_store;
    ih_shared_store *stores;
} shared = {.lock = PTHREAD_MUTEX_INITIALIZER};

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
    pthread_mutex_unlock(&shared.lock);
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

ih_result ih_shared_store_open(const ih_store_options *options, ih_shared_store **out,
                               ih_error *error)
{
    ih_process *process;
    ih_result result = ih_process_get(&process, error);
    if (result != IH_OK)
        return result;
    ih_shared_store *made = calloc(1, sizeof *made);
    uint64_t token = 0;
    if (!made || getrandom(&token, sizeof token, 0) != (ssize_t)sizeof token) {
        free(made);
        if (error)
            *error =
                (ih_error){.result = IH_MEMORY, .what = "open a store", .wanted = sizeof *made};
        return IH_MEMORY;
    }
    result = ih_store_open(process, options, &made->store, error);
    if (result != IH_OK) {
        free(made);
        return result;
    }
    made->token = token | 1;
    made->references = 1;
    made->capacity = options->capacity ? options->capacity : ih_default_capacity();
    pthread_mutex_lock(&shared.lock);
    made->next = shared.stores;
    shared.stores = made;
    pthread_mutex_unlock(&shared.lock);
    *out = made;
    return IH_OK;
}

ih_shared_store *ih_shared_store_find(uint64_t token)
{
    pthread_mutex_lock(&shared.lock);
    ih_shared_store *found = shared.stores;
    while (found && (found->token != token || __atomic_load_n(&found->closed, __ATOMIC_ACQUIRE)))
        found = found->next;
    if (found)
        found->references++;
    pthread_mutex_unlock(&shared.lock);
    return found;
}

void ih_shared_store_close(ih_shared_store *closed)
{
    if (!__atomic_exchange_n(&closed->closed, 1, __ATOMIC_ACQ_REL))
        ih_store_close(closed->store);
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
    ih_store_close(released->store);
    ih_store_drop(released->store);
    free(released);
}
