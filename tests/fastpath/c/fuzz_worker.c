/* Whole datagrams as recvmmsg leaves them, GRO sizes and control messages included.
 * Memory behind the datagram is poisoned; every segment ends in exactly one counter (I14). */
#include <sanitizer/asan_interface.h>

#include "sends.h"
#include "writes.h"

#include "packets.h"
#include "fib_change.h"
#include "worker.h"

static struct worker *worker;
static struct page *page;

static struct address a16(const char *bytes)
{
    return address_load((const uint8_t *)bytes);
}

static void open_worker(void)
{
    struct fib *fib = fib_open(4);
    size_t bytes = sizeof *page + 4 * sizeof(struct peer_row);
    static const char first[] = "\0\0\0\0\0\0\0\0\0\0\xff\xff\12\0\0\1";
    static const char second[] = "\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\2";

    page = aligned_alloc(64, bytes);
    memset(page, 0, bytes);
    page->peers = 4;
    fib_set_peer(fib, 0, 1, (struct endpoint){a16(first), 1, 0}, a16(first));
    fib_set_peer(fib, 1, 1, (struct endpoint){a16(second), 2, 5}, a16(second));
    fib_set_route(fib, a16("\0\0\0\0\0\0\0\0\0\0\xff\xff\12\0\0\0"), 104, 0);
    fib_set_route(fib, a16("\0\0\0\0\0\0\0\0\0\0\xff\xff\12\0\0\1"), 128, 1);
    fib_set_route(fib, a16("\0\0\0\0\0\0\0\0\0\0\xff\xff\12\0\0\2"), 128, TARGET_LOCAL);
    fib_set_route(fib, a16("\0\0\0\0\0\0\0\0\0\0\xff\xff\12\0\0\3"), 128, 9); /* none */
    fib_set_route(fib, a16("\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), 8, 0);
    fib_set_route(fib, a16(second), 128, 1);
    fib_set_route(fib, a16("\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\3"), 128, 3); /* nobody there */
    worker = calloc(1, sizeof *worker);
    worker->fib = worker->sender.fib = fib;
    worker->page = worker->sender.page = page;
    CHECK(worker_open(worker));
}

/* A packet that came in, or an ICMP error about one. */
static void see_forwarded(const uint8_t *datagram, size_t bytes)
{
    struct inner inner;

    CHECK(inner_parse(datagram, bytes, &inner) < 0);
    if (!address_equal(inner.source, worker_own(worker, datagram))) {
        see_packet(datagram, bytes);
        return;
    }
    CHECK(bytes <= ICMP_BYTES_MAX && bytes > inner.header + 8);
    CHECK(inner.protocol == (inner.version == 4 ? IP_ICMP : IP_ICMPV6));
}

static void choose_mtu(bool narrow)
{
    static const char own4[] = "\0\0\0\0\0\0\0\0\0\0\xff\xff\311\0\0\1";
    static const char own6[] = "\xfc\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1";

    worker->mtu = narrow ? 300 : 65535;
    worker->own4 = narrow ? a16(own4) : (struct address){0, 0};
    worker->own6 = narrow ? a16(own6) : (struct address){0, 0};
    worker->answered = 0;
}

/* The control messages of a datagram: mostly a GRO size, sometimes anything. */
static size_t put_control(struct input *in, uint8_t *control, size_t room)
{
    uint8_t how = take8(in);
    int size = take16(in) % 1500;
    struct cmsghdr header = {CMSG_LEN(sizeof size), SOL_UDP, UDP_GRO};

    if (how & 1)
        return 0;
    if (how & 2)
        header.cmsg_len = CMSG_LEN(take8(in) % 40);
    if (how & 4)
        header.cmsg_level = how & 8 ? IPPROTO_IPV6 : IPPROTO_IP,
        header.cmsg_type = how & 8 ? IPV6_PKTINFO : IP_PKTINFO;
    if (how & 16)
        size = -size;
    memset(control, 0, room);
    memcpy(control, &header, sizeof header);
    memcpy(control + CMSG_LEN(0), &size, sizeof size);
    return header.cmsg_len;
}

static void put_name(struct input *in, unsigned i)
{
    struct sockaddr_in6 *name = &worker->name[i];
    struct msghdr *m = &worker->message[i].msg_hdr;
    uint32_t peer = take8(in) % 3;

    memset(name, 0, sizeof *name);
    m->msg_name = name;
    if (worker->family == AF_INET) {
        m->msg_namelen = sizeof(struct sockaddr_in);
        memcpy(name, &worker->fib->peers[0].name4, peer ? 0 : m->msg_namelen);
    } else {
        m->msg_namelen = sizeof *name;
        *name = peer < 2 ? worker->fib->peers[peer].name6 : *name;
    }
    if (take8(in) == 255)
        m->msg_namelen = 3;
}

/* The slot of the peer whose name it is: address, port and scope. */
static int32_t slot_of(const struct msghdr *m)
{
    const struct fib_peer *peers = worker->fib->peers;

    for (int32_t slot = 0; slot < 2; slot++) {
        bool v4 = worker->family == AF_INET;
        const void *name = v4 ? (const void *)&peers[slot].name4 : &peers[slot].name6;
        size_t bytes = v4 ? sizeof peers->name4 : sizeof peers->name6;
        if (m->msg_namelen == bytes && !memcmp(m->msg_name, name, bytes))
            return slot;
    }
    return -1;
}

static uint32_t put_datagram(struct input *in, unsigned i)
{
    uint8_t how = take8(in), *at = worker->arena[i];
    uint32_t bytes = take16(in) % 4000;

    __asan_unpoison_memory_region(at, RECEIVE_BYTES);
    if (bytes > in->left)
        bytes = (uint32_t)in->left;
    take_bytes(in, at, bytes);
    struct cmsghdr c;
    int size = 0;
    if (worker->message[i].msg_hdr.msg_controllen >= CMSG_LEN(sizeof size)) {
        memcpy(&c, worker->control[i].bytes, sizeof c);
        memcpy(&size, worker->control[i].bytes + CMSG_LEN(0), sizeof size);
        if (c.cmsg_type != UDP_GRO || size < 0)
            size = 0;
    }
    uint32_t step = size > 0 && (uint32_t)size < bytes ? (uint32_t)size : bytes;
    for (uint32_t offset = 0; step && offset < bytes; offset += step) {
        uint32_t n = bytes - offset < step ? bytes - offset : step;
        make_honest(at + offset, n, how);
        if (how & 0x10 && n >= 40)
            make_sums(at + offset, n);
    }
    __asan_poison_memory_region(at + bytes, RECEIVE_BYTES - bytes);
    return bytes;
}

/* Remember what may come out again: every honest packet, its SYN clamped. */
static void remember(const uint8_t *datagram, uint32_t bytes, uint32_t size)
{
    for (uint32_t offset = 0; offset < bytes && originals < ORIGINALS; offset += size) {
        uint32_t n = bytes - offset < size ? bytes - offset : size;
        struct inner inner;
        if (inner_parse(datagram + offset, n, &inner) >= 0)
            continue;
        uint8_t *copy = malloc(n);
        memcpy(copy, datagram + offset, n);
        if (worker->mss_mtu)
            mss_clamp(copy, n, worker->mss_mtu, false);
        original[originals++] = (struct original){copy, n, false};
    }
}

static uint64_t sum(const int *counters, int n)
{
    uint64_t total = 0;

    for (int i = 0; i < n; i++)
        total += atomic_load(&page->words[counters[i]]);
    for (int reason = 0; reason < REASON_COUNT; reason++)
        total += atomic_load(&page->words[COUNTER_DROP + reason]);
    return total;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int out[] = {COUNTER_DELIVERED_PACKETS, COUNTER_FORWARDED_PACKETS,
                              COUNTER_PUNTED_PACKETS};
    struct input in = {data, size};
    uint64_t segments = 0, now = 5;

    if (!worker)
        open_worker();
    uint8_t how = take8(&in), rare = take8(&in);
    worker->role = how & 1 ? ROLE_CLIENT : rare & 1 ? ROLE_POINT : ROLE_SERVER;
    worker->source_check = how & 2;
    worker->family = worker->sender.family = rare & 2 ? AF_INET : AF_INET6;
    worker->mss_mtu = rare & 4 ? 600 : 0;
    worker->sender.gso = how & 4;
    worker->sender.now = now;
    worker->sender.connected = worker->role == ROLE_CLIENT;
    tun_writer_open(&worker->writer, 5, page, how & 8, how & 16);
    worker->punts = how & 32 ? PUNTS - 2 : 0;
    failures = (struct input){0};
    if (how & 64)
        failures = (struct input){data, size < 30 ? size : 30};
    see_datagram = see_forwarded;
    refuse_joins = false;
    originals = 0;
    choose_mtu(how & 128);
    for (unsigned i = 0; i < COUNTER_COUNT; i++)
        atomic_store(&page->words[i], 0);

    unsigned i = 0;
    for (; i < RECEIVE_MESSAGES && in.left; i++) {
        struct msghdr *m = &worker->message[i].msg_hdr;
        struct arrival from;
        *m = (struct msghdr){.msg_control = worker->control[i].bytes};
        put_name(&in, i);
        m->msg_controllen =
            put_control(&in, worker->control[i].bytes, sizeof worker->control[i].bytes);
        uint32_t bytes = put_datagram(&in, i);
        worker->message[i].msg_len = bytes;
        m->msg_flags = take8(&in) == 255 ? MSG_TRUNC : 0;
        uint32_t step = worker_arrival(worker, m, &from);
        CHECK(from.sender == (worker->role == ROLE_CLIENT ? 0 : slot_of(m)));
        if (!step || step > bytes)
            step = bytes;
        segments += m->msg_flags || !bytes ? 1 : (bytes + step - 1) / step;
        if (!m->msg_flags)
            remember(worker->arena[i], bytes, step);
        worker_datagram(worker, i, now);
    }
    sender_flush(&worker->sender);
    merge_flush(&worker->writer);
    CHECK(atomic_load(&page->words[COUNTER_UDP_RECEIVED_PACKETS]) == segments);
    CHECK(sum(out, 3) == segments);
    for (unsigned k = 0; k < originals; k++)
        free((void *)(uintptr_t)original[k].packet);
    while (i--)
        __asan_unpoison_memory_region(worker->arena[i], RECEIVE_BYTES);
    return 0;
}
