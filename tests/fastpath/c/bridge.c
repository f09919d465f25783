/* What a bridge does with groups at their limits, and when the kernel refuses, call by call.
 * The argument names a case. */
#include "cases.h"
#include "sends.h"

#include "bursts.h"

#define TRY(...)                                                                                   \
    static const uint8_t steps[] = {__VA_ARGS__};                                                  \
    failures = (struct input){steps, sizeof steps}

static struct burst_counts counts;
static struct burst_out out = {.counts = &counts};
static uint8_t body[65536];

static void put(unsigned n, size_t size)
{
    while (n--)
        out_put(&out, body, size);
}

static void flush(void)
{
    sent_messages = sent_datagrams = 0;
    out_flush(&out);
    CHECK(!failures.left && !out.messages && !out.vectors);
}

static void a_group_has_64_datagrams_and_65507_bytes(void)
{
    put(64, 10);
    flush();
    CHECK(sent_messages == 1 && sent_datagrams == 64);
    put(65, 10);
    flush();
    CHECK(sent_messages == 2 && sent_datagrams == 65);
    put(48, 1364);
    put(1, 35);
    flush();
    CHECK(sent_messages == 1 && sent_datagrams == 49);
    put(48, 1364);
    put(1, 36);
    flush();
    CHECK(sent_messages == 2 && sent_datagrams == 49 && counts.datagrams == 227);
}

static void a_refusal_is_of_an_earlier_datagram(void)
{
    put(1, 10);
    put(1, 20);
    put(1, 30);
    TRY(REFUSED, OK, INTERRUPTED, INTERRUPTED, OK, OK);
    flush();
    CHECK(sent_datagrams == 3 && counts.datagrams == 3 && counts.bytes == 60 && !counts.refused);
}

static void three_refusals_are_its_own(void)
{
    put(1, 10);
    put(1, 20);
    TRY(REFUSED, REFUSED, REFUSED, OK);
    flush();
    CHECK(sent_datagrams == 1 && counts.refused == 1 && counts.bytes == 20);
}

static void a_group_that_is_not_taken_goes_singly_and_so_does_all_that_follows(void)
{
    put(4, 10);
    put(1, 7);
    TRY(NOT_VALID, OK, REFUSED, OK, REFUSED, REFUSED, BUFFER_FULL, NOT_PERMITTED);
    flush();
    CHECK(sent_datagrams == 2 && counts.datagrams == 2 && counts.bytes == 20);
    CHECK(counts.refused == 1 && counts.full == 1 && counts.failed == 1 && counts.fallbacks == 1);
    put(3, 10);
    flush();
    CHECK(sent_messages == 3 && counts.fallbacks == 1);
}

static void errors_of_a_path_and_others(void)
{
    static const uint8_t errors[] = {NO_IO, TOO_LONG, NOT_VALID, BUFFER_FULL, NO_BUFFERS, NO_HOST};

    for (unsigned i = 0; i < sizeof errors; i++) {
        counts = (struct burst_counts){0};
        out.single = false;
        put(3, 10);
        failures = (struct input){&errors[i], 1};
        flush();
        CHECK(counts.fallbacks == (i < 3) && out.single == (i < 3));
        CHECK(counts.datagrams == (i < 3 ? 3 : 0));
        CHECK(counts.full == (i == 3 || i == 4 ? 3 : 0) && counts.failed == (i == 5 ? 3 : 0));
    }
}

int main(int argc, char **argv)
{
    static const struct test_case cases[] = {
        CASE(a_group_has_64_datagrams_and_65507_bytes),
        CASE(a_refusal_is_of_an_earlier_datagram),
        CASE(three_refusals_are_its_own),
        CASE(a_group_that_is_not_taken_goes_singly_and_so_does_all_that_follows),
        CASE(errors_of_a_path_and_others),
    };

    return run_case(cases, sizeof cases / sizeof *cases, argc, argv);
}
