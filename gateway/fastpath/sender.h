/* Sends bursts of datagrams to peers from one UDP socket.
 *
 * Datagrams are put one by one and grouped as they come: neighbours for one peer
 * and of one size, the last perhaps shorter, leave as one message with UDP_SEGMENT
 * (udp(7); kernel limits: 64 segments, 65,507 bytes). All messages of a burst leave
 * by one sendmmsg. Payload is gathered from where it lies: what is put is borrowed
 * until sender_flush (I5).
 *
 * Errors stay with the peer they belong to (I13). EAGAIN: the socket's buffer is
 * full, the rest of the burst is dropped. EIO, EMSGSIZE and EINVAL on a group mean
 * that this peer's path cannot take it: it goes singly, and so does all for this
 * peer for a while. ECONNREFUSED may belong to an earlier datagram: tried once more.
 */
#ifndef GATEWAY_SENDER_H
#define GATEWAY_SENDER_H

#include <errno.h>
#include <netinet/udp.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "fib.h"
#include "page.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef SOL_UDP
#define SOL_UDP 17
#endif

#define SENDER_MESSAGES 64
#define SENDER_SEGMENTS 64u
#define SENDER_BYTES 65507u
#define SENDER_VECTORS (SENDER_MESSAGES * SENDER_SEGMENTS * 2)
#define SENDER_SCRATCH (256u * 1024u)
#define SENDER_HEADER 256u
#define SENDER_SINGLE_NS 30000000000u /* how long a peer is sent to singly */

enum event { /* why run() came back, as bits */
    EVENT_CHANNEL = 1,
    EVENT_PUNTS = 2,
    EVENT_DEVICE_GONE = 4,
    EVENT_REFUSED = 8,
    EVENT_SOURCE_GONE = 16
};

enum origin { /* whose sums a datagram belongs to */
    FROM_UDP,  /* forwarded */
    FROM_RING, /* the host's */
    FROM_US    /* an answer of ours: in nobody's sums but its own */
};

struct send_item {
    int32_t slot;
    uint32_t first, vectors; /* in sender.vectors */
    uint32_t segments, segment, bytes;
    bool closed; /* a shorter datagram was the last */
    enum origin origin;
};

struct sender {
    int fd, family;
    bool connected, gso;
    uint64_t now; /* set once per turn (I11) */
    struct fib *fib;
    struct page *page;
    unsigned events;
    unsigned items, vectors_used, scratch_used;
    struct send_item item[SENDER_MESSAGES];
    struct mmsghdr message[SENDER_MESSAGES];
    struct iovec vector[SENDER_VECTORS];
    union {
        struct cmsghdr align;
        uint8_t bytes[CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(uint16_t))];
    } control[SENDER_MESSAGES];
    uint8_t scratch[SENDER_SCRATCH];
};

static inline void sender_flush(struct sender *s);

/* Make sure that one more datagram with a header of its own can be put. */
static inline void sender_room(struct sender *s)
{
    if (s->items == SENDER_MESSAGES || s->vectors_used + 2 > SENDER_VECTORS ||
        s->scratch_used + SENDER_HEADER > SENDER_SCRATCH)
        sender_flush(s);
}

/* Memory for a header of up to SENDER_HEADER bytes; after sender_room. */
static inline uint8_t *sender_header(struct sender *s)
{
    return s->scratch + s->scratch_used;
}

static inline void sender_vector(struct sender *s, struct send_item *item, const uint8_t *p, size_t n)
{
    struct iovec *last = item->vectors ? &s->vector[s->vectors_used - 1] : NULL;

    if (last && (const uint8_t *)last->iov_base + last->iov_len == p) {
        last->iov_len += n;
        return;
    }
    s->vector[s->vectors_used++] = (struct iovec){(void *)(uintptr_t)p, n};
    item->vectors++;
}

/* Queue one datagram: `head` from sender_header (or NULL), then `body`. Call
 * sender_room first. The peer in `slot` must exist. */
