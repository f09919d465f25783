from libc.stdint cimport uint32_t, uint64_t

cdef extern from "page.h" nogil:
    enum: COUNTER_COUNT
    enum: PEER_COUNTERS
    enum: PAGE_MAGIC
    enum: PAGE_VERSION

    struct page:
        uint32_t magic
        uint32_t version
        uint32_t peers

    uint64_t monotonic_ns()


cdef class Page:
    cdef page *at
    cdef object memory
