/* Packets for the host, judged, joined and written. Each lies on the heap alone; every
 * one comes out as it went in, and in order within its flow (I12). */
#include "sends.h"
#include "writes.h"

#include "decide.h"
#include "fib_change.h"
#include "packets.h"

static struct tun_writer *writer;
static struct fib *fib;
static struct page *page;

/* A packet of one of few flows that follows the one before, with one thing different now
 * and then. */
static size_t next_packet(struct input *in, uint8_t *packet, uint32_t *sequence, uint16_t *id)
{
    static const uint8_t sizes[] = {1, 7, 100, 100, 100, 100, 100, 101};
    uint8_t how = take8(in), flow = take8(in) & 3;
    bool v4 = how & 1, tcp = how & 2;
    size_t ip = v4 ? 20 : 40, transport = tcp ? 20 : 8;
    size_t n = ip + transport + sizes[how >> 2 & 7];

    memset(packet, 0, n);
    packet[0] = v4 ? 0x45 : 0x60;
    if (v4) {
        put16(packet + 2, (uint32_t)n);
        put16(packet + 4, id[flow]++);
        packet[6] = 0x40;
        packet[8] = 64;
        packet[9] = tcp ? IP_TCP : IP_UDP;
        packet[12] = packet[16] = 10;
        packet[19] = flow & 1;
    } else {
        put16(packet + 4, (uint32_t)n - 40);
        packet[6] = tcp ? IP_TCP : IP_UDP;
        packet[7] = 64;
        packet[8] = packet[24] = 0xfd;
        packet[39] = flow & 1;
    }
    uint8_t *t = packet + ip;
    put16(t, 1000);
    put16(t + 2, flow);
    if (tcp) {
        put32(t + 4, sequence[flow]);
        sequence[flow] += (uint32_t)(n - ip - 20);
        t[12] = 0x50;
        t[13] = (uint8_t)(TCP_ACK | (how & 0x20 ? TCP_PSH : 0));
        put16(t + 14, 500);
    }
    memset(t + transport, how, n - ip - transport);
    if (how & 0x40)
        packet[take8(in) % (ip + transport)] ^= take8(in);
    if (packet[0] >> 4 == (v4 ? 4 : 6))
        make_sums(packet, n);
    if (how & 0x80 && take8(in) & 1)
        packet[take16(in) % n] ^= take8(in);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    uint8_t *packets[256], raw[1500];
    unsigned count_in = 0;
    uint32_t sequence[4] = {0xffffff00, 0, 1, 2};
    uint16_t id[4] = {0xfff0, 0, 1, 2};

    if (!writer) {
        writer = calloc(1, sizeof *writer);
        fib = fib_open(2);
        page = aligned_alloc(64, sizeof *page);
        memset(page, 0, sizeof *page);
    }
    uint8_t how = take8(&in);
    tun_writer_open(writer, 5, page, how & 1, how & 2);
    refuse_joins = (how & 0x70) == 0x70;
    refused_tcp = refused_udp = 0;
    uint64_t fallbacks = atomic_load(&page->words[COUNTER_MERGE_FALLBACKS]);
    uint64_t before = atomic_load(&page->words[COUNTER_DELIVERED_PACKETS]) +
                      atomic_load(&page->words[COUNTER_DROP + REASON_TUN_ERROR]);
    originals = 0;
    for (int i = 0; i < 250 && in.left; i++) {
        size_t n;
        uint8_t what = take8(&in);
        if (what == 0xfe) {
            merge_flush(writer);
            continue;
        }
        if (what == 0xff) {
            n = take16(&in) % 200;
            take_bytes(&in, raw, n);
            make_honest(raw, n, take8(&in));
        } else {
            n = next_packet(&in, raw, sequence, id);
        }
        uint8_t *packet = malloc(n);
        memcpy(packet, raw, n);
        struct decision d = decide_udp(fib, packet, n, -1, ROLE_CLIENT, false);
        if (d.verdict != VERDICT_DELIVER) {
            free(packet);
            continue;
        }
        uint8_t *copy = malloc(n);
        memcpy(copy, packet, n);
        original[originals++] = (struct original){copy, n, false};
        packets[count_in++] = packet;
        merge_put(writer, packet, (uint32_t)n);
    }
    merge_flush(writer);
    CHECK(!writer->open);
    CHECK(writer->merge_tcp == (how & 1 && !refused_tcp));
    CHECK(writer->merge_udp == (how & 2 && !refused_udp));
    CHECK(atomic_load(&page->words[COUNTER_MERGE_FALLBACKS]) - fallbacks ==
          refused_tcp + refused_udp);
    CHECK(atomic_load(&page->words[COUNTER_DELIVERED_PACKETS]) +
              atomic_load(&page->words[COUNTER_DROP + REASON_TUN_ERROR]) - before == count_in);
    for (unsigned i = 0; i < originals; i++) {
        CHECK(original[i].out);
        free((void *)(uintptr_t)original[i].packet);
        free(packets[i]);
    }
    return 0;
}
