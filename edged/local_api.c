#include "edged/local_api.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/query_args.h"
#include "common/stats.h"
#include "edged/local_worker.h"

enum result { ANSWERED, BAD, BUSY, TOO_MUCH, FAILED, GONE, RESULTS };
static const char *const result_text[RESULTS] = {"answered", "bad", "busy", "too_much", "failed", "gone"};

/* A question that was deferred. */
struct asked {
	struct local_api *api;
	struct http_request *request; /* NULL: the client is gone */
	struct local_job *job;
	bool given;                   /* to the worker, whose the job is until it comes back */
	struct asked *next;           /* of those that wait for a commit */
};

struct local_api {
	struct local_worker *worker;
	struct asked *waiting;
	unsigned open; /* questions deferred and not answered */
	uint64_t results[RESULTS];
};

static void asked_free(struct asked *q)
{
	q->api->open--;
	local_job_free(q->job);
	free(q);
}

static void refuse(struct local_api *a, struct http_request *r, enum result result, unsigned status, const char *code, const char *text)
{
	a->results[result]++;
	if (result == BUSY)
		http_add_header(r, "Retry-After", "1");
	http_reply_error(r, status, code, "%s", text);
}

static void refuse_busy(struct local_api *a, struct http_request *r)
{
	refuse(a, r, BUSY, 503, "busy", "this edge is answering other queries: ask again");
}

/* ---- answers --------------------------------------------------------------------------------------------------- */

static void reply(struct local_api *a, struct http_request *r, const struct local_job *job)
{
	if (!job->rc) {
		a->results[ANSWERED]++;
		http_reply(r, 200, HTTP_JSON, job->answer.data, job->answer.len);
	} else if (job->rc == WEIR_ETIMEOUT) {
		refuse(a, r, TOO_MUCH, 503, "too_much", "this edge holds more than can be gone through in 30 s: ask for early windows only, with `to`");
	} else if (job->rc == WEIR_EBUSY) {
		refuse_busy(a, r);
	} else {
		a->results[FAILED]++;
		http_reply_error(r, 503, "damaged", "the spool cannot be read: %s", err_text(job->rc));
	}
}

static void on_done(void *arg, struct local_job *job)
{
	struct asked *q = job->owner;
	if (q->request)
		reply(arg, q->request, job);
	asked_free(q);
}

static void on_gone(void *arg, struct http_request *r)
{
	(void)r;
	struct asked *q = arg;
	q->api->results[GONE]++;
	q->request = NULL;
	if (q->given) {
		local_worker_drop(q->job);
		return;
	}
	struct asked **at = &q->api->waiting;
	while (*at != q)
		at = &(*at)->next;
	*at = q->next;
	asked_free(q);
}

/* ---- questions ------------------------------------------------------------------------------------------------- */

static bool asks_for_final(const struct query_args *args)
{
	return args->spec.only_final;
}

static int parse(struct http_request *r, const struct topology *t, struct query_args *ret, struct query_error *error)
{
	struct query_arg args[HTTP_ARGS_MAX];
	size_t n = http_arg_count(r);
	for (size_t i = 0; i < n; i++)
		args[i] = (struct query_arg){http_arg_name(r, i), http_arg_value(r, i)};
	int rc = query_args_parse(t, args, n, clock_wall_ns(), ret, error);
	if (rc || !asks_for_final(ret))
		return rc;
	*error = (struct query_error){400, "bad_request", "state=final: an edge by itself knows of no window that it is final; ask a cloud"};
	query_args_clear(ret);
	return WEIR_EINVAL;
}

static void defer(struct local_api *a, struct http_request *r, struct local_job *job)
{
	struct asked *q = xcalloc(1, sizeof(*q)), **end = &a->waiting;
	*q = (struct asked){.api = a, .request = r, .job = job};
	job->owner = q;
	while (*end)
		end = &(*end)->next;
	*end = q;
	a->open++;
	http_defer(r, on_gone, q);
}

bool local_api_ask(struct local_api *a, struct http_request *r, const struct topology *t, const struct edge_conf *edge,
    const struct pipeline *p)
{
	struct query_args args;
	struct query_error error;
	if (a->open > LOCAL_JOBS_MAX) {
		refuse_busy(a, r);
		return false;
	}
	if (parse(r, t, &args, &error)) {
		refuse(a, r, BAD, error.status, error.code, error.message);
		return false;
	}
	struct local_job *job = local_job_new(t, &args);
	job->view.edge = edge->name;
	job->view.aggregated = pipeline_aggregated(p, job->query.args.stream->name);
	defer(a, r, job);
	return true;
}

static void look_at_time(struct local_job *job, const struct pipeline *p)
{
	for (size_t i = 0; i < job->query.args.version_count; i++) {
		const struct stream_conf *s = job->query.args.versions[i].stream;
		job->watermark_ns[i] = pipeline_event_watermark(p, s->name, s->version, &job->view.idle);
	}
}

void local_api_committed(struct local_api *a, const struct pipeline *p)
{
	for (struct asked *q; (q = a->waiting);) {
		a->waiting = q->next;
		look_at_time(q->job, p);
		q->given = !local_worker_give(a->worker, q->job);
		if (q->given)
			continue;
		refuse_busy(a, q->request);
		asked_free(q);
	}
}

/* ---- all ------------------------------------------------------------------------------------------------------- */

int local_api_new(struct loop *l, struct kv *spool, struct local_api **ret_api)
{
	struct local_api *a = xcalloc(1, sizeof(*a));
	int rc = local_worker_new(l, spool, on_done, a, &a->worker);
	if (rc)
		free(a);
	else
		*ret_api = a;
	return rc;
}

void local_api_free(struct local_api *a)
{
	if (!a)
		return;
	local_worker_free(a->worker);
	free(a);
}

void local_api_hold(struct local_api *a)
{
	local_worker_hold(a->worker);
}

void local_api_go(struct local_api *a, struct kv *spool)
{
	local_worker_go(a->worker, spool);
}

static const struct stats_family families[] = {
	{"weir_edge_queries_total", "Queries of this edge's own readings, by what became of them", STATS_COUNTER, {"result"}},
	{"weir_edge_queries_open", "Queries of this edge's own readings that wait for their answer", STATS_GAUGE, {NULL}},
};

void local_api_put_metrics(const struct local_api *a, struct buf *out)
{
	stats_write_head(out, &families[0]);
	for (int i = 0; i < RESULTS; i++)
		stats_write_u64(out, &families[0], &result_text[i], a->results[i]);
	stats_write_head(out, &families[1]);
	stats_write_u64(out, &families[1], NULL, a->open);
}
