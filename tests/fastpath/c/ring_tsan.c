/* Two threads over one small ring, as two processes would be. ThreadSanitizer must stay
 * silent; with any one of the four orders weakened (-DRING_TAIL_STORE=... and so on) it
 * must report a data race. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "ring.h"

#define RECORDS 20000u
#define BURST 3u

static _Alignas(64) uint8_t memory[sizeof(struct ring) + RING_CAPACITY_MIN];

static uint32_t size_of(uint32_t number)
{
    return number * 2654435761u % 900;
}

static void *produce(void *nothing)
{
    struct ring_producer p;

    ring_attach_producer(&p, (struct ring *)memory);
    for (uint32_t number = 0; number < RECORDS;) {
        uint32_t size = size_of(number);
        uint8_t *place = ring_reserve(&p, size);
        if (!place) {
            ring_publish(&p);
            continue;
        }
        memset(place, (int)(number & 0xff), size);
        ring_commit(&p, size, number, 1);
        if (++number % BURST == 0)
            ring_publish(&p);
    }
    ring_publish(&p);
    return nothing;
}

static void *consume(void *nothing)
{
    struct ring_consumer c;
    uint32_t taken = 0;

    ring_attach_consumer(&c, (struct ring *)memory);
    for (uint32_t number = 0; number < RECORDS;) {
        struct ring_record *record = ring_next(&c);
        if (!record) {
            ring_release(&c);
            continue;
        }
        if (record->slot != number || record->size != size_of(number))
            abort();
        for (uint32_t i = 0; i < record->size; i++)
            if (record->payload[i] != (uint8_t)number)
                abort();
        number++;
        if (++taken % BURST == 0)
            ring_release(&c);
    }
    return nothing;
}

int main(void)
{
    pthread_t producer, consumer;

    ring_format((struct ring *)memory, RING_CAPACITY_MIN);
    if (pthread_create(&producer, NULL, produce, NULL) ||
        pthread_create(&consumer, NULL, consume, NULL))
        return 2;
    pthread_join(producer, NULL);
    pthread_join(consumer, NULL);
    puts("all records came in order");
    return 0;
}
