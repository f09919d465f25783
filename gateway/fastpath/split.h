/* From the TUN to datagrams: checks a virtio header against its packet, completes
 * checksums, cuts super-packets (virtio 1.2, 5.1.6; kernel networking/segmentation-
 * offloads). Payload is never copied: a segment is a header in the sender's scratch
 * memory and a piece of the record it came from.
 *
 * hdr_len is a hint only, so headers are parsed. A tiny MSS makes over a thousand
 * segments of one super-packet: the sender groups and flushes as it goes. */
#ifndef GATEWAY_SPLIT_H
#define GATEWAY_SPLIT_H

#include "sender.h"

#define VNET_BYTES 10u
#define VNET_NEEDS_CSUM 1
#define VNET_GSO_NONE 0
#define VNET_GSO_TCPV4 1
#define VNET_GSO_TCPV6 4
#define VNET_GSO_UDP_L4 5
#define VNET_GSO_ECN 0x80

#define TCP_FIN 0x01
#define TCP_PSH 0x08
#define TCP_ACK 0x10
#define TCP_CWR 0x80

struct vnet { /* host byte order, as a TUN gives it */
    uint8_t flags, gso_type;
    uint16_t hdr_len, gso_size, csum_start, csum_offset;
};

/* What a checked record holds. */
struct shape {
    uint8_t *vnet;
    uint8_t *packet;
    uint32_t length;
    int version;
    bool tcp;           /* of a super-packet: TCP, else UDP */
    uint32_t transport; /* offset of the TCP or UDP header */
    uint32_t headers;   /* bytes before the payload */
    uint32_t size;      /* payload bytes per segment; 0: not a super-packet */
    uint32_t segments;
    bool complete; /* the checksum at `sum_start` + `sum_offset` is to be completed */
    uint32_t sum_start, sum_offset;
};

/* Returns -1, or the reason to drop. Whatever it accepts, split_send can cut without
 * another look at a length. */
static inline int shape_check(uint8_t *record, size_t bytes, struct shape *shape)
{
    struct vnet v;

    *shape = (struct shape){.vnet = record, .segments = 1};
    if (bytes <= VNET_BYTES)
        return REASON_EMPTY;
    memcpy(&v, record, VNET_BYTES);
    shape->packet = record + VNET_BYTES;
    shape->length = (uint32_t)(bytes - VNET_BYTES);
    const uint8_t *packet = shape->packet;
    uint32_t length = shape->length;
    shape->version = packet[0] >> 4;

    if (v.flags & VNET_NEEDS_CSUM) {
        shape->complete = true;
        shape->sum_start = v.csum_start;
        shape->sum_offset = v.csum_offset;
        if ((uint32_t)v.csum_start + v.csum_offset + 2 > length)
            return REASON_BAD_OFFLOAD;
    }
    int type = v.gso_type & ~VNET_GSO_ECN;
    if (type == VNET_GSO_NONE)
        return -1;

    uint32_t ip = shape->version == 4 ? (packet[0] & 15u) * 4 : 40;
    if (!shape->complete || !v.gso_size || v.csum_start < ip || ip < 20 || length < ip)
        return REASON_BAD_OFFLOAD;
    shape->transport = v.csum_start;
    if (type == VNET_GSO_UDP_L4) {
        if (v.csum_offset != 6 || shape->transport + 8 > length)
            return REASON_BAD_OFFLOAD;
        shape->headers = shape->transport + 8;
    } else if ((type == VNET_GSO_TCPV4 && shape->version == 4) ||
               (type == VNET_GSO_TCPV6 && shape->version == 6)) {
        if (v.csum_offset != 16 || shape->transport + 20 > length)
            return REASON_BAD_OFFLOAD;
        uint32_t tcp = (packet[shape->transport + 12] >> 4) * 4u;
        if (tcp < 20 || shape->transport + tcp > length)
            return REASON_BAD_OFFLOAD;
        shape->tcp = true;
        shape->headers = shape->transport + tcp;
    } else {
        return REASON_BAD_OFFLOAD;
    }
    if (shape->headers > SENDER_HEADER)
        return REASON_BAD_OFFLOAD;
    uint32_t payload = length - shape->headers;
    shape->size = v.gso_size;
    shape->segments = payload ? (payload + shape->size - 1) / shape->size : 1;
    return -1;
}

/* Complete a partial checksum: the field holds the pseudo header's sum (linux/skbuff.h,
 * CHECKSUM_PARTIAL). The flag is cleared behind it, so that a successor that meets
 * the same record does not do it twice (I3). */
static inline void shape_complete(struct shape *shape)
{
    uint8_t *start = shape->packet + shape->sum_start;
    uint16_t sum = (uint16_t)~sum_fold(sum_bytes(start, shape->length - shape->sum_start, 0));

    if (sum == 0 && shape->sum_offset == 6)
        sum = 0xffff; /* UDP: 0 would mean "no checksum" (RFC 768) */
    put_sum(start + shape->sum_offset, sum);
    shape->vnet[0] = (uint8_t)(shape->vnet[0] & ~VNET_NEEDS_CSUM);
}

/* The header of segment `index`, whose payload is `size` bytes at `offset`. */
static inline void split_header(const struct shape *shape, uint8_t *header, uint32_t index,
                                uint32_t offset, uint32_t size)
{
    const uint8_t *payload = shape->packet + shape->headers + offset;
    bool last = shape->headers + offset + size == shape->length;
    uint8_t *transport = header + shape->transport;
    uint32_t transport_bytes = shape->headers - shape->transport;

    memcpy(header, shape->packet, shape->headers);
    if (shape->version == 4) {
        put16(header + 2, shape->headers + size);
        put16(header + 4, get16(header + 4) + index);
        ipv4_set_checksum(header, (header[0] & 15u) * 4);
    } else {
        put16(header + 4, shape->headers - 40 + size);
    }
    uint8_t *sum_field = transport + (shape->tcp ? 16 : 6);
    if (shape->tcp) {
        put32(transport + 4, get32(transport + 4) + offset);
        if (!last)
            transport[13] &= (uint8_t)~(TCP_FIN | TCP_PSH);
        if (index)
            transport[13] &= (uint8_t)~TCP_CWR;
    } else {
        put16(transport + 4, 8 + size);
    }
    put16(sum_field, 0);
    uint64_t sum = sum_pseudo(header, shape->version, shape->tcp ? IP_TCP : IP_UDP,
                              transport_bytes + size);
    sum = sum_bytes(transport, transport_bytes, sum);
    sum = sum_bytes(payload, size, sum);
    uint16_t folded = (uint16_t)~sum_fold(sum);
    if (folded == 0 && !shape->tcp)
        folded = 0xffff;
    put_sum(sum_field, folded);
}

/* Put all of a checked record into the sender. The record is borrowed until its flush. */
static inline void split_send(struct sender *s, struct shape *shape, int32_t slot)
{
    if (!shape->size) {
        if (shape->complete)
            shape_complete(shape);
        sender_room(s);
        sender_put(s, slot, FROM_RING, NULL, 0, shape->packet, shape->length);
        return;
    }
    uint32_t payload = shape->length - shape->headers, offset = 0;
    for (uint32_t index = 0; index < shape->segments; index++) {
        uint32_t size = payload - offset < shape->size ? payload - offset : shape->size;
        sender_room(s);
        uint8_t *header = sender_header(s);
        split_header(shape, header, index, offset, size);
        sender_put(s, slot, FROM_RING, header, shape->headers, shape->packet + shape->headers + offset,
                   size);
        offset += size;
    }
}

#endif
