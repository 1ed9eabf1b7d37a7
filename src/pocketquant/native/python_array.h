// Views of NumPy arrays through the buffer protocol: the cheapest way in that the limited API offers
// (about 0.1 microseconds an array).
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <string>

namespace pq {

struct Buffered {  // releases the view even if the constructor around it throws
    Py_buffer view{};
    Buffered(PyObject* object, int flags) {
        if (PyObject_GetBuffer(object, &view, flags) != 0) throw nanobind::python_error();
    }
    ~Buffered() { PyBuffer_Release(&view); }
    Buffered(const Buffered&) = delete;
    Buffered& operator=(const Buffered&) = delete;
};

class Array {
   public:
    // Throws TypeError / ValueError naming `what` unless `object` is an array of `format` (a struct
    // character, "f" for float32) and `dimensions`. Its last axis must be contiguous; all of it, unless `strided`.
    Array(nanobind::handle object, const char* what, const char* format, int dimensions, bool strided = false,
          bool writable = false)
        : buffered_(object.ptr(), PyBUF_FORMAT | PyBUF_STRIDES | (writable ? PyBUF_WRITABLE : 0)), what_(what) {
        if (format[0] != view_.format[0] || view_.format[1] != '\0')
            fail(std::string("has element format '") + view_.format + "', not '" + format + "'");
        if (view_.ndim != dimensions)
            fail("has " + std::to_string(view_.ndim) + " dimensions, not " + std::to_string(dimensions));
        Py_ssize_t expected = view_.itemsize;
        for (int i = dimensions - 1; i >= 0; expected *= view_.shape[i--])
            if (view_.shape[i] > 1 && view_.strides[i] != expected && !(strided && i < dimensions - 1))
                fail("is not contiguous");
        if (strided && view_.strides[0] % view_.itemsize != 0) fail("has rows that are not aligned");
    }

    template <class T>
    T* as() const {
        return static_cast<T*>(view_.buf);
    }
    Py_ssize_t shape(int axis) const { return view_.shape[axis]; }
    std::ptrdiff_t row_stride() const { return view_.strides[0] / view_.itemsize; }

    void expect(int axis, Py_ssize_t size) const {
        if (view_.shape[axis] != size)
            fail("has " + std::to_string(view_.shape[axis]) + " values along axis " + std::to_string(axis) + ", not " +
                 std::to_string(size));
    }

   private:
    [[noreturn]] void fail(const std::string& why) const {
        const std::string message = std::string(what_) + " " + why;
        throw nanobind::value_error(message.c_str());
    }

    Buffered buffered_;
    const Py_buffer& view_ = buffered_.view;
    const char* what_;
};

}  // namespace pq
