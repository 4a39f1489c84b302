/* Links between images of an embedded store: what is linked stays, whatever happens to its handle,
 * and goes with the last link (H15). */
#include "forks.h"

#include "arena/wire.h"

#include <errno.h>

enum { SIZE = 2000 };

static ih_handle put(uint64_t size, unsigned flags, uint64_t seed, ih_lease **lease)
{
    ih_handle handle = {0};
    CHECK_OK(test_put(store, size, flags, seed, &handle, lease, &error));
    return handle;
}

static ih_result link_to(ih_handle from, const ih_handle *to, uint32_t count)
{
    ih_publication publication = {.links = count, .linked = to};
    return ih_publish(store, from, &publication, NULL, &error);
}

/* An image of `seed` that links to one other, which is leased meanwhile. */
static ih_handle put_linking(ih_handle to, uint64_t seed)
{
    ih_lease *lease;
    CHECK_OK(ih_open_linked(store, to, &lease, &error));
    ih_handle made = put(SIZE, 0, seed, NULL);
    CHECK_OK(link_to(made, &to, 1));
    ih_lease_release(lease);
    CHECK_STORE(store);
    return made;
}

static void test_h15_a_deleted_image_stays_for_links(void)
{
    open_all(false);
    ih_handle target = put(SIZE, 0, 1, NULL), from = put_linking(target, 2);
    ih_stat stat;
    CHECK_OK(ih_store_stat(store, from, &stat, &error));
    CHECK(stat.links == 1 && stat.linked == 0);
    CHECK_OK(ih_store_stat(store, target, &stat, &error));
    CHECK(stat.links == 0 && stat.linked == 1 && stat.leases == 0);
    CHECK_OK(ih_delete(store, target, false, &error));
    CHECK_STORE(store);
    ih_lease *lease;
    CHECK_EQ(ih_open(process, target, &lease, &error), IH_GONE);
    for (int i = 0; i < 2; i++) { /* its last lease does not end it */
        CHECK_OK(ih_open_linked(store, target, &lease, &error));
        test_verify(lease, SIZE, 1);
        ih_lease_release(lease);
        CHECK_STORE(store);
    }
    CHECK_EQ(usage().dying, 1);
    CHECK_OK(ih_delete(store, from, false, &error));
    CHECK_EQ(usage().images, 0);
    CHECK_EQ(usage().used, 0);
    CHECK_EQ(ih_open_linked(store, target, &lease, &error), IH_GONE);
    close_all();
}

static void test_h15_a_deleted_image_that_gains_a_link_lives(void)
{
    open_all(false);
    ih_lease *lease, *again;
    ih_handle target = put(SIZE, 0, 1, &lease);
    CHECK_OK(ih_delete(store, target, false, &error));
    CHECK_EQ(ih_open(process, target, &again, &error), IH_GONE);
    ih_handle from = put(SIZE, 0, 2, NULL);
    CHECK_OK(link_to(from, &target, 1));
    ih_lease_release(lease);
    CHECK_STORE(store);
    CHECK_EQ(usage().dying, 0);
    CHECK_OK(ih_open(process, target, &again, &error));
    test_verify(again, SIZE, 1);
    CHECK_OK(ih_delete(store, from, false, &error));
    CHECK_STORE(store);
    test_verify(again, SIZE, 1);
    ih_lease_release(again);
    CHECK_EQ(usage().images, 0);
    close_all();
}

static void test_h15_a_fleeting_image_goes_with_its_last_link(void)
{
    open_all(true);
    ih_lease *target_lease, *from_lease;
    ih_handle target = put(SIZE, 0, 1, &target_lease), from = put(SIZE, 0, 2, &from_lease);
    CHECK_OK(link_to(from, &target, 1));
    ih_lease_release(target_lease);
    CHECK_EQ(usage().images, 2);
    CHECK_OK(ih_open_linked(store, target, &target_lease, &error));
    test_verify(target_lease, SIZE, 1);
    ih_lease_release(target_lease);
    /* A name comes and goes: the link still keeps it. */
    CHECK_OK(ih_bind(store, "name", 4, &target, IH_ANY_VERSION, NULL, &error));
    CHECK_OK(ih_bind(store, "name", 4, NULL, IH_ANY_VERSION, NULL, &error));
    CHECK_EQ(usage().images, 2);
    CHECK_STORE(store);
    ih_lease_release(from_lease);
    CHECK_EQ(usage().images, 0);
    CHECK_STORE(store);
    close_all();
}

/* A chain as long as this must not be freed by recursion, nor while a store's segments are
 * walked. */
