# What makes kcp.py fast when it is compiled: the types of its state and of its loops.

cimport cython

from gateway.protocol.kcp_segments cimport Packing, Segment, near

cdef long long _MASK


cdef class Kcp:
    cdef public long long conv
    cdef public bint kin
    cdef public bint left
    cdef public bint dead
    cdef public double srtt
    cdef public double rto
    cdef public long long send_window
    cdef public long long receive_window
    cdef public long long peer_window
    cdef public Py_ssize_t unsent
    cdef public long long repeats
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
    cdef double _probe
    cdef double _probe_at
    cdef double _active
    cdef dict _early
    cdef list _ready
    cdef long long _expected
    cdef list _acks
    cdef list _repeated
    cdef long long _told
    cdef bint _tell
    cdef int _greetings

    @cython.locals(mss=cython.Py_ssize_t, size=cython.Py_ssize_t, start=cython.Py_ssize_t)
    cpdef write(self, data)
    cpdef list read(self)
    @cython.locals(
        end=cython.Py_ssize_t, at=cython.Py_ssize_t, before=cython.longlong,
        conv=cython.longlong, cmd=cython.int, wnd=cython.longlong, ts=cython.longlong,
        sn=cython.longlong, una=cython.longlong, length=cython.longlong,
    )
    cpdef receive(self, packet, double now, bint fresh=*)
    @cython.locals(sn=cython.longlong, data=bytes)
    cdef _take(self, long long low, long long ts, packet, Py_ssize_t at, Py_ssize_t length)
    cdef long long _free(self)
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
    cdef _give_up(self, Segment segment)
    @cython.locals(window=cython.longlong, limit=cython.longlong, segment=Segment)
    cdef _send(self, Packing packing, double now)
    cdef _transmit(self, Segment segment, Packing packing, double now)
    @cython.locals(
        number=cython.longlong, last=cython.longlong, sn=cython.longlong, ts=cython.longlong,
        waits=cython.bint,
    )
    cdef _send_control(self, Packing packing, double now)
    cdef bint _probing(self, double now)
    cdef bytes _head(self, int cmd, long long ts, long long sn, Py_ssize_t length)
