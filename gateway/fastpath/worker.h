/* UDP in, and the ring out, a burst at a time.
 *
 * UDP in: recvmmsg with GRO into an arena; each segment is decided by itself; runs
 * for a peer go to the sender, packets for the host to the TUN writer, control
 * datagrams are copied for the supervisor. The arena is borrowed until both were
 * flushed, at the end of the burst.
 * Ring out: records are cut by split.h into the same sender; the ring is released
 * after its flush.
 *
 * Received segments = delivered + forwarded + punted + dropped; records taken from
 * the ring, in segments = sent + dropped (I14). */
#ifndef GATEWAY_WORKER_H
#define GATEWAY_WORKER_H

#include <poll.h>

#include "decide.h"
#include "icmp.h"
#include "merge.h"
#include "mss.h"
#include "punts.h"
#include "ring.h"
#include "sender.h"
#include "split.h"

#ifndef UDP_GRO
#define UDP_GRO 104
#endif

#define RECEIVE_MESSAGES 16
#define RECEIVE_BYTES 65536u
#define RING_BURST 64
#define ANSWERS 16 /* ICMP errors in one burst */
#define REFUSED_NS 20000000u /* a refused socket is reported no more often */

struct worker {
    int udp, tun, channel, doorbell, family;
    enum role role;
    bool source_check;
    uint64_t refused_at;
    struct fib *fib;
    struct page *page;
    struct ring_consumer ring;
    struct bucket answers;
    struct address own4, own6; /* of this gateway in the tunnel; all zero: none */
    uint32_t mss_mtu;          /* SYNs are clamped to this MTU; 0: they are not */
    uint32_t mtu;              /* of the tunnel, for what goes from peer to peer */
    unsigned events;
    unsigned punts; /* taken from here by the interpreter; while full, further ones are dropped */
    struct sender sender;
    struct tun_writer writer;
    struct punt punt[PUNTS];
    unsigned answered; /* of this burst */
    uint8_t answer[ANSWERS][ICMP_BYTES_MAX];
    struct mmsghdr message[RECEIVE_MESSAGES];
    struct iovec vector[RECEIVE_MESSAGES];
    struct sockaddr_in6 name[RECEIVE_MESSAGES];
    union {
        struct cmsghdr align;
        uint8_t bytes[256];
    } control[RECEIVE_MESSAGES];
    uint8_t arena[RECEIVE_MESSAGES][RECEIVE_BYTES];
    struct punt_limits limits;
};

static __attribute__((noinline)) void worker_punt(struct worker *w, const struct arrival *from,
                                                  const uint8_t *datagram, uint32_t bytes,
                                                  uint64_t now)
{
    if (bytes > PUNT_BYTES) {
        count(w->page, COUNTER_DROP + REASON_BAD_CONTROL, 1);
        return;
    }
    if (!punt_take(&w->limits, w->fib, w->role, from, w->punts, now)) {
        count(w->page, COUNTER_DROP + REASON_PUNT_LIMITED, 1);
        return;
    }
    struct punt *p = &w->punt[w->punts++];
    p->from = from->from;
    p->local = from->local;
    p->bytes = bytes;
    memcpy(p->datagram, datagram, bytes);
    count(w->page, COUNTER_PUNTED_PACKETS, 1);
    w->events |= EVENT_PUNTS;
}

/* The address that answers to a packet come from; none: all zero. */
static inline struct address worker_own(const struct worker *w, const uint8_t *packet)
{
    return packet[0] >> 4 == 4 ? w->own4 : w->own6;
}

/* Tell a peer that nobody has the address it sent to, or that its packet is wider than the
 * tunnel. Borrowed until the sender's flush. */
static inline void worker_answer(struct worker *w, int32_t sender, const uint8_t *packet,
                                 uint32_t bytes, int reason, uint64_t now)
{
    struct address own = worker_own(w, packet);

    if (sender < 0 || !(own.high | own.low) || w->answered == ANSWERS ||
        !bucket_take(&w->answers, now))
        return;
    uint8_t *answer = w->answer[w->answered];
    uint32_t n = reason == REASON_TOO_BIG ? icmp_too_big(packet, bytes, own, w->mtu, answer)
                                          : icmp_unreachable(packet, bytes, own, answer);
    if (!n)
        return;
    w->answered++;
    sender_room(&w->sender);
    sender_put(&w->sender, sender, FROM_US, NULL, 0, answer, n);
}

static inline bool worker_too_big(const struct worker *w, int32_t sender, const uint8_t *packet,
                                  uint32_t bytes)
{
    struct address own = worker_own(w, packet);

    return sender >= 0 && own.high | own.low && icmp_is_too_big(packet, bytes, w->mtu);
}

