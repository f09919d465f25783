/* From datagrams to the TUN: neighbours of one TCP or UDP flow leave as one gathered
 * write with a virtio header; everything else leaves one by one.
 *
 * What is joined is what the kernel's own GRO would join, and can be cut again to
 * the very same segments (I12): identical addresses, ports, TOS, TTL, DF, options,
 * ACK, window and urgent pointer; consecutive sequence numbers and IP IDs; equal sizes, only the
 * last shorter; no flag but ACK, and PSH or FIN on the last; no IP options that
 * differ, no extension headers, no fragments. Checksums of every joined segment are
 * verified first, so a wrong one never leaves with a right one. A packet that cannot
 * join flushes its flow, and so order within a flow is kept.
 *
 * Packets are borrowed until merge_flush; the first header of a join is edited in
 * place. */
#ifndef GATEWAY_MERGE_H
#define GATEWAY_MERGE_H

#include <unistd.h>

#include "split.h"

#define MERGE_FLOWS 8
#define MERGE_SEGMENTS 64

struct merge {
    uint8_t *first; /* the first packet */
    uint32_t length;
    uint32_t ip, headers; /* bytes of the IP header, and of all headers */
    int version;
    bool tcp;
    uint32_t size;    /* payload bytes of the first */
    uint32_t payload; /* of all */
    uint32_t segments;
    uint32_t sequence; /* the next one's */
    uint16_t id;       /* the next one's */
    uint8_t flags;     /* PSH and FIN of the last */
    bool closed, verified;
    struct iovec *vector; /* a row of tun_writer.vector, for life */
};

struct tun_writer {
    int fd;
    bool merge_tcp, merge_udp;
    struct page *page;
    unsigned events;
    unsigned open;
    struct merge flow[MERGE_FLOWS];
    struct iovec vector[MERGE_FLOWS][2 + MERGE_SEGMENTS];
};

static inline void tun_writer_open(struct tun_writer *w, int fd, struct page *page, bool merge_tcp,
                                   bool merge_udp)
{
    *w = (struct tun_writer){.fd = fd, .page = page, .merge_tcp = merge_tcp,
                             .merge_udp = merge_udp};
    for (unsigned i = 0; i < MERGE_FLOWS; i++)
        w->flow[i].vector = w->vector[i];
}

static inline void tun_count(struct tun_writer *w, ssize_t written, uint64_t packets, uint64_t bytes)
{
    count(w->page, COUNTER_TUN_WRITES, 1);
    if (written >= 0) {
        count(w->page, COUNTER_DELIVERED_PACKETS, packets);
        count(w->page, COUNTER_DELIVERED_BYTES, bytes);
        return;
    }
    int reason = REASON_TUN_ERROR;
    if (errno == EIO || errno == ENETDOWN)
        reason = REASON_TUN_DOWN;
    else if (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM)
        reason = REASON_TUN_FULL;
    else if (errno == EBADFD || errno == EBADF || errno == ENODEV)
        w->events |= EVENT_DEVICE_GONE;
    count(w->page, COUNTER_DROP + reason, packets);
}

static inline void tun_write_one(struct tun_writer *w, uint8_t *packet, uint32_t length)
{
    static const uint8_t none[VNET_BYTES];
    struct iovec vector[2] = {{(void *)(uintptr_t)none, VNET_BYTES}, {packet, length}};

    tun_count(w, writev(w->fd, vector, 2), 1, length);
}

