/* Answers of the cloud: fetched, decoded, shown. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/line.h"
#include "ctl/ctl.h"
#include "ctl/http_client.h"

void ctl_put_api_error(long status, const struct buf *body, struct buf *out)
{
	json_t *json = json_loadb((const char *)body->data, body->len, 0, NULL);
	const json_t *error = json_object_get(json, "error");
	const char *code = ctl_text(error, "code"), *message = ctl_text(error, "message");
	if (*code || *message)
		buf_printf(out, "%s%s%s", code, *code && *message ? ": " : "", message);
	else
		buf_printf(out, "HTTP status %ld", status);
	if (status == 401)
		buf_printf(out, "; send one with --token-file FILE");
	json_decref(json);
}

int ctl_get(struct ctl *ctl, const char *path, json_t **ret_json, struct buf *ret_raw)
{
	struct http_answer answer;
	struct buf why = {0};
	int result = EXIT_FAILED;
	if (http_client_request(ctl->http, "GET", path, (struct bytes){0}, &answer, &why)) {
		ctl_error("%s", buf_cstr(&why));
		buf_free(&why);
		return result;
	}
	json_t *json = NULL;
	if (answer.status != 200) {
		ctl_put_api_error(answer.status, &answer.body, &why);
		ctl_error("%s", buf_cstr(&why));
	} else if (!(json = json_loadb((const char *)answer.body.data, answer.body.len, 0, NULL))) {
		ctl_error("%s%s: the answer is not JSON", http_client_url(ctl->http), path);
	} else {
		*ret_json = json;
		result = 0;
	}
	if (!result && ret_raw)
		*ret_raw = answer.body;
	else
		buf_free(&answer.body);
	buf_free(&why);
	return result;
}

static void put_number(struct buf *b, const json_t *value, int digits)
{
	if (json_is_integer(value))
		buf_printf(b, "%lld", (long long)json_integer_value(value));
	else if (digits)
		buf_printf(b, "%.*g", digits, json_real_value(value));
	else
		line_put_float(b, json_real_value(value));
}

void ctl_put_cell(struct buf *b, const json_t *value, int digits, const char *none)
{
	const char *key;
	json_t *v;
	size_t start = b->len;
	switch (value ? json_typeof(value) : JSON_NULL) {
	case JSON_STRING:
		buf_put(b, json_string_value(value), json_string_length(value));
		return;
	case JSON_INTEGER:
	case JSON_REAL:
		put_number(b, value, digits);
		return;
	case JSON_TRUE:
		buf_put(b, "true", 4);
		return;
	case JSON_FALSE:
		buf_put(b, "false", 5);
		return;
	case JSON_OBJECT:
		json_object_foreach((json_t *)(uintptr_t)value, key, v) {
			buf_printf(b, "%s%s=", b->len > start ? " " : "", key);
			if (json_is_number(v))
				put_number(b, v, digits);
			else
				buf_printf(b, "%s", json_is_string(v) ? json_string_value(v) : json_is_null(v) ? "null" : "?");
		}
		break;
	case JSON_ARRAY: {
		size_t i;
		json_array_foreach(value, i, v) {
			buf_printf(b, "%s%s", i ? " " : "", json_is_string(v) ? json_string_value(v) : "?");
		}
		break;
	}
	case JSON_NULL:
		break;
	}
	if (b->len == start)
		buf_printf(b, "%s", none);
}

void ctl_cell(struct table *t, const json_t *value, int digits, const char *none)
{
	struct buf b = {0};
	ctl_put_cell(&b, value, digits, none);
	table_cell(t, buf_cstr(&b));
	buf_free(&b);
}

json_t *ctl_array(const json_t *object, const char *key)
{
	json_t *array = json_object_get(object, key);
	return json_is_array(array) ? array : NULL;
}

const char *ctl_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));
	return text ? text : "";
}

void ctl_print(struct buf *b)
{
	if (b->len)
		fwrite(b->data, 1, b->len, stdout);
	fflush(stdout);
	buf_clear(b);
}

void ctl_format_lag(int64_t ns, char out[TIME_TEXT_MAX])
{
	int64_t unit = ns >= 2 * 86400 * NS_PER_SEC ? 86400 * NS_PER_SEC
	    : ns >= 2 * 3600 * NS_PER_SEC	    ? 3600 * NS_PER_SEC
						    : NS_PER_SEC;
	duration_format(ns < 0 ? 0 : ns / unit * unit, out);
}
