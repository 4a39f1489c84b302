/* What a client's extension and the daemon say to each other: every struct of the binary family of
 * frames, byte by byte (docs/protocol.md tells the same, and has the family of MessagePack).
 *
 * A connection begins with 8 bytes, IH_WIRE_BINARY or IH_WIRE_CONTROL, which choose its family.
 * Then frames follow, in both directions. A client has one request in flight on a connection and
 * gets one reply to it, but for IH_OP_DROP, which has none. Descriptors come with the first byte of
 * a reply (SCM_RIGHTS). All integers are little-endian; reserved fields are 0.
 */
#ifndef ICEHOUSE_ARENA_WIRE_H
#define ICEHOUSE_ARENA_WIRE_H

#include "arena.h"

#define IH_WIRE_BINARY "ihbin001"
#define IH_WIRE_CONTROL "ihmsg001"
#define IH_WIRE_VERSION 2u
#define IH_FRAME_MAX 65536u /* bytes of a frame, its header included, in either direction */
#define IH_FDS_MAX 4u       /* descriptors with one reply */
#define IH_REPLY_BIT 0x8000u

enum {
    IH_OP_HELLO = 1, /* first frame of a connection, and only there */
    IH_OP_GRANT,     /* a segment to write: producers and admins */
    IH_OP_MAP,       /* the segment of a handle, to read */
    IH_OP_DELETE,
    IH_OP_BIND,
    IH_OP_PUBLISH, /* what a plain put does not need: name, ttl, pin, links, seal */
    IH_OP_STAT,
    IH_OP_LIST,
    IH_OP_USAGE,
    IH_OP_EXPLAIN,
    IH_OP_BOARD, /* the names board that stands now */
    IH_OP_DROP,  /* no reply: an image that was never put lost its last view */
    IH_OP_PING,
    IH_OP_RETURN, /* an empty ordinary segment goes back */
    IH_OP_CHECK,
    IH_OP_TRIM,
    IH_OP_DELETE_SOME,
    IH_OPS
};

typedef struct {
    uint32_t bytes;   /* of the frame, this header included */
    uint16_t op;      /* IH_OP_*; of a reply with IH_REPLY_BIT */
    uint16_t result;  /* of a reply: an ih_result */
    uint64_t request; /* repeated by the reply */
} ih_frame;
_Static_assert(sizeof(ih_frame) == 16, "frame");

/* Why a handle is gone (IH_GONE), where the daemon still knows. */
enum {
    IH_WHY_UNKNOWN = 0, /* never put here, or so long ago that it was forgotten */
    IH_WHY_DELETED,
    IH_WHY_EXPIRED,  /* its time to live passed */
    IH_WHY_EVICTED,  /* for want of memory; it was put with evictable=True */
    IH_WHY_ORPHANED, /* nobody named, pinned or leased it after its producer went */
    IH_WHY_STORE,    /* its store was closed or lost: never from the daemon */
};

/* The body of every reply whose result is not IH_OK. `text` is UTF-8 without a NUL, up to the end
 * of the frame. */
typedef struct {
    uint32_t why; /* IH_WHY_* */
    int32_t system_errno;
    uint64_t wanted, capacity, used, committed, largest_free, limit;
    uint64_t waiting;     /* bytes freed that a producer has not given back yet */
    uint32_t waiting_pid; /* of the producer that holds most of them */
    uint32_t reserved;
    uint64_t version; /* IH_CONFLICT of a bind: found */
} ih_failure;
_Static_assert(sizeof(ih_failure) == 80, "failure");

enum { IH_ROLE_READER = 1, IH_ROLE_PRODUCER, IH_ROLE_ADMIN };

/* A new process: session and family 0. A forked child: session 0, the family, its member number and
 * token. After a lost connection: the session too. */
typedef struct {
    uint32_t version; /* IH_WIRE_VERSION */
    uint32_t pid;     /* as the client sees itself */
    uint64_t session, family;
    uint64_t token[2];
    uint32_t member;
    uint32_t reserved;
} ih_hello;
_Static_assert(sizeof(ih_hello) == 48, "hello");

/* Descriptors: of a new process the lease table, locked for `member`; then the session's page; then
 * the state map and the board, read-only. Of a forked child the page only. Of a resumed session
 * none. */
