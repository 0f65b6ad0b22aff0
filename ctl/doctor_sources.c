/* Sources that cannot read, by what their edges count. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/model.h"
#include "ctl/doctor.h"
#include "ctl/prom.h"

#define LOG_HAS_WHY "the edge's log has the reason. "

/* Of one source of one edge: whether it is down now, and if so how, appended to *out. */
struct source_ail {
	const char *metric; /* which all sources have that this is about: a gauge */
	const char *type;   /* "": any */
	bool (*is_down)(const char *metrics, const char *source, struct buf *out);
	const char *remedy;
};

static double value_of(const char *metrics, const char *name, const char *source)
{
	return prom_sum(metrics, name, "source", source);
}

static bool is_closed(const char *metrics, const char *source, struct buf *out)
{
	buf_printf(out, "it could not be opened, which is tried again each 10 s");
	return value_of(metrics, "weir_edge_source_open", source) == 0;
}

/* An edge of an earlier build does not say, and has all of them open at its start. */
static bool is_open(const char *metrics, const char *source)
{
	return !prom_has(metrics, "weir_edge_source_open") || value_of(metrics, "weir_edge_source_open", source) > 0;
}

static bool has_no_broker(const char *metrics, const char *source, struct buf *out)
{
	buf_printf(out, "it has no connection to its broker (%.0f ended, or did not come about, since the edge was started)",
	    value_of(metrics, "weir_edge_source_mqtt_failures_total", source));
	return is_open(metrics, source) && value_of(metrics, "weir_edge_source_mqtt_connected", source) == 0;
}

static bool is_refused_topics(const char *metrics, const char *source, struct buf *out)
{
	double refused = value_of(metrics, "weir_edge_source_mqtt_refused_subscriptions", source);
	buf_printf(out, "its broker refuses %.0f of its topic filters", refused);
	return refused > 0;
}

/* One that was not asked yet is not up either: where no scrape has failed, none is down. */
static bool has_targets_down(const char *metrics, const char *source, struct buf *out)
{
	double all = value_of(metrics, "weir_edge_source_scrape_targets", source), up = value_of(metrics, "weir_edge_source_scrape_targets_up", source);
	buf_printf(out, "%.0f of its %.0f URLs gave no metrics when they were asked last", all - up, all);
	return up < all && value_of(metrics, "weir_edge_source_scrapes_failed_total", source) > 0;
}

static bool has_failing_program(const char *metrics, const char *source, struct buf *out)
{
	buf_printf(out, "its program fails (%.0f of %.0f times since the edge was started)", value_of(metrics, "weir_edge_source_failures_total", source),
	    value_of(metrics, "weir_edge_source_starts_total", source));
	return value_of(metrics, "weir_edge_source_failing", source) > 0;
}

static bool is_unreadable(const char *metrics, const char *source, struct buf *out)
{
	buf_printf(out, "its file cannot be opened or read");
	return value_of(metrics, "weir_edge_source_file_unreadable", source) > 0;
}

static const struct source_ail ails[] = {
	{"weir_edge_source_open", "", is_closed,
	    LOG_HAS_WHY "Free the address that is in use; a program that only the cluster's topology names must be in the file of that machine, too"},
	{"weir_edge_source_file_unreadable", "file", is_unreadable,
	    LOG_HAS_WHY "Give edged's user the right to read it; as a service it sees nothing below /home without a drop-in (docs/packages.md). It goes on by itself"},
	{"weir_edge_source_mqtt_connected", "mqtt", has_no_broker,
	    LOG_HAS_WHY "Look whether the broker runs and is reached from that machine, and at the source's keys in the topology. It goes on by itself"},
	{"weir_edge_source_mqtt_refused_subscriptions", "mqtt", is_refused_topics,
	    LOG_HAS_WHY "Look at the broker's access lists for this user and these topics"},
	{"weir_edge_source_scrape_targets_up", "prometheus", has_targets_down,
	    LOG_HAS_WHY "Look whether the exporters run and are reached from that machine, and at the source's secrets. It goes on by itself"},
	{"weir_edge_source_failing", "exec", has_failing_program,
	    LOG_HAS_WHY "What the program says on stderr is there, too; run it by hand on that machine. It goes on by itself"},
};

static void examine_ail(const struct source_ail *a, const struct doctor_edge *e, struct findings *f)
{
	struct prom_sample s;
	char source[NAME_MAX_BYTES + 1];
	const char *at = e->metrics;
	while (prom_next(&at, &s)) {
		struct buf text = {0};
		if (!prom_is(&s, a->metric) || !prom_label(&s, "source", source, sizeof(source)))
			continue;
		if (a->is_down(e->metrics, source, &text)) {
			char *about = xasprintf("%s, source %s%s%s%s", e->name, source, *a->type ? " (" : "", a->type, *a->type ? ")" : "");
			findings_add(f, &(struct finding){FINDING_WARNING, .passing = true, .check = "source_failing"}, about, a->remedy, "%s",
			    buf_cstr(&text));
			free(about);
		}
		buf_free(&text);
	}
}

/* Nothing is wrong with them: their addresses are for their own machines, most often. */
static void tell_not_asked(const struct doctor_look *l, struct findings *f)
{
	struct names names = {0};
	const char *first = NULL;
	for (size_t i = 0; i < l->asked_edge_count; i++) {
		const struct doctor_edge *e = &l->asked_edges[i];
		if (e->metrics)
			continue;
		names_add(&names, e->name);
		first = first ? first : e->error;
	}
	if (names.count)
		findings_add(f, &(struct finding){FINDING_NOTE, .check = "edge_http"}, names_text(&names),
		    "run this where their `http` is reached, with --edge-token-file where they ask for a token; or look at /metrics there",
		    "could not be asked whether their sources can read: %s", first);
	names_clear(&names);
}

void doctor_examine_sources(const struct doctor_look *l, struct findings *f)
{
	for (size_t i = 0; i < l->asked_edge_count; i++) {
		for (size_t k = 0; l->asked_edges[i].metrics && k < sizeof(ails) / sizeof(ails[0]); k++)
			examine_ail(&ails[k], &l->asked_edges[i], f);
	}
	tell_not_asked(l, f);
}
