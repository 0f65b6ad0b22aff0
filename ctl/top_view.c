#include "ctl/top_view.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/err.h"
#include "ctl/cluster.h"
#include "ctl/deliveries.h"
#include "ctl/printable.h"
#include "ctl/sparkline.h"

#define KEYS "q quit  p pause  s sort  arrows scroll"

static const char *const sort_names[TOP_SORTS] = {"name", "rate", "lag"};

/* What is known of an edge or a version of a stream from look to look. */
struct known {
	char *name;
	double count; /* readings so far; NAN: not known */
	struct sparkline rates;
};

struct known_list {
	struct known *items;
	size_t count;
};

struct top_view {
	struct top_look look; /* the last one that was answered; cluster NULL: none was */
	struct known_list edges, streams;
	char *error;
	int64_t error_since_ns; /* wall */
	enum top_sort sort;
	size_t scroll;
};

/* ---- from look to look ---------------------------------------------------------------------------------------- */

static void look_clear(struct top_look *l)
{
	json_decref(l->cluster);
	json_decref(l->edges);
	json_decref(l->streams);
	json_decref(l->alerts);
	json_decref(l->sinks);
}

static void list_clear(struct known_list *l)
{
	for (size_t i = 0; i < l->count; i++)
		free(l->items[i].name);
	free(l->items);
	*l = (struct known_list){0};
}

struct top_view *top_view_new(void)
{
	return xcalloc(1, sizeof(struct top_view));
}

void top_view_free(struct top_view *v)
{
	if (!v)
		return;
	look_clear(&v->look);
	list_clear(&v->edges);
	list_clear(&v->streams);
	free(v->error);
	free(v);
}

/* They mostly come in the same order again. */
static struct known *find(const struct known_list *l, size_t hint, const char *name)
{
	for (size_t i = 0; i < l->count; i++) {
		struct known *k = &l->items[(hint + i) % l->count];
		if (!strcmp(k->name, name))
			return k;
	}
	return NULL;
}

static double number_of(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);
	return json_is_number(value) ? json_number_value(value) : NAN;
}

/* A counter that fell has begun anew. */
static double rate_of(const struct known *before, double count, double seconds)
{
	return before && seconds > 0 && count >= before->count ? (count - before->count) / seconds : NAN;
}

/* Versions of a stream count by themselves. */
static char *key_of(const json_t *item)
{
	return xasprintf("%s/%lld", ctl_text(item, "name"), (long long)json_integer_value(json_object_get(item, "version")));
}

static void follow(struct known_list *l, const json_t *array, const char *counter, double seconds)
{
	struct known_list now = {.items = xcalloc(json_array_size(array) + 1, sizeof(now.items[0]))};
	size_t i;
	json_t *item;
	json_array_foreach(array, i, item) {
		struct known *k = &now.items[now.count++];
		k->name = key_of(item);
		k->count = number_of(item, counter);
		const struct known *before = find(l, i, k->name);
		if (before)
			k->rates = before->rates;
		sparkline_add(&k->rates, rate_of(before, k->count, seconds));
	}
	list_clear(l);
	*l = now;
}

void top_view_take(struct top_view *v, const struct top_look *look)
{
	double seconds = v->look.cluster ? (double)(look->mono_ns - v->look.mono_ns) / (double)NS_PER_SEC : 0;
	follow(&v->edges, ctl_array(look->edges, "edges"), "accepted", seconds);
	follow(&v->streams, ctl_array(look->streams, "streams"), "merged", seconds);
	look_clear(&v->look);
	v->look = *look;
	json_incref(look->cluster);
	json_incref(look->edges);
	json_incref(look->streams);
	json_incref(look->alerts);
	json_incref(look->sinks);
	free(v->error);
	v->error = NULL;
}

void top_view_fail(struct top_view *v, const char *why, int64_t wall_ns)
{
	if (!v->error)
		v->error_since_ns = wall_ns;
	free(v->error);
	v->error = xstrdup(why);
}

void top_view_sort(struct top_view *v)
{
	v->sort = (v->sort + 1) % TOP_SORTS;
}

void top_view_scroll(struct top_view *v, int lines)
{
	size_t n = (size_t)abs(lines);
	if (lines > 0)
		v->scroll += n;
	else
		v->scroll = v->scroll > n ? v->scroll - n : 0;
}

