/* Files of secrets that sinks have: read by each whenever it needs them, so that what is put in their place is taken up. Blocking; any
 * thread. */
#ifndef WEIR_CLOUDD_SINK_SECRET_H
#define WEIR_CLOUDD_SINK_SECRET_H

#include <stddef.h>

#include "common/buf.h"

#define SINK_HEADERS_MAX 32

/* The file's bytes but for blanks at its end in place of what *out had (free it with secret_free). As secret_read(); WEIR_EINVAL where it
 * is empty, too. *out is empty on error. */
int sink_secret_read(const char *path, struct buf *out, char **ret_why);
/* The same of lines `Name: value`, SINK_HEADERS_MAX at most; each ends with a NUL in *out. Empty ones and those that begin with # are passed
 * over. */
int sink_headers_read(const char *path, struct buf *out, char **ret_why);
/* The lines of what sink_headers_read() made, into it; returns how many. */
size_t sink_headers(const struct buf *headers, const char *ret[SINK_HEADERS_MAX]);

#endif
