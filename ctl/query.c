/* query: rows of window results, page by page. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/model.h"
#include "ctl/ctl.h"
#include "ctl/http_client.h"
#include "ctl/query.h"
#include "ctl/rows.h"

static const struct arg_option options[] = {
	{"from", 0, "TIME", false, "first window start (2015-09-01T11:25:00Z, seconds, now, -1h); default: all"},
	{"to", 0, "TIME", false, "window starts before this"},
	{"window", 'w', "DURATION", false, "tumbling windows of this length; default: the stream's own"},
	{"by", 'b', "TAG,...", false, "group by these tags of the stream; \"\": one total; default: all"},
	{"where", 0, "TAG=VALUE", true, "only these groups; repeats: AND between tags, OR within one"},
	{"select", 's', "FN,...", false, "count, mean, p99 ...; default: all that the stream computes"},
	{"state", 0, "final", false, "only windows that will not change for want of an edge"},
	{"limit", 'n', "N", false, "at most N rows, in one page"},
	{"stale", 0, NULL, false, "from any replica, without waiting for the latest writes; says how old"},
};

static void put_parameter(struct buf *b, const char *name, const char *value)
{
	if (!value)
		return;
	buf_printf(b, "&%s=", name);
	http_put_encoded(b, value);
}

void query_path(const struct args *args, const char *cursor, struct buf *out)
{
	static const char *const names[] = {"from", "to", "window", "by", "select", "state", "limit"};
	buf_printf(out, "/api/v1/query?stream=");
	http_put_encoded(out, args->words[0]);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		put_parameter(out, names[i], args_get(args, names[i]));
	for (size_t i = 0; args_nth(args, "where", i); i++)
		put_parameter(out, "where", args_nth(args, "where", i));
	if (args_get(args, "stale"))
		put_parameter(out, "stale", "ok");
	put_parameter(out, "cursor", cursor);
}

bool query_arguments_wrong(const struct args *args, struct buf *error)
{
	static const char *const times[] = {"from", "to"};
	int64_t ns;
	for (size_t i = 0; i < 2; i++) {
		const char *text = args_get(args, times[i]);
		if (text && time_parse(text, clock_wall_ns(), &ns))
			buf_printf(error, "--%s: `%s` is not a time (2015-09-01T11:25:00Z, seconds since 1970, now, -1h)",
			    times[i], text);
	}
	const char *window = args_get(args, "window"), *limit = args_get(args, "limit");
	if (window && (duration_parse(window, strlen(window), &ns) || ns == 0))
		buf_printf(error, "--window: `%s` is not a duration (10s, 5m, 2h, 7d)", window);
	if (limit && (!*limit || limit[strspn(limit, "0123456789")] || strlen(limit) > 9 || strtoul(limit, NULL, 10) == 0))
		buf_printf(error, "--limit: `%s` is not a number of rows", limit);
	for (size_t i = 0; args_nth(args, "where", i) && !error->len; i++) {
		const char *where = args_nth(args, "where", i);
		if (!strchr(where, '=') || *where == '=')
			buf_printf(error, "--where: `%s` is not TAG=VALUE", where);
	}
	return error->len > 0;
}

/* The pages of one answer as one: the first one's head, all rows, no `next`. */
struct merged {
	struct ctl *ctl;
	struct rows rows;
	struct buf out;
	size_t row_count;
	bool stale;                    /* the server said how old its answer is */
	int64_t behind_entries, age_ms; /* the worst of all pages */
	bool unheard;                  /* no age: a replica has not heard from a leader since it was started */
	struct buf local;              /* an edge answered, by itself: what to say of that; empty: a cloud did */
};

static void put_json_head(struct merged *m, const json_t *page)
{
	const char *key;
	json_t *value;
	buf_printf(&m->out, "{");
	json_object_foreach((json_t *)(uintptr_t)page, key, value) {
		if (!strcmp(key, "rows") || !strcmp(key, "next"))
			continue;
		char *name = json_dumps(json_object_get(page, key), JSON_ENCODE_ANY | JSON_COMPACT);
		buf_printf(&m->out, "\"%s\": %s, ", key, name ? name : "null");
		free(name);
	}
	buf_printf(&m->out, "\"rows\": [");
}

static bool add_page(struct merged *m, const json_t *page)
{
	size_t i;
	json_t *row;
	json_array_foreach(ctl_array(page, "rows"), i, row) {
		if (m->ctl->format == FORMAT_JSON) {
			char *text = json_dumps(row, JSON_COMPACT | JSON_REAL_PRECISION(17));
			buf_printf(&m->out, "%s\n %s", m->row_count ? "," : "", text ? text : "{}");
			free(text);
		} else if (!rows_add(&m->rows, row)) {
			return false;
		}
		m->row_count++;
	}
	if (m->ctl->format != FORMAT_JSON)
		rows_flush(&m->rows, &m->out);
	ctl_print(&m->out);
	return true;
}

static void note_stale(struct merged *m, const json_t *page)
{
	const json_t *stale = json_object_get(page, "stale");
	int64_t behind = json_integer_value(json_object_get(stale, "behind_entries"));
	int64_t age_ms = json_integer_value(json_object_get(stale, "age_ms"));
	m->stale = m->stale || json_is_object(stale);
	m->unheard = m->unheard || json_is_null(json_object_get(stale, "age_ms"));
	m->behind_entries = behind > m->behind_entries ? behind : m->behind_entries;
	m->age_ms = age_ms > m->age_ms ? age_ms : m->age_ms;
}

