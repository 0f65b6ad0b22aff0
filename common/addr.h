/* Addresses as the topology writes them: "127.0.0.1:8101", "localhost:8101", "tcp://127.0.0.1:7101". IPv4 only for now.
 * Pure; names other than localhost are not resolved here. */
#ifndef WEIR_COMMON_ADDR_H
#define WEIR_COMMON_ADDR_H

#include <stdbool.h>
#include <stdint.h>

struct addr {
	uint8_t ip[4];
	uint16_t port; /* 0: any free one ("0" or "*") */
};

/* With or without tcp:// in front. WEIR_EINVAL: not an IPv4 address (or localhost) and a port. */
int addr_parse(const char *text, struct addr *ret_addr);
static inline bool addr_is_loopback(const struct addr *a)
{
	return a->ip[0] == 127;
}

#endif
