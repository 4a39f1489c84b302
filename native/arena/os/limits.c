/* How much memory is left: the machine's, and that of the memory cgroups (version 1 or 2) above
 * this process.
 *
 * A tmpfs page past a cgroup's limit is not an error but SIGKILL, so the limits are read before
 * pages are committed. Page cache of files counts into a cgroup's usage though the kernel gives it
 * back under pressure: it counts as free here, else a process that reads many files would see a
 * full cgroup for ever.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "os.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Copies the next field of *line, ended by a space, and steps behind it. */
static char *field(char **line) { return strsep(line, " "); }

/* A mount of the memory controller: its root inside the hierarchy and where it is. */
typedef struct {
    int version;
    char root[512];
    char point[512];
} mount;

static bool has_word(const char *list, const char *word)
{
    size_t length = strlen(word);
    for (const char *at = list; at != NULL && *at != '\0';) {
        const char *comma = strchr(at, ',');
        size_t part = comma != NULL ? (size_t)(comma - at) : strcspn(at, "\n");
        if (part == length && memcmp(at, word, length) == 0)
            return true;
        at = comma != NULL ? comma + 1 : NULL;
    }
    return false;
}

/* One line of mountinfo: id parent major:minor root point options [tags...] - type source
 * super-options */
static void read_mount(char *line, mount *best)
{
    char *rest = line;
    for (int i = 0; i < 3; i++)
        (void)field(&rest);
    const char *root = field(&rest);
    const char *point = field(&rest);
    char *dash = rest != NULL ? strstr(rest, " - ") : NULL;
    if (root == NULL || point == NULL || dash == NULL)
        return;
    char *tail = dash + 3;
    const char *type = field(&tail);
    (void)field(&tail);
    const char *options = field(&tail);
    if (type == NULL || options == NULL || strlen(root) >= sizeof best->root ||
        strlen(point) >= sizeof best->point)
        return;
    int version = 0;
    if (strcmp(type, "cgroup") == 0 && has_word(options, "memory"))
        version = 1;
    else if (strcmp(type, "cgroup2") == 0)
        version = 2;
    /* Where both are mounted the memory controller is in version 1 if it is named there. */
    if (version == 0 || best->version == 1)
        return;
    best->version = version;
    strcpy(best->root, root);
    strcpy(best->point, point);
}

static bool find_mount(mount *best)
{
    best->version = 0;
    FILE *file = fopen("/proc/self/mountinfo", "re");
    if (file == NULL)
        return false;
    char *line = NULL;
    size_t room = 0;
    while (getline(&line, &room, file) > 0)
        read_mount(line, best);
    free(line);
    fclose(file);
    return best->version != 0;
}

void ih_os_cgroup_find(ih_os_cgroup *out)
{
    memset(out, 0, sizeof *out);
    mount at;
    FILE *file = find_mount(&at) ? fopen("/proc/self/cgroup", "re") : NULL;
    if (file == NULL)
        return;
    char *line = NULL;
    size_t room = 0;
    while (getline(&line, &room, file) > 0) { /* id:controllers:path */
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *path = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
        if (path == NULL)
            continue;
        *path++ = '\0';
        controllers++;
        bool ours = at.version == 1 ? has_word(controllers, "memory")
                                    : strncmp(line, "0:", 2) == 0 && *controllers == '\0';
        if (!ours)
            continue;
        /* A container sees its own cgroup as the root of the mount, and its path from the host's
         * root. */
        size_t root = strcmp(at.root, "/") == 0 ? 0 : strlen(at.root);
        if (root > 0 && strncmp(path, at.root, root) == 0 &&
            (path[root] == '/' || path[root] == '\0'))
            path += root;
        int length = snprintf(out->path, sizeof out->path, "%s%s", at.point, path);
        if (length > 0 && (size_t)length < sizeof out->path) {
            out->version = at.version;
            out->mount = strlen(at.point);
        }
        break;
    }
    free(line);
    fclose(file);
}

