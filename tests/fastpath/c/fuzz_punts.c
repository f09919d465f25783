/* Control datagrams at any times from peers and strangers who come, move and go, held against
 * plain token buckets, one for each use of a slot. */
#include "fuzz.h"

#include "fib_change.h"
#include "punts.h"

#define SLOTS 3
#define USES 256 /* of slots, in one input */
#define STRANGERS 3
#define FEW 40u /* that all may send together: so few that an input gets there, or */
#define MANY 1000u

struct twin {
    struct bucket known, unknown, use[USES], stranger[STRANGERS];
    uint32_t uses;
};

static struct fib *fib;

static struct endpoint endpoint_of(uint32_t slot, uint16_t port)
{
    return (struct endpoint){{1, slot}, port, 0};
}

/* A new use of a slot, or the same one from a new port. */
static void admit(struct twin *twin, uint32_t slot, bool fresh, uint16_t port)
{
    uint32_t incarnation = fib->peers[slot].incarnation;

    if (fresh || !incarnation) {
        if (twin->uses == USES)
            return;
        twin->use[twin->uses++] = (struct bucket){PUNT_PEER_RATE, PUNT_PEER_BURST, 0, 0};
        incarnation = twin->uses;
    }
    CHECK(fib_set_peer(fib, slot, incarnation, endpoint_of(slot, port), (struct address){0, 0}));
}

/* A snapshot: the table is emptied, then told again. */
static void tell_again(void)
{
    struct fib_peer kept[SLOTS];

    memcpy(kept, fib->peers, sizeof kept);
    fib_clear(fib);
    for (uint32_t slot = 0; slot < SLOTS; slot++)
        if (kept[slot].incarnation)
            fib_set_peer(fib, slot, kept[slot].incarnation, kept[slot].endpoint, kept[slot].local);
}

static bool expected(struct twin *twin, const struct arrival *from, enum role role, unsigned who,
                     unsigned waiting, uint64_t now)
{
    if (role == ROLE_CLIENT)
        return waiting < PUNTS && bucket_take(&twin->known, now);
    if (from->sender >= 0) {
        uint32_t use = fib->peers[from->sender].incarnation - 1;
        return waiting < PUNTS && bucket_take(&twin->use[use], now) &&
               bucket_take(&twin->known, now);
    }
    return waiting < PUNTS_STRANGERS && bucket_take(&twin->stranger[who], now) &&
           bucket_take(&twin->unknown, now);
}

/* Strangers of IPv4, from any port; of one /64; and of this host, from one port. */
static struct arrival stranger(unsigned who, uint16_t port, uint64_t low)
{
    static const uint8_t mapped[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1};
    struct address places[STRANGERS] = {address_load(mapped), {7, low}, {8, 8}};
    struct arrival from = {.from = {places[who], port, 0}, .sender = -1};

    if (who == 2) {
        from.local = from.from.address;
        from.from.port = 9;
    }
    return from;
}

/* None of the strangers shares a place with another, nor a port of this host with the next. */
static void open_fib(void)
{
    uint32_t places[STRANGERS + 1];

    fib = fib_open(SLOTS);
    for (unsigned tries = 0; tries < 100; tries++) {
        fib->seed++;
        for (unsigned i = 0; i < STRANGERS; i++) {
            struct arrival from = stranger(i, 1, 1);
            places[i] = punt_place(fib, &from);
        }
        struct arrival other = stranger(2, 1, 1);
        other.from.port++;
        places[STRANGERS] = punt_place(fib, &other);
        if (places[0] != places[1] && places[1] != places[2] && places[0] != places[2] &&
            places[2] != places[3])
            return;
    }
    CHECK(!"a port of its own has a place of its own");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct punt_limits limits;
    static struct twin twin;
    struct input in = {data, size};
    uint64_t now = 20000000000u; /* a host has been up for a while */
    unsigned waiting = 0, granted = 0;

    if (!fib)
        open_fib();
    fib_clear(fib);
    memset(&limits, 0, sizeof limits);
    CHECK(punt_limits_open(&limits, fib));
    uint8_t how = take8(&in);
    uint64_t known = how & 8 ? FEW : MANY, strangers = how & 16 ? FEW : MANY;
    limits.known.rate = limits.known.burst = known;
    limits.unknown.rate = limits.unknown.burst = strangers;
    twin = (struct twin){.known = limits.known, .unknown = limits.unknown};
    for (unsigned i = 0; i < STRANGERS; i++)
        twin.stranger[i] = (struct bucket){PUNT_PLACE_RATE, PUNT_PLACE_BURST, 0, 0};
    for (uint32_t slot = 0; slot < SLOTS; slot++)
        admit(&twin, slot, true, 1);
    enum role role = how % 8 ? ROLE_SERVER : ROLE_CLIENT;

    while (in.left) {
        uint8_t what = take8(&in);
        unsigned who = what % 3, times = 1u << (what >> 3 & 7);
        switch (what >> 6) {
        case 0:
            now += (uint64_t)take16(&in) << (what & 15);
            waiting = 0;
            break;
        case 1:
            if (what & 32)
                tell_again();
            else if (what & 16)
                fib_drop_peer(fib, who);
            else
                admit(&twin, who, what & 8, take8(&in));
            break;
        default:
            if (what & 4)
                waiting = 0;
            for (unsigned i = 0; i < times; i++) {
                struct arrival from = stranger(who, (uint16_t)i, i);
                if (what >> 6 == 2 && fib->peers[who].incarnation)
                    from = (struct arrival){fib->peers[who].endpoint, {0, 0}, (int32_t)who};
                bool may = punt_take(&limits, fib, role, &from, waiting, now);
                CHECK(may == expected(&twin, &from, role, who, waiting, now));
                waiting += may;
                granted += may;
            }
        }
    }
    uint64_t seconds = (now - 20000000000u) / 1000000000u + 2; /* one of them for the burst */
    CHECK(granted <= (known + strangers) * seconds);
    punt_limits_close(&limits);
    return 0;
}