static inline void worker_segment(struct worker *w, const struct arrival *from, uint8_t *segment,
                                  uint32_t bytes, uint64_t now)
{
    struct decision d =
        decide_udp(w->fib, segment, bytes, from->sender, w->role, w->source_check);

    if (d.verdict == VERDICT_FORWARD && bytes > w->mtu &&
        worker_too_big(w, from->sender, segment, bytes))
        d = decision_drop(REASON_TOO_BIG);
    if (w->mss_mtu && d.verdict <= VERDICT_FORWARD)
        mss_clamp(segment, bytes, w->mss_mtu, false);
    switch (d.verdict) {
    case VERDICT_DELIVER:
        merge_put(&w->writer, segment, bytes);
        return;
    case VERDICT_FORWARD:
        if ((uint32_t)d.slot >= w->fib->peer_count || !w->fib->peers[d.slot].incarnation) {
            count(w->page, COUNTER_DROP + REASON_STALE_PEER, 1);
            return;
        }
        sender_room(&w->sender);
        sender_put(&w->sender, d.slot, FROM_UDP, NULL, 0, segment, bytes);
        return;
    case VERDICT_PUNT:
        worker_punt(w, from, segment, bytes, now);
        return;
    case VERDICT_DROP:
        count(w->page, COUNTER_DROP + d.reason, 1);
        if (d.reason == REASON_NO_PEER || d.reason == REASON_TOO_BIG)
            worker_answer(w, from->sender, segment, bytes, d.reason, now);
    }
}

/* Who sent it, whom he reached, and the size of a segment (0: one datagram). */
static inline uint32_t worker_arrival(struct worker *w, struct msghdr *m, struct arrival *from)
{
    uint32_t segment = 0;
    bool named = true;

    *from = (struct arrival){.sender = -1};
    if (w->family == AF_INET6 && m->msg_namelen >= sizeof(struct sockaddr_in6)) {
        const struct sockaddr_in6 *name = m->msg_name;
        from->from.address = address_load(name->sin6_addr.s6_addr);
        from->from.port = ntohs(name->sin6_port);
        from->from.scope = name->sin6_scope_id;
    } else if (w->family == AF_INET && m->msg_namelen >= sizeof(struct sockaddr_in)) {
        struct sockaddr_in name;
        memcpy(&name, m->msg_name, sizeof name);
        from->from.address = address_load4((const uint8_t *)&name.sin_addr);
        from->from.port = ntohs(name.sin_port);
    } else {
        named = false;
    }
    if (w->role == ROLE_CLIENT)
        from->sender = 0;
    else if (named)
        from->sender = fib_at_endpoint(w->fib, &from->from);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO &&
            c->cmsg_len >= CMSG_LEN(sizeof(int))) {
            int size;
            memcpy(&size, CMSG_DATA(c), sizeof size);
            segment = size > 0 ? (uint32_t)size : 0;
        } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO &&
                   c->cmsg_len >= CMSG_LEN(sizeof(struct in6_pktinfo))) {
            from->local = address_load(CMSG_DATA(c));
        } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO &&
                   c->cmsg_len >= CMSG_LEN(sizeof(struct in_pktinfo))) {
            struct in_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof info);
            from->local = address_load4((const uint8_t *)&info.ipi_spec_dst);
        }
    }
    return segment;
}

static inline void worker_datagram(struct worker *w, unsigned i, uint64_t now)
{
    struct msghdr *m = &w->message[i].msg_hdr;
    uint32_t bytes = w->message[i].msg_len;
    struct arrival from;
    uint32_t size = worker_arrival(w, m, &from);
    uint64_t segments = 0;

    if (bytes > RECEIVE_BYTES || m->msg_flags & MSG_TRUNC) {
        count(w->page, COUNTER_UDP_RECEIVED_PACKETS, 1);
        count(w->page, COUNTER_DROP + REASON_TRUNCATED, 1);
        return;
    }
    if (!size || size > bytes)
        size = bytes;
    uint32_t offset = 0;
    do {
        uint32_t n = bytes - offset < size ? bytes - offset : size;
        worker_segment(w, &from, w->arena[i] + offset, n, now);
        offset += n;
        segments++;
    } while (offset < bytes);
    count(w->page, COUNTER_UDP_RECEIVED_PACKETS, segments);
    count(w->page, COUNTER_UDP_RECEIVED_BYTES, bytes);
    if (from.sender >= 0) {
        count_peer(w->page, from.sender, PEER_RX_PACKETS, segments);
        count_peer(w->page, from.sender, PEER_RX_BYTES, bytes);
    }
}

