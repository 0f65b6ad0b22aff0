/* Addresses as the configuration writes them: HOST:PORT. HOST is a name, an IPv4 address or an [IPv6 address]. Pure:
 * nothing is looked up. */
#ifndef WEIR_COMMON_ADDRESS_H
#define WEIR_COMMON_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>

#define ADDRESS_HOST_MAX 256 /* with its NUL */

struct address {
	char host[ADDRESS_HOST_MAX]; /* without brackets, in lower case */
	uint16_t port;               /* 1..65535 */
};

/* 0, or WEIR_EINVAL with *ret_why, where not NULL, saying what is wrong (static). */
int address_parse(const char *text, struct address *ret, const char **ret_why);
/* Whether nothing but this machine can reach it: localhost, 127.0.0.0/8 and ::1. */
bool address_is_loopback(const struct address *a);

#endif
