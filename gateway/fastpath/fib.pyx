# cython: language_level=3, binding=True
"""See fib.pyi for the interface, fib.h for the structure, decide.h for the verdicts."""


cdef address address_of(bytes a16) except *:
    if len(a16) != 16:
        raise ValueError(f"an address is 16 bytes here, not {len(a16)}")
    return address_load(a16)


cdef class Fib:

    def __cinit__(self, uint32_t peers):
        if peers > (1 << 24) - 4:
            raise ValueError(f"{peers} peers are too many")
        self.at = fib_open(peers)
        if self.at == NULL:
            raise MemoryError

    def __dealloc__(self):
        fib_close(self.at)

    def set_peer(self, uint32_t slot, uint32_t incarnation, bytes address16, uint16_t port,
                 uint32_t scope=0, bytes local16=bytes(16)):
        cdef endpoint e
        if slot >= self.at.peer_count or incarnation == 0:
            raise ValueError(f"slot {slot} of {self.at.peer_count}, incarnation {incarnation}")
        e.address = address_of(address16)
        e.port = port
        e.scope = scope
        fib_set_peer(self.at, slot, incarnation, e, address_of(local16))

    def drop_peer(self, uint32_t slot):
        fib_drop_peer(self.at, slot)

    def peer_at(self, bytes address16, uint16_t port, uint32_t scope=0):
        cdef endpoint e
        e.address = address_of(address16)
        e.port = port
        e.scope = scope
        return fib_at_endpoint(self.at, &e)

    def set_route(self, bytes prefix16, int length, int32_t target):
        if not 0 <= length <= 128:
            raise ValueError(f"a prefix length is 0 to 128, not {length}")
        if not fib_set_route(self.at, address_of(prefix16), length, target):
            raise MemoryError

    def drop_route(self, bytes prefix16, int length):
        if not 0 <= length <= 128:
            raise ValueError(f"a prefix length is 0 to 128, not {length}")
        return fib_drop_route(self.at, address_of(prefix16), length)

    def clear(self):
        fib_clear(self.at)

    def lookup(self, bytes a16):
        cdef address a = address_of(a16)
        return fib_lookup(self.at, a, 4 if address_is_mapped(a) else 6)

    def lookup_all(self, bytes a16s):
        cdef Py_ssize_t i, n = len(a16s) // 16
        cdef const uint8_t *at = a16s
        cdef address a
        cdef int32_t *to
        if len(a16s) % 16:
            raise ValueError("an address is 16 bytes here")
        targets = bytearray(4 * n)
        to = <int32_t *><uint8_t *>targets
        with nogil:
            for i in range(n):
                a = address_load(at + 16 * i)
                to[i] = fib_lookup(self.at, a, 4 if address_is_mapped(a) else 6)
        return bytes(targets)

    def watch(self):
        self.at.asking = True

    def asked(self):
        cdef unsigned i
        cdef uint8_t[16] a16
        found = []
        for i in range(self.at.asks):
            address_store(self.at.ask[i], a16)
            found.append(a16[:16])
        self.at.asks = 0
        return found

    def decide_udp(self, bytes segment, bytes address16, uint16_t port, int role, bint source_check):
        cdef endpoint e
        cdef decision d
        e.address = address_of(address16)
        e.port = port
        e.scope = 0
        d = decide_udp(self.at, segment, len(segment), fib_at_endpoint(self.at, &e), role, source_check)
        return d.verdict, d.reason, d.slot

    def decide_tun(self, bytes packet):
        cdef decision d = decide_tun(self.at, packet, len(packet))
        return d.verdict, d.reason, d.slot
