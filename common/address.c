#include "common/address.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"

#define DIGITS "0123456789"

static bool is_ipv6(const char *host)
{
	struct in6_addr a;
	return inet_pton(AF_INET6, host, &a) == 1;
}

/* Names as DNS has them; "*" stands for every interface. */
static bool is_host(const char *host)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyz" DIGITS ".-_";
	if (!strcmp(host, "*"))
		return true;
	if (!*host || host[strspn(host, allowed)])
		return false;
	struct in_addr a;
	return host[strspn(host, DIGITS ".")] || inet_pton(AF_INET, host, &a) == 1;
}

static int fail(const char **ret_why, const char *why)
{
	if (ret_why)
		*ret_why = why;
	return WEIR_EINVAL;
}

int address_parse(const char *text, struct address *ret, const char **ret_why)
{
	struct address a;
	const char *colon = strrchr(text, ':');
	if (!colon || colon == text)
		return fail(ret_why, "expected HOST:PORT");
	const char *digits = colon + 1;
	size_t n = strlen(digits);
	if (n == 0 || n > 5 || digits[strspn(digits, DIGITS)])
		return fail(ret_why, "the port is not a number");
	unsigned long port = strtoul(digits, NULL, 10);
	if (port < 1 || port > UINT16_MAX)
		return fail(ret_why, "the port is out of range: 1 to 65535");
	bool brackets = *text == '[' && colon[-1] == ']' && colon - text > 2;
	const char *host = text + brackets;
	size_t len = (size_t)(colon - text) - (brackets ? 2 : 0);
	if (len >= sizeof(a.host))
		return fail(ret_why, "the host is too long");
	for (size_t i = 0; i < len; i++)
		a.host[i] = (char)tolower((unsigned char)host[i]);
	a.host[len] = 0;
	if (brackets ? !is_ipv6(a.host) : !is_host(a.host))
		return fail(ret_why, strchr(a.host, ':') ? "expected HOST:PORT (an IPv6 address goes in brackets)"
							  : "the host is neither a name nor an address");
	a.port = (uint16_t)port;
	*ret = a;
	return 0;
}

bool address_is_loopback(const struct address *a)
{
	struct in_addr v4;
	struct in6_addr v6;
	if (!strcmp(a->host, "localhost"))
		return true;
	if (inet_pton(AF_INET, a->host, &v4) == 1)
		return ntohl(v4.s_addr) >> 24 == 127;
	return inet_pton(AF_INET6, a->host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}
