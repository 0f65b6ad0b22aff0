/* node add, node remove: the cluster grows and shrinks while it works. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/topology.h"
#include "ctl/apply.h"
#include "ctl/cluster.h"
#include "ctl/ctl.h"
#include "ctl/http_client.h"
#include "ctl/topology_edit.h"

#define POLL_MS 300
#define SILENT_MS 60000 /* no node answers for so long: given up */

static const struct arg_option add_options[] = {
	{"listen", 'l', "tcp://H:P", false, "where it talks to edges and the other nodes"},
	{"http", 0, "H:P", false, "where it serves HTTP"},
	{"data", 0, "DIR", false, "its data folder (default: named as that of the last node)"},
	{"yes", 'y', NULL, false, "do not ask"},
	{"wait", 0, NULL, false, "until the cluster has settled (the default)"},
	{"no-wait", 0, NULL, false, "return as soon as it is committed"},
};
static const struct arg_option remove_options[] = {
	{"yes", 'y', NULL, false, "do not ask"},
	{"wait", 0, NULL, false, "until nothing is there any more (the default)"},
	{"no-wait", 0, NULL, false, "return as soon as it is committed"},
};

/* ---- how far it is ---------------------------------------------------------------------------------------------- */

struct picture {
	bool known;          /* somebody answers, and goes by the new topology */
	bool listed, up;     /* the node */
	size_t groups, settled, without; /* without: without a quorum */
};

static void look(const json_t *cluster, const char *node, uint64_t version, struct picture *ret)
{
	struct picture p = {0};
	size_t i;
	json_t *n;
	p.known = json_integer_value(json_object_get(cluster, "map_version")) >= (json_int_t)version;
	json_array_foreach(ctl_array(cluster, "nodes"), i, n) {
		bool is_it = !strcmp(ctl_text(n, "name"), node);
		p.listed = p.listed || is_it;
		p.up = p.up || (is_it && !strcmp(ctl_text(n, "state"), "up"));
	}
	for (i = 0; i < cluster_group_count(cluster); i++) {
		const json_t *group = cluster_group_at(cluster, i);
		p.groups++;
		p.settled += json_is_true(json_object_get(group, "settled"));
		p.without += !json_is_true(json_object_get(group, "quorum"));
	}
	*ret = p;
}

static void put_progress(const struct picture *p, const char *node, bool removed, int64_t elapsed_ns, struct buf *out)
{
	buf_printf(out, "%zu of %zu groups are where they belong, %lld s", p->settled, p->groups,
	    (long long)(elapsed_ns / NS_PER_SEC));
	if (p->without)
		buf_printf(out, "; %zu without a quorum wait for their nodes", p->without);
	else if (!removed && !p->up)
		buf_printf(out, "; start it: cloudd --config FILE --node %s", node);
}

/* On a terminal one line that changes; else a line where something has changed. */
static void tell(struct buf *line, struct buf *told)
{
	bool terminal = isatty(STDERR_FILENO);
	const char *text = buf_cstr(line);
	size_t what = strcspn(text, ",");
	bool news = strcspn(buf_cstr(told), ",") != what || strncmp(text, buf_cstr(told), what) != 0;
	if (terminal)
		fprintf(stderr, "\r\033[K%s", text);
	else if (news)
		fprintf(stderr, "%s\n", text);
	buf_clear(told);
	buf_put(told, line->data, line->len);
}

static bool is_over(const struct picture *p, bool removed)
{
	return p->known && p->settled == p->groups && p->listed != removed && (removed || p->up);
}

static bool ask_cluster(struct ctl *ctl, const char *node, uint64_t version, struct picture *ret)
{
	struct buf why = {0};
	struct http_answer answer;
	json_t *cluster = NULL;
	int rc = http_client_request(ctl->http, "GET", "/api/v1/cluster", (struct bytes){0}, &answer, &why);
	if (!rc && answer.status == 200)
		cluster = json_loadb((const char *)answer.body.data, answer.body.len, 0, NULL);
	if (!rc)
		buf_free(&answer.body);
	buf_free(&why);
	if (!cluster)
		return false;
	look(cluster, node, version, ret);
	json_decref(cluster);
	return true;
}

static int wait_for(struct ctl *ctl, const char *node, uint64_t version, bool removed)
{
	int64_t began_ns = clock_mono_ns(), answered_ns = began_ns, now_ns = began_ns;
	struct buf line = {0}, told = {0};
	struct picture p = {0};
	bool over = false;
	while (!over && !*ctl->stop && now_ns - answered_ns < SILENT_MS * NS_PER_MS) {
		if (ask_cluster(ctl, node, version, &p)) {
			answered_ns = clock_mono_ns();
			buf_clear(&line);
			put_progress(&p, node, removed, answered_ns - began_ns, &line);
			over = is_over(&p, removed);
			tell(&line, &told);
		}
		if (!over)
			nanosleep(&(struct timespec){.tv_nsec = POLL_MS * NS_PER_MS}, NULL);
		now_ns = clock_mono_ns();
	}
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\n");
	if (over)
		printf(removed ? "%s is out of the cluster after %.1f s: it holds nothing any more, and may be stopped\n"
			       : "%s has its share after %.1f s\n", node, (double)(now_ns - began_ns) / 1e9);
	else if (*ctl->stop)
		ctl_error("not settled yet: the cluster goes on by itself (see `weirctl nodes`)");
	else
		ctl_error("no node has answered for %d s; the change is committed, and goes on when they are back", SILENT_MS / 1000);
	buf_free(&line);
	buf_free(&told);
	return over ? EXIT_FINE : EXIT_FAILED;
}

