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

/* Letters, digits, hyphens and dots, with a letter in it: 1.2.3 is a mistaken address, not a name. */
static bool is_host_name(const char *s)
{
	bool letter = false;
	for (size_t i = 0; s[i]; i++) {
		bool alpha = (s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z');
		bool dot = s[i] == '.', digit = s[i] >= '0' && s[i] <= '9';
		if (!alpha && !digit && !dot && s[i] != '-')
			return false;
		if ((dot || s[i] == '-') && (i == 0 || s[i - 1] == '.'))
			return false;
		letter = letter || alpha;
	}
	return letter;
}

static int parse_host(struct addr_host *h)
{
	struct in_addr in;
	struct in6_addr in6;
	size_t n = strlen(h->host);
	if (n > 2 && h->host[0] == '[' && h->host[n - 1] == ']') {
		memmove(h->host, h->host + 1, n - 2);
		h->host[n - 2] = 0;
		h->kind = ADDR_IPV6;
		if (inet_pton(AF_INET6, h->host, &in6) != 1)
			return WEIR_EINVAL;
		h->loopback = IN6_IS_ADDR_LOOPBACK(&in6);
		return 0;
	}
	if (!strcmp(h->host, "localhost"))
		memcpy(h->host, "127.0.0.1", sizeof("127.0.0.1"));
	if (inet_pton(AF_INET, h->host, &in) == 1) {
		h->kind = ADDR_IPV4;
		h->loopback = ((const uint8_t *)&in.s_addr)[0] == 127;
		return 0;
	}
	h->kind = ADDR_NAME;
	return is_host_name(h->host) ? 0 : WEIR_EINVAL;
}

int addr_parse_host(const char *text, struct addr_host *ret_host)
{
	struct addr_host h = {0};
	if (!strncmp(text, SCHEME, strlen(SCHEME)))
		text += strlen(SCHEME);
	const char *colon = strrchr(text, ':');
	if (!colon || (size_t)(colon - text) > ADDR_HOST_MAX)
		return WEIR_EINVAL;
	memcpy(h.host, text, (size_t)(colon - text));
	if (parse_host(&h) || parse_port(colon + 1, &h.port))
		return WEIR_EINVAL;
	*ret_host = h;
	return 0;
}
