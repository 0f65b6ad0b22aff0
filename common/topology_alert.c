/* Alerts of a stream: one map or a list of them, each a condition over what the stream computes
 * (docs/alerts.md). */
#include <stdlib.h>
#include <string.h>

#include "common/condition.h"
#include "common/err.h"
#include "common/topology_parts.h"

#define FIELDS(table) (table), sizeof(table) / sizeof((table)[0])
#define SEVERITY_BYTES_MAX 64
#define SUMMARY_BYTES_MAX 512

static void read_when(struct conf *c, const struct conf_node *value, void *object)
{
	struct alert_conf *a = object;
	const char *text;
	a->line = value->parent->line;
	if (conf_text(c, value, CONDITION_BYTES_MAX, &text))
		a->when = xstrdup(text); /* what it means needs the whole stream: topology_check_alerts() */
}

/* "2 windows", "1 window", "2": the number, or 0. */
static uint32_t windows_of(const char *text)
{
	uint32_t n = 0;
	for (; *text >= '0' && *text <= '9' && n <= ALERT_WINDOWS_MAX; text++)
		n = n * 10 + (uint32_t)(*text - '0');
	text += strspn(text, " ");
	bool fine = (!*text || !strcmp(text, "windows") || !strcmp(text, "window")) && n <= ALERT_WINDOWS_MAX;
	return fine ? n : 0;
}

static void read_for(struct conf *c, const struct conf_node *value, void *object)
{
	const char *text;
	if (!conf_text(c, value, TAG_BYTES_MAX, &text))
		return;
	uint32_t n = windows_of(text);
	if (n)
		((struct alert_conf *)object)->for_windows = n;
	else
		conf_error(c, value, "%s: expected a number of windows in a row, `2 windows` for example: 1 to %d",
		    conf_quote(c, text), ALERT_WINDOWS_MAX);
}

static void read_to(struct conf *c, const struct conf_node *value, void *object)
{
	struct alert_conf *a = object;
	if (value->type == CONF_LIST && !value->count)
		return; /* it is told of by GET /api/v1/alerts alone */
	topology_read_texts(c, value, SINKS_MAX, NAME_MAX_BYTES, &a->to);
}

static void alert_defaults(void *object)
{
	((struct alert_conf *)object)->for_windows = 1;
}

static const struct conf_field alert_fields[] = {
    {.key = "name", .kind = CONF_KIND_NAME, .offset = offsetof(struct alert_conf, name)},
    {.key = "when", .kind = CONF_KIND_CUSTOM, .required = true, .read = read_when},
    {.key = "for", .kind = CONF_KIND_CUSTOM, .read = read_for},
    {.key = "to", .kind = CONF_KIND_CUSTOM, .read = read_to},
    {.key = "severity", .kind = CONF_KIND_TEXT, .offset = offsetof(struct alert_conf, severity), .max = SEVERITY_BYTES_MAX},
    {.key = "summary", .kind = CONF_KIND_TEXT, .offset = offsetof(struct alert_conf, summary), .max = SUMMARY_BYTES_MAX},
};
static const struct conf_schema alert_schema = {sizeof(struct alert_conf), FIELDS(alert_fields), alert_defaults, NULL, NULL};

void alert_conf_clear(struct alert_conf *a)
{
	free(a->name);
	free(a->when);
	condition_free(a->condition);
	topology_clear_texts(&a->to);
	free(a->severity);
	free(a->summary);
	*a = (struct alert_conf){0};
}

/* One element per item, zeroed where the item is no map, so that both can be gone through together. */
void topology_read_alerts(struct conf *c, const struct conf_node *value, void *object)
{
	struct stream_conf *s = object;
	if (value->type == CONF_MAP) {
		s->alerts = xcalloc(1, sizeof(*s->alerts));
		conf_read(c, value, &alert_schema, &s->alerts[s->alert_count++]);
		return;
	}
	if (!conf_expect(c, value, CONF_LIST))
		return;
	if (value->count < 1 || value->count > ALERTS_MAX) {
		conf_error(c, value, "expected 1 to %d alerts, found %zu", ALERTS_MAX, value->count);
		return;
	}
	s->alerts = xcalloc(value->count, sizeof(*s->alerts));
	for (const struct conf_node *v = value->first; v; v = v->next)
		conf_read(c, v, &alert_schema, &s->alerts[s->alert_count++]);
}

const struct conf_node *topology_alert_node(const struct conf_node *stream)
{
	const struct conf_node *alert = conf_get(stream, "alert");
	return alert && alert->type == CONF_LIST ? alert->first : alert;
}

