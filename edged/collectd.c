#include "edged/collectd.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include <jansson.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/line.h"

#define TIME_MAX_S ((double)(TIME_MAX_NS / NS_PER_SEC))

static struct bytes text_of(const json_t *list, const char *key)
{
	const json_t *v = json_object_get(list, key);
	return json_is_string(v) ? bytes_of((const uint8_t *)json_string_value(v), json_string_length(v)) : bytes_of(NULL, 0);
}

static void put_tag(struct buf *out, const json_t *list, const char *key)
{
	struct bytes value = text_of(list, key);
	if (!value.n)
		return;
	buf_printf(out, ",%s=", key);
	line_put_key(out, value);
}

/* How many of its values are numbers; those are appended. */
static size_t put_values(struct buf *out, const json_t *names, const json_t *values)
{
	size_t n = 0;
	for (size_t i = 0; i < json_array_size(values); i++) {
		const json_t *value = json_array_get(values, i), *name = json_array_get(names, i);
		if (!json_is_number(value))
			continue;
		buf_u8(out, n++ ? ',' : ' ');
		line_put_key(out, bytes_of((const uint8_t *)json_string_value(name), json_string_length(name)));
		buf_u8(out, '=');
		line_put_float(out, json_number_value(value));
	}
	return n;
}

/* NULL, or what is wrong. */
static const char *find_fault(const json_t *list)
{
	const json_t *names = json_object_get(list, "dsnames"), *values = json_object_get(list, "values");
	double time_s = json_number_value(json_object_get(list, "time"));
	if (!json_is_object(list))
		return "not a value list";
	if (!text_of(list, "plugin").n)
		return "without a plugin";
	if (!(time_s > 0 && time_s < TIME_MAX_S))
		return "without a time";
	if (!json_is_array(values) || !json_is_array(names) || json_array_size(names) != json_array_size(values))
		return "values and dsnames are not lists of the same length";
	if (json_array_size(values) > LINE_FIELDS_MAX)
		return "too many values";
	for (size_t i = 0; i < json_array_size(values); i++) {
		const json_t *value = json_array_get(values, i), *name = json_array_get(names, i);
		if (!json_is_string(name) || !json_string_length(name))
			return "a dsname is not a text";
		if (!json_is_number(value) && !json_is_null(value))
			return "a value is not a number";
	}
	return NULL;
}

/* False: it has no number. */
static bool put_line(struct buf *out, const json_t *list)
{
	static const char *const tags[] = {"host", "plugin_instance", "type", "type_instance"};
	size_t before = out->len;
	line_put_measurement(out, text_of(list, "plugin"));
	for (size_t i = 0; i < sizeof(tags) / sizeof(tags[0]); i++)
		put_tag(out, list, tags[i]);
	if (!put_values(out, json_object_get(list, "dsnames"), json_object_get(list, "values"))) {
		out->len = before;
		return false;
	}
	/* It writes milliseconds. */
	long long ms = llround(json_number_value(json_object_get(list, "time")) * 1000);
	buf_printf(out, " %lld000000\n", ms);
	return true;
}

int collectd_put_lines(struct bytes body, struct buf *out, struct influx_refusals *refused, struct collectd_counts *ret_counts,
    struct buf *why)
{
	json_error_t error;
	json_t *root = json_loadb((const char *)body.p, body.n, 0, &error);
	*ret_counts = (struct collectd_counts){0};
	if (!root || !json_is_array(root)) {
		if (root)
			buf_printf(why, "not a list of value lists in JSON (collectd: Format \"JSON\")");
		else
			buf_printf(why, "not JSON: line %d, column %d: %s", error.line, error.column, error.text);
		json_decref(root);
		return WEIR_EINVAL;
	}
	for (size_t i = 0; i < json_array_size(root); i++) {
		const json_t *list = json_array_get(root, i);
		const char *fault = find_fault(list);
		if (fault)
			influx_refuse(refused, i + 1, fault, text_of(list, "plugin"));
		else if (put_line(out, list))
			ret_counts->lists++;
		else
			ret_counts->empty++;
	}
	json_decref(root);
	return 0;
}
