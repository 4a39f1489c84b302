/* Images in buffers: what store/files.py reads and writes files with, and tests images. */
#ifndef ICEHOUSE_MODULE_IMAGE_FILE_H
#define ICEHOUSE_MODULE_IMAGE_FILE_H

#include "module/state.h"

/* Functions of the module. */
PyObject *ih_file_image_of(PyObject *module, PyObject *view);
PyObject *ih_file_open_buffer(PyObject *module, PyObject *const *args, Py_ssize_t nargs);
PyObject *ih_file_open_wary(PyObject *module, PyObject *const *args, Py_ssize_t nargs);
PyObject *ih_file_validate(PyObject *module, PyObject *bytes);
PyObject *ih_file_census(PyObject *module, PyObject *bytes);
PyObject *ih_file_put_image(PyObject *module, PyObject *const *args, Py_ssize_t nargs);

#define IH_IMAGE_FILE_METHODS                                                                     \
    {"_image_of", ih_file_image_of, METH_O,                                                       \
     "The image of a handle, or that a view shows as a whole, as a buffer: the first 48 bytes "   \
     "are the arena's. None where it has links or can't stand for the view."},                    \
        {"_open_buffer", (PyCFunction)(void *)ih_file_open_buffer, METH_FASTCALL,                 \
         "_open_buffer(buffer, fixed=False, trust=None): the root of an image in a buffer; "      \
         "fixed: nobody can change its bytes."},                                                  \
        {"_open_wary", (PyCFunction)(void *)ih_file_open_wary, METH_FASTCALL,                     \
         "_open_wary(handle, trust): the root of an image that is trusted with no more than "     \
         "this, whoever made it, and neither is what its links lead to."},                        \
        {"_validate", ih_file_validate, METH_O,                                                   \
         "Checks every byte of an image, by its handle or in a buffer: None, or "                 \
         "CorruptImage."},                                                                        \
        {"_census", ih_file_census, METH_O,                                                       \
         "Checks every byte of an image: four bit masks, of the kinds of nodes (bit 63: short "   \
         "strings), of the forms of objects and of the codes of values and of families (bit 63: " \
         "higher ones)."},                                                                        \
    {                                                                                             \
        "_put_image", (PyCFunction)(void *)ih_file_put_image, METH_FASTCALL,                      \
            "_put_image(store, buffer): copies an image into a store as it is and gives its "     \
            "Handle. Readers trust it as made here."                                              \
    }

#endif
