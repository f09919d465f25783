/* Values that random input seldom meets: carries of a sum, a bucket's limits, the time of a
 * turn. The argument names a case. */
#include "cases.h"
#include "fuzz.h"

#include "fib_change.h"
#include "worker.h"

static uint16_t slow_fold(uint64_t sum)
{
    return (uint16_t)(sum ? (sum - 1) % 0xffff + 1 : 0);
}

static void every_carry_of_a_fold(void)
{
    static const uint64_t halves[] = {0, 1, 2, 0x7fff, 0x8000, 0xfffd, 0xfffe, 0xffff};

    for (unsigned i = 0; i < 8 * 8 * 8 * 8; i++) {
        uint64_t sum = halves[i & 7] << 48 | halves[i >> 3 & 7] << 32 | halves[i >> 6 & 7] << 16 |
                       halves[i >> 9 & 7];
        CHECK(sum_fold(sum) == slow_fold(sum));
    }
}

/* Of every length, in two halves that differ, from an aligned place and from none; after a
 * sum that is about to overflow. */
static void every_length_of_a_sum(void)
{
    static const uint8_t bytes[] = {0, 1, 0x80, 0xfe, 0xff};
    static const uint64_t before[] = {0, 1, UINT64_MAX - 1, UINT64_MAX};

    for (unsigned n = 0; n < 700; n++) {
        for (unsigned i = 0; i < 5 * 5 * 4 * 2; i++) {
            unsigned odd = i / 100;
            uint8_t *memory = malloc(n + odd + 1), *p = memory + odd;
            uint64_t sum = slow_fold(before[i / 25 % 4]);
            memset(p, bytes[i % 5], n);
            memset(p + n / 2, bytes[i / 5 % 5], n - n / 2);
            p[n] = 0;
            for (unsigned k = 0; k < n; k += 2) {
                uint16_t word;
                memcpy(&word, p + k, 2);
                sum += word;
            }
            uint8_t *exact = malloc(n + odd);
            if (n)
                memcpy(exact + odd, p, n);
            CHECK(sum_fold(sum_bytes(exact + odd, n, before[i / 25 % 4])) == slow_fold(sum));
            free(exact);
            free(memory);
        }
    }
}

/* The last four bytes of a SYN's options, with nothing behind them in memory. */
static void options_that_end_with_the_packet(void)
{
    for (uint32_t end = 0; end < 3 * 256 * 8; end++) {
        uint8_t kind = (uint8_t)end, size = end >> 8 & 7, place = (uint8_t)(end >> 11);
        uint8_t *packet = calloc(1, 44), *copy = malloc(44);
        packet[0] = 0x45;
        packet[9] = IP_TCP;
        packet[32] = 0x60;
        packet[33] = TCP_SYN;
        memset(packet + 40, 1, 4);
        packet[43 - place] = kind;
        if (place)
            packet[44 - place] = size;
        if (place == 2)
            packet[43] = 0xff;
        memcpy(copy, packet, 44);
        mss_clamp(packet, 44, 1280, false);
        CHECK(!memcmp(packet, copy, 44));
        free(packet);
        free(copy);
    }
}

static unsigned taken(struct bucket *b, uint64_t now)
{
    unsigned n = 0;

    while (bucket_take(b, now))
        CHECK(++n < 1000);
    return n;
}

static void a_bucket_fills_at_its_rate_to_its_brim(void)
{
    struct bucket b = {100, 50, 0, 0};
    uint64_t now = 1000000000000, second = 1000000000;

    CHECK(taken(&b, now) == 50);
    CHECK(taken(&b, now += second / 200) == 0);
    CHECK(taken(&b, now += second / 200) == 1);
    CHECK(taken(&b, now += second / 4) == 25);
    CHECK(taken(&b, now += second) == 50);
    CHECK(taken(&b, now += 9 * second) == 50);
    CHECK(taken(&b, now += 11 * second) == 50);
    CHECK(taken(&b, now += 1ull << 62) == 50);
    for (unsigned i = 0; i < 20; i++) /* a little at a time loses nothing */
        CHECK(!bucket_take(&b, now += second / 100 / 20) || i == 19);
    CHECK(taken(&b, now) == 0);
}

static void a_turn_has_one_time(void)
{
    struct worker *w = calloc(1, sizeof *w);
    struct ring *ring = aligned_alloc(64, ring_bytes(RING_CAPACITY_MIN));
    uint64_t before = monotonic_ns();

    ring_format(ring, RING_CAPACITY_MIN);
    ring_attach_consumer(&w->ring, ring);
    w->page = aligned_alloc(64, sizeof *w->page);
    memset(w->page, 0, sizeof *w->page);
    w->udp = w->tun = w->channel = w->doorbell = -1;
    CHECK(worker_run(w, 0) == 0);
    CHECK(w->sender.now >= before && w->sender.now <= monotonic_ns());
    CHECK(w->sender.now == atomic_load(&w->page->pulse));
}

const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
    return "detect_leaks=0"; /* a case ends with its process */
}

int main(int argc, char **argv)
{
    static const struct test_case cases[] = {
        CASE(every_carry_of_a_fold),
        CASE(every_length_of_a_sum),
        CASE(options_that_end_with_the_packet),
        CASE(a_bucket_fills_at_its_rate_to_its_brim),
        CASE(a_turn_has_one_time),
    };

    return run_case(cases, sizeof cases / sizeof *cases, argc, argv);
}
