/* What becomes of datagrams, writes and receives that the kernel refuses, call by call: a
 * real kernel refuses too seldom, and never to order. The argument names a case. */
#include "cases.h"
#include "sends.h"

ssize_t fake_writev(int fd, const struct iovec *v, int n);
int fake_recvmmsg(int fd, struct mmsghdr *m, unsigned n, int flags, struct timespec *timeout);
ssize_t fake_read(int fd, void *to, size_t n);
ssize_t fake_write(int fd, const void *from, size_t n);
#define read fake_read
#define write fake_write
#define writev fake_writev
#define recvmmsg fake_recvmmsg
#include "fib_change.h"
#include "packets.h"
#include "reader.h"
#include "worker.h"

#define PEERS 3
#define TRY(...)                                                                                   \
    static const uint8_t steps[] = {__VA_ARGS__};                                                  \
    failures = (struct input){steps, sizeof steps}

static struct worker *w;
static struct sender *s;
static struct page *page;
static uint8_t seen[128]; /* the first byte of each datagram that was taken */
static unsigned marks;
static int write_error; /* for joined writes, or for all */
static bool refuse_all;
static uint8_t refused_type;
static unsigned joined_writes, single_writes;

static void see(const uint8_t *datagram, size_t bytes)
{
    CHECK(marks < sizeof seen && bytes > 0);
    seen[marks++] = datagram[0];
}

ssize_t fake_writev(int fd, const struct iovec *v, int n)
{
    size_t bytes;
    struct vnet vnet;
    uint8_t *whole = gather(v, (size_t)n, &bytes);

    CHECK(fd == 5);
    memcpy(&vnet, whole, VNET_BYTES);
    free(whole);
    *(vnet.gso_type ? &joined_writes : &single_writes) += 1;
    if (!write_error || (!refuse_all && vnet.gso_type != refused_type))
        return (ssize_t)bytes;
    errno = write_error;
    return -1;
}

static int receive_error;

int fake_recvmmsg(int fd, struct mmsghdr *m, unsigned n, int flags, struct timespec *timeout)
{
    CHECK(fd == 7 && m && n == RECEIVE_MESSAGES && flags == MSG_DONTWAIT && !timeout);
    errno = receive_error;
    return -1;
}

const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
    return "detect_leaks=0"; /* a case ends with its process */
}

static int device_error, bell_error;
static unsigned bells;

ssize_t fake_read(int fd, void *to, size_t n)
{
    CHECK(fd == 5 && to && n == RECORD_MAX);
    errno = device_error;
    return -1;
}

ssize_t fake_write(int fd, const void *from, size_t n)
{
    CHECK((fd == 6 || fd == 8) && from && n == sizeof(uint64_t));
    bells++;
    errno = bell_error;
    return -1;
}

static void open_all(void)
{
    size_t bytes = sizeof *page + PEERS * sizeof(struct peer_row);
    uint8_t a[16] = {0xfd};

    page = aligned_alloc(64, bytes);
    memset(page, 0, bytes);
    page->peers = PEERS;
    w = calloc(1, sizeof *w);
    w->udp = 7;
    w->page = page;
    w->fib = fib_open(PEERS);
    s = calloc(1, sizeof *s);
    *s = (struct sender){.fib = w->fib, .page = page, .family = AF_INET6, .gso = true, .now = 1};
    tun_writer_open(&w->writer, 5, page, true, true);
    for (uint32_t slot = 0; slot < PEERS; slot++) {
        a[15] = (uint8_t)slot;
        fib_set_peer(w->fib, slot, 1, (struct endpoint){address_load(a), 9, 0}, (struct address){0});
    }
    see_datagram = see;
}

/* One datagram of the `mark`s, in memory of its own. */
static void put(int32_t slot, uint8_t mark, uint32_t bytes)
{
    uint8_t *datagram = malloc(bytes);

    memset(datagram, mark, bytes);
    sender_room(s);
    sender_put(s, slot, FROM_UDP, NULL, 0, datagram, bytes);
}

