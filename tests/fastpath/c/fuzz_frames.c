/* Bytes of a stream in any pieces, sent as groups: what comes out is what went in. And a
 * burst cut into frames comes out as the same datagrams. */
#include <errno.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#include "fuzz.h"

ssize_t fake_sendmsg(int fd, const struct msghdr *message, int flags);
int fake_sendmmsg(int fd, struct mmsghdr *messages, unsigned n, int flags);
#define sendmsg fake_sendmsg
#define sendmmsg fake_sendmmsg
#include "bursts.h"

static struct input failures;  /* bytes that decide what fails */
static uint8_t *expected;      /* the datagrams in order, one behind the other */
static size_t seen, sent, failed_sends;

static void see(const struct msghdr *m)
{
    size_t bytes, segment = 0;

    CHECK(m->msg_iovlen > 0 && m->msg_iovlen <= OUT_SEGMENTS && !m->msg_name);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR((struct msghdr *)m, c)) {
        uint16_t size;
        CHECK(c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_SEGMENT);
        memcpy(&size, CMSG_DATA(c), sizeof size);
        segment = size;
    }
    uint8_t *whole = gather(m->msg_iov, m->msg_iovlen, &bytes);
    CHECK(bytes > 0 && bytes <= OUT_BYTES);
    CHECK(segment ? bytes > segment && m->msg_iovlen > 1 : m->msg_iovlen == 1);
    for (size_t i = 0; segment && i < m->msg_iovlen; i++)
        CHECK(i + 1 < m->msg_iovlen ? m->msg_iov[i].iov_len == segment : m->msg_iov[i].iov_len <= segment);
    if (!failed_sends)
        CHECK(!memcmp(whole, expected + seen, bytes));
    seen += bytes;
    sent += m->msg_iovlen;
    free(whole);
}

static bool fails(void)
{
    static const int errors[] = {EAGAIN, ENOBUFS, ECONNREFUSED, EINTR, EIO, EMSGSIZE, EINVAL, EPERM};
    uint8_t byte = take8(&failures);

    if (byte < 0xc0)
        return false;
    errno = errors[byte % 8];
    failed_sends++;
    return true;
}

ssize_t fake_sendmsg(int fd, const struct msghdr *message, int flags)
{
    (void)fd;
    CHECK(flags & MSG_DONTWAIT);
    if (fails())
        return -1;
    see(message);
    return 1;
}

int fake_sendmmsg(int fd, struct mmsghdr *messages, unsigned n, int flags)
{
    unsigned i;

    (void)fd;
    CHECK(n > 0 && n <= OUT_MESSAGES && (flags & MSG_DONTWAIT));
    for (i = 0; i < n; i++) {
        if (fails())
            return i ? (int)i : -1;
        see(&messages[i].msg_hdr);
    }
    return (int)i;
}

/* The datagrams of a stream, read the plain way: how many, and whether a frame is over-long. */
static size_t plainly(const uint8_t *bytes, size_t size, bool *bad)
{
    size_t count = 0, used = 0, at = 0;

    *bad = false;
    while (size - at >= 2) {
        size_t length = (size_t)bytes[at] << 8 | bytes[at + 1];
        *bad = length > 65507;
        if (*bad || size - at - 2 < length)
            break;
        memcpy(expected + used, bytes + at + 2, length);
        used += length;
        at += 2 + length;
        count += length > 0;
    }
    return count;
}

static void check_packing(const uint8_t *burst, size_t bytes, size_t segment)
{
    struct frames f = {0};
    const uint8_t *datagram;
    size_t length, offset = 0, room = bytes ? frames_room(bytes, segment) : 0;
    uint8_t *out = malloc(room + 1);
    size_t wrote = frames_pack(out, burst, bytes, segment);

    CHECK(wrote == room);
    frames_feed(&f, out, wrote);
    while (frames_next(&f, &datagram, &length) > 0) {
        CHECK(!memcmp(datagram, burst + offset, length));
        offset += length;
        CHECK(!segment || length == segment || offset == bytes);
    }
    CHECK(offset == bytes && frames_keep(&f));
    frames_free(&f);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct burst_out out;
    struct input in = {data, size};
    struct burst_counts counts = {0};
    struct frames frames = {0};
    uint8_t how = take8(&in), stretch = take8(&in), piece = take8(&in);
    bool bad, good = true;

    out = (struct burst_out){.counts = &counts};
    failures = how & 1 ? (struct input){data, size} : (struct input){0};
    seen = sent = failed_sends = 0;
    if (how & 2)
        check_packing(in.at, in.left, stretch);

    /* A stream of honest frames now and then, so that whole ones are common. */
    size_t bytes = in.left;
    uint8_t *stream = malloc(bytes + 1);
    memcpy(stream, in.at, bytes);
    if (how & 4) {
        for (size_t at = 0; at + 2 <= bytes; at += 2u + stream[at + 1])
            stream[at] = 0;
    }
    expected = malloc(bytes + 1);
    size_t datagrams = plainly(stream, bytes, &bad);
    for (size_t at = 0; at < bytes && good;) {
        size_t n = how & 8 ? bytes : 1u + piece * 3u;
        uint8_t *part;

        n = n < bytes - at ? n : bytes - at;
        part = malloc(n); /* of its own, so that a read behind it is seen */
        memcpy(part, stream + at, n);
        good = burst_send(&out, &frames, part, n);
        CHECK(!out.messages && !out.vectors);
        CHECK(frames.have <= frames.room);
        free(part);
        at += n;
    }
    CHECK(good == !bad);
    CHECK(sent == counts.datagrams);
    CHECK(counts.datagrams + counts.full + counts.refused + counts.failed == datagrams);
    frames_free(&frames);
    free(expected);
    free(stream);
    return 0;
}
