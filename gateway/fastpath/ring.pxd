from libc.stdint cimport uint32_t, uint64_t, uint8_t

cdef extern from "ring.h" nogil:
    struct ring:
        uint32_t capacity

    struct ring_record:
        uint32_t size
        uint32_t slot
        uint32_t incarnation
        uint8_t *payload

    struct ring_producer:
        ring *ring

    struct ring_consumer:
        ring *ring

    size_t ring_bytes(uint32_t capacity)
    bint ring_capacity_ok(uint64_t capacity)
    void ring_format(ring *ring, uint32_t capacity)
    bint ring_valid(const ring *ring, size_t size)
    void ring_attach_producer(ring_producer *p, ring *ring)
    void ring_attach_consumer(ring_consumer *c, ring *ring)
    uint8_t *ring_reserve(ring_producer *p, uint32_t size)
    void ring_commit(ring_producer *p, uint32_t size, uint32_t slot, uint32_t incarnation)
    void ring_count_drop(ring_producer *p)
    void ring_publish(ring_producer *p)
    ring_record *ring_next(ring_consumer *c)
    void ring_release(ring_consumer *c)


cdef class Ring:
    cdef ring *at
    cdef object memory
    cdef ring_producer producer
    cdef ring_consumer consumer
    cdef bint attached
    cdef int attach(self) except -1
