/* What happens to a packet: the compiled twin of gateway/protocol/forwarding.py.
 * Flat, cheapest check first, one reason each (I14). Tests compare the two on
 * random input. */
#ifndef GATEWAY_DECIDE_H
#define GATEWAY_DECIDE_H

#include "fib.h"

#define MAGIC_BYTES 4
#define ACK_BYTES 20

struct decision {
    enum verdict verdict;
    int reason;   /* of a drop, else -1 */
    int32_t slot; /* whom to forward to, else -1 */
};

static inline struct decision decision_drop(int reason)
{
    return (struct decision){VERDICT_DROP, reason, -1};
}

static inline bool is_control(const uint8_t *segment, size_t length)
{
    return length >= MAGIC_BYTES && memcmp(segment, "GOST", MAGIC_BYTES) == 0;
}

/* `sender`: the slot of the peer at the datagram's endpoint, or -1. */
static inline struct decision decide_udp(struct fib *fib, const uint8_t *segment, size_t length,
                                         int32_t sender, enum role role, bool source_check)
{
    struct inner inner;

    if (is_control(segment, length)) {
        if (role == ROLE_CLIENT ? length >= ACK_BYTES : length > ACK_BYTES)
            return (struct decision){VERDICT_PUNT, -1, -1};
        return decision_drop(REASON_BAD_CONTROL);
    }
    int reason = inner_parse(segment, length, &inner);
    if (reason >= 0)
        return decision_drop(reason);
    if (role == ROLE_CLIENT)
        return (struct decision){VERDICT_DELIVER, -1, -1};
    if (source_check) {
        if (sender < 0)
            return decision_drop(REASON_UNKNOWN_ENDPOINT);
        if (inner_unroutable_source(segment, &inner))
            return decision_drop(REASON_UNROUTABLE_SOURCE);
        int32_t behind = fib_lookup(fib, inner.source, inner.version);
        if (behind != sender) {
            if (behind < TARGET_LOCAL)
                fib_ask(fib, inner.source, inner.version);
            return decision_drop(REASON_SPOOFED_SOURCE);
        }
    }
    if (role == ROLE_POINT)
        return (struct decision){VERDICT_DELIVER, -1, -1};
    int32_t target = fib_lookup(fib, inner.destination, inner.version);
    if (target < TARGET_LOCAL)
        fib_ask(fib, inner.destination, inner.version);
    if (target == TARGET_VOID)
        return decision_drop(REASON_NO_PEER);
    if (target < 0)
        return (struct decision){VERDICT_DELIVER, -1, -1};
    if (target == sender)
        return decision_drop(REASON_SAME_PEER);
    return (struct decision){VERDICT_FORWARD, -1, target};
}

/* A packet that the host sends into the tunnel. For a super-packet `length` is its own. */
static inline struct decision decide_tun(struct fib *fib, const uint8_t *packet, size_t length)
{
    struct inner inner;
    int reason = inner_parse(packet, length, &inner);

    if (reason >= 0)
        return decision_drop(reason);
    if (inner_unroutable_source(packet, &inner))
        return decision_drop(REASON_UNROUTABLE_SOURCE);
    int32_t target = fib_lookup(fib, inner.destination, inner.version);
    if (target < TARGET_LOCAL)
        fib_ask(fib, inner.destination, inner.version);
    if (target == TARGET_VOID)
        return decision_drop(REASON_NO_PEER);
    if (target < 0)
        return decision_drop(REASON_NO_ROUTE);
    return (struct decision){VERDICT_FORWARD, -1, target};
}

#endif
