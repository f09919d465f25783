# What makes kcp_segments.py fast when it is compiled.

cimport cython

cdef long long _MASK
cdef long long _HALF


cdef class Segment:
    cdef public long long sn
    cdef public bytes data
    cdef public long long order
    cdef public double sent
    cdef public long long stamp
    cdef public int times
    cdef public double rto
    cdef public bint lost
    cdef public bint probe
    cdef public bint done


cdef class Packing:
    cdef Py_ssize_t _room
    cdef Py_ssize_t _size
    cdef bytearray _head
    cdef list _parts
    cdef list _packets

    @cython.locals(size=cython.Py_ssize_t, length=cython.Py_ssize_t, head=bytearray)
    cpdef add(self, int cmd, long long ts, long long sn, bytes data)
    cpdef bint is_empty(self)
    cpdef list close(self)


cdef _lay(bytearray head, Py_ssize_t at, long long value)
@cython.locals(high=cython.longlong)
cpdef long long number(bytes packet, Py_ssize_t at)
cpdef long long near(long long base, long long low)
