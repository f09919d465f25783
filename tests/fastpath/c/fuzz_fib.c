/* Routes against a list searched from end to end, endpoints against an array. */
#include "fuzz.h"
#include "decide.h"
#include "fib_change.h"

#define PEERS 24u
#define ROWS 512u

struct row {
    uint8_t prefix[16];
    int length;
    int32_t target;
};

struct slow {
    struct row row[ROWS];
    unsigned rows;
    struct endpoint at[PEERS];
    bool there[PEERS];
};

static bool bit(const uint8_t *address, int i)
{
    return address[i / 8] >> (7 - i % 8) & 1;
}

static bool holds(const struct row *row, const uint8_t *address)
{
    for (int i = 0; i < row->length; i++)
        if (bit(row->prefix, i) != bit(address, i))
            return false;
    return true;
}

static bool mapped(const uint8_t *a)
{
    return !memcmp(a, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12);
}

static int32_t slow_lookup(const struct slow *s, const uint8_t *address, int version)
{
    int32_t target = TARGET_NOTHING;
    int best = -1;

    if (version == 6 && mapped(address))
        return TARGET_NOTHING;
    for (unsigned i = 0; i < s->rows; i++) {
        const struct row *row = &s->row[i];
        if (version == 4 && row->length < 96)
            continue;
        if (row->length > best && holds(row, address))
            best = row->length, target = row->target;
    }
    return target;
}

static void slow_drop(struct slow *s, const uint8_t *prefix, int length)
{
    for (unsigned i = 0; i < s->rows; i++)
        if (s->row[i].length == length && holds(&s->row[i], prefix))
            s->row[i] = s->row[--s->rows];
}

/* Addresses that hit each other: few bytes vary, and some are v4-mapped. */
static void take_address(struct input *in, uint8_t *a)
{
    uint8_t how = take8(in);

    memset(a, 0, 16);
    if (how & 1) {
        a[10] = a[11] = 0xff;
        a[12] = 10;
    } else {
        a[0] = 0xfd;
    }
    if (how & 2)
        a[how >> 4] ^= take8(in);
    a[14] = take8(in) & 3;
    a[15] = take8(in);
}

static struct endpoint take_endpoint(struct input *in)
{
    uint8_t a[16];

    take_address(in, a);
    return (struct endpoint){address_load(a), (uint16_t)(take8(in) & 3), take8(in) == 9};
}

static int32_t slow_at(const struct slow *s, const struct endpoint *e)
{
    for (unsigned i = 0; i < PEERS; i++)
        if (s->there[i] && endpoint_equal(&s->at[i], e))
            return (int32_t)i;
    return -1;
}

static void step(struct fib *fib, struct slow *s, struct input *in)
{
    uint8_t a[16];
    int length;
    uint32_t slot;
    struct endpoint e;

    switch (take8(in) % 8) {
    case 0:
    case 1:
    case 2:
        take_address(in, a);
        length = take8(in) % 129;
        slow_drop(s, a, length);
        if (s->rows == ROWS)
            return;
        s->row[s->rows] = (struct row){.length = length, .target = take8(in) % 128 - 2};
        memcpy(s->row[s->rows].prefix, a, 16);
        CHECK(fib_set_route(fib, address_load(a), length, s->row[s->rows++].target));
        return;
    case 3:
        take_address(in, a);
        length = take8(in) % 129;
        fib_drop_route(fib, address_load(a), length);
        slow_drop(s, a, length);
        return;
    case 4:
    case 5:
        slot = take8(in) % PEERS;
        e = take_endpoint(in);
        for (unsigned i = 0; i < PEERS; i++)
            if (s->there[i] && endpoint_equal(&s->at[i], &e))
                s->there[i] = false;
        s->there[slot] = true;
        s->at[slot] = e;
        CHECK(fib_set_peer(fib, slot, 1u + take8(in), e, e.address));
        return;
    case 6:
        slot = take8(in) % (PEERS + 2);
        fib_drop_peer(fib, slot);
        if (slot < PEERS)
            s->there[slot] = false;
        return;
    default:
        if (take8(in) != 0xff)
            return;
        fib_clear(fib);
        memset(s, 0, sizeof *s);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct fib *fib = fib_open(PEERS);
    struct slow *slow = calloc(1, sizeof *slow);

    for (int i = 0; i < 400 && in.left; i++) {
        uint8_t a[16];
        step(fib, slow, &in);
        take_address(&in, a);
        int version = mapped(a) ? 4 : 6;
        CHECK(fib_lookup(fib, address_load(a), version) == slow_lookup(slow, a, version));
        CHECK(fib_lookup(fib, address_load(a), 6) == slow_lookup(slow, a, 6));
        struct endpoint e = take_endpoint(&in);
        CHECK(fib_at_endpoint(fib, &e) == slow_at(slow, &e));
    }
    for (unsigned i = 0; i < PEERS; i++)
        CHECK(!slow->there[i] || fib_at_endpoint(fib, &slow->at[i]) == (int32_t)i);
    fib_close(fib);
    free(slow);
    return 0;
}
