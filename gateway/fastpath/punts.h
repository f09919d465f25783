/* Which control datagrams reach the supervisor: one sender's flood costs others nothing (I13).
 *
 * What peers may send at most, and what strangers may, is bounded for all of them together,
 * as the supervisor is one thread. Before that each has a small bucket of his own: a peer by
 * its slot, which begins anew with each use of the slot; a stranger by a hash of his address,
 * in a table of fixed size. So a host that registers from a new port has its chance beside a
 * stranger who floods. Places in one turn are kept apart likewise: strangers never fill all.
 *
 * An honest peer sends two datagrams per heartbeat, and a new port gets its first by the
 * stranger's bucket. A client has one server, and nobody else to be kept from.
 *
 * A stranger's place is his IPv4 address, or his /64, as a host has all of one. What comes
 * from this very host are streams of a bridge: there the port tells who it is. */
#ifndef GATEWAY_PUNTS_H
#define GATEWAY_PUNTS_H

#include <stdlib.h>

#include "bucket.h"
#include "fib.h"

#define PUNTS 64 /* in one turn */
#define PUNTS_STRANGERS 32
#define PUNT_BYTES 2048u

/* Control datagrams a second, and how many at once. */
#define PUNT_KNOWN_RATE 4000u
#define PUNT_KNOWN_BURST 4000u
#define PUNT_PEER_RATE 32u
#define PUNT_PEER_BURST 32u
#define PUNT_UNKNOWN_RATE 1000u
#define PUNT_UNKNOWN_BURST 1000u
#define PUNT_PLACE_RATE 200u
#define PUNT_PLACE_BURST 200u
#define PUNT_PLACES 1024u

struct arrival { /* where a datagram came from and to */
    struct endpoint from;
    struct address local;
    int32_t sender; /* the slot of the peer at this endpoint, or -1 */
};

struct punt {
    struct endpoint from;
    struct address local;
    uint32_t bytes;
    uint8_t datagram[PUNT_BYTES];
};

struct punt_peer {
    struct small_bucket bucket;
    uint32_t incarnation; /* whose bucket it is */
};

struct punt_limits {
    struct bucket known, unknown;
    struct small_bucket places[PUNT_PLACES]; /* of strangers */
    struct punt_peer *peers;                 /* by slot */
};

static inline bool punt_take_peer(struct punt_limits *limits, const struct fib *fib, int32_t slot,
                                  uint64_t now)
{
    struct punt_peer *peer = &limits->peers[slot];
    uint32_t incarnation = fib->peers[slot].incarnation;

    if (peer->incarnation != incarnation)
        *peer = (struct punt_peer){.incarnation = incarnation};
    return small_bucket_take(&peer->bucket, PUNT_PEER_RATE, PUNT_PEER_BURST, now) &&
           bucket_take(&limits->known, now);
}

static inline uint32_t punt_place(const struct fib *fib, const struct arrival *from)
{
    struct address place = from->from.address;
    uint64_t extra = 0;

    if (address_equal(place, from->local))
        extra = from->from.port;
    else if (!address_is_mapped(place))
        place.low = 0;
    return (uint32_t)fib_hash(fib, place, extra) & (PUNT_PLACES - 1);
}

static inline bool punt_take_stranger(struct punt_limits *limits, const struct fib *fib,
                                      const struct arrival *from, uint64_t now)
{
    struct small_bucket *place = &limits->places[punt_place(fib, from)];

    return small_bucket_take(place, PUNT_PLACE_RATE, PUNT_PLACE_BURST, now) &&
           bucket_take(&limits->unknown, now);
}

/* Whether one more may go, where `waiting` of this turn do already. */
static inline bool punt_take(struct punt_limits *limits, const struct fib *fib, enum role role,
                             const struct arrival *from, unsigned waiting, uint64_t now)
{
    bool known = role == ROLE_CLIENT || from->sender >= 0;

    if (waiting >= (known ? PUNTS : PUNTS_STRANGERS))
        return false;
    if (role == ROLE_CLIENT)
        return bucket_take(&limits->known, now);
    if (known)
        return punt_take_peer(limits, fib, from->sender, now);
    return punt_take_stranger(limits, fib, from, now);
}

static inline void punt_limits_close(struct punt_limits *limits)
{
    free(limits->peers);
    limits->peers = NULL;
}

/* Of zeros; false when memory is short. Of the slots only those in use get pages. */
static inline bool punt_limits_open(struct punt_limits *limits, const struct fib *fib)
{
    limits->known = (struct bucket){PUNT_KNOWN_RATE, PUNT_KNOWN_BURST, 0, 0};
    limits->unknown = (struct bucket){PUNT_UNKNOWN_RATE, PUNT_UNKNOWN_BURST, 0, 0};
    limits->peers = calloc(fib->peer_count ? fib->peer_count : 1, sizeof *limits->peers);
    return limits->peers != NULL;
}

#endif