static void put_group(int32_t slot, const char *group)
{
    for (; *group; group++)
        put(slot, (uint8_t)*group, 100);
}

/* Send; every step of the script was taken, and these datagrams left. */
static void expect(const char *expected)
{
    marks = 0;
    sender_flush(s);
    CHECK(!failures.left);
    CHECK(marks == strlen(expected) && !memcmp(seen, expected, marks));
}

static uint64_t counter(int i)
{
    return atomic_load(&page->words[i]);
}

static uint64_t dropped(int reason)
{
    uint64_t all = 0;

    for (int i = 0; i < REASON_COUNT; i++)
        all += counter(COUNTER_DROP + i);
    CHECK(counter(COUNTER_DROP + reason) == all);
    return all;
}

static void a_refusal_is_of_an_earlier_datagram(void)
{
    put(0, 'a', 100);
    put(1, 'b', 100);
    put(2, 'c', 100);
    TRY(REFUSED, OK, REFUSED, REFUSED, OK, INTERRUPTED, INTERRUPTED, OK);
    expect("abc");
    CHECK(dropped(REASON_SEND_REFUSED) == 0 && counter(COUNTER_FORWARDED_PACKETS) == 3);
}

static void a_second_refusal_is_of_this_one(void)
{
    put(0, 'a', 100);
    put(1, 'b', 100);
    put(2, 'c', 100);
    TRY(REFUSED, REFUSED, REFUSED, OK, OK);
    expect("bc");
    CHECK(dropped(REASON_SEND_REFUSED) == 1 && counter(COUNTER_FORWARDED_PACKETS) == 2);
    CHECK(peer_word(page, 0, PEER_TX_DROPPED) == 1 && peer_word(page, 0, PEER_TX_PACKETS) == 0);
    CHECK(peer_word(page, 1, PEER_TX_DROPPED) == 0 && peer_word(page, 1, PEER_TX_PACKETS) == 1);
}

static void a_refusal_within_a_group_costs_none_of_it(void)
{
    put_group(0, "abcde");
    put(0, 'f', 7);
    TRY(NO_IO, OK, REFUSED, OK, INTERRUPTED, OK, REFUSED, REFUSED, OK, OK);
    expect("abcef");
    CHECK(dropped(REASON_SEND_REFUSED) == 1 && counter(COUNTER_FORWARDED_PACKETS) == 5);
    CHECK(counter(COUNTER_FORWARDED_BYTES) == 407 && peer_word(page, 0, PEER_TX_BYTES) == 407);
    CHECK(counter(COUNTER_GSO_FALLBACKS) == 1);
}

static void an_error_within_a_group_is_one_datagrams(void)
{
    put_group(0, "abcde");
    put_group(1, "AB");
    TRY(TOO_LONG, OK, NOT_PERMITTED, OK, OK, NO_HOST, OK);
    expect("acdAB");
    CHECK(dropped(REASON_SEND_ERROR) == 2 && counter(COUNTER_FORWARDED_PACKETS) == 5);
    CHECK(peer_word(page, 0, PEER_TX_DROPPED) == 2 && peer_word(page, 0, PEER_TX_PACKETS) == 3);
}

static void a_full_buffer_ends_the_burst(void)
{
    put_group(0, "abc");
    put_group(1, "AB");
    put(2, 'x', 100);
    TRY(OK, BUFFER_FULL, BUFFER_FULL);
    expect("abc");
    CHECK(dropped(REASON_SEND_FULL) == 3 && counter(COUNTER_FORWARDED_PACKETS) == 3);
    CHECK(peer_word(page, 1, PEER_TX_DROPPED) == 2 && peer_word(page, 2, PEER_TX_DROPPED) == 1);
    put(2, 'y', 100);
    expect("y");
}

