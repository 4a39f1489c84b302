/* What this process does, counted for metrics: its own, and what the daemon adds up of all. */
#include "remote.h"

_Static_assert(sizeof(((ih_activity *)0)->put_sizes) == 8 * IH_PUT_SIZES, "put sizes");

/* In a forked child the page of the parent is gone, and `remote->page` NULL, until it has its own.
 */
void ih_count_put(ih_store *store, uint64_t bytes)
{
    unsigned bits = bytes > 128u ? 64u - (unsigned)__builtin_clzll(bytes - 1u) : 7u;
    unsigned size = (bits - 6u) / 2u;
    size = size < IH_PUT_SIZES ? size : IH_PUT_SIZES - 1u;
    store->puts++;
    if (!store->ephemeral) {
        store->process->activity.puts++;
        store->process->activity.put_bytes += bytes;
        store->process->activity.put_sizes[size]++;
    }
    if (store->remote != NULL)
        ih_remote_count_put(store, bytes, size);
}

void ih_count_open(ih_store *store)
{
    store->opens++;
    store->process->activity.opens += store->ephemeral ? 0u : 1u;
    if (store->remote != NULL)
        ih_remote_count_open(store);
}

void ih_count_full(ih_store *store)
{
    __atomic_fetch_add(&store->process->activity.fulls, 1, __ATOMIC_RELAXED);
    if (store->remote == NULL)
        return;
    ih_lock(store->process);
    ih_remote_count_full(store);
    ih_unlock(store->process);
}

void ih_process_activity(ih_process *process, ih_activity *out)
{
    ih_lock(process);
    *out = process->activity;
    out->fulls = __atomic_load_n(&process->activity.fulls, __ATOMIC_RELAXED);
    out->leases = 0;
    for (const ih_store *store = process->stores; store != NULL; store = store->next)
        out->leases += store->leases;
    out->segments = process->segments_count;
    ih_unlock(process);
}
