/* What the fuzz targets share: an input read piece by piece, and checks that abort. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

struct input {
    const uint8_t *at;
    size_t left;
};

static inline uint8_t take8(struct input *in)
{
    if (!in->left)
        return 0;
    in->left--;
    return *in->at++;
}

static inline uint16_t take16(struct input *in)
{
    unsigned high = take8(in);
    return (uint16_t)(high << 8 | take8(in));
}

static inline uint32_t take32(struct input *in)
{
    uint32_t high = take16(in);
    return high << 16 | take16(in);
}

/* Up to `n` bytes of the input, zeros behind its end. */
static inline void take_bytes(struct input *in, uint8_t *to, size_t n)
{
    size_t there = n < in->left ? n : in->left;

    memset(to, 0, n);
    if (there)
        memcpy(to, in->at, there);
    in->at += there;
    in->left -= there;
}

static volatile uint8_t touched;

static inline void touch(const void *memory, size_t n)
{
    for (size_t i = 0; i < n; i++)
        touched ^= ((const uint8_t *)memory)[i];
}

/* The bytes of a gathered write in one piece, on the heap. */
static inline uint8_t *gather(const struct iovec *v, size_t n, size_t *bytes)
{
    *bytes = 0;
    for (size_t i = 0; i < n; i++)
        *bytes += v[i].iov_len;
    uint8_t *whole = malloc(*bytes + 1), *at = whole;
    for (size_t i = 0; i < n; at += v[i].iov_len, i++)
        memcpy(at, v[i].iov_base, v[i].iov_len);
    return whole;
}

#endif
