/* Handle: 16 bytes that name a sealed image, as a Python object. */
#ifndef ICEHOUSE_MODULE_HANDLE_H
#define ICEHOUSE_MODULE_HANDLE_H

#include "module/state.h"

#define IH_HANDLE_PREFIX "ih1_"
#define IH_HANDLE_TEXT 30 /* characters of a handle's text: the prefix and 26 of 5 bits each */

/* New reference. */
PyObject *ih_handle_new(ih_state *state, ih_handle handle);
/* 1: `object` is a Handle or the text of one; 0: it is something else (a name, if it is a str that
 * does not begin with the prefix); -1: ValueError, a text that begins like a handle and isn't one.
 */
int ih_handle_parse(ih_state *state, PyObject *object, ih_handle *out);

/* 128 bits as 26 characters; the first stands for the top 3 bits. decode: false if it is not such a
 * text. */
void ih_base32_encode(uint64_t high, uint64_t low, char out[26]);
bool ih_base32_decode(const char text[26], uint64_t *high, uint64_t *low);

#endif