/* Parse what could be joined: TCP or UDP, whole, right behind the IP header, with payload. */
static inline bool merge_parse(const struct tun_writer *w, uint8_t *packet, uint32_t length,
                               struct merge *m)
{
    m->version = packet[0] >> 4;
    uint8_t protocol;
    if (m->version == 4) {
        m->ip = (packet[0] & 15u) * 4;
        protocol = packet[9];
        if (get16(packet + 6) & 0x3fff) /* MF or an offset: a fragment */
            return false;
        m->id = (uint16_t)(get16(packet + 4) + 1);
    } else {
        m->ip = 40;
        protocol = packet[6];
    }
    const uint8_t *t = packet + m->ip;
    m->flags = 0;
    if (protocol == IP_TCP && w->merge_tcp) {
        if (length < m->ip + 20)
            return false;
        uint32_t tcp = (t[12] >> 4) * 4u;
        if (tcp < 20 || length <= m->ip + tcp || (t[12] & 15) ||
            (t[13] & ~(TCP_PSH | TCP_FIN)) != TCP_ACK)
            return false;
        m->tcp = true;
        m->headers = m->ip + tcp;
        m->size = length - m->headers;
        m->sequence = get32(t + 4) + m->size;
        m->flags = t[13] & (TCP_PSH | TCP_FIN);
    } else if (protocol == IP_UDP && w->merge_udp) {
        if (length <= m->ip + 8 || get16(t + 4) != length - m->ip || get16(t + 6) == 0)
            return false;
        m->tcp = false;
        m->headers = m->ip + 8;
        m->size = length - m->headers;
    } else {
        return false;
    }
    m->first = packet;
    m->length = length;
    m->payload = m->size;
    m->segments = 1;
    m->closed = m->flags != 0;
    m->verified = false;
    return true;
}

static inline bool merge_verify(const struct merge *m)
{
    uint32_t bytes = m->length - m->ip;
    uint64_t sum = sum_pseudo(m->first, m->version, m->tcp ? IP_TCP : IP_UDP, bytes);

    if (sum_fold(sum_bytes(m->first + m->ip, bytes, sum)) != 0xffff)
        return false;
    return m->version == 6 || sum_fold(sum_bytes(m->first, m->ip, 0)) == 0xffff;
}

static inline bool merge_same_hosts(const struct merge *m, const uint8_t *packet)
{
    if (m->version != packet[0] >> 4)
        return false;
    return m->version == 4 ? memcmp(m->first + 12, packet + 12, 8) == 0
                           : memcmp(m->first + 8, packet + 8, 32) == 0;
}

static inline bool merge_same_flow(const struct merge *m, const struct merge *next)
{
    return m->tcp == next->tcp && merge_same_hosts(m, next->first) &&
           memcmp(m->first + m->ip, next->first + next->ip, 4) == 0;
}

/* Could this packet, which cannot join, belong to the flow? Without ports to compare, as
 * behind extension headers and in fragments, any flow between the same hosts may be its. */
static inline bool merge_touches(const struct merge *m, const uint8_t *packet, uint32_t length)
{
    if (!merge_same_hosts(m, packet))
        return false;
    uint32_t ip = m->version == 4 ? (packet[0] & 15u) * 4 : 40;
    uint8_t protocol = packet[m->version == 4 ? 9 : 6];
    if ((m->version == 4 && get16(packet + 6) & 0x3fff) || length < ip + 4 ||
        (protocol != IP_TCP && protocol != IP_UDP))
        return true;
    return m->tcp == (protocol == IP_TCP) && memcmp(m->first + m->ip, packet + ip, 4) == 0;
}

/* Do all fields agree that must? The flow is known to be the same. */
static inline bool merge_fits(const struct merge *m, const struct merge *next)
{
    const uint8_t *a = m->first, *b = next->first;

    if (m->closed || m->ip != next->ip || m->headers != next->headers || next->size > m->size ||
        m->segments == MERGE_SEGMENTS || m->headers + m->payload + next->size > 65535)
        return false;
    if (m->version == 4) {
        if (a[1] != b[1] || a[8] != b[8] || (a[6] & 0xe0) != (b[6] & 0xe0) ||
            get16(b + 4) != m->id || memcmp(a + 20, b + 20, m->ip - 20) != 0)
            return false;
    } else if (memcmp(a, b, 4) != 0 || a[7] != b[7]) {
        return false;
    }
    if (!m->tcp)
        return true;
    const uint8_t *ta = a + m->ip, *tb = b + next->ip;
    return get32(tb + 4) == m->sequence && memcmp(ta + 8, tb + 8, 4) == 0 &&
           memcmp(ta + 14, tb + 14, 2) == 0 &&
           memcmp(ta + 18, tb + 18, m->headers - m->ip - 18) == 0; /* urgent pointer, options */
}

