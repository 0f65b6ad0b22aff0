#include "common/log.h"

#include <stdarg.h>
#include <stdbool.h>
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

/* Whether a control of C1 begins here, as UTF-8 has it: terminals obey it as they do an escape. */
static bool is_c1(const char *text)
{
	return (unsigned char)text[0] == 0xc2 && (unsigned char)text[1] >= 0x80 && (unsigned char)text[1] < 0xa0;
}

static char plain(const char *text, size_t i)
{
	unsigned char c = (unsigned char)text[i];
	return c < 0x20 || c == 0x7f || is_c1(text + i) || (i && is_c1(text + i - 1)) ? ' ' : text[i];
}

/* Copies text so that it stays one line and one quoted value. */
static size_t quote(char *out, size_t room, const char *text, size_t len)
{
	size_t n = 0;
	for (size_t i = 0; i < len && n + 3 < room; i++) {
		char c = text[i];
		if (c == '"' || c == '\\')
			out[n++] = '\\';
		out[n++] = plain(text, i);
	}
	return n;
}

/* Under systemd; else nothing. Its length. */
static size_t put_priority(enum log_level level, char *out, size_t room)
{
	return getenv("JOURNAL_STREAM") ? (size_t)snprintf(out, room, "<%d>", level_priorities[level]) : 0;
}

void log_plain(enum log_level level, const char *text)
{
	char priority[8];
	size_t n = put_priority(level, priority, sizeof(priority));
	while (*text) {
		int len = (int)strcspn(text, "\n");
		fprintf(stderr, "%.*s%.*s\n", (int)n, priority, len, text);
		text += len + (text[len] != 0);
	}
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
	size_t n = put_priority(level, line, sizeof(line));
	n += (size_t)snprintf(line + n, sizeof(line) - n, "level=%s module=%s msg=\"", level_names[level], module);
	n += quote(line + n, sizeof(line) - n - 2, text, msg_len);
	line[n++] = '"';
	if (fields) {
		line[n++] = ' ';
		for (size_t i = 0; fields[i] && n + 2 < sizeof(line); i++)
			line[n++] = plain(fields, i);
	}
	line[n++] = '\n';
	ssize_t done = write(STDERR_FILENO, line, n);
	(void)done; /* nowhere to report that stderr is gone */
}