static void test_h24_chains_are_freed_without_recursion(void)
{
    for (int closing = 0; closing < 2; closing++) {
        open_all(false);
        enum { LENGTH = 100000 };
        ih_handle first = put(64, 0, 0, NULL), last = first;
        for (unsigned i = 1; i < LENGTH; i++) {
            ih_lease *lease;
            CHECK_OK(ih_open_linked(store, last, &lease, &error));
            ih_handle next = put(64 + i % 3 * 64, 0, i, NULL);
            CHECK_OK(link_to(next, &last, 1));
            CHECK_OK(ih_delete(store, last, false, &error));
            ih_lease_release(lease);
            last = next;
        }
        CHECK_STORE(store);
        CHECK_EQ(usage().images, LENGTH);
        if (!closing) {
            CHECK_OK(ih_delete(store, last, false, &error));
            CHECK_EQ(usage().images, 0);
        }
        close_all();
    }
}

static void test_closing_a_store_with_links(void)
{
    for (unsigned order = 0; order < 4; order++) {
        open_all(order & 1);
        ih_lease *leases[3];
        ih_handle target = put(SIZE, 0, 1, &leases[0]);
        ih_handle large = put(2 * MIB, 0, 2, &leases[1]); /* has a segment of its own */
        ih_handle from = put(SIZE, 0, 3, &leases[2]);
        ih_handle both[] = {target, large};
        CHECK_OK(link_to(from, both, 2));
        ih_lease_release(leases[0]);
        ih_lease_release(leases[1]);
        if (order & 2)
            ih_lease_release(leases[2]);
        ih_store_close(store);
        CHECK_STORE(store);
        ih_lease *lease;
        if (!(order & 2)) {
            CHECK_EQ(ih_open(process, large, &lease, &error), IH_CLOSED);
            CHECK_OK(ih_open_linked(store, large, &lease, &error));
            test_verify(lease, 2 * MIB, 2);
            ih_lease_release(leases[2]);
            CHECK_STORE(store);
            test_verify(lease, 2 * MIB, 2);
            ih_lease_release(lease);
        }
        CHECK_EQ(usage().images, 0);
        CHECK_EQ(usage().committed, 0);
        close_all();
    }
}

static void test_links_that_are_refused(void)
{
    open_all(false);
    static ih_handle many[IH_LINKS_MAX + 1];
    ih_lease *lease;
    ih_handle target = put(SIZE, 0, 1, &lease), from = put(SIZE, 0, 2, NULL);
    ih_handle other = put(SIZE, 0, 3, NULL), wrong = {target.locator, target.nonce ^ 1};
    CHECK_EQ(link_to(from, &other, 1), IH_GONE); /* nobody leases it */
    CHECK_EQ(link_to(from, &wrong, 1), IH_GONE);
    CHECK_EQ(link_to(target, &target, 1), IH_GONE); /* itself */
    CHECK_EQ(link_to(wrong, &target, 1), IH_GONE);
    for (unsigned i = 0; i <= IH_LINKS_MAX; i++)
        many[i] = target;
    CHECK_EQ(link_to(from, many, IH_LINKS_MAX + 1), IH_INVALID);
    CHECK_STORE(store);
    CHECK_OK(link_to(from, many, IH_LINKS_MAX)); /* one image may be named more than once */
    CHECK_EQ(link_to(from, &target, 1), IH_INVALID);
    CHECK_STORE(store);
    ih_publication pinned = {.flags = IH_PUBLISH_KEEP, .ttl_ns = 1};
    pinned.flags |= IH_PUBLISH_TTL;
    CHECK_EQ(ih_publish(store, from, &pinned, NULL, &error), IH_INVALID);
    ih_publication named = {.name = "n", .length = 1};
    uint64_t version = 0;
    CHECK_OK(ih_publish(store, from, &named, &version, &error));
    CHECK_EQ(version, 1);
    CHECK_OK(ih_delete(store, from, true, &error));
    CHECK_EQ(usage().images, 2);
    ih_lease_release(lease);
    close_all();
}

