/* The memory files that the daemon makes: sizes, seals, modes, first contents, committed memory. */
#include "catalog_state.h"

#define CHUNK (UINT64_C(16) << 20)

/* In chunks, each after a look at the limits: past a cgroup's limit there is SIGKILL, no error. */
static ih_result commit(int fd, uint64_t bytes, ih_error *error)
{
    ih_room room = {0};
    ih_os_cgroup_find(&room.cgroup);
    for (uint64_t done = 0; done < bytes;) {
        uint64_t part = bytes - done < CHUNK ? bytes - done : CHUNK;
        ih_result result = ih_room_take(&room, part, error);
        if (result != IH_OK)
            return result;
        int code = ih_os_file_commit(fd, done, part);
        if (code != 0)
            return ih_system_error(error, code, "commit memory for a client");
        done += part;
    }
    return IH_OK;
}

typedef struct {
    const char *name;
    uint64_t bytes, committed;
    unsigned mode, seals;
} kind;

static bool kind_of(uint32_t what, uint64_t bytes, kind *out)
{
    const unsigned fixed = IH_OS_SEAL_SHRINK | IH_OS_SEAL_GROW;
    uint64_t mapped = bytes < 2u * IH_PAGE || bytes % IH_PAGE != 0 ? 0 : bytes;
    switch (what) {
    case IH_FILE_STATE:
        *out = (kind){"icehouse-state", mapped, 0, 0444, fixed | IH_OS_SEAL_SEAL};
        break;
    case IH_FILE_FAMILY:
        *out = (kind){"icehouse-leases", IH_FAMILY_SLOTS_OFFSET, IH_FAMILY_SLOTS_OFFSET, 0600,
                      IH_OS_SEAL_SHRINK | IH_OS_SEAL_SEAL};
        break;
    case IH_FILE_PAGE:
        *out = (kind){"icehouse-session", IH_SESSION_BYTES, IH_SESSION_BYTES, 0600,
                      fixed | IH_OS_SEAL_SEAL};
        break;
    case IH_FILE_ORDINARY:
        *out = (kind){"icehouse-segment", mapped, mapped, 0444, fixed | IH_OS_SEAL_SEAL};
        return mapped >> IH_UNIT_SHIFT <= IH_UNITS_MAX && mapped != 0;
    case IH_FILE_DEDICATED:
        *out = (kind){"icehouse-image", mapped, mapped, 0444, fixed};
        break;
    default:
        return false;
    }
    return out->bytes != 0;
}

static int write_first(int fd, uint32_t what)
{
    if (what == IH_FILE_FAMILY) {
        struct {
            uint64_t magic;
            uint32_t scan_seq, next_member;
        } first = {IH_FAMILY_MAGIC, 0, 1};
        return ih_os_file_write(fd, 0, &first, sizeof first);
    }
    if (what == IH_FILE_PAGE) {
        struct {
            uint64_t magic;
            uint32_t entries, reserved;
        } first = {IH_PAGE_MAGIC, IH_RING_ENTRIES, 0};
        return ih_os_file_write(fd, 0, &first, sizeof first);
    }
    return 0;
}

ih_result ih_catalog_make_file(uint32_t what, uint64_t bytes, int *fd, ih_error *error)
{
    kind k;
    if (!kind_of(what, bytes, &k))
        return ih_fail(error, IH_INVALID, 0, "make a memory file of that kind or size");
    int file = -1;
    int code = ih_os_file_create(k.name, k.bytes, &file);
    if (code != 0)
        return ih_system_error(error, code, "create a memory file for a client");
    ih_result result = commit(file, k.committed, error);
    if (result == IH_OK) {
        code = write_first(file, what);
        if (code == 0)
            code = ih_os_file_restrict(file, k.mode);
        if (code == 0)
            code = ih_os_file_seal(file, k.seals);
        if (code != 0)
            result = ih_system_error(error, code, "prepare a memory file for a client");
    }
    if (result != IH_OK) {
        ih_os_close(file);
        return result;
    }
    *fd = file;
    return IH_OK;
}

ih_result ih_catalog_reopen(int fd, bool writable, int *out, ih_error *error)
{
    int code = ih_os_file_reopen(fd, writable, out);
    return code == 0 ? IH_OK : ih_system_error(error, code, "open a memory file once more");
}

ih_result ih_catalog_lock_member(int fd, uint32_t member, int *out, ih_error *error)
{
    int again = -1;
    int code = ih_os_file_reopen(fd, true, &again);
    if (code == 0)
        code = ih_os_lock(again, member);
    if (code != 0) {
        ih_os_close(again);
        return ih_system_error(error, code, "lock the membership of a client");
    }
    *out = again;
    return IH_OK;
}

ih_result ih_catalog_restrict(int fd, uint32_t mode, ih_error *error)
{
    int code = ih_os_file_restrict(fd, mode);
    return code == 0 ? IH_OK : ih_system_error(error, code, "change the mode of a memory file");
}

ih_result ih_catalog_release(int fd, uint64_t bytes, ih_error *error)
{
    int code = ih_os_file_release(fd, bytes);
    return code == 0 ? IH_OK : ih_system_error(error, code, "give a segment's memory back");
}

bool ih_catalog_is_sealed(int fd)
{
    unsigned seals = 0;
    return ih_os_file_seals(fd, &seals) == 0 && (seals & IH_OS_SEAL_WRITE) != 0;
}
