/* How a query's arguments become a request. Pure but for the clock that relative times are judged by. */
#ifndef WEIR_CTL_QUERY_H
#define WEIR_CTL_QUERY_H

#include "common/args.h"

/* Appends path and query string; cursor: the last page's `next`, or NULL. args: of command_query, with its word. */
void query_path(const struct args *args, const char *cursor, struct buf *out);
/* Whether an argument cannot be meant; what, is appended to *error. */
bool query_arguments_wrong(const struct args *args, struct buf *error);

#endif
