#include "cloudd/topology_api.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/json.h"
#include "common/map.h"

#define TOPOLOGY_LATEST_MS 3000 /* nodes tell each other of new maps each second at least */

/* One change on its way. */
struct request {
	struct node *node;
	topology_ask_fn *ask;
	void *arg;
	uint64_t base;
	bool dry_run;
	struct bytes text;
	/* what comes of it */
	struct map_changes changes;
	struct buf errors;
	uint64_t version;
	bool outdated; /* base is of an earlier text */
	bool applied;
	enum verdict verdict;
	char reason[QUERY_REASON_MAX];
};

static void request_clear(struct request *q)
{
	map_changes_clear(&q->changes);
	buf_free(&q->errors);
}

/* ---- the change ------------------------------------------------------------------------------------------------- */

static const char *kind_text(enum map_change_kind k)
{
	static const char *const texts[] = {[MAP_ADDED] = "added", [MAP_REMOVED] = "removed", [MAP_CHANGED] = "changed",
	    [MAP_REFUSED] = "refused"};
	return texts[k];
}

/* A change that another node has answered for may not have reached this one yet: nobody is to be told of a difference, or of none, to
 * what was before it. */
static void wait_for_latest(struct node *n, topology_ask_fn *ask, void *arg)
{
	struct msg m = {.type = MSG_TOPOLOGY, .topology = {.dry_run = true}};
	char reason[QUERY_REASON_MAX];
	uint64_t version = 0;
	if (ask(arg, &m, bytes_of(NULL, 0), &version, reason) == VERDICT_OK)
		node_wait_map(n, version, TOPOLOGY_LATEST_MS * NS_PER_MS);
}

static enum verdict current_map(struct node *n, topology_ask_fn *ask, void *arg, struct cluster_map *ret,
    char reason[QUERY_REASON_MAX])
{
	struct buf raw = {0};
	wait_for_latest(n, ask, arg);
	node_map(n, &raw);
	int rc = raw.len ? map_decode(bytes_of(raw.data, raw.len), ret) : WEIR_ENOTFOUND;
	buf_free(&raw);
	if (!rc)
		return VERDICT_OK;
	snprintf(reason, QUERY_REASON_MAX, "this node has no map of the cluster yet: the cluster is being created, or no node that has "
	                                   "one was reached");
	return VERDICT_UNAVAILABLE;
}

static void commit(struct request *q)
{
	struct buf zipped = {0};
	struct msg m = {.type = MSG_TOPOLOGY};
	map_text_pack((const char *)q->text.p, q->text.n, &zipped);
	m.topology.base_version = q->base ? q->base : q->version;
	m.topology.text_bytes = (uint32_t)q->text.n;
	uint64_t version = 0;
	q->verdict = q->ask(q->arg, &m, bytes_of(zipped.data, zipped.len), &version, q->reason);
	q->applied = q->verdict == VERDICT_OK;
	if (q->applied)
		q->version = version;
	buf_free(&zipped);
}

static void run(struct request *q)
{
	struct cluster_map map, next = {0};
	q->verdict = current_map(q->node, q->ask, q->arg, &map, q->reason);
	if (q->verdict != VERDICT_OK)
		return;
	q->version = map.version;
	q->outdated = q->base && !map_has_text_of(&map, q->base);
	int rc = map_change(&map, (const char *)q->text.p, q->text.n, &next, &q->changes, &q->errors);
	map_clear(&map);
	if (!rc)
		map_clear(&next);
	if (rc == WEIR_ETOOBIG)
		snprintf(q->reason, sizeof(q->reason), "the topology is too large for a cluster map (%u KiB compressed)",
		    MAP_BYTES_MAX / 1024);
	else if (rc)
		snprintf(q->reason, sizeof(q->reason), "%s",
		    q->changes.refused ? "it holds changes that cannot be made" : "it is no valid topology");
	if (rc) {
		q->verdict = VERDICT_REFUSED;
	} else if (q->outdated) {
		q->verdict = VERDICT_REFUSED;
		snprintf(q->reason, sizeof(q->reason), "the topology has changed meanwhile: version %llu, not %llu; look at the difference again",
		    (unsigned long long)q->version, (unsigned long long)q->base);
	} else if (!q->dry_run && q->changes.count) {
		commit(q);
	}
}

/* ---- answers ------------------------------------------------------------------------------------------------------ */

static void put_lines(const struct buf *errors, struct buf *out)
{
	struct buf copy = {0};
	buf_put(&copy, errors->data, errors->len);
	const char *line = buf_cstr(&copy), *comma = "";
	while (*line) {
		size_t n = strcspn(line, "\n");
		char *text = xstrndup(line, n);
		buf_printf(out, "%s", comma);
		json_text(out, text);
		comma = ", ";
		free(text);
		line += n + (line[n] == '\n');
	}
	buf_free(&copy);
}

static void put_changes(const struct request *q, struct buf *out)
{
	for (size_t i = 0; i < q->changes.count; i++) {
		const struct map_change *c = &q->changes.all[i];
		buf_printf(out, "%s\n  {\"kind\": \"%s\", \"what\": ", i ? "," : "", kind_text(c->kind));
		json_text(out, c->what);
		buf_printf(out, ", \"name\": ");
		json_text(out, c->name);
		buf_printf(out, ", \"text\": ");
		json_text(out, c->text);
		buf_printf(out, "}");
	}
}