static inline void sender_put(struct sender *s, int32_t slot, enum origin origin,
                              const uint8_t *head, uint32_t head_bytes, const uint8_t *body, uint32_t body_bytes)
{
    uint32_t bytes = head_bytes + body_bytes;
    struct send_item *item = s->items ? &s->item[s->items - 1] : NULL;
    bool group = s->gso && s->fib->peers[slot].single_until <= s->now;

    if (!item || !group || item->closed || item->slot != slot || item->origin != origin ||
        bytes > item->segment || item->segments == SENDER_SEGMENTS ||
        item->bytes + bytes > SENDER_BYTES) {
        item = &s->item[s->items++];
        *item = (struct send_item){.slot = slot, .first = s->vectors_used, .segment = bytes,
                                   .closed = !group, .origin = origin};
    }
    if (bytes < item->segment)
        item->closed = true;
    item->segments++;
    item->bytes += bytes;
    if (head_bytes) {
        sender_vector(s, item, head, head_bytes);
        s->scratch_used += (head_bytes + 7u) & ~7u;
    }
    if (body_bytes)
        sender_vector(s, item, body, body_bytes);
}

static inline void sender_count_sent(struct sender *s, const struct send_item *item,
                                     uint64_t packets, uint64_t bytes)
{
    if (item->origin == FROM_US) {
        count(s->page, COUNTER_ANSWERED_PACKETS, packets);
    } else {
        bool ring = item->origin == FROM_RING;
        count(s->page, ring ? COUNTER_SENT_PACKETS : COUNTER_FORWARDED_PACKETS, packets);
        count(s->page, ring ? COUNTER_SENT_BYTES : COUNTER_FORWARDED_BYTES, bytes);
    }
    count_peer(s->page, item->slot, PEER_TX_PACKETS, packets);
    count_peer(s->page, item->slot, PEER_TX_BYTES, bytes);
}

static inline void sender_count_drop(struct sender *s, const struct send_item *item, int reason,
                                     uint64_t packets)
{
    if (item->origin == FROM_US)
        count(s->page, COUNTER_SOCKET_ERRORS, packets);
    else
        count(s->page, (item->origin == FROM_RING ? COUNTER_RING_DROP : COUNTER_DROP) + reason,
              packets);
    count_peer(s->page, item->slot, PEER_TX_DROPPED, packets);
}

static inline int sender_reason(struct sender *s, int error)
{
    if (error == EAGAIN || error == EWOULDBLOCK || error == ENOBUFS || error == ENOMEM)
        return REASON_SEND_FULL;
    if (error == ECONNREFUSED) {
        if (s->connected)
            s->events |= EVENT_REFUSED;
        return REASON_SEND_REFUSED;
    }
    if (s->connected && (error == ENETUNREACH || error == EADDRNOTAVAIL || error == ENODEV))
        s->events |= EVENT_SOURCE_GONE;
    return REASON_SEND_ERROR;
}

static inline void sender_address(struct sender *s, const struct send_item *item,
                                  struct msghdr *message, uint8_t *control)
{
    struct fib_peer *peer = &s->fib->peers[item->slot];
    size_t used = 0;

    *message = (struct msghdr){.msg_iov = &s->vector[item->first], .msg_iovlen = item->vectors};
    if (!s->connected && s->family == AF_INET6) {
        message->msg_name = &peer->name6;
        message->msg_namelen = sizeof peer->name6;
    } else if (!s->connected) {
        message->msg_name = &peer->name4;
        message->msg_namelen = sizeof peer->name4;
    }
    if (!s->connected && peer->has_local && s->family == AF_INET6) {
        struct in6_pktinfo info = {.ipi6_ifindex = 0};
        struct cmsghdr header = {CMSG_LEN(sizeof info), IPPROTO_IPV6, IPV6_PKTINFO};
        address_store(peer->local, (uint8_t *)&info.ipi6_addr);
        memcpy(control + used, &header, sizeof header);
        memcpy(control + used + CMSG_LEN(0), &info, sizeof info);
        used += CMSG_SPACE(sizeof info);
    } else if (!s->connected && peer->has_local && peer->is4) {
        struct in_pktinfo info = {0};
        struct cmsghdr header = {CMSG_LEN(sizeof info), IPPROTO_IP, IP_PKTINFO};
        uint8_t local[16];
        address_store(peer->local, local);
        memcpy(&info.ipi_spec_dst, local + 12, 4);
        memcpy(control + used, &header, sizeof header);
        memcpy(control + used + CMSG_LEN(0), &info, sizeof info);
        used += CMSG_SPACE(sizeof info);
    }
    if (item->segments > 1) {
        uint16_t segment = (uint16_t)item->segment;
        struct cmsghdr header = {CMSG_LEN(sizeof segment), SOL_UDP, UDP_SEGMENT};
        memcpy(control + used, &header, sizeof header);
        memcpy(control + used + CMSG_LEN(0), &segment, sizeof segment);
        used += CMSG_SPACE(sizeof segment);
    }
    if (used) {
        message->msg_control = control;
        message->msg_controllen = used;
    }
}

