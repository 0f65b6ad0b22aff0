#include "common/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *label;
	const char *text;
} err_table[] = {
	[-WEIR_OK] = {"ok", "fine"},
	[-WEIR_ENOMEM] = {"no_memory", "out of memory"},
	[-WEIR_EINVAL] = {"invalid", "not valid"},
	[-WEIR_ENOTFOUND] = {"not_found", "not found"},
	[-WEIR_ECORRUPT] = {"corrupt", "the bytes fail their check"},
	[-WEIR_ETOOBIG] = {"too_big", "over the limit"},
	[-WEIR_EFULL] = {"full", "no room left"},
	[-WEIR_EIO] = {"io", "input or output failed"},
	[-WEIR_EBUSY] = {"busy", "busy, try again"},
	[-WEIR_ETIMEOUT] = {"timeout", "no answer in time"},
	[-WEIR_EVERSION] = {"version", "a version that is not known here"},
	[-WEIR_EEXIST] = {"exists", "exists already"},
	[-WEIR_EFENCED] = {"fenced", "fenced: another holder of the name, or an old copy of its data"},
	[-WEIR_ECLOSED] = {"closed", "closed"},
	[-WEIR_ETRUNCATED] = {"truncated", "ends too early"},
	[-WEIR_ENOTLEADER] = {"not_leader", "this replica does not lead its group"},
};

#define ERR_COUNT ((int)(sizeof(err_table) / sizeof(err_table[0])))

const char *err_text(int code)
{
	if (code > 0 || -code >= ERR_COUNT)
		return "unknown error";
	return err_table[-code].text;
}

const char *err_label(int code)
{
	if (code > 0 || -code >= ERR_COUNT)
		return "unknown";
	return err_table[-code].label;
}

static _Noreturn void out_of_memory(size_t size)
{
	fprintf(stderr, "level=error module=memory msg=\"out of memory\" bytes=%zu\n", size);
	abort();
}

void *xmalloc(size_t size)
{
	void *p = malloc(size ? size : 1);
	if (!p)
		out_of_memory(size);
	return p;
}

void *xcalloc(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size ? size : 1);
	if (!p)
		out_of_memory(size);
	return p;
}

void *xrealloc(void *p, size_t size)
{
	p = realloc(p, size ? size : 1);
	if (!p)
		out_of_memory(size);
	return p;
}

char *xstrndup(const char *s, size_t len)
{
	char *d = xmalloc(len + 1);
	memcpy(d, s, len);
	d[len] = 0;
	return d;
}

char *xstrdup(const char *s)
{
	return xstrndup(s, strlen(s));
}

char *xasprintf(const char *fmt, ...)
{
	va_list ap, again;
	va_start(ap, fmt);
	va_copy(again, ap);
	int n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	weir_assert(n >= 0);
	char *s = xmalloc((size_t)n + 1);
	vsnprintf(s, (size_t)n + 1, fmt, again);
	va_end(again);
	return s;
}

_Noreturn void weir_assert_failed(const char *cond, const char *file, int line, const char *func)
{
	fprintf(stderr, "level=error module=assert msg=\"%s\" at=%s:%d in=%s\n", cond, file, line, func);
	abort();
}