typedef struct {
    uint32_t version;
    uint32_t role;
    uint64_t store[2]; /* identity: random, of one run of the keeper */
    uint64_t session, family;
    uint64_t token[2];
    uint32_t member, lease_blocks_max;
    uint64_t capacity, segment_size;
    uint64_t state_bytes, page_bytes;
    uint64_t board, board_bytes; /* number of the board, and its size */
} ih_welcome;
_Static_assert(sizeof(ih_welcome) == 112, "welcome");

#define IH_GRANT_EVICTABLE 1u
#define IH_GRANT_SEAL 2u
#define IH_GRANT_FRESH 4u /* the segment offered for reuse is not mapped any more */

typedef struct {
    uint64_t bytes; /* of the image or block that needs it, header included */
    uint32_t kind;  /* IH_ORDINARY, IH_DEDICATED */
    uint32_t flags; /* IH_GRANT_* */
    /* The highest id that a reply to a GRANT has brought to this session: ids grow, so what it was
     * granted beyond that is known to nobody, for the reply was lost. */
    uint64_t seen;
} ih_grant_request;
_Static_assert(sizeof(ih_grant_request) == 24, "grant request");

#define IH_SEGMENT_KERNEL 1u  /* under F_SEAL_WRITE */
#define IH_SEGMENT_FILE 2u    /* spilled: a file */
#define IH_SEGMENT_FOREIGN 4u /* produced under another uid than the receiver's */

/* One descriptor: of a grant writable, of a map read-only; none where `reuse` is not 0. */
typedef struct {
    uint64_t id, bytes;
    uint64_t secret[2];
    uint64_t state; /* offset of its range in the state map */
    uint64_t reuse; /* of a grant: the producer's own segment of that id, renamed to `id` */
    uint32_t kind, flags;
} ih_segment_reply;
_Static_assert(sizeof(ih_segment_reply) == 56, "segment reply");

/* MAP, STAT, EXPLAIN, DROP; DELETE, with a name: if it is bound to that, and only that. */
typedef struct {
    ih_handle handle;
    uint32_t force;  /* DELETE: though it has names. MAP: through a link, so it may be dying */
    uint32_t length; /* DELETE: of the name that follows; 0: none */
} ih_image_request;
_Static_assert(sizeof(ih_image_request) == 24, "image request");

typedef struct {
    ih_handle handle; /* zeros: unbind */
    uint64_t expected;
    uint32_t length; /* the name follows */
    uint32_t reserved;
} ih_bind_request;
_Static_assert(sizeof(ih_bind_request) == 32, "bind request");

typedef struct {
    uint64_t version;
} ih_version_reply; /* BIND, PUBLISH */

#define IH_PUBLISH_TTL 1u /* ttl_ns counts: 0 takes a time to live away */
#define IH_PUBLISH_PIN 2u
#define IH_PUBLISH_UNPIN 4u
#define IH_PUBLISH_SEALED 8u    /* the producer has put its segment under F_SEAL_WRITE */
#define IH_PUBLISH_KEEP 16u     /* of store.freeze(), now put: it stays without views */
#define IH_PUBLISH_FLEETING 32u /* of store.freeze(): it goes with its producer */
#define IH_LINKS_MAX 2048u

/* `links` handles follow, then the name. */
typedef struct {
    ih_handle handle;
    uint64_t ttl_ns;
    uint32_t flags;  /* IH_PUBLISH_* */
    uint32_t links;  /* of the image: all of them */
    uint32_t length; /* of the name; 0: none */
    uint32_t reserved;
} ih_publish_request;
_Static_assert(sizeof(ih_publish_request) == 40, "publish request");

/* The reply to STAT; LIST: `count` of them. */
#define IH_STAT_DYING 1u
#define IH_STAT_DEDICATED 2u
#define IH_STAT_KERNEL 4u
#define IH_STAT_PINNED 8u
#define IH_STAT_EVICTABLE 16u
#define IH_STAT_SPILLED 32u
#define IH_STAT_ORPHAN 64u
typedef struct {
    ih_handle handle;
    uint64_t size, block, created_ns;
    uint64_t expires_ns;                   /* since the epoch; 0: never */
    uint32_t leases, names, links, linked; /* links: to others; linked: by others */
    uint32_t flags, pid, uid, reserved;
    uint8_t image_header[16];
} ih_stat_reply;
_Static_assert(sizeof(ih_stat_reply) == 96, "stat reply");

