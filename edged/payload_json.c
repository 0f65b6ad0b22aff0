#include "edged/payload_json.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/json_path.h"
#include "common/line.h"

struct named_path {
	const char *name;
	struct json_path path;
};

struct payload_json {
	const struct payload_conf *conf;
	struct json_path readings, time; /* where conf has them */
	struct named_path *fields, *tags;
	size_t field_count, tag_count;
};

/* One document while it is read. */
struct document {
	struct payload_json *json;
	json_t *root;
	struct buf *out;
	payload_refuse_fn *refuse;
	void *arg;
	size_t made; /* bytes of text so far, kept or not */
};

/* ---- paths ------------------------------------------------------------------------------------------------------ */

static void compile(const char *text, struct json_path *ret)
{
	const char *why;
	weir_assert(!json_path_parse(text, ret, &why)); /* topology.yaml was checked */
}

static struct named_path *compile_all(const struct model_tag *paths, size_t count)
{
	struct named_path *all = xcalloc(count + 1, sizeof(*all));
	for (size_t i = 0; i < count; i++) {
		all[i].name = paths[i].key;
		compile(paths[i].value, &all[i].path);
	}
	return all;
}

struct payload_json *payload_json_new(const struct payload_conf *conf)
{
	struct payload_json *j = xcalloc(1, sizeof(*j));
	struct model_tag single = {conf->field, conf->value};
	j->conf = conf;
	j->field_count = conf->value ? 1 : conf->field_count;
	j->fields = compile_all(conf->value ? &single : conf->fields, j->field_count);
	j->tag_count = conf->tag_count;
	j->tags = compile_all(conf->tags, j->tag_count);
	if (conf->readings)
		compile(conf->readings, &j->readings);
	if (conf->time)
		compile(conf->time, &j->time);
	return j;
}

static void free_all(struct named_path *paths, size_t count)
{
	for (size_t i = 0; i < count; i++)
		json_path_clear(&paths[i].path);
	free(paths);
}

void payload_json_free(struct payload_json *j)
{
	if (!j)
		return;
	json_path_clear(&j->readings);
	json_path_clear(&j->time);
	free_all(j->fields, j->field_count);
	free_all(j->tags, j->tag_count);
	free(j);
}

/* What is there, or NULL; a null counts as nothing. */
static json_t *find(const struct document *d, json_t *reading, const struct json_path *p)
{
	json_t *at = p->from_document ? d->root : reading;
	for (size_t i = 0; i < p->count && at; i++)
		at = p->steps[i].key ? json_object_get(at, p->steps[i].key) : json_array_get(at, p->steps[i].index);
	return json_is_null(at) ? NULL : at;
}

/* ---- values ----------------------------------------------------------------------------------------------------- */

static struct bytes text_of(const json_t *v)
{
	return bytes_of((const uint8_t *)json_string_value(v), json_string_length(v));
}

static void put_key(struct buf *out, const char *name)
{
	line_put_key(out, bytes_of((const uint8_t *)name, strlen(name)));
}

/* A number, a truth, or a text that is a number; false: none of these. */
static bool put_value(struct buf *out, const json_t *v)
{
	if (json_is_integer(v))
		buf_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
	else if (json_is_real(v))
		line_put_float(out, json_real_value(v));
	else if (json_is_boolean(v))
		buf_u8(out, json_is_true(v) ? 't' : 'f');
	else if (json_is_string(v) && payload_is_number(text_of(v)))
		buf_put(out, json_string_value(v), json_string_length(v));
	else
		return false;
	return true;
}

/* NULL, or why not. */
static const char *put_fields(const struct document *d, json_t *reading)
{
	size_t put = 0;
	for (size_t i = 0; i < d->json->field_count; i++) {
		const struct named_path *f = &d->json->fields[i];
		json_t *v = find(d, reading, &f->path);
		if (!v)
			continue;
		buf_u8(d->out, put++ ? ',' : ' ');
		put_key(d->out, f->name);
		buf_u8(d->out, '=');
		if (!put_value(d->out, v))
			return PAYLOAD_BAD_NUMBER;
	}
	return put ? NULL : PAYLOAD_NO_VALUE;
}

/* ---- tags ------------------------------------------------------------------------------------------------------- */

static bool put_tag_value(struct buf *out, const json_t *v)
{
	if (json_is_string(v) && json_string_length(v) > LINE_BYTES_MAX)
		return false;
	if (json_is_string(v))
		line_put_key(out, text_of(v));
	else if (json_is_object(v) || json_is_array(v))
		return false;
	else if (json_is_boolean(v))
		buf_printf(out, "%s", json_is_true(v) ? "true" : "false");
	else
		return put_value(out, v);
	return true;
}

