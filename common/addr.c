#include "common/addr.h"

#include <arpa/inet.h>
#include <string.h>

#include "common/err.h"

#define SCHEME "tcp://"

static int parse_port(const char *s, uint16_t *ret_port)
{
	if (!strcmp(s, "*")) {
		*ret_port = 0;
		return 0;
	}
	unsigned port = 0;
	size_t n = 0;
	for (; s[n] >= '0' && s[n] <= '9' && n < 5; n++)
		port = port * 10 + (unsigned)(s[n] - '0');
	if (!n || s[n] || port > UINT16_MAX)
		return WEIR_EINVAL;
	*ret_port = (uint16_t)port;
	return 0;
}

int addr_parse(const char *text, struct addr *ret_addr)
{
	if (!strncmp(text, SCHEME, strlen(SCHEME)))
		text += strlen(SCHEME);
	const char *colon = strrchr(text, ':');
	char host[INET_ADDRSTRLEN];
	if (!colon || (size_t)(colon - text) >= sizeof(host))
		return WEIR_EINVAL;
	memcpy(host, text, (size_t)(colon - text));
	host[colon - text] = 0;
	struct in_addr in;
	if (inet_pton(AF_INET, strcmp(host, "localhost") ? host : "127.0.0.1", &in) != 1)
		return WEIR_EINVAL;
	struct addr a;
	memcpy(a.ip, &in.s_addr, sizeof(a.ip));
	if (parse_port(colon + 1, &a.port))
		return WEIR_EINVAL;
	*ret_addr = a;
	return 0;
}