static long long held(const json_t *page, const char *what)
{
	return json_integer_value(json_object_get(json_object_get(page, "held"), what));
}

static void note_local(struct merged *m, const json_t *page)
{
	if (strcmp(ctl_text(page, "scope"), "local"))
		return;
	buf_clear(&m->local);
	buf_printf(&m->local, "local: what edge %s by itself still holds: %lld readings; %lld more are the clouds' alone, which acknowledged them",
	    ctl_text(page, "edge"), held(page, "readings"), held(page, "acknowledged"));
	if (held(page, "uncommitted"))
		buf_printf(&m->local, "; %lld are in no checkpoint yet, and missing here", held(page, "uncommitted"));
	if (held(page, "unreadable"))
		buf_printf(&m->local, "; %lld damaged records are missing here", held(page, "unreadable"));
}

/* One page: as it came. */
static void print_raw(struct buf *raw)
{
	if (raw->len && raw->data[raw->len - 1] != '\n')
		buf_u8(raw, '\n');
	ctl_print(raw);
}

static int print_pages(struct ctl *ctl, const struct args *args, struct merged *m)
{
	char *cursor = NULL;
	int result = EXIT_FINE;
	bool more = true;
	for (size_t pages = 0; more && !result; pages++) {
		struct buf path = {0}, raw = {0};
		json_t *page = NULL;
		query_path(args, cursor, &path);
		result = ctl_get(ctl, buf_cstr(&path), &page, &raw);
		buf_free(&path);
		if (result)
			break;
		note_stale(m, page);
		note_local(m, page);
		char *next = json_is_string(json_object_get(page, "next")) ? strdup(ctl_text(page, "next")) : NULL;
		more = next && !args_get(args, "limit");
		bool stuck = next && cursor && !strcmp(next, cursor);
		free(cursor);
		cursor = next;
		if (stuck) {
			ctl_error("the answer's pages do not advance");
			result = EXIT_FAILED;
		} else if (ctl->format == FORMAT_JSON && pages == 0 && !more) {
			print_raw(&raw);
		} else {
			if (ctl->format == FORMAT_JSON && pages == 0)
				put_json_head(m, page);
			if (!add_page(m, page)) {
				ctl_error("the answer holds something that is no row");
				result = EXIT_FAILED;
			}
			if (ctl->format == FORMAT_JSON && !more)
				buf_printf(&m->out, "],\n\"next\": null}\n");
		}
		ctl_print(&m->out);
		json_decref(page);
		buf_free(&raw);
	}
	if (!result && m->unheard && ctl->format != FORMAT_JSON)
		fprintf(stderr, "weirctl: stale: a replica has not heard from its leader since it was started, and may lack any entries\n");
	else if (!result && m->stale && ctl->format != FORMAT_JSON)
		fprintf(stderr, "weirctl: stale: a replica heard from its leader %lld.%03lld s ago, and may lack %lld entries\n",
		    (long long)(m->age_ms / 1000), (long long)(m->age_ms % 1000), (long long)m->behind_entries);
	if (!result && m->local.len && ctl->format != FORMAT_JSON)
		fprintf(stderr, "weirctl: %s\n", buf_cstr(&m->local));
	if (!result && cursor && ctl->format != FORMAT_JSON)
		fprintf(stderr, "weirctl: there are more rows; raise --limit or leave it out\n");
	free(cursor);
	return result;
}

static int run_query(struct ctl *ctl, const struct args *args)
{
	struct buf error = {0};
	if (query_arguments_wrong(args, &error)) {
		int result = ctl_bad_use(&command_query, "%s", buf_cstr(&error));
		buf_free(&error);
		return result;
	}
	struct merged m = {.ctl = ctl};
	rows_init(&m.rows, ctl->format == FORMAT_CSV);
	int result = print_pages(ctl, args, &m);
	rows_free(&m.rows);
	buf_free(&m.out);
	buf_free(&m.local);
	return result;
}

const struct command command_query = {
	.name = "query", .words = "STREAM", .summary = "window results, from any node; of an edge: what it still holds",
	.help = "Rows come ordered by window start, then group; each with its state (open, provisional, final), its revision\n"
		"and how many of the expected edges are in it. csv and json carry every digit and the error bound of each\n"
		"sketched column (p99_error).\n\n"
		"Answers hold all that was acknowledged before, and wait for a shard's leader to make sure of it. --stale reads any\n"
		"replica, also where a shard has no leader.\n\n"
		"With --url of an edge's `http`, the rows are of what that edge by itself still holds: what no cloud has acknowledged,\n"
		"also while none can be reached. Never final; how much that is, and how much is gone, is told beside.\n\n"
		"  weirctl query speed --from -1h\n"
		"  weirctl query speed --window 1h --by site --select count,mean,p99\n"
		"  weirctl --url http://127.0.0.1:8201 query speed\n"
		"  weirctl query speed --by \"\" --where site=north --state final\n"
		"  weirctl query speed --from 2015-09-01T11:00:00Z \\\n"
		"      --to 2015-09-01T12:00:00Z -o csv > speed.csv\n",
	.options = options, .option_count = sizeof(options) / sizeof(options[0]),
	.words_min = 1, .words_max = 1, .run = run_query};
