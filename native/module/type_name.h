/* What a node is called, without opening it: for stat() and lists. */
#ifndef ICEHOUSE_MODULE_TYPE_NAME_H
#define ICEHOUSE_MODULE_TYPE_NAME_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "image/read.h"

/* The name of the type of what a word stands for: "dict", "date", "module.Class". None where it is
 * damaged. `image` is needed for nodes only. New reference. */
PyObject *ih_type_name_of_word(const ih_image *image, uint32_t word);

#endif
