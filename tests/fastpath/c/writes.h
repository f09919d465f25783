/* A double of writev for the TUN: it cuts every joined write again, plainly, and looks
 * the segments up among those that went in: the same bytes, in order within a flow. */
#ifndef WRITES_H
#define WRITES_H

#include "fuzz.h"

ssize_t fake_writev(int fd, const struct iovec *v, int n);
#define writev fake_writev
#include "merge.h"

#define ORIGINALS 2048

static struct original {
    const uint8_t *packet; /* a copy, made before anything could be edited in place */
    size_t bytes;
    bool out;
} original[ORIGINALS];
static unsigned originals;
static uint64_t writes, joins;
static bool refuse_joins; /* a device without super-packets */
static uint64_t refused_tcp, refused_udp;

static inline size_t ports_at(const uint8_t *packet, size_t bytes)
{
    size_t ip = packet[0] >> 4 == 4 ? (packet[0] & 15u) * 4u : 40;
    bool whole = packet[0] >> 4 == 6 || !(get16(packet + 6) & 0x3fff);
    uint8_t protocol = packet[0] >> 4 == 4 ? packet[9] : packet[6];
    return whole && (protocol == IP_TCP || protocol == IP_UDP) && bytes >= ip + 4 ? ip : 0;
}

/* Can the order of these two matter to anybody? */
static inline bool related(const struct original *a, const struct original *b)
{
    if (a->packet[0] >> 4 != b->packet[0] >> 4)
        return false;
    if (a->packet[0] >> 4 == 4 ? memcmp(a->packet + 12, b->packet + 12, 8)
                               : memcmp(a->packet + 8, b->packet + 8, 32))
        return false;
    size_t at = ports_at(a->packet, a->bytes), bt = ports_at(b->packet, b->bytes);
    if (!at || !bt)
        return true;
    uint8_t ap = a->packet[0] >> 4 == 4 ? a->packet[9] : a->packet[6];
    uint8_t bp = b->packet[0] >> 4 == 4 ? b->packet[9] : b->packet[6];
    return ap == bp && !memcmp(a->packet + at, b->packet + bt, 4);
}

/* Did a later packet of the same flow come out already? */
static inline bool overtaken(unsigned i)
{
    for (unsigned k = i + 1; k < originals; k++)
        if (original[k].out && related(&original[k], &original[i]))
            return true;
    return false;
}

static inline void see_packet(const uint8_t *packet, size_t bytes)
{
    unsigned i = 0;

    while (i < originals && (original[i].out || original[i].bytes != bytes ||
                             memcmp(original[i].packet, packet, bytes) || overtaken(i)))
        i++;
    CHECK(i < originals); /* else something came out that never went in, or too late */
    original[i].out = true;
}

static inline void cut_again(const uint8_t *packet, size_t bytes, const struct vnet *v)
{
    int version = packet[0] >> 4;
    size_t ip = v->csum_start, headers = v->hdr_len, payload = bytes - headers;
    bool tcp = v->gso_type != VNET_GSO_UDP_L4;

    CHECK(v->flags == VNET_NEEDS_CSUM && v->gso_size && payload > v->gso_size);
    CHECK(v->csum_offset == (tcp ? 16 : 6));
    CHECK(version == 4 ? get16(packet + 2) == bytes : 40u + get16(packet + 4) == bytes);
    CHECK(version == 6 || sum_fold(sum_bytes(packet, ip, 0)) == 0xffff);
    uint16_t pseudo = sum_fold(sum_pseudo(packet, version, tcp ? IP_TCP : IP_UDP,
                                          (uint32_t)(bytes - ip)));
    CHECK(!memcmp(packet + ip + v->csum_offset, &pseudo, 2));
    for (size_t offset = 0, index = 0; offset < payload; offset += v->gso_size, index++) {
        size_t n = payload - offset < v->gso_size ? payload - offset : v->gso_size;
        uint8_t *one = malloc(headers + n), *t = one + ip;
        memcpy(one, packet, headers);
        memcpy(one + headers, packet + headers + offset, n);
        if (version == 4) {
            put16(one + 2, (uint32_t)(headers + n));
            put16(one + 4, get16(one + 4) + (uint32_t)index);
            ipv4_set_checksum(one, (uint32_t)ip);
        } else {
            put16(one + 4, (uint32_t)(headers + n - 40));
        }
        if (tcp) {
            put32(t + 4, get32(t + 4) + (uint32_t)offset);
            if (offset + n < payload)
                t[13] &= (uint8_t)~(TCP_PSH | TCP_FIN);
        } else {
            put16(t + 4, (uint32_t)(8 + n));
        }
        put16(t + v->csum_offset, 0);
        uint64_t sum = sum_pseudo(one, version, tcp ? IP_TCP : IP_UDP, (uint32_t)(headers + n - ip));
        uint16_t folded = (uint16_t)~sum_fold(sum_bytes(t, headers + n - ip, sum));
        put_sum(t + v->csum_offset, !tcp && !folded ? 0xffff : folded);
        see_packet(one, headers + n);
        free(one);
    }
}

ssize_t fake_writev(int fd, const struct iovec *v, int n)
{
    size_t bytes;
    struct vnet vnet;

    CHECK(fd == 5 && n >= 2 && n <= 66);
    CHECK(v[0].iov_len == VNET_BYTES);
    uint8_t *whole = gather(v, (size_t)n, &bytes);
    memcpy(&vnet, whole, VNET_BYTES);
    writes++;
    if (vnet.gso_type) {
        joins++;
        cut_again(whole + VNET_BYTES, bytes - VNET_BYTES, &vnet);
    } else {
        CHECK(vnet.flags == 0);
        see_packet(whole + VNET_BYTES, bytes - VNET_BYTES);
    }
    free(whole);
    if (!vnet.gso_type || !refuse_joins)
        return (ssize_t)bytes;
    if (vnet.gso_type == VNET_GSO_UDP_L4)
        refused_udp++;
    else
        refused_tcp++;
    errno = EINVAL;
    return -1;
}

#endif