static FILE *open_in(const ih_os_cgroup *cgroup, size_t length, const char *name)
{
    char path[1200];
    snprintf(path, sizeof path, "%.*s/%s", (int)length, cgroup->path, name);
    return fopen(path, "re");
}

/* UINT64_MAX for "max", for a missing file, and for the number that version 1 has instead of "max".
 */
static uint64_t read_number(const ih_os_cgroup *cgroup, size_t length, const char *name)
{
    FILE *file = open_in(cgroup, length, name);
    if (file == NULL)
        return UINT64_MAX;
    char line[64];
    uint64_t found = UINT64_MAX;
    if (fgets(line, sizeof line, file) != NULL && line[0] >= '0' && line[0] <= '9')
        found = strtoull(line, NULL, 10);
    fclose(file);
    return found >= UINT64_C(1) << 60 ? UINT64_MAX : found;
}

static uint64_t read_page_cache(const ih_os_cgroup *cgroup, size_t length)
{
    FILE *file = open_in(cgroup, length, "memory.stat");
    if (file == NULL)
        return 0;
    const char *prefix = cgroup->version == 1 ? "total_" : "";
    char line[256], inactive[32], active[32];
    snprintf(inactive, sizeof inactive, "%sinactive_file ", prefix);
    snprintf(active, sizeof active, "%sactive_file ", prefix);
    uint64_t sum = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, inactive, strlen(inactive)) == 0)
            sum += strtoull(line + strlen(inactive), NULL, 10);
        else if (strncmp(line, active, strlen(active)) == 0)
            sum += strtoull(line + strlen(active), NULL, 10);
    }
    fclose(file);
    return sum;
}

static void read_machine(uint64_t *available, uint64_t *total)
{
    *available = *total = UINT64_MAX;
    FILE *file = fopen("/proc/meminfo", "re");
    if (file == NULL)
        return;
    char line[256];
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "MemTotal:", 9) == 0)
            *total = strtoull(line + 9, NULL, 10) * 1024u;
        else if (strncmp(line, "MemAvailable:", 13) == 0)
            *available = strtoull(line + 13, NULL, 10) * 1024u;
    }
    fclose(file);
}

/* The length of the path of the cgroup above the one of `length`; 0: there is none. */
static size_t parent(const ih_os_cgroup *cgroup, size_t length)
{
    if (length <= cgroup->mount)
        return 0;
    while (length > cgroup->mount && cgroup->path[length - 1] != '/')
        length--;
    return length > cgroup->mount ? length - 1 : length;
}

void ih_os_headroom(const ih_os_cgroup *cgroup, uint64_t *room, uint64_t *limit)
{
    read_machine(room, limit);
    if (cgroup->version == 0)
        return;
    bool v1 = cgroup->version == 1;
    for (size_t at = strlen(cgroup->path); at != 0; at = parent(cgroup, at)) {
        uint64_t max = read_number(cgroup, at, v1 ? "memory.limit_in_bytes" : "memory.max");
        if (max == UINT64_MAX)
            continue;
        uint64_t used = read_number(cgroup, at, v1 ? "memory.usage_in_bytes" : "memory.current");
        uint64_t cache = read_page_cache(cgroup, at);
        used = used == UINT64_MAX ? 0 : used;
        used -= cache < used ? cache : used;
        uint64_t left = max > used ? max - used : 0;
        if (left < *room) {
            *room = left;
            *limit = max;
        }
    }
}

uint64_t ih_os_memory_limit(const ih_os_cgroup *cgroup)
{
    uint64_t available, limit;
    read_machine(&available, &limit);
    if (cgroup->version == 0)
        return limit;
    const char *name = cgroup->version == 1 ? "memory.limit_in_bytes" : "memory.max";
    for (size_t at = strlen(cgroup->path); at != 0; at = parent(cgroup, at)) {
        uint64_t max = read_number(cgroup, at, name);
        limit = max < limit ? max : limit;
    }
    return limit;
}
