# What makes kcp.py fast when it is compiled: the types of its state and of its loops.

cimport cython

from gateway.protocol.kcp_arrivals cimport Arrivals
from gateway.protocol.kcp_segments cimport Packing, Segment, near, number

cdef long long _MASK
cdef Py_ssize_t _HEAD
cdef Py_ssize_t _MOST
cdef int _PUSH
cdef int _ACK
cdef int _ASK
cdef int _TELL
cdef long long _GREETING
cdef long long _FAREWELL


cdef class Kcp:
    cdef public long long conv
    cdef public bint kin
    cdef public bint left
    cdef public bint dead
    cdef public double srtt
    cdef public double rto
    cdef public long long send_window
    cdef public Arrivals arrivals
    cdef public long long peer_window
    cdef public Py_ssize_t unsent
    cdef public long long resent
    cdef public long long timeouts
    cdef Py_ssize_t _room
    cdef Py_ssize_t _mss
    cdef object _congestion
    cdef double _interval
    cdef bint _nodelay
    cdef double _least
    cdef long long _reorder
    cdef double _rttvar
    cdef object _queue
    cdef dict _flight
    cdef object _sent
    cdef object _again
    cdef long long _una
    cdef long long _next
    cdef long long _order
    cdef long long _newest
    cdef long long _outstanding
    cdef double _expires
    cdef double _late
    cdef double _tail
    cdef int _tail_probes
    cdef long long _seen
    cdef object _probe
    cdef double _active
    cdef int _greetings

    @cython.locals(
        mss=cython.Py_ssize_t, size=cython.Py_ssize_t, start=cython.Py_ssize_t, whole=bytes,
        last=bytes,
    )
    cpdef write(self, data)
    cpdef list read(self)
    @cython.locals(packet=bytes, others=list)
    cpdef list receive_all(self, list packets, double now)
    @cython.locals(
        end=cython.Py_ssize_t, at=cython.Py_ssize_t, before=cython.longlong, cmd=cython.int,
        sn=cython.longlong, length=cython.longlong,
    )
    cpdef receive(self, bytes packet, double now, bint fresh=*)
    @cython.locals(sn=cython.longlong, segment=Segment)
    cdef _acknowledge(self, long long low, long long ts, double now, bint fresh)
    @cython.locals(una=cython.longlong, segment=Segment)
    cdef _forget(self, long long low)
    cdef _arrived(self, Segment segment)
    @cython.locals(delta=cython.double, rto=cython.double)
    cdef _measure(self, double rtt, double now)
    cpdef double due(self)
    cpdef list flush(self, double now)
    @cython.locals(
        wait=cython.double, lost=cython.longlong, order=cython.longlong, segment=Segment,
    )
    cdef _find_lost(self, double now)
    @cython.locals(at=cython.double, segment=Segment)
    cdef _find_expired(self, double now)
    @cython.locals(seen=cython.longlong)
    cdef _watch_tail(self, double now)
    @cython.locals(order=cython.longlong, segment=Segment)
    cdef _probe_tail(self, double now)
    cdef _give_up(self, Segment segment)
    @cython.locals(window=cython.longlong, limit=cython.longlong, segment=Segment)
    cdef _send(self, Packing packing, double now)
    cdef _transmit(self, Segment segment, Packing packing, double now)
    cdef _send_control(self, Packing packing, double now)
