/* Doubles of sendmsg and sendmmsg that hold every message against the kernel's limits,
 * and fail now and then as the input says. Included before the headers under test, so
 * that their calls land here. */
#ifndef SENDS_H
#define SENDS_H

#include <errno.h>
#include <netinet/udp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz.h"

ssize_t fake_sendmsg(int fd, const struct msghdr *message, int flags);
int fake_sendmmsg(int fd, struct mmsghdr *messages, unsigned n, int flags);
#define sendmsg fake_sendmsg
#define sendmmsg fake_sendmmsg
#include "sender.h"

static struct input failures;               /* bytes that decide what fails */
static uint64_t sent_messages, sent_datagrams, sent_bytes; /* what the doubles took */
static size_t sent_vectors;                 /* of the last message */
static void (*before_send)(void);           /* at each call, whatever comes of it */
static void (*see_datagram)(const uint8_t *datagram, size_t bytes);

static inline void see_message(const struct msghdr *m)
{
    size_t bytes, segment = 0;

    CHECK(m->msg_iovlen > 0 && m->msg_iovlen <= 1024);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR((struct msghdr *)m, c)) {
        CHECK(c->cmsg_len >= CMSG_LEN(0));
        touch(CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
        if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_SEGMENT) {
            uint16_t size;
            memcpy(&size, CMSG_DATA(c), sizeof size);
            segment = size;
            CHECK(segment > 0);
        }
    }
    touch(m->msg_name, m->msg_namelen);
    uint8_t *whole = gather(m->msg_iov, m->msg_iovlen, &bytes);
    CHECK(bytes > 0);
    if (segment) {
        CHECK(bytes > segment && bytes <= 65507 && (bytes + segment - 1) / segment <= 64);
    } else {
        segment = bytes;
    }
    for (size_t offset = 0; offset < bytes; offset += segment) {
        size_t n = bytes - offset < segment ? bytes - offset : segment;
        if (see_datagram)
            see_datagram(whole + offset, n);
        sent_datagrams++;
    }
    sent_bytes += bytes;
    sent_messages++;
    sent_vectors = m->msg_iovlen;
    free(whole);
}

/* Bytes of `failures`, one for each message that is tried: the errors in their order. */
enum { OK = 0, BUFFER_FULL = 195, NO_BUFFERS, REFUSED, INTERRUPTED, NO_IO, TOO_LONG, NOT_VALID,
       NOT_PERMITTED, NO_NETWORK, NO_HOST, NOT_SUPPORTED, NO_ADDRESS, NO_DEVICE };

static inline bool fails(void)
{
    static const int errors[] = {EAGAIN,      ENOBUFS,      ECONNREFUSED, EINTR,         EIO,
                                 EMSGSIZE,    EINVAL,       EPERM,        ENETUNREACH,
                                 EHOSTUNREACH, EOPNOTSUPP, EADDRNOTAVAIL, ENODEV};
    uint8_t byte = take8(&failures);

    if (byte < 0xc0)
        return false;
    errno = errors[byte % (sizeof errors / sizeof *errors)];
    return true;
}

ssize_t fake_sendmsg(int fd, const struct msghdr *message, int flags)
{
    (void)fd;
    CHECK(flags & MSG_DONTWAIT);
    if (before_send)
        before_send();
    if (fails())
        return -1;
    see_message(message);
    return 1;
}

int fake_sendmmsg(int fd, struct mmsghdr *messages, unsigned n, int flags)
{
    unsigned i;

    (void)fd;
    CHECK(n > 0 && (flags & MSG_DONTWAIT));
    if (before_send)
        before_send();
    for (i = 0; i < n; i++) {
        if (fails())
            return i ? (int)i : -1;
        see_message(&messages[i].msg_hdr);
    }
    return (int)i;
}

#endif