/* ---- lines ---------------------------------------------------------------------------------------------------- */

enum style { PLAIN, TITLE, WARNING, BAD, FAINT };

struct text_line {
	enum style style;
	char *text;
};

struct lines {
	struct text_line *items;
	size_t count, cap;
	bool ascii;
};

static void lines_free(struct lines *l)
{
	for (size_t i = 0; i < l->count; i++)
		free(l->items[i].text);
	free(l->items);
}

static void add_line(struct lines *l, enum style style, const char *text, size_t len)
{
	if (l->count == l->cap) {
		l->cap = l->cap ? l->cap * 2 : 64;
		l->items = xrealloc(l->items, l->cap * sizeof(l->items[0]));
	}
	struct buf b = {0};
	printable_put(&b, text, len, l->ascii);
	l->items[l->count++] = (struct text_line){style, xstrdup(buf_cstr(&b))};
	buf_free(&b);
}

/* Each line of a text: the first in the first style, the others each in that of its row. */
static void add_text(struct lines *l, struct buf *text, enum style first, const enum style *rows, size_t row_count)
{
	const char *at = buf_cstr(text);
	for (size_t i = 0; *at; i++) {
		size_t n = strcspn(at, "\n");
		add_line(l, i == 0 ? first : rows && i <= row_count ? rows[i - 1] : PLAIN, at, n);
		at += n + (at[n] != 0);
	}
	buf_clear(text);
}

/* ---- edges and streams ---------------------------------------------------------------------------------------- */

struct row {
	const json_t *json;
	const char *name;
	const struct known *known;
	double rate;
	int64_t lag_ns; /* behind the clock; -1: not known */
};

static int compare_names(const void *a, const void *b)
{
	return strcmp(((const struct row *)a)->name, ((const struct row *)b)->name);
}

static int compare_rates(const void *a, const void *b)
{
	double x = ((const struct row *)a)->rate, y = ((const struct row *)b)->rate;
	x = isnan(x) ? -1 : x;
	y = isnan(y) ? -1 : y;
	return x == y ? compare_names(a, b) : x < y ? 1 : -1;
}

static int compare_lags(const void *a, const void *b)
{
	int64_t x = ((const struct row *)a)->lag_ns, y = ((const struct row *)b)->lag_ns;
	return x == y ? compare_names(a, b) : x < y ? 1 : -1;
}

static int64_t behind(const struct top_view *v, const char *watermark)
{
	int64_t t;
	if (!*watermark || time_parse(watermark, v->look.wall_ns, &t))
		return -1;
	return t < v->look.wall_ns ? v->look.wall_ns - t : 0;
}

/* Of the stream that is furthest behind. */
static int64_t edge_lag(const struct top_view *v, const json_t *edge)
{
	int64_t most = -1;
	size_t i;
	json_t *stream;
	json_array_foreach(ctl_array(edge, "streams"), i, stream) {
		int64_t lag = behind(v, ctl_text(stream, "watermark"));
		most = lag > most ? lag : most;
	}
	return most;
}

static struct row *rows_of(const struct top_view *v, const json_t *array, const struct known_list *known, bool edges,
    size_t *ret_count)
{
	static int (*const compare[TOP_SORTS])(const void *, const void *) = {compare_names, compare_rates, compare_lags};
	struct row *rows = xcalloc(json_array_size(array) + 1, sizeof(rows[0]));
	size_t i, n = 0;
	json_t *item;
	json_array_foreach(array, i, item) {
		if (!strcmp(ctl_text(item, "phase"), "retired") || i >= known->count)
			continue;
		const struct known *k = &known->items[i]; /* made of the same array */
		int64_t lag = edges ? edge_lag(v, item) : behind(v, ctl_text(item, "watermark"));
		rows[n++] = (struct row){item, ctl_text(item, "name"), k, sparkline_last(&k->rates), lag};
	}
	qsort(rows, n, sizeof(rows[0]), compare[v->sort]);
	*ret_count = n;
	return rows;
}

