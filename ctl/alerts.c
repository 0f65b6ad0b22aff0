/* alerts: what is pending or firing. */
#include <stdlib.h>
#include <string.h>

#include "ctl/ctl.h"
#include "ctl/http_client.h"

#define PAGES_MAX 10000

static const struct arg_option options[] = {
	{"state", 0, "pending|firing", false, "only these (default: both)"},
	{"stream", 's', "STREAM", false, "of this stream (default: of all)"},
};

static void put_path(const struct args *args, const char *cursor, struct buf *out)
{
	static const char *const names[] = {"state", "stream", "cursor"};
	const char *values[] = {args_get(args, "state"), args_get(args, "stream"), cursor};
	const char *mark = "?";
	buf_printf(out, "/api/v1/alerts");
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (!values[i])
			continue;
		buf_printf(out, "%s%s=", mark, names[i]);
		http_put_encoded(out, values[i]);
		mark = "&";
	}
}

/* Adds a page to those before it: the first one's head, all alerts, and what follows the last. False: it is no such page, or repeats one. */
static bool add_page(json_t **all, json_t *page)
{
	const json_t *before = json_object_get(*all, "next"), *next = json_object_get(page, "next");
	if (!ctl_array(page, "alerts") || (json_is_string(next) && json_equal(before, next))) {
		json_decref(page);
		return false;
	}
	if (!*all) {
		*all = page;
		return true;
	}
	json_array_extend(ctl_array(*all, "alerts"), ctl_array(page, "alerts"));
	json_object_set(*all, "next", json_object_get(page, "next"));
	json_decref(page);
	return true;
}

static int ask(struct ctl *ctl, const struct args *args, json_t **all)
{
	for (size_t pages = 0; !*all || *ctl_text(*all, "next"); pages++) {
		struct buf path = {0};
		json_t *page = NULL;
		put_path(args, *all ? ctl_text(*all, "next") : NULL, &path);
		int result = ctl_get(ctl, buf_cstr(&path), &page, NULL);
		buf_free(&path);
		if (result)
			return result;
		if (!add_page(all, page) || pages == PAGES_MAX) {
			ctl_error("the answer's pages are none, or do not advance");
			return EXIT_FAILED;
		}
	}
	return EXIT_FINE;
}

static void put_row(const struct ctl *ctl, struct table *t, const json_t *a)
{
	static const char *const texts[] = {"name", "state", "since", "stream"};
	const char *none = ctl->format == FORMAT_CSV ? "" : "-";
	int digits = ctl->format == FORMAT_CSV ? 0 : 6;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		table_cell(t, ctl_text(a, texts[i]));
	ctl_cell(t, json_object_get(a, "group"), 0, none);
	ctl_cell(t, json_object_get(json_object_get(a, "window"), "start"), 0, none);
	ctl_cell(t, json_object_get(a, "values"), digits, none);
	table_cell(t, ctl_text(a, "when"));
	ctl_cell(t, json_object_get(a, "severity"), 0, none);
	ctl_cell(t, json_object_get(a, "summary"), 0, none);
}

static void put_table(const struct ctl *ctl, const json_t *all, struct buf *out)
{
	static const char *const columns[] = {"alert", "state", "since", "stream", "group", "window", "values", "when", "severity", "summary"};
	struct table *t = table_new(ctl->format == FORMAT_CSV);
	size_t i;
	json_t *a;
	for (i = 0; i < sizeof(columns) / sizeof(columns[0]); i++)
		table_column(t, columns[i], false);
	json_array_foreach(ctl_array(all, "alerts"), i, a)
		put_row(ctl, t, a);
	table_flush(t, out);
	table_free(t);
}

static void put_json(const json_t *all, struct buf *out)
{
	char *text = json_dumps(all, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
	buf_printf(out, "%s\n", text ? text : "{}");
	free(text);
}

static int run_alerts(struct ctl *ctl, const struct args *args)
{
	const char *state = args_get(args, "state");
	json_t *all = NULL;
	struct buf out = {0};
	if (state && strcmp(state, "pending") && strcmp(state, "firing"))
		return ctl_bad_use(&command_alerts, "--state: `%s` is not pending or firing", state);
	int result = ask(ctl, args, &all);
	if (!result && ctl->format == FORMAT_JSON)
		put_json(all, &out);
	else if (!result)
		put_table(ctl, all, &out);
	ctl_print(&out);
	buf_free(&out);
	json_decref(all);
	return result;
}

const struct command command_alerts = {
	.name = "alerts", .words = "", .summary = "what is pending or firing",
	.help = "Each alert and group that met its condition in the last window that closed: `pending` for fewer windows in a row\n"
		"than `for` asks, then `firing` until a window does not meet it. `since` is the start of the first of those windows,\n"
		"`window` the one that was told of last, with its values.\n\n"
		"  weirctl alerts\n"
		"  weirctl alerts --state firing --stream speed\n"
		"  weirctl alerts -o json | jq -r '.alerts[] | .name'\n",
	.options = options, .option_count = sizeof(options) / sizeof(options[0]), .run = run_alerts};
