/* A ring in memory that somebody overwrote: neither side may leave it, both must come to
 * an end, and after the damage a record gets through again. */
#include "fuzz.h"
#include "ring.h"

static void drain(struct ring_consumer *c, uint32_t capacity)
{
    struct ring_record *record;
    uint32_t records = 0;

    while ((record = ring_next(c))) {
        CHECK(record->size <= capacity);
        touch(record->payload, record->size);
        CHECK(++records <= capacity / RING_ALIGN);
    }
    ring_release(c);
}

static void push(struct ring_producer *p, struct input *in)
{
    uint32_t size = take16(in) % 2600;
    uint8_t *place = ring_reserve(p, size);

    if (!place) {
        ring_count_drop(p);
        return;
    }
    memset(place, 0x5a, size);
    uint32_t used = take8(in) & 1 ? size : size / 2;
    ring_commit(p, used, take8(in), 1);
    if (take8(in) & 1)
        ring_publish(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    uint32_t capacity = RING_CAPACITY_MIN;
    struct ring *ring = aligned_alloc(64, ring_bytes(capacity));
    struct ring_producer p;
    struct ring_consumer c;

    memset(ring, 0, ring_bytes(capacity));
    ring_format(ring, capacity);
    ring_attach_producer(&p, ring);
    ring_attach_consumer(&c, ring);
    for (int i = 0; i < 200 && in.left; i++) {
        switch (take8(&in) % 8) {
        case 0:
            drain(&c, capacity);
            break;
        case 1:
            ring_attach_consumer(&c, ring);
            break;
        case 2:
            ring_attach_producer(&p, ring);
            break;
        case 3: { /* a word of the records */
            uint32_t word = take32(&in), at = take16(&in) % (capacity - 3);
            memcpy(ring->data + at, &word, 4);
            break;
        }
        case 4:
            atomic_store(&ring->tail, take8(&in) & 1 ? take32(&in) : take16(&in));
            break;
        case 5:
            atomic_store(&ring->head, take8(&in) & 1 ? take32(&in) : take16(&in));
            break;
        default:
            push(&p, &in);
        }
    }
    /* Whoever comes next starts from sound cursors, as a supervisor's reset would. */
    ring_format(ring, capacity);
    ring_attach_producer(&p, ring);
    ring_attach_consumer(&c, ring);
    uint8_t *place = ring_reserve(&p, ring_payload_max(capacity));
    CHECK(place);
    ring_commit(&p, 7, 3, 9);
    ring_publish(&p);
    struct ring_record *record = ring_next(&c);
    CHECK(record && record->size == 7 && record->slot == 3 && record->incarnation == 9);
    CHECK(!ring_next(&c));
    free(ring);
    return 0;
}
