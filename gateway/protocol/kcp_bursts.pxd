# What makes kcp_bursts.py fast when it is compiled.

cimport cython

from gateway.protocol.kcp_segments cimport number

cdef list _PADS


@cython.locals(
    begin=cython.Py_ssize_t, size=cython.Py_ssize_t, step=cython.Py_ssize_t,
    end=cython.Py_ssize_t, at=cython.Py_ssize_t, datagrams=list,
)
cpdef list cut(bytes run, list spans)
@cython.locals(
    groups=list, first=cython.Py_ssize_t, count=cython.Py_ssize_t, size=cython.Py_ssize_t,
    limit=cython.Py_ssize_t, last=cython.Py_ssize_t,
)
cpdef list grouped(list datagrams, Py_ssize_t most, Py_ssize_t most_bytes)
@cython.locals(block=cython.Py_ssize_t, pad=cython.Py_ssize_t, parts=list)
cpdef bytes lay_sealed(list datagrams, bytes iv)
@cython.locals(at=cython.Py_ssize_t, size=cython.Py_ssize_t, packets=list)
cpdef list checked(bytes opened, list datagrams, Py_ssize_t block)
@cython.locals(packet=bytes)
cpdef packet_in(bytes opened, Py_ssize_t begin, Py_ssize_t end)
@cython.locals(packet=bytes, size=cython.Py_ssize_t, pad=cython.Py_ssize_t, parts=list)
cpdef bytes lay_plain(list packets, Py_ssize_t block, Py_ssize_t stride=*)
@cython.locals(packet=bytes, size=cython.Py_ssize_t, at=cython.Py_ssize_t, datagrams=list)
cpdef list cut_sealed(sealed, list packets, Py_ssize_t block, Py_ssize_t stride=*)
@cython.locals(
    words=cython.Py_ssize_t, step=cython.Py_ssize_t, count=cython.Py_ssize_t,
    index=cython.Py_ssize_t, word=cython.Py_ssize_t, first=cython.Py_ssize_t,
    at=cython.Py_ssize_t, place=cython.Py_ssize_t,
    text=cython.ulonglong[::1], before=cython.ulonglong[::1], after=cython.ulonglong[::1],
)
cpdef seal_side_by_side(bytearray run, bytes nonces, Py_ssize_t block, encrypt)
