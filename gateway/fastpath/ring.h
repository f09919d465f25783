/* A ring: one producer process, one consumer process, in shared memory (I1).
 *
 *   header | record | record | ...            | skip to the start of data
 *
 * Records are variable in size and never wrap: what does not fit before the end
 * of data starts again at its beginning, behind a record that says "skip". So a
 * packet can be read from a device straight into the ring, and sent out of it.
 *
 * Cursors count bytes, run freely over 32 bits and are masked on access. Each
 * side has a private cursor, moved per record, and a published one, moved once
 * per burst:
 *
 *   producer   ring_reserve, ring_commit (private tail)   ring_publish (tail)
 *   consumer   ring_next (private head)                   ring_release (head)
 *
 * Orders (I2). All that the two processes owe each other is here:
 *
 *   A1 store-release of tail in ring_publish: the bytes of every committed
 *      record are written before the consumer can see the tail.
 *   A2 load-acquire of tail in ring_next, pairs with A1: without it the
 *      consumer could read record bytes older than the tail it saw.
 *   B1 store-release of head in ring_release: the consumer has done its reads
 *      before the producer may write there again.
 *   B2 load-acquire of head in ring_reserve, pairs with B1: without it the
 *      producer's writes could overtake the consumer's last reads.
 *
 * Nobody else writes: tail, pushed and dropped are the producer's, head is the
 * consumer's, each on a cache line of its owner. A successor starts from the
 * published cursors (I3): a dead consumer sends at most one burst twice, a dead
 * producer leaves no half record.
 */
#ifndef GATEWAY_RING_H
#define GATEWAY_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The ThreadSanitizer test weakens these one by one and expects a report. */
#ifndef RING_TAIL_STORE
#define RING_TAIL_STORE memory_order_release
#endif
#ifndef RING_TAIL_LOAD
#define RING_TAIL_LOAD memory_order_acquire
#endif
#ifndef RING_HEAD_STORE
#define RING_HEAD_STORE memory_order_release
#endif
#ifndef RING_HEAD_LOAD
#define RING_HEAD_LOAD memory_order_acquire
#endif

#define RING_MAGIC 0x47574e52u /* "GWNR" */
#define RING_VERSION 1u
#define RING_ALIGN 16u
#define RING_SKIP 0xffffffffu
#define RING_CAPACITY_MIN 4096u
#define RING_CAPACITY_MAX (1u << 30)

struct ring_record {
    uint32_t size; /* payload bytes, or RING_SKIP */
    uint32_t slot;
    uint32_t incarnation;
    uint32_t reserved;
    uint8_t payload[];
};

struct ring {
    _Alignas(64) uint32_t magic;
    uint32_t version;
    uint32_t capacity; /* bytes of data, a power of two */
    _Alignas(64) _Atomic uint32_t tail;
    _Atomic uint64_t pushed;
    _Atomic uint64_t dropped;
    _Alignas(64) _Atomic uint32_t head;
    _Alignas(64) uint8_t data[];
};

struct ring_producer {
    struct ring *ring;
    uint32_t mask;
    uint32_t tail; /* private: committed, perhaps not yet published */
    uint32_t head; /* the consumer's head as last seen */
    uint32_t start; /* where the reserved record lies */
};

struct ring_consumer {
    struct ring *ring;
    uint32_t mask;
    uint32_t head; /* private: taken, perhaps not yet released */
    uint32_t tail; /* the producer's tail as last seen */
};

static inline size_t ring_bytes(uint32_t capacity)
{
    return sizeof(struct ring) + capacity;
}

static inline bool ring_capacity_ok(uint64_t capacity)
{
    return capacity >= RING_CAPACITY_MIN && capacity <= RING_CAPACITY_MAX &&
           (capacity & (capacity - 1)) == 0;
}

static inline void ring_format(struct ring *ring, uint32_t capacity)
{
    ring->magic = RING_MAGIC;
    ring->version = RING_VERSION;
    ring->capacity = capacity;
    atomic_store_explicit(&ring->tail, 0, memory_order_relaxed);
    atomic_store_explicit(&ring->head, 0, memory_order_relaxed);
    atomic_store_explicit(&ring->pushed, 0, memory_order_relaxed);
    atomic_store_explicit(&ring->dropped, 0, memory_order_relaxed);
}

/* True if `bytes` of memory hold a formatted ring of this version. */
static inline bool ring_valid(const struct ring *ring, size_t bytes)
{
    return bytes >= sizeof(struct ring) && ring->magic == RING_MAGIC &&
           ring->version == RING_VERSION && ring_capacity_ok(ring->capacity) &&
           bytes >= ring_bytes(ring->capacity);
}

static inline uint32_t ring_record_bytes(uint32_t size)
{
    return (uint32_t)(sizeof(struct ring_record) + size + RING_ALIGN - 1) & ~(RING_ALIGN - 1);
}

