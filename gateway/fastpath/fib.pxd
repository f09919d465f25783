from libc.stdint cimport int32_t, uint16_t, uint32_t, uint8_t

cdef extern from "decide.h" nogil:
    struct address:
        pass

    struct endpoint:
        address address
        uint16_t port
        uint32_t scope

    struct fib:
        uint32_t peer_count
        bint asking
        unsigned asks
        address *ask

    struct decision:
        int verdict
        int reason
        int32_t slot

    address address_load(const uint8_t *p)
    void address_store(address a, uint8_t *p)
    int32_t fib_lookup(fib *f, address a, int version)
    int32_t fib_at_endpoint(const fib *f, const endpoint *e)
    decision decide_udp(fib *f, const uint8_t *segment, size_t length, int32_t sender, int role, bint check)
    decision decide_tun(fib *f, const uint8_t *packet, size_t length)
    bint address_is_mapped(address a)

cdef extern from "fib_change.h" nogil:
    fib *fib_open(uint32_t peers)
    void fib_close(fib *f)
    void fib_clear(fib *f)
    bint fib_set_route(fib *f, address prefix, int length, int32_t target)
    bint fib_drop_route(fib *f, address prefix, int length)
    bint fib_set_peer(fib *f, uint32_t slot, uint32_t incarnation, endpoint e, address local)
    void fib_drop_peer(fib *f, uint32_t slot)


cdef class Fib:
    cdef fib *at