static void a_full_buffer_ends_a_group_and_the_burst(void)
{
    put_group(0, "abcde");
    put_group(1, "AB");
    TRY(NOT_VALID, OK, OK, BUFFER_FULL);
    expect("ab");
    CHECK(dropped(REASON_SEND_FULL) == 5 && counter(COUNTER_FORWARDED_PACKETS) == 2);
    CHECK(peer_word(page, 0, PEER_TX_DROPPED) == 3 && peer_word(page, 1, PEER_TX_DROPPED) == 2);
}

static void short_memory_is_one_messages(void)
{
    put_group(0, "ab");
    put_group(1, "AB");
    put_group(2, "xy");
    TRY(NO_BUFFERS, NOT_PERMITTED, OK);
    expect("xy");
    CHECK(counter(COUNTER_DROP + REASON_SEND_FULL) == 2);
    CHECK(counter(COUNTER_DROP + REASON_SEND_ERROR) == 2);
    CHECK(counter(COUNTER_GSO_FALLBACKS) == 0 && !peer_word(page, 1, PEER_SINGLE_SENDS));
}

static void a_path_that_takes_no_groups_gets_none_for_a_while(void)
{
    static const uint8_t errors[] = {NO_IO, TOO_LONG, NOT_VALID, NOT_SUPPORTED};

    for (unsigned i = 0; i < sizeof errors; i++) {
        put_group(0, "ab");
        put_group(1, "AB");
        failures = (struct input){&errors[i], 1};
        expect("abAB");
        CHECK(peer_word(page, 0, PEER_SINGLE_SENDS) && !peer_word(page, 1, PEER_SINGLE_SENDS));
        s->now += SENDER_SINGLE_NS - 1;
        sent_messages = 0;
        put_group(0, "abc");
        put_group(1, "ABC");
        expect("abcABC");
        CHECK(sent_messages == 4 && peer_word(page, 0, PEER_SINGLE_SENDS));
        s->now++;
        put_group(0, "abc");
        expect("abc");
        CHECK(sent_messages == 5 && !peer_word(page, 0, PEER_SINGLE_SENDS));
    }
    CHECK(counter(COUNTER_GSO_FALLBACKS) == sizeof errors && dropped(REASON_SEND_ERROR) == 0);
    put(0, 'a', 100);
    TRY(TOO_LONG);
    expect("");
    CHECK(dropped(REASON_SEND_ERROR) == 1 && counter(COUNTER_GSO_FALLBACKS) == sizeof errors);
    put_group(0, "ab");
    expect("ab");
    CHECK(sent_messages == 6); /* a single datagram says nothing about groups */
}

static void who_comes_next_to_a_slot_gets_groups_again(void)
{
    struct endpoint where = w->fib->peers[0].endpoint;

    put_group(0, "ab");
    TRY(NO_IO);
    expect("ab");
    for (uint32_t incarnation = 1; incarnation < 3; incarnation++) { /* told again, and another */
        CHECK(fib_set_peer(w->fib, 0, incarnation, where, (struct address){0}));
        sent_messages = 0;
        put_group(0, "ab");
        expect("ab");
        CHECK(sent_messages == (incarnation == 1 ? 2 : 1));
    }
}

static void only_a_connected_socket_has_events(void)
{
    static const uint8_t steps[] = {REFUSED,       REFUSED, NO_NETWORK, NO_ADDRESS, NO_DEVICE,
                                    NOT_PERMITTED, NO_HOST};
    static const unsigned events[] = {0, EVENT_REFUSED, EVENT_SOURCE_GONE, EVENT_SOURCE_GONE,
                                      EVENT_SOURCE_GONE, 0, 0};

    for (int connected = 0; connected < 2; connected++) {
        for (unsigned i = 1; i < sizeof steps; i++) {
            unsigned from = i == 1 ? 0 : i;
            s->connected = connected;
            s->events = 0;
            put(0, 'a', 100);
            failures = (struct input){steps + from, i - from + 1};
            expect("");
            CHECK(s->events == (connected ? events[i] : 0));
        }
    }
}

