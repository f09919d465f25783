/* A counter page: what one child writes and everybody may read (I6).
 * Words are aligned 64-bit with one writer; relaxed atomics keep them whole. */
#ifndef GATEWAY_PAGE_H
#define GATEWAY_PAGE_H

#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

#include "names.h"

#define PAGE_MAGIC 0x47575047u /* "GWPG" */
#define PAGE_VERSION 1u

struct peer_row {
    _Alignas(64) _Atomic uint64_t words[PEER_COUNTERS];
};

struct page {
    _Alignas(64) uint32_t magic;
    uint32_t version;
    uint32_t peers;
    _Alignas(64) _Atomic uint64_t pulse; /* CLOCK_MONOTONIC, ns */
    _Alignas(64) _Atomic uint64_t words[COUNTER_COUNT];
    struct peer_row rows[];
};

static inline uint64_t monotonic_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline void word_add(_Atomic uint64_t *word, uint64_t n)
{
    uint64_t old = atomic_load_explicit(word, memory_order_relaxed);
    atomic_store_explicit(word, old + n, memory_order_relaxed);
}

static inline void count(struct page *page, int counter, uint64_t n)
{
    word_add(&page->words[counter], n);
}

static inline void count_peer(struct page *page, int32_t slot, int counter, uint64_t n)
{
    if (slot >= 0 && (uint32_t)slot < page->peers)
        word_add(&page->rows[slot].words[counter], n);
}

static inline uint64_t peer_word(struct page *page, int32_t slot, int counter)
{
    if (slot < 0 || (uint32_t)slot >= page->peers)
        return 0;
    return atomic_load_explicit(&page->rows[slot].words[counter], memory_order_relaxed);
}

static inline void set_peer_word(struct page *page, int32_t slot, int counter, uint64_t value)
{
    if (slot >= 0 && (uint32_t)slot < page->peers)
        atomic_store_explicit(&page->rows[slot].words[counter], value, memory_order_relaxed);
}

#endif
