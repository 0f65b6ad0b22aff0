#include "common/url.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/addr.h"
#include "common/err.h"

static const char *host_of(const char *text)
{
	if (!strncmp(text, "http://", 7))
		return text + 7;
	return !strncmp(text, "https://", 8) ? text + 8 : NULL;
}

/* Of the n bytes of host and port. */
static bool port_is_fine(const char *host, size_t n)
{
	const char *bracket = memchr(host, ']', n), *from = bracket ? bracket : host;
	const char *colon = memchr(from, ':', n - (size_t)(from - host));
	size_t digits = colon ? n - (size_t)(colon + 1 - host) : 0;
	if (!digits) /* the scheme's own */
		return true;
	if (digits > 5 || strspn(colon + 1, "0123456789") != digits)
		return false;
	unsigned long port = strtoul(colon + 1, NULL, 10);
	return port >= 1 && port <= UINT16_MAX;
}

const char *url_problem(const char *text)
{
	const char *host = host_of(text);
	size_t len = strlen(text);
	if (!host)
		return "expected http://HOST/... or https://HOST/...";
	if (len > URL_MAX_BYTES)
		return "longer than 2048 bytes";
	for (const char *p = text; *p; p++) {
		if (*p <= ' ' || *p > '~')
			return "a character that no URL has: write it as %XX";
	}
	size_t n = strcspn(host, "/?#");
	if (!n || *host == ':')
		return "without a host";
	if (memchr(host, '@', n))
		return "a user or a password in it: secrets are in files";
	if (!port_is_fine(host, n))
		return "a port is a number from 1 to 65535";
	return NULL;
}

bool url_is_loopback(const char *text)
{
	const char *host = host_of(text);
	struct addr_host a;
	size_t n = strcspn(host, "/?#");
	const char *bracket = memchr(host, ']', n), *from = bracket ? bracket : host;
	bool port = memchr(from, ':', n - (size_t)(from - host)) != NULL;
	char *address = xasprintf("%.*s%s", (int)n, host, port ? "" : ":80");
	bool loopback = !addr_parse_host(address, &a) && a.loopback;
	free(address);
	return loopback;
}

bool url_is_private(const char *text)
{
	return !strncmp(text, "https://", 8) || url_is_loopback(text);
}
