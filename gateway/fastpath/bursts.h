/* Bursts between a connected UDP socket and frames: what a bridge does per wake-up.
 *
 * In: some recvmmsg with GRO, all of it framed into one piece of memory. Out: neighbours
 * of one size, the last perhaps shorter, are one message with UDP_SEGMENT (64 segments,
 * 65,507 bytes), gathered from where they lie, and many messages leave by one sendmmsg.
 *
 * Nothing waits: a full socket drops and counts. A group that the kernel will not take
 * goes datagram by datagram, and so does all that follows on this socket.
 */
#ifndef GATEWAY_BURSTS_H
#define GATEWAY_BURSTS_H

#include <errno.h>
#include <netinet/udp.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "frames.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif
#ifndef SOL_UDP
#define SOL_UDP 17
#endif

#define BURST_MESSAGES 8u    /* of one recvmmsg */
#define BURST_BYTES 65536u   /* the largest message, with GRO */
#define BURST_ENOUGH 196608u /* bytes of a turn after which others get theirs */
#define BURST_ROUNDS 4u
#define BURST_FRAMES (BURST_ENOUGH + BURST_MESSAGES * BURST_BYTES * 3u)

#define OUT_MESSAGES 32u
#define OUT_SEGMENTS 64u
#define OUT_BYTES 65507u

struct burst_counts {
    uint64_t datagrams, bytes; /* that went the whole way */
    uint64_t full;             /* datagrams dropped: the socket had no room */
    uint64_t refused;          /* datagrams dropped: nobody has the port */
    uint64_t failed;           /* datagrams dropped: another error */
    uint64_t fallbacks;        /* groups that had to go one by one */
};

/* Scratch memory of a process for what it receives. Pages that are never used cost nothing. */
struct burst_in {
    struct mmsghdr message[BURST_MESSAGES];
    struct iovec vector[BURST_MESSAGES];
    union {
        struct cmsghdr align;
        uint8_t bytes[CMSG_SPACE(sizeof(int))];
    } control[BURST_MESSAGES];
    uint8_t data[BURST_MESSAGES][BURST_BYTES];
    uint8_t frames[BURST_FRAMES];
};

static inline size_t burst_segment(struct msghdr *m)
{
    int segment;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO &&
            c->cmsg_len >= CMSG_LEN(sizeof segment)) {
            memcpy(&segment, CMSG_DATA(c), sizeof segment);
            return segment > 0 ? (size_t)segment : 0;
        }
    }
    return 0;
}

/* Receive what waits, up to about BURST_ENOUGH bytes; the bytes of b->frames in use.
 * `counts` gets what was received. `more`: the socket may have more. */
static inline size_t burst_receive(struct burst_in *b, int fd, struct burst_counts *counts,
                                   int *more)
{
    size_t used = 0;

    *more = 0;
    for (unsigned round = 0; round < BURST_ROUNDS && used < BURST_ENOUGH; round++) {
        for (unsigned i = 0; i < BURST_MESSAGES; i++) {
            b->vector[i] = (struct iovec){b->data[i], BURST_BYTES};
            b->message[i].msg_hdr = (struct msghdr){.msg_iov = &b->vector[i], .msg_iovlen = 1,
                .msg_control = &b->control[i], .msg_controllen = sizeof b->control[i].bytes};
        }
        int n = recvmmsg(fd, b->message, BURST_MESSAGES, MSG_DONTWAIT, NULL);
        if (n < 0) {
            if (errno == ECONNREFUSED || errno == EINTR)
                continue; /* an error that ICMP left, taken by asking */
            return used;
        }
        for (int i = 0; i < n; i++) {
            size_t bytes = b->message[i].msg_len;
            size_t segment = burst_segment(&b->message[i].msg_hdr);

            if ((segment && segment < bytes ? segment : bytes) > FRAME_DATAGRAM) {
                counts->failed++;
                continue;
            }
            size_t wrote = frames_pack(b->frames + used, b->data[i], bytes, segment);
            used += wrote;
            counts->bytes += bytes;
            counts->datagrams += (wrote - bytes) / FRAME_HEADER;
        }
        if (n < (int)BURST_MESSAGES)
            return used;
    }
    *more = 1;
    return used;
}

/* Messages under way to one socket. All of it is borrowed until out_flush. */
struct burst_out {
    int fd;
    bool single; /* no groups for this socket */
    struct burst_counts *counts;
    unsigned messages, vectors;
    struct {
        uint32_t first, segments, segment, bytes;
        bool closed; /* a shorter datagram was the last */
    } run[OUT_MESSAGES];
    struct mmsghdr message[OUT_MESSAGES];
    struct iovec vector[OUT_MESSAGES * OUT_SEGMENTS];
    union {
        struct cmsghdr align;
        uint8_t bytes[CMSG_SPACE(sizeof(uint16_t))];
    } control[OUT_MESSAGES];
};

