/* The daemon's store: connecting. */
#include "process.h"

#include "wire.h"

#include <errno.h>
#include <string.h>

static ih_result not_yet(ih_error *error, const char *what)
{
    return ih_fail(error, IH_UNAVAILABLE, 0, what);
}

ih_result ih_store_connect(ih_process *process, const char *socket, ih_store **out, ih_error *error)
{
    (void)process, (void)socket, (void)out;
    return not_yet(error, "connect to the daemon");
}

bool ih_store_is_remote(const ih_store *store)
{
    (void)store;
    return false;
}

ih_result ih_store_remote_info(ih_store *store, ih_remote_info *out)
{
    (void)store, (void)out;
    return IH_INVALID;
}

void ih_set_patience(bool patient) { (void)patient; }

ih_result ih_publish(ih_store *store, ih_handle handle, const ih_publication *publication,
                     uint64_t *version, ih_error *error)
{
    if (!ih_store_is_remote(store))
        return ih_publish_embedded(store, handle, publication, version, error);
    return not_yet(error, "publish an image");
}

ih_result ih_store_explain(ih_store *store, ih_handle handle, char **text, ih_error *error)
{
    (void)store, (void)handle, (void)text;
    return not_yet(error, "explain an image");
}

ih_result ih_store_wait(ih_store *store, const char *name, size_t length, uint64_t seen,
                        uint64_t timeout_ns, ih_handle *handle, uint64_t *version, ih_error *error)
{
    (void)store, (void)name, (void)length, (void)seen, (void)timeout_ns, (void)handle,
        (void)version;
    return not_yet(error, "wait for a name");
}
