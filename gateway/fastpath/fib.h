/* A child's look-up copy of peers and routes (I7: equal to the route table at the
 * generation it was published at). Private to one process; fib_change.h changes it.
 *
 * Longest prefix match by one hash table over (prefix, length) and, per family, the
 * list of lengths in use, longest first: a look-up costs one probe per length in
 * use, however many prefixes there are, and an update touches one entry. IPv4 has hints
 * in addition, which lengths beyond 16 bits there are near a destination: they say yes
 * too often after a route went, never no, and most probes are spared. In front of it
 * stands a cache by destination, emptied by any change of a route: what counts for speed
 * is then how many destinations are in use, not how many prefixes there are.
 *
 * Keys are 16 bytes; IPv4 lives in ::ffff:0:0/96, with lengths 96 to 128, and an
 * IPv6 packet's address inside that range is never looked up.
 */
#ifndef GATEWAY_FIB_H
#define GATEWAY_FIB_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "packet.h"

#define FIB_CACHE4 65536u /* 8 bytes each */
#define FIB_CACHE6 4096u
#define FIB_NEAR 65536u  /* by the first 16 bits: lengths 17 to 24 */
#define FIB_FAR 131072u  /* by a hash of the first 24 bits: lengths 25 to 32 */
#define FIB_ASKS 64u /* addresses nobody has, noted between two calls of fib_asked */
#define FIB_FREE 0xff
#define FIB_GONE 0xfe

struct endpoint {
    struct address address;
    uint16_t port;
    uint32_t scope;
};

struct fib_peer {
    uint32_t incarnation; /* 0: nobody in this slot */
    struct endpoint endpoint;
    struct address local; /* all zero: the kernel chooses */
    struct sockaddr_in6 name6;
    struct sockaddr_in name4;
    bool has_local, is4;
    uint64_t single_until; /* monotonic ns: until then no UDP_SEGMENT to this peer */
};

struct fib_route {
    struct address prefix;
    int32_t target;
    uint8_t length; /* or FIB_FREE, FIB_GONE */
};

/* What a look-up found: the epoch (never 0) above, the target plus FIB_BIAS below. */
struct fib_cached4 {
    uint32_t address, found;
};

struct fib_cached6 {
    struct address address;
    uint32_t found;
};

#define FIB_BIAS 4
#define FIB_EPOCHS 256u
#define FIB_PEERS_MAX ((1u << 24) - FIB_BIAS)

struct fib {
    uint64_t seed;
    uint32_t peer_count;
    struct fib_peer *peers;
    /* routes: open addressing */
    struct fib_route *routes;
    uint32_t route_slots, route_used, route_gone;
    uint32_t length_count[129];
    uint8_t lengths4[33], lengths6[129]; /* lengths in use, longest first */
    int length_count4, length_count6;
    /* endpoints: slot + 1 by endpoint, 0 free, open addressing with back shift */
    uint32_t *endpoints;
    uint32_t endpoint_slots;
    uint32_t epoch;
    bool asking; /* addresses that lead nowhere are noted: somebody outside may know */
    unsigned asks;
    struct address ask[FIB_ASKS];
    struct address mask[129];
    uint8_t near4[FIB_NEAR], far4[FIB_FAR]; /* bit n: the n-th of these lengths */
    struct fib_cached4 cache4[FIB_CACHE4];
    struct fib_cached6 cache6[FIB_CACHE6];
};

static inline uint64_t fib_mix(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)(a ^ 0x9e3779b97f4a7c15u) * (b ^ 0xd1b54a32d192ed03u);
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* The seed enters both halves: else whoever may choose addresses could make one factor
 * zero, and so every key fall on one place. */
static inline uint64_t fib_hash(const struct fib *fib, struct address a, uint64_t extra)
{
    uint64_t turned = fib->seed << 32 | fib->seed >> 32;
    return fib_mix(fib_mix(a.high ^ fib->seed, (a.low + extra) ^ turned), extra ^ fib->seed);
}

static inline struct address fib_mask(const struct fib *fib, struct address a, int length)
{
    return (struct address){a.high & fib->mask[length].high, a.low & fib->mask[length].low};
}

static inline struct fib_route *fib_find(const struct fib *fib, struct address prefix, int length)
{
    uint32_t mask = fib->route_slots - 1;
    uint32_t i = (uint32_t)fib_hash(fib, prefix, (uint64_t)length) & mask;

    for (;; i = (i + 1) & mask) {
        struct fib_route *r = &fib->routes[i];
        if (r->length == FIB_FREE)
            return NULL;
        if (r->length == length && address_equal(r->prefix, prefix))
            return r;
    }
}