static void reply(struct http_request *r, const struct request *q)
{
	struct buf b = {0};
	if (q->verdict == VERDICT_BUSY || q->verdict == VERDICT_UNAVAILABLE) {
		http_add_header(r, "Retry-After", "1");
		http_reply_error(r, 503, "unavailable", "%s", q->reason);
		return;
	}
	bool ok = q->verdict == VERDICT_OK;
	buf_printf(&b, "{\"version\": %llu, \"applied\": %s, \"changes\": [", (unsigned long long)q->version,
	    q->applied ? "true" : "false");
	put_changes(q, &b);
	buf_printf(&b, "], \"errors\": [");
	put_lines(&q->errors, &b);
	buf_printf(&b, "]");
	if (!ok) {
		buf_printf(&b, ", \"error\": {\"code\": \"%s\", \"message\": ", q->errors.len && !q->changes.refused ? "bad_topology" : "refused");
		json_text(&b, q->reason);
		buf_printf(&b, "}");
	}
	buf_printf(&b, "}\n");
	http_reply(r, ok ? 200 : q->errors.len && !q->changes.refused ? 400 : 409, HTTP_JSON, b.data, b.len);
	buf_free(&b);
}

void topology_api_get(struct node *n, topology_ask_fn *ask, void *arg, struct http_request *r)
{
	struct cluster_map map;
	char reason[QUERY_REASON_MAX];
	struct buf b = {0};
	if (current_map(n, ask, arg, &map, reason) != VERDICT_OK) {
		http_add_header(r, "Retry-After", "1");
		http_reply_error(r, 503, "unavailable", "%s", reason);
		return;
	}
	buf_printf(&b, "{\"version\": %llu, \"text\": ", (unsigned long long)map.version);
	json_text(&b, map.text);
	buf_printf(&b, "}\n");
	http_reply(r, 200, HTTP_JSON, b.data, b.len);
	buf_free(&b);
	map_clear(&map);
}

static bool read_args(struct http_request *r, struct request *q)
{
	for (size_t i = 0; i < http_arg_count(r); i++) {
		const char *name = http_arg_name(r, i), *value = http_arg_value(r, i);
		char *end = NULL;
		if (!strcmp(name, "dry_run") && (!strcmp(value, "1") || !strcmp(value, "0"))) {
			q->dry_run = *value == '1';
		} else if (!strcmp(name, "base") && *value >= '0' && *value <= '9' && strlen(value) < 20) {
			q->base = strtoull(value, &end, 10);
			if (*end)
				return false;
		} else {
			return false;
		}
	}
	return true;
}

void topology_api_post(struct node *n, topology_ask_fn *ask, void *arg, struct http_request *r)
{
	struct request q = {.node = n, .ask = ask, .arg = arg, .text = http_body(r)};
	if (!read_args(r, &q)) {
		http_reply_error(r, 400, "bad_request", "the parameters are dry_run=1 and base=VERSION");
		return;
	}
	if (!q.text.n) {
		http_reply_error(r, 400, "bad_request", "the body must be a topology file");
		return;
	}
	run(&q);
	reply(r, &q);
	request_clear(&q);
}

/* ---- a file ---------------------------------------------------------------------------------------------------------- */

static char *read_file(const char *path, struct buf *out)
{
	char chunk[16384];
	FILE *f = fopen(path, "rbe");
	if (!f)
		return xasprintf("%s: %s", path, strerror(errno));
	for (size_t n; (n = fread(chunk, 1, sizeof(chunk), f)) > 0 && out->len <= TOPOLOGY_TEXT_MAX;)
		buf_put(out, chunk, n);
	bool bad = ferror(f);
	fclose(f);
	return bad ? xasprintf("%s cannot be read", path) : NULL;
}

/* A line each, in front of it a line break; they are of that file, and not of "topology" (common/map_change). */
static void put_file_lines(const char *path, struct buf *errors, struct buf *out)
{
	static const char of_text[] = "topology:";
	const char *line = buf_cstr(errors);
	while (*line) {
		size_t n = strcspn(line, "\n");
		bool placed = n >= strlen(of_text) && !strncmp(line, of_text, strlen(of_text));
		size_t skip = placed ? strlen(of_text) - 1 : 0;
		buf_printf(out, "\n%s%.*s", placed ? path : "", (int)(n - skip), line + skip);
		line += n + (line[n] == '\n');
	}
}

static char *not_applied(const char *path, struct request *q)
{
	struct buf text = {0};
	buf_printf(&text, "%s is not applied: %s", path, q->reason);
	put_file_lines(path, &q->errors, &text);
	char *said = xstrdup(buf_cstr(&text));
	buf_free(&text);
	return said;
}

char *topology_api_apply_file(struct node *n, topology_ask_fn *ask, void *arg, const char *path, bool *ret_ok)
{
	struct buf text = {0};
	*ret_ok = false;
	char *said = read_file(path, &text);
	if (said) {
		buf_free(&text);
		return said;
	}
	struct request q = {.node = n, .ask = ask, .arg = arg, .text = bytes_of(text.data, text.len)};
	run(&q);
	*ret_ok = q.verdict == VERDICT_OK;
	if (*ret_ok && !q.changes.count)
		said = xasprintf("%s is what the cluster goes by (version %llu)", path, (unsigned long long)q.version);
	else if (*ret_ok)
		said = xasprintf("%s is the cluster's topology now: %zu changes, version %llu", path, q.changes.count,
		    (unsigned long long)q.version);
	else
		said = not_applied(path, &q);
	request_clear(&q);
	buf_free(&text);
	return said;
}
