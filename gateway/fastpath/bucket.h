/* A token bucket: so many a second, and so many at once. */
#ifndef GATEWAY_BUCKET_H
#define GATEWAY_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

struct bucket {
    uint64_t rate, burst; /* tokens a second, tokens at most */
    uint64_t tokens;      /* in nanotokens */
    uint64_t at;          /* monotonic ns; a bucket that was never used is full */
};

static inline bool bucket_take(struct bucket *b, uint64_t now)
{
    uint64_t full = b->burst * 1000000000u;
    uint64_t passed = now - b->at;

    b->at = now;
    b->tokens = passed > 10000000000u ? full : b->tokens + passed * b->rate;
    if (b->tokens > full)
        b->tokens = full;
    if (b->tokens < 1000000000u)
        return false;
    b->tokens -= 1000000000u;
    return true;
}

/* The same in one word, where there are many of one kind: when it will be full again
 * (monotonic ns). One that was never used is full. */
struct small_bucket {
    uint64_t full_at;
};

static inline bool small_bucket_take(struct small_bucket *b, uint64_t rate, uint64_t burst,
                                     uint64_t now)
{
    uint64_t gap = 1000000000u / rate;
    uint64_t full_at = b->full_at > now ? b->full_at : now;

    if (full_at - now > (burst - 1) * gap)
        return false;
    b->full_at = full_at + gap;
    return true;
}

#endif
