/* What every tunnel of user-space processes does at least: it copies.
 *
 *     copies END END       END: tun:NAME or udp:PORT:PEER:PEER_PORT (IPv4)
 *
 * A buffer read at one end is written at the other, one thread each way, and nothing is
 * looked at. A super-packet leaves as one send with UDP_SEGMENT, its virtio header in front,
 * and comes as one receive with UDP_GRO: no checksum, no cutting, no joining, no peers, no
 * rings. So nobody but a copy of this program understands what it sends.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif
#define SEGMENT 1420
#define DATAGRAMS 65507 /* bytes of one send with UDP_SEGMENT */
#define QUEUE (8 << 20)

struct end {
    int fd;
    bool udp;
};

struct way {
    struct end from, to;
};

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "copies: %s: %s\n", what, strerror(errno));
    exit(1);
}

static struct end open_tun(const char *name)
{
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
    int fd = open("/dev/net/tun", O_RDWR);

    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0)
        fail(name);
    if (ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6) < 0)
        fail("TSO");
    return (struct end){fd, false};
}

static struct end open_udp(int port, const char *peer, int peer_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_DGRAM, 0), one = 1, queue = QUEUE, segment = SEGMENT;

    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
        fail("bind");
    address.sin_port = htons((uint16_t)peer_port);
    if (inet_pton(AF_INET, peer, &address.sin_addr) != 1 ||
        connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        fail(peer);
    if (setsockopt(fd, IPPROTO_UDP, UDP_GRO, &one, sizeof one) < 0 ||
        setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof segment) < 0)
        fail("UDP_SEGMENT");
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &queue, sizeof queue) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &queue, sizeof queue) < 0)
        fail("buffers");
    return (struct end){fd, true};
}

static struct end open_end(char *text)
{
    char peer[64];
    int port, peer_port;

    if (strncmp(text, "tun:", 4) == 0)
        return open_tun(text + 4);
    if (sscanf(text, "udp:%d:%63[^:]:%d", &port, peer, &peer_port) == 3)
        return open_udp(port, peer, peer_port);
    errno = EINVAL;
    fail(text);
}

/* What an end does not take is lost, as with any tunnel: a device that is down (and then does
 * not give anything either), a peer that is not there yet. */
static void *copy(void *argument)
{
    const struct way *way = argument;
    uint8_t *buffer = malloc(1 << 17);

    if (!buffer)
        fail("memory");
    for (;;) {
        ssize_t n = read(way->from.fd, buffer, 1 << 17);
        if (n <= 0)
            usleep(1000);
        else if (!way->to.udp || n <= DATAGRAMS)
            n = write(way->to.fd, buffer, (size_t)n);
    }
    return NULL;
}

int main(int count, char **words)
{
    static struct way there, back;
    pthread_t thread;

    if (count != 3) {
        fprintf(stderr, "usage: copies END END, each tun:NAME or udp:PORT:PEER:PEER_PORT\n");
        return 2;
    }
    there.from = back.to = open_end(words[1]);
    there.to = back.from = open_end(words[2]);
    if (pthread_create(&thread, NULL, copy, &there) != 0)
        fail("thread");
    copy(&back);
}
