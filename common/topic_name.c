#include "common/topic_name.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "common/err.h"
#include "common/model.h"
#include "common/utf8.h"

/* ---- what a topic may hold ---------------------------------------------------------------------------------------- */

/* Brokers may end the connection of who sends others (MQTT 5, 1.5.4): control characters, and what is no character. */
static bool is_text(uint32_t code)
{
	bool control = code < 0x20 || (code >= 0x7f && code < 0xa0);
	bool none = (code >= 0xfdd0 && code <= 0xfdef) || (code & 0xfffe) == 0xfffe;
	return !control && !none;
}

/* Bytes of the character at s, if it may stand in a topic: else 0. */
static size_t text_len(const uint8_t *s, size_t left)
{
	size_t n = utf8_len(s, left), read;
	return n && is_text(utf8_next(s, left, &read)) ? n : 0;
}

/* ---- templates ---------------------------------------------------------------------------------------------------- */

static bool starts(const char *s, const char *with)
{
	return !strncmp(s, with, strlen(with));
}

static const char *problem_of_bytes(const char *text)
{
	size_t left = strlen(text), n;
	for (const char *s = text; *s; s += n, left -= n) {
		n = text_len((const uint8_t *)s, left);
		if (!n)
			return "it has a control character, or is no UTF-8";
		if (*s == '+' || *s == '#')
			return "+ and # are for those who subscribe";
	}
	return NULL;
}

static const char *problem_of_names(const char *text, bool alerts)
{
	unsigned streams = 0, groups = 0, names = 0;
	for (const char *s = strpbrk(text, "{}"); s; s = strpbrk(s + 1, "{}")) {
		if (starts(s, TOPIC_NAME_GROUP)) {
			const char *end = s + strlen(TOPIC_NAME_GROUP);
			if ((s != text && s[-1] != '/') || (*end && *end != '/'))
				return "{group} stands for whole levels: put it between slashes";
			groups++;
		} else if (starts(s, TOPIC_NAME_STREAM)) {
			streams++;
		} else if (alerts && starts(s, TOPIC_NAME_ALERT)) {
			names++;
		} else {
			return alerts ? "it has a brace that is not of {alert}, {stream} or {group}" : "it has a brace that is not of {stream} or {group}";
		}
		s = strchr(s, '}');
	}
	return streams > 1 || groups > 1 || names > 1 ? "what stands for something is there once at most" : NULL;
}

static int check(const char *text, bool alerts, const char **ret_why)
{
	const char *why = NULL;
	if (!*text || strlen(text) > TOPIC_NAME_TEMPLATE_MAX)
		why = "it has 1 to 256 bytes";
	else if (*text == '$')
		why = "topics that begin with $ are the broker's own";
	else if (!strcmp(text, TOPIC_NAME_GROUP))
		why = "it needs another level beside {group}";
	if (!why)
		why = problem_of_bytes(text);
	if (!why)
		why = problem_of_names(text, alerts);
	if (why)
		*ret_why = why;
	return why ? WEIR_EINVAL : 0;
}

int topic_name_check(const char *text, const char **ret_why)
{
	return check(text, false, ret_why);
}

int topic_name_check_alerts(const char *text, const char **ret_why)
{
	return check(text, true, ret_why);
}

/* ---- topics ------------------------------------------------------------------------------------------------------- */

void topic_name_level(struct buf *out, struct bytes value)
{
	if (!value.n)
		buf_u8(out, '%');
	for (size_t i = 0; i < value.n;) {
		size_t n = text_len(value.p + i, value.n - i);
		if (!n || memchr("/+#$%", value.p[i], 5)) {
			buf_printf(out, "%%%02X", value.p[i]);
			n = 1;
		} else {
			buf_put(out, value.p + i, n);
		}
		i += n;
	}
}

static int put_group(const struct topic_name *of, struct buf *out)
{
	struct rd rd = rd_init(of->group.p, of->group.n);
	for (size_t i = 0; i < of->tag_count; i++) {
		size_t n;
		const uint8_t *value = rd_bytes(&rd, GROUP_KEY_MAX, &n);
		if (rd.err)
			return WEIR_ECORRUPT;
		if (i)
			buf_u8(out, '/');
		topic_name_level(out, bytes_of(value, n));
	}
	if (of->is_part)
		buf_printf(out, "$%u", of->shard); /* no value has a $ */
	return rd_finish(&rd) ? WEIR_ECORRUPT : 0;
}

/* Without tags the level is left out, and one slash with it. */
static const char *skip_group(const char *behind, size_t start, struct buf *out)
{
	if (*behind == '/')
		return behind + 1;
	if (out->len > start && out->data[out->len - 1] == '/')
		out->len--;
	return behind;
}

int topic_name_put(const char *text, const struct topic_name *n, struct buf *out)
{
	size_t start = out->len;
	for (const char *s = text; *s;) {
		if (starts(s, TOPIC_NAME_STREAM)) {
			buf_put(out, n->stream.p, n->stream.n);
			s += strlen(TOPIC_NAME_STREAM);
		} else if (starts(s, TOPIC_NAME_ALERT)) {
			buf_put(out, n->alert.p, n->alert.n);
			s += strlen(TOPIC_NAME_ALERT);
		} else if (starts(s, TOPIC_NAME_GROUP)) {
			int rc = put_group(n, out);
			if (rc)
				return rc;
			s += strlen(TOPIC_NAME_GROUP);
			if (!n->tag_count)
				s = skip_group(s, start, out);
		} else {
			buf_u8(out, (uint8_t)*s++);
		}
	}
	return 0;
}