static inline int32_t fib_walk(const struct fib *fib, struct address a, const uint8_t *lengths, int n)
{
    for (int i = 0; i < n; i++) {
        const struct fib_route *r = fib_find(fib, fib_mask(fib, a, lengths[i]), lengths[i]);
        if (r)
            return r->target;
    }
    return TARGET_NOTHING;
}

/* The four bytes of an IPv4 address as a number. */
static inline uint32_t fib_number4(struct address a)
{
    uint8_t bytes[16];
    address_store(a, bytes);
    return get32(bytes + 12);
}

static inline uint8_t *fib_far4(struct fib *fib, uint32_t number)
{
    uint64_t place = ((uint64_t)(number >> 8) ^ (fib->seed >> 32)) * (fib->seed | 1);
    return &fib->far4[place >> 47 & (FIB_FAR - 1)];
}

static inline int32_t fib_walk_hints(const struct fib *fib, struct address a, unsigned hints, int first)
{
    while (hints) {
        int n = 31 - __builtin_clz(hints);
        const struct fib_route *r = fib_find(fib, fib_mask(fib, a, first + n), first + n);
        if (r)
            return r->target;
        hints ^= 1u << n;
    }
    return TARGET_NOTHING;
}

static __attribute__((noinline)) int32_t fib_walk4(struct fib *fib, struct address a)
{
    uint32_t number = fib_number4(a);
    int32_t target = fib_walk_hints(fib, a, *fib_far4(fib, number), 96 + 25);

    if (target != TARGET_NOTHING)
        return target;
    target = fib_walk_hints(fib, a, fib->near4[number >> 16], 96 + 17);
    if (target != TARGET_NOTHING)
        return target;
    return fib_walk(fib, a, fib->lengths4, fib->length_count4);
}

static inline uint32_t fib_found(const struct fib *fib, int32_t target)
{
    return fib->epoch << 24 | (uint32_t)(target + FIB_BIAS);
}

static inline int32_t fib_target(uint32_t found)
{
    return (int32_t)(found & 0xffffff) - FIB_BIAS;
}

static inline int32_t fib_lookup4(struct fib *fib, struct address a)
{
    uint32_t last;
    memcpy(&last, (const uint8_t *)&a + 12, sizeof last);
    uint64_t place = ((uint64_t)last ^ (fib->seed >> 32)) * (fib->seed | 1);
    struct fib_cached4 *c = &fib->cache4[place >> 48 & (FIB_CACHE4 - 1)];

    if (c->address == last && c->found >> 24 == fib->epoch)
        return fib_target(c->found);
    int32_t target = fib_walk4(fib, a);
    *c = (struct fib_cached4){last, fib_found(fib, target)};
    return target;
}

/* The target of the longest prefix that holds `a`. `version` is the packet's. */
static inline int32_t fib_lookup(struct fib *fib, struct address a, int version)
{
    if (address_is_mapped(a))
        return version == 6 ? TARGET_NOTHING : fib_lookup4(fib, a);
    struct fib_cached6 *c = &fib->cache6[fib_hash(fib, a, 0) & (FIB_CACHE6 - 1)];
    if (c->found >> 24 == fib->epoch && address_equal(c->address, a))
        return fib_target(c->found);
    int32_t target = fib_walk(fib, a, fib->lengths6, fib->length_count6);
    *c = (struct fib_cached6){a, fib_found(fib, target)};
    return target;
}

/* Note an address that no peer has, each once; what has no room will come again. */
static inline void fib_ask(struct fib *fib, struct address a, int version)
{
    if (!fib->asking || fib->asks == FIB_ASKS || (version == 6 && address_is_mapped(a)))
        return;
    for (unsigned i = 0; i < fib->asks; i++)
        if (address_equal(fib->ask[i], a))
            return;
    fib->ask[fib->asks++] = a;
}

static inline bool endpoint_equal(const struct endpoint *a, const struct endpoint *b)
{
    return a->port == b->port && a->scope == b->scope && address_equal(a->address, b->address);
}

static inline uint32_t endpoint_home(const struct fib *fib, const struct endpoint *e)
{
    uint64_t extra = (uint64_t)e->scope << 16 | e->port;
    return (uint32_t)fib_hash(fib, e->address, extra) & (fib->endpoint_slots - 1);
}

/* The slot of the peer at this endpoint, or -1. */
static inline int32_t fib_at_endpoint(const struct fib *fib, const struct endpoint *e)
{
    uint32_t mask = fib->endpoint_slots - 1;

    for (uint32_t i = endpoint_home(fib, e); fib->endpoints[i]; i = (i + 1) & mask) {
        int32_t slot = (int32_t)fib->endpoints[i] - 1;
        if (endpoint_equal(&fib->peers[slot].endpoint, e))
            return slot;
    }
    return -1;
}

#endif
