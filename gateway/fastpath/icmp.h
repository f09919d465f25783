/* The answers a router gives: destination host unreachable for a packet that nobody will
 * get, and too big for one that is wider than the tunnel and may not be fragmented (RFC 792;
 * RFC 1191, 4; RFC 1812, 4.3.2; RFC 4443, 2.4, 3.1 and 3.2).
 *
 * None for what must not be answered: ICMP errors, fragments but the first, multicast
 * and broadcast, sources that are no host's, and IPv6 behind extension headers, where
 * an error may hide. How often is the caller's affair. */
#ifndef GATEWAY_ICMP_H
#define GATEWAY_ICMP_H

#include "packet.h"

#define ICMP_BYTES4 576u
#define ICMP_BYTES6 1280u
#define ICMP_BYTES_MAX ICMP_BYTES6
#define ANSWER_RATE 100u /* a second and writer */
#define ANSWER_BURST 100u
#define IP_ICMP 1
#define IP_ICMPV6 58

struct icmp_error { /* type, code, and what an error says beside them: the MTU */
    uint8_t type, code;
    uint32_t mtu;
};

/* RFC 792 and RFC 950 queries, which may be answered; every other type is an error or unknown. */
static inline bool icmp_is_query4(uint8_t type)
{
    return type == 0 || type == 8 || (type >= 13 && type <= 18);
}

static inline bool icmp_is_due(const uint8_t *packet, uint32_t length, const struct inner *inner)
{
    if (inner_unroutable_source(packet, inner))
        return false;
    if (inner->version == 4) {
        if (packet[16] >= 224 || get16(packet + 6) & 0x1fff)
            return false;
        if (inner->protocol != IP_ICMP)
            return true;
        return length > inner->header && icmp_is_query4(packet[inner->header]);
    }
    if (packet[24] == 0xff)
        return false;
    switch (inner->protocol) {
    case 0: case 43: case 44: case 51: case 60: case 135: case 139: case 140:
        return false;
    case IP_ICMPV6:
        return length > 40 && packet[40] >= 128;
    default:
        return true;
    }
}

/* Whether a packet for another peer is to be answered instead of sent on: it is wider than
 * the tunnel, must stay whole, and its sender can be told. Whoever cannot be told is better
 * served by a datagram in fragments than by silence. */
static inline bool icmp_is_too_big(const uint8_t *packet, uint32_t length, uint32_t mtu)
{
    struct inner inner;

    if (length <= mtu || inner_parse(packet, length, &inner) >= 0)
        return false;
    if (inner.version == 4 && !(packet[6] & 0x40)) /* DF */
        return false;
    return icmp_is_due(packet, length, &inner);
}

/* Build an error about a checked packet (inner_parse) in `out`, ICMP_BYTES_MAX bytes, from
 * `from`, an address of the packet's family. Returns its bytes, or 0: none is due. */
static inline uint32_t icmp_build(const uint8_t *packet, uint32_t length, struct address from,
                                  struct icmp_error four, struct icmp_error six, uint8_t *out)
{
    struct inner inner;
    uint8_t source[16];

    if (inner_parse(packet, length, &inner) >= 0 || !icmp_is_due(packet, length, &inner))
        return 0;
    address_store(from, source);
    uint32_t ip = inner.version == 4 ? 20 : 40;
    uint32_t most = (inner.version == 4 ? ICMP_BYTES4 : ICMP_BYTES6) - ip - 8;
    uint32_t quote = length < most ? length : most;
    uint32_t total = ip + 8 + quote;
    memset(out, 0, ip + 8);
    memcpy(out + ip + 8, packet, quote);
    if (inner.version == 4) {
        out[0] = 0x45;
        out[1] = 0xc0; /* internetwork control */
        put16(out + 2, total);
        out[6] = 0x40; /* DF */
        out[8] = 64;
        out[9] = IP_ICMP;
        memcpy(out + 12, source + 12, 4);
        memcpy(out + 16, packet + 12, 4);
        ipv4_set_checksum(out, 20);
        out[20] = four.type;
        out[21] = four.code;
        put32(out + 24, four.mtu);
        put_sum(out + 22, (uint16_t)~sum_fold(sum_bytes(out + 20, 8 + quote, 0)));
        return total;
    }
    out[0] = 0x60;
    put16(out + 4, 8 + quote);
    out[6] = IP_ICMPV6;
    out[7] = 64;
    memcpy(out + 8, source, 16);
    memcpy(out + 24, packet + 8, 16);
    out[40] = six.type;
    out[41] = six.code;
    put32(out + 44, six.mtu);
    uint64_t sum = sum_pseudo(out, 6, IP_ICMPV6, 8 + quote);
    put_sum(out + 42, (uint16_t)~sum_fold(sum_bytes(out + 40, 8 + quote, sum)));
    return total;
}

/* Destination unreachable: host, in ICMPv6 address. See icmp_build. */
static inline uint32_t icmp_unreachable(const uint8_t *packet, uint32_t length,
                                        struct address from, uint8_t *out)
{
    return icmp_build(packet, length, from, (struct icmp_error){3, 1, 0},
                      (struct icmp_error){1, 3, 0}, out);
}

/* Fragmentation needed and DF set, in ICMPv6 packet too big. See icmp_build. */
static inline uint32_t icmp_too_big(const uint8_t *packet, uint32_t length, struct address from,
                                    uint32_t mtu, uint8_t *out)
{
    return icmp_build(packet, length, from, (struct icmp_error){3, 4, mtu},
                      (struct icmp_error){2, 0, mtu}, out);
}

#endif
