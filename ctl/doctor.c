/* weirctl doctor: asks every cloud node that can be found, tells what is wrong and what to do. */
#include "ctl/doctor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/err.h"
#include "ctl/ctl.h"
#include "ctl/doctor_ask.h"
#include "ctl/http_client.h"

#define SILENCE_S 10 /* a node that says nothing for so long does not answer */

static void print(const struct ctl *ctl, const struct findings *f, size_t nodes)
{
	struct buf b = {0};
	if (ctl->format == FORMAT_JSON) {
		json_t *json = findings_json(f);
		char *dump = json_dumps(json, JSON_INDENT(2));
		buf_printf(&b, "%s\n", dump ? dump : "{}");
		free(dump);
		json_decref(json);
	} else if (ctl->format == FORMAT_CSV) {
		findings_put_csv(f, &b);
	} else {
		findings_put_text(f, nodes, &b);
	}
	ctl_print(&b);
	buf_free(&b);
}

static size_t answered(const struct doctor_look *l)
{
	size_t n = 0;
	for (size_t i = 0; i < l->node_count; i++)
		n += !l->nodes[i].error;
	return n;
}

static void tell_silent(const char *why, struct findings *f)
{
	findings_add(f, &(struct finding){FINDING_CRITICAL, .check = "no_answer"}, "cluster",
	    "look whether cloudd runs there, and whether --url, --token-file and --ca-file are right; --url takes several addresses",
	    "nothing could be asked: %s", why);
}

/* What passes by itself is only told when it is there twice, and counters are told with whether they rise. */
static void look_twice(struct ctl *ctl, const char *edge_token, struct doctor_look *first, struct findings *f, char **ret_why)
{
	struct doctor_look second;
	struct findings last = {0};
	time_t until = time(NULL) + DOCTOR_PASSING_S;
	while (time(NULL) < until && !*ctl->stop)
		nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
	if (*ctl->stop)
		return;
	if (doctor_ask(ctl, edge_token, &second, ret_why)) {
		doctor_examine(first, &second, &last);
		findings_keep_lasting(&last, f);
	} else {
		tell_silent(*ret_why, &last);
	}
	findings_clear(f);
	*f = last;
	doctor_look_clear(first);
	*first = second;
}

static int run_doctor(struct ctl *ctl, const struct args *args)
{
	struct doctor_look l;
	struct findings f = {0};
	const char *token_file = args_get(args, "edge-token-file");
	char *why = NULL, *token = token_file ? ctl_read_token("edge-token-file", token_file) : NULL;
	if (token_file && !token)
		return EXIT_USE;
	http_client_set_silence(ctl->http, SILENCE_S);
	if (!doctor_ask(ctl, token, &l, &why)) {
		tell_silent(why, &f);
	} else {
		doctor_examine(NULL, &l, &f);
		if (findings_need_another_look(&f))
			look_twice(ctl, token, &l, &f, &why);
	}
	print(ctl, &f, answered(&l));
	int result = findings_wrong(&f) ? EXIT_FAILED : EXIT_FINE;
	findings_clear(&f);
	doctor_look_clear(&l);
	free(why);
	if (token)
		explicit_bzero(token, strlen(token));
	free(token);
	return result;
}

static const struct arg_option options[] = {
	{"edge-token-file", 0, "FILE", false, "file with a token (mode 0600) that the edges' `http` knows: role read is enough"}};

const struct command command_doctor = {
	.name = "doctor", .words = "", .summary = "what is wrong, and what to do",
	.help = "Asks every cloud node of the cluster (the addresses come from the topology; --url says where to begin) how it is, and tells\n"
		"what is wrong, most severe first, each with what to do about it: nodes that do not answer, shards without a leader or a\n"
		"quorum, replicas behind, rebuilt or divergent, damaged data, full disks, edges that are fenced, cut off, behind or have a\n"
		"wrong clock, sources that cannot read, sinks that cannot deliver, daemons that go by an older topology, streams whose next\n"
		"version waits, readings refused or dropped, keys and connections refused. Edges with `http` are asked, too, for their\n"
		"sources, where it is reached from here; what --token-file holds is for the cloud, and never sent to them.\n\n"
		"  critical  something is not served, or not right\n"
		"  warning   it may come to that, or is so for some\n"
		"  note      worth knowing; nothing is wrong\n\n"
		"What passes by itself in seconds is looked at twice, and what is counted is told as a warning while it rises. Exit code: 0\n"
		"when nothing is wrong (notes or not), 1 when something is. It changes nothing.\n\n"
		"  weirctl doctor\n"
		"  weirctl doctor --url 10.0.0.1:8101,10.0.0.2:8101\n"
		"  weirctl doctor -o json | jq '.findings[] | .severity + \": \" + .text'\n",
	.options = options, .option_count = sizeof(options) / sizeof(options[0]), .stoppable = true, .run = run_doctor};