static inline void out_flush(struct burst_out *o);

static inline void out_put(struct burst_out *o, const uint8_t *datagram, size_t size)
{
    unsigned last = o->messages - 1;

    if (!o->messages || o->single || o->run[last].closed || size > o->run[last].segment ||
        o->run[last].segments == OUT_SEGMENTS || o->run[last].bytes + size > OUT_BYTES) {
        if (o->messages == OUT_MESSAGES)
            out_flush(o);
        last = o->messages++;
        o->run[last].first = o->vectors;
        o->run[last].segments = 0;
        o->run[last].segment = (uint32_t)size;
        o->run[last].bytes = 0;
        o->run[last].closed = false;
    }
    o->run[last].closed = size < o->run[last].segment;
    o->run[last].segments++;
    o->run[last].bytes += (uint32_t)size;
    o->vector[o->vectors++] = (struct iovec){(void *)(uintptr_t)datagram, size};
}

static inline void out_drop(struct burst_out *o, int error, uint64_t datagrams)
{
    if (error == EAGAIN || error == ENOBUFS)
        o->counts->full += datagrams;
    else if (error == ECONNREFUSED)
        o->counts->refused += datagrams;
    else
        o->counts->failed += datagrams;
}

static inline void out_sent(struct burst_out *o, unsigned i)
{
    o->counts->datagrams += o->run[i].segments;
    o->counts->bytes += o->run[i].bytes;
}

/* One message, once more where the error may be an earlier datagram's; 0 or the error. */
static inline int out_one(struct burst_out *o, const struct msghdr *m)
{
    for (int tries = 0;; tries++) {
        if (sendmsg(o->fd, m, MSG_DONTWAIT) >= 0)
            return 0;
        if (tries || (errno != ECONNREFUSED && errno != EINTR))
            return errno;
    }
}

static inline void out_singly(struct burst_out *o, unsigned i)
{
    o->single = true;
    o->counts->fallbacks++;
    for (uint32_t k = 0; k < o->run[i].segments; k++) {
        struct iovec *v = &o->vector[o->run[i].first + k];
        struct msghdr m = {.msg_iov = v, .msg_iovlen = 1};
        int error = out_one(o, &m);

        if (error) {
            out_drop(o, error, 1);
        } else {
            o->counts->datagrams++;
            o->counts->bytes += v->iov_len;
        }
    }
}

static inline void out_prepare(struct burst_out *o, unsigned i)
{
    struct msghdr *m = &o->message[i].msg_hdr;
    uint16_t segment = (uint16_t)o->run[i].segment;

    *m = (struct msghdr){.msg_iov = &o->vector[o->run[i].first], .msg_iovlen = o->run[i].segments};
    if (o->run[i].segments < 2)
        return;
    m->msg_control = &o->control[i];
    m->msg_controllen = sizeof o->control[i].bytes;
    struct cmsghdr *c = CMSG_FIRSTHDR(m);
    c->cmsg_level = SOL_UDP;
    c->cmsg_type = UDP_SEGMENT;
    c->cmsg_len = CMSG_LEN(sizeof segment);
    memcpy(CMSG_DATA(c), &segment, sizeof segment);
}

/* The message that sendmmsg stopped at. */
static inline void out_retry(struct burst_out *o, unsigned i, int error)
{
    if (error == ECONNREFUSED || error == EINTR)
        error = out_one(o, &o->message[i].msg_hdr);
    if (!error)
        out_sent(o, i);
    else if (o->run[i].segments > 1 && (error == EIO || error == EINVAL || error == EMSGSIZE))
        out_singly(o, i);
    else
        out_drop(o, error, o->run[i].segments);
}

static inline void out_flush(struct burst_out *o)
{
    unsigned done = 0;

    for (unsigned i = 0; i < o->messages; i++)
        out_prepare(o, i);
    while (done < o->messages) {
        int n = sendmmsg(o->fd, o->message + done, o->messages - done, MSG_DONTWAIT);

        if (n < 0) {
            out_retry(o, done++, errno);
            continue;
        }
        for (; n > 0; n--)
            out_sent(o, done++);
    }
    o->messages = o->vectors = 0;
}

/* Send every datagram that is whole, and keep the rest; false: over-long or no memory. */
static inline bool burst_send(struct burst_out *o, struct frames *f, const uint8_t *bytes, size_t size)
{
    const uint8_t *datagram;
    size_t length;
    int found;

    frames_feed(f, bytes, size);
    while ((found = frames_next(f, &datagram, &length)) > 0)
        out_put(o, datagram, length);
    out_flush(o);
    return found == 0 && frames_keep(f);
}

#endif