static void cell_rate(struct table *t, double rate)
{
	if (isnan(rate))
		table_cell(t, "-");
	else if (rate >= 1e6)
		table_cellf(t, "%.2fM", rate / 1e6);
	else if (rate >= 1e4)
		table_cellf(t, "%.1fk", rate / 1e3);
	else
		table_cellf(t, rate < 10 && rate != floor(rate) ? "%.1f" : "%.0f", rate);
}

static void cell_lag(struct table *t, int64_t lag_ns)
{
	char text[TIME_TEXT_MAX] = "-";
	if (lag_ns >= 0)
		ctl_format_lag(lag_ns, text);
	table_cell(t, text);
}

/* Of a narrow screen it leaves what is beside it room. */
static size_t spark_width(const struct top_screen *s)
{
	return !s->lines || s->columns >= TOP_SPARK_COLUMNS ? TOP_SPARK_WIDTH : TOP_SPARK_NARROW;
}

static void cell_spark(struct table *t, const struct known *k, const struct top_screen *s)
{
	struct buf b = {0};
	sparkline_put(&k->rates, spark_width(s), s->ascii, &b);
	table_cell(t, buf_cstr(&b));
	buf_free(&b);
}

static double sum_of(const json_t *counts)
{
	double sum = 0;
	const char *reason;
	json_t *count;
	json_object_foreach((json_t *)(uintptr_t)counts, reason, count)
		sum += json_number_value(count);
	return sum;
}

static enum style edge_style(const json_t *edge)
{
	const char *state = ctl_text(edge, "state");
	if (json_is_true(json_object_get(edge, "fenced")) || json_is_true(json_object_get(edge, "revoked")) ||
	    !strcmp(state, "partitioned"))
		return BAD;
	if (!strcmp(state, "backpressured") || json_is_true(json_object_get(edge, "clock_suspect")))
		return WARNING;
	return PLAIN;
}

static void put_edge(struct table *t, const struct row *r, const struct top_screen *screen)
{
	struct buf spool = {0};
	const char *notes = json_is_true(json_object_get(r->json, "revoked")) ? "revoked"
	    : json_is_true(json_object_get(r->json, "fenced"))		      ? "fenced"
	    : json_is_true(json_object_get(r->json, "clock_suspect"))	      ? "clock?"
									      : "";
	buf_put_size(&spool, json_number_value(json_object_get(r->json, "spool_bytes")));
	table_cell(t, r->name);
	table_cell(t, ctl_text(r->json, "state"));
	cell_lag(t, r->lag_ns);
	table_cell(t, buf_cstr(&spool));
	cell_rate(t, r->rate);
	cell_spark(t, r->known, screen);
	table_cellf(t, "%.0f", sum_of(json_object_get(r->json, "refused")));
	table_cell(t, notes);
	buf_free(&spool);
}

static void put_stream(struct table *t, const struct row *r, const struct top_screen *screen)
{
	const char *phase = ctl_text(r->json, "phase");
	table_cell(t, r->name);
	cell_rate(t, r->rate);
	cell_spark(t, r->known, screen);
	cell_lag(t, r->lag_ns);
	ctl_cell(t, json_object_get(r->json, "watermark"), 0, "-");
	ctl_cell(t, json_object_get(r->json, "groups"), 0, "-");
	table_cellf(t, "%.0f", sum_of(json_object_get(r->json, "dropped")));
	table_cell(t, !strcmp(phase, "current") ? "" : phase);
}

struct column_def {
	const char *title;
	bool right;
};

static void add_rows(struct top_view *v, bool edges, const struct top_screen *screen, struct lines *l)
{
	static const struct column_def edge_columns[] = {{"edge", false}, {"state", false}, {"lag", true}, {"spool", true},
	    {"readings/s", true}, {"", false}, {"refused", true}, {"", false}};
	static const struct column_def stream_columns[] = {{"stream", false}, {"readings/s", true}, {"", false}, {"lag", true},
	    {"watermark", false}, {"groups", true}, {"dropped", true}, {"", false}};
	const json_t *json = edges ? v->look.edges : v->look.streams;
	const char *what = edges ? "edges" : "streams";
	struct table *t = table_new(false);
	struct buf text = {0};
	size_t count = 0;
	struct row *rows = rows_of(v, ctl_array(json, what), edges ? &v->edges : &v->streams, edges, &count);
	enum style *styles = xcalloc(count + 1, sizeof(styles[0]));
	for (size_t i = 0; i < 8; i++)
		table_column(t, edges ? edge_columns[i].title : stream_columns[i].title,
		    edges ? edge_columns[i].right : stream_columns[i].right);
	for (size_t i = 0; i < count; i++) {
		(edges ? put_edge : put_stream)(t, &rows[i], screen);
		styles[i] = edges ? edge_style(rows[i].json) : PLAIN;
	}
	table_flush(t, &text);
	if (!json) {
		buf_clear(&text);
		buf_printf(&text, "%s: not known now", what);
	}
	add_text(l, &text, json ? TITLE : WARNING, styles, count);
	add_line(l, PLAIN, "", 0);
	table_free(t);
	buf_free(&text);
	free(rows);
	free(styles);
}

