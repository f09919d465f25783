# cython: language_level=3, binding=True
"""See counters.pyi for the interface, page.h for the layout, names.h for the lists."""

from libc.stdint cimport uintptr_t

cdef extern from *:
    """
    #include "page.h"
    static const char *const counter_names[] = {
    #define NAME(name, text) text,
        COUNTERS(NAME) NULL
    #undef NAME
    };
    static const char *const reason_names[] = {
    #define NAME(name, text) text,
        REASONS(NAME) NULL
    #undef NAME
    };
    static inline uint64_t page_word(struct page *p, int i)
    { return atomic_load_explicit(&p->words[i], memory_order_relaxed); }
    static inline uint64_t page_pulse(struct page *p)
    { return atomic_load_explicit(&p->pulse, memory_order_relaxed); }
    static inline void page_beat(struct page *p, uint64_t now)
    { atomic_store_explicit(&p->pulse, now, memory_order_relaxed); }
    static inline uint64_t page_peer(struct page *p, uint32_t slot, int i)
    { return atomic_load_explicit(&p->rows[slot].words[i], memory_order_relaxed); }
    static inline size_t page_bytes(uint32_t peers)
    { return sizeof(struct page) + peers * sizeof(struct peer_row); }
    """
    const char **counter_names
    const char **reason_names
    uint64_t page_word(page *p, int i) nogil
    uint64_t page_pulse(page *p) nogil
    void page_beat(page *p, uint64_t now) nogil
    uint64_t page_peer(page *p, uint32_t slot, int i) nogil
    size_t page_bytes(uint32_t peers) nogil


def _strings():
    cdef int i = 0
    reasons = []
    while reason_names[i] != NULL:
        reasons.append(reason_names[i].decode())
        i += 1
    i = 0
    names = []
    while counter_names[i] != NULL:
        names.append(counter_names[i].decode())
        i += 1
    names += [f"drop_{reason}" for reason in reasons]
    names += [f"ring_drop_{reason}" for reason in reasons]
    return tuple(reasons), tuple(names)


REASONS, NAMES = _strings()
PEER_NAMES = ("rx_packets", "rx_bytes", "tx_packets", "tx_bytes", "tx_dropped", "single_sends")


cdef class Page:

    def __cinit__(self, unsigned char[::1] memory not None, uint32_t peers):
        if <size_t>memory.shape[0] < page_bytes(peers) or <uintptr_t>&memory[0] % 64:
            raise ValueError("a page needs memory aligned to 64 bytes, of Page.bytes_for(peers)")
        self.at = <page *>&memory[0]
        self.memory = memory
        if self.at.magic == 0:
            self.at.magic = PAGE_MAGIC
            self.at.version = PAGE_VERSION
            self.at.peers = peers
        if (self.at.magic != PAGE_MAGIC or self.at.version != PAGE_VERSION
                or self.at.peers != peers):
            raise ValueError("this memory holds something else than a page for so many peers")

    @staticmethod
    def bytes_for(uint32_t peers):
        return page_bytes(peers)

    @property
    def peers(self):
        return self.at.peers

    def read(self):
        return {name: page_word(self.at, i) for i, name in enumerate(NAMES)}

    def pulse(self):
        return page_pulse(self.at)

    def beat(self):
        page_beat(self.at, monotonic_ns())

    def peer(self, uint32_t slot):
        return peer_totals((self,), slot)


def peer_totals(tuple pages not None, uint32_t slot):
    cdef uint64_t totals[PEER_COUNTERS]
    cdef Page page
    cdef int i
    for i in range(PEER_COUNTERS):
        totals[i] = 0
    for page in pages:
        if slot >= page.at.peers:
            raise IndexError(f"slot {slot} of {page.at.peers}")
        for i in range(PEER_COUNTERS):
            totals[i] += page_peer(page.at, slot, i)
    return tuple([totals[i] for i in range(len(PEER_NAMES))])