static inline void merge_append(struct merge *m, const struct merge *next)
{
    if (m->segments == 1) /* place 0 is the virtio header's */
        m->vector[1] = (struct iovec){m->first, m->length};
    m->vector[1 + m->segments] =
        (struct iovec){next->first + next->headers, next->size};
    m->segments++;
    m->payload += next->size;
    m->sequence = next->sequence;
    m->id = next->id;
    m->flags |= next->flags;
    m->closed = next->flags || next->size < m->size;
}

static inline void merge_write(struct tun_writer *w, struct merge *m)
{
    if (m->segments == 1) {
        tun_write_one(w, m->first, m->length);
        return;
    }
    uint8_t *t = m->first + m->ip;
    uint32_t transport = m->headers - m->ip + m->payload;
    if (m->version == 4) {
        put16(m->first + 2, m->headers + m->payload);
        ipv4_set_checksum(m->first, m->ip);
    } else {
        put16(m->first + 4, transport);
    }
    if (m->tcp)
        t[13] |= m->flags;
    else
        put16(t + 4, transport);
    put_sum(t + (m->tcp ? 16 : 6),
            sum_fold(sum_pseudo(m->first, m->version, m->tcp ? IP_TCP : IP_UDP, transport)));
    struct vnet v = {.flags = VNET_NEEDS_CSUM,
                     .gso_type = !m->tcp ? VNET_GSO_UDP_L4
                                 : m->version == 4 ? VNET_GSO_TCPV4 : VNET_GSO_TCPV6,
                     .hdr_len = (uint16_t)m->headers, .gso_size = (uint16_t)m->size,
                     .csum_start = (uint16_t)m->ip, .csum_offset = m->tcp ? 16 : 6};
    uint64_t bytes = (uint64_t)m->headers * m->segments + m->payload;
    m->vector[0] = (struct iovec){&v, VNET_BYTES};
    ssize_t written = writev(w->fd, m->vector, (int)m->segments + 1);
    if (written < 0 && errno == EINVAL) { /* a device that cannot after all: singly from now on */
        count(w->page, COUNTER_MERGE_FALLBACKS, 1);
        w->merge_tcp = w->merge_tcp && !m->tcp;
        w->merge_udp = w->merge_udp && m->tcp;
    }
    tun_count(w, written, m->segments, bytes);
}

/* Write all that was put. Afterwards nothing is borrowed any more. */
static inline void merge_flush(struct tun_writer *w)
{
    for (unsigned i = 0; i < w->open; i++)
        merge_write(w, &w->flow[i]);
    w->open = 0;
}

static inline void merge_close(struct tun_writer *w, unsigned i)
{
    struct merge closed = w->flow[i];

    merge_write(w, &closed);
    w->open--;
    w->flow[i] = w->flow[w->open];
    w->flow[w->open].vector = closed.vector;
}

static inline void merge_start(struct merge *m, const struct merge *first)
{
    struct iovec *vector = m->vector;

    *m = *first;
    m->vector = vector;
}

/* Hand a checked IP packet (inner_parse) to the device. Borrowed until merge_flush. */
static inline void merge_put(struct tun_writer *w, uint8_t *packet, uint32_t length)
{
    struct merge next = {0};

    if (!merge_parse(w, packet, length, &next)) {
        for (unsigned i = w->open; i-- > 0;)
            if (merge_touches(&w->flow[i], packet, length))
                merge_close(w, i);
        tun_write_one(w, packet, length);
        return;
    }
    for (unsigned i = 0; i < w->open; i++) {
        struct merge *m = &w->flow[i];
        if (!merge_same_flow(m, &next))
            continue;
        if (merge_fits(m, &next) && (m->verified || (m->verified = merge_verify(m))) &&
            merge_verify(&next)) {
            merge_append(m, &next);
            return;
        }
        merge_write(w, m);
        merge_start(m, &next);
        return;
    }
    if (w->open == MERGE_FLOWS)
        merge_close(w, 0);
    merge_start(&w->flow[w->open++], &next);
}

#endif
