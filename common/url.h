/* Addresses of other people's HTTP servers, as a topology names them. Pure. */
#ifndef WEIR_COMMON_URL_H
#define WEIR_COMMON_URL_H

#include <stdbool.h>

#define URL_MAX_BYTES 2048

/* NULL: it is http:// or https:// with a host, nothing but printable ASCII without spaces, and holds no user or password; else what is wrong
 * with it, static. */
const char *url_problem(const char *text);
/* Of one without a problem: what is sent there stays on this machine, or travels encrypted. */
bool url_is_private(const char *text);
/* Its host is of this machine for certain. */
bool url_is_loopback(const char *text);

#endif
