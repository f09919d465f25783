/* TUN to rings, a burst at a time.
 *
 * 1. read a packet or super-packet straight into the ring that the last one went to
 * 2. check its virtio header, look its destination up, choose the worker by peer
 * 3. commit it where it lies; copy it only if it is another worker's
 * 4. publish each ring that got something, then ring its doorbell, once (I4)
 *
 * The guess in step 1 is always right with one worker, and mostly with several, as
 * traffic comes in runs. A full ring costs its own peers their packets, nobody else. */
#ifndef GATEWAY_READER_H
#define GATEWAY_READER_H

#include <poll.h>

#include "bucket.h"
#include "decide.h"
#include "icmp.h"
#include "mss.h"
#include "ring.h"
#include "split.h"

#define READER_RINGS 64
#define READER_BURST 64
#define READER_BURST_BYTES (192u * 1024u)
#define RECORD_MAX (65535u + VNET_BYTES)

struct reader {
    int tun, channel;
    struct fib *fib;
    struct page *page;
    unsigned rings, last;
    struct ring_producer ring[READER_RINGS];
    int doorbell[READER_RINGS];
    bool touched[READER_RINGS];
    unsigned events;
    struct bucket answers;
    uint64_t now;     /* set once per turn (I11) */
    uint32_t mss_mtu; /* SYNs are clamped to this MTU; 0: they are not */
    uint8_t spill[RECORD_MAX + 1];
};

static inline void reader_open(struct reader *r)
{
    r->answers = (struct bucket){ANSWER_RATE, ANSWER_BURST, 0, 0};
}

static inline void reader_queue(struct reader *r, uint8_t *record, uint32_t bytes, bool in_place,
                                const struct shape *shape, int32_t slot)
{
    unsigned ring = (unsigned)slot % r->rings;

    if (!in_place || ring != r->last) {
        uint8_t *copy = ring_reserve(&r->ring[ring], bytes);
        if (!copy) {
            ring_count_drop(&r->ring[ring]);
            count(r->page, COUNTER_DROP + REASON_RING_FULL, shape->segments);
            count_peer(r->page, slot, PEER_TX_DROPPED, shape->segments);
            return;
        }
        memcpy(copy, record, bytes);
    }
    ring_commit(&r->ring[ring], bytes, (uint32_t)slot, r->fib->peers[slot].incarnation);
    r->touched[ring] = true;
    r->last = ring;
    count(r->page, COUNTER_QUEUED_PACKETS, shape->segments);
    count(r->page, COUNTER_QUEUED_BYTES, bytes - VNET_BYTES);
}

/* Tell the host that nobody has the address it sent to. The answer comes from that very
 * address: the host would take one from its own for a forgery. */
static inline void reader_answer(struct reader *r, const struct shape *shape)
{
    uint8_t answer[VNET_BYTES + ICMP_BYTES_MAX] = {0};
    struct inner inner;

    if (inner_parse(shape->packet, shape->length, &inner) >= 0 ||
        !bucket_take(&r->answers, r->now))
        return;
    uint32_t n = icmp_unreachable(shape->packet, shape->length, inner.destination,
                                  answer + VNET_BYTES);
    if (n && write(r->tun, answer, VNET_BYTES + n) >= 0)
        count(r->page, COUNTER_ANSWERED_PACKETS, 1);
}

/* One packet. Returns its bytes, or 0: nothing to read. */
static inline uint32_t reader_take(struct reader *r)
{
    struct shape shape;
    uint8_t *record = ring_reserve(&r->ring[r->last], RECORD_MAX);
    bool in_place = record != NULL;

    if (!in_place)
        record = r->spill;
    ssize_t n = read(r->tun, record, RECORD_MAX);
    if (n <= 0) {
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            r->events |= EVENT_DEVICE_GONE;
        return 0;
    }
    count(r->page, COUNTER_TUN_READS, 1);
    int reason = shape_check(record, (size_t)n, &shape);
    if (reason < 0) {
        count(r->page, COUNTER_TUN_READ_BYTES, shape.length);
        struct decision d = decide_tun(r->fib, shape.packet, shape.length);
        if (d.verdict == VERDICT_FORWARD && (uint32_t)d.slot < r->fib->peer_count) {
            count(r->page, COUNTER_TUN_READ_PACKETS, shape.segments);
            if (r->mss_mtu && !shape.size)
                mss_clamp(shape.packet, shape.length, r->mss_mtu, shape.complete);
            reader_queue(r, record, (uint32_t)n, in_place, &shape, d.slot);
            return (uint32_t)n;
        }
        reason = d.reason >= 0 ? d.reason : REASON_STALE_PEER;
        if (reason == REASON_NO_PEER)
            reader_answer(r, &shape);
    }
    count(r->page, COUNTER_TUN_READ_PACKETS, shape.segments);
    count(r->page, COUNTER_DROP + reason, shape.segments);
    return (uint32_t)n;
}

/* Returns true if there may be more. */
static inline bool reader_burst(struct reader *r)
{
    uint32_t bytes = 0, n = 1;
    static const uint64_t one = 1;

    for (int i = 0; i < READER_BURST && bytes < READER_BURST_BYTES && n; i++)
        bytes += n = reader_take(r);
    for (unsigned i = 0; i < r->rings; i++) {
        if (!r->touched[i])
            continue;
        r->touched[i] = false;
        ring_publish(&r->ring[i]);
        if (write(r->doorbell[i], &one, sizeof one) < 0 && errno != EAGAIN)
            count(r->page, COUNTER_SOCKET_ERRORS, 1);
    }
    return n != 0;
}

/* Turns until a message waits, the device is gone, or `timeout` ns have passed. */
static inline unsigned reader_run(struct reader *r, uint64_t timeout)
{
    struct pollfd fds[2] = {{.fd = r->tun, .events = POLLIN}, {.fd = r->channel, .events = POLLIN}};
    uint64_t now = monotonic_ns(), end = now + timeout;
    unsigned turn = 0;
    bool more = true;

    r->events = 0;
    for (;; now = monotonic_ns()) {
        atomic_store_explicit(&r->page->pulse, now, memory_order_relaxed);
        r->now = now;
        count(r->page, COUNTER_TURNS, 1);
        if (more)
            more = reader_burst(r);
        if (r->events)
            return r->events;
        if (more && ++turn % 16)
            continue;
        uint64_t wait = more || now >= end ? 0 : (end - now) / 1000000 + 1;
        int ready = poll(fds, 2, (int)wait);
        if (ready < 0)
            return 0; /* a signal: let Python see it */
        if (fds[1].revents)
            return EVENT_CHANNEL;
        if (fds[0].revents & (POLLERR | POLLNVAL))
            return EVENT_DEVICE_GONE;
        more = more || fds[0].revents;
        if (now >= end)
            return 0; /* busy or not: signals wait for this */
    }
}

#endif