/* ---- the whole ------------------------------------------------------------------------------------------------ */

static void add_alert(const json_t *a, struct lines *l)
{
	struct buf b = {0};
	const char *state = ctl_text(a, "state");
	const json_t *group = json_object_get(a, "group");
	buf_printf(&b, "ALERT %s %s: %s of %s since %s", state, ctl_text(a, "name"), ctl_text(a, "when"), ctl_text(a, "stream"),
	    ctl_text(a, "since"));
	if (json_object_size(group)) {
		buf_printf(&b, ", ");
		ctl_put_cell(&b, group, 0, "");
	}
	add_line(l, !strcmp(state, "firing") ? BAD : WARNING, buf_cstr(&b), b.len);
	buf_free(&b);
}

/* Adds those that fire, or those that do not, while there is room; how many there are of them. */
static size_t add_alerts_that(const json_t *alerts, bool fire, size_t *shown, struct lines *l)
{
	size_t i, count = 0;
	json_t *a;
	json_array_foreach(alerts, i, a) {
		if (!strcmp(ctl_text(a, "state"), "firing") != fire)
			continue;
		count++;
		if (*shown == TOP_ALERTS_SHOWN_MAX)
			continue;
		++*shown;
		add_alert(a, l);
	}
	return count;
}

/* The page that was asked for may not be all. */
static void add_alerts(const struct top_view *v, struct lines *l)
{
	const json_t *alerts = ctl_array(v->look.alerts, "alerts");
	size_t shown = 0;
	size_t firing = add_alerts_that(alerts, true, &shown, l), pending = add_alerts_that(alerts, false, &shown, l);
	bool more = *ctl_text(v->look.alerts, "next");
	struct buf b = {0};
	if (firing + pending > shown || more) {
		buf_printf(&b, "%s%zu alerts fire, %zu are pending: weirctl alerts", more ? "more than " : "", firing, pending);
		add_line(l, firing ? BAD : WARNING, buf_cstr(&b), b.len);
	}
	buf_free(&b);
}

/* A table with a line for each of rows: bad ones are those in this state, or in any other one. */
static void add_states(struct lines *l, struct buf *table, const json_t *rows, const char *state, bool bad)
{
	enum style *styles = xcalloc(json_array_size(rows) + 1, sizeof(styles[0]));
	size_t i;
	json_t *row;
	json_array_foreach(rows, i, row)
		styles[i] = !strcmp(ctl_text(row, "state"), state) == bad ? BAD : PLAIN;
	add_text(l, table, TITLE, styles, json_array_size(rows));
	add_line(l, PLAIN, "", 0);
	free(styles);
}

static void add_cluster(struct top_view *v, struct lines *l)
{
	struct ctl as_text = {.format = FORMAT_TABLE};
	struct buf b = {0};
	cluster_put_health(v->look.cluster, &b);
	cluster_put_shards(v->look.cluster, &b);
	add_text(l, &b, PLAIN, NULL, 0);
	add_line(l, PLAIN, "", 0);
	cluster_put_nodes(&as_text, v->look.cluster, &b);
	add_states(l, &b, ctl_array(v->look.cluster, "nodes"), "up", false);
	buf_free(&b);
}

/* Nothing where there are none: most clusters have none. */
static void add_sinks(const struct top_view *v, struct lines *l)
{
	struct ctl as_text = {.format = FORMAT_TABLE};
	struct buf b = {0};
	const json_t *sinks = ctl_array(v->look.sinks, "sinks");
	if (!json_array_size(sinks))
		return;
	deliveries_put(&as_text, v->look.sinks, &b);
	add_states(l, &b, sinks, "failing", true);
	buf_free(&b);
}

