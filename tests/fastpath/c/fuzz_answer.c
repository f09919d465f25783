/* ICMP answers to any packet, and the MSS of any SYN: nothing outside is read or written,
 * answers are whole, and no error is ever answered. */
#include "fuzz.h"

#include "packets.h"

#include "icmp.h"
#include "mss.h"

static void check_answer(const uint8_t *packet, uint32_t bytes, uint32_t mtu)
{
    static const uint8_t own[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1};
    uint8_t *answer = malloc(ICMP_BYTES_MAX);
    struct inner inner;
    bool big = mtu & 1;
    uint32_t n = big ? icmp_too_big(packet, bytes, address_load(own), mtu, answer)
                     : icmp_unreachable(packet, bytes, address_load(own), answer);

    if (icmp_is_too_big(packet, bytes, mtu))
        CHECK(bytes > mtu && (n || !big));
    if (n) {
        CHECK(n <= ICMP_BYTES_MAX && inner_parse(answer, n, &inner) < 0);
        uint32_t ip = inner.header;
        CHECK(n > ip + 8 && memcmp(answer + ip + 8, packet, n - ip - 8) == 0);
        uint64_t sum = ip == 40 ? sum_pseudo(answer, 6, IP_ICMPV6, n - ip) : 0;
        CHECK(sum_fold(sum_bytes(answer + ip, n - ip, sum)) == 0xffff);
        CHECK(ip == 40 || sum_fold(sum_bytes(answer, 20, 0)) == 0xffff);
        CHECK(get32(answer + ip + 4) == (big ? mtu : 0));
        CHECK(icmp_unreachable(answer, n, address_load(own), answer) == 0);
    }
    free(answer);
}

static void check_clamp(const uint8_t *packet, uint32_t bytes, uint32_t mtu, bool partial)
{
    uint8_t *copy = malloc(bytes ? bytes : 1);
    uint32_t changed = 0;

    memcpy(copy, packet, bytes);
    if (bytes)
        mss_clamp(copy, bytes, mtu, partial);
    for (uint32_t i = 0; i < bytes; i++)
        changed += copy[i] != packet[i];
    CHECK(changed <= (partial ? 2u : 4u));
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    uint8_t how = take8(&in);
    uint32_t mtu = 128 + take16(&in) % 9000, bytes = (uint32_t)in.left;
    uint8_t *packet = malloc(bytes ? bytes : 1);
    struct inner inner;

    take_bytes(&in, packet, bytes);
    make_honest(packet, bytes, how);
    check_answer(packet, bytes, mtu);
    if (inner_parse(packet, bytes, &inner) < 0)
        check_clamp(packet, bytes, mtu, how & 1);
    free(packet);
    return 0;
}