/* Returns true if there may be more. */
static inline bool worker_receive(struct worker *w, uint64_t now)
{
    for (unsigned i = 0; i < RECEIVE_MESSAGES; i++) {
        w->message[i].msg_hdr = (struct msghdr){
            .msg_name = &w->name[i], .msg_namelen = sizeof w->name[i],
            .msg_iov = &w->vector[i], .msg_iovlen = 1,
            .msg_control = w->control[i].bytes, .msg_controllen = sizeof w->control[i].bytes};
    }
    int n = recvmmsg(w->udp, w->message, RECEIVE_MESSAGES, MSG_DONTWAIT, NULL);
    if (n <= 0) {
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            count(w->page, COUNTER_SOCKET_ERRORS, 1);
            if (w->role == ROLE_CLIENT && errno == ECONNREFUSED)
                w->events |= EVENT_REFUSED;
            return false;
        }
        return false;
    }
    count(w->page, COUNTER_RECEIVE_BURSTS, 1);
    w->answered = 0;
    for (int i = 0; i < n; i++)
        worker_datagram(w, (unsigned)i, now);
    sender_flush(&w->sender);
    merge_flush(&w->writer);
    return n == RECEIVE_MESSAGES;
}

/* Returns true if there may be more. */
static inline bool worker_drain(struct worker *w)
{
    struct ring_record *record = NULL;
    int taken = 0;

    while (taken < RING_BURST && (record = ring_next(&w->ring))) {
        struct shape shape;
        taken++;
        int reason = shape_check(record->payload, record->size, &shape);
        if (reason < 0 && (record->slot >= w->fib->peer_count || !record->incarnation ||
                           w->fib->peers[record->slot].incarnation != record->incarnation))
            reason = REASON_STALE_PEER;
        count(w->page, COUNTER_RING_PACKETS, shape.segments);
        count(w->page, COUNTER_RING_BYTES, shape.length);
        if (reason < 0)
            split_send(&w->sender, &shape, (int32_t)record->slot);
        else
            count(w->page, COUNTER_RING_DROP + reason, shape.segments);
    }
    if (!taken)
        return false;
    sender_flush(&w->sender);
    ring_release(&w->ring);
    return taken == RING_BURST;
}

static inline void worker_events(struct worker *w, uint64_t now)
{
    w->events |= w->sender.events | w->writer.events;
    w->sender.events = w->writer.events = 0;
    unsigned often = EVENT_REFUSED | EVENT_SOURCE_GONE;
    if (!(w->events & often))
        return;
    if (now - w->refused_at < REFUSED_NS)
        w->events &= ~often;
    else
        w->refused_at = now;
}

/* Turns until something needs the interpreter, or `timeout` ns have passed. */
static inline unsigned worker_run(struct worker *w, uint64_t timeout)
{
    struct pollfd fds[3] = {{.fd = w->udp, .events = POLLIN},
                            {.fd = w->doorbell, .events = POLLIN},
                            {.fd = w->channel, .events = POLLIN}};
    uint64_t now = monotonic_ns(), end = now + timeout, rung;
    unsigned turn = 0;
    bool more_udp = true, more_ring = true;

    w->events = 0;
    /* Who was just acked is in a message here, and his first packet may wait already. */
    if (timeout && poll(&fds[2], 1, 0) > 0)
        return EVENT_CHANNEL;
    for (;; now = monotonic_ns()) {
        atomic_store_explicit(&w->page->pulse, now, memory_order_relaxed);
        count(w->page, COUNTER_TURNS, 1);
        w->sender.now = now;
        if (more_udp)
            more_udp = worker_receive(w, now);
        more_ring = worker_drain(w);
        worker_events(w, now);
        if (w->events) /* the channel must not wait for a turn without events */
            return w->events | (poll(&fds[2], 1, 0) > 0 ? EVENT_CHANNEL : 0u);
        bool more = more_udp || more_ring;
        if (more && ++turn % 16)
            continue;
        uint64_t wait = more || now >= end ? 0 : (end - now) / 1000000 + 1;
        int ready = poll(fds, 3, (int)wait);
        if (ready < 0)
            return 0; /* a signal: let Python see it */
        if (fds[1].revents & POLLIN && read(w->doorbell, &rung, sizeof rung) < 0 && errno != EAGAIN)
            count(w->page, COUNTER_SOCKET_ERRORS, 1);
        if (fds[2].revents)
            return EVENT_CHANNEL;
        more_udp = more_udp || fds[0].revents;
        if (now >= end)
            return 0; /* busy or not: signals wait for this */
    }
}

/* `w` may be NULL, or never opened. */
static inline void worker_close(struct worker *w)
{
    if (!w)
        return;
    punt_limits_close(&w->limits);
    free(w);
}

/* False when memory is short. */
static inline bool worker_open(struct worker *w)
{
    for (unsigned i = 0; i < RECEIVE_MESSAGES; i++)
        w->vector[i] = (struct iovec){w->arena[i], RECEIVE_BYTES};
    w->answers = (struct bucket){ANSWER_RATE, ANSWER_BURST, 0, 0};
    return punt_limits_open(&w->limits, w->fib);
}

#endif
