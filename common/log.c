#include "common/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/err.h"

#define LOG_LINE_MAX 4096

static enum log_level level_max = LOG_LEVEL_INFO;
static const char *const level_names[] = {"error", "warn", "info", "debug"};
static const int level_priorities[] = {3, 4, 6, 7}; /* syslog(3) */

void log_set_level(enum log_level level)
{
	level_max = level;
}

int log_level_parse(const char *name, enum log_level *ret_level)
{
	for (int i = 0; i <= LOG_LEVEL_DEBUG; i++) {
		if (!strcmp(name, level_names[i])) {
			*ret_level = (enum log_level)i;
			return 0;
		}
	}
	return WEIR_EINVAL;
}

/* Copies text so that it stays one line and one quoted value. */
static size_t quote(char *out, size_t room, const char *text, size_t len)
{
	size_t n = 0;
	for (size_t i = 0; i < len && n + 3 < room; i++) {
		char c = text[i];
		if (c == '"' || c == '\\')
			out[n++] = '\\';
		out[n++] = (unsigned char)c < 0x20 ? ' ' : c;
	}
	return n;
}

void log_write(enum log_level level, const char *module, const char *fmt, ...)
{
	if (level > level_max)
		return;
	char text[LOG_LINE_MAX / 2];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);

	/* The fields start at the first "; " that a key=value follows. */
	size_t msg_len = strlen(text);
	const char *fields = NULL;
	for (const char *s = text; (s = strstr(s, "; ")); s += 2) {
		size_t key = strcspn(s + 2, "= ;");
		if (key && s[2 + key] == '=') {
			msg_len = (size_t)(s - text);
			fields = s + 2;
			break;
		}
	}
	char line[LOG_LINE_MAX];
	size_t n = 0;
	if (getenv("JOURNAL_STREAM"))
		n = (size_t)snprintf(line, sizeof(line), "<%d>", level_priorities[level]);
	n += (size_t)snprintf(line + n, sizeof(line) - n, "level=%s module=%s msg=\"", level_names[level], module);
	n += quote(line + n, sizeof(line) - n - 2, text, msg_len);
	line[n++] = '"';
	if (fields) {
		line[n++] = ' ';
		for (const char *s = fields; *s && n + 2 < sizeof(line); s++)
			line[n++] = (unsigned char)*s < 0x20 ? ' ' : *s;
	}
	line[n++] = '\n';
	ssize_t done = write(STDERR_FILENO, line, n);
	(void)done; /* nowhere to report that stderr is gone */
}