static void each_origin_has_its_sums(void)
{
    static const uint8_t body[10];

    sender_room(s);
    sender_put(s, 0, FROM_RING, NULL, 0, body, 10);
    sender_room(s);
    sender_put(s, 0, FROM_US, NULL, 0, body, 10);
    sender_room(s);
    sender_put(s, 0, FROM_UDP, NULL, 0, body, 10);
    TRY(NOT_PERMITTED, NOT_PERMITTED, NOT_PERMITTED);
    expect("");
    CHECK(counter(COUNTER_RING_DROP + REASON_SEND_ERROR) == 1 && dropped(REASON_SEND_ERROR) == 1);
    CHECK(counter(COUNTER_SOCKET_ERRORS) == 1 && peer_word(page, 0, PEER_TX_DROPPED) == 3);
}

static void a_group_has_64_datagrams_and_65507_bytes(void)
{
    see_datagram = NULL;
    for (int i = 0; i < 64; i++)
        put(0, 'a', 10);
    sender_flush(s);
    CHECK(sent_messages == 1);
    put_group(1, "ab");
    for (int i = 0; i < 65; i++)
        put(0, 'a', 10);
    sender_flush(s);
    CHECK(sent_messages == 4);
    for (int i = 0; i < 48; i++)
        put(0, 'a', 1364);
    put(0, 'a', 35);
    sender_flush(s);
    CHECK(sent_messages == 5);
    for (int i = 0; i < 48; i++)
        put(0, 'a', 1364);
    put(0, 'a', 36);
    sender_flush(s);
    CHECK(sent_messages == 7);
}

static void neighbours_in_memory_are_one_piece(void)
{
    static const uint8_t body[700];

    for (unsigned i = 0; i < 6; i++) {
        sender_room(s);
        sender_put(s, 0, FROM_UDP, NULL, 0, body + (i < 5 ? i : 6) * 100, 100);
    }
    see_datagram = NULL;
    sender_flush(s);
    CHECK(sent_messages == 1 && sent_datagrams == 6 && sent_vectors == 2);
}

/* Every datagram with a header of its own: the memory for them ends before the messages do. */
static void headers_have_room_or_leave(void)
{
    static const uint8_t body[1] = {'b'};

    see_datagram = NULL;
    for (int32_t i = 0; i < 3000; i++) {
        sender_room(s);
        uint8_t *head = sender_header(s);
        memset(head, 'a', SENDER_HEADER);
        sender_put(s, i / 64 % 2, FROM_RING, head, SENDER_HEADER, body, 1);
    }
    sender_flush(s);
    CHECK(sent_datagrams == 3000 && sent_bytes == 3000 * (SENDER_HEADER + 1));
    CHECK(counter(COUNTER_SEND_BURSTS) == 3);
}

/* Three packets of a flow, as a sender would cut them. */
static void deliver(bool tcp)
{
    for (unsigned i = 0; i < 3; i++) {
        uint32_t ip = 40, n = ip + (tcp ? 20 : 8) + 100;
        uint8_t *packet = calloc(1, n);
        packet[0] = 0x60;
        put16(packet + 4, n - ip);
        packet[6] = tcp ? IP_TCP : IP_UDP;
        packet[8] = packet[24] = 0xfd;
        if (tcp) {
            put32(packet + ip + 4, i * 100);
            packet[ip + 12] = 0x50;
            packet[ip + 13] = TCP_ACK;
        }
        make_sums(packet, n);
        merge_put(&w->writer, packet, n);
    }
    merge_flush(&w->writer);
}

