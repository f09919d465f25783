/* Changes of a FIB: opened and closed, routes and peers set and dropped. What is kept
 * where, and why, is in fib.h. Memory is allocated here, never per packet (I9).
 */
#ifndef GATEWAY_FIB_CHANGE_H
#define GATEWAY_FIB_CHANGE_H

#include <stdlib.h>
#include <sys/random.h>

#include "fib.h"

static inline void fib_make_masks(struct fib *fib)
{
    for (int length = 0; length <= 128; length++) {
        uint8_t bytes[16] = {0};
        memset(bytes, 0xff, (size_t)length / 8);
        if (length % 8)
            bytes[length / 8] = (uint8_t)(0xff00u >> (length % 8));
        fib->mask[length] = address_load(bytes);
    }
}

static inline void fib_close(struct fib *fib)
{
    if (!fib)
        return;
    free(fib->peers);
    free(fib->routes);
    free(fib->endpoints);
    free(fib);
}

/* NULL when memory is short. */
static inline struct fib *fib_open(uint32_t peers)
{
    struct fib *fib = calloc(1, sizeof *fib);

    if (!fib)
        return NULL;
    fib->peer_count = peers;
    fib->peers = calloc(peers ? peers : 1, sizeof *fib->peers);
    fib->endpoint_slots = 16;
    while (fib->endpoint_slots < peers * 2)
        fib->endpoint_slots *= 2;
    fib->endpoints = calloc(fib->endpoint_slots, sizeof *fib->endpoints);
    fib->route_slots = 64;
    fib->routes = malloc(fib->route_slots * sizeof *fib->routes);
    if (!fib->peers || !fib->endpoints || !fib->routes) {
        fib_close(fib);
        return NULL;
    }
    for (uint32_t i = 0; i < fib->route_slots; i++)
        fib->routes[i].length = FIB_FREE;
    if (getrandom(&fib->seed, sizeof fib->seed, GRND_NONBLOCK) != sizeof fib->seed)
        fib->seed = (uint64_t)(uintptr_t)fib * 0x9e3779b97f4a7c15u;
    fib->epoch = 1;
    fib_make_masks(fib);
    return fib;
}

static inline bool fib_is4(struct address prefix, int length)
{
    return length >= 96 && address_is_mapped(prefix);
}

static inline void fib_hint4(struct fib *fib, struct address prefix, int length)
{
    uint32_t number = fib_number4(prefix);

    if (length > 96 + 24)
        *fib_far4(fib, number) |= (uint8_t)(1u << (length - 96 - 25));
    else if (length > 96 + 16)
        fib->near4[number >> 16] |= (uint8_t)(1u << (length - 96 - 17));
}

static inline void fib_forget_cache(struct fib *fib)
{
    if (++fib->epoch == FIB_EPOCHS) { /* wrapped: entries of the first epoch would look fresh */
        memset(fib->cache4, 0, sizeof fib->cache4);
        memset(fib->cache6, 0, sizeof fib->cache6);
        fib->epoch = 1;
    }
}

/* IPv4 and IPv6 routes of one length share its count; the list of a family may so
 * name a length that only the other family uses: one probe more, never a wrong answer. */
static inline void fib_list_lengths(struct fib *fib)
{
    fib->length_count4 = fib->length_count6 = 0;
    for (int length = 128; length >= 0; length--) {
        if (!fib->length_count[length])
            continue;
        if (length >= 96 && length <= 96 + 16) /* longer ones have hints */
            fib->lengths4[fib->length_count4++] = (uint8_t)length;
        fib->lengths6[fib->length_count6++] = (uint8_t)length;
    }
}

static inline void fib_forget_hints(struct fib *fib)
{
    memset(fib->near4, 0, sizeof fib->near4);
    memset(fib->far4, 0, sizeof fib->far4);
}

static inline bool fib_grow(struct fib *fib)
{
    uint32_t slots = fib->route_slots;
    uint32_t live = fib->route_used - fib->route_gone;

    while (slots < (live + 1) * 4)
        slots *= 2;
    struct fib_route *routes = malloc(slots * sizeof *routes);
    if (!routes)
        return false;
    for (uint32_t i = 0; i < slots; i++)
        routes[i].length = FIB_FREE;
    fib_forget_hints(fib);
    for (uint32_t i = 0; i < fib->route_slots; i++) {
        struct fib_route *r = &fib->routes[i];
        if (r->length == FIB_FREE || r->length == FIB_GONE)
            continue;
        if (fib_is4(r->prefix, r->length))
            fib_hint4(fib, r->prefix, r->length);
        uint32_t j = (uint32_t)fib_hash(fib, r->prefix, r->length) & (slots - 1);
        while (routes[j].length != FIB_FREE)
            j = (j + 1) & (slots - 1);
        routes[j] = *r;
    }
    free(fib->routes);
    fib->routes = routes;
    fib->route_slots = slots;
    fib->route_used = live;
    fib->route_gone = 0;
    return true;
}

