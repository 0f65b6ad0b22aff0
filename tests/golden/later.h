/* A frame as another version of Weir would send it: its protocol's number, and in envelope and body fields that nobody knows
 * yet. */
#ifndef WEIR_TESTS_LATER_H
#define WEIR_TESTS_LATER_H

#include <stdbool.h>
#include <stddef.h>

#include "common/buf.h"

/* Appends; false: these bytes are no frame. */
bool later_frame(const void *frame, size_t len, uint32_t protocol, struct buf *out);

#endif
