# What makes fec.py fast when it is compiled: the types of its inner loop.

cimport cython

cdef unsigned long long _HIGH


@cython.locals(
    size=cython.Py_ssize_t, power=cython.ulonglong[::1], target=cython.ulonglong[::1],
    mask=cython.ulonglong, word=cython.ulonglong, high=cython.ulonglong, ones=cython.ulonglong,
    index=cython.Py_ssize_t, start=cython.Py_ssize_t, after=cython.Py_ssize_t,
    row=cython.Py_ssize_t, factor=cython.Py_ssize_t, bit=cython.Py_ssize_t,
)
cpdef add_products(list totals, shard, tuple factors)