static void add_head(const struct top_view *v, bool paused, struct lines *l)
{
	char now[TIME_TEXT_MAX], since[TIME_TEXT_MAX];
	struct buf b = {0};
	time_format(v->look.wall_ns / NS_PER_SEC * NS_PER_SEC, now);
	time_format(v->error_since_ns / NS_PER_SEC * NS_PER_SEC, since);
	buf_printf(&b, "weir top  %s  %s  sorted by %s%s", ctl_text(v->look.cluster, "name"), v->look.cluster ? now : "no answer yet",
	    sort_names[v->sort], paused ? "  PAUSED" : "");
	add_line(l, TITLE, buf_cstr(&b), b.len);
	buf_clear(&b);
	if (v->error) {
		buf_printf(&b, "no news since %s: %s", since, v->error);
		add_line(l, BAD, buf_cstr(&b), b.len);
	}
	buf_free(&b);
}

static const char *sgr(enum style style)
{
	switch (style) {
	case PLAIN:
		return "";
	case TITLE:
		return "\033[1m";
	case WARNING:
		return "\033[33m";
	case BAD:
		return "\033[1;31m";
	case FAINT:
		return "\033[2m";
	}
	return "";
}

/* A line that fills its columns is erased before: behind it the cursor stands on its last character. */
static void put_line(const struct text_line *line, const struct top_screen *s, struct buf *out)
{
	size_t n = s->lines ? printable_cut(line->text, s->columns) : strlen(line->text);
	while (!s->lines && n && line->text[n - 1] == ' ')
		n--;
	bool styled = s->lines && s->colour && line->style != PLAIN;
	bool fills = s->lines && printable_width(line->text) >= s->columns;
	if (fills)
		buf_printf(out, "\033[K");
	if (styled)
		buf_printf(out, "%s", sgr(line->style));
	buf_put(out, line->text, n);
	if (styled)
		buf_printf(out, "\033[0m");
	if (!fills)
		buf_printf(out, s->lines ? "\033[K" : "\n");
}

/* The head stays, the rest is scrolled, the last line tells the keys. */
static void put_screen(struct top_view *v, const struct lines *head, const struct lines *body, const struct top_screen *s,
    struct buf *out)
{
	size_t top = head->count < s->lines ? head->count : s->lines;
	size_t room = s->lines > top + 1 ? s->lines - top - 1 : 0;
	size_t furthest = body->count > room ? body->count - room : 0;
	v->scroll = v->scroll < furthest ? v->scroll : furthest;
	char foot[128] = KEYS;
	if (furthest)
		snprintf(foot, sizeof(foot), "lines %zu to %zu of %zu  " KEYS, v->scroll + 1, v->scroll + room, body->count);
	struct text_line keys = {FAINT, foot}, none = {PLAIN, (char *)(uintptr_t) ""};
	buf_printf(out, "\033[H");
	for (size_t i = 0; i < s->lines; i++) {
		bool last = i + 1 == s->lines && i >= top;
		size_t at = v->scroll + (i - top);
		put_line(i < top ? &head->items[i] : last ? &keys : at < body->count ? &body->items[at] : &none, s, out);
		if (i + 1 < s->lines)
			buf_printf(out, "\r\n");
	}
}

void top_view_put(struct top_view *v, const struct top_screen *screen, bool paused, struct buf *out)
{
	struct lines head = {.ascii = screen->ascii}, body = {.ascii = screen->ascii};
	add_head(v, paused, &head);
	add_alerts(v, &head);
	if (v->look.cluster) {
		add_cluster(v, &body);
		add_rows(v, true, screen, &body);
		add_rows(v, false, screen, &body);
		add_sinks(v, &body);
	}
	if (screen->lines) {
		put_screen(v, &head, &body, screen, out);
	} else {
		for (size_t i = 0; i < head.count; i++)
			put_line(&head.items[i], screen, out);
		for (size_t i = 0; i + 1 < body.count; i++)
			put_line(&body.items[i], screen, out);
	}
	lines_free(&head);
	lines_free(&body);
}
