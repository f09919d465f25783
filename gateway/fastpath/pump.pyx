# cython: language_level=3, binding=True
"""See pump.pyi for the interface; reader.h and worker.h for what a turn does."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from gateway.fastpath.counters cimport Page, page
from gateway.fastpath.fib cimport Fib, address, address_load, address_store, endpoint, fib
from gateway.fastpath.ring cimport (
    Ring,
    ring,
    ring_attach_consumer,
    ring_attach_producer,
    ring_consumer,
    ring_producer,
)

cdef extern from "reader.h" nogil:
    enum: READER_RINGS
    enum: EVENT_CHANNEL
    enum: EVENT_PUNTS
    enum: EVENT_DEVICE_GONE
    enum: EVENT_REFUSED
    enum: EVENT_SOURCE_GONE

    struct reader:
        int tun
        int channel
        fib *fib
        page *page
        unsigned rings
        ring_producer *ring
        int *doorbell
        uint32_t mss_mtu

    void reader_open(reader *r)
    unsigned reader_run(reader *r, uint64_t timeout)

cdef extern from "worker.h" nogil:
    struct sender_s "sender":
        int fd
        int family
        bint connected
        bint gso
        fib *fib
        page *page

    struct tun_writer:
        int fd

    struct punt:
        endpoint from_ "from"
        address local
        uint32_t bytes
        uint8_t *datagram

    struct worker:
        int udp
        int tun
        int channel
        int doorbell
        int family
        int role
        bint source_check
        fib *fib
        page *page
        ring_consumer ring
        unsigned punts
        punt *punt
        address own4
        address own6
        uint32_t mss_mtu
        uint32_t mtu
        sender_s sender
        tun_writer writer

    bint worker_open(worker *w)
    void worker_close(worker *w)
    unsigned worker_run(worker *w, uint64_t timeout)
    void tun_writer_open(tun_writer *w, int fd, page *page, bint merge_tcp, bint merge_udp)

CHANNEL = EVENT_CHANNEL
PUNTS = EVENT_PUNTS
DEVICE_GONE = EVENT_DEVICE_GONE
REFUSED = EVENT_REFUSED
SOURCE_GONE = EVENT_SOURCE_GONE


cdef int same_peers(Fib f, Page p) except -1:
    if f.at.peer_count != p.at.peers:
        raise ValueError(f"the FIB has {f.at.peer_count} slots, the page {p.at.peers} rows")
    return 0


cdef uint32_t checked_mtu(uint32_t mtu) except? 0:
    if mtu and not 128 <= mtu <= 65535:
        raise ValueError(f"SYNs cannot be clamped to an MTU of {mtu}")
    return mtu


cdef class Reader:
    cdef reader *at
    cdef object keep

    def __cinit__(self, *, int tun, int channel, rings, doorbells, Fib fib not None,
                  Page page not None, uint32_t mss_mtu=0):
        cdef unsigned i
        cdef Ring r
        if not 1 <= len(rings) <= READER_RINGS or len(doorbells) != len(rings):
            raise ValueError(f"1 to {READER_RINGS} rings and as many doorbells, please")
        same_peers(fib, page)
        self.at = <reader *>calloc(1, sizeof(reader))
        if self.at == NULL:
            raise MemoryError
        self.keep = (tuple(rings), fib, page)
        self.at.tun = tun
        self.at.channel = channel
        self.at.fib = fib.at
        self.at.page = page.at
        self.at.mss_mtu = checked_mtu(mss_mtu)
        reader_open(self.at)
        self.at.rings = <unsigned>len(rings)
        for i in range(self.at.rings):
            r = rings[i]
            ring_attach_producer(&self.at.ring[i], r.at)
            self.at.doorbell[i] = doorbells[i]

    def __dealloc__(self):
        free(self.at)

    def run(self, double timeout):
        cdef unsigned events
        cdef uint64_t ns = <uint64_t>(max(timeout, 0.0) * 1e9)
        with nogil:
            events = reader_run(self.at, ns)
        return events


cdef class Worker:
    cdef worker *at
    cdef object keep

    def __cinit__(self, *, int udp, int tun, int channel, Ring ring not None, int doorbell,
                  Fib fib not None, Page page not None, int role, bint connected, int family,
                  bint source_check, bint gso, bint merge_tcp, bint merge_udp,
                  bytes own4=bytes(16), bytes own6=bytes(16), uint32_t mss_mtu=0,
                  uint32_t mtu=65535):
        same_peers(fib, page)
        self.at = <worker *>calloc(1, sizeof(worker))
        if self.at == NULL:
            raise MemoryError
        self.keep = (ring, fib, page)
        self.at.udp = udp
        self.at.tun = tun
        self.at.channel = channel
        self.at.doorbell = doorbell
        self.at.family = family
        self.at.role = role
        self.at.source_check = source_check
        if len(own4) != 16 or len(own6) != 16:
            raise ValueError("an address is 16 bytes here")
        self.at.own4 = address_load(own4)
        self.at.own6 = address_load(own6)
        self.at.mss_mtu = checked_mtu(mss_mtu)
        self.at.mtu = mtu
        self.at.fib = fib.at
        self.at.page = page.at
        ring_attach_consumer(&self.at.ring, ring.at)
        self.at.sender.fd = udp
        self.at.sender.family = family
        self.at.sender.connected = connected
        self.at.sender.gso = gso
        self.at.sender.fib = fib.at
        self.at.sender.page = page.at
        if not worker_open(self.at):
            raise MemoryError
        tun_writer_open(&self.at.writer, tun, page.at, merge_tcp, merge_udp)

    def __dealloc__(self):
        worker_close(self.at)

    def run(self, double timeout):
        cdef unsigned events
        cdef uint64_t ns = <uint64_t>(max(timeout, 0.0) * 1e9)
        with nogil:
            events = worker_run(self.at, ns)
        return events

    def punts(self):
        cdef unsigned i
        cdef punt *p
        cdef uint8_t[16] source
        cdef uint8_t[16] local
        taken = []
        for i in range(self.at.punts):
            p = &self.at.punt[i]
            address_store(p.from_.address, source)
            address_store(p.local, local)
            taken.append((source[:16], p.from_.port, p.from_.scope, local[:16],
                          p.datagram[:p.bytes]))
        self.at.punts = 0
        return taken
