/* A record from a TUN: checked, cut and sent. The record lies on the heap with nothing
 * behind it; what comes out adds up to what went in. */
#include "sends.h"

#include "packets.h"
#include "fib_change.h"
#include "split.h"

static struct sender *sender;
static struct page *page;
static uint64_t seen_payload;
static uint32_t headers; /* bytes in front of every datagram's payload */

static void see(const uint8_t *datagram, size_t bytes)
{
    int version = datagram[0] >> 4;

    CHECK(bytes >= headers);
    seen_payload += bytes - headers;
    if (!headers || version == 5)
        return;
    CHECK(version == 4 ? get16(datagram + 2) == bytes : 40u + get16(datagram + 4) == bytes);
    if (version == 4)
        CHECK(sum_fold(sum_bytes(datagram, (datagram[0] & 15u) * 4, 0)) == 0xffff);
}

static void open_sender(void)
{
    struct fib *fib = fib_open(4);
    struct endpoint e = {address_load((const uint8_t *)"\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1"), 9, 0};

    page = aligned_alloc(64, sizeof *page + 4 * sizeof(struct peer_row));
    memset(page, 0, sizeof *page + 4 * sizeof(struct peer_row));
    page->peers = 4;
    fib_set_peer(fib, 2, 1, e, e.address);
    sender = calloc(1, sizeof *sender);
    sender->family = AF_INET6;
    sender->fib = fib;
    sender->page = page;
    see_datagram = see;
}

static uint64_t counter(int i)
{
    return atomic_load(&page->words[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct shape shape;

    if (!sender)
        open_sender();
    uint8_t how = take8(&in), stretch = take8(&in), segment = take8(&in);
    size_t packet_bytes = in.left > VNET_BYTES ? in.left - VNET_BYTES : 0;
    size_t bytes = in.left + (packet_bytes && how & 0x10 ? stretch * 250u : 0);
    if (bytes > 65535 + VNET_BYTES)
        bytes = 65535 + VNET_BYTES;
    uint8_t *record = malloc(bytes);
    take_bytes(&in, record, bytes);
    if (bytes > VNET_BYTES)
        make_honest(record + VNET_BYTES, bytes - VNET_BYTES, how);
    if (how & 0x80)
        make_offload(record, bytes, segment);
    sender->gso = how & 0x20;
    failures = (struct input){0};
    if (how & 0x40)
        failures = (struct input){data, size < 40 ? size : 40};
    sender->now++;
    sender->fib->peers[2].single_until = 0;
    for (int i = 0; i < COUNTER_COUNT; i++)
        atomic_store(&page->words[i], 0);
    sent_datagrams = seen_payload = 0;

    if (shape_check(record, bytes, &shape) < 0) {
        uint32_t whole = shape.size ? shape.length - shape.headers : shape.length;
        headers = shape.size ? shape.headers : 0;
        CHECK(shape.segments >= 1);
        split_send(sender, &shape, 2);
        sender_flush(sender);
        uint64_t dropped = 0;
        for (int reason = 0; reason < REASON_COUNT; reason++)
            dropped += counter(COUNTER_RING_DROP + reason);
        CHECK(counter(COUNTER_SENT_PACKETS) + dropped == shape.segments);
        CHECK(counter(COUNTER_SENT_PACKETS) == sent_datagrams);
        if (!dropped)
            CHECK(seen_payload == whole);
    }
    CHECK(!sender->items && !sender->vectors_used && !sender->scratch_used);
    free(record);
    return 0;
}
