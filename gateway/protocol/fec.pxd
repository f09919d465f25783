# What makes fec.py fast when it is compiled: the types of its inner loop.

cimport cython


@cython.locals(
    target=cython.uchar[::1], source="const unsigned char[::1]", product="const unsigned char[::1]",
    index=cython.Py_ssize_t,
)
cpdef add_product(bytearray total, bytes shard, bytes table)
