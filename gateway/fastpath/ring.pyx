# cython: language_level=3, binding=True
"""See ring.pyi for the interface, ring.h for the protocol and its memory orders."""

from libc.stdint cimport uint64_t, uintptr_t
from libc.string cimport memcpy

cdef extern from *:
    """
    #include "ring.h"
    static inline uint64_t ring_pushed(struct ring *r)
    { return atomic_load_explicit(&r->pushed, memory_order_relaxed); }
    static inline uint64_t ring_dropped(struct ring *r)
    { return atomic_load_explicit(&r->dropped, memory_order_relaxed); }
    static inline uint32_t ring_used(struct ring *r)
    {
        uint32_t head = atomic_load_explicit(&r->head, memory_order_acquire);
        return atomic_load_explicit(&r->tail, memory_order_relaxed) - head;
    }
    """
    uint64_t ring_pushed(ring *r) nogil
    uint64_t ring_dropped(ring *r) nogil
    uint32_t ring_used(ring *r) nogil


cdef class Ring:

    def __cinit__(self, unsigned char[::1] memory not None, *, bint create):
        cdef size_t size = memory.shape[0]
        cdef size_t capacity
        if size < ring_bytes(0) or <uintptr_t>&memory[0] % 64:
            raise ValueError("a ring needs memory aligned to 64 bytes, from Ring.bytes_for()")
        self.at = <ring *>&memory[0]
        self.memory = memory
        if create:
            capacity = size - ring_bytes(0)
            if not ring_capacity_ok(capacity):
                raise ValueError(f"a ring's capacity is a power of two from 4096 up, not {capacity}")
            ring_format(self.at, <uint32_t>capacity)
        elif not ring_valid(self.at, size):
            raise ValueError("there is no ring of this version in this memory")

    @staticmethod
    def bytes_for(capacity):
        if not 0 <= capacity < 1 << 40 or not ring_capacity_ok(capacity):
            raise ValueError(f"a ring's capacity is a power of two from 4096 up, not {capacity}")
        return ring_bytes(capacity)

    @property
    def capacity(self):
        return self.at.capacity

    @property
    def used(self):
        return min(ring_used(self.at), self.at.capacity)

    @property
    def pushed(self):
        return ring_pushed(self.at)

    @property
    def dropped(self):
        return ring_dropped(self.at)

    cdef int attach(self) except -1:
        if not self.attached:
            ring_attach_producer(&self.producer, self.at)
            ring_attach_consumer(&self.consumer, self.at)
            self.attached = True
        return 0

    def push(self, const unsigned char[::1] payload not None, uint32_t slot=0, uint32_t incarnation=0):
        cdef uint8_t *place
        self.attach()
        if <size_t>payload.shape[0] > self.at.capacity:
            raise ValueError("the payload is larger than the ring")
        place = ring_reserve(&self.producer, <uint32_t>payload.shape[0])
        if place == NULL:
            ring_count_drop(&self.producer)
            return False
        if payload.shape[0]:
            memcpy(place, &payload[0], payload.shape[0])
        ring_commit(&self.producer, <uint32_t>payload.shape[0], slot, incarnation)
        ring_publish(&self.producer)
        return True

    def pop(self, *, bint release=True):
        cdef ring_record *record
        self.attach()
        record = ring_next(&self.consumer)
        if record == NULL:
            return None
        answer = (record.payload[:record.size], record.slot, record.incarnation)
        if release:
            ring_release(&self.consumer)
        return answer
