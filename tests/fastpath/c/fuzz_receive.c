/* Bursts as recvmmsg leaves them, with any GRO size, control message and error: framed they
 * are the same datagrams, everything has room, and what is too long is counted. */
#include <errno.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#include "fuzz.h"

int fake_recvmmsg(int fd, struct mmsghdr *m, unsigned n, int flags, struct timespec *timeout);
#define recvmmsg fake_recvmmsg
#include "bursts.h"

static struct input wire;
static uint8_t *expected;
static size_t used, received, datagrams, failed;

/* The segments of one message, framed the plain way. */
static void expect(const uint8_t *data, size_t bytes, size_t segment)
{
    if (!segment || segment > bytes)
        segment = bytes;
    if (segment > 65507) {
        failed++;
        return;
    }
    received += bytes;
    for (size_t at = 0; at < bytes; at += segment, datagrams++) {
        size_t n = bytes - at < segment ? bytes - at : segment;
        expected[used] = (uint8_t)(n >> 8);
        expected[used + 1] = (uint8_t)n;
        memcpy(expected + used + 2, data + at, n);
        used += n + 2;
    }
}

/* A GRO size, or something else, or a part of one; what it says. */
static size_t put_control(struct msghdr *m, uint8_t how)
{
    int size = how & 1 ? take8(&wire) % 4 : take16(&wire);
    struct cmsghdr header = {CMSG_LEN(sizeof size), SOL_UDP, UDP_GRO};

    if (how & 2) {
        m->msg_controllen = 0;
        return 0;
    }
    if ((how & 12) == 12)
        size = -size;
    if ((how & 48) == 48)
        header.cmsg_type = UDP_SEGMENT;
    if ((how & 192) == 192)
        header.cmsg_len = CMSG_LEN(take8(&wire) % sizeof size);
    memcpy(m->msg_control, &header, sizeof header);
    memcpy((uint8_t *)m->msg_control + CMSG_LEN(0), &size, sizeof size);
    m->msg_controllen = header.cmsg_len;
    bool is_size = header.cmsg_type == UDP_GRO && header.cmsg_len == CMSG_LEN(sizeof size);
    return is_size && size > 0 ? (size_t)size : 0;
}

int fake_recvmmsg(int fd, struct mmsghdr *m, unsigned n, int flags, struct timespec *timeout)
{
    static const int errors[] = {EAGAIN, ECONNREFUSED, EINTR, ENOMEM};
    uint8_t how = take8(&wire);
    unsigned i;

    CHECK(fd == 7 && n == BURST_MESSAGES && flags == MSG_DONTWAIT && !timeout);
    if (!wire.left || how > 0xf0) {
        errno = wire.left ? errors[how % 4] : EAGAIN;
        return -1;
    }
    for (i = 0; i < (how & 1 ? n : 1 + how % n); i++) {
        struct iovec *v = m[i].msg_hdr.msg_iov;
        uint8_t kind = take8(&wire);
        size_t bytes = kind & 1 ? 65536u - kind / 8 : take16(&wire);

        CHECK(m[i].msg_hdr.msg_iovlen == 1 && v->iov_len == BURST_BYTES);
        memset(v->iov_base, (int)(i + kind), bytes);
        m[i].msg_len = (unsigned)bytes;
        expect(v->iov_base, bytes, put_control(&m[i].msg_hdr, take8(&wire)));
    }
    return (int)i;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct burst_in *in;
    struct burst_counts counts = {0};
    int more = 2;

    if (!in) {
        in = calloc(1, sizeof *in);
        expected = malloc(BURST_FRAMES);
    }
    wire = (struct input){data, size};
    used = received = datagrams = failed = 0;
    size_t got = burst_receive(in, 7, &counts, &more);
    CHECK(got == used && !memcmp(in->frames, expected, used));
    CHECK(more == 0 || more == 1);
    CHECK(counts.bytes == received && counts.datagrams == datagrams && counts.failed == failed);
    return 0;
}