typedef struct {
    uint64_t cursor; /* locator of the last one seen; 0: from the start */
    uint32_t count;  /* at most */
    uint32_t reserved;
} ih_list_request;
typedef struct {
    uint64_t cursor; /* 0: no more; else there may be more behind it, even if count is 0 */
    uint32_t count;
    uint32_t reserved;
} ih_list_reply;

#define IH_DELETE_SOME_MAX 256u
/* Then so many handles. The reply is a byte for each, its ih_result. */
typedef struct {
    uint32_t count, force;
} ih_delete_some_request;

/* EXPLAIN, CHECK: UTF-8 up to the end of the frame. USAGE: an ih_usage. */

typedef struct {
    uint64_t board, bytes;
} ih_board_reply; /* one descriptor, read-only */

typedef struct {
    uint64_t segment;
} ih_return_request;

/* ---- the page of a session ------------------------------------------------------------------- */

/* Shared by one session and the daemon, writable by both; the daemon believes nothing in it but
 * what harms the session alone. Frees go through the ring (H7): the daemon adds (locator, nonce) of
 * an image that is dying and held by nobody; the producer clears its header (unseal) and advances
 * `tail`; the daemon sees the header cleared and clears the dying bit; the producer sees the bit
 * cleared, and the block is free. */
#define IH_PAGE_MAGIC UINT64_C(0x316e737365736869) /* "ihsessn1" */
#define IH_RING_ENTRIES 16384u
#define IH_PUT_SIZES 16
#define IH_PAGE_COUNTERS 21
typedef struct {
    uint64_t magic;
    uint32_t entries, reserved;
    uint8_t gap[48];
    uint64_t head; /* entries ever added; the daemon writes it */
    uint8_t gap2[56];
    uint64_t tail; /* entries ever taken; the producer writes it */
    uint8_t gap3[56];
    /* Counted by the client, for metrics: IH_PAGE_COUNTERS words. put_sizes[i] counts images of up
     * to 128 << 2 * i bytes that are in none before; the last one, all that are larger. */
    uint64_t puts, put_bytes, opens, maps, fulls, put_sizes[16];
    /* Blocks that the producer took from the ring and has not freed yet: for figures too. */
    uint64_t returning, returning_bytes;
    uint64_t closed; /* 1: the client has closed its store, and will end in order */
    uint8_t gap4[4096 - 192 - 192];
} ih_session_page;
_Static_assert(sizeof(ih_session_page) == 4096, "session page");
_Static_assert(offsetof(ih_session_page, head) == 64, "head");
_Static_assert(offsetof(ih_session_page, tail) == 128, "tail");
_Static_assert(offsetof(ih_session_page, puts) == 192, "puts");
_Static_assert(offsetof(ih_session_page, returning) == 192 + 8 * IH_PAGE_COUNTERS, "counters");
_Static_assert(offsetof(ih_session_page, closed) == 376, "closed");
_Static_assert(sizeof(((ih_session_page *)0)->put_sizes) == 8 * IH_PUT_SIZES, "put sizes");
#define IH_SESSION_BYTES (4096u + 16u * IH_RING_ENTRIES)

/* ---- the state map --------------------------------------------------------------------------- */

/* One memory file, written by the daemon alone. Each segment has a range of it. Its first word is
 * the segment's id while it may be opened; 0 while its one image is deleted (dedicated) and after
 * that as long as its producer may fill it again; anything else: the segment is gone. Its second
 * word grows by one when the segment is moved to another file of the same contents (spilled): who
 * has the first one mapped keeps its memory, and may map the other. Of an ordinary segment 64 bytes
 * later the dying bits follow, one for each unit of the segment.
 *
 * Ranges are used again, and the first word tells whose they are. A reader looks at the dying bit,
 * THEN at the first word, then at the image's header. If the word is still the id, the bit was the
 * segment's own; in the other order the range could change hands between the two looks. */
#define IH_RANGE_HEAD 64u
/* The second word of a range, counted in words: the daemon changes it when it has put other memory
 * behind the same id (spilled): who maps the segment and leases nothing in it unmaps it soon, and
 * asks again when it is needed. */
#define IH_RANGE_MOVED 1u
#define IH_RANGE_GONE UINT64_MAX

#endif