static void check_fallback(bool tcp)
{
    write_error = EINVAL;
    refused_type = tcp ? VNET_GSO_TCPV6 : VNET_GSO_UDP_L4;
    deliver(tcp);
    deliver(!tcp);
    CHECK(joined_writes == 2 && single_writes == 0 && counter(COUNTER_MERGE_FALLBACKS) == 1);
    CHECK(dropped(REASON_TUN_ERROR) == 3 && counter(COUNTER_DELIVERED_PACKETS) == 3);
    deliver(tcp);
    deliver(!tcp);
    CHECK(joined_writes == 3 && single_writes == 3 && counter(COUNTER_MERGE_FALLBACKS) == 1);
    CHECK(dropped(REASON_TUN_ERROR) == 3 && counter(COUNTER_DELIVERED_PACKETS) == 9);
    CHECK(counter(COUNTER_TUN_WRITES) == joined_writes + single_writes);
}

static void a_device_that_takes_no_joined_udp(void)
{
    check_fallback(false);
}

static void a_device_that_takes_no_joined_tcp(void)
{
    check_fallback(true);
}

static void a_write_that_fails_has_its_reason(void)
{
    static const int errors[] = {EIO,       ENETDOWN, EAGAIN, ENOBUFS, ENOMEM,
                                 EBADFD, EBADF,    ENODEV, EFAULT};
    static const int reasons[] = {REASON_TUN_DOWN, REASON_TUN_DOWN, REASON_TUN_FULL,
                                  REASON_TUN_FULL, REASON_TUN_FULL, REASON_TUN_ERROR,
                                  REASON_TUN_ERROR, REASON_TUN_ERROR, REASON_TUN_ERROR};

    refuse_all = true;
    for (unsigned i = 0; i < sizeof errors / sizeof *errors; i++) {
        uint64_t before = counter(COUNTER_DROP + reasons[i]);
        w->writer.events = 0;
        write_error = errors[i];
        deliver(i & 1);
        CHECK(counter(COUNTER_DROP + reasons[i]) == before + 3);
        CHECK(w->writer.events == (i >= 5 && i < 8 ? EVENT_DEVICE_GONE : 0u));
    }
    CHECK(w->writer.merge_tcp && w->writer.merge_udp && !counter(COUNTER_MERGE_FALLBACKS));
    w->writer.merge_udp = false;
    write_error = EINVAL; /* of a single packet: says nothing about joining */
    deliver(false);
    CHECK(w->writer.merge_tcp && !counter(COUNTER_MERGE_FALLBACKS));
    CHECK(!counter(COUNTER_DELIVERED_PACKETS) && !counter(COUNTER_DELIVERED_BYTES));
}

static void a_receive_that_fails(void)
{
    static const int errors[] = {EAGAIN, EINTR, ECONNREFUSED, ENOMEM};
    static const enum role roles[] = {ROLE_SERVER, ROLE_CLIENT, ROLE_POINT};

    for (unsigned r = 0; r < 3; r++) {
        for (unsigned i = 0; i < 4; i++) {
            uint64_t before = counter(COUNTER_SOCKET_ERRORS);
            w->role = roles[r];
            w->events = 0;
            receive_error = errors[i];
            CHECK(!worker_receive(w, 5));
            CHECK(counter(COUNTER_SOCKET_ERRORS) == before + (i >= 2));
            CHECK(w->events == (r == 1 && i == 2 ? EVENT_REFUSED : 0u));
        }
    }
    CHECK(counter(COUNTER_RECEIVE_BURSTS) == 0 && counter(COUNTER_UDP_RECEIVED_PACKETS) == 0);
}

static void a_read_that_fails(void)
{
    static const int errors[] = {EAGAIN, EINTR, EBADFD, ENODEV, EIO};
    struct reader *r = calloc(1, sizeof *r);
    struct ring *ring = aligned_alloc(64, ring_bytes(1u << 18));

    ring_format(ring, 1u << 18);
    *r = (struct reader){.tun = 5, .fib = w->fib, .page = page, .rings = 1, .doorbell = {6}};
    ring_attach_producer(&r->ring[0], ring);
    for (unsigned i = 0; i < 5; i++) {
        r->events = 0;
        device_error = errors[i];
        CHECK(!reader_burst(r));
        CHECK(r->events == (i >= 2 ? EVENT_DEVICE_GONE : 0u));
    }
    CHECK(!counter(COUNTER_TUN_READS) && !counter(COUNTER_TUN_READ_PACKETS));
}