/* A record of up to half the ring fits behind any skip, once the ring is empty. */
static inline uint32_t ring_payload_max(uint32_t capacity)
{
    return capacity / 2 - (uint32_t)sizeof(struct ring_record);
}

static inline void ring_attach_producer(struct ring_producer *p, struct ring *ring)
{
    p->ring = ring;
    p->mask = ring->capacity - 1;
    p->tail = atomic_load_explicit(&ring->tail, memory_order_relaxed) & ~(RING_ALIGN - 1);
    p->head = atomic_load_explicit(&ring->head, RING_HEAD_LOAD);
    p->start = p->tail;
}

static inline void ring_attach_consumer(struct ring_consumer *c, struct ring *ring)
{
    c->ring = ring;
    c->mask = ring->capacity - 1;
    c->head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    c->tail = c->head;
}

/* Room for a payload of up to `size` bytes, in one piece, or NULL: the ring is full.
 * Nothing is taken until ring_commit; a reservation may be made again instead. */
static inline uint8_t *ring_reserve(struct ring_producer *p, uint32_t size)
{
    uint32_t need = ring_record_bytes(size);
    uint32_t capacity = p->mask + 1;

    if (size > ring_payload_max(capacity))
        return NULL;
    uint32_t to_end = capacity - (p->tail & p->mask);
    uint32_t skip = to_end < need ? to_end : 0;
    if (p->tail - p->head + skip + need > capacity) {
        p->head = atomic_load_explicit(&p->ring->head, RING_HEAD_LOAD); /* B2 */
        if (p->tail - p->head + skip + need > capacity)
            return NULL;
    }
    if (skip) {
        struct ring_record *record = (struct ring_record *)(p->ring->data + (p->tail & p->mask));
        record->size = RING_SKIP;
    }
    p->start = p->tail + skip;
    return ((struct ring_record *)(p->ring->data + (p->start & p->mask)))->payload;
}

/* Take the last reservation, with `size` not above what was reserved. */
static inline void ring_commit(struct ring_producer *p, uint32_t size, uint32_t slot,
                               uint32_t incarnation)
{
    struct ring_record *record = (struct ring_record *)(p->ring->data + (p->start & p->mask));

    record->size = size;
    record->slot = slot;
    record->incarnation = incarnation;
    record->reserved = 0;
    p->tail = p->start + ring_record_bytes(size);
    uint64_t pushed = atomic_load_explicit(&p->ring->pushed, memory_order_relaxed);
    atomic_store_explicit(&p->ring->pushed, pushed + 1, memory_order_relaxed);
}

static inline void ring_count_drop(struct ring_producer *p)
{
    uint64_t dropped = atomic_load_explicit(&p->ring->dropped, memory_order_relaxed);
    atomic_store_explicit(&p->ring->dropped, dropped + 1, memory_order_relaxed);
}

/* Let the consumer see all that was committed. Ring the doorbell afterwards (I4). */
static inline void ring_publish(struct ring_producer *p)
{
    atomic_store_explicit(&p->ring->tail, p->tail, RING_TAIL_STORE); /* A1 */
}

/* Give back all that ring_next has handed out. */
static inline void ring_release(struct ring_consumer *c)
{
    atomic_store_explicit(&c->ring->head, c->head, RING_HEAD_STORE); /* B1 */
}

static inline struct ring_record *ring_broken(struct ring_consumer *c)
{
    c->head = c->tail;
    ring_release(c);
    return NULL;
}

/* The next record, borrowed until ring_release (I5), or NULL: nothing there.
 * Cursors and lengths are checked: a record that does not lie within what was
 * published (memory was overwritten) ends the burst and empties the ring. */
static inline struct ring_record *ring_next(struct ring_consumer *c)
{
    if (c->head == c->tail) {
        c->tail = atomic_load_explicit(&c->ring->tail, RING_TAIL_LOAD); /* A2 */
        if (c->head == c->tail)
            return NULL;
    }
    uint32_t offset = c->head & c->mask;
    if (offset % RING_ALIGN)
        return ring_broken(c);
    struct ring_record *record = (struct ring_record *)(c->ring->data + offset);

    if (record->size == RING_SKIP) {
        c->head += c->mask + 1 - offset;
        if (c->head == c->tail || c->tail - c->head > c->mask + 1)
            return ring_broken(c);
        record = (struct ring_record *)c->ring->data;
        offset = 0;
    }
    uint32_t there = c->tail - c->head;
    uint32_t room = c->mask + 1 - offset;
    if (there > c->mask + 1 || record->size > c->mask ||
        ring_record_bytes(record->size) > there || ring_record_bytes(record->size) > room)
        return ring_broken(c);
    c->head += ring_record_bytes(record->size);
    return record;
}

#endif