/* A child reads what its parent's images link to, deleted or not, and keeps it. */
static void test_h09_links_in_a_child(void)
{
    for (unsigned order = 0; order < 2; order++) {
        open_all(false);
        talk t;
        talk_open(&t);
        ih_handle target = put(SIZE, 0, 1, NULL), from = put_linking(target, 2);
        CHECK_OK(ih_delete(store, target, false, &error));
        ih_lease *lease, *linked;
        CHECK_OK(ih_open(process, from, &lease, &error));
        pid_t pid = do_fork();
        if (pid == 0) {
            CHECK_EQ(link_to(from, &target, 1), IH_FORKED);
            if (order == 0)
                ih_store_close(store); /* what it leases and what that links to stay */
            say(t.up[1]);
            hear(t.down[0]); /* the parent has deleted both */
            CHECK_OK(ih_open_linked(store, target, &linked, &error));
            test_verify(linked, SIZE, 1);
            ih_lease_release(lease);
            test_verify(linked, SIZE, 1);
            say(t.up[1]);
            hear(t.down[0]);
            test_verify(linked, SIZE, 1);
            ih_lease_release(linked);
            ih_process_destroy(process);
            _exit(0);
        }
        hear(t.up[0]);
        CHECK_OK(ih_delete(store, from, false, &error));
        ih_lease_release(lease);
        CHECK_EQ(usage().images, 2); /* the child leases the one, which links to the other */
        say(t.down[1]);
        hear(t.up[0]);
        CHECK_STORE(store);
        CHECK_EQ(usage().images, 1); /* the link went, the child's lease of its target did not */
        say(t.down[1]);
        join(pid);
        CHECK_STORE(store);
        CHECK_EQ(usage().images, 0);
        talk_close(&t);
        close_all();
    }
}

/* Random graphs of links, deletes and leases against a model of who keeps whom. */
enum { NODES = 64 };
typedef struct {
    ih_handle handle;
    ih_lease *lease;
    unsigned links[3], link_count;
    bool exists, deleted, kept;
} model_node;
static model_node nodes[NODES];

static void mark(unsigned i)
{
    if (!nodes[i].exists || nodes[i].kept)
        return;
    nodes[i].kept = true;
    for (unsigned k = 0; k < nodes[i].link_count; k++)
        mark(nodes[i].links[k]);
}

/* What is deleted and neither leased nor reached from what is not is gone. */
static unsigned collect(void)
{
    unsigned count = 0;
    for (unsigned i = 0; i < NODES; i++)
        nodes[i].kept = false;
    for (unsigned i = 0; i < NODES; i++) {
        if (nodes[i].exists && (!nodes[i].deleted || nodes[i].lease != NULL))
            mark(i);
    }
    for (unsigned i = 0; i < NODES; i++) {
        nodes[i].exists = nodes[i].exists && nodes[i].kept;
        count += nodes[i].exists ? 1u : 0u;
    }
    return count;
}

static void model_put(unsigned i, uint64_t *random)
{
    model_node *node = &nodes[i];
    ih_handle linked[3];
    *node = (model_node){.exists = true};
    for (unsigned k = 0; k < 3; k++) {
        unsigned to = (unsigned)test_below(random, NODES);
        /* Deleted ones would live again, which the model leaves out. */
        if (to == i || !nodes[to].exists || nodes[to].deleted || nodes[to].lease == NULL)
            continue;
        linked[node->link_count] = nodes[to].handle;
        node->links[node->link_count++] = to;
    }
    node->handle = put(64 + test_below(random, 3000), 0, i, &node->lease);
    CHECK_OK(link_to(node->handle, linked, node->link_count));
}

static void test_h15_random_links_against_a_model(void)
{
    uint64_t random = test_setting("IH_SEED", 7) * 2 + 1;
    open_all(false);
    memset(nodes, 0, sizeof nodes);
    for (unsigned step = 0; step < 20000; step++) {
        unsigned i = (unsigned)test_below(&random, NODES);
        model_node *node = &nodes[i];
        switch (test_below(&random, 3)) {
        case 0:
            if (!node->exists)
                model_put(i, &random);
            break;
        case 1:
            if (node->exists && !node->deleted) {
                CHECK_OK(ih_delete(store, node->handle, false, &error));
                node->deleted = true;
            }
            break;
        default:
            if (node->exists && node->lease != NULL) {
                ih_lease_release(node->lease);
                node->lease = NULL;
            } else if (node->exists) {
                CHECK_OK(ih_open_linked(store, node->handle, &node->lease, &error));
            }
        }
        unsigned expected = collect();
        if (step % 50 == 0)
            CHECK_STORE(store);
        CHECK_EQ(usage().images, expected);
    }
    for (unsigned i = 0; i < NODES; i++) {
        if (nodes[i].exists && nodes[i].lease != NULL)
            ih_lease_release(nodes[i].lease);
    }
    close_all();
}

int main(void)
{
    RUN(test_h15_a_deleted_image_stays_for_links);
    RUN(test_h15_a_deleted_image_that_gains_a_link_lives);
    RUN(test_h15_a_fleeting_image_goes_with_its_last_link);
    RUN(test_h24_chains_are_freed_without_recursion);
    RUN(test_closing_a_store_with_links);
    RUN(test_links_that_are_refused);
    RUN(test_h09_links_in_a_child);
    RUN(test_h15_random_links_against_a_model);
    return 0;
}
