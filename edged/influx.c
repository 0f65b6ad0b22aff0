#include "edged/influx.h"

#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/json.h"

#define QUERY_MAX 4096

int influx_precision(enum influx_kind kind, const char *text, int64_t *ret_ns)
{
	static const struct {
		const char *text;
		int64_t ns;
		bool v1, v2;
	} units[] = {
	    {"", 1, true, true}, {"ns", 1, true, true}, {"n", 1, true, false},
	    {"us", 1000, true, true}, {"u", 1000, true, false}, {"\xc2\xb5", 1000, true, false},
	    {"ms", NS_PER_MS, true, true}, {"s", NS_PER_SEC, true, true},
	    {"m", 60 * NS_PER_SEC, true, false}, {"h", 3600 * NS_PER_SEC, true, false},
	};
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(text ? text : "", units[i].text) || !(kind == INFLUX_1 ? units[i].v1 : units[i].v2))
			continue;
		*ret_ns = units[i].ns;
		return 0;
	}
	return WEIR_EINVAL;
}

/* ---- errors ----------------------------------------------------------------------------------------------------- */

void influx_refuse(struct influx_refusals *f, uint64_t number, const char *why, struct bytes text)
{
	if (!f->count++)
		f->first_line = number;
	if (f->count > INFLUX_LINES_TOLD_MAX)
		return;
	size_t n = text.n < INFLUX_TEXT_MAX ? text.n : INFLUX_TEXT_MAX;
	buf_printf(&f->text, "%sline %" PRIu64 ": unable to parse '", f->text.len ? "; " : "", number);
	for (size_t i = 0; i < n; i++)
		buf_u8(&f->text, text.p[i] < 0x20 || text.p[i] == 0x7f ? '?' : text.p[i]);
	buf_printf(&f->text, "%s': %s", n < text.n ? "..." : "", why);
}

void influx_refusals_clear(struct influx_refusals *f)
{
	buf_free(&f->text);
	*f = (struct influx_refusals){0};
}

void influx_put_refusals(const struct influx_refusals *f, bool some_counted, struct buf *out)
{
	buf_printf(out, "%s", some_counted ? "partial write: " : "");
	buf_put(out, f->text.data, f->text.len);
	if (f->count > INFLUX_LINES_TOLD_MAX)
		buf_printf(out, "; and %" PRIu64 " more", f->count - INFLUX_LINES_TOLD_MAX);
	buf_printf(out, " dropped=%" PRIu64, f->count);
}

static void add_version(struct http_request *r)
{
	http_add_header(r, "X-Influxdb-Build", "OSS");
	http_add_header(r, "X-Influxdb-Version", INFLUX_VERSION);
}

void influx_reply_error(enum influx_kind kind, struct http_request *r, unsigned status, const char *code, const char *text,
    uint64_t line)
{
	struct buf b = {0};
	if (kind == INFLUX_1) {
		buf_printf(&b, "{\"error\":");
	} else {
		buf_printf(&b, "{\"code\":");
		json_text(&b, code);
		buf_printf(&b, ",\"message\":");
	}
	json_text(&b, text);
	if (kind == INFLUX_2 && line)
		buf_printf(&b, ",\"line\":%" PRIu64, line);
	buf_printf(&b, "}\n");
	add_version(r);
	http_reply(r, status, HTTP_JSON, b.data, b.len);
	buf_free(&b);
}

void influx_reply_written(struct http_request *r)
{
	add_version(r);
	http_reply(r, 204, HTTP_JSON, "", 0);
}

/* ---- what is asked before writing ----------------------------------------------------------------------------- */

static const char *arg_of(const struct http_request *r, const char *name)
{
	for (size_t i = 0; i < http_arg_count(r); i++)
		if (!strcmp(http_arg_name(r, i), name))
			return http_arg_value(r, i);
	return NULL;
}