/* A group that its path did not take: datagram by datagram. False: the buffer is full. */
static inline bool sender_singly(struct sender *s, const struct send_item *group)
{
    struct send_item one = *group;
    struct msghdr message;
    const struct iovec *v = &s->vector[group->first];
    size_t offset = 0;
    uint32_t left = group->bytes;
    uint8_t control[sizeof s->control[0]] __attribute__((aligned(8)));

    one.segments = 1;
    sender_address(s, &one, &message, control);
    for (uint32_t done = 0; left; done++) {
        struct iovec piece[8];
        int pieces = 0;
        uint32_t want = left < group->segment ? left : group->segment, got = 0;
        while (got < want && pieces < 8) {
            size_t n = v->iov_len - offset;
            if (n > want - got)
                n = want - got;
            piece[pieces++] = (struct iovec){(uint8_t *)v->iov_base + offset, n};
            got += (uint32_t)n;
            offset += n;
            if (offset == v->iov_len)
                v++, offset = 0;
        }
        left -= want;
        message.msg_iov = piece;
        message.msg_iovlen = (size_t)pieces;
        ssize_t sent = sendmsg(s->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && (errno == ECONNREFUSED || errno == EINTR))
            sent = sendmsg(s->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent >= 0) {
            sender_count_sent(s, group, 1, want);
            continue;
        }
        int reason = sender_reason(s, errno);
        if (errno == EAGAIN) {
            sender_count_drop(s, group, reason, group->segments - done);
            return false;
        }
        sender_count_drop(s, group, reason, 1);
    }
    return true;
}

static inline bool sender_is_path_error(int error)
{
    return error == EIO || error == EMSGSIZE || error == EINVAL || error == EOPNOTSUPP;
}

/* One message failed with errno. False: the buffer is full, stop the burst. */
static inline bool sender_failed(struct sender *s, const struct send_item *item, bool *again)
{
    int error = errno;

    if ((error == ECONNREFUSED || error == EINTR) && !*again) {
        *again = true;
        return true;
    }
    *again = false;
    if (item->segments > 1 && sender_is_path_error(error)) {
        s->fib->peers[item->slot].single_until = s->now + SENDER_SINGLE_NS;
        set_peer_word(s->page, item->slot, PEER_SINGLE_SENDS, 1);
        count(s->page, COUNTER_GSO_FALLBACKS, 1);
        return sender_singly(s, item);
    }
    sender_count_drop(s, item, sender_reason(s, error), item->segments);
    return error != EAGAIN;
}

/* Send all that was put. Afterwards nothing is borrowed any more. */
static inline void sender_flush(struct sender *s)
{
    bool again = false;

    for (unsigned i = 0; i < s->items; i++)
        sender_address(s, &s->item[i], &s->message[i].msg_hdr, s->control[i].bytes);
    if (s->items)
        count(s->page, COUNTER_SEND_BURSTS, 1);
    for (unsigned i = 0; i < s->items;) {
        int sent = sendmmsg(s->fd, &s->message[i], s->items - i, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent > 0) {
            for (int k = 0; k < sent; k++, i++) {
                struct send_item *item = &s->item[i];
                sender_count_sent(s, item, item->segments, item->bytes);
                if (item->segments > 1 &&
                    peer_word(s->page, item->slot, PEER_SINGLE_SENDS)) {
                    s->fib->peers[item->slot].single_until = 0;
                    set_peer_word(s->page, item->slot, PEER_SINGLE_SENDS, 0);
                }
            }
            again = false;
            continue;
        }
        if (!sender_failed(s, &s->item[i], &again)) {
            for (i++; i < s->items; i++)
                sender_count_drop(s, &s->item[i], REASON_SEND_FULL, s->item[i].segments);
            break;
        }
        if (!again)
            i++;
    }
    s->items = s->vectors_used = s->scratch_used = 0;
}

#endif