/* ---- the change --------------------------------------------------------------------------------------------------- */

static int change(struct ctl *ctl, const struct args *args, const struct buf *before, const struct buf *after,
    uint64_t base, bool removed)
{
	struct apply_how how = {.base = base, .yes = args_get(args, "yes") != NULL};
	struct buf b = {0};
	uint64_t version = 0;
	bool changed = false;
	topology_edit_difference((const char *)before->data, before->len, (const char *)after->data, after->len, &b);
	if (ctl->format == FORMAT_TABLE)
		ctl_print(&b);
	buf_free(&b);
	int result = apply_text(ctl, bytes_of(after->data, after->len), &how, &version, &changed);
	if (result || args_get(args, "no-wait"))
		return result;
	return wait_for(ctl, args->words[0], version, removed);
}

static int run_add(struct ctl *ctl, const struct args *args)
{
	struct topology_edit_node node = {.name = args->words[0], .listen = args_get(args, "listen"),
	    .http = args_get(args, "http"), .data = args_get(args, "data")};
	struct buf before = {0}, after = {0}, error = {0};
	uint64_t base = 0;
	if (!node.listen || !node.http)
		return ctl_bad_use(&command_node_add, "--listen and --http say where the others and you reach it");
	int result = apply_fetch(ctl, &base, &before);
	if (!result && topology_edit_add((const char *)before.data, before.len, &node, &after, &error)) {
		ctl_error("%s", buf_cstr(&error));
		result = EXIT_FAILED;
	}
	if (!result)
		result = change(ctl, args, &before, &after, base, false);
	buf_free(&before);
	buf_free(&after);
	buf_free(&error);
	return result;
}

/* What a person should know before. False: it cannot be done from here. */
static bool warn_of_removal(const struct ctl *ctl, const char *name, const struct buf *before, const struct buf *after)
{
	struct topology *was = NULL, *is = NULL;
	struct buf errors = {0};
	bool fine = true;
	if (!topology_parse("topology.yaml", before->data, before->len, &was, &errors) &&
	    !topology_parse("topology.yaml", after->data, after->len, &is, &errors)) {
		int node = topology_cloud(was, name);
		const char *url = strstr(http_client_url(ctl->http), "://");
		fine = node < 0 || !url || strcmp(url + 3, was->clouds[node].http) != 0;
		if (!fine)
			ctl_error("%s is the node that is asked: ask one that stays (--url)", name);
		else if (is->cloud_count < is->replicas)
			fprintf(stderr, "note: %zu node%s left for %u replicas: %s\n", is->cloud_count,
			    is->cloud_count == 1 ? " is" : "s are", is->replicas,
			    is->cloud_count < 3 ? "from then on none may fail, or what it holds stops"
			                        : "each shard has one on every node");
	}
	topology_free(was);
	topology_free(is);
	buf_free(&errors);
	return fine;
}

static int run_remove(struct ctl *ctl, const struct args *args)
{
	const char *name = args->words[0];
	struct buf before = {0}, after = {0}, error = {0};
	uint64_t base = 0;
	int result = apply_fetch(ctl, &base, &before);
	if (!result && topology_edit_remove((const char *)before.data, before.len, name, &after, &error)) {
		ctl_error("%s", buf_cstr(&error));
		result = EXIT_FAILED;
	}
	if (!result && !warn_of_removal(ctl, name, &before, &after))
		result = EXIT_FAILED;
	if (!result)
		result = change(ctl, args, &before, &after, base, true);
	buf_free(&before);
	buf_free(&after);
	buf_free(&error);
	return result;
}

const struct command command_node_add = {
	.name = "node add", .words = "NAME", .summary = "one cloud node more; shards move to it while all goes on",
	.help = "Adds the node to the cluster's topology, keeping the file's comments, and shows how its share of the replicas comes to\n"
		"it: each is copied, follows, and takes the place of another one, without a shard ever losing its quorum. Start the\n"
		"node, not before, with a topology file that lists it: it takes the rest from the others. Where the cluster has keys,\n"
		"make the node's with `weirctl keygen` first, and give NAME.pub to every node and edge.\n\n"
		"  weirctl node add cloud-4 --listen tcp://127.0.0.1:7104 \\\n"
		"      --http 127.0.0.1:8104 --yes --no-wait\n"
		"  weirctl topology > topology.yaml\n"
		"  cloudd --config topology.yaml --node cloud-4\n",
	.options = add_options, .option_count = sizeof(add_options) / sizeof(add_options[0]),
	.words_min = 1, .words_max = 1, .stoppable = true, .run = run_add};
const struct command command_node_remove = {
	.name = "node remove", .words = "CLOUD", .summary = "one cloud node less; what it holds moves to the others first",
	.help = "The node's replicas move to the others, it ceases to lead, and then it is no longer of the cluster: stop it when this\n"
		"says so, not before (one that is gone for good may be removed as well: what it held is copied from others). With\n"
		"fewer nodes than `replicas` each shard has one replica on every node.\n\n"
		"  weirctl node remove cloud-4\n",
	.options = remove_options, .option_count = sizeof(remove_options) / sizeof(remove_options[0]),
	.words_min = 1, .words_max = 1, .stoppable = true, .run = run_remove};
