/* Records from the device through the reader, a small ring and a worker's drain:
 * read = queued + dropped, and taken from the ring = sent + dropped (I14).
 *
 * A bell is rung once for all that a burst brought its ring, when that can be seen (I4);
 * and while a record is being sent, it is still the worker's (I2, I5). */
#include "sends.h"
#include "writes.h"

#include "packets.h"

ssize_t fake_read(int fd, void *to, size_t n);
ssize_t fake_write(int fd, const void *from, size_t n);
#define read fake_read
#define write fake_write
#include "fib_change.h"
#include "reader.h"
#include "worker.h"

#define CAPACITY (1u << 18)
#define RINGS 2u
#define FIRST_BELL 100

static struct reader *reader;
static struct worker *worker[RINGS];
static struct page *page;
static struct input device;
static unsigned rung[RINGS], rings;
static struct worker *draining; /* and the head it began at */
static uint32_t drained_from;

ssize_t fake_read(int fd, void *to, size_t n)
{
    uint8_t *record = to;

    if (fd != 6 || !device.left) {
        errno = EAGAIN;
        return -1;
    }
    uint8_t how = take8(&device), stretch = take8(&device), segment = take8(&device);
    size_t bytes = take8(&device) + (how & 0x10 ? stretch * 256u : 0);
    CHECK(n == RECORD_MAX);
    take_bytes(&device, record, bytes);
    if (bytes > VNET_BYTES)
        make_honest(record + VNET_BYTES, bytes - VNET_BYTES, how);
    if (how & 0x80)
        make_offload(record, bytes, segment);
    return (ssize_t)bytes;
}

ssize_t fake_write(int fd, const void *from, size_t n)
{
    if (fd == 6) {
        CHECK(n > VNET_BYTES && n <= VNET_BYTES + ICMP_BYTES_MAX);
        touch(from, n);
        return (ssize_t)n;
    }
    unsigned i = (unsigned)fd - FIRST_BELL;
    uint64_t one;

    CHECK(i < RINGS && n == sizeof one);
    memcpy(&one, from, n);
    CHECK(one == 1);
    CHECK(atomic_load(&reader->ring[i].ring->tail) == reader->ring[i].tail);
    rung[i]++;
    errno = EAGAIN; /* a bell that was rung too often to count is rung all the same */
    return ++rings & 1 ? (ssize_t)n : -1;
}

static void check_bells(void)
{
    uint32_t before[RINGS];

    for (unsigned i = 0; i < RINGS; i++) {
        rung[i] = 0;
        before[i] = atomic_load(&reader->ring[i].ring->tail);
    }
    reader_burst(reader);
    for (unsigned i = 0; i < RINGS; i++) {
        CHECK(rung[i] == (before[i] != reader->ring[i].tail));
        CHECK(atomic_load(&reader->ring[i].ring->tail) == reader->ring[i].tail);
    }
}

static void check_borrowed(void)
{
    CHECK(draining && atomic_load(&draining->ring.ring->head) == drained_from);
}

static bool drain(struct worker *w)
{
    draining = w;
    drained_from = atomic_load(&w->ring.ring->head);
    bool more = worker_drain(w);
    draining = NULL;
    CHECK(!w->sender.items && atomic_load(&w->ring.ring->head) == w->ring.head);
    return more;
}

static void open_all(void)
{
    static const char net4[] = "\0\0\0\0\0\0\0\0\0\0\xff\xff\12\0\0\0";
    static const char net6[] = "\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    static const char none4[] = "\0\0\0\0\0\0\0\0\0\0\xff\xff\12\0\0\2"; /* to a slot that is none */
    struct fib *fib = fib_open(4);

    page = aligned_alloc(64, sizeof *page + 4 * sizeof(struct peer_row));
    memset(page, 0, sizeof *page + 4 * sizeof(struct peer_row));
    page->peers = 4;
    for (uint32_t slot = 0; slot < 4; slot++) {
        uint8_t a[16];
        memcpy(a, slot & 1 ? net4 : net6, 16);
        a[15] = (uint8_t)slot;
        fib_set_route(fib, address_load(a), 128, (int32_t)slot);
        if (slot < 3)
            fib_set_peer(fib, slot, 1, (struct endpoint){address_load(a), 9, 0}, address_load(a));
    }
    fib_set_route(fib, address_load((const uint8_t *)none4), 128, 9);
    reader = calloc(1, sizeof *reader);
    *reader = (struct reader){.tun = 6, .channel = -1, .fib = fib, .page = page, .rings = RINGS};
    for (unsigned i = 0; i < RINGS; i++) {
        struct ring *ring = aligned_alloc(64, ring_bytes(CAPACITY));
        ring_format(ring, CAPACITY);
        ring_attach_producer(&reader->ring[i], ring);
        reader->doorbell[i] = FIRST_BELL + (int)i;
        worker[i] = calloc(1, sizeof *worker[i]);
        worker[i]->fib = worker[i]->sender.fib = fib;
        worker[i]->page = worker[i]->sender.page = page;
        worker[i]->sender.family = AF_INET6;
        ring_attach_consumer(&worker[i]->ring, ring);
    }
}

static uint64_t drops(int from)
{
    uint64_t total = 0;

    for (int reason = 0; reason < REASON_COUNT; reason++)
        total += atomic_load(&page->words[from + reason]);
    return total;
}

static uint64_t counter(int i)
{
    return atomic_load(&page->words[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};

    if (!reader)
        open_all();
    uint8_t how = take8(&in);
    failures = (struct input){0};
    if (how & 1)
        failures = (struct input){data, size < 30 ? size : 30};
    for (int i = 0; i < COUNTER_COUNT; i++)
        atomic_store(&page->words[i], 0);
    sent_datagrams = 0;
    before_send = check_borrowed;
    device = in;
    while (device.left) {
        check_bells();
        for (unsigned i = 0; i < RINGS; i++) {
            worker[i]->sender.gso = how & 2;
            worker[i]->sender.now++;
            if (how & 4 && take8(&device) & 1)
                continue; /* this one is slow: its ring fills */
            while (drain(worker[i]))
                ;
        }
    }
    for (unsigned i = 0; i < RINGS; i++)
        while (drain(worker[i]))
            ;
    CHECK(counter(COUNTER_TUN_READ_PACKETS) ==
          counter(COUNTER_QUEUED_PACKETS) + drops(COUNTER_DROP));
    CHECK(counter(COUNTER_QUEUED_PACKETS) == counter(COUNTER_RING_PACKETS));
    CHECK(counter(COUNTER_RING_PACKETS) ==
          counter(COUNTER_SENT_PACKETS) + drops(COUNTER_RING_DROP));
    CHECK(counter(COUNTER_SOCKET_ERRORS) == 0);
    CHECK(counter(COUNTER_SENT_PACKETS) == sent_datagrams);
    return 0;
}
