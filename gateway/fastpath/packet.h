/* Inner packets: honest lengths, addresses, checksums (RFC 791, 8200, 9293, 1071).
 * Nothing here reads beyond the length it is given. */
#ifndef GATEWAY_PACKET_H
#define GATEWAY_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "names.h"

#define IP_TCP 6
#define IP_UDP 17

struct address { /* 16 bytes, IPv4 as ::ffff:a.b.c.d, in two words for comparing */
    uint64_t high, low;
};

struct inner {
    int version;
    uint32_t header; /* bytes of the IP header, IPv6 extension headers not included */
    uint8_t protocol;
    struct address source, destination;
};

static inline uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline void put16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static inline void put32(uint8_t *p, uint32_t v)
{
    put16(p, v >> 16);
    put16(p + 2, v & 0xffff);
}

static inline struct address address_load(const uint8_t *p)
{
    struct address a;

    memcpy(&a.high, p, 8);
    memcpy(&a.low, p + 8, 8);
    return a;
}

static inline void address_store(struct address a, uint8_t *p)
{
    memcpy(p, &a.high, 8);
    memcpy(p + 8, &a.low, 8);
}

static inline struct address address_load4(const uint8_t *p)
{
    uint8_t mapped[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, p[0], p[1], p[2], p[3]};
    return address_load(mapped);
}

static inline bool address_equal(struct address a, struct address b)
{
    return a.high == b.high && a.low == b.low;
}

/* True for ::ffff:0:0/96, in which IPv4 lives in our tables. */
static inline bool address_is_mapped(struct address a)
{
    static const uint8_t prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    uint8_t bytes[16];

    address_store(a, bytes);
    return memcmp(bytes, prefix, 12) == 0;
}

/* Parse and check the header against `length`, the bytes that are really there.
 * Returns -1, or the reason to drop. */
static inline int inner_parse(const uint8_t *packet, size_t length, struct inner *inner)
{
    if (length == 0)
        return REASON_EMPTY;
    inner->version = packet[0] >> 4;
    if (inner->version == 4) {
        if (length < 20)
            return REASON_TOO_SHORT;
        inner->header = (packet[0] & 15u) * 4;
        if (inner->header < 20 || inner->header > length || get16(packet + 2) != length)
            return REASON_BAD_LENGTH;
        inner->protocol = packet[9];
        inner->source = address_load4(packet + 12);
        inner->destination = address_load4(packet + 16);
        return -1;
    }
    if (inner->version == 6) {
        if (length < 40)
            return REASON_TOO_SHORT;
        if (40u + get16(packet + 4) != length)
            return REASON_BAD_LENGTH;
        inner->header = 40;
        inner->protocol = packet[6];
        inner->source = address_load(packet + 8);
        inner->destination = address_load(packet + 24);
        return -1;
    }
    return length < 20 ? REASON_TOO_SHORT : REASON_NOT_IP;
}

/* Sources that no host may answer: unspecified, loopback, link-local, multicast,
 * reserved; and IPv4-mapped ones, which would pose as IPv4 in the tables. */
static inline bool inner_unroutable_source(const uint8_t *packet, const struct inner *inner)
{
    if (inner->version == 4) {
        const uint8_t *s = packet + 12;
        return s[0] == 0 || s[0] == 127 || s[0] >= 224 || (s[0] == 169 && s[1] == 254);
    }
    static const uint8_t zero[15];
    const uint8_t *s = packet + 8;
    if (s[0] == 0xff || (s[0] == 0xfe && (s[1] & 0xc0) == 0x80))
        return true;
    if (memcmp(s, zero, 15) == 0 && s[15] <= 1)
        return true;
    return address_is_mapped(inner->source);
}

/* RFC 1071 sum of `length` bytes, to be folded. Byte order follows memory: fold it
 * and store it as it is. Two carry chains keep the adders busy. */
static inline uint64_t sum_add(uint64_t sum, uint64_t word)
{
    sum += word;
    return sum + (sum < word);
}

#if defined(__x86_64__)
#define SUM_WIDE 128u /* bytes from which on the wide loop pays */

/* As sum_bytes, 64 bytes a step: each 32-bit word is added to a 64-bit lane, which two to
 * the 32 steps cannot overflow. Where `length` is no multiple, `rest` is left over. */
__attribute__((target("avx2"))) static inline uint64_t sum_wide(const uint8_t *p, size_t length,
                                                                size_t *rest)
{
    const __m256i low = _mm256_set1_epi64x(0xffffffff);
    __m256i even = _mm256_setzero_si256(), odd = _mm256_setzero_si256();
    uint64_t lane[8], sum = 0;

    for (; length >= 64; p += 64, length -= 64) {
        __m256i a = _mm256_loadu_si256((const __m256i *)(const void *)p);
        __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)(p + 32));
        even = _mm256_add_epi64(even, _mm256_and_si256(a, low));
        odd = _mm256_add_epi64(odd, _mm256_srli_epi64(a, 32));
        even = _mm256_add_epi64(even, _mm256_and_si256(b, low));
        odd = _mm256_add_epi64(odd, _mm256_srli_epi64(b, 32));
    }
    _mm256_storeu_si256((__m256i *)(void *)lane, even);
    _mm256_storeu_si256((__m256i *)(void *)(lane + 4), odd);
    for (int i = 0; i < 4; i++) {
        sum = sum_add(sum, lane[i]);
        /* The odd words are the upper halves: worth 2^32, which is 1 in this sum. */
        sum = sum_add(sum, lane[i + 4]);
    }
    *rest = length;
    return sum;
}
#endif

static inline uint64_t sum_bytes(const uint8_t *p, size_t length, uint64_t sum)
{
    uint64_t other = 0;

#if defined(__x86_64__)
    if (length >= SUM_WIDE && __builtin_cpu_supports("avx2")) {
        size_t rest;
        sum = sum_add(sum, sum_wide(p, length, &rest));
        p += length - rest;
        length = rest;
    }
#endif
    while (length >= 32) {
        uint64_t w[4];
        memcpy(w, p, 32);
        sum = sum_add(sum, w[0]);
        other = sum_add(other, w[1]);
        sum = sum_add(sum, w[2]);
        other = sum_add(other, w[3]);
        p += 32;
        length -= 32;
    }
    while (length >= 8) {
        uint64_t w;
        memcpy(&w, p, 8);
        sum = sum_add(sum, w);
        p += 8;
        length -= 8;
    }
    if (length) {
        uint64_t w = 0;
        memcpy(&w, p, length);
        sum = sum_add(sum, w);
    }
    return sum_add(sum, other);
}

static inline uint16_t sum_fold(uint64_t sum)
{
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

static inline void put_sum(uint8_t *p, uint16_t folded)
{
    memcpy(p, &folded, 2);
}

/* The pseudo header's sum for `length` bytes of transport header and payload. */
static inline uint64_t sum_pseudo(const uint8_t *packet, int version, uint8_t protocol,
                                  uint32_t length)
{
    uint8_t tail[8] = {0, 0, 0, 0, 0, 0, 0, protocol};
    uint64_t sum;

    put32(tail, length);
    sum = version == 4 ? sum_bytes(packet + 12, 8, 0) : sum_bytes(packet + 8, 32, 0);
    return sum_bytes(tail, 8, sum);
}

static inline void ipv4_set_checksum(uint8_t *packet, uint32_t header)
{
    put16(packet + 10, 0);
    put_sum(packet + 10, (uint16_t)~sum_fold(sum_bytes(packet, header, 0)));
}

#endif