/* ---- what needs the whole stream
 * --------------------------------------------------------------------------- */

static void default_name(struct conf *c, const struct conf_node *item, const struct stream_conf *s, struct alert_conf *a)
{
	if (item->parent->type == CONF_LIST)
		a->name = xasprintf("%s-%zu", s->name, item->index + 1);
	else
		a->name = xstrdup(s->name);
	if (!name_valid(a->name))
		conf_error(c, item, "the stream's name leaves no room for %s: give the alert a `name`", conf_quote(c, a->name));
}

static void check_condition(struct conf *c, const struct conf_node *item, const struct stream_conf *s, struct alert_conf *a)
{
	size_t column;
	char *why;
	if (!condition_parse(a->when, s, &a->condition, &column, &why))
		return;
	conf_error_within(c, conf_get(item, "when"), column, "%s", why);
	free(why);
}

void topology_check_alerts(struct conf *c, const struct conf_node *stream, struct stream_conf *s)
{
	const struct conf_node *item = topology_alert_node(stream);
	for (size_t i = 0; i < s->alert_count; i++, item = item->next) {
		struct alert_conf *a = &s->alerts[i];
		if (item->type != CONF_MAP)
			continue;
		if (!conf_get(item, "name") && s->name)
			default_name(c, item, s, a);
		if (a->when)
			check_condition(c, item, s, a);
	}
}

/* ---- what needs the whole file
 * ----------------------------------------------------------------------------- */

static void refuse_sink(struct conf *c, const struct conf_node *node, const char *name, const struct topology *t)
{
	const char *names[SINKS_MAX];
	size_t n = 0;
	for (size_t i = 0; i < t->sink_count && n < SINKS_MAX; i++) {
		if (t->sinks[i].name)
			names[n++] = t->sinks[i].name;
	}
	const char *meant = conf_error_count(c) < CONF_ERRORS_MAX ? conf_suggest(name, names, n) : NULL;
	if (meant)
		conf_error(c, node, "no sink is called %s; did you mean `%s`?", conf_quote(c, name), meant);
	else
		conf_error(c, node, "no sink is called %s", conf_quote(c, name));
}

static bool is_listed_before(const struct conf_node *node)
{
	const struct conf_node *v = node->key ? node : node->parent->first;
	while (v != node && (v->type != CONF_SCALAR || strcmp(v->text, node->text)))
		v = v->next;
	return v != node;
}

static void check_sink(struct conf *c, const struct conf_node *node, const struct topology *t)
{
	int sink = topology_sink(t, node->text);
	if (sink < 0)
		refuse_sink(c, node, node->text, t);
	else if (is_listed_before(node))
		conf_error(c, node, "%s is listed twice", conf_quote(c, node->text));
	else if (!sink_takes_alerts(&t->sinks[sink]))
		conf_error(c, node, "%s cannot tell of alerts: it writes %s", conf_quote(c, node->text),
		    t->sinks[sink].type == SINK_FILE ? "csv" : "rows alone");
}

static void check_sinks_of(struct conf *c, const struct conf_node *item, const struct topology *t)
{
	const struct conf_node *to = conf_get(item, "to");
	for (const struct conf_node *v = to && to->type == CONF_LIST ? to->first : to; v; v = v == to ? NULL : v->next) {
		if (v->type == CONF_SCALAR && *v->text)
			check_sink(c, v, t);
	}
}

void topology_check_alert_sinks(struct conf *c, const struct conf_node *root, const struct topology *t)
{
	const struct conf_node *list = conf_get(root, "streams");
	const struct conf_node *stream = list && list->type == CONF_LIST ? list->first : NULL;
	for (size_t i = 0; i < t->stream_count && stream; i++, stream = stream->next) {
		const struct conf_node *item = topology_alert_node(stream);
		for (size_t k = 0; k < t->streams[i].alert_count; k++, item = item->next)
			check_sinks_of(c, item, t);
	}
}

bool topology_alerts_to(const struct topology *t, const char *sink)
{
	for (size_t i = 0; i < t->stream_count; i++) {
		for (size_t k = 0; k < t->streams[i].alert_count; k++) {
			if (alert_goes_to(&t->streams[i].alerts[k], sink))
				return true;
		}
	}
	return false;
}

bool alert_goes_to(const struct alert_conf *a, const char *sink)
{
	for (size_t i = 0; i < a->to.count; i++) {
		if (!strcmp(a->to.items[i], sink))
			return true;
	}
	return false;
}
