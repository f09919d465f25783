/* Clamping the MSS option of a SYN to what the tunnel takes in one packet (RFC 9293,
 * 3.7.1): hosts behind a gateway else learn it from ICMP, which firewalls eat. */
#ifndef GATEWAY_MSS_H
#define GATEWAY_MSS_H

#include "packet.h"

#define TCP_SYN 0x02

/* Put `value` in place of the 16 bits at `field`, and keep the checksum at `sum` right or
 * as wrong as it was (RFC 1624). `odd`: the field lies across two of the sum's words. */
static inline void mss_replace(uint8_t *field, uint32_t value, uint8_t *sum, bool odd)
{
    uint16_t before, after, now;

    memcpy(&before, field, 2);
    put16(field, value);
    memcpy(&after, field, 2);
    if (odd) {
        before = (uint16_t)(before << 8 | before >> 8);
        after = (uint16_t)(after << 8 | after >> 8);
    }
    memcpy(&now, sum, 2);
    put_sum(sum, (uint16_t)~sum_fold((uint64_t)(uint16_t)~now + (uint16_t)~before + after));
}

/* `partial`: the checksum is completed later, over what stands there then. Anything but a
 * whole TCP SYN right behind the IP header stays as it is. */
static inline void mss_clamp(uint8_t *packet, uint32_t length, uint32_t mtu, bool partial)
{
    bool is4 = packet[0] >> 4 == 4;
    uint32_t ip = is4 ? (packet[0] & 15u) * 4 : 40;

    if (length < ip + 20 || packet[is4 ? 9 : 6] != IP_TCP || (is4 && get16(packet + 6) & 0x1fff))
        return;
    uint8_t *tcp = packet + ip;
    uint32_t header = (tcp[12] >> 4) * 4u;
    if (!(tcp[13] & TCP_SYN) || ip + header > length)
        return;
    uint32_t limit = mtu - (is4 ? 40 : 60);
    for (uint32_t at = 20; at + 2 <= header && tcp[at] != 0;) {
        if (tcp[at] == 1) {
            at++;
            continue;
        }
        uint32_t size = tcp[at + 1];
        if (size < 2 || at + size > header)
            return;
        if (tcp[at] == 2 && size == 4) {
            if (get16(tcp + at + 2) > limit) {
                if (partial)
                    put16(tcp + at + 2, limit);
                else
                    mss_replace(tcp + at + 2, limit, tcp + 16, at & 1);
            }
            return;
        }
        at += size;
    }
}

#endif
