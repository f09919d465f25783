# What makes kcp_arrivals.py fast when it is compiled.

cimport cython

from gateway.protocol.kcp_segments cimport Packing, near


cdef class Arrivals:
    cdef public long long window
    cdef public long long expected
    cdef public long long repeats
    cdef public bint tell
    cdef long long _told
    cdef dict _early
    cdef list _ready
    cdef list _acks
    cdef list _repeated

    @cython.locals(sn=cython.longlong, data=bytes)
    cpdef take(self, long long low, long long ts, bytes packet, Py_ssize_t at, Py_ssize_t length)
    cpdef long long free(self)
    cpdef list read(self)
    cpdef Packing begin(self, Py_ssize_t room, long long conv)
    @cython.locals(
        index=cython.longlong, last=cython.longlong, sn=cython.longlong, ts=cython.longlong,
        waits=cython.bint,
    )
    cpdef acknowledge(self, Packing packing, bint kin)