void influx_handle_ping(struct http_request *r)
{
	static const char version[] = "{\"version\":\"" INFLUX_VERSION "\"}\n";
	const char *verbose = arg_of(r, "verbose");
	if (!verbose || !*verbose || !strcmp(verbose, "0") || !strcmp(verbose, "false")) {
		influx_reply_written(r);
		return;
	}
	add_version(r);
	http_reply(r, 200, HTTP_JSON, version, sizeof(version) - 1);
}

void influx_handle_health(struct http_request *r, const char *why)
{
	struct buf b = {0};
	buf_printf(&b, "{\"name\":\"weir\",\"message\":");
	json_text(&b, why ? why : "ready for writes");
	buf_printf(&b, ",\"status\":\"%s\",\"checks\":[],\"version\":\"" INFLUX_VERSION "\",\"commit\":\"\"}\n", why ? "fail" : "pass");
	add_version(r);
	http_reply(r, why ? 503 : 200, HTTP_JSON, b.data, b.len);
	buf_free(&b);
}

static int hex_digit(uint8_t ch)
{
	return ch >= '0' && ch <= '9' ? ch - '0' : ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : ch >= 'A' && ch <= 'F' ? ch - 'A' + 10 : -1;
}

/* One value of application/x-www-form-urlencoded. */
static void decode_value(struct bytes raw, struct buf *out)
{
	for (size_t i = 0; i < raw.n; i++) {
		int high = -1, low = -1;
		if (raw.p[i] == '%' && i + 2 < raw.n) {
			high = hex_digit(raw.p[i + 1]);
			low = hex_digit(raw.p[i + 2]);
		}
		bool coded = high >= 0 && low >= 0;
		int plain = raw.p[i] == '+' ? ' ' : raw.p[i];
		buf_u8(out, (uint8_t)(coded ? high * 16 + low : plain));
		i += coded ? 2 : 0;
	}
}

/* Telegraf sends the statement as a form, others as an argument. */
static void put_statement(const struct http_request *r, struct buf *out)
{
	struct bytes form = http_body(r);
	const char *q = arg_of(r, "q");
	if (q) {
		buf_printf(out, "%s", q);
		return;
	}
	while (form.n) {
		const uint8_t *end = memchr(form.p, '&', form.n);
		size_t n = end ? (size_t)(end - form.p) : form.n;
		if (n >= 2 && form.p[0] == 'q' && form.p[1] == '=') {
			decode_value(bytes_of(form.p + 2, n - 2), out);
			return;
		}
		n += end != NULL;
		form = bytes_of(form.p + n, form.n - n);
	}
}

/* Whether text begins with these two words. */
static bool begins_with(const char *text, const char *first, const char *second)
{
	text += strspn(text, " \t\r\n");
	size_t n = strlen(first), m = strlen(second);
	if (strncasecmp(text, first, n) || !strchr(" \t\r\n", text[n]) || !text[n])
		return false;
	text += n + strspn(text + n, " \t\r\n");
	return !strncasecmp(text, second, m) && (!text[m] || strchr(" \t\r\n;", text[m]));
}

void influx_handle_query(struct http_request *r)
{
	static const char done[] = "{\"results\":[{\"statement_id\":0}]}\n";
	static const char list[] = "{\"results\":[{\"statement_id\":0,\"series\":[{\"name\":\"databases\",\"columns\":[\"name\"],"
				   "\"values\":[[\"weir\"]]}]}]}\n";
	struct buf b = {0};
	put_statement(r, &b);
	const char *q = b.len <= QUERY_MAX ? buf_cstr(&b) : "";
	if (begins_with(q, "CREATE", "DATABASE")) {
		add_version(r);
		http_reply(r, 200, HTTP_JSON, done, sizeof(done) - 1);
	} else if (begins_with(q, "SHOW", "DATABASES")) {
		add_version(r);
		http_reply(r, 200, HTTP_JSON, list, sizeof(list) - 1);
	} else {
		influx_reply_error(INFLUX_1, r, 400, "invalid",
		    "this edge takes writes: InfluxQL is not answered here, but for CREATE DATABASE and SHOW DATABASES", 0);
	}
	buf_free(&b);
}