/* A bell that cannot be rung is counted, one that was rung too often is not; both rings
 * have their records. */
static void a_bell_that_fails(void)
{
    static const int errors[] = {EAGAIN, EBADF};
    struct reader *r = calloc(1, sizeof *r);

    *r = (struct reader){.tun = 5, .fib = w->fib, .page = page, .rings = 2, .doorbell = {6, 8}};
    device_error = EAGAIN;
    for (unsigned k = 0; k < 2; k++) {
        struct ring *ring = aligned_alloc(64, ring_bytes(1u << 18));
        ring_format(ring, 1u << 18);
        ring_attach_producer(&r->ring[k], ring);
    }
    for (unsigned i = 0; i < 2; i++) {
        bell_error = errors[i];
        for (unsigned k = 0; k < 2; k++) {
            CHECK(ring_reserve(&r->ring[k], 10));
            ring_commit(&r->ring[k], 10, 0, 1);
            r->touched[k] = true;
        }
        reader_burst(r);
        CHECK(counter(COUNTER_SOCKET_ERRORS) == 2 * i && bells == 2 * (i + 1));
        for (unsigned k = 0; k < 2; k++)
            CHECK(atomic_load(&r->ring[k].ring->tail) == r->ring[k].tail && !r->touched[k]);
    }
}

static void refusals_are_reported_now_and_then(void)
{
    uint64_t now = 5000000000;

    w->sender.events = EVENT_REFUSED;
    worker_events(w, now);
    CHECK(w->events == EVENT_REFUSED);
    w->events = EVENT_PUNTS;
    w->sender.events = EVENT_SOURCE_GONE | EVENT_REFUSED;
    w->writer.events = EVENT_DEVICE_GONE;
    worker_events(w, now + REFUSED_NS - 1);
    CHECK(w->events == (EVENT_PUNTS | EVENT_DEVICE_GONE));
    w->events = 0;
    worker_events(w, now + REFUSED_NS - 1);
    CHECK(w->events == 0);
    w->sender.events = EVENT_SOURCE_GONE;
    worker_events(w, now + REFUSED_NS);
    CHECK(w->events == EVENT_SOURCE_GONE);
}

int main(int argc, char **argv)
{
    static const struct test_case cases[] = {
        CASE(a_refusal_is_of_an_earlier_datagram),
        CASE(a_second_refusal_is_of_this_one),
        CASE(a_refusal_within_a_group_costs_none_of_it),
        CASE(an_error_within_a_group_is_one_datagrams),
        CASE(a_full_buffer_ends_the_burst),
        CASE(a_full_buffer_ends_a_group_and_the_burst),
        CASE(short_memory_is_one_messages),
        CASE(a_path_that_takes_no_groups_gets_none_for_a_while),
        CASE(who_comes_next_to_a_slot_gets_groups_again),
        CASE(only_a_connected_socket_has_events),
        CASE(each_origin_has_its_sums),
        CASE(a_group_has_64_datagrams_and_65507_bytes),
        CASE(neighbours_in_memory_are_one_piece),
        CASE(headers_have_room_or_leave),
        CASE(a_device_that_takes_no_joined_udp),
        CASE(a_device_that_takes_no_joined_tcp),
        CASE(a_write_that_fails_has_its_reason),
        CASE(a_receive_that_fails),
        CASE(a_read_that_fails),
        CASE(a_bell_that_fails),
        CASE(refusals_are_reported_now_and_then),
    };

    open_all();
    return run_case(cases, sizeof cases / sizeof *cases, argc, argv);
}