/* before: where its line begins. */
static const char *put_tags(const struct document *d, json_t *reading, size_t before)
{
	for (size_t i = 0; i < d->json->tag_count; i++) {
		const struct named_path *t = &d->json->tags[i];
		json_t *v = find(d, reading, &t->path);
		if (!v || (json_is_string(v) && !json_string_length(v)))
			continue;
		buf_u8(d->out, ',');
		put_key(d->out, t->name);
		buf_u8(d->out, '=');
		if (!put_tag_value(d->out, v))
			return json_is_string(v) ? PAYLOAD_TOO_BIG : PAYLOAD_BAD;
		if (d->out->len - before > LINE_BYTES_MAX)
			return PAYLOAD_TOO_BIG;
	}
	return NULL;
}

/* ---- time ------------------------------------------------------------------------------------------------------- */

static bool in_range(int64_t t_ns)
{
	return t_ns >= TIME_MIN_NS && t_ns <= TIME_MAX_NS;
}

static bool integer_time(int64_t t, int64_t unit_ns, int64_t *ret_ns)
{
	return !__builtin_mul_overflow(t, unit_ns, ret_ns) && in_range(*ret_ns);
}

/* A double has 53 bits: of seconds since 1970 it knows the microsecond, not the nanosecond, so that is what it is rounded to. */
static bool real_time(double t, int64_t unit_ns, int64_t *ret_ns)
{
	double us = t * ((double)unit_ns / 1000);
	if (!(fabs(us) < (double)TIME_MAX_NS / 1000))
		return false;
	*ret_ns = llround(us) * 1000;
	return in_range(*ret_ns);
}

static bool text_time(const char *text, int64_t unit_ns, int64_t *ret_ns)
{
	char *end;
	if (strspn(text, "0123456789") == 4 && text[4] == '-')
		return !time_parse(text, 0, ret_ns) && in_range(*ret_ns);
	if (!payload_is_number(bytes_of((const uint8_t *)text, strlen(text))))
		return false;
	long long whole = strtoll(text, &end, 10);
	if (!*end)
		return integer_time(whole, unit_ns, ret_ns);
	double t = strtod(text, &end);
	return !*end && real_time(t, unit_ns, ret_ns);
}

static const char *put_time(const struct document *d, json_t *reading)
{
	int64_t unit_ns = d->json->conf->unit_ns ? d->json->conf->unit_ns : NS_PER_SEC, t_ns = 0;
	if (!d->json->conf->time)
		return NULL;
	json_t *v = find(d, reading, &d->json->time);
	bool fine = v && (json_is_integer(v) ? integer_time(json_integer_value(v), unit_ns, &t_ns)
			     : json_is_real(v) ? real_time(json_real_value(v), unit_ns, &t_ns)
					       : json_is_string(v) && text_time(json_string_value(v), unit_ns, &t_ns));
	if (!fine)
		return PAYLOAD_BAD_TIME;
	buf_printf(d->out, " %" PRId64, t_ns);
	return NULL;
}

/* ---- readings --------------------------------------------------------------------------------------------------- */

static const char *put_reading(const struct document *d, json_t *reading)
{
	const char *measurement = d->json->conf->measurement;
	size_t before = d->out->len;
	line_put_measurement(d->out, bytes_of((const uint8_t *)measurement, strlen(measurement)));
	const char *reason = put_tags(d, reading, before);
	if (!reason)
		reason = put_fields(d, reading);
	return reason ? reason : put_time(d, reading);
}

static void read_one(struct document *d, json_t *reading)
{
	size_t before = d->out->len;
	const char *reason = d->made > PAYLOAD_TEXT_MAX ? PAYLOAD_TOO_BIG : put_reading(d, reading);
	d->made += d->out->len - before;
	if (!reason) {
		buf_u8(d->out, '\n');
		return;
	}
	d->out->len = before;
	d->refuse(d->arg, reason, "in the JSON");
}

static void read_all(struct document *d, json_t *readings)
{
	size_t count = json_array_size(readings);
	if (!json_is_array(readings)) {
		read_one(d, readings);
		return;
	}
	if (count > PAYLOAD_READINGS_MAX) {
		d->refuse(d->arg, PAYLOAD_TOO_MANY, "more than 10000 readings");
		return;
	}
	for (size_t i = 0; i < count; i++)
		read_one(d, json_array_get(readings, i));
}

void payload_json_read(struct payload_json *j, struct bytes payload, struct buf *out, payload_refuse_fn *refuse, void *arg)
{
	json_error_t error;
	while (payload.n && !payload.p[payload.n - 1])
		payload.n--; /* a C program's NUL */
	if (!payload.n) {
		refuse(arg, PAYLOAD_BAD, "empty");
		return;
	}
	json_t *root = json_loadb((const char *)payload.p, payload.n, JSON_DECODE_ANY, &error);
	if (!root) {
		refuse(arg, PAYLOAD_BAD, error.text);
		return;
	}
	struct document d = {j, root, out, refuse, arg, 0};
	json_t *readings = j->conf->readings ? find(&d, root, &j->readings) : root;
	if (readings)
		read_all(&d, readings);
	else
		refuse(arg, PAYLOAD_NO_VALUE, "nothing at the path of `readings`");
	json_decref(root);
}
