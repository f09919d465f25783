/* Datagrams on a byte stream: LEN(2, big-endian) | datagram, again and again (GOST relay).
 *
 * A burst from the socket, cut into its segments, becomes frames by one copy. The other
 * way nothing is copied but the frame that a read of the stream has cut in two: whole
 * datagrams stay where they lie in the stream's bytes, which are borrowed (I5).
 */
#ifndef GATEWAY_FRAMES_H
#define GATEWAY_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define FRAME_HEADER 2u
#define FRAME_DATAGRAM 65507u /* bytes of the largest datagram: UDP's over IPv4 */
#define FRAME_ROOM 2048u      /* bytes kept at first for a frame in two pieces */

/* Bytes that frames_pack writes at most; a segment of 0 bytes means one datagram. */
static inline size_t frames_room(size_t bytes, size_t segment)
{
    size_t count = segment ? (bytes + segment - 1) / segment : 1;

    return bytes + FRAME_HEADER * count;
}

/* Frame a burst: `bytes` cut every `segment`, the last may be shorter. Empty: nothing.
 * Returns the bytes written. `segment` and a burst without one are below 65,536. */
static inline size_t frames_pack(uint8_t *out, const uint8_t *burst, size_t bytes, size_t segment)
{
    uint8_t *to = out;

    if (!segment || segment > bytes)
        segment = bytes;
    for (; bytes; bytes -= segment, burst += segment) {
        if (segment > bytes)
            segment = bytes;
        to[0] = (uint8_t)(segment >> 8);
        to[1] = (uint8_t)segment;
        memcpy(to + FRAME_HEADER, burst, segment);
        to += FRAME_HEADER + segment;
    }
    return (size_t)(to - out);
}

/* One direction of one stream. All zeros is a valid start; frames_free gives it back. */
struct frames {
    const uint8_t *at, *end; /* what is left of the bytes that were fed */
    uint8_t *kept;           /* the beginning of a frame, or one that was completed */
    uint32_t have, room;     /* bytes in `kept` that wait for more, and its size */
    uint64_t empty;          /* frames without a datagram: counted and passed over */
};

static inline void frames_free(struct frames *f)
{
    free(f->kept);
    memset(f, 0, sizeof *f);
}

static inline size_t frames_length(const uint8_t *header)
{
    return (size_t)header[0] << 8 | header[1];
}

static inline bool frames_grow(struct frames *f, size_t size)
{
    uint8_t *kept;

    if (size < FRAME_ROOM)
        size = FRAME_ROOM;
    if (size <= f->room)
        return true;
    kept = realloc(f->kept, size);
    if (!kept)
        return false;
    f->kept = kept;
    f->room = (uint32_t)size;
    return true;
}

static inline void frames_feed(struct frames *f, const uint8_t *bytes, size_t size)
{
    f->at = bytes;
    f->end = bytes + size;
}

/* Complete what was kept: 1 a datagram, 0 not yet, -1 over-long or no memory. */
static inline int frames_complete(struct frames *f, const uint8_t **datagram, size_t *size)
{
    size_t left, length;

    while (f->have < FRAME_HEADER) {
        if (f->at == f->end)
            return 0;
        f->kept[f->have++] = *f->at++;
    }
    length = frames_length(f->kept);
    if (length > FRAME_DATAGRAM || !frames_grow(f, FRAME_HEADER + length))
        return -1;
    left = FRAME_HEADER + length - f->have;
    if (left > (size_t)(f->end - f->at))
        left = (size_t)(f->end - f->at);
    memcpy(f->kept + f->have, f->at, left);
    f->have += (uint32_t)left;
    f->at += left;
    if (f->have < FRAME_HEADER + length)
        return 0;
    f->have = 0;
    *datagram = f->kept + FRAME_HEADER;
    *size = length;
    return 1;
}

/* The next whole datagram, borrowed until frames_keep: 1; 0 there is none; -1 over-long
 * or no memory: the stream is beyond repair. */
static inline int frames_next(struct frames *f, const uint8_t **datagram, size_t *size)
{
    if (f->have) {
        int found = frames_complete(f, datagram, size);
        if (found < 1 || *size)
            return found;
        f->empty++;
    }
    while ((size_t)(f->end - f->at) >= FRAME_HEADER) {
        size_t length = frames_length(f->at);

        if (length > FRAME_DATAGRAM)
            return -1;
        if ((size_t)(f->end - f->at) < FRAME_HEADER + length)
            return 0;
        *datagram = f->at + FRAME_HEADER;
        *size = length;
        f->at += FRAME_HEADER + length;
        if (length)
            return 1;
        f->empty++;
    }
    return 0;
}

/* Keep the rest of what was fed, when frames_next has found the last: false without
 * memory. The datagrams found so far must be gone by then. */
static inline bool frames_keep(struct frames *f)
{
    size_t left = (size_t)(f->end - f->at);

    if (!left)
        return true;
    if (!frames_grow(f, left >= FRAME_HEADER ? FRAME_HEADER + frames_length(f->at) : left))
        return false;
    memcpy(f->kept, f->at, left);
    f->have = (uint32_t)left;
    f->at = f->end;
    return true;
}

#endif
