/* A message as readable text: one `field: value` line each, in the order of struct msg; bytes as hex, numbers as decimal. Two
 * messages of the same text say the same. */
#ifndef WEIR_TESTS_MSG_TEXT_H
#define WEIR_TESTS_MSG_TEXT_H

#include "common/buf.h"
#include "common/codec.h"

const char *msg_type_text(enum msg_type type);
void msg_text(const struct msg *m, struct buf *out);

#endif
