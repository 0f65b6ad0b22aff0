/* Addresses as the topology writes them: "127.0.0.1:8101", "localhost:8101", "tcp://127.0.0.1:7101", and, where links have
 * keys, "tcp://[2001:db8::1]:7101" and "tcp://cloud-1.example:7101". Pure; names other than localhost are not resolved here. */
#ifndef WEIR_COMMON_ADDR_H
#define WEIR_COMMON_ADDR_H

#include <stdbool.h>
#include <stdint.h>

#define ADDR_HOST_MAX 253

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

enum addr_kind { ADDR_IPV4, ADDR_IPV6, ADDR_NAME };
struct addr_host {
	enum addr_kind kind;
	char host[ADDR_HOST_MAX + 1]; /* without brackets; localhost: 127.0.0.1 */
	uint16_t port;
	bool loopback;                /* for certain: 127.0.0.0/8 or ::1 */
};
/* Any host, IPv6 in brackets. WEIR_EINVAL. */
int addr_parse_host(const char *text, struct addr_host *ret_host);

#endif