/* False when memory is short. `length` is 0 to 128; bits beyond it are cleared. */
static inline bool fib_set_route(struct fib *fib, struct address prefix, int length, int32_t target)
{
    prefix = fib_mask(fib, prefix, length);
    struct fib_route *r = fib_find(fib, prefix, length);
    if (r) {
        r->target = target;
        fib_forget_cache(fib);
        return true;
    }
    if ((fib->route_used + 1) * 2 > fib->route_slots && !fib_grow(fib))
        return false;
    uint32_t i = (uint32_t)fib_hash(fib, prefix, (uint64_t)length) & (fib->route_slots - 1);
    while (fib->routes[i].length != FIB_FREE)
        i = (i + 1) & (fib->route_slots - 1);
    fib->routes[i] = (struct fib_route){prefix, target, (uint8_t)length};
    fib->route_used++;
    if (fib_is4(prefix, length))
        fib_hint4(fib, prefix, length);
    if (fib->length_count[length]++ == 0)
        fib_list_lengths(fib);
    fib_forget_cache(fib);
    return true;
}

static inline bool fib_drop_route(struct fib *fib, struct address prefix, int length)
{
    struct fib_route *r = fib_find(fib, fib_mask(fib, prefix, length), length);

    if (!r)
        return false;
    r->length = FIB_GONE;
    fib->route_gone++;
    if (--fib->length_count[length] == 0)
        fib_list_lengths(fib);
    fib_forget_cache(fib);
    return true;
}

static inline void fib_drop_peer(struct fib *fib, uint32_t slot)
{
    uint32_t mask = fib->endpoint_slots - 1;

    if (slot >= fib->peer_count || !fib->peers[slot].incarnation)
        return;
    uint32_t i = endpoint_home(fib, &fib->peers[slot].endpoint);
    while (fib->endpoints[i] && fib->endpoints[i] != slot + 1)
        i = (i + 1) & mask;
    if (fib->endpoints[i]) {
        /* close the gap: move back each follower whose home does not lie behind it */
        for (uint32_t j = (i + 1) & mask; fib->endpoints[j]; j = (j + 1) & mask) {
            uint32_t home = endpoint_home(fib, &fib->peers[fib->endpoints[j] - 1].endpoint);
            if (((j - home) & mask) >= ((j - i) & mask)) {
                fib->endpoints[i] = fib->endpoints[j];
                i = j;
            }
        }
        fib->endpoints[i] = 0;
    }
    memset(&fib->peers[slot], 0, sizeof fib->peers[slot]);
}

/* Sets or moves a peer. A move forgets what its former path could not do. */
static inline bool fib_set_peer(struct fib *fib, uint32_t slot, uint32_t incarnation,
                                struct endpoint endpoint, struct address local)
{
    if (slot >= fib->peer_count || !incarnation)
        return false;
    struct fib_peer *p = &fib->peers[slot];
    uint64_t single_until = 0;
    if (p->incarnation == incarnation && endpoint_equal(&p->endpoint, &endpoint))
        single_until = p->single_until;
    fib_drop_peer(fib, slot);
    int32_t other = fib_at_endpoint(fib, &endpoint);
    if (other >= 0)
        fib_drop_peer(fib, (uint32_t)other);

    uint8_t bytes[16], local_bytes[16];
    address_store(endpoint.address, bytes);
    address_store(local, local_bytes);
    p->incarnation = incarnation;
    p->endpoint = endpoint;
    p->local = local;
    p->is4 = address_is_mapped(endpoint.address);
    p->has_local = (local.high | local.low) != 0 && address_is_mapped(local) == p->is4;
    p->single_until = single_until;
    p->name6.sin6_family = AF_INET6;
    p->name6.sin6_port = htons(endpoint.port);
    p->name6.sin6_scope_id = endpoint.scope;
    memcpy(&p->name6.sin6_addr, bytes, 16);
    p->name4.sin_family = AF_INET;
    p->name4.sin_port = htons(endpoint.port);
    memcpy(&p->name4.sin_addr, bytes + 12, 4);

    uint32_t i = endpoint_home(fib, &endpoint);
    while (fib->endpoints[i])
        i = (i + 1) & (fib->endpoint_slots - 1);
    fib->endpoints[i] = slot + 1;
    return true;
}

static inline void fib_clear(struct fib *fib)
{
    memset(fib->peers, 0, fib->peer_count * sizeof *fib->peers);
    memset(fib->endpoints, 0, fib->endpoint_slots * sizeof *fib->endpoints);
    for (uint32_t i = 0; i < fib->route_slots; i++)
        fib->routes[i].length = FIB_FREE;
    fib->route_used = fib->route_gone = 0;
    memset(fib->length_count, 0, sizeof fib->length_count);
    fib_forget_hints(fib);
    fib_list_lengths(fib);
    fib_forget_cache(fib);
}

#endif
