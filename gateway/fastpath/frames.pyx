# cython: language_level=3, binding=True
"""See frames.pyi for the interface, frames.h for the format, bursts.h for the sockets."""

from cpython.buffer cimport PyBUF_READ
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

cdef extern from "bursts.h" nogil:
    size_t FRAME_DATAGRAM
    size_t OUT_SEGMENTS
    size_t OUT_BYTES

    struct frames:
        uint32_t have
        uint64_t empty

    size_t frames_room(size_t bytes, size_t segment)
    size_t frames_pack(uint8_t *out, const uint8_t *burst, size_t bytes, size_t segment)
    void frames_feed(frames *f, const uint8_t *bytes, size_t size)
    int frames_next(frames *f, const uint8_t **datagram, size_t *size)
    bint frames_keep(frames *f)
    void frames_free(frames *f)

    struct burst_counts:
        uint64_t datagrams
        uint64_t bytes
        uint64_t full
        uint64_t refused
        uint64_t failed
        uint64_t fallbacks

    struct burst_in:
        uint8_t *frames

    size_t burst_receive(burst_in *b, int fd, burst_counts *counts, int *more)

    struct burst_out:
        int fd
        bint single
        burst_counts *counts

    bint burst_send(burst_out *o, frames *f, const uint8_t *bytes, size_t size)


LARGEST = FRAME_DATAGRAM


def pack(const uint8_t[::1] burst not None, size_t segment):
    cdef size_t size = burst.shape[0]
    if segment > 65535 or (not segment and size > FRAME_DATAGRAM):
        raise ValueError("a datagram is longer than any frame")
    framed = PyBytes_FromStringAndSize(NULL, frames_room(size, segment) if size else 0)
    if size:
        frames_pack(<uint8_t *>PyBytes_AS_STRING(framed), &burst[0], size, segment)
    return framed


cdef _counts(const burst_counts *counts):
    return {
        "datagrams": counts.datagrams,
        "bytes": counts.bytes,
        "full": counts.full,
        "refused": counts.refused,
        "failed": counts.failed,
        "fallbacks": counts.fallbacks,
    }


cdef class Packer:
    cdef burst_in *at
    cdef burst_counts counts
    cdef int left

    def __cinit__(self):
        self.at = <burst_in *>calloc(1, sizeof(burst_in))
        if self.at == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.at)

    def receive(self, int fd):
        cdef size_t used
        used = burst_receive(self.at, fd, &self.counts, &self.left)
        if not used:
            return None
        return PyMemoryView_FromMemory(<char *>self.at.frames, used, PyBUF_READ)

    @property
    def datagrams(self):
        return self.counts.datagrams

    @property
    def more(self):
        return bool(self.left)

    def read(self):
        return _counts(&self.counts)


cdef burst_out *_out = <burst_out *>calloc(1, sizeof(burst_out))
if _out == NULL:
    raise MemoryError


cdef class Unpacker:
    cdef frames at
    cdef burst_counts counts
    cdef bint single

    def __dealloc__(self):
        frames_free(&self.at)

    def send(self, int fd, const uint8_t[::1] data not None):
        cdef bint whole
        if not data.shape[0]:
            return
        _out.fd = fd
        _out.single = self.single
        _out.counts = &self.counts
        whole = burst_send(_out, &self.at, &data[0], data.shape[0])
        self.single = _out.single
        if not whole:
            raise ValueError("a frame is longer than any datagram")

    def feed(self, const uint8_t[::1] data not None):
        cdef const uint8_t *datagram
        cdef size_t size
        cdef int found = 0
        runs = []
        run = []
        cdef size_t segment = 0, total = 0, last = 0
        if not data.shape[0]:
            return runs
        frames_feed(&self.at, &data[0], data.shape[0])
        while True:
            found = frames_next(&self.at, &datagram, &size)
            if found <= 0:
                break
            if run and (last < segment or size > segment or len(run) == OUT_SEGMENTS
                        or total + size > OUT_BYTES):
                runs.append((segment, b"".join(run)))
                run = []
            if not run:
                segment = size
                total = 0
            run.append(datagram[:size])
            total += size
            last = size
        if run:
            runs.append((segment, b"".join(run)))
        if found < 0 or not frames_keep(&self.at):
            raise ValueError("a frame is longer than any datagram")
        return runs

    @property
    def kept(self):
        return self.at.have

    @property
    def empty(self):
        return self.at.empty

    def read(self):
        return _counts(&self.counts)
