/* Packets made of fuzz input: mostly honest, so that the deep code is reached. */
#ifndef PACKETS_H
#define PACKETS_H

#include "fuzz.h"
#include "packet.h"

/* Make the IP header's lengths agree with `n`, and its addresses few. */
static inline void make_honest(uint8_t *packet, size_t n, uint8_t how)
{
    if (n >= 20 && how & 1) {
        uint32_t header = how & 2 && n >= 24 ? 24 : 20;
        packet[0] = (uint8_t)(0x40 | header / 4);
        put16(packet + 2, (uint32_t)n);
        packet[9] = how & 4 ? IP_TCP : IP_UDP;
        for (int i = 12; i < 20; i++)
            packet[i] = i % 4 == 3 ? packet[i] & 3 : i % 4 == 0 ? 10 : 0;
    } else if (n >= 40 && how & 8) {
        packet[0] = 0x60;
        put16(packet + 4, (uint32_t)n - 40);
        packet[6] = how & 4 ? IP_TCP : IP_UDP;
        for (int i = 8; i < 40; i++)
            packet[i] = i % 16 == 15 - 8 ? packet[i] & 3 : i % 16 == 8 ? 0xfd : 0;
    }
}

/* A virtio header that fits the honest packet behind it: a super-packet with segments of
 * `size` bytes, or of more: some hundred segments are enough. */
static inline void make_offload(uint8_t *record, size_t bytes, uint16_t size)
{
    uint8_t *packet = record + 10;

    if (bytes < 10 + 60)
        return;
    if (size < bytes / 200)
        size = (uint16_t)(bytes / 200);
    bool v4 = packet[0] >> 4 == 4;
    uint16_t ip = v4 ? (packet[0] & 15u) * 4u : 40;
    bool tcp = (v4 ? packet[9] : packet[6]) == IP_TCP;
    uint16_t fields[4] = {0, size, ip, tcp ? 16 : 6};
    record[0] = 1;
    record[1] = !tcp ? 5 : v4 ? 1 : 4;
    memcpy(record + 2, fields, sizeof fields);
    if (tcp && packet[ip + 12] < 0x50)
        packet[ip + 12] = 0x50;
}

/* Right checksums for TCP or UDP behind the IP header, as far as there is room. */
static inline void make_sums(uint8_t *packet, size_t n)
{
    int version = packet[0] >> 4;
    size_t ip = version == 4 ? (packet[0] & 15u) * 4u : 40;
    bool tcp = (version == 4 ? packet[9] : packet[6]) == IP_TCP;
    size_t field = ip + (tcp ? 16 : 6);

    if (n < ip + 20)
        return;
    if (!tcp)
        put16(packet + ip + 4, (uint32_t)(n - ip));
    put16(packet + field, 0);
    uint64_t sum = sum_pseudo(packet, version, tcp ? IP_TCP : IP_UDP, (uint32_t)(n - ip));
    uint16_t folded = (uint16_t)~sum_fold(sum_bytes(packet + ip, n - ip, sum));
    put_sum(packet + field, !tcp && !folded ? 0xffff : folded);
    if (version == 4)
        ipv4_set_checksum(packet, (uint32_t)ip);
}

#endif
